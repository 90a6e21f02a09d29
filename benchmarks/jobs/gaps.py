"""`count` of the word count, noting on the way how long its worker did not call it.

A line `MONOTONIC_NS GAP_NS CPU_NS` for every gap of a millisecond or more goes to the file
`$BENCHMARK_GAPS/PID`, at once: workers end without a last word. CPU_NS is what the thread itself
computed meanwhile (and up to half a millisecond before): the rest of the gap it waited, for
messages, the disk, the interpreter's lock or a processor. GAP_NS is 0 where keys were new: a dict
that grows is copied now and then, which has nothing to do with checkpoints.
"""

from __future__ import annotations

import os
from time import monotonic_ns, thread_time_ns

from benchmarks.jobs import wordcount
from benchmarks.jobs.wordcount import Total

FOLDER = "BENCHMARK_GAPS"
NOTED_FROM_NS = 1_000_000
SAMPLED_EVERY_NS = 500_000

_last_ns = _sampled_ns = _cpu_ns = _new = 0
_notes = -1


def count(message: str, total: Total) -> tuple[str, int]:
    """As `wordcount.count`."""
    global _last_ns, _new
    if total.n == 0:
        _new += 1
    now_ns = monotonic_ns()
    if now_ns - _sampled_ns >= SAMPLED_EVERY_NS:
        _sample(now_ns)
    _last_ns = now_ns
    return wordcount.count(message, total)


def _sample(now_ns: int) -> None:
    """Note a gap, if there was one. The first call ends none: it opens the file."""
    global _sampled_ns, _cpu_ns, _notes, _new
    before_ns, _cpu_ns = _cpu_ns, thread_time_ns()
    _sampled_ns = now_ns
    if _notes < 0:
        how = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        _notes = os.open(f"{os.environ[FOLDER]}/{os.getpid()}", how, 0o666)
    elif _new:
        os.write(_notes, b"%d 0 0\n" % now_ns)
        _new = 0
    elif now_ns - _last_ns >= NOTED_FROM_NS:
        os.write(_notes, b"%d %d %d\n" % (now_ns, now_ns - _last_ns, _cpu_ns - before_ns))
