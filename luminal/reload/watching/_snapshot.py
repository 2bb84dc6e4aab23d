"""What the watched trees looked like: a record by stat, and the comparison with it.

In: a path to look at again. Out: the files that differ, as (path, was there, is
there). It follows links, once each; it opens nothing, so that a FIFO or a device
cannot hang it; directories are entered (watched) before they are listed, so that
nothing falls between.
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
    is_noisy_file,
    is_noisy_folder,
    is_stash,
    is_unfinished_distribution,
)
from luminal.reload.watching._settle import Cause, Phase, Settle
from luminal.reload.watching._source import News

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
    "fill",
    "signature_of",
    "status_of",
    "steps",
]

# === reload.watching.tracker ===
# From news to notes: looks at what a source named, and tells the settling.
#
# In: news of names, in order. Out: notes to `Settle`, with the record of the trees
# kept up to date. Works for every source; runs in the watcher's thread alone.

_LISTINGS = frozenset({News.RELIST, News.RELINKED, News.MOUNTED, News.LOST})


@attrs.define
class Tracker:
    """Watched trees: their record, and the batch that is open.

    Attributes:
        snapshot: The record by stat.
        settle: Decides when the batch is complete.
        clock: Monotonic seconds.
        roots: Absolute path → whether it is there.
    """

    snapshot: Snapshot
    settle: Settle
    clock: Callable[[], float]
    roots: dict[str, bool] = attrs.field(init=False, factory=dict)

    def plant(self, root: str) -> None:
        """Begin to track the tree at *root*; what is there now is not news."""
        self.snapshot.source.link(root)
        self.snapshot.guard(git_directory_above(root))
        self.snapshot.rescan(root)
        self.roots[root] = self.snapshot.has_folder(root)
        self.believe_locks()

    def uproot(self, root: str) -> None:
        """Track *root* no more; trees that overlap with it go on."""
        del self.roots[root]
        self.snapshot.source.unlink(root)
        self.snapshot.drop(root)
        for other in self.roots:
            self.snapshot.rescan(other)

    def hear(self, news: Mapping[str, News]) -> bool:
        """Take *news*; returns whether the source had lost some."""
        # Names first, listings then: a listing sees the disk as it is, and must not be
        # overruled by older news of a name. Locks last: they end what came before.
        for path, what in sorted(news.items(), key=_rank):
            if what is News.LOCKED:
                self.settle.hold(path, self.clock())
            elif what is News.UNLOCKED:
                self.settle.release(path, self.clock())
            elif what is News.RELIST or what is News.RELINKED:
                self._relist(path, forced=what is News.RELINKED)
            elif what is News.MOUNTED:
                for root in filter(self.snapshot.is_replaced, list(self.roots)):
                    self._relist(root, cause=Cause.RESCAN)
            elif what is News.LOST:
                self.rescan(Cause.OVERFLOW)
            elif os.path.basename(path) == ".git":
                self.snapshot.guard(git_directory(os.path.dirname(path)))
            elif not is_noisy_file(os.path.basename(path)):
                self._file(path, what)
        return "" in news

    def rescan(self, cause: Cause) -> None:
        """Compare every tree with the disk."""
        for root in self.roots:
            self.note(self.snapshot.rescan(root), cause)
            self.roots[root] = self.snapshot.has_folder(root)
        self.believe_locks()

    def confirm(self) -> None:
        """Look again at what a sweep found: a file that still grows is not ready."""
        now = self.clock()
        for path in self.settle.paths:
            for _, was_there, is_there in self.snapshot.rescan(path):
                phase = Phase.WRITING if is_there else Phase.GONE
                self.settle.note(path, phase, was_there=was_there, now=now)

    def note(self, differences: Iterable[Difference], cause: Cause) -> None:
        """Hand on what a comparison found."""
        now = self.clock()
        for path, was_there, is_there in differences:
            # Nobody tells when a file that a sweep found is closed: `confirm` will ask.
            found = Phase.WRITING if cause is Cause.SWEEP else Phase.DONE
            phase = found if is_there else Phase.GONE
            self.settle.note(path, phase, was_there=was_there, now=now, cause=cause)
            self._distribution(path)

    def _file(self, path: str, what: News) -> None:
        snapshot = self.snapshot
        was_there = snapshot.has_file(path)
        if what is News.WRITING:
            phase = Phase.WRITING
        elif what is News.GONE:
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
                return None  # nobody knows: left to the sweep
            if status is None:
                phase = Phase.GONE
            elif stat.S_ISDIR(status.st_mode):
                return self._relist(path)
            elif not stat.S_ISREG(status.st_mode):
                return None
            elif what is News.CREATED and not _is_linked(path, status):
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
        if is_stash(path):
            return self._hold(path, is_held=os.path.isdir(path))
        if was_there is None and self._is_unwanted(path):
            if os.path.basename(path) == ".git":
                self.snapshot.guard(git_directory(os.path.dirname(path)))
            return None
        if forced or was_there is not None:
            self.snapshot.source.link(path)
        differences = self.snapshot.rescan(path, forced=forced)
        if was_there is not None:
            self.roots[path] = self.snapshot.has_folder(path)
        is_other = was_there is not self.roots.get(path)
        self.note(differences, Cause.RESCAN if forced or is_other else cause)
        self._distribution(path)
        return None

    def _is_unwanted(self, path: str) -> bool:
        is_out = not self.snapshot.recursive or is_noisy_folder(os.path.basename(path))
        return is_out and os.path.isdir(path)

    def _distribution(self, path: str) -> None:
        """Hold the batch while a ``.dist-info`` waits for its RECORD."""
        folder = path if path.endswith(".dist-info") else os.path.dirname(path)
        if folder.endswith(".dist-info"):
            self._hold(folder, is_held=is_unfinished_distribution(folder))

    def _hold(self, lock: str, *, is_held: bool) -> None:
        if is_held:
            self.settle.hold(lock, self.clock())
        elif self.settle.has_lock(lock):
            self.settle.release(lock, self.clock())

    def believe_locks(self) -> None:
        """Bring the locks in line with those that exist, where no news may tell."""
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
            or (is_stash(lock) and os.path.isdir(lock))
        )
        self.settle.keep_only(present, self.clock())


def _rank(news: tuple[str, News]) -> int:
    if news[1] in (News.LOCKED, News.UNLOCKED):
        return 2
    return 1 if news[1] in _LISTINGS else 0


def _is_linked(path: str, status: os.stat_result) -> bool:
    """Whether *path* was made whole, by link(2) or symlink(2), not opened to write."""
    return status.st_nlink > 1 or os.path.islink(path)


# === reload.watching.listing ===
# What one folder holds, by one look at it: names, kinds and signatures.
#
# It opens no file, so that a FIFO or a device cannot hang it.

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


# === reload.watching.links ===
# What a path depends on: each symbolic link on the way, and where it ends.
#
# Reads links only; never opens or lists anything.

# Linked directories inside of linked directories are followed so deep: enough for
# every deployment scheme known, and few enough for a tangle of links to stay small.
LINK_DEPTH = 3

_LINK_LIMIT = 40  # links on one way, as in the Linux kernel (MAXSYMLINKS)


def steps(path: str) -> list[tuple[str, str]]:
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


# === reload.watching.sweep ===
# What the watched trees looked like: a record by stat, and the comparison with it.
#
# In: a path to look at again. Out: the files that differ, as (path, was there, is
# there). It follows links, once each; it opens nothing, so that a FIFO or a device
# cannot hang it; directories are entered (watched) before they are listed, so that
# nothing falls between.

Difference = tuple[str, bool, bool]
"""A path, whether it was there, whether it is."""


@attrs.define
class Snapshot:
    """The record of every watched tree.

    Attributes:
        source: Told which folders are entered and left, and which links are met.
        recursive: Whether folders inside of folders are read.
        unreadable: Folders that could not be listed; their record is kept.
        git_directories: Those of the trees that were met.
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

    def forget(self, path: str) -> None:
        """Take the file at *path* out of the record."""
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
            self.source.link(path)  # first: what it leads to may change meanwhile
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

    def guard(self, git_directory: str | None) -> None:
        """Have the locks in *git_directory* told, once."""
        if git_directory is not None and git_directory not in self.git_directories:
            self.git_directories.add(git_directory)
            self.source.guard(git_directory)

    def attach(self, source: Source) -> None:
        """Go on with another *source*, which has yet to be told of everything."""
        self.source = source
        for git in self.git_directories:
            source.guard(git)
        for path, folder in self._folders.items():
            for name in folder.links:
                source.link(f"{path}{os.sep}{name}")

    def rescan(self, path: str, *, forced: bool = False) -> list[Difference]:
        """Bring the record of *path*, file or folder, in line with the disk.

        Args:
            path: An absolute path, there or not.
            forced: Report every file, also those that look the same.
        """
        out: list[Difference] = []
        todo = [path]
        while todo:
            todo.extend(self._renew(todo.pop(), forced, out))
        return out

    def sweep(self, root: str) -> Iterator[list[Difference]]:
        """Compare folder by folder below *root*; yields after each, to be stopped."""
        inside = root + os.sep
        for path in [p for p in self._folders if p == root or p.startswith(inside)]:
            if path in self._folders:
                out: list[Difference] = []
                for folder in self._renew(path, False, out, is_sweep=True):
                    if folder not in self._folders:
                        out += self.rescan(folder)
                yield out

    def drop(self, path: str) -> list[Difference]:
        """Take the folder at *path* and all below out of the record."""
        out: list[Difference] = []
        todo = [path]
        while todo:
            here = todo.pop()
            folder = self._folders.pop(here, None)
            if folder is not None:
                out += [(f"{here}{os.sep}{name}", True, False) for name in folder.files]
                todo += [f"{here}{os.sep}{name}" for name in folder.folders]
                for name in folder.links:
                    self.source.unlink(f"{here}{os.sep}{name}")
                self.source.leave(here)
        parent, name = os.path.split(path)
        if parent in self._folders:
            self._folders[parent].folders.discard(name)
        return out

    def _renew(
        self, path: str, forced: bool, out: list[Difference], *, is_sweep: bool = False
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
        place = self._place(path, status)
        if place is None:
            return []
        if not is_sweep or old is None or old.identity != place.identity:
            self.source.enter(path)
        if not fill(path, place, recursive=self.recursive):
            if not os.path.isdir(path):
                return [path]  # it went just now
            self.unreadable.add(path)
            return []
        self.unreadable.discard(path)
        if place.is_tree:
            self.guard(git_directory(path))
        self._watch_links(path, old.links if old else set(), place, forced)
        before = old.files if old else {}
        if forced or before != place.files:
            for name in {**before, **place.files}:
                was, now = before.get(name), place.files.get(name)
                if forced or was != now:
                    out.append(
                        (f"{path}{os.sep}{name}", was is not None, now is not None)
                    )
        if old:
            for name in old.folders - place.folders:
                out += self.drop(f"{path}{os.sep}{name}")
        self._folders[path] = place
        return [f"{path}{os.sep}{name}" for name in place.folders]

    def _is_back(self, path: str) -> bool:
        """Have the end of a link that leads nowhere watched; whether it is back."""
        parent, name = os.path.split(path)
        above = self._folders.get(parent)
        if above is not None and name not in above.links:
            return False
        self.source.link(path)
        return os.path.isdir(path)

    def _renew_file(self, path: str, forced: bool, out: list[Difference]) -> None:
        parent, name = os.path.split(path)
        folder = self._folders.get(parent)
        if folder is None or is_noisy_file(name):
            return
        was = folder.files.get(name)
        self.look(path)
        now = folder.files.get(name)
        if was != now or (forced and now):
            out.append((path, was is not None, now is not None))

    def _place(self, path: str, status: os.stat_result) -> Folder | None:
        """Return an empty folder; None where links lead round or too deep."""
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
        self, path: str, old: set[str], place: Folder, forced: bool
    ) -> None:
        """Have new links told of, and look at their files once more after that."""
        for name in old - place.links:
            self.source.unlink(f"{path}{os.sep}{name}")
        for name in place.links if forced else place.links - old:
            full = f"{path}{os.sep}{name}"
            self.source.link(full)
            status = None if name in place.folders else status_of(full)
            signature = None if status is None else signature_of(status)
            if signature is not None:
                place.files[name] = signature
