"""A run that other machines join: who may, who may not, and what becomes of them. On loopback."""

from __future__ import annotations

import os
import pickle
import re
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import zmq

from roo.runtime.registry import find
from tests.run.harness import ROO, children, run, until
from tests.run.live import DETECTOR, DETECTOR_PIPELINE, Live, check_detector

pytestmark = pytest.mark.slow


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# A plugin that does not load, or takes its time, for as long as the test wants it.
SLOW = """
import os, time
while os.path.exists("slow"):
    time.sleep(0.01)
if os.path.exists("broken"):
    raise ImportError("a library is missing here")
"""


class Listening(Live):
    """A run of two workers that listens, with a key."""

    def __init__(
        self, folder: Path, pipeline: str = DETECTOR_PIPELINE, plugin: str = DETECTOR
    ) -> None:
        self.port = free_port()
        self.address = f"tcp://127.0.0.1:{self.port}"
        assert run(folder, "key", "new", "a.key").returncode == 0
        super().__init__(folder, pipeline, plugin, "--workers", "2", "--listen", self.address,
                         "--key", "a.key")  # fmt: skip

    def join(
        self, *words: str, key: str = "a.key", folder: Path | None = None
    ) -> subprocess.Popen[bytes]:
        """`roo join`, running."""
        command = [*ROO, "join", self.address, "--key", key, *words]
        return subprocess.Popen(command, cwd=folder or self.folder, stderr=subprocess.PIPE)

    def joined(self, *words: str) -> subprocess.Popen[bytes]:
        """`roo join`, once its workers have joined."""
        count = len(self.workers())
        process = self.join(*words)
        until(lambda: len(self.workers()) > count, "a worker to join")
        return process


@pytest.fixture(name="live")
def _live(tmp_path: Path) -> Iterator[Listening]:
    with ExitStack() as stack:
        yield stack.enter_context(Listening(tmp_path))


def end(process: subprocess.Popen[bytes], code: int) -> str:
    _, said = process.communicate(timeout=180)
    assert process.returncode == code, said.decode()
    return said.decode()


def test_a_machine_joins_and_its_workers_leave(live: Listening) -> None:
    process = live.joined("--workers", "2")
    assert live.workers() == [0, 1, 2, 3]
    live.change(leaves=[0, 2])
    assert process.poll() is None
    live.change(leaves=[3])
    said = end(process, 0)
    assert re.search(r"moving \d+ interval\(s\), about [\d,]+ keys", said), said
    assert re.search(r"moved \d+ interval\(s\), [\d,]+ keys .* longest pause \d+ ms", said), said
    assert "not needed any more" in said
    live.stop()
    assert check_detector(live.folder / "out.txt") > 0


def test_a_machine_stays_to_the_end_of_the_run(live: Listening) -> None:
    process = live.joined("--advertise", "127.0.0.1")
    live.stop()
    end(process, 0)
    check_detector(live.folder / "out.txt")


def test_a_machine_that_nobody_reaches_does_not_join(live: Listening) -> None:
    """Its workers would be waited for at the first barrier."""
    process = live.join("--advertise", "127.0.0.1", "--workers", "1")
    until(lambda: len(live.workers()) == 3, "the first to join")
    lost = live.join("--advertise", "192.0.2.1", "--workers", "2")  # an address for documentation
    live.until_said("no change of workers: worker ")
    assert re.search(r"worker [34] can not be reached at 192\.0\.2\.1:\d+", end(lost, 3))
    assert live.workers() == [0, 1, 2]
    live.stop()
    end(process, 0)
    check_detector(live.folder / "out.txt")


def test_a_machine_is_asked_to_leave_by_its_own_terminal(live: Listening) -> None:
    process = live.joined()
    process.send_signal(signal.SIGINT)
    said = end(process, 0)
    assert "leaving" in said
    assert said.count("moved ") == 2  # as it came and as it went
    assert live.workers() == [0, 1]
    assert "start again" not in live.stop()
    check_detector(live.folder / "out.txt")


def test_a_worker_elsewhere_dies(live: Listening) -> None:
    process = live.joined()
    [victim] = children(process.pid)
    os.kill(victim, signal.SIGKILL)
    live.until_said("worker 2 was killed by SIGKILL: all workers start again from")
    live.until_going()
    assert children(process.pid)  # it has started again there
    live.stop()
    end(process, 0)
    check_detector(live.folder / "out.txt")


def test_a_whole_machine_dies(tmp_path: Path) -> None:
    """Its workers start again here."""
    pipeline = DETECTOR_PIPELINE + "cluster: {timeout: 2s}\n"
    with Listening(tmp_path, pipeline) as live:
        process = live.joined()
        workers = children(process.pid)
        for pid in (process.pid, *workers):
            os.kill(pid, signal.SIGKILL)
        live.until_said("gave no sign of life for 2 s: all workers start again from")
        live.until_going()
        assert live.workers() == [0, 1, 2]
        live.stop()
    check_detector(tmp_path / "out.txt")


def test_a_machine_falls_silent_while_its_worker_lives(tmp_path: Path) -> None:
    """Nobody would start that worker again, should it end: the run goes on without the machine."""
    with Listening(tmp_path, DETECTOR_PIPELINE + "cluster: {timeout: 2s}\n") as live:
        process = live.joined()
        process.send_signal(signal.SIGSTOP)
        live.until_said("worker 2 gave no sign of life for 2 s: all workers start again from")
        live.until_going()
        assert live.pid_of(2) in children(live.process.pid)
        process.send_signal(signal.SIGCONT)
        assert "given no sign" in end(process, 3)
        live.stop()
    check_detector(tmp_path / "out.txt")


def test_joiners_that_can_not_start_leave_the_run_as_it_was(tmp_path: Path) -> None:
    with Listening(tmp_path, plugin=SLOW + DETECTOR) as live:
        (tmp_path / "broken").touch()
        done = run(tmp_path, "scale", live.name, "+2")
        assert done.returncode == 1
        assert re.search(r"worker [23] could not start: .*a library is missing here", done.stderr)
        said = end(live.join(), 3)
        assert re.search(r"worker 4 could not start: .*a library is missing here", said)
        assert live.workers() == [0, 1]
        (tmp_path / "broken").unlink()
        live.change(joins=1)
        assert "start again" not in live.stop()
    check_detector(tmp_path / "out.txt")


def test_a_machine_waits_for_its_turn_and_thinks_better_of_it(tmp_path: Path) -> None:
    with Listening(tmp_path, plugin=SLOW + DETECTOR) as live:
        (tmp_path / "slow").touch()
        live.begin_change(joins=1)
        process = live.join("--workers", "2")
        assert process.stderr is not None
        said = b""
        while b"waiting: 1 change(s) come first" not in said:
            said += process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert "not needed any more" in end(process, 0)
        (tmp_path / "slow").unlink()
        live.until_said("worker 3 left before its turn came")
        assert live.workers() == [0, 1, 2]
        assert "start again" not in live.stop()
    check_detector(tmp_path / "out.txt")


def test_a_plan_for_a_machine_changes_nothing(live: Listening) -> None:
    done = run(live.folder, "join", live.address, "--key", "a.key", "--workers", "2", "--dry-run")
    assert done.returncode == 0
    assert re.search(r"\d+ intervals and about \d+ keys move", done.stdout), done.stdout
    assert re.search(r"^ +3 +0.0% ->  25.0%", done.stdout, re.M), done.stdout
    assert live.workers() == [0, 1]


def test_a_run_is_looked_at_and_stopped_from_elsewhere(live: Listening) -> None:
    at = [live.address, "--key", "a.key"]
    assert live.name in run(live.folder, "status", *at).stdout
    assert run(live.folder, "scale", at[0], "3", *at[1:]).returncode == 0
    assert len(live.workers()) == 3
    assert run(live.folder, "stop", *at).returncode == 0
    assert run(live.folder, "top", *at).returncode == 3
    live.process.wait(20)
    check_detector(live.folder / "out.txt")


# Who may not


def test_a_key_is_for_one_user(tmp_path: Path) -> None:
    assert run(tmp_path, "key", "new").returncode == 0
    path = tmp_path / "cluster.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = run(tmp_path, "key", "new")
    assert again.returncode == 3
    assert "is there already" in again.stderr
    path.chmod(0o640)
    done = run(tmp_path, "join", "tcp://127.0.0.1:1", "--key", "cluster.key")
    assert done.returncode == 3
    assert "others can read the key" in done.stderr
    assert "chmod 600 cluster.key" in done.stderr


@pytest.mark.parametrize("content", ["", "{}", '{"public": 1, "secret": 2}', "\0" * 40])
def test_a_file_that_is_no_key(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.key"
    path.write_text(content)
    path.chmod(0o600)
    done = run(tmp_path, "join", "tcp://127.0.0.1:1", "--key", "a.key")
    assert done.returncode == 3
    assert "there is no cluster key in a.key" in done.stderr


def test_listening_to_the_world_without_a_key_is_refused(tmp_path: Path) -> None:
    from tests.run.harness import write

    write(tmp_path, DETECTOR_PIPELINE, DETECTOR)
    done = run(tmp_path, "run", "p.yaml", "--listen", "tcp://0.0.0.0:0")
    assert done.returncode == 2
    assert "`roo key new`" in done.stderr
    done = run(tmp_path, "run", "p.yaml", "--listen", "0.0.0.0:70")
    assert done.returncode == 2
    assert "is not tcp://HOST:PORT" in done.stderr


def test_a_port_in_use_is_said(live: Listening) -> None:
    words = ["run", "p.yaml", "--listen", live.address, "--key", "a.key", "--no-checkpoint"]
    done = run(live.folder, *words)
    assert done.returncode == 3
    assert "address already in use" in done.stderr


def test_a_wrong_key_gets_nothing(live: Listening) -> None:
    run(live.folder, "key", "new", "wrong.key")
    said = end(live.join(key="wrong.key"), 3)
    assert "nobody answers" in said
    assert run(live.folder, "status", live.address, "--key", "wrong.key").returncode == 3
    assert live.stop().count("without the cluster key was refused") == 1
    check_detector(live.folder / "out.txt")


def test_whatever_knocks_the_run_goes_on(live: Listening) -> None:
    """No key, random bytes, half-open connections, thousands of them."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    plain = context.socket(zmq.DEALER)
    plain.linger = 0
    plain.connect(live.address)
    for _ in range(100):
        plain.send(secrets.token_bytes(200))
    raw = [socket.create_connection(("127.0.0.1", live.port)) for _ in range(20)]
    for number, one in enumerate(raw):
        one.sendall(secrets.token_bytes(1 << (number % 14)))
    knocks = 0
    held = []
    for _ in range(10_000):
        try:
            one = socket.create_connection(("127.0.0.1", live.port), timeout=2)
        except OSError:
            break
        knocks += 1
        if knocks % 20 == 0 and len(held) < 300:
            held.append(one)  # half-open: it never says a word
        else:
            one.close()
    assert knocks == 10_000
    live.until_said("without the cluster key was refused")
    process = live.joined()
    assert not plain.poll(0), "an answer without the key"
    context.destroy(0)
    for one in (*held, *raw):
        one.close()
    assert live.stop().count("without the cluster key was refused") == 1
    end(process, 0)
    check_detector(live.folder / "out.txt")


class Bomb:
    """Makes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, (f"open({str(self.path)!r}, 'w')",)


def ports_of(pids: list[int]) -> set[int]:
    """The TCP ports at which processes listen."""
    inodes = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            try:
                inodes.add(str(link.readlink()))
            except OSError:
                continue
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    listening = [(row[1], f"socket:[{row[9]}]") for row in rows if row[3] == "0A"]
    return {int(where.partition(":")[2], 16) for where, inode in listening if inode in inodes}


@pytest.mark.parametrize("with_key", [True, False])
def test_nothing_is_unpickled_from_strangers(tmp_path: Path, with_key: bool) -> None:
    """On no port of the run, by no kind of socket and name; without a key it makes its own."""
    port = free_port()
    words = ["--workers", "2", "--listen", f"tcp://127.0.0.1:{port}"]
    if with_key:
        assert run(tmp_path, "key", "new", "a.key").returncode == 0
        words += ["--key", "a.key"]
    bomb = pickle.dumps(Bomb(tmp_path / "unpickled"))
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with Live(tmp_path, DETECTOR_PIPELINE, DETECTOR, *words) as live:
        ports = ports_of([live.process.pid, *children(live.process.pid)])
        assert port in ports
        assert len(ports) == 3
        for port in ports:
            for kind in (zmq.DEALER, zmq.PUSH):
                for name in (b"worker-1-0", b"host-1", b"visitor-1", b"anything"):
                    stranger = context.socket(kind)
                    stranger.linger = 0
                    stranger.identity = name
                    stranger.connect(f"tcp://127.0.0.1:{port}")
                    stranger.send_multipart([bomb] * (2 if kind == zmq.PUSH else 1))
        live.until_said("without the cluster key was refused")
        live.wait_for_output(more_than=(tmp_path / "out.txt").stat().st_size)
        context.destroy(0)
        live.change(joins=1)
        assert "start again" not in live.stop()
    assert not (tmp_path / "unpickled").exists()
    check_detector(tmp_path / "out.txt")


def test_on_one_machine_the_key_is_found(tmp_path: Path) -> None:
    """A run that listens on the loopback interface makes itself one, for this user alone."""
    at = f"tcp://127.0.0.1:{free_port()}"
    with Live(tmp_path, DETECTOR_PIPELINE, DETECTOR, "--listen", at) as live:
        command = [*ROO, "join", at]
        process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE)
        until(lambda: len(live.workers()) == 2, "a worker to join")
        assert live.name in run(tmp_path, "status", at).stdout
        [key] = Path(find(live.name).folder).glob("*.key")
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700
        assert run(tmp_path, "stop", at).returncode == 0
        end(process, 0)
        live.process.wait(20)
        until(lambda: not key.exists(), "the key to be gone")
    check_detector(tmp_path / "out.txt")


# What has to be the same


def test_other_plugin_code_is_refused_and_both_are_shown(live: Listening, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(tmp_path / "a.key", other)
    said = end(live.join(folder=other), 3)
    assert "plugin module plug: " in said
    assert "not there here" in said
    (other / "plug.py").write_text(DETECTOR + "\n# changed\n")
    said = end(live.join(folder=other), 3)
    digests = [word for word in said.replace(",", " ").split() if len(word) == 32]
    assert len(set(digests)) == 2
    (other / "plug.py").write_text(DETECTOR)
    assert "plugin module plug" not in end(live.join(folder=other), 3)
    assert live.workers() == [0, 1]


def test_a_checkpoint_folder_that_is_not_shared_is_found_out(
    live: Listening, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for name in ("a.key", "plug.py"):
        shutil.copy(tmp_path / name, other)
    said = end(live.join(folder=other), 3)
    assert "is not the run's" in said
    assert "checkpoint.dir" in said
    assert live.workers() == [0, 1]


def test_another_version_is_refused_and_both_are_shown(live: Listening) -> None:
    code = ("import sys, roo; roo.__version__ = '99.0'; from roo.cli.main import main; "
            f"sys.argv = ['roo', 'join', '{live.address}', '--key', 'a.key']; main()")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], cwd=live.folder, capture_output=True,
                          timeout=180, check=False)  # fmt: skip
    assert done.returncode == 3
    assert b"this run is Roo 0." in done.stderr
    assert b"has Roo 99.0" in done.stderr


def test_nobody_there(tmp_path: Path) -> None:
    run(tmp_path, "key", "new", "a.key")
    words = ["join", f"tcp://127.0.0.1:{free_port()}", "--key", "a.key"]
    done = run(tmp_path, *words)
    assert done.returncode == 3
    assert "nobody answers" in done.stderr
    assert run(tmp_path, "join", "nonsense", "--key", "a.key").returncode == 2
