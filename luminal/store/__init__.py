"""Files that outlive the process: where they are, and how they are trusted.

Comes in: a name and a value. Goes out: the value that this user's own processes
wrote last under that name, or None. Never raises for the state of the disk; a
cache that does not work costs time, not a photon.
"""

from __future__ import annotations

from luminal.store._sealed import SealedStore, cache_directory, fingerprint

__all__ = ["SealedStore", "cache_directory", "fingerprint"]
