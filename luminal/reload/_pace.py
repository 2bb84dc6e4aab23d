"""Limit how often a watch reloads.

`Storms` keeps reloads apart while saves come without a pause. `SelfWriters` delays what
a photon's own writes would cause: it writes its file when it is loaded, so that it is
loaded again, and so on.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

import attrs

from luminal.loading import (
    Write,
    latest_start,
    look_at_writes,
    record_writes,
    take_write,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from collections.abc import Set as AbstractSet

__all__ = ["Delay", "SelfWriters", "Storms"]

_APART = 0.05
"""Seconds from one reload to the next in a storm: at most 20 in a second."""

_PAUSE = 0.02
"""A save that comes sooner after a reload is of a storm: no person is so fast."""

_MANY = 25
"""So many reloads in a second are a storm, whatever the pauses."""

_QUICK = 10.0
"""Seconds after a try in which a further change may be the photon's own."""

_FIRST, _LONGEST = 5.0, 300.0
"""Seconds from a reload to one that the photon itself has caused: the first time, and
when it was too early again and again."""

_IN_A_ROW = 10
"""After so many reloads right upon each other it is found out what causes them."""

_REST = 0.3
"""Seconds without a reload, for that: who saves without a pause goes on meanwhile."""

_RESTS = 3
"""After so many rests the reload itself is the cause."""


@attrs.define
class Storms:
    """Says how long to wait before a reload."""

    # When the latest ones began, and when the last one ended.
    _begun: deque[float] = attrs.Factory(lambda: deque(maxlen=_MANY))
    _ended: float = float("-inf")

    def delay(self, changed: float) -> float:
        """Return the seconds to wait, 0 outside of a storm.

        Args:
            changed: When the change to be reloaded was seen first, in seconds of the
                monotonic clock.
        """
        now = time.monotonic()
        is_full = len(self._begun) == _MANY and self._begun[0] > now - 1.0
        if not self._begun or not (is_full or changed < self._ended + _PAUSE):
            return 0.0
        return max(0.0, self._begun[-1] + _APART - now)

    def begin(self) -> None:
        """Note that a reload begins."""
        self._begun.append(time.monotonic())

    def end(self) -> None:
        """Note that it has ended."""
        self._ended = time.monotonic()


@attrs.frozen
class Delay:
    """Why a change is not followed yet.

    Attributes:
        write: The latest one by the photon itself.
        seconds: How long it is not followed.
        is_new: Whether this has not been said before.
        is_indirect: Whether a process writes that was started there, or what is written
            there makes another photon write.
    """

    write: Write
    seconds: float
    is_new: bool
    is_indirect: bool = False


@attrs.define
class _Turn:
    """How long a change is not followed that something has made itself.

    Attributes:
        wait: Seconds, from the end of the latest try.
        is_early: Whether there was one in that time.
        files: Path → what it is in the change that is not followed.
        write: The latest one of that change.
    """

    wait: float = attrs.Factory(lambda: _FIRST)
    is_early: bool = False
    files: Mapping[str, object] = attrs.Factory(dict)
    write: Write | None = None


@attrs.define
class _Row:
    """Reloads of one thing right upon each other, by child processes perhaps.

    Attributes:
        write: Where the latest one is started.
        count: How many there were.
        rests: So many times there was no change while nothing was reloaded.
        wait: Seconds for which a change is not followed once its cause is known.
        files: What the change is that is not followed; None where all are.
        until: When that ends, in seconds of the monotonic clock.
    """

    write: Write
    count: int = 0
    rests: int = 0
    wait: float = attrs.Factory(lambda: _FIRST)
    files: Mapping[str, object] | None = None
    until: float = 0.0

    def delay(self, seconds: float, files: Mapping[str, object]) -> Delay:
        """Do not follow a change for some seconds."""
        self.files, self.until = files, time.monotonic() + seconds
        return Delay(self.write, seconds, seconds == _FIRST, is_indirect=True)


@attrs.define
class SelfWriters:
    """Delays reloads of what writes its own files.

    The first such change is followed at once. The next one has to wait, and each time
    that one comes too early, the wait is doubled. A change by anybody else is followed
    at once.

    Writes of child processes are not seen. But they come right after each reload that
    has started one, and none comes while nothing is reloaded; saves of others do.
    """

    # Unit, or file that could not be loaded → when its latest try has ended.
    _tried: dict[str, float] = attrs.Factory(dict)
    # When the latest try of anything has ended, and the one before it: photons may
    # write each other's files.
    _latest: float = float("-inf")
    _earlier: float = float("-inf")
    # When the latest one has ended, as wall-clock time.
    _ended_at: float = float("-inf")
    _turns: dict[str, _Turn] = attrs.Factory(dict)
    _rows: dict[str, _Row] = attrs.Factory(dict)

    def note_tried(self, names: Iterable[str]) -> None:
        """Note that units, or files that are not loaded, have been tried just now."""
        look_at_writes()
        self._earlier, self._latest = self._latest, time.monotonic()
        self._ended_at = time.time()
        self._tried.update(dict.fromkeys(names, self._latest))

    def delay(
        self,
        name: str,
        files: Mapping[str, object],
        units: AbstractSet[str] | None,
        changed: float,
    ) -> Delay | None:
        """Return why a change is not to be followed now; None where it is.

        Args:
            name: Unit, or file that is not loaded.
            files: Path of a file that has changed → anything that differs after another
                change.
            units: Whose code writes for itself: what this change would reload. None
                for what could not be loaded: its unit does not serve.
            changed: When the change was seen first, in seconds of the monotonic clock.
        """
        passed = time.monotonic() - self._tried.get(name, float("-inf"))
        turn = self._turns.get(name)
        before = turn.files if turn is not None else {}
        is_own, write = bool(files), None
        others: Write | None = None
        for path, state in files.items():
            found = take_write(path)
            if found is not None and (units is None or found.unit in units):
                write = found
                continue
            if found is not None and found.at <= self._ended_at:
                others = found
            if before.get(path) != state:
                is_own = False
        if not is_own:
            if passed < _QUICK:  # it may be its own; the next one will be known
                record_writes()
            if passed < _QUICK or turn is not None:
                self._turns[name] = _Turn()
            return self._delay_row(name, files, changed, others)
        if turn is None:
            self._turns[name] = _Turn()
            return None
        turn.write = write = write or turn.write
        if write is not None and passed < turn.wait:
            is_new, turn.is_early = not turn.is_early and turn.wait == _FIRST, True
            turn.files = files
            return Delay(write, turn.wait - passed, is_new)
        turn.wait = min(2 * turn.wait, _LONGEST) if turn.is_early else _FIRST
        turn.is_early, turn.files = False, {}
        return None

    def _delay_row(
        self,
        name: str,
        files: Mapping[str, object],
        changed: float,
        others: Write | None,
    ) -> Delay | None:
        """Return what `delay` does, where *files* are not its own writes.

        Args:
            name: See `delay`.
            files: Likewise.
            changed: Likewise.
            others: What another photon has written of them while it was tried.
        """
        now, row = time.monotonic(), self._rows.get(name)
        if row is not None and files and row.files == files:
            if now < row.until:
                return Delay(row.write, row.until - now, is_new=False)
            row.files, row.rests = None, row.rests + 1
            return None
        is_quick = changed < self._latest + _PAUSE
        start = None
        if is_quick and files:
            start = others or latest_start(self._earlier)
        if start is None or (row is not None and row.files is not None):
            self._rows.pop(name, None)  # somebody else saves
            return None
        row = self._rows[name] = row or _Row(start)
        row.write, row.count = start, row.count + 1
        if row.count <= _IN_A_ROW:
            return None
        if row.rests < _RESTS:
            return row.delay(_REST, files)
        seconds, row.wait = row.wait, min(2 * row.wait, _LONGEST)
        return row.delay(seconds, files)
