"""The caches of `typing`, which keep unloaded classes alive.

``Optional[C]`` and ``list[C]`` of a photon's class are remembered by `typing` under the
class itself, for good. The caches only save time, so they are emptied with each end of
a generation.
"""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["drop_type_caches"]


def drop_type_caches() -> None:
    """Empty the caches of `typing`, as CPython's own tests do."""
    typing: Any = sys.modules.get("typing")
    for clean in getattr(typing, "_cleanups", ()):
        clean()
