"""Messages that fail, and input that is wrong: one clear error each, never a raw traceback."""

from __future__ import annotations

import json
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.run.harness import PLUGIN, ROO, run, summary, write

pytestmark = pytest.mark.slow

WORDS = """
sources: {lines: {type: file, path: in.txt}}
states: {s: {factory: "plug:Total"}}
steps:
  - {name: boom, type: map, call: "plug:boom"}
  - {name: count, type: stateful, partition: "plug:itself", state: s, call: "plug:count"}
sinks:
  out: {type: file, path: out.txt}
  aside: {type: file, path: aside.jsonl, codec: json}
errors: {sink: aside}
"""


def words(folder: Path, *lines: str | bytes, pipeline: str = WORDS, plugin: str = PLUGIN) -> None:
    data = [line.encode() if isinstance(line, str) else line for line in lines]
    (folder / "in.txt").write_bytes(b"\n".join(data) + b"\n")
    write(folder, pipeline, plugin)


def failed(folder: Path, *more: str, code: int = 1, humble: bool = False, **environ: str) -> str:
    """Run; what stderr says. No traceback of Roo's own is in it."""
    done = run(folder, "run", "p.yaml", "--workers", "2", *more, humble=humble, **environ)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert "runner/" not in done.stderr
    return str(done.stderr)


def test_fail_says_everything(tmp_path: Path) -> None:
    words(tmp_path, "good", "bad", "good")
    said = failed(tmp_path)
    for fact in ("step boom", "plug:boom", "ValueError: this one is bad", "bad", "lines",
                 "in.txt", "5", "plug.py", "raise ValueError"):  # fmt: skip
        assert fact in said


def test_a_failure_among_json_lines_is_one(tmp_path: Path) -> None:
    words(tmp_path, "bad")
    done = run(tmp_path, "run", "p.yaml", "--log-format", "json")
    assert done.returncode == 1
    *_, last = map(json.loads, done.stderr.splitlines())
    assert (last["level"], last["outcome"], last["error"]["step"]) == ("error", "failed", "boom")


def test_skip_counts_and_neighbours_live(tmp_path: Path) -> None:
    words(tmp_path, "good", "bad", "good")
    done = run(tmp_path, "run", "p.yaml", "--set", "errors.policy=skip", "--json")
    assert summary(done)["errors"] == 1
    assert (tmp_path / "out.txt").read_text() == "good 1\ngood 2\n"


def test_an_error_whose_text_fails_costs_no_neighbour(tmp_path: Path) -> None:
    plugin = """
class Mute(Exception):
    def __str__(self): raise RuntimeError
def mute(message):
    if message == "bad": raise Mute
    return message
"""
    pipeline = WORDS.replace("plug:boom", "plug:mute")
    words(tmp_path, "good", "bad", "good", pipeline=pipeline, plugin=PLUGIN + plugin)
    done = run(tmp_path, "run", "p.yaml", "--set", "errors.policy=dead_letter")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "aside.jsonl").read_text())["error"].startswith("Mute: ")
    assert (tmp_path / "out.txt").read_text() == "good 1\ngood 2\n"


@pytest.mark.parametrize("workers", ["1", "2"])
def test_what_a_sink_cannot_be_sent(tmp_path: Path, workers: str) -> None:
    """The same whoever writes: a message that stays on its worker is one that could travel."""
    pipeline = """
sources: {lines: {type: file, path: in.txt}}
steps: [{name: lazy, type: map, call: "plug:some_lazy"}]
sinks:
  out: {type: plugin, class: "plug:Names"}
  aside: {type: file, path: aside.jsonl, codec: json}
errors: {policy: dead_letter, sink: aside}
"""
    plugin = """
from roo.api import Sink
class Names(Sink):
    takes_bytes = False
    def write(self, data):
        with open("out.txt", "a") as file: file.writelines(f"{m}\\n" for m in data)
def some_lazy(message): return (lambda: 1) if message == "bad" else message
"""
    words(tmp_path, "good", "bad", "fine", pipeline=pipeline, plugin=PLUGIN + plugin)
    done = run(tmp_path, "run", "p.yaml", "--workers", workers, "--json")
    assert summary(done)["outputs"] == {"out": 2, "aside": 1}, done.stderr
    assert (tmp_path / "out.txt").read_text() == "good\nfine\n"
    letter = json.loads((tmp_path / "aside.jsonl").read_text())
    assert letter["step"] == "out"
    assert "a message of type builtins.function can't be sent to sink out" in letter["error"]


@pytest.mark.parametrize("path", ["out.txt", "out.{worker}"])
def test_outputs_are_what_is_written(tmp_path: Path, path: str) -> None:
    """Neither what does not encode nor what a function leaves out with None."""
    plugin = """
def encode(message):
    if message == "bad": raise ValueError
    return None if message == "none" else message
"""
    pipeline = f"""
sources: {{lines: {{type: file, path: in.txt}}}}
sinks: {{out: {{type: file, path: "{path}", encode: "plug:encode"}}}}
"""
    lines = "good", "bad", "none", "good", "none"
    words(tmp_path, *lines, pipeline=pipeline, plugin=PLUGIN + plugin)
    done = run(tmp_path, "run", "p.yaml", "--set", "errors.policy=skip", "--json")
    found = summary(done)
    assert (found["outputs"]["out"], found["errors"]) == (2, 1)
    assert (tmp_path / path.format(worker=0)).read_text() == "good\ngood\n"


def test_dead_letters_say_everything(tmp_path: Path) -> None:
    words(tmp_path, "good", "bad", b"\xff\xfe", "good")
    done = run(tmp_path, "run", "p.yaml", "--set", "errors.policy=dead_letter", "--json")
    assert summary(done)["dead_letters"] == 2
    letters = [json.loads(line) for line in (tmp_path / "aside.jsonl").read_text().splitlines()]
    boom = next(letter for letter in letters if letter["step"] == "boom")
    assert boom == {
        "pipeline": "p", "step": "boom", "function": "plug:boom", "message": "bad",
        "error": "ValueError: this one is bad", "source": "lines", "split": "in.txt", "offset": 5,
    }  # fmt: skip
    decode = next(letter for letter in letters if letter["step"] == "lines")
    assert decode["offset"] == 9
    assert "UnicodeDecodeError" in decode["error"]
    assert decode["function"] == "codec lines"
    assert (tmp_path / "out.txt").read_text() == "good 1\ngood 2\n"


@pytest.mark.parametrize("limit", ["max_errors=1", "max_ratio=0.1"])
def test_limits_end_the_run(tmp_path: Path, limit: str) -> None:
    words(tmp_path, *["bad", "good"] * 5)
    said = failed(tmp_path, "--set", "errors.policy=skip", "--set", f"errors.{limit}")
    assert limit.partition("=")[0] in said


CASES: dict[str, tuple[str, str, list[str]]] = {
    "binary garbage": (
        "",
        "",
        ["source lines", "offset", "in.txt", "see whether codec lines fits"],
    ),
    "not a key": ("plug:itself", "plug:mod_", ["count", "plug:mod_", "(int)", "a key is str"]),
    "unsendable": ("plug:boom", "plug:lazy", ["count", "function", "can't be sent"]),
    "unreadable": ("plug:boom", "plug:torn", ["sent to count", "ValueError: not so", "__init__"]),
    "sys.exit": ("plug:boom", "plug:leave", ["step boom", "SystemExit", "plug:leave", "word"]),
}


@pytest.mark.parametrize("case", CASES)
def test_wrong_at_run_time(tmp_path: Path, case: str) -> None:
    old, new, facts = CASES[case]
    plugin = PLUGIN + "\ndef mod_(message): return len(message)\n"
    line: str | bytes = b"\x00\xff\x80" if case == "binary garbage" else "word"
    pipeline = WORDS.replace(old, new) if old else WORDS
    if case in ("unsendable", "unreadable"):
        pipeline = pipeline.replace("plug:itself", "plug:always")
        plugin += """
def always(message): return "k"
def not_so(): raise ValueError("not so")
class Torn:
    def __reduce__(self): return not_so, ()
def torn(message): return Torn()
"""
    words(tmp_path, line, pipeline=pipeline, plugin=plugin)
    said = failed(tmp_path)
    for fact in facts:
        assert fact in said


def test_a_line_without_end_is_stopped_by_max_frame(tmp_path: Path) -> None:
    words(tmp_path)
    with (tmp_path / "in.txt").open("wb") as file:
        file.truncate(1 << 30)
    said = failed(tmp_path)
    assert "max_frame" in said


BEFORE: dict[str, tuple[dict[str, str], str, list[str]]] = {
    "missing input": ({"sources.lines.path": "no.txt"}, "", ["p.yaml:", "no file no.txt"]),
    "folder as output": ({"sinks.out.path": "."}, "", ["p.yaml:", "irectory"]),
    "path through a file": ({"sinks.out.path": "in.txt/out"}, "", ["p.yaml:", "irectory"]),
    "no module": ({"steps.boom.call": "nomod:f"}, "", ["no-module", "nomod"]),
    "no function": ({"steps.boom.call": "plug:bom"}, "", ["no-function", "did you mean 'boom'"]),
    "raises at import": ({}, "raise RuntimeError('at import')", ["bad-import", "plug.py:1"]),
    "syntax error": ({}, "def f(:", ["bad-import", "SyntaxError", "plug.py:1"]),
    "hangs at import": ({}, "import time; time.sleep(100)", ["slow-import"]),
    "wrong parameters": ({"steps.boom.call": "plug:count"}, "", ["wrong-parameters", "state"]),
}


def test_all_that_is_wrong_outside_is_said_at_once(tmp_path: Path) -> None:
    words(tmp_path)
    said = failed(tmp_path, "--set", "sources.lines.path=no.txt", "--set", "sinks.out.path=.",
                  code=2)  # fmt: skip
    assert "--set sources.lines.path=no.txt: source lines: there is no file no.txt" in said
    assert "--set sinks.out.path=.: sink out: " in said


BAD_SOURCES = {
    "def check(self): 1 / 0": "ZeroDivisionError: division by zero (",
    "def splits(self): return [1]": "splits() gave [1]; give a list of roo.api.Split",
}


@pytest.mark.parametrize("method", BAD_SOURCES)
def test_a_source_that_raises_before_any_worker_starts(tmp_path: Path, method: str) -> None:
    plugin = f"from roo.api import Source\nclass Bad(Source):\n    {method}\n"
    pipeline = 'sources: {s: {type: plugin, class: "plug:Bad"}}\nsinks: {o: {type: stdout}}\n'
    words(tmp_path, pipeline=pipeline, plugin=plugin)
    said = failed(tmp_path, code=2)
    assert said.startswith("p.yaml:2:36: connector: source s: ")
    assert BAD_SOURCES[method] in said


@pytest.mark.parametrize("method", ["open(self, context)", "close(self)"])
def test_a_sink_that_can_not_be_opened_or_closed(tmp_path: Path, method: str) -> None:
    plugin = (
        "from roo.api import Sink\nclass Bad(Sink):\n    takes_bytes = False\n"
        f"    def write(self, data): pass\n    def {method}: 1 / 0\n"
    )
    pipeline = """
sources: {g: {type: generate, count: 1}}
sinks: {o: {type: plugin, class: "plug:Bad"}}
"""
    words(tmp_path, pipeline=pipeline, plugin=plugin)
    said = failed(tmp_path)
    assert "sink o failed: ZeroDivisionError: division by zero" in said
    assert "plug.py" in said


@pytest.mark.parametrize("case", BEFORE)
def test_wrong_before_any_worker_starts(tmp_path: Path, case: str) -> None:
    changes, plugin, facts = BEFORE[case]
    words(tmp_path, "word", plugin=plugin or PLUGIN)
    options = [word for path, v in changes.items() for word in ("--set", f"{path}={v}")]
    said = failed(tmp_path, *options, code=2, ROO_IMPORT_DEADLINE_S="1")
    for fact in facts:
        assert fact in said


FORBIDDEN: dict[str, tuple[str, int, str, list[str]]] = {
    "the pipeline": ("p.yaml", 0o000, "", ["no-permission", "p.yaml"]),
    "the plugin": ("plug.py", 0o000, "", ["bad-import", "plug"]),
    "the input": ("in.txt", 0o000, "", ["p.yaml:", "in.txt may not be read"]),
    "the folder of the input": ("in", 0o000, "sources.lines.path=in/in.txt",
                                ["p.yaml:", "in/in.txt may not be read"]),
    "the output": ("out.txt", 0o444, "", ["p.yaml:", "out.txt", "ermission denied"]),
    "the folder of the output": ("out", 0o555, "sinks.out.path=out/o.txt",
                                 ["p.yaml:", "out/o.txt", "ermission denied"]),
}  # fmt: skip


@pytest.mark.parametrize("case", FORBIDDEN)
def test_no_permission(tmp_path: Path, case: str) -> None:
    name, mode, change, facts = FORBIDDEN[case]
    words(tmp_path, "word")
    for folder in ("in", "out"):
        (tmp_path / folder).mkdir()
    (tmp_path / "in" / "in.txt").touch()
    (tmp_path / "out.txt").touch()
    (tmp_path / name).chmod(mode)
    try:
        said = failed(tmp_path, *(["--set", change] if change else []), code=2, humble=True)
    finally:
        (tmp_path / name).chmod(0o777)
    for fact in facts:
        assert fact in said


def test_a_full_disk_under_the_sink(tmp_path: Path) -> None:
    words(tmp_path, "word")
    said = failed(tmp_path, "--set", "sinks.out.path=/dev/full")
    assert "/dev/full" in said
    assert "disk is full" in said


def test_a_full_disk_under_stdout(tmp_path: Path) -> None:
    words(tmp_path, "word", pipeline=WORDS.replace("{type: file, path: out.txt}", "{type: stdout}"))
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*ROO, "run", "p.yaml"], cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, timeout=180
        )
    said = done.stderr.decode()
    assert done.returncode == 1
    assert "sink out failed: can't write to stdout: No space left on device" in said
    assert "runner/" not in said


def test_a_taken_port_is_an_environment_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        pipeline = (
            f'sources: {{t: {{type: tcp, address: "{address}"}}}}\nsinks: {{o: {{type: "null"}}}}\n'
        )
        write(tmp_path, pipeline)
        said = failed(tmp_path, code=3)
    assert address in said


@pytest.mark.parametrize("workers", ["0", "-1", "x", "10000"])
def test_workers_must_be_a_number_of_workers(tmp_path: Path, workers: str) -> None:
    words(tmp_path, "word")
    done = run(tmp_path, "run", "p.yaml", f"--workers={workers}")
    assert done.returncode == 2
    assert "from 1 to 256" in done.stderr


def test_a_plugin_that_prints_does_not_touch_the_data(tmp_path: Path) -> None:
    words(tmp_path, "a", pipeline=WORDS.replace("plug:boom", "plug:loud")
          .replace("{type: file, path: out.txt}", "{type: stdout}"))  # fmt: skip
    done = run(tmp_path, "run", "p.yaml")
    assert done.stdout == "a 1\n"
    assert "printed by a plugin" in done.stderr


@pytest.mark.parametrize("unknown", ["create", "reject", "drop", "dead_letter"])
def test_keys_outside_the_list(tmp_path: Path, unknown: str) -> None:
    pipeline = WORDS.replace(
        'factory: "plug:Total"',
        f'factory: "plug:Total", keys: {{list: [a, b]}}, unknown: {unknown}',
    )
    words(tmp_path, "a", "new", "a", pipeline=pipeline)
    done = run(tmp_path, "run", "p.yaml", "--workers", "2", "--json")
    outcome: dict[str, Any] = summary(done)
    assert done.returncode == (1 if unknown == "reject" else 0)
    if unknown == "reject":
        assert "'new' is not in the keys" in done.stderr
        return
    assert outcome["keys"] == (3 if unknown == "create" else 2)
    assert outcome["dropped"] == (unknown == "drop")
    assert outcome["dead_letters"] == (unknown == "dead_letter")


CONNECTORS = """
from roo.api import Read, Reader, Sink, Source, Split

class Feed(Source):
    rewindable = True
    def open(self, split, offset, codec, context): return FeedReader()
class FeedReader(Reader):
    def read(self): return Read(["word"], 0, 1, end=True)
class Taker(Sink):
    def write(self, data): pass

"""
BROKEN: dict[str, tuple[str, str, int, list[str]]] = {
    "source: __init__": ("Feed", "def __init__(self, options): 1 / 0", 2, ["ZeroDiv", "plug.py:"]),
    "source: splits": ("Feed", "def splits(self): return 1 / 0", 2, ["p.yaml:2:", "ZeroDivision"]),
    "source: split": (
        "Feed",
        "def splits(self): return [Split('a', {'f': id})]",
        2,
        ["plain data"],
    ),
    "source: open": ("Feed", "def open(self, *_): return 1", 1, ["`open` returned 1", "Reader"]),
    "source: read": (
        "FeedReader",
        "def read(self): return [1]",
        1,
        ["`read` returned [1]", "Read"],
    ),
    "source: close": ("FeedReader", "def close(self): 1 / 0", 1, ["ZeroDivisionError", "plug.py"]),
    "sink: check": ("Taker", "def check(self): 1 / 0", 2, ["ZeroDivisionError", "plug.py:"]),
    "sink: open": ("Taker", "def open(self, context): 1 / 0", 1, ["ZeroDivisionError", "plug.py"]),
    "sink: write": ("Taker", "def write(self, data): raise BrokenPipeError", 1, ["BrokenPipe"]),
    "sink: prepare": ("Taker", "def prepare(self): return id", 1, ["`prepare` returns", "plain"]),
    "sink: close": ("Taker", "def close(self): 1 / 0", 1, ["ZeroDivisionError", "plug.py"]),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_connector_of_the_users_that_fails_is_named(tmp_path: Path, case: str) -> None:
    """Nothing that its class does wrong passes in silence, or ends in a traceback of Roo's."""
    cls, method, code, facts = BROKEN[case]
    plugin = CONNECTORS.replace(f"class {cls}(", "class Sound(")
    plugin += f"class {cls}(Sound):\n    {method}\n"
    pipeline = """sources: {feed: {type: plugin, class: "plug:Feed"}}
sinks: {taker: {type: plugin, class: "plug:Taker"}}
"""
    write(tmp_path, pipeline, plugin)
    said = failed(tmp_path, code=code)
    for fact in ("source feed" if case.startswith("source") else "sink taker", *facts):
        assert fact in said
