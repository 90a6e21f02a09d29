"""How long a message takes from a paced TCP feed through the pipeline to a TCP collector."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable

from benchmarks.measure import Candidate, Figure, Reach, Sample, Series, interleave
from benchmarks.processes import (
    Command,
    CommandFailed,
    finish,
    free_port,
    next_line,
    python,
    roo,
    running,
)
from benchmarks.settings import Settings
from benchmarks.wordcount import ROO_2

BARE = "bare loop"
METRICS = (
    "p50_ms",
    "p99_ms",
    "p999_ms",
    "p50_since_sent_ms",
    "p99_since_sent_ms",
    "p999_since_sent_ms",
    "feeder_late_p99_ms",
)
RATES_PER_S = (10_000, 50_000)
REACH_MS = {
    10_000: {"p50_ms": 1.0, "p99_ms": 2.5, "p999_ms": 10.0},
    50_000: {"p99_ms": 10.0},
}
NOTE = (
    "Milliseconds from when a message was due at the feeder, which sends what is due every "
    "millisecond, to when the collector had read it; three processes apart on one machine. "
    "since_sent counts from the moment of sending, so it leaves out what held the feeder up."
)


def latency(settings: Settings) -> list[Figure]:
    """One figure for each rate."""
    return [_at_rate(settings, rate_per_s) for rate_per_s in RATES_PER_S]


def _at_rate(settings: Settings, rate_per_s: int) -> Figure:
    name = f"latency-{rate_per_s}"
    candidates = [
        Candidate(BARE, lambda: _measured(settings, rate_per_s, _bare_loop, stop=False)),
        Candidate(ROO_2, lambda: _measured(settings, rate_per_s, _roo, stop=True)),
    ]
    samples = interleave(name, candidates, settings.runs)
    series: list[Series] = []
    for metric in METRICS:
        limit_ms = REACH_MS[rate_per_s].get(metric)
        reaches = {ROO_2: Reach(limit_ms, at_least=False)} if limit_ms else {}
        series += samples.all(metric, reaches)
    title = f"Latency at {rate_per_s:,} messages/s over {settings.latency_s} s"
    return Figure(name, title, NOTE, tuple(series))


def _bare_loop(listen_port: int, collector_port: int) -> Command:
    return python("benchmarks.jobs.bare_loop", listen_port, collector_port)


def _roo(listen_port: int, collector_port: int) -> Command:
    return roo(
        "ticks",
        2,
        sources__feed__address=f"127.0.0.1:{listen_port}",
        sinks__collector__address=f"127.0.0.1:{collector_port}",
    )


def _measured(
    settings: Settings, rate_per_s: int, command: Callable[[int, int], Command], *, stop: bool
) -> Sample:
    """Feed the command once; percentiles of its latency. stop: it must be told to end.

    Raises CommandFailed, also when the collector finds the output wrong.
    """
    seconds = settings.warm_up_s + settings.latency_s
    messages, warm_up = rate_per_s * seconds, rate_per_s * settings.warm_up_s
    port = free_port()
    feeder_command = python("benchmarks.jobs.feeder", port, rate_per_s, seconds)
    with running(python("benchmarks.jobs.collector", messages, warm_up)) as collector:
        with running(command(port, int(next_line(collector)))) as pipeline:
            try:
                with running(feeder_command) as feeder:
                    late: dict[str, float] = json.loads(finish(feeder))
                next_line(collector)  # all has come
            except CommandFailed:
                if pipeline.poll() is not None:
                    finish(pipeline)  # its own failure says more
                raise
            if stop:
                pipeline.send_signal(signal.SIGTERM)
            finish(pipeline)
        return {**json.loads(finish(collector)), **late}
