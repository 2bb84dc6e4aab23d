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
        phase: In which phase it is, empty for none.
        since: Since when.
        spent: Phase → the seconds before that.
    """

    __slots__ = ("phase", "since", "spent", "uses")

    def __init__(self) -> None:
        self.uses: int = 0
        self.spent: dict[str, float] = {}
        self.phase: str = ""
        self.since: float = 0.0

    def seconds(self) -> dict[str, float]:
        """Return the seconds of each phase that is over, in the order of `PHASES`."""
        spent = self.spent
        return {name: spent[name] for name in PHASES if name in spent}

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
    """Let the step that is under way, if any, be in *phase*; return the one before.

    Tasks and threads that a step has started inherit its stopwatch, and are there after
    its end. Then this does nothing.

    Args:
        phase: One of `PHASES`; empty for none.
    """
    stopwatch = _current.get()
    if stopwatch is None or not stopwatch.uses:
        return ""
    now, before, seconds = perf_counter(), stopwatch.phase, stopwatch.spent
    if before:
        seconds[before] = seconds.get(before, 0.0) + now - stopwatch.since
    stopwatch.phase, stopwatch.since = phase, now
    return before


def is_measured() -> bool:
    """Whether a step is under way, to which the phases belong that there are now."""
    stopwatch = _current.get()
    return stopwatch is not None and stopwatch.uses > 0


def phases_so_far() -> dict[str, float]:
    """Return the seconds of each phase of the step that is under way."""
    stopwatch = _current.get()
    if stopwatch is None or not stopwatch.uses:
        return {}
    if stopwatch.phase:
        enter(stopwatch.phase)
    return stopwatch.seconds()


class phase:  # noqa: N801 - used as a function is
    """Let the step that is under way, if any, be in a phase for a ``with`` block.

    Args:
        name: One of `PHASES`.
    """

    __slots__ = ("_before", "_name")

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        self._before = enter(self._name)

    def __exit__(self, *_: object) -> None:
        enter(self._before)
