"""What workers of this machine write to stderr: line by line, each with whose it is."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping

import zmq

READ_BYTES = 1 << 16


class _Lines:
    """The stderr of one worker, cut into lines that say whose they are."""

    def __init__(self, worker: int) -> None:
        self._prefix = f"worker {worker}: "
        self._rest = b""

    def split(self, data: bytes) -> list[str]:
        """Whole lines; at the end (no data) the rest as well."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if not data and self._rest:
            lines, self._rest = [self._rest], b""
        return [self._prefix + line.decode("utf-8", "replace") for line in lines]


class Stderr:
    """Of all workers that there are. poller: gets their pipes, by number. show: called with each
    line.
    """

    def __init__(self, poller: zmq.Poller, show: Callable[[str], None]) -> None:
        self._poller = poller
        self._show = show
        self._lines: dict[int, _Lines] = {}

    def __contains__(self, fileno: object) -> bool:
        return fileno in self._lines

    def listen(self, processes: Mapping[int, subprocess.Popen[bytes]]) -> None:
        """To these workers, from now on."""
        for worker, process in processes.items():
            if process.stderr is not None and process.stderr.fileno() not in self._lines:
                self._lines[process.stderr.fileno()] = _Lines(worker)
                self._poller.register(process.stderr.fileno(), zmq.POLLIN)

    def relay(self, fileno: int) -> bool:
        """Show what has come of one; False when that was all, as its worker has closed it."""
        data = os.read(fileno, READ_BYTES)
        for line in self._lines[fileno].split(data):
            self._show(line)
        if not data:
            self._poller.unregister(fileno)
            del self._lines[fileno]
        return bool(data)

    def relay_all(self, process: subprocess.Popen[bytes]) -> None:
        """What a process wrote last; it is gone."""
        if process.stderr is not None:
            fileno = process.stderr.fileno()
            while fileno in self._lines and self.relay(fileno):
                pass
            process.stderr.close()

    def relay_the_rest(self) -> None:
        """What all of them wrote last: all are gone."""
        for fileno in list(self._lines):
            while self.relay(fileno):
                pass
