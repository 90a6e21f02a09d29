"""Real processes do not outlive their tests, also where these fail."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.run import harness


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left_running() -> Iterator[None]:
    """A run that a failed test has left would take the processor from all tests after it."""
    yield
    for process in harness.started:
        if process.poll() is None:
            process.kill()
            process.wait(10)
    harness.started.clear()
