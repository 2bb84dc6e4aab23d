"""An exception of an implementation: whose it is, and what is told about it.

In comes an exception that passed through a caller, out comes the same exception with
a note that names photon, hook, generation and file:line; or, for an isolated hook, a
`HookFailure`. Runs on failing calls alone. It never swallows what is not an
implementation's failure: a cancellation is nobody's.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from luminal.hooks._calls import CallSnapshot
    from luminal.hooks._impl import Implementation
    from luminal.hooks.records import HookFailure

__all__ = [
    "ENGINE",
    "GENERATED",
    "ISOLATED",
    "Breaker",
    "Policy",
    "blame",
    "is_own",
    "where_raised",
]

# === hooks.failure ===
# An exception of an implementation: whose it is, and what is told about it.
#
# In comes an exception that passed through a caller, out comes the same exception with
# a note that names photon, hook, generation and file:line; or, for an isolated hook, a
# `HookFailure`. Runs on failing calls alone. It never swallows what is not an
# implementation's failure: a cancellation is nobody's.

ISOLATED: Final = (Exception, SystemExit)
"""What an isolated hook turns into a report. A real Ctrl-C passes."""

ENGINE: Final = os.path.join(os.path.dirname(__file__), "")
"""Directory of this room: frames from here are not a photon's."""

RESERVED: Final = "luminal."
"""How the names of Luminal's own plugins begin; they run the code of photons."""

GENERATED: Final = "<luminal.hooks "
"""How the file names of prepared callers begin."""

# Guards the tallies of failures: they are exact, and failing is rare.
_LOCK = threading.Lock()


def is_own(error: BaseException) -> bool:
    """Return whether *error* is an implementation's doing, not a cancellation."""
    return isinstance(error, (Exception, SystemExit, KeyboardInterrupt))


def where_raised(error: BaseException, impl: Implementation) -> str:
    """Return ``file:line`` of the photon's frame that *error* passed first."""
    step = error.__traceback__
    while step is not None:
        name = step.tb_frame.f_code.co_filename
        if not name.startswith((ENGINE, GENERATED)):
            return f"{name}:{step.tb_lineno}"
        step = step.tb_next
    return impl.where


def blame(
    error: BaseException, impl: Implementation, hook: str, missed: Iterable[Implementation]
) -> str:
    """Count *error* for *occupant* and name it in a note; return ``file:line``.

    Args:
        error: The exception.
        occupant: Whose it is.
        hook: Name of the hook.
        missed: Occupants that the call does not reach because of it.
    """
    with _LOCK:
        impl.tally.errors += 1
        impl.tally.streak += 1
        for other in missed:
            other.tally.missed += 1
    where = where_raised(error, impl)
    if impl.photon.startswith(RESERVED):
        return where  # whoever called it knows better whose code it ran
    note = (
        f"raised by photon {impl.photon!r} (generation {impl.generation}) "
        f"in hook {hook!r} at {where}"
    )
    # One exception object may be raised again and again.
    if note not in getattr(error, "__notes__", ()):
        error.add_note(note)
    return where


# === hooks.policy ===
# What all hooks of one manager share: its lock, its epoch, who listens, what is asked.
#
# In come the host's wishes, out come answers to callers. Callers look here when they are
# prepared or run in the general way, never in a prepared call.


class Breaker:
    """Passes a photon over after failures in a row, for a while.

    Attributes:
        failures: So many in a row open the circuit.
        seconds: So long the photon is passed over; then one failure opens it again,
            one success closes it.
        clock: What it goes by, in seconds.
        open_until: Photon → time of the clock until which it is passed over.
        on_trial: Photons whose time is over and who have not succeeded yet.
    """

    __slots__ = ("clock", "failures", "on_trial", "open_until", "seconds")

    def __init__(
        self, failures: int, seconds: float, clock: Callable[[], float]
    ) -> None:
        self.clock = clock
        self.failures = failures
        self.seconds = seconds
        self.open_until: dict[str, float] = {}
        self.on_trial: set[str] = set()

    def concerns(self, implementations: Iterable[Implementation]) -> bool:
        """Return whether one of *occupants* is passed over or on trial."""
        return bool(self.open_until or self.on_trial) and any(
            o.photon in self.open_until or o.photon in self.on_trial for o in implementations
        )

    def forget(self, photon: str) -> None:
        """Close the circuit of *photon*, which is gone or has a new generation."""
        self.open_until.pop(photon, None)
        self.on_trial.discard(photon)

    def is_open(self, photon: str) -> bool:
        """Return whether *photon* is passed over now."""
        until = self.open_until.get(photon)
        if until is None:
            return False
        if self.clock() < until:
            return True
        self.open_until.pop(photon, None)
        self.on_trial.add(photon)
        return False

    def failed(self, impl: Implementation) -> bool:
        """Return whether a failure of *occupant* opens the circuit now."""
        photon, streak = impl.photon, impl.tally.streak
        if photon in self.open_until:
            return False
        # A success sets the streak of its implementation to nought, and so tells a
        # trial that went well from one that did not.
        if streak < self.failures and not (photon in self.on_trial and streak > 0):
            return False
        self.on_trial.discard(photon)
        self.open_until[photon] = self.clock() + self.seconds
        impl.tally.streak = 0
        return True


class Policy:
    """The shared state of one manager's hooks.

    Attributes:
        lock: Guards orders, views and epochs. Held for registrations and swaps, never
            for a call, never while code of a photon runs.
        epoch: Number of swaps so far; views know theirs.
        isolate: Whether hooks that do not say isolate failures.
        report: Is told every `HookFailure` of an isolated hook.
        lost_reports: Exceptions that *report* raised.
        monitors: Pairs of functions around every call, the outermost last.
        breaker: None while no circuit may open.
        deadlines: Photon → seconds that its ``async`` implementations may take.
        leaving: Views that were replaced while async calls of them were under way.
    """

    __slots__ = (
        "breaker",
        "deadlines",
        "epoch",
        "is_registered",
        "isolate",
        "leaving",
        "lock",
        "lost_reports",
        "monitors",
        "refresh",
        "report",
    )

    def __init__(
        self, *, isolate: bool, report: Callable[[HookFailure], object] | None
    ) -> None:
        self.lock = threading.RLock()
        self.epoch = 0
        self.isolate = isolate
        self.report = report
        self.lost_reports = 0
        self.monitors: tuple[tuple[Callable[..., Any], Callable[..., Any]], ...] = ()
        self.breaker: Breaker | None = None
        self.deadlines: dict[str, float] = {}
        self.leaving: list[CallSnapshot] = []
        # Whether a plugin is registered, and what makes callers of a photon's hooks
        # anew; set by the manager.
        self.is_registered: Callable[[object], bool] = lambda _plugin: True
        self.refresh: Callable[[str], None] = lambda _photon: None

    def forget_idle(self) -> None:
        """Forget replaced views whose async calls have ended; the lock is held."""
        self.leaving[:] = [snapshot for snapshot in self.leaving if snapshot.awaited]

    def tell(self, failure: HookFailure) -> None:
        """Hand *failure* to who listens; what the listener raises is counted."""
        if self.report is None:
            return
        try:
            self.report(failure)
        except Exception:  # noqa: BLE001 - a listener must not end a photon's call
            self.lost_reports += 1

    def deadline(self, impl: Implementation) -> float | None:
        """Return the seconds that *occupant* may take, or None."""
        if impl.deadline is not None:
            return impl.deadline
        return self.deadlines.get(impl.photon)

    def failed(self, impl: Implementation) -> float:
        """Open the circuit of *occupant*'s photon if it is time; return the seconds."""
        breaker = self.breaker
        if breaker is None:
            return 0.0
        with self.lock:
            # What a call under way brings of a photon that is gone, or of its old
            # generation, is nothing against who bears the name now.
            if not self.is_registered(impl.plugin) or not breaker.failed(impl):
                return 0.0
            self.refresh(impl.photon)
        return breaker.seconds

    def succeeded(self, impl: Implementation) -> None:
        """End a streak of failures of *occupant*, and its photon's trial."""
        impl.tally.streak = 0
        if self.breaker is not None:
            self.breaker.on_trial.discard(impl.photon)

    def serving(self, implementations: Collection[Implementation]) -> Collection[Implementation]:
        """Return those of *occupants* whose circuit is closed."""
        breaker = self.breaker
        if breaker is None or not breaker.open_until:
            return implementations
        kept = []
        for impl in implementations:
            if breaker.is_open(impl.photon):
                impl.tally.skipped += 1
            else:
                kept.append(impl)
        return kept
