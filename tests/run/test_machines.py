"""Several machines, as network namespaces with addresses and links of their own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.run.harness import ROO, children, run, until
from tests.run.live import (
    DETECTOR,
    DETECTOR_PIPELINE,
    Live,
    check_detector,
    check_detector_files,
)

pytestmark = pytest.mark.slow

PORT = 7070


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=180)


def may_make_namespaces() -> bool:
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    done = subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False)
    return done.returncode == 0


class Machines:
    """Three machines: 0 in the middle, 1 and 2 joined to it by a link each, and through it to each
    other.
    """

    def __init__(self) -> None:
        self.names = [f"roo{os.getpid() % 10_000}-{number}" for number in range(3)]
        for name in self.names:
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        for number in (1, 2):
            here, there = self._ends(number)
            ip("link", "add", here, "type", "veth", "peer", "name", there)
            ip("link", "set", here, "netns", self.names[0])
            ip("link", "set", there, "netns", self.names[number])
            ip("-n", self.names[0], "addr", "add", f"10.77.{number}.1/24", "dev", here)
            ip("-n", self.names[number], "addr", "add", f"10.77.{number}.2/24", "dev", there)
            ip("-n", self.names[0], "link", "set", here, "up")
            ip("-n", self.names[number], "link", "set", there, "up")
            ip("-n", self.names[number], "route", "add", "default", "via", f"10.77.{number}.1")
        forward = "/proc/sys/net/ipv4/ip_forward"
        ip("netns", "exec", self.names[0], "sh", "-c", f"echo 1 > {forward}")

    def _ends(self, number: int) -> tuple[str, str]:
        return f"r{os.getpid() % 10_000}h{number}", f"r{os.getpid() % 10_000}t{number}"

    def on(self, number: int, *words: str) -> list[str]:
        """A command on a machine."""
        return ["ip", "netns", "exec", self.names[number], *words]

    def cut(self, number: int) -> None:
        """Nothing passes on the link of a machine any more; nobody is told."""
        here, _ = self._ends(number)
        ip("-n", self.names[0], "link", "set", here, "down")

    def mend(self, number: int) -> None:
        """It is a link again."""
        here, _ = self._ends(number)
        ip("-n", self.names[0], "link", "set", here, "up")

    def remove(self) -> None:
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


@pytest.fixture(name="machines")
def _machines() -> Iterator[Machines]:
    if not may_make_namespaces():
        pytest.skip("network namespaces need root and iproute2")
    machines = Machines()
    yield machines
    machines.remove()


class Spread(Live):
    """A run on machine 0, that the others join."""

    def __init__(self, folder: Path, machines: Machines, pipeline: str = DETECTOR_PIPELINE) -> None:
        self.machines = machines
        assert run(folder, "key", "new", "a.key").returncode == 0
        super().__init__(folder, pipeline, DETECTOR, "--workers", "1", "--listen",
                         f"tcp://0.0.0.0:{PORT}", "--key", "a.key")  # fmt: skip

    def start(self) -> subprocess.Popen[bytes]:
        self._log = (self.folder / "log.txt").open("ab")
        words = ["run", "p.yaml", "--status", "plain", *self._words]
        self.process = subprocess.Popen(
            self.machines.on(0, *ROO, *words), cwd=self.folder, stderr=self._log
        )
        return self.process

    def join(self, number: int) -> subprocess.Popen[bytes]:
        """Another machine joins: once it has."""
        count = len(self.workers())
        address = f"tcp://10.77.{number}.1:{PORT}"
        command = self.machines.on(number, *ROO, "join", address, "--key", "a.key")
        process = subprocess.Popen(command, cwd=self.folder, stderr=subprocess.PIPE)
        until(lambda: len(self.workers()) > count, f"machine {number} to join")
        return process


def pass_time(seconds: float) -> None:
    end_s = time.monotonic() + seconds
    until(lambda: time.monotonic() > end_s, "time to pass", seconds + 5)


def test_two_machines_join_a_link_is_cut_for_a_moment_and_one_leaves(
    tmp_path: Path, machines: Machines
) -> None:
    with Spread(tmp_path, machines) as live:
        first, second = live.join(1), live.join(2)
        machines.cut(2)
        pass_time(3)
        machines.mend(2)
        live.until_going()
        assert live.workers() == [0, 1, 2]
        live.change(leaves=[1])
        first.communicate(timeout=180)
        assert first.returncode == 0
        live.until_going()
        said = live.stop()
        second.communicate(timeout=180)
        assert second.returncode == 0
    assert "start again" not in said
    assert check_detector(tmp_path / "out.txt") > 0


def test_a_link_is_cut_for_long_and_the_machine_comes_back(
    tmp_path: Path, machines: Machines
) -> None:
    with Spread(tmp_path, machines) as live:
        first, second = live.join(1), live.join(2)
        machines.cut(2)
        pass_time(30)
        machines.mend(2)
        _, said = second.communicate(timeout=180)
        assert second.returncode == 3
        assert b"given no sign" in said
        live.until_said("start again from")
        live.until_going()
        again = live.join(2)
        assert len(live.workers()) == 4
        live.stop()
        for process in (first, again):
            process.communicate(timeout=180)
            assert process.returncode == 0
    assert check_detector(tmp_path / "out.txt") > 0


def test_a_machine_is_gone_for_good(tmp_path: Path, machines: Machines) -> None:
    with Spread(tmp_path, machines) as live:
        first, second = live.join(1), live.join(2)
        machines.cut(2)
        second.kill()
        until(lambda: "start again from" in live.said(), "it to be missed", 30)
        live.until_going()
        assert live.workers() == [0, 1, 2]
        live.stop()
        first.communicate(timeout=180)
    assert check_detector(tmp_path / "out.txt") > 0


@pytest.mark.parametrize("all_of_it", [False, True], ids=["roo join", "all of it"])
def test_a_machine_is_paused_and_writes_when_it_wakes(
    tmp_path: Path, machines: Machines, all_of_it: bool
) -> None:
    """Its worker has a successor by then, which writes the file of the same name."""
    pipeline = DETECTOR_PIPELINE.replace("path: out.txt", 'path: "out-{worker}.txt"')
    pipeline += "cluster: {timeout: 3s}\n"
    (tmp_path / "out.txt").write_text("not of this run\n")
    mine, its = tmp_path / "out-0.txt", tmp_path / "out-1.txt"
    with Spread(tmp_path, machines, pipeline) as live:
        until(lambda: mine.exists() and mine.stat().st_size > 0, "an output")
        joined = live.join(1)
        until(lambda: its.stat().st_size > 0, "its output")
        paused = [joined.pid, *(children(joined.pid) if all_of_it else [])]
        for pid in paused:
            os.kill(pid, signal.SIGSTOP)
        live.until_said("start again from")
        until(lambda: live.status()["phase"] == "running", "it to be running")
        for pid in reversed(paused):
            os.kill(pid, signal.SIGCONT)
        joined.wait(timeout=180)
        size = its.stat().st_size
        until(lambda: its.stat().st_size > size, "more of it")
        live.ask("stop")
        live.process.communicate(timeout=180)
        assert live.process.returncode == 0, live.said()
    check_detector_files(tmp_path, "out-*.txt")
