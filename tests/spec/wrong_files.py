"""Wrong files, and what is said about them: where, which code, which words."""

from __future__ import annotations

IN = "sources: {lines: {type: stdin}}\n"
OUT = "sinks: {out: {type: stdout}}\n"
GOOD = "version: 1\n" + IN + OUT  # three lines
COUNT = """\
version: 1
sources: {lines: {type: stdin}}
states:
  totals: {factory: "m:Total"}
steps:
  - {name: count, type: stateful, partition: "m:word", state: totals, call: "m:count"}
sinks: {out: {type: stdout}}
"""


def file_source(options: str) -> str:
    return f"version: 1\nsources: {{a: {{type: file, {options}}}}}\n{OUT}"


def sink(options: str) -> str:
    return f"version: 1\n{IN}sinks: {{out: {{{options}}}}}\n"


def steps(*lines: str) -> str:
    """Steps in lines 4, 5 and so on, on top of GOOD."""
    return GOOD + "steps:\n" + "".join(f"- {{{line}}}\n" for line in lines)


# text of the file, every finding as `line:column: code`, words that must be among the messages
WRONG = {
    # YAML
    "empty": ("", ["1:1: empty-file"], "version: 1"),
    "only a comment": ("# later\n", ["1:1: empty-file"], "is empty"),
    "null": ("~\n", ["1:1: empty-file"], "is empty"),
    "a list": ("- a\n", ["1:1: wrong-type"], "the file must be a mapping, not a list"),
    "a word": ("wordcount\n", ["1:1: wrong-type"], "not the text 'wordcount'"),
    "open bracket": (GOOD + "name: [a\n", ["5:1: yaml-syntax"], "flow sequence that begins at 4:7"),
    "tab": (GOOD + "cluster:\n\tworkers: 2\n", ["5:1: yaml-syntax"], "indent with spaces"),
    "colon": (GOOD + "name: a: b\n", ["4:8: yaml-syntax"], "quote the text"),
    "two files": (GOOD + "---\n" + GOOD, ["4:1: yaml-syntax"], "a second document begins here"),
    "control character": (GOOD + "name: a\x07b\n", ["4:8: yaml-syntax"], r"'\x07'"),
    "no such anchor": (GOOD + "name: *a\n", ["4:7: yaml-syntax"], "undefined alias"),
    "a star": (GOOD + "name: *\n", ["4:7: yaml-syntax"], "can't begin with *; quote it"),
    "too deep": (GOOD + "name: " + "[" * 500, ["4:106: yaml-depth"], "100 levels at most"),
    "tag": (GOOD + "name: !mine a\n", ["4:7: yaml-tag"], "the tag !mine means nothing here"),
    "octal": (GOOD + "cluster: {workers: 010}\n", ["4:20: yaml-word"], "reads 010 as 8"),
    "time of day": (
        GOOD + "cluster: {workers: 1:30}\n",
        ["4:20: yaml-word"],
        "YAML reads 1:30 as 90; write 90, or quote it: '1:30'",
    ),
    "own tail": ("a: &a [*a]\n", ["1:1: yaml-alias"], "endless"),
    "twice": (GOOD + "name: a\nname: b\n", ["5:1: duplicate-key"], "first in line 4"),
    "twice inside": (
        GOOD + "cluster: {workers: 1, workers: 2}\n",
        ["4:23: duplicate-key"],
        "'workers' stands here twice",
    ),
    "merge": (GOOD + "cluster: {<<: {workers: 1}}\n", ["4:11: yaml-merge"], "write the keys out"),
    "key on": (GOOD + "on: 1\n", ["4:1: bad-key"], "quote it: 'on'"),
    "list as a key": (GOOD + "? [a]\n: 1\n", ["4:3: bad-key"], "must be text"),
    "yes": (file_source("path: a, follow: yes"), ["2:44: yaml-word"], "write true or false"),
    # Schema
    "nothing in it": (
        "name: a\n",
        ["1:1: missing-option", "1:1: missing-option", "1:1: missing-option"],
        "the file needs 'version'; e.g. `version: 1`",
    ),
    "later version": (
        GOOD.replace("1", "2", 1),
        ["1:10: unknown-value"],
        "version can't be the number 2",
    ),
    "quoted version": (GOOD.replace("1", "'1'", 1), ["1:10: wrong-type"], "not the text '1'"),
    "misspelt section": (GOOD + "step: []\n", ["4:1: unknown-option"], "did you mean 'steps'?"),
    "no sources": ("version: 1\nsources: {}\n" + OUT, ["2:10: empty", "3:9: unfed"], "is empty"),
    "bad name": (GOOD.replace("lines", "my lines"), ["2:11: bad-name"], "begin with a letter"),
    "name of a pipeline": (GOOD + "name: 2x\n", ["4:7: bad-value"], "'2x' is not a name"),
    "misspelt option": (
        file_source("path: a, folow: true"),
        ["2:36: unknown-option"],
        "sources.a has no option 'folow'; did you mean 'follow'?",
    ),
    "no path": (
        "version: 1\nsources: {a: {type: file}}\n" + OUT,
        ["2:14: missing-option"],
        "needs 'path'",
    ),
    "type misspelt": (
        "version: 1\nsources: {a: {typ: stdin}}\n" + OUT,
        ["2:14: missing-option"],
        "is 'typ' meant to be 'type'?",
    ),
    "no type": ("version: 1\nsources: {a: {}}\n" + OUT, ["2:14: missing-option"], "needs 'type'"),
    "misspelt kind": (GOOD.replace("stdout", "stdot"), ["3:21: unknown-value"], "mean 'stdout'?"),
    "option of another kind": (
        sink("type: stdout, path: a"),
        ["3:29: unknown-option"],
        "has no option 'path'",
    ),
    "empty path": (file_source("path: ''"), ["2:33: empty"], "sources.a.path is empty"),
    "text for a number": (
        file_source("path: a, splits: many"),
        ["2:44: wrong-type"],
        "must be a whole number, not the text 'many'; e.g. 4",
    ),
    "fraction": (file_source("path: a, splits: 2.0"), ["2:44: wrong-type"], "the number 2.0"),
    "no splits": (file_source("path: a, splits: 0"), ["2:44: out-of-range"], "at least 1"),
    "too many workers": (
        GOOD + "cluster: {workers: 257}\n",
        ["4:20: out-of-range"],
        "cluster.workers is 257; it must be at most 256",
    ),
    "no rate": (
        GOOD.replace("stdin", "generate, rate: 0"),
        ["2:41: out-of-range"],
        "must be more than 0",
    ),
    "endless rate": (GOOD.replace("stdin", "generate, rate: .inf"), ["2:41: wrong-type"], "inf"),
    "size": (
        file_source("path: a, max_frame: 64K"),
        ["2:47: bad-value"],
        "'64K' is not a size; e.g. 1MiB",
    ),
    "size and a line end": (
        file_source('path: a, max_frame: "64KiB\\n"'),
        ["2:47: bad-value"],
        r"'64KiB\n' is not a size",
    ),
    "duration": (
        sink("type: tcp, address: 'a:1', retry_for: 1 min"),
        ["3:53: bad-value"],
        "'1 min' is not a duration",
    ),
    "address": (sink("type: tcp, address: host"), ["3:35: bad-value"], "is not an address"),
    "reference": (
        steps("name: a, type: map, call: m.f"),
        ["5:30: bad-value"],
        "steps.a.call: 'm.f' is not a code reference",
    ),
    "codec": (sink("type: stdout, codec: jsn"), ["3:36: unknown-value"], "did you mean 'json'?"),
    "codec of no type": (
        sink("type: stdout, codec: {delimiter: ;}"),
        ["3:36: missing-option", "3:37: only-csv"],
        "needs 'type'",
    ),
    "number as a codec": (
        sink("type: stdout, codec: 1"),
        ["3:36: wrong-type"],
        "must be text or a mapping",
    ),
    "stateless step with a state": (
        steps("name: a, type: map, call: 'm:f', partition: 'm:g'"),
        ["5:37: not-stateful"],
        "steps.a is not stateful, so it has no partition",
    ),
    "number as a key": (
        COUNT.replace('Total"', 'Total", keys: {list: [a, 1]}'),
        ["4:49: wrong-type"],
        "must be text, not the number 1; quote it: '1'",
    ),
    "a word that is not text": (
        sink("type: stdout, codec: on"),
        ["3:36: yaml-word"],
        "YAML reads on as true; write true or false, or quote it: 'on'",
    ),
    "two lists of keys": (
        COUNT.replace('Total"', 'Total", keys: {file: a, call: "m:f"}'),
        ["4:38: too-many"],
        "takes one of file, list or call, not file and call",
    ),
    "no keys at all": (
        COUNT.replace('Total"', 'Total", keys: {}'),
        ["4:38: empty"],
        "states.totals.keys is empty",
    ),
    "several at once": (
        file_source("splits: 0, folow: true").replace("stdout", "stdot"),
        [
            *("2:14: missing-option", "2:35: out-of-range"),
            *("2:38: unknown-option", "3:21: unknown-value"),
        ],
        "needs 'path'",
    ),
    # Cross-checks
    "name taken": (
        GOOD.replace("out:", "lines:"),
        ["3:9: duplicate-name"],
        "taken by the source in line 2",
    ),
    "step name taken": (
        steps("name: a, type: map, call: 'm:f'", "name: a, type: map, call: 'm:f'"),
        ["6:10: duplicate-name"],
        "taken by the step in line 5",
    ),
    "unknown input": (
        steps("name: a, type: map, call: 'm:f', from: line"),
        ["2:11: unread", "5:43: unknown-name"],
        "reads 'line', which is no source and no step; did you mean 'lines'?",
    ),
    "no input": (
        steps("name: a, type: map, call: 'm:f', from: []"),
        ["2:11: unread", "5:43: no-from"],
        "step a reads nothing",
    ),
    "which source": (
        GOOD.replace("lines: {type: stdin}", "a: {type: stdin}, b: {type: file, path: x}")
        + "steps: [{name: s, type: map, call: 'm:f'}]\n",
        ["2:11: unread", "2:29: unread", "4:9: no-from"],
        "does not say which source it reads; add `from: a`",
    ),
    "circle": (
        steps(
            "name: a, type: map, call: 'm:f', from: [lines, b]", "name: b, type: map, call: 'm:f'"
        ),
        ["5:43: cycle"],
        "a -> b -> a",
    ),
    "own tail again": (
        steps("name: a, type: map, call: 'm:f', from: [lines, a]"),
        ["5:43: cycle"],
        "a -> a",
    ),
    "unread step": (
        steps(
            "name: a, type: map, call: 'm:f'",
            "name: b, type: map, call: 'm:f', from: lines",
        ),
        ["5:3: unread"],
        "nothing reads the step a",
    ),
    "unfed sink": (
        GOOD.replace("lines: {type: stdin}", "a: {type: stdin}, b: {type: file, path: x}"),
        ["2:11: unread", "2:29: unread", "3:9: unfed"],
        "nothing feeds the sink out",
    ),
    "no partition": (
        COUNT.replace('partition: "m:word", ', ""),
        ["6:5: no-partition"],
        "the stateful step count has no partition",
    ),
    "no state": (
        COUNT.replace("state: totals, ", ""),
        ["4:3: unused-state", "6:5: no-state"],
        "add the state it keeps per key: `state: totals`",
    ),
    "misspelt type of a step with a state": (
        COUNT.replace("type: stateful", "type: statefull"),
        ["6:25: unknown-value"],
        "did you mean 'stateful'?",
    ),
    "unknown state": (
        COUNT.replace("state: totals", "state: total"),
        ["4:3: unused-state", "6:63: unknown-name"],
        "did you mean 'totals'?",
    ),
    "outside of no list": (
        COUNT.replace('Total"', 'Total", unknown: drop'),
        ["4:41: no-keys"],
        "has no `keys`",
    ),
    "dead letters to nowhere": (
        GOOD + "errors: {policy: dead_letter}\n",
        ["4:18: no-dead-letter-sink"],
        "add `sink: name`",
    ),
    "unknown keys to nowhere": (
        COUNT.replace('Total"', 'Total", keys: {list: [a]}, unknown: dead_letter'),
        ["4:60: no-dead-letter-sink"],
        "step count has no sink for them",
    ),
    "dead letters to no sink": (
        GOOD + "errors: {policy: dead_letter, sink: dead}\n",
        ["4:37: unknown-name"],
        "dead letters go to 'dead', which is no sink",
    ),
    "codec twice": (
        sink("type: stdout, codec: json, encode: 'm:f'"),
        ["3:50: codec-twice"],
        "keep one of them",
    ),
    "no lengths": (
        sink("type: tcp, address: 'a:1', length_bytes: 4"),
        ["3:56: no-lengths"],
        "add `framing: length_prefix`",
    ),
    "columns of json": (
        sink("type: stdout, codec: {type: json, columns: [a]}"),
        ["3:49: only-csv"],
        "columns, which json has no use for",
    ),
    "no such port": (
        sink("type: tcp, address: 'a:65536'"),
        ["3:35: bad-value"],
        "'a:65536' is not an address",
    ),
    "no room": (file_source("path: a, max_frame: 0MB"), ["2:47: bad-value"], "is not a size"),
    "endless room": (
        file_source("path: a, max_frame: " + "9" * 400 + "MB"),
        ["2:47: bad-value"],
        "is not a size",
    ),
    "a folder in pieces": (
        file_source("path: /, splits: 2"),
        ["2:44: splits"],
        "reads many files",
    ),
    "a name without a source": (
        GOOD.replace("{type: stdin}", ""),
        ["2:18: wrong-type"],
        "must be a mapping, not nothing",
    ),
    "csv without columns": (sink("type: stdout, codec: csv"), ["3:36: no-columns"], "writes csv"),
    "csv without names": (
        file_source("path: a, codec: {type: csv, header: false}"),
        ["2:43: no-columns"],
        "reads csv without a header",
    ),
    "rotate_wait without follow": (
        file_source("path: a, rotate_wait: 2s"),
        ["2:36: no-use"],
        "does not follow its file",
    ),
    "splits and follow": (
        file_source("path: a, splits: 2, follow: true"),
        ["2:44: splits"],
        "can't be cut and followed",
    ),
    "splits of many files": (
        file_source("path: 'a/*', splits: 2"),
        ["2:48: splits"],
        "many files",
    ),
    "splits of csv": (
        file_source("path: a, splits: 2, codec: csv"),
        ["2:44: splits"],
        "it works with lines, json, bytes",
    ),
    "splits of packed": (file_source("path: a.gz, splits: 2"), ["2:47: splits"], "unpack"),
    "one file, two sinks": (
        "version: 1\n"
        + IN
        + "sinks: {a: {type: file, path: o/x}, b: {type: file, path: o/../o/x}}\n",
        ["3:59: same-file"],
        "sinks a and b write the same file",
    ),
    "writes what it reads": (
        file_source("path: a").replace("stdout", "file, path: ./a"),
        ["3:33: same-file"],
        "would write the file that source a reads",
    ),
    "stdin twice": (
        GOOD.replace("}\n", ", b: {type: stdin}}\n", 1).replace(
            "stdout", "stdout, from: [lines, b]"
        ),
        ["2:33: same-input"],
        "sources lines and b both read stdin",
    ),
    "one address, two listeners": (
        "version: 1\nsources:\n"
        "  a: {type: tcp, address: 'h:1'}\n"
        "  b: {type: tcp, address: 'h:1'}\n"
        "sinks: {out: {type: stdout, from: [a, b]}}\n",
        ["4:27: same-input"],
        "sources a and b both read h:1",
    ),
    "column twice": (
        sink("type: stdout, codec: {type: csv, columns: [a, b, a]}"),
        ["3:64: same-column"],
        "two columns of sink out are called 'a'",
    ),
    "parameters for no function": (
        GOOD.replace("stdin", "generate, with: {a: 1}"),
        ["2:35: no-use"],
        "name the function in `call`",
    ),
    "start of a function": (
        GOOD.replace("stdin", "generate, call: 'm:f', start: 1"),
        ["2:48: no-use"],
        "source lines has start, which only the built-in numbers have; take it out; use `with`",
    ),
    "test of no source": (
        GOOD + "tests: [{name: a, input: {line: []}, expect: {ou: []}}]\n",
        ["4:27: unknown-name", "4:47: unknown-name"],
        "the test names 'line', which is no source; did you mean 'lines'?",
    ),
    # Environment
    "no variable": (
        file_source("path: '${NOPE}', splits: '${NOPE:?how many}'"),
        ["2:33: no-variable", "2:52: no-variable"],
        "the environment has no NOPE: how many",
    ),
    "no such form": (
        file_source("path: '${V-a}'"),
        ["2:33: bad-variable"],
        "write ${V}, ${V:-default} or ${V:?message}, or $${",
    ),
    "environment in a reference": (
        steps("name: a, type: map, call: '${V}'"),
        ["5:30: bad-value"],
        "'${V}' is not a code reference",
    ),
    "autoscale bounds": (
        GOOD + "cluster: {autoscale: {min: 3, max: 2}}\n",
        ["4:36: autoscale-bounds"],
        "at least 3 workers, and at most 2",
    ),
    "autoscale swings": (
        GOOD + "cluster: {autoscale: {min: 1, max: 2, shrink_below: 0.9}}\n",
        ["4:53: autoscale-swings"],
        "to and fro",
    ),
}
