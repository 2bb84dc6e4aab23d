"""Watching: from saves, branch switches and deployments to settled batches of paths.

The first station of a reload. `Watcher` is what the rest of the room uses.
"""

from __future__ import annotations

from luminal.reload.watching._settle import Batch, Cause, Note, NoteCode, Pace
from luminal.reload.watching._watcher import Watcher

__all__ = ["Batch", "Cause", "Note", "NoteCode", "Pace", "Watcher"]
