"""Names that cannot matter to a photon: left out before anything is looked at.

Pure functions of a name. They must never leave out a file that Python could import.
"""

from __future__ import annotations

__all__ = ["is_noisy_file", "is_noisy_folder"]

_FOLDERS = frozenset({"__pycache__", "node_modules", "CVS"})
_ENDS = (
    "~",  # Emacs, Vim, gedit: the backup
    ".swp",  # Vim: the swap file, and its successors
    ".swo",
    ".swx",
    ".pyc",  # Python's own; never executed by Luminal
    ".pyo",
    "___jb_tmp___",  # JetBrains: the safe write
    "___jb_old___",
    ".kate-swp",
)
_STARTS = (
    ".#",  # Emacs: the lock
    "#",  # Emacs: the autosave
    ".goutputstream-",  # GLib: the file that is renamed over
    ".~lock",
    ".nfs",  # NFS: deleted, and still open somewhere
)
_NAMES = frozenset(
    {
        "4913",  # Vim: the probe whether a directory can be written
        ".git",  # the pointer file of a worktree or submodule
        ".DS_Store",
    }
)


def is_noisy_file(name: str) -> bool:
    """Return whether no file called *name* can matter."""
    return name.endswith(_ENDS) or name.startswith(_STARTS) or name in _NAMES


def is_noisy_folder(name: str) -> bool:
    """Return whether nothing below a directory called *name* can matter.

    Hidden directories are not importable, and hold version control, caches and
    virtual environments. pip moves what it uninstalls into directories that begin
    with a tilde.
    """
    return name.startswith((".", "~")) or name in _FOLDERS
