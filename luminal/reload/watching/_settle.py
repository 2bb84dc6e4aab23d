"""When is a batch complete? A state machine that is fed with news and a clock.

Between the sources of news and the delivery. In: what was seen of which path, and
when; which locks appear and go. Out: the moment to ask again, and the batch. It
never looks at the disk, never sleeps and never reads a clock: the tests own time.
"""

from __future__ import annotations

import enum

import attrs

__all__ = ["Batch", "Cause", "Note", "NoteCode", "Pace", "Phase", "Settle"]

# === reload.watching.batch ===
# What the watcher hands on: a settled batch of paths, and notes on its own state.
#
# First station of a reload. Values only; nothing here looks at the disk.


class Cause(enum.StrEnum):
    """How the watcher came to know of a batch, from the surest to the last resort."""

    EVENTS = "events"
    RESCAN = "rescan"
    SWEEP = "sweep"
    OVERFLOW = "overflow"


@attrs.frozen(repr=False)
class Batch:
    """Paths that may have changed together.

    A batch promises no change of content: whoever takes it reads the files and
    compares digests. It promises that nobody was seen writing any more.

    Attributes:
        created: Files that were not there when the batch began.
        changed: Files that were there and are there.
        deleted: Files that were there and are not any more.
        cause: How the changes were found; the weakest way counts.
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

    def __len__(self) -> int:
        return len(self.created) + len(self.changed) + len(self.deleted)

    def __repr__(self) -> str:
        return (
            f"<Batch {len(self.created)} created, {len(self.changed)} changed, "
            f"{len(self.deleted)} deleted, by {self.cause}, "
            f"{(self.settled - self.began) * 1000:.1f} ms>"
        )


class NoteCode(enum.StrEnum):
    """What the watcher has to say of itself."""

    NO_EVENTS = "no-events"
    WATCH_LIMIT = "watch-limit"
    OVERFLOW = "overflow"
    GONE = "gone"
    RETURNED = "returned"
    UNREADABLE = "unreadable"
    TROUBLE = "trouble"


@attrs.frozen
class Note:
    """One sentence on the watcher's state; each state is said once.

    Attributes:
        code: What kind of state.
        directory: The directory concerned; empty where all are.
        text: The sentence, in lower case.
    """

    code: NoteCode
    directory: str
    text: str

    def __str__(self) -> str:
        return self.text


# === reload.watching.settle ===
# When is a batch complete? A state machine that is fed with news and a clock.
#
# Between the sources of news and the delivery. In: what was seen of which path, and
# when; which locks appear and go. Out: the moment to ask again, and the batch. It
# never looks at the disk, never sleeps and never reads a clock: the tests own time.

_SEVERITY = tuple(Cause)


class Phase(enum.Enum):
    """What was last seen of a path."""

    WRITING = "somebody has it open for writing"
    DONE = "complete as far as anyone can tell"
    EMPTY = "there, without any text"
    GONE = "not there"


@attrs.frozen
class Pace:
    """The watcher's times, in seconds.

    The figures were found by trials: shorter ones cut a save of an editor or a
    branch switch in two, longer ones are felt.

    Attributes:
        quiet: No news for so long ends a batch …
        quiet_per_path: … plus so much for each path …
        quiet_limit: … and at most so much in all.
        writing: A file being written keeps the batch open after its last write.
        gone: A deleted or emptied file keeps it open, as it may be made again.
        cap: A batch is delivered after so long, whatever goes on; a lock without
            any news for so long is stale.
        lock_cap: A batch is delivered after so long even with a lock that lives.
        sweep: Time between two looks at every file where events are sent.
        sweep_budget: CPU time of one such look; the next goes on where it ended.
        poll: Time between two looks at every file where no events are sent.
    """

    quiet: float = 0.003
    quiet_per_path: float = 0.00025
    quiet_limit: float = 0.050
    writing: float = 0.250
    gone: float = 0.100
    cap: float = 5.0
    lock_cap: float = 60.0
    sweep: float = 60.0
    sweep_budget: float = 0.012
    poll: float = 2.0


@attrs.define
class Settle:
    """One open batch at most, and the locks that keep it open."""

    pace: Pace = attrs.field(factory=Pace)
    # Path → was it there when the batch began? Set by the first news of a path.
    _before: dict[str, bool] = attrs.field(init=False, factory=dict)
    # The paths of `_before` that are there now.
    _there: set[str] = attrs.field(init=False, factory=set)
    # Path → (what it waits for, since when); paths that wait for nothing are absent.
    _open: dict[str, tuple[Phase, float]] = attrs.field(init=False, factory=dict)
    # Lock → since when it is known. Never holds a key of `_stale`.
    _locks: dict[str, float] = attrs.field(init=False, factory=dict)
    # Locks that outlived the cap: ignored until they go.
    _stale: set[str] = attrs.field(init=False, factory=set)
    # Paths that were news since the batch began or the last lock went.
    _fresh: int = attrs.field(init=False, default=0)
    _began: float = attrs.field(init=False, default=0.0)
    _last: float = attrs.field(init=False, default=0.0)
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
        """Take news of *path*, seen at *now*; *was_there* counts for the first news."""
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
        # Only what was there before can be missed: a temporary file that comes and
        # goes inside a batch does not delay it.
        if phase is Phase.WRITING or (phase is not Phase.DONE and self._before[path]):
            self._open[path] = (phase, now)
        else:
            self._open.pop(path, None)

    @property
    def is_uncertain(self) -> bool:
        """Whether the batch rests on a sweep, so that nobody tells of its end."""
        return bool(self._before) and self._cause is Cause.SWEEP

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths of the open batch."""
        return tuple(self._before)

    @property
    def locks(self) -> frozenset[str]:
        """The locks that keep batches open."""
        return frozenset(self._locks)

    def has_lock(self, lock: str) -> bool:
        """Whether *lock* keeps batches open."""
        return lock in self._locks

    def hold(self, lock: str, now: float) -> None:
        """Keep batches open while *lock* exists; a stale one is not believed again."""
        if lock not in self._stale:
            self._locks.setdefault(lock, now)

    def release(self, lock: str, now: float) -> None:
        """End the batch soon: whoever held *lock* has finished what it did.

        Deletions made under the lock are final, and the quiet time begins anew with
        this moment. Files that are being written go on keeping the batch open.
        """
        self._stale.discard(lock)
        since = self._locks.pop(lock, self._began)
        for path, (phase, seen) in list(self._open.items()):
            if phase is not Phase.WRITING and seen >= since:
                del self._open[path]
        self._last, self._fresh = now, 0

    def keep_only(self, present: set[str], now: float) -> None:
        """Bring the locks in line with *present*, those that exist at *now*."""
        for lock in [*self._locks, *self._stale]:
            if lock not in present:
                self.release(lock, now)
        for lock in present:
            self.hold(lock, now)

    def due(self) -> float | None:
        """Return when the open batch ends if no more news comes; None without one."""
        if not self._before:
            return None
        pace = self.pace
        if self._locks:
            return min(self._last + pace.cap, self._began + pace.lock_cap)
        at = self._last + min(
            pace.quiet_limit, pace.quiet + pace.quiet_per_path * self._fresh
        )
        for phase, seen in self._open.values():
            wait = pace.writing if phase is Phase.WRITING else pace.gone
            at = max(at, seen + wait)
        return min(at, self._began + pace.cap)

    def is_due(self, now: float) -> bool:
        """Whether the open batch ends at *now* if no more news has come."""
        due = self.due()
        return due is not None and due <= now

    def take(self, now: float, slack: float = 0.0) -> Batch | None:
        """Return the batch if it is complete at *now*, and begin anew.

        Args:
            now: The time.
            slack: Seconds that a batch may come early, for sleeps that are not exact.

        Returns:
            None where nothing is pending, the batch is still open, or all that came
            has gone again.
        """
        if not self.is_due(now + slack):
            return None
        self._stale.update(self._locks)
        self._locks.clear()
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
