"""Decide when a change of files is complete, so that it can be delivered as one batch.

`Settle` is a state machine that is given observations and times. It never looks at the
disk, never sleeps and never reads a clock, so that tests can choose the time.
"""

from __future__ import annotations

import enum

import attrs

__all__ = ["Batch", "Cause", "Note", "NoteCode", "Phase", "Settle", "Timing"]


class Cause(enum.StrEnum):
    """How a batch was found, from the surest way to the last resort.

    ``events`` of the operating system; a ``rescan`` of a tree after a link was swapped
    or a directory came back; the periodic ``scan`` of every file; a rescan of
    everything after an ``overflow`` of the queue of events.
    """

    EVENTS = "events"
    RESCAN = "rescan"
    SCAN = "scan"
    OVERFLOW = "overflow"


@attrs.frozen(repr=False)
class Batch:
    """Paths that may have changed together.

    The content need not differ: the receiver reads the files and compares digests. No
    file of a batch was still being written, as far as could be seen.

    Attributes:
        created: Files that were not there when the batch began.
        changed: Files that were there and are there.
        deleted: Files that were there and are not any more.
        cause: How the changes were found; of several ways the least sure one.
        began: When the first change was seen, in seconds of the watcher's clock.
        settled: When the batch was complete, in seconds of the same clock.
    """

    created: frozenset[str] = frozenset()
    changed: frozenset[str] = frozenset()
    deleted: frozenset[str] = frozenset()
    cause: Cause = Cause.EVENTS
    began: float = 0.0
    settled: float = 0.0

    @property
    def paths(self) -> frozenset[str]:
        """Every path of the batch."""
        return self.created | self.changed | self.deleted

    def after(self, earlier: Batch) -> Batch:
        """Return this batch and an *earlier* one as one; of each file the latest."""
        paths = self.paths
        return attrs.evolve(
            self,
            created=self.created | (earlier.created - paths),
            changed=self.changed | (earlier.changed - paths),
            deleted=self.deleted | (earlier.deleted - paths),
        )

    def __len__(self) -> int:
        return len(self.created) + len(self.changed) + len(self.deleted)

    def __repr__(self) -> str:
        return (
            f"<Batch {len(self.created)} created, {len(self.changed)} changed, "
            f"{len(self.deleted)} deleted, by {self.cause}, "
            f"{(self.settled - self.began) * 1000:.1f} ms>"
        )


class NoteCode(enum.StrEnum):
    """What kind of state of the watcher a `Note` is about."""

    NO_EVENTS = "no-events"
    WATCH_LIMIT = "watch-limit"
    OVERFLOW = "overflow"
    GONE = "gone"
    RETURNED = "returned"
    UNREADABLE = "unreadable"
    STALE_LOCK = "stale-lock"
    TROUBLE = "trouble"


@attrs.frozen
class Note:
    """One sentence on the watcher's own state; each state is reported once.

    Attributes:
        code: What kind of state.
        directory: The directory concerned; empty for all of them.
        text: The sentence, in lower case.
    """

    code: NoteCode
    directory: str
    text: str

    def __str__(self) -> str:
        return self.text


_SEVERITY = tuple(Cause)

_OF_A_SAVE = 4
"""Most files that one save touches: the file, and temporary ones."""


class Phase(enum.Enum):
    """What was last seen of a path."""

    WRITING = "it is open for writing"
    DONE = "it is complete, as far as can be seen"
    EMPTY = "it exists and is empty"
    GONE = "it does not exist"


@attrs.frozen
class Timing:
    """The watcher's times, in seconds.

    The defaults were found by trials: shorter ones cut the save of an editor or a
    branch switch in two, and users notice longer ones.

    Attributes:
        save: A batch that is one complete save of one file ends when nothing was
            observed for this time: long enough for a program that writes several
            files, as ``sed -i`` does, to come to the next one.
        quiet: Any other batch ends when nothing was observed for this time, …
        quiet_per_path: … plus this time for each path, …
        quiet_limit: … and at most this time in all.
        writing: After its last write, a file that is open for writing keeps the batch
            open for this time.
        gone: A file that was deleted or emptied keeps the batch open for this time, as
            it may be written again.
        cap: A batch is delivered after this time, also while changes go on. It counts
            from the first change, or from the end of a lock that kept the batch open.
        lock_cap: A lock keeps a batch open up to this time from the first change, and
            none once the lock itself is known for this time: it is stale.
        scan: Time between two scans of every file where events are sent.
        scan_budget: CPU time of one such scan; the next one continues it.
        poll: Time between two scans of every file where no events are sent.
        unreachable: Time between two looks at directories that are missing or cannot be
            read.
    """

    save: float = 0.0003
    quiet: float = 0.001
    quiet_per_path: float = 0.00025
    quiet_limit: float = 0.050
    writing: float = 0.250
    gone: float = 0.100
    cap: float = 0.250
    lock_cap: float = 5.0
    scan: float = 60.0
    scan_budget: float = 0.012
    poll: float = 2.0
    unreachable: float = 0.25


@attrs.define
class Settle:
    """The open batch, if there is one, and the locks that keep it open.

    Args:
        timing: When a batch ends.
    """

    timing: Timing = attrs.field(factory=Timing)
    # Path → whether it existed when the batch began. Set by its first observation.
    _before: dict[str, bool] = attrs.field(init=False, factory=dict)
    # The paths of `_before` that exist now.
    _there: set[str] = attrs.field(init=False, factory=set)
    # Path → (why it keeps the batch open, since when).
    _open: dict[str, tuple[Phase, float]] = attrs.field(init=False, factory=dict)
    # Lock that exists → since when it is known.
    _locks: dict[str, float] = attrs.field(init=False, factory=dict)
    # How many paths were new since the batch began or the last lock was deleted.
    _fresh: int = attrs.field(init=False, default=0)
    # When the batch began, and when something was last observed.
    _began: float = attrs.field(init=False, default=0.0)
    _last: float = attrs.field(init=False, default=0.0)
    # When a lock was deleted for the last time.
    _unlocked: float = attrs.field(init=False, default=float("-inf"))
    _cause: Cause = attrs.field(init=False, default=Cause.EVENTS)

    @property
    def is_pending(self) -> bool:
        """Whether a batch is open."""
        return bool(self._before)

    def note(
        self,
        path: str,
        phase: Phase,
        *,
        was_there: bool,
        now: float,
        cause: Cause = Cause.EVENTS,
    ) -> None:
        """Record an observation.

        Args:
            path: What was observed.
            phase: What was seen of it.
            was_there: Whether it existed before; counts if *path* is new to the batch.
            now: When it was observed.
            cause: How it was found.
        """
        if not self._before:
            self._began, self._fresh, self._cause = now, 0, cause
        elif _SEVERITY.index(cause) > _SEVERITY.index(self._cause):
            self._cause = cause
        if path not in self._before:
            self._before[path] = was_there
            self._fresh += 1
        self._last = now
        if phase is Phase.GONE:
            self._there.discard(path)
        else:
            self._there.add(path)
        # A temporary file that is created and deleted inside a batch does not delay it.
        if phase is Phase.WRITING or (phase is not Phase.DONE and self._before[path]):
            self._open[path] = (phase, now)
        else:
            self._open.pop(path, None)

    @property
    def is_uncertain(self) -> bool:
        """Whether the batch was found by a scan, so that no event reports its end."""
        return bool(self._before) and self._cause is Cause.SCAN

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths of the open batch."""
        return tuple(self._before)

    def has_path(self, path: str) -> bool:
        """Whether *path* is in the open batch."""
        return path in self._before

    @property
    def locks(self) -> frozenset[str]:
        """The locks that exist."""
        return frozenset(self._locks)

    def stale_locks(self, now: float) -> list[str]:
        """Return the locks that exist for so long that nothing is kept open by them."""
        limit = self.timing.lock_cap
        return [lock for lock, since in self._locks.items() if now >= since + limit]

    def has_lock(self, lock: str) -> bool:
        """Whether *lock* exists."""
        return lock in self._locks

    def add_lock(self, lock: str, now: float) -> None:
        """Keep batches open while *lock* exists, until it is stale."""
        self._locks.setdefault(lock, now)

    def remove_lock(self, lock: str, now: float) -> None:
        """End the batch soon: the program that held *lock* has finished its work.

        Deletions made under the lock are final, and the quiet time starts again now.
        Files that are open for writing still keep the batch open.
        """
        since = self._locks.pop(lock, self._began)
        for path, (phase, seen) in list(self._open.items()):
            if phase is not Phase.WRITING and seen >= since:
                del self._open[path]
        self._last, self._unlocked, self._fresh = now, now, 0

    def set_locks(self, present: set[str], now: float) -> None:
        """Replace the known locks by *present*, those that exist at *now*."""
        for lock in list(self._locks):
            if lock not in present:
                self.remove_lock(lock, now)
        for lock in present:
            self.add_lock(lock, now)

    @property
    def _is_one_save(self) -> bool:
        """Whether all that has changed is one file, which was and is there.

        Files that came and went are how it was saved.
        """
        return (
            self._fresh == len(self._before) <= _OF_A_SAVE
            and len(self._there) == 1
            and self._cause is Cause.EVENTS
            and all((p in self._there) is was for p, was in self._before.items())
        )

    def due(self) -> float | None:
        """Return when the batch ends if nothing more is observed; None without one."""
        if not self._before:
            return None
        timing = self.timing
        quiet = timing.quiet + timing.quiet_per_path * self._fresh
        if self._is_one_save:
            quiet = timing.save
        at = self._last + min(timing.quiet_limit, quiet)
        for phase, seen in self._open.values():
            wait = timing.writing if phase is Phase.WRITING else timing.gone
            at = max(at, seen + wait)
        at = min(at, max(self._began, self._unlocked) + timing.cap)
        at = min(at, self._began + timing.lock_cap)
        if self._locks:
            newest = max(self._locks.values())
            at = max(at, min(newest, self._began) + timing.lock_cap)
        return at

    def is_due(self, now: float) -> bool:
        """Whether the open batch is complete at *now*."""
        due = self.due()
        return due is not None and due <= now

    def take(self, now: float) -> Batch | None:
        """Return the batch if it is complete at *now*, and start with an empty one.

        Args:
            now: The time.

        Returns:
            None where no batch is open, where it is not complete, and where all files
            that were created in it were deleted again.
        """
        if not self.is_due(now):
            return None
        before, there = self._before, self._there
        batch = Batch(
            created=frozenset(p for p in there if not before[p]),
            changed=frozenset(p for p in there if before[p]),
            deleted=frozenset(p for p, was in before.items() if was and p not in there),
            cause=self._cause,
            began=self._began,
            settled=now,
        )
        self._before, self._there, self._open = {}, set(), {}
        return batch if len(batch) else None
