"""Failures of hook implementations: attribution, isolation, circuit breaker.

An exception that leaves an implementation is counted. It gets a note that names photon,
hook, generation and ``file:line``. In an isolated hook it becomes a `HookFailure` and
the call goes on. A cancellation is no failure of an implementation. This code runs when
a call fails, never when it succeeds.

`Policy` is what all hooks of one manager share; failures are handled by it.
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from luminal.hooks._calls import CallSnapshot
    from luminal.hooks._impl import Implementation
    from luminal.hooks.records import HookFailure

__all__ = [
    "COMPILED",
    "ENGINE",
    "ISOLATED",
    "Breaker",
    "Policy",
]

ISOLATED: Final = (Exception, SystemExit)
"""What an isolated hook turns into a report. A real Ctrl-C passes."""

ENGINE: Final = os.path.join(os.path.dirname(__file__), "")
"""Directory of this package: frames of its files are not a photon's."""

COMPILED: Final = "<luminal.hooks "
"""How the file names of compiled callers begin."""

# Guards the tallies of failures. They are exact, and failures are rare.
_LOCK = threading.Lock()


def _is_own(error: BaseException) -> bool:
    """Return whether *error* is an implementation's failure, not a cancellation."""
    return isinstance(error, (Exception, SystemExit, KeyboardInterrupt))


def _where_raised(error: BaseException, impl: Implementation) -> str:
    """Return ``file:line`` of the photon's frame that is outermost in the traceback."""
    step = error.__traceback__
    while step is not None:
        name = step.tb_frame.f_code.co_filename
        if not name.startswith((ENGINE, COMPILED)):
            return f"{name}:{step.tb_lineno}"
        step = step.tb_next
    return impl.where


class Breaker:
    """Skips a photon for some time after failures in a row.

    Attributes:
        failures: This many failures in a row open the circuit.
        seconds: The photon is skipped for this long. Then one failure opens the
            circuit again, and one success closes it.
        clock: Returns the time in seconds.
        open_until: Photon → time until which it is skipped.
        half_open: Photons that are called again and have not succeeded yet.
    """

    __slots__ = ("clock", "failures", "half_open", "open_until", "seconds")

    def __init__(
        self, failures: int, seconds: float, clock: Callable[[], float]
    ) -> None:
        self.clock = clock
        self.failures = failures
        self.seconds = seconds
        self.open_until: dict[str, float] = {}
        self.half_open: set[str] = set()

    def affects(self, implementations: Iterable[Implementation]) -> bool:
        """Return whether the circuit of one of *implementations* is not closed."""
        return bool(self.open_until or self.half_open) and any(
            impl.photon in self.open_until or impl.photon in self.half_open
            for impl in implementations
        )

    def forget(self, photon: str) -> None:
        """Close the circuit of *photon*: it is gone or has a new generation."""
        self.open_until.pop(photon, None)
        self.half_open.discard(photon)

    def is_open(self, photon: str) -> bool:
        """Return whether *photon* is skipped now."""
        until = self.open_until.get(photon)
        if until is None:
            return False
        if self.clock() < until:
            return True
        self.open_until.pop(photon, None)
        self.half_open.add(photon)
        return False

    def opens(self, impl: Implementation) -> bool:
        """Return whether the failure of *impl* opens the circuit now."""
        photon, streak = impl.photon, impl.tally.streak
        if photon in self.open_until:
            return False
        # A success sets the streak to 0: a half-open circuit with a streak failed.
        if streak < self.failures and not (photon in self.half_open and streak > 0):
            return False
        self.half_open.discard(photon)
        self.open_until[photon] = self.clock() + self.seconds
        impl.tally.streak = 0
        return True


class Swaps:
    """Counts the swaps of one manager.

    Attributes:
        number: Number of swaps so far.
    """

    __slots__ = ("number",)

    def __init__(self) -> None:
        self.number = 0


class Policy:
    """What the hooks of one manager share.

    Args:
        isolate: Whether hooks isolate failures if their specification does not say.
        report: Called with every `HookFailure`, see `reports`.
        is_registered: Returns whether a plugin is registered.
        refresh: Makes the callers of a photon's hooks anew.

    Attributes:
        lock: Guards orders, snapshots and epochs. It is held for registrations and
            swaps, never for a call, never while code of a photon runs.
        swaps: Counts the swaps. Compiled callers read it.
        monitors: Pairs of functions around every call, the outermost last.
        breaker: None if no circuit may open.
        deadlines: Photon → seconds that its ``async`` implementations may take.
        reports: Functions that are called with every `HookFailure`. What they raise is
            ignored.
        replaced: Snapshots that were replaced while calls used them.
    """

    __slots__ = (
        "breaker",
        "deadlines",
        "is_registered",
        "isolate",
        "lock",
        "monitors",
        "refresh",
        "replaced",
        "reports",
        "swaps",
    )

    def __init__(
        self,
        *,
        isolate: bool,
        report: Callable[[HookFailure], object] | None,
        is_registered: Callable[[object], bool],
        refresh: Callable[[str], None],
    ) -> None:
        self.lock = threading.RLock()
        self.swaps = Swaps()
        self.isolate = isolate
        self.reports: tuple[Callable[[HookFailure], object], ...] = (
            () if report is None else (report,)
        )
        self.is_registered = is_registered
        self.refresh = refresh
        self.monitors: tuple[tuple[Callable[..., Any], Callable[..., Any]], ...] = ()
        self.breaker: Breaker | None = None
        self.deadlines: dict[str, float] = {}
        self.replaced: list[CallSnapshot] = []

    @property
    def epoch(self) -> int:
        """Number of swaps so far. Each snapshot knows the epoch it is of."""
        return self.swaps.number

    def forget_ended(self) -> None:
        """Forget replaced snapshots that no call will use; the lock is held."""
        kept = []
        for snapshot in self.replaced:
            barrier = snapshot.caller.barrier
            if snapshot.under_way or (barrier is not None and snapshot in barrier.old):
                kept.append(snapshot)
            else:
                snapshot.caller.count(snapshot)
        self.replaced[:] = kept

    def deadline(self, impl: Implementation) -> float | None:
        """Return the seconds that *impl* may take, or None."""
        if impl.deadline is not None:
            return impl.deadline
        return self.deadlines.get(impl.photon)

    def succeeded(self, impl: Implementation) -> None:
        """Note a success of *impl*: its streak of failures ends."""
        impl.tally.streak = 0
        if self.breaker is not None:
            self.breaker.half_open.discard(impl.photon)

    def not_skipped(
        self, implementations: Collection[Implementation]
    ) -> Collection[Implementation]:
        """Return those of *implementations* whose circuit is not open."""
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

    def fail(
        self,
        hook: str,
        implementations: Sequence[Implementation],
        index: int,
        error: BaseException,
    ) -> None:
        """Record *error*, which ends a call.

        Args:
            hook: Name of the hook.
            implementations: Those of the call.
            index: Which of them raised.
            error: The exception.
        """
        if _is_own(error):
            missed = implementations[index + 1 :]
            self._record(hook, implementations[index], error, missed, spared=False)

    def spare(
        self,
        hook: str,
        implementations: Sequence[Implementation],
        index: int,
        error: BaseException,
        *,
        isolated: bool,
    ) -> bool:
        """Record *error*; return whether the call goes on without the implementation.

        Args:
            hook: Name of the hook.
            implementations: Those of the call.
            index: Which of them raised.
            error: The exception.
            isolated: Whether the hook isolates failures.
        """
        if not _is_own(error):
            return False
        spared = isolated and not isinstance(error, KeyboardInterrupt)
        self._record(hook, implementations[index], error, (), spared=spared)
        return spared

    def _record(
        self,
        hook: str,
        impl: Implementation,
        error: BaseException,
        missed: Sequence[Implementation],
        *,
        spared: bool,
    ) -> None:
        """Count *error* of *impl* and attribute it; report it if it was spared."""
        with _LOCK:
            impl.tally.errors += 1
            impl.tally.streak += 1
            for other in missed:
                other.tally.missed += 1
        where = _where_raised(error, impl)
        # A plugin that was only registered raises as it does in pluggy.
        if impl.generation:
            note = (
                f"raised by photon {impl.photon!r} (generation {impl.generation}) "
                f"in hook {hook!r} at {where}"
            )
            # One exception object may be raised again and again.
            if note not in getattr(error, "__notes__", ()):
                error.add_note(note)
        seconds = self._open_circuit(impl)
        if not self.reports or not (spared or seconds):
            return
        from luminal.hooks.records import HookFailure

        failure = HookFailure(impl.photon, hook, impl.generation, where, error, seconds)
        for report in self.reports:
            with contextlib.suppress(Exception):  # it must not end a photon's call
                report(failure)

    def _open_circuit(self, impl: Implementation) -> float:
        """Open the circuit of *impl*'s photon if it is time; return the seconds."""
        breaker = self.breaker
        if breaker is None:
            return 0.0
        with self.lock:
            # A call under way may fail in a photon that is gone or was swapped out.
            # That does not count against the photon that has the name now.
            if not self.is_registered(impl.plugin) or not breaker.opens(impl):
                return 0.0
            self.refresh(impl.photon)
        return breaker.seconds
