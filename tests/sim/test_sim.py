"""Thousands of clusters, each from its seed: nothing is lost, doubled or stale in any of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sim.small import SHAPES

BLOCK = 100
FAST_BLOCKS, BLOCKS = 1, 20
ROOT = Path(__file__).parents[2]


def play(*arguments: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: there the order of sets does not depend on the day."""
    command = [sys.executable, "-m", "tests.sim", *arguments]
    environ = {**os.environ, "PYTHONHASHSEED": "0"}
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True)


def check(*arguments: str) -> None:
    done = play(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr


def check_block(block: int) -> None:
    check("--seeds", str(block * BLOCK), str(BLOCK))


@pytest.mark.parametrize("block", range(FAST_BLOCKS))
def test_clusters(block: int) -> None:
    """A failure names its seeds; `python -m tests.sim SEED` replays one."""
    check_block(block)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(FAST_BLOCKS, BLOCKS))
def test_more_clusters(block: int) -> None:
    check_block(block)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHAPES)
def test_small_clusters_with_faults_at_every_call(name: str) -> None:
    check("--small", name, "--every", "4")


def test_small_clusters_with_some_faults() -> None:
    check("--small", "single", "--every", "20")


def test_one_is_replayed_in_words_and_the_same_way() -> None:
    first, second = play("7"), play("7")
    assert first.stdout.endswith("right\n")
    assert first.stdout.count("\n") > 5
    assert first.stdout == second.stdout
