"""Every verb and option, as a user types them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.run.harness import run, summary, write

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
WORDCOUNT = "pipelines/wordcount.yaml"


def test_plan_says_who_owns_a_key() -> None:
    done = run(ROOT, "plan", WORDCOUNT, "--workers", "3", "--key", "the", "--key", "apple")
    assert done.returncode == 0
    assert "'the'    0xcb1283631cf33d7d  worker 2" in done.stdout
    assert "'apple'  0x517a430dcf1f8a00  worker 0" in done.stdout


def test_plan_as_json() -> None:
    facts = summary(run(ROOT, "plan", WORDCOUNT, "--workers", "2", "--key", "the", "--json"))
    assert [stage["entries"] for stage in facts["stages"]] == [["lines"], ["count"], ["counts"]]
    assert [i["share"] for i in facts["intervals"]] == [0.5, 0.5]
    assert facts["keys"] == [{"key": "the", "hash": "0xcb1283631cf33d7d", "worker": 1}]


def test_plan_gives_shares_by_weight(tmp_path: Path) -> None:
    write(tmp_path, """
sources: {numbers: {type: generate, count: 10}}
states: {totals: {factory: "plug:Total"}}
steps: [{name: count, type: stateful, partition: "plug:mod", state: totals, call: "plug:count"}]
sinks: {out: {type: file, path: out.txt}}
cluster: {workers: 2, weights: [3, 1]}
""")  # fmt: skip
    facts = summary(run(tmp_path, "plan", "p.yaml", "--json"))
    shares: dict[int, float] = {0: 0, 1: 0}
    for interval in facts["intervals"]:
        shares[interval["worker"]] += interval["share"]
    assert shares == {0: 0.75, 1: 0.25}


def test_plan_prints_the_hot_path() -> None:
    code = run(ROOT, "plan", WORDCOUNT, "--code").stdout
    compile(code, "hot path", "exec")
    assert "def stage_0_lines(messages):" in code
    assert "for m1 in call_split(m0) or ():" in code


def test_validate_and_test_as_json(tmp_path: Path) -> None:
    assert json.loads(run(ROOT, "validate", WORDCOUNT, "--json").stdout) == []
    outcome = summary(run(ROOT, "test", WORDCOUNT, "--json"))
    assert (outcome["passed"], outcome["failed"]) == (3, 0)
    (tmp_path / "bad.yaml").write_text("version: 2\n")
    done = run(tmp_path, "validate", "bad.yaml", "--json")
    assert done.returncode == 2
    assert {f["code"] for f in json.loads(done.stdout)} >= {"unknown-value", "missing-option"}


def test_a_failing_test_shows_what_differs(tmp_path: Path) -> None:
    text = (ROOT / WORDCOUNT).read_text().replace('"they => 2"', '"they => 3"')
    (tmp_path / "w.yaml").write_text(text)
    done = run(ROOT, "test", str(tmp_path / "w.yaml"))
    assert done.returncode == 1
    assert "- they => 3" in done.stdout
    assert "+ they => 2" in done.stdout


def test_a_plugin_that_ends_the_process_fails_its_test(tmp_path: Path) -> None:
    write(tmp_path, """
sources: {lines: {type: stdin}}
steps: [{name: leave, type: map, call: "plug:leave"}]
sinks: {out: {type: stdout}}
tests:
  - {name: leaves, input: {lines: [a]}, expect: {out: []}}
  - {name: stays, input: {lines: []}, expect: {out: []}}
""")  # fmt: skip
    done = run(tmp_path, "test", "p.yaml")
    assert done.returncode == 1
    assert "FAILED  p.yaml: leaves\n        SystemExit: 3 (" in done.stdout
    assert "ok      p.yaml: stays" in done.stdout


def test_a_bad_file_is_no_reason_to_leave_out_the_tests_of_others() -> None:
    done = run(ROOT, "test", "README.md", WORDCOUNT)
    assert done.returncode == 2
    assert done.stdout.endswith("s\n")
    assert "3 passed, 0 failed" in done.stdout
    assert done.stderr.startswith("README.md:")


def test_nothing_is_counted_where_no_file_is_good() -> None:
    done = run(ROOT, "test", "README.md")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("README.md:")


def test_what_is_no_address_of_a_run() -> None:
    done = run(ROOT, "status", "tcp://127.0.0.1:x")
    assert done.returncode == 2
    assert "'tcp://127.0.0.1:x' is not tcp://HOST:PORT" in done.stderr


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_plain_status_and_summary_go_to_stderr(tmp_path: Path, log_format: str) -> None:
    done = run(ROOT, "run", WORDCOUNT, "--status", "plain", "--log-format", log_format,
               "--set", f"sinks.counts.path={tmp_path / 'out.txt'}")  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "")
    assert "684" in done.stderr
    if log_format == "json":
        *_, last = map(json.loads, done.stderr.splitlines())
        assert (last["level"], last["outcome"]) == ("info", "finished")
        assert last["outputs"] == {"counts": 684}
    assert len((tmp_path / "out.txt").read_text().splitlines()) == 684


def test_rich_status_can_be_forced(tmp_path: Path) -> None:
    done = run(ROOT, "run", WORDCOUNT, "--status", "rich", NO_COLOR="1",
               TERM="xterm", COLUMNS="100")  # fmt: skip
    assert done.returncode == 0
    assert "wordcount" in done.stderr


def test_json_and_a_stdout_sink_do_not_mix() -> None:
    done = run(ROOT, "run", WORDCOUNT, "--json", "--set", "sinks.counts={type: stdout}")
    assert done.returncode == 2
    assert "--json prints to stdout" in done.stderr


@pytest.mark.parametrize(
    ("words", "meant"),
    [(["rnu", WORDCOUNT], "did you mean 'run'"),
     (["run", WORDCOUNT, "--worker=2"], "did you mean '--workers'"),
     (["run", WORDCOUNT, "--status", "plian"], "did you mean 'plain'"),
     (["checkpoint", "lst"], "did you mean 'list'"),
     (["run", "pipelines/wordcuont.yaml"], "did you mean 'pipelines/wordcount.yaml'"),
     (["run", WORDCOUNT, "--set", "sources.lnies.path=x"], "did you mean 'lines'")],
)  # fmt: skip
def test_a_misspelt_word_is_answered_with_the_one_that_was_meant(
    words: list[str], meant: str
) -> None:
    done = run(ROOT, *words)
    assert done.returncode == 2
    assert meant in done.stderr
    assert "Traceback" not in done.stderr


def test_help_and_version() -> None:
    helped = run(ROOT, "--help")
    for verb in ("run", "validate", "test", "plan"):
        assert verb in helped.stdout
    assert run(ROOT, "--version").stdout.startswith("roo ")
    assert run(ROOT).returncode == 2


def test_graph_draws_the_steps_and_says_what_each_path_promises() -> None:
    done = run(ROOT, "graph", "pipelines/wordcount.yaml")
    assert done.returncode == 0
    assert "└─ count (stateful, state totals)" in done.stdout
    assert "lines -> counts: state exactly once, output exactly once" in done.stdout
    facts = json.loads(
        run(ROOT, "graph", "pipelines/wordcount.yaml", "--no-checkpoint", "--json").stdout
    )
    assert facts["promises"][0]["output"] == "lost in a crash"
    assert ["split", "count"] in facts["edges"]


def test_a_run_says_first_what_it_promises(tmp_path: Path) -> None:
    write(tmp_path, 'sources: {a: {type: stdin}}\nsinks: {o: {type: "null"}}\n')
    done = run(tmp_path, "run", "p.yaml", "--status", "plain")
    assert "a -> o: output lost in a crash" in done.stderr.splitlines()[0]
    done = run(tmp_path, "run", "p.yaml", "--status", "plain", "--set", "checkpoint.every=1s")
    assert "a -> o: output at most once" in done.stderr.splitlines()[0]


SHELL = {
    "pipe": "| head -0",
    "full disk": "> /dev/full",
    "closed": ">&-",
    "closed stderr": "2>&-",
    "closed stdin": "<&-",
    "a locale without Unicode": "",
}


@pytest.mark.parametrize("case", SHELL)
@pytest.mark.parametrize("words", [f"graph {WORDCOUNT}", "validate README.md", "--help"])
def test_streams_that_take_nothing(case: str, words: str) -> None:
    """No traceback; the exit code is the verb's own, 3 where what it printed is lost."""
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m roo {words} {SHELL[case]}; exit ${{PIPESTATUS[0]}}"],
        cwd=ROOT, capture_output=True, text=True, timeout=180,
        env={**os.environ, "PYTHONUNBUFFERED": "", **(ascii_only if "locale" in case else {})},
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr
    assert done.returncode == (3 if case == "full disk" else 2 if "validate" in words else 0)
    assert ("error: No space left on device" in done.stderr) == (case == "full disk")
    if "stderr" in case or "stdin" in case or "locale" in case:
        assert done.stdout


def test_options_before_the_verb_and_words_too_many() -> None:
    done = run(ROOT, "--workers", "2", "run", WORDCOUNT)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no option --workers before the verb" in done.stderr
    done = run(ROOT, "plan", WORDCOUNT, "README.md")
    assert done.returncode == 2
    assert "too much: README.md" in done.stderr
    assert "did you mean" not in run(ROOT, "--json").stderr
