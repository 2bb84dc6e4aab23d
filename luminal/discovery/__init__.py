"""Station one: directories and distributions → candidates, without an import.

Comes in: paths and the name of an entry-point group. Goes out: immutable records in
load order, each with its problem where it cannot be loaded. Must never execute a
photon's code, nor let one broken candidate hide the others.
"""

from __future__ import annotations

from luminal.discovery._candidates import Discovered
from luminal.discovery._discover import discover, discover_file

__all__ = ["Discovered", "discover", "discover_file"]
