"""The example plugins import as they do in a run: from the folder that holds `plugins/`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
