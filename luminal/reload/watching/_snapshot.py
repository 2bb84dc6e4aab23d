"""The recorded state of the watched trees, and what has changed since.

`Snapshot` records the times, size and inode of every file, and compares them with the
disk. `Tracker` does so for each path that a source reports, and gives what it finds to
`Settle`. Links are followed, each of them once. No file is opened, so that a FIFO or a
device cannot block. A directory is watched before it is listed, so that no change is
missed in between.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

import attrs

from luminal.reload.watching._ignore import (
    GIT_LOCKS,
    git_directory,
    git_directory_above,
    is_ignored_file,
    is_ignored_folder,
    is_pip_backup,
    is_unfinished_distribution,
)
from luminal.reload.watching._settle import Cause, Phase, Settle
from luminal.reload.watching._source import FileEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from luminal.reload.watching._source import Source

__all__ = [
    "LINK_DEPTH",
    "Difference",
    "Folder",
    "Signature",
    "Snapshot",
    "Tracker",
    "links_on_the_way",
    "read_folder",
    "signature_of",
    "status_of",
]

Signature = tuple[int, int, int, int, bool]
"""mtime, ctime, size, inode, whether anybody may read it. A program cannot set ctime,
so that an edit which keeps size and mtime is noticed."""


def signature_of(status: os.stat_result) -> Signature | None:
    """Return what differs between two states of a regular file; None for others."""
    if not stat.S_ISREG(status.st_mode):
        return None
    times = status.st_mtime_ns, status.st_ctime_ns
    return (*times, status.st_size, status.st_ino, bool(status.st_mode & 0o444))


@attrs.define
class Folder:
    """The record of one folder.

    Attributes:
        identity: Device and inode.
        depth: Number of linked folders on the way from the watched one to this one.
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


def read_folder(path: str, folder: Folder, *, recursive: bool) -> bool:
    """Fill *folder* with what is at *path*; False where it cannot be listed."""
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                _add_entry(entry, folder, recursive)
    except OSError:
        return False
    return True


def _add_entry(entry: os.DirEntry[str], folder: Folder, recursive: bool) -> None:
    name = entry.name
    if name == ".git":
        folder.is_tree = True
    status = None
    try:
        is_folder = entry.is_dir()
        if not is_folder and not is_ignored_file(name):
            status = entry.stat()
    except OSError as problem:
        is_folder = False
        if problem.errno not in _NOWHERE:
            if not entry.is_symlink():
                raise  # the names in *folder* can be listed, and nothing more
            is_folder = True  # perhaps: it leads into a folder that is closed
    if is_folder:
        if not recursive or is_ignored_folder(name):
            return
        folder.folders.add(name)
    elif is_ignored_file(name):
        return
    else:
        signature = None if status is None else signature_of(status)
        if signature is not None:
            folder.files[name] = signature
    if entry.is_symlink():
        folder.links.add(name)


_NOWHERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
"""Errors of a path at which nothing is, as of a link in a circle."""


def status_of(path: str, *, follow: bool = True) -> os.stat_result | None:
    """Return the status of *path*; None where it does not exist.

    Raises:
        OSError: It cannot be known, such as after a refused permission.
    """
    try:
        return os.stat(path, follow_symlinks=follow)
    except ValueError:
        return None
    except OSError as problem:
        if problem.errno in _NOWHERE:
            return None
        raise


# How many linked directories may lie inside of each other: enough for every deployment
# scheme known, and few enough for links in a circle.
LINK_DEPTH = 3

_LINK_LIMIT = 40  # links on one way, as in the Linux kernel (MAXSYMLINKS)


def _is_open(folder: str) -> bool:
    """Whether *folder* can be listed, and what is in it be looked at."""
    is_effective = os.access in os.supports_effective_ids
    return os.access(folder, os.R_OK | os.X_OK, effective_ids=is_effective)


def links_on_the_way(path: str) -> list[tuple[str, str]]:
    """Return the (real directory, name) pairs that decide what *path* is.

    Args:
        path: An absolute path.

    Returns:
        One pair for each symbolic link on the way, then the pair at which the way
        ends: where *path* leads, or the first name that does not exist. Each directory
        is free of links.
    """
    pairs: list[tuple[str, str]] = []
    todo = [part for part in reversed(path.split(os.sep)) if part]
    here = os.sep
    while todo:
        name = todo.pop()
        if name == os.curdir:
            continue
        if name == os.pardir:
            here = os.path.dirname(here)
            continue
        full = os.path.join(here, name)
        try:
            target = os.readlink(full)
        except OSError as problem:
            if not todo or problem.errno == errno.ENOENT:
                return [*pairs, (here, name)]
            here = full
            continue
        pairs.append((here, name))
        if len(pairs) > _LINK_LIMIT:
            break
        if target.startswith(os.sep):
            here = os.sep
        todo.extend(part for part in reversed(target.split(os.sep)) if part)
    return pairs


Difference = tuple[str, bool, bool]
"""A path, whether it was there, whether it is."""


@attrs.define
class Snapshot:
    """The record of every watched tree.

    Attributes:
        source: Reports events of the recorded folders and links.
        recursive: Whether folders inside of folders are read.
        unreadable: Folders that could not be listed; their record is kept.
        git_directories: Git directories of the recorded trees.
    """

    source: Source
    recursive: bool = True
    unreadable: set[str] = attrs.field(init=False, factory=set)
    git_directories: set[str] = attrs.field(init=False, factory=set)
    _folders: dict[str, Folder] = attrs.field(init=False, factory=dict)

    def __len__(self) -> int:
        return sum(len(folder.files) for folder in self._folders.values())

    def has_file(self, path: str) -> bool:
        """Whether the record has a file at *path*."""
        parent, name = os.path.split(path)
        folder = self._folders.get(parent)
        return folder is not None and name in folder.files

    def has_folder(self, path: str) -> bool:
        """Whether the record has a folder at *path*."""
        return path in self._folders

    def is_replaced(self, path: str) -> bool:
        """Whether another folder, or none, is at *path* than the recorded one."""
        folder = self._folders.get(path)
        try:
            status = status_of(path)
        except OSError:
            return False
        now = None if status is None else (status.st_dev, status.st_ino)
        return now != (None if folder is None else folder.identity)

    def is_touched(self, path: str) -> bool:
        """Whether *path* became readable or unreadable since it was recorded."""
        if path in self.unreadable or self.has_folder(path):
            return path in self.unreadable or not _is_open(path)
        parent, name = os.path.split(path)
        folder = self._folders.get(parent)
        known = folder.files.get(name) if folder is not None else None
        try:
            status = status_of(path)
        except OSError:
            return False
        signature = None if status is None else signature_of(status)
        # The times are left alone: an edit without an event must not be forgotten.
        return known is not None and signature is not None and known[4] != signature[4]

    def forget(self, path: str) -> None:
        """Remove the file at *path* from the record."""
        parent, name = os.path.split(path)
        if parent in self._folders:
            self._folders[parent].files.pop(name, None)

    def look(self, path: str) -> os.stat_result | None:
        """Record the file at *path* as it is now, and return its status.

        Returns:
            The status of what the path leads to; None where nothing is there.
        """
        parent, name = os.path.split(path)
        folder = self._folders.get(parent)
        status = status_of(path, follow=False)
        if status is not None and stat.S_ISLNK(status.st_mode):
            if folder is not None:
                folder.links.add(name)
            self.source.add_link(path)  # first, as its target may change meanwhile
            status = status_of(path)
        if status is not None and stat.S_ISDIR(status.st_mode):
            return status  # for a rescan to record
        signature = None if status is None else signature_of(status)
        if folder is not None:
            if signature is None:
                folder.files.pop(name, None)
            else:
                folder.files[name] = signature
        return status

    def add_git_directory(self, git_directory: str | None) -> None:
        """Have the source report locks in *git_directory*."""
        if git_directory is not None and git_directory not in self.git_directories:
            self.git_directories.add(git_directory)
            self.source.add_git_directory(git_directory)

    def attach(self, source: Source) -> None:
        """Use another *source*, and give it the links and git directories."""
        self.source = source
        for git in self.git_directories:
            source.add_git_directory(git)
        for path, folder in self._folders.items():
            for name in folder.links:
                source.add_link(f"{path}{os.sep}{name}")

    def rescan(self, path: str, *, forced: bool = False) -> list[Difference]:
        """Compare the file or folder at *path* with the disk, and update the record.

        Args:
            path: An absolute path, whether it exists or not.
            forced: Return every file, also those that look the same.
        """
        out: list[Difference] = []
        todo = [path]
        while todo:
            todo.extend(self._renew(todo.pop(), forced, out))
        return out

    def scan(self, root: str) -> Iterator[list[Difference]]:
        """Compare everything below *root*; yields after each folder."""
        inside = root + os.sep
        for path in [p for p in self._folders if p == root or p.startswith(inside)]:
            is_closed = any(path.startswith(f"{f}{os.sep}") for f in self.unreadable)
            if path in self._folders and not is_closed:
                out: list[Difference] = []
                for folder in self._renew(path, False, out, is_scan=True):
                    if folder not in self._folders:
                        out += self.rescan(folder)
                yield out

    def drop(self, path: str) -> list[Difference]:
        """Remove the folder at *path* and everything below it from the record."""
        out: list[Difference] = []
        todo = [path]
        while todo:
            here = todo.pop()
            self.unreadable.discard(here)
            folder = self._folders.pop(here, None)
            if folder is not None:
                out += [(f"{here}{os.sep}{name}", True, False) for name in folder.files]
                todo += [f"{here}{os.sep}{name}" for name in folder.folders]
                for name in folder.links:
                    self.source.remove_link(f"{here}{os.sep}{name}")
                self.source.remove_folder(here)
        parent, name = os.path.split(path)
        if parent in self._folders:
            self._folders[parent].folders.discard(name)
        return out

    def _renew(
        self, path: str, forced: bool, out: list[Difference], *, is_scan: bool = False
    ) -> list[str]:
        """Compare one folder or file; return the folders inside, to be read next."""
        try:
            status = status_of(path)
        except OSError:
            self.unreadable.add(path)
            return []
        if status is None or not stat.S_ISDIR(status.st_mode):
            self.unreadable.discard(path)
            out += self.drop(path)
            self._renew_file(path, forced, out)
            return [path] if status is None and self._is_back(path) else []
        old = self._folders.get(path)
        if self.has_file(path):  # a link to a file leads to a folder now
            self.forget(path)
            out.append((path, True, False))
        folder = self._new_folder(path, status)
        if folder is None:
            return []
        if not is_scan or old is None or old.identity != folder.identity:
            self.source.add_folder(path)
        if not read_folder(path, folder, recursive=self.recursive):
            if not os.path.isdir(path):
                return [path]  # it was deleted just now
            self.unreadable.add(path)
            return []
        self.unreadable.discard(path)
        if folder.is_tree:
            self.add_git_directory(git_directory(path))
        self._watch_links(path, old.links if old else set(), folder, forced)
        before = old.files if old else {}
        if forced or before != folder.files:
            for name in {**before, **folder.files}:
                was, now = before.get(name), folder.files.get(name)
                if forced or was != now:
                    out.append(
                        (f"{path}{os.sep}{name}", was is not None, now is not None)
                    )
        if old:
            for name in old.folders - folder.folders:
                out += self.drop(f"{path}{os.sep}{name}")
        self._folders[path] = folder
        return [f"{path}{os.sep}{name}" for name in folder.folders]

    def _is_back(self, path: str) -> bool:
        """Watch where a broken link leads; return whether a directory is there."""
        parent, name = os.path.split(path)
        above = self._folders.get(parent)
        if above is not None and name not in above.links:
            return False
        self.source.add_link(path)
        return os.path.isdir(path)

    def _renew_file(self, path: str, forced: bool, out: list[Difference]) -> None:
        parent, name = os.path.split(path)
        folder = self._folders.get(parent)
        if folder is None or is_ignored_file(name):
            return
        was = folder.files.get(name)
        self.look(path)
        now = folder.files.get(name)
        if was != now or (forced and now):
            out.append((path, was is not None, now is not None))

    def _new_folder(self, path: str, status: os.stat_result) -> Folder | None:
        """Return an empty record; None for a circle of links, or too many of them."""
        identity = (status.st_dev, status.st_ino)
        parent, name = os.path.split(path)
        above = self._folders.get(parent)
        if above is None:
            return Folder(identity, 0)
        depth = above.depth + os.path.islink(path)
        here: Folder | None = above
        while here is not None and depth:
            if here.identity == identity:
                return None
            parent = os.path.dirname(parent)
            here = self._folders.get(parent)
        if depth > LINK_DEPTH:
            return None
        above.folders.add(name)
        return Folder(identity, depth)

    def _watch_links(
        self, path: str, old: set[str], folder: Folder, forced: bool
    ) -> None:
        """Watch new links, and then look at the files that they lead to again."""
        for name in old - folder.links:
            self.source.remove_link(f"{path}{os.sep}{name}")
        for name in folder.links if forced else folder.links - old:
            full = f"{path}{os.sep}{name}"
            self.source.add_link(full)
            status = None if name in folder.folders else status_of(full)
            signature = None if status is None else signature_of(status)
            if signature is not None:
                folder.files[name] = signature


_LISTINGS = frozenset(
    {FileEvent.RELIST, FileEvent.RELINKED, FileEvent.MOUNTED, FileEvent.LOST}
)


@attrs.define
class Tracker:
    """Looks at what a source reports, and records what has changed.

    Attributes:
        snapshot: The record of the watched trees.
        settle: Decides when the batch is complete.
        clock: Monotonic seconds.
        roots: Watched directory as an absolute path → whether it exists.
    """

    snapshot: Snapshot
    settle: Settle
    clock: Callable[[], float]
    roots: dict[str, bool] = attrs.field(init=False, factory=dict)

    def add_root(self, root: str) -> None:
        """Start tracking the tree at *root*; its present state is no change."""
        self.snapshot.source.add_link(root)
        self.snapshot.add_git_directory(git_directory_above(root))
        self.snapshot.rescan(root)
        self.roots[root] = self.snapshot.has_folder(root)
        self.refresh_locks()

    def remove_root(self, root: str) -> None:
        """Stop tracking the tree at *root*; overlapping trees are tracked further."""
        del self.roots[root]
        self.snapshot.source.remove_link(root)
        self.snapshot.drop(root)
        for other in self.roots:
            self.snapshot.rescan(other)

    def handle(self, events: Mapping[str, FileEvent]) -> bool:
        """Look at what *events* name; return whether the source had lost events."""
        # Names first, then listings: a listing sees the disk as it is now, and an older
        # event of a name must not override it. Locks last: they end event came before.
        for path, event in sorted(events.items(), key=_rank):
            if event is FileEvent.LOCKED:
                # A known one was deleted, and made again before this was read.
                self._hold(path, is_held=False)
                self._hold(path, is_held=True)
            elif event is FileEvent.UNLOCKED:
                self.settle.remove_lock(path, self.clock())
            elif event is FileEvent.RELIST or event is FileEvent.RELINKED:
                self._relist(path, forced=event is FileEvent.RELINKED)
            elif event is FileEvent.MOUNTED:
                for root in filter(self.snapshot.is_replaced, list(self.roots)):
                    self._relist(root, cause=Cause.RESCAN)
            elif event is FileEvent.LOST:
                self.rescan(Cause.OVERFLOW)
            elif os.path.basename(path) == ".git":
                self.snapshot.add_git_directory(git_directory(os.path.dirname(path)))
            elif not is_ignored_file(os.path.basename(path)):
                self._file(path, event)
        return "" in events

    def unreachable(self) -> list[str]:
        """Return the roots that are missing, and the folders that cannot be read."""
        gone = [root for root, is_there in self.roots.items() if not is_there]
        return [*gone, *self.snapshot.unreadable]

    def rescan(self, cause: Cause) -> None:
        """Compare every tree with the disk."""
        for root in self.roots:
            self.note(self.snapshot.rescan(root), cause)
            self.roots[root] = self.snapshot.has_folder(root)
        self.refresh_locks()

    def confirm(self) -> None:
        """Look again at what a scan found: a file that still grows is not complete."""
        now = self.clock()
        for path in self.settle.paths:
            for _, was_there, is_there in self.snapshot.rescan(path):
                phase = Phase.WRITING if is_there else Phase.GONE
                self.settle.note(path, phase, was_there=was_there, now=now)

    def note(self, differences: Iterable[Difference], cause: Cause) -> None:
        """Record what a comparison found."""
        now = self.clock()
        for path, was_there, is_there in differences:
            # No event says when a file that a scan found is closed: `confirm` looks.
            found = Phase.WRITING if cause is Cause.SCAN else Phase.DONE
            phase = found if is_there else Phase.GONE
            self.settle.note(path, phase, was_there=was_there, now=now, cause=cause)
            self._distribution(path)

    def _file(self, path: str, event: FileEvent) -> None:
        snapshot = self.snapshot
        if event is FileEvent.TOUCHED:
            # A file of the open batch is read anyhow, and may still be written.
            if self.settle.has_path(path) or not snapshot.is_touched(path):
                return None
            if snapshot.has_folder(path) or path in snapshot.unreadable:
                return self._relist(path)
        was_there = snapshot.has_file(path)
        if event is FileEvent.WRITING:
            phase = Phase.WRITING
        elif event is FileEvent.GONE:
            snapshot.forget(path)
            if not was_there and snapshot.has_folder(path):
                return self._relist(path)  # a link to a directory was deleted
            phase = Phase.GONE
        elif snapshot.has_folder(path):
            return self._relist(path)
        else:
            try:
                status = snapshot.look(path)
            except OSError:
                return None  # left to the next scan
            if status is None:
                phase = Phase.GONE
            elif stat.S_ISDIR(status.st_mode):
                return self._relist(path)
            elif not stat.S_ISREG(status.st_mode):
                if not was_there:
                    return None
                phase = Phase.DONE  # in place of a file: whoever reads it says so
            elif event is FileEvent.CREATED and not _is_linked(path, status):
                phase = Phase.WRITING
            else:
                phase = Phase.DONE if status.st_size else Phase.EMPTY
        now = self.clock()
        self.settle.note(path, phase, was_there=was_there, now=now)
        self._distribution(path)
        return None

    def _relist(
        self, path: str, *, forced: bool = False, cause: Cause = Cause.EVENTS
    ) -> None:
        was_there = self.roots.get(path)
        if is_pip_backup(path):
            return self._hold(path, is_held=os.path.isdir(path))
        if was_there is None and self._is_unwanted(path):
            if os.path.basename(path) == ".git":
                self.snapshot.add_git_directory(git_directory(os.path.dirname(path)))
            return None
        if forced or was_there is not None:
            self.snapshot.source.add_link(path)
        differences = self.snapshot.rescan(path, forced=forced)
        if was_there is not None:
            self.roots[path] = self.snapshot.has_folder(path)
        is_other = was_there is not self.roots.get(path)
        self.note(differences, Cause.RESCAN if forced or is_other else cause)
        self._distribution(path)
        return None

    def _is_unwanted(self, path: str) -> bool:
        is_out = not self.snapshot.recursive or is_ignored_folder(
            os.path.basename(path)
        )
        return is_out and os.path.isdir(path)

    def _distribution(self, path: str) -> None:
        """Keep the batch open while a ``.dist-info`` has no RECORD yet."""
        folder = path if path.endswith(".dist-info") else os.path.dirname(path)
        if folder.endswith(".dist-info"):
            self._hold(folder, is_held=is_unfinished_distribution(folder))

    def _hold(self, lock: str, *, is_held: bool) -> None:
        if is_held:
            self.settle.add_lock(lock, self.clock())
        elif self.settle.has_lock(lock):
            self.settle.remove_lock(lock, self.clock())

    def refresh_locks(self) -> None:
        """Check which locks exist, as no event may have reported it."""
        present = {
            lock
            for git in self.snapshot.git_directories
            for lock in (os.path.join(git, name) for name in GIT_LOCKS)
            if os.path.lexists(lock)
        }
        present.update(
            lock
            for lock in self.settle.locks
            if is_unfinished_distribution(lock)
            or (is_pip_backup(lock) and os.path.isdir(lock))
        )
        self.settle.set_locks(present, self.clock())


def _rank(events: tuple[str, FileEvent]) -> int:
    if events[1] in (FileEvent.LOCKED, FileEvent.UNLOCKED):
        return 2
    return 1 if events[1] in _LISTINGS else 0


def _is_linked(path: str, status: os.stat_result) -> bool:
    """Whether *path* was made whole, by link(2) or symlink(2), not opened to write."""
    return status.st_nlink > 1 or os.path.islink(path)
