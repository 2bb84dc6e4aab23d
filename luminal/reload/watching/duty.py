"""The watcher's turn: wait, look, settle, deliver, sweep. No thread of its own.

Between the source, the tracker and the receiver. It decides how long to sleep, when to
look at every file, and what of the watcher's state is worth a note.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

import attrs

from luminal.reload.watching.batch import Cause, Note, NoteCode
from luminal.reload.watching.hurry import Hurry
from luminal.reload.watching.mounts import silent_file_system
from luminal.reload.watching.polling import PollingSource
from luminal.reload.watching.settle import Pace, Settle
from luminal.reload.watching.source import News
from luminal.reload.watching.sweep import Snapshot
from luminal.reload.watching.tracker import Tracker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from luminal.reload.watching.batch import Batch
    from luminal.reload.watching.source import Source
    from luminal.reload.watching.sweep import Difference

__all__ = ["Duty", "new_source"]

# Sleeps are whole milliseconds, rounded: a batch due within half of one is due now.
_SLACK = 0.0006
# While a batch is open and the source is blind, locks and files are looked at so often.
_BLIND_LOOK = 0.050
# Longer sleeps than this are not spent in a hurry.
_HURRY_LIMIT = 0.010


def new_source(force_polling: bool | None = None) -> Source:
    """Return the best source of this system, or one that polls and says why."""
    if force_polling:
        return PollingSource()
    try:
        if sys.platform == "linux":
            from luminal.reload.watching.inotify import InotifySource

            return InotifySource()
        else:  # noqa: RET505 - the type checker leaves out the other system's branch
            from luminal.reload.watching.watchfiles_source import WatchfilesSource

            return WatchfilesSource()
    except (ImportError, OSError) as problem:
        return PollingSource(f"the system's events cannot be had ({problem})")


@attrs.define
class Duty:
    """What the watcher's thread does, one `turn` after the other.

    Attributes:
        tracker: The watched trees and the open batch.
        deliver: Takes each batch.
        say: Takes each note.
        pace: The times.
        force_polling: See `Watcher`.
    """

    tracker: Tracker
    deliver: Callable[[Batch], None]
    say: Callable[[Note], None]
    pace: Pace
    force_polling: bool | None = None
    # Notes that hold at present, so that each is said once.
    _said: set[tuple[NoteCode, str]] = attrs.field(init=False, factory=set)
    # Roots on file systems that send no events.
    _silent: set[str] = attrs.field(init=False, factory=set)
    # The sweep under way: interrupted where its budget is used up.
    _sweep: Iterator[list[Difference]] | None = attrs.field(init=False, default=None)
    _next_sweep: float = attrs.field(init=False, default=0.0)
    _hurry: Hurry = attrs.field(init=False, factory=Hurry)

    @classmethod
    def begin(
        cls,
        deliver: Callable[[Batch], None],
        say: Callable[[Note], None],
        clock: Callable[[], float],
        pace: Pace | None = None,
        recursive: bool = True,
        force_polling: bool | None = None,
    ) -> Duty:
        """Make a duty with a fresh source and nothing to watch yet."""
        pace = pace or Pace()
        snapshot = Snapshot(new_source(force_polling), recursive)
        tracker = Tracker(snapshot, Settle(pace), clock)
        duty = cls(tracker, deliver, say, pace, force_polling)
        duty._plan_sweep()
        return duty

    def renew(self) -> None:
        """Go on with a fresh source, and look at everything once."""
        self.end()
        tracker = self.tracker
        tracker.snapshot.source = new_source(self.force_polling)
        for git in tracker.snapshot.git_directories:
            tracker.snapshot.source.guard(git)
        for root in tracker.roots:
            tracker.snapshot.source.link(root)
        tracker.rescan(Cause.RESCAN)

    def plant(self, root: str) -> None:
        """Watch the tree at *root*."""
        with self._hurry:
            self.tracker.plant(root)
        kind = silent_file_system(os.path.realpath(root))
        if kind and self.force_polling is None:
            self._silent.add(root)
        self._report(kind)
        self._plan_sweep()

    def uproot(self, root: str) -> None:
        """Watch the tree at *root* no more."""
        self.tracker.uproot(root)
        self._silent.discard(root)
        self._said = {said for said in self._said if said[1] != root}

    def wake(self) -> None:
        """Make a sleeping `turn` return; from any thread."""
        self.tracker.snapshot.source.wake()

    def end(self) -> None:
        """Give everything back to the system."""
        self._hurry.end()
        self.tracker.snapshot.source.close()

    def turn(self) -> None:
        """Sleep until something is to be done, and do it."""
        tracker, settle = self.tracker, self.tracker.settle
        sleep = self._sleep()
        if sleep > _HURRY_LIMIT:
            self._hurry.end()
        news = tracker.snapshot.source.wait(sleep)
        if news:
            self._hurry.begin()
            self._hear(news)
        if not settle.is_pending:
            self._hurry.end()
            if tracker.clock() >= self._next_sweep:
                self._look_around()
            return
        if self._is_blind or settle.is_uncertain:
            tracker.believe_locks()
            if settle.is_due(tracker.clock() + _SLACK):
                tracker.confirm()
        batch = settle.take(tracker.clock(), _SLACK)
        if batch is not None:
            self._hurry.end()
            self.deliver(batch)

    @property
    def _is_blind(self) -> bool:
        snapshot = self.tracker.snapshot
        return bool(
            snapshot.source.blind
            or self._silent
            or snapshot.unreadable
            or not all(self.tracker.roots.values())
        )

    def _sleep(self) -> float:
        now, due = self.tracker.clock(), self.tracker.settle.due()
        if due is None:
            return max(0.0, self._next_sweep - now)
        is_blind = self._is_blind or self.tracker.settle.is_uncertain
        return max(0.0, min(due - now, _BLIND_LOOK) if is_blind else due - now)

    def _hear(self, news: dict[str, News]) -> None:
        was_there = dict(self.tracker.roots)
        if self.tracker.hear(news):
            self.say(
                Note(
                    NoteCode.OVERFLOW,
                    "",
                    "more changes than the system's queue holds: looked at every file",
                )
            )
        if self.tracker.roots != was_there:
            self._plan_sweep()
        self._report()

    def _plan_sweep(self) -> None:
        wait = self.pace.poll if self._is_blind else self.pace.sweep
        self._next_sweep = self.tracker.clock() + wait

    def _look_around(self) -> None:
        """Sweep: all at once where nobody tells, else as far as the budget goes."""
        tracker, is_blind = self.tracker, self._is_blind
        began = time.thread_time()
        if self._sweep is None:
            self._sweep = self._everything()
        for differences in self._sweep:
            tracker.note(differences, Cause.SWEEP)
            if not is_blind and time.thread_time() - began > self.pace.sweep_budget:
                break
        else:
            self._sweep = None
        self._report()
        self._plan_sweep()

    def _everything(self) -> Iterator[list[Difference]]:
        snapshot = self.tracker.snapshot
        for root, was_there in list(self.tracker.roots.items()):
            if root not in self.tracker.roots:
                continue
            if not was_there or not os.path.isdir(root):
                self.tracker.hear({root: News.RELIST})
            else:
                yield from snapshot.sweep(root)

    def _report(self, silent: str | None = None) -> None:
        """Say what has become different about the watcher itself."""
        blind = self.tracker.snapshot.source.blind
        every = f"every file is looked at every {self.pace.poll:g} s"
        self._state(NoteCode.WATCH_LIMIT, "", bool(blind), f"{blind}: {every}")
        for root, is_there in self.tracker.roots.items():
            text = f"{root!r} is on a file system without events ({silent}): {every}"
            self._state(NoteCode.NO_EVENTS, root, root in self._silent, text)
            gone = f"the watched directory {root!r} is gone: waiting for its return"
            if self._state(NoteCode.GONE, root, not is_there, gone) is False:
                text = f"the watched directory {root!r} is back"
                self.say(Note(NoteCode.RETURNED, root, text))
        unreadable = self.tracker.snapshot.unreadable
        for path in unreadable:
            text = f"{path!r} cannot be read: what was known of it is kept"
            self._state(NoteCode.UNREADABLE, path, True, text)
        for code, path in list(self._said):
            if code is NoteCode.UNREADABLE and path not in unreadable:
                self._said.discard((code, path))

    def _state(self, code: NoteCode, root: str, holds: bool, text: str) -> bool | None:
        """Say *text* when a state begins; return whether it began (True) or ended."""
        key = (code, root)
        if holds is (key in self._said):
            return None
        if holds:
            self._said.add(key)
            self.say(Note(code, root, text))
        else:
            self._said.discard(key)
        return holds
