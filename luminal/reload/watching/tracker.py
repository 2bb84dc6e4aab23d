"""From news to notes: looks at what a source named, and tells the settling.

In: news of names, in order. Out: notes to `Settle`, with the record of the trees
kept up to date. Works for every source; runs in the watcher's thread alone.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import attrs

from luminal.reload.watching.batch import Cause
from luminal.reload.watching.locks import (
    GIT_LOCKS,
    git_directory,
    git_directory_above,
    is_stash,
    is_unfinished_distribution,
)
from luminal.reload.watching.noise import is_noisy_file, is_noisy_folder
from luminal.reload.watching.settle import Phase, Settle
from luminal.reload.watching.source import News

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from luminal.reload.watching.sweep import Difference, Snapshot

__all__ = ["Tracker"]

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
