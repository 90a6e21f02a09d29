"""`roo test` on every example: the `tests:` blocks pass, and a wrong one does not."""

from __future__ import annotations

import subprocess
import sys

import pytest

from . import models


def roo(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run roo from the repository's root."""
    return subprocess.run(
        [sys.executable, "-m", "roo", *arguments],
        cwd=models.ROOT,
        capture_output=True,
        text=True,
        timeout=180,
    )


@pytest.mark.parametrize("name", models.MODELS)
def test_the_block_passes(name: str) -> None:
    file = models.ROOT / "pipelines" / f"{name}.yaml"
    tests = file.read_text().split("\ntests:")[1].count("\n  - name: ")
    done = roo("test", f"pipelines/{name}.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{tests} passed, 0 failed" in done.stdout


def test_another_computation_fails_the_block() -> None:
    done = roo("test", "pipelines/wordcount.yaml", "--set", "steps.0.call=builtins:str.split")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "they => 2" in done.stdout


@pytest.mark.parametrize("name", models.MODELS)
def test_the_file_is_valid(name: str) -> None:
    done = roo("validate", f"pipelines/{name}.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
