"""What one folder holds, by one look at it: names, kinds and signatures.

It opens no file, so that a FIFO or a device cannot hang it.
"""

from __future__ import annotations

import errno
import os
import stat

import attrs

from luminal.reload.watching.noise import is_noisy_file, is_noisy_folder

__all__ = ["Folder", "Signature", "fill", "signature_of", "status_of"]

Signature = tuple[int, int, int, int]
"""Times of change of text and of inode, size, inode. The second time cannot be set
by a program: it betrays an edit that keeps size and mtime."""


def signature_of(status: os.stat_result) -> Signature | None:
    """Return what tells two states of a regular file apart; None for other kinds."""
    if not stat.S_ISREG(status.st_mode):
        return None
    return (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)


@attrs.define
class Folder:
    """What is known of one folder.

    Attributes:
        identity: Device and inode.
        depth: Linked folders on the way from the watched one to here.
        files: Name → signature, for regular files.
        folders: Names of folders, links to folders included.
        links: Names of links of either kind.
        is_tree: Whether it has a ``.git``.
    """

    identity: tuple[int, int]
    depth: int
    files: dict[str, Signature] = attrs.field(factory=dict)
    folders: set[str] = attrs.field(factory=set)
    links: set[str] = attrs.field(factory=set)
    is_tree: bool = False


def fill(path: str, folder: Folder, *, recursive: bool) -> bool:
    """Fill *folder* with what is at *path*; False where it cannot be listed."""
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                _place(entry, folder, recursive)
    except OSError:
        return False
    return True


def _place(entry: os.DirEntry[str], folder: Folder, recursive: bool) -> None:
    name = entry.name
    if name == ".git":
        folder.is_tree = True
    if entry.is_dir():
        if not recursive or is_noisy_folder(name):
            return
        folder.folders.add(name)
    elif is_noisy_file(name):
        return
    else:
        try:
            status = entry.stat()
        except OSError:
            status = None  # gone meanwhile, or a link that leads nowhere
        signature = None if status is None else signature_of(status)
        if signature is not None:
            folder.files[name] = signature
    if entry.is_symlink():
        folder.links.add(name)


def status_of(path: str, *, follow: bool = True) -> os.stat_result | None:
    """Return the status of *path*, None where nothing is; OSError: nobody knows."""
    try:
        return os.stat(path, follow_symlinks=follow)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    except OSError as problem:
        if problem.errno == errno.ELOOP:
            return None
        raise
