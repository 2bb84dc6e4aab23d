"""How long each phase of a load, a swap or an unload took.

A `Stopwatch` is in one phase at a time, and reads the clock when that changes. So
phases do not overlap: what is read and compiled for an import counts as reading and
compiling, and not as a part of the execution that asked for it. Whoever does the work
of a phase says so; the stopwatch of the step under way is in a context variable:

    with phase("verify"):
        ...
"""

from __future__ import annotations

from contextvars import ContextVar
from time import perf_counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from contextvars import Token

__all__ = ["PHASES", "Stopwatch", "enter", "is_measured", "phase", "phases_so_far"]

PHASES: Final = (
    "discover",
    "read",
    "hash",
    "verify",
    "scan",
    "compile",
    "execute",
    "start",
    "commit",
    "drain",
    "finalize",
)
"""All phases, in the order in which they are reported."""


class Stopwatch:
    """Adds up the time in each phase, by the monotonic clock.

    Attributes:
        uses: In how many ``with`` blocks of `running` it is.
    """

    __slots__ = ("_phase", "_seconds", "_since", "uses")

    def __init__(self) -> None:
        self.uses: int = 0
        self._seconds: dict[str, float] = {}
        self._phase = ""
        self._since = 0.0

    def enter(self, phase: str) -> str:
        """Be in *phase* from now on, empty for none; return the one before.

        Tasks and threads that a step has started inherit its stopwatch, and are there
        after its end. Then this does nothing.
        """
        if not self.uses:
            return ""
        now = perf_counter()
        before = self._phase
        if before:
            self._seconds[before] = self._seconds.get(before, 0.0) + now - self._since
        self._phase, self._since = phase, now
        return before

    def seconds(self) -> dict[str, float]:
        """Return the seconds of each phase that there was, in the order of `PHASES`."""
        self.enter(self._phase)
        seconds = self._seconds
        return {name: seconds[name] for name in PHASES if name in seconds}

    def running(self) -> _Running:
        """Measure the phases of a ``with`` block, and of threads that it waits for."""
        return _Running(self)


_current: ContextVar[Stopwatch | None] = ContextVar("luminal_stopwatch", default=None)


class _Running:
    __slots__ = ("_stopwatch", "_token")

    def __init__(self, stopwatch: Stopwatch) -> None:
        self._stopwatch = stopwatch

    def __enter__(self) -> None:
        self._stopwatch.uses += 1
        self._token: Token[Stopwatch | None] = _current.set(self._stopwatch)

    def __exit__(self, *_: object) -> None:
        self._stopwatch.uses -= 1
        _current.reset(self._token)


def enter(phase: str) -> str:
    """Let the step that is under way, if any, be in *phase*; return the one before."""
    stopwatch = _current.get()
    return stopwatch.enter(phase) if stopwatch is not None else ""


def is_measured() -> bool:
    """Whether a step is under way, to which the phases belong that there are now."""
    stopwatch = _current.get()
    return stopwatch is not None and stopwatch.uses > 0


def phases_so_far() -> dict[str, float]:
    """Return the seconds of each phase of the step that is under way."""
    stopwatch = _current.get()
    return stopwatch.seconds() if stopwatch is not None and stopwatch.uses else {}


class phase:  # noqa: N801 - used as a function is
    """Let the step that is under way, if any, be in a phase for a ``with`` block.

    Args:
        name: One of `PHASES`.
    """

    __slots__ = ("_before", "_name", "_stopwatch")

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        stopwatch = self._stopwatch = _current.get()
        if stopwatch is not None:
            self._before = stopwatch.enter(self._name)

    def __exit__(self, *_: object) -> None:
        if self._stopwatch is not None:
            self._stopwatch.enter(self._before)
