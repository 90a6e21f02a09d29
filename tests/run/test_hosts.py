"""A run that other machines join: who may, who may not, and what becomes of them. On loopback."""

from __future__ import annotations

import os
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

from tests.run.harness import ROO, children, run, until
from tests.run.live import DETECTOR, DETECTOR_PIPELINE, Live, check_detector

pytestmark = pytest.mark.slow


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Listening(Live):
    """A run of two workers that listens, with a key."""

    def __init__(self, folder: Path, pipeline: str = DETECTOR_PIPELINE) -> None:
        self.port = free_port()
        self.address = f"tcp://127.0.0.1:{self.port}"
        assert run(folder, "key", "new", "a.key").returncode == 0
        super().__init__(folder, pipeline, DETECTOR, "--workers", "2", "--listen", self.address,
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
    _, said = process.communicate(timeout=20)
    assert process.returncode == code, said.decode()
    return said.decode()


def test_a_machine_joins_and_its_workers_leave(live: Listening) -> None:
    process = live.joined("--workers", "2")
    assert live.workers() == [0, 1, 2, 3]
    live.change(leaves=[0, 2])
    assert process.poll() is None
    live.change(leaves=[3])
    assert "not needed any more" in end(process, 0)
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
    assert "leaving" in end(process, 0)
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


def test_a_run_is_looked_at_and_stopped_from_elsewhere(live: Listening) -> None:
    at = [live.address, "--key", "a.key"]
    assert live.name in run(live.folder, "status", *at).stdout
    assert run(live.folder, "scale", at[0], "3", *at[1:]).returncode == 0
    assert len(live.workers()) == 3
    assert run(live.folder, "stop", *at).returncode == 0
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
                          timeout=20, check=False)  # fmt: skip
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
