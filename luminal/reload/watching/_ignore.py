"""What the watcher ignores or waits for, judged by names and marks on the disk.

Ignored are backup files of editors, compiled files and version control. They must never
include a file that Python could import, but for copies that editors check. Waited for
are git, while it has a lock, and pip, while an installation is incomplete. File systems
that send no events are known by their type.
"""

from __future__ import annotations

import os

from luminal.discovery import is_checkers_copy

__all__ = [
    "GIT_LOCKS",
    "git_directory",
    "git_directory_above",
    "is_ignored_file",
    "is_ignored_folder",
    "is_pip_backup",
    "is_rebase",
    "is_unfinished_distribution",
    "silent_file_system",
]


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


def is_ignored_file(name: str) -> bool:
    """Return whether a file called *name* cannot be of interest to a photon."""
    is_known = name.endswith(_ENDS) or name.startswith(_STARTS) or name in _NAMES
    return is_known or is_checkers_copy(name)


def is_ignored_folder(name: str) -> bool:
    """Return whether nothing below a directory called *name* is of interest.

    Hidden directories are not importable, and hold version control, caches and
    virtual environments. pip moves what it uninstalls into directories that begin
    with a tilde.
    """
    return name.startswith((".", "~")) or name in _FOLDERS


# Locks of git and marks of pip are read only. Nothing here may delete one.

GIT_LOCKS = frozenset({"index.lock", "HEAD.lock", "rebase-merge", "rebase-apply"})
"""Names inside a git directory that say: the tree is being changed.

``index.lock`` spans a checkout, merge or reset; ``HEAD.lock`` follows when the branch
is moved; the two directories span a rebase. Source: gitrepository-layout(5) and the
trace of git 2.39.
"""


def is_rebase(lock: str) -> bool:
    """Return whether *lock* spans a rebase, which may wait for its user for hours."""
    return os.path.basename(lock).startswith("rebase-")


_POINTER = "gitdir:"


def git_directory(tree: str) -> str | None:
    """Return the git directory of *tree*, a directory that has a ``.git``.

    ``.git`` is a directory, or in worktrees and submodules a file that names one.
    """
    mark = os.path.join(tree, ".git")
    try:
        if os.path.isdir(mark):
            return mark
        with open(mark, encoding="utf-8", errors="surrogateescape") as file:
            line = file.readline(4096)
    except OSError:
        return None
    if not line.startswith(_POINTER):
        return None
    target = os.path.join(tree, line.removeprefix(_POINTER).strip())
    return os.path.normpath(target) if os.path.isdir(target) else None


def git_directory_above(directory: str) -> str | None:
    """Return the git directory of the tree that *directory* lies in, if any."""
    here = os.path.realpath(directory)
    while True:
        if os.path.lexists(os.path.join(here, ".git")):
            return git_directory(here)
        above = os.path.dirname(here)
        if above == here:
            return None
        here = above


def is_unfinished_distribution(folder: str) -> bool:
    """Return whether *folder*, a ``.dist-info``, is there without its ``RECORD``.

    Installers write RECORD last (PyPA specification "Recording installed projects").
    """
    return (
        folder.endswith(".dist-info")
        and os.path.isdir(folder)
        and not os.path.exists(os.path.join(folder, "RECORD"))
    )


def is_pip_backup(folder: str) -> bool:
    """Return whether *folder* is where pip keeps the version that it replaces.

    pip renames the old version to a name with a tilde in front, and deletes it once the
    new one is complete. Source: AdjacentTempDirectory in pip's temp_dir.py.
    """
    return os.path.basename(folder).startswith("~")


# File systems that other machines change too, so that this kernel has no event.
_SILENT = frozenset(
    {
        *("9p", "afs", "autofs", "ceph", "cifs", "coda", "drvfs", "fakeowner", "gfs2"),
        *("glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "prl_fs"),
        *("smb3", "smbfs", "vboxsf", "virtiofs", "vmhgfs"),
    }
)
_TABLE = "/proc/self/mounts"


def silent_file_system(directory: str, table: str = _TABLE) -> str | None:
    """Return the type of a file system without reliable events that *directory* uses.

    Reads the table of mounts, and never the mounted file systems: a server that does
    not answer would block the caller.

    Args:
        directory: A real path, free of links.
        table: File with the mounts, in the format of fstab(5).

    Returns:
        The type's name, of the file system that holds *directory* or of one mounted
        below it; None where all of them send events, or nothing is known.
    """
    holder, holder_type = "", ""
    inside = directory.rstrip(os.sep) + os.sep
    try:
        with open(table, "rb") as lines:
            mounts = [line.split() for line in lines]
    except OSError:
        return None
    for fields in mounts:
        point = _unescape(fields[1])
        kind = os.fsdecode(fields[2])
        if point.startswith(inside):
            if _is_silent(kind):
                return kind
        elif inside.startswith(point.rstrip(os.sep) + os.sep) and len(point) >= len(
            holder
        ):
            # Of two mounts on one point the later one is seen.
            holder, holder_type = point, kind
    return holder_type if _is_silent(holder_type) else None


def _is_silent(kind: str) -> bool:
    # A block device through FUSE (ntfs, exfat) is changed by this kernel alone.
    return kind in _SILENT or (kind.startswith("fuse") and kind != "fuseblk")


def _unescape(field: bytes) -> str:
    for code, byte in ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n")):
        field = field.replace(code, byte)
    return os.fsdecode(field.replace(b"\\134", b"\\"))
