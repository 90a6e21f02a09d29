"""Property tests draw the same examples every time, so that a red run means the change it is for.

`pytest --hypothesis-profile=explore` draws new ones, ten times as many: for hunting.
"""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("explore", max_examples=1000, deadline=None)
settings.load_profile("same")
