"""Watch directories, and report changes of files once they are complete.

`Watcher` is what the rest of Luminal uses. The modules: `_watcher` has the thread,
`_settle` decides when a change is complete, `_snapshot` records the state of the files,
`_source`, `_inotify` and `_watchfiles` provide the events of the operating system, and
`_ignore` knows what is of no interest.
"""

from __future__ import annotations

from luminal.reload.watching._ignore import is_pip_backup, is_unfinished_distribution
from luminal.reload.watching._settle import Batch, Cause, Note, NoteCode, Timing
from luminal.reload.watching._watcher import Lost, Watcher

__all__ = [
    "Batch",
    "Cause",
    "Lost",
    "Note",
    "NoteCode",
    "Timing",
    "Watcher",
    "is_pip_backup",
    "is_unfinished_distribution",
]
