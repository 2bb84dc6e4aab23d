"""What the watched trees looked like: a record by stat, and the comparison with it.

In: a path to look at again. Out: the files that differ, as (path, was there, is
there). It follows links, once each; it opens nothing, so that a FIFO or a device
cannot hang it; directories are entered (watched) before they are listed, so that
nothing falls between.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import attrs

from luminal.reload.watching.links import LINK_DEPTH
from luminal.reload.watching.listing import Folder, fill, signature_of, status_of
from luminal.reload.watching.locks import git_directory
from luminal.reload.watching.noise import is_noisy_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from luminal.reload.watching.source import Source

__all__ = ["Difference", "Snapshot"]

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
