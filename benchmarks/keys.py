"""Does a message cost more among 10 M keys than among 10 k, beyond what a dict costs more?"""

from __future__ import annotations

from benchmarks import words
from benchmarks.measure import Candidate, Figure, Reach, Sample, interleave, ratio
from benchmarks.settings import CACHE, Settings
from benchmarks.wordcount import HAND, ROO_2, Job, by_hand, by_roo, verified_seconds

METRIC = "ns_per_message"
NOTE = (
    "Nanoseconds a message, spawn to exit, two messages per key of the larger set; the file "
    "brings every key once, then draws evenly. The growth of Roo is divided by that of the "
    "hand-written loop, whose states are in a plain dict."
)


def keys10m(settings: Settings) -> Figure:
    """As many keys as `settings.words` against 10,000 (a tenth of them, if that is less)."""
    many, few = settings.words, min(10_000, settings.words // 10)
    messages = 2 * many
    counts = settings.scratch / "counts.txt"
    files = {keys: words.every_key(CACHE, messages, keys) for keys in (few, many)}

    def candidate(name: str, job: Job) -> Candidate:
        def cost() -> Sample:
            return {METRIC: verified_seconds(job) / messages * 1e9}

        return Candidate(name, cost)

    candidates = []
    for keys, file in files.items():
        candidates.append(candidate(f"{HAND}, {keys:,} keys", by_hand(file, counts)))
        candidates.append(candidate(f"{ROO_2}, {keys:,} keys", by_roo(file, counts, 2)))
    series = interleave("keys10m", candidates, settings.runs).all(METRIC)
    hand_few, roo_few, hand_many, roo_many = series
    reach = Reach(1.5, at_least=False)
    ratios = (
        ratio(f"{HAND}: many keys / few", [hand_many], [hand_few]),
        ratio(f"{ROO_2}: many keys / few", [roo_many], [roo_few]),
        ratio(
            "growth of Roo / growth of the loop", [roo_many, hand_few], [roo_few, hand_many], reach
        ),
    )
    return Figure("keys10m", f"{many:,} keys against {few:,}", NOTE, series, ratios)
