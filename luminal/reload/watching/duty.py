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
from luminal.reload.watching.mounts import silent_file_system
from luminal.reload.watching.polling import PollingSource
from luminal.reload.watching.reporter import Reporter
from luminal.reload.watching.settle import Pace, Settle
from luminal.reload.watching.source import News
from luminal.reload.watching.sweep import Snapshot
from luminal.reload.watching.tracker import Tracker
from luminal.supervise.hurry import Hurry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from luminal.reload.watching.batch import Batch
    from luminal.reload.watching.source import Source
    from luminal.reload.watching.sweep import Difference

__all__ = ["Duty", "new_source"]

# Sleeps are whole milliseconds, rounded: a batch due within half of one is due now.
_SLACK = 0.0006
# While a batch is open and nobody tells of locks, they are looked at so often.
_LOOK = 0.050
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
    # Roots on file systems that send no events → the file system's type.
    _silent: dict[str, str] = attrs.field(init=False, factory=dict)
    _reporter: Reporter = attrs.field(init=False)
    # The sweep under way: interrupted where its budget is used up.
    _sweep: Iterator[list[Difference]] | None = attrs.field(init=False, default=None)
    _next_sweep: float = attrs.field(init=False, default=0.0)
    _hurry: Hurry = attrs.field(init=False, factory=Hurry)

    def __attrs_post_init__(self) -> None:
        self._reporter = Reporter(self.say, self.pace.poll)

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
        tracker.snapshot.attach(new_source(self.force_polling))
        for root in tracker.roots:
            tracker.snapshot.source.link(root)
        tracker.rescan(Cause.RESCAN)

    def plant(self, root: str) -> None:
        """Watch the tree at *root*."""
        with self._hurry:
            self.tracker.plant(root)
        self._learn_file_systems()
        self._report()
        self._plan_sweep()

    def uproot(self, root: str) -> None:
        """Watch the tree at *root* no more."""
        self.tracker.uproot(root)
        self._silent.pop(root, None)
        self._reporter.forget(root)

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
        source = tracker.snapshot.source
        if source.wait(sleep):
            self._hurry.begin()
            self._hear(source.read())
        if not settle.is_pending:
            self._hurry.end()
            if tracker.clock() >= self._next_sweep:
                self._look_around()
            return
        if self._must_look:
            tracker.believe_locks()
            if settle.is_uncertain and settle.is_due(tracker.clock() + _SLACK):
                tracker.confirm()
        batch = settle.take(tracker.clock(), _SLACK)
        if batch is not None:
            # Still in a hurry: a change is live once its receiver has acted on it.
            self.deliver(batch)
            self._hurry.end()

    @property
    def _is_blind(self) -> bool:
        snapshot = self.tracker.snapshot
        return bool(
            snapshot.source.blind
            or self._silent
            or snapshot.unreadable
            or not all(self.tracker.roots.values())
        )

    @property
    def _must_look(self) -> bool:
        """Whether the end of an open batch is not told, and has to be looked for."""
        source = self.tracker.snapshot.source
        return (
            not source.tells_locks
            or source.blind is not None
            or self.tracker.settle.is_uncertain
        )

    def _sleep(self) -> float:
        now, due = self.tracker.clock(), self.tracker.settle.due()
        if due is None:
            return max(0.0, self._next_sweep - now)
        return max(0.0, min(due - now, _LOOK) if self._must_look else due - now)

    def _hear(self, news: dict[str, News]) -> None:
        was_there = dict(self.tracker.roots)
        if self.tracker.hear(news):
            text = "more changes than the system's queue holds: looked at every file"
            self.say(Note(NoteCode.OVERFLOW, "", text))
        if self.tracker.roots != was_there or News.MOUNTED in news.values():
            self._learn_file_systems()
            self._plan_sweep()
        self._report()

    def _learn_file_systems(self) -> None:
        if self.force_polling is None:
            kinds = {
                root: silent_file_system(os.path.realpath(root))
                for root in self.tracker.roots
            }
            self._silent = {root: kind for root, kind in kinds.items() if kind}

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

    def _report(self) -> None:
        snapshot = self.tracker.snapshot
        self._reporter.report(
            blind=snapshot.source.blind,
            silent=self._silent,
            gone=[root for root, there in self.tracker.roots.items() if not there],
            unreadable=snapshot.unreadable,
        )
