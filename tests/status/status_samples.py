"""Snapshots that the status tests share: a small run, one on 64 workers, one that is stuck."""

from __future__ import annotations

from dataclasses import replace

from roo.status.snapshot import RunSnapshot, SinkRow, SourceRow, StepRow, Summary, WorkerRow


def worker(index: int, of: int, doing: str = "") -> WorkerRow:
    """Worker `index` of `of`, each with an equal interval and its own numbers."""
    return WorkerRow(
        worker=index,
        pid=41_200 + index,
        share=1 / of,
        intervals=((index / of, (index + 1) / of),),
        keys=93_112 // of + index,
        new_keys_per_s=1_204.4 / of,
        in_per_s=0.0 if doing else 451_000.0 / of + 1000 * index,
        out_per_s=0.0 if doing else 448_000.0 / of,
        p50_ms=None if doing else 0.42 + index / 10,
        p99_ms=None if doing else 3.14 + index,
        queue_messages=18_250 if doing else 120 + index,
        memory_bytes=(48 + index) * 1024 * 1024,
        cpu=0.98,
        doing=doing,
    )


def running(workers: int = 2) -> RunSnapshot:
    """Word count, 41% done."""
    return RunSnapshot(
        pipeline="wordcount",
        phase="running",
        elapsed_s=12.34,
        workers=tuple(worker(index, workers) for index in range(workers)),
        steps=(
            StepRow("split", "flat_map", 1_234_567, 8_123_456, 102_300.0, 0),
            StepRow("count", "stateful", 8_123_456, 8_123_444, 451_200.0, 12),
        ),
        sources=(
            SourceRow("lines", "file", 1_234_567, 102_300.0, 53_687_091, 130_944_124, 0, False),
        ),
        sinks=(
            SinkRow("counts", "file", "out/wordcount.txt", 8_123_444, 450_900.0, 97_517_568),
            SinkRow("dead", "file", "out/dead_letters.jsonl", 12, 0.3, 2_118),
        ),
        events=(
            (0.31, "2 workers are ready"),
            (4.2, "step count: 12 messages went to dead"),
            (11.9, "source lines: /data/words-2024-01-01.txt has ended, 3 files to go"),
        ),
        progress=0.41,
        eta_s=17.4,
        keys=93_112,
        messages_read=1_234_567,
        errors=12,
        p50_ms=0.42,
        p99_ms=3.14,
    )


def stuck() -> RunSnapshot:
    """Worker 1 of 3 has hung in a function; no source knows its size."""
    base = running(3)
    return replace(
        base,
        workers=(worker(0, 3), worker(1, 3, "step count for 12 s"), worker(2, 3)),
        sources=(SourceRow("feed", "tcp", 812, 0.4, 8_120, None, 0, False),),
        progress=None,
        eta_s=None,
    )


def moved() -> RunSnapshot:
    """Three workers after a join: owners hold several intervals."""
    base = running(3)
    thirds = (
        ((0.0, 1 / 3),),
        ((0.5, 5 / 6),),
        ((1 / 3, 0.5), (5 / 6, 1.0)),
    )
    rows = tuple(
        replace(row, intervals=intervals)
        for row, intervals in zip(base.workers, thirds, strict=True)
    )
    return replace(base, workers=rows)


def many() -> RunSnapshot:
    """64 workers, of which the last is held up."""
    base = running(64)
    return replace(base, workers=(*base.workers[:63], worker(63, 64, "state factory for 3 s")))


def finished() -> Summary:
    """A run that ended well, with two sinks."""
    return Summary(
        pipeline="wordcount",
        outcome="finished",
        seconds=125.4,
        workers=2,
        messages_read=1_234_567,
        messages_per_s=9_845.0,
        keys=93_112,
        outputs={"counts": 8_123_444, "dead": 12},
        errors=12,
        dropped=3,
        dead_letters=12,
        p50_ms=0.42,
        p99_ms=3.14,
    )
