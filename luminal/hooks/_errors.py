"""Failures of hook implementations: attribution, isolation, quarantine.

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
import types
from typing import TYPE_CHECKING, Any, Final

from luminal._plain import class_name, traceback_of
from luminal.hooks._totals import Totals

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from luminal.hooks._calls import CallSnapshot
    from luminal.hooks._impl import Implementation
    from luminal.hooks.records import HookFailure

__all__ = [
    "COMPILED",
    "ENGINE",
    "ISOLATED",
    "Policy",
    "Quarantines",
    "leave_out",
]

ISOLATED: Final = (Exception, SystemExit)
"""What an isolated hook turns into a report. A real Ctrl-C passes."""

ENGINE: Final = os.path.join(os.path.dirname(__file__), "")
"""Directory of this package: frames of its files are not a photon's."""

COMPILED: Final = "<luminal.hooks "
"""How the file names of compiled callers begin."""

_RESERVED: Final = "luminal."  # plugins of Luminal itself; they run photons' code
_PACKAGE: Final = "luminal.hooks."


def leave_out(namespace: Mapping[str, Any]) -> None:
    """Let frames of the engine be left out of tracebacks where pluggy's are.

    pytest leaves out frames of pluggy's folder and of generated code. So functions that
    set ``__tracebackhide__`` get the file name of generated code, with the name of
    their module in it.

    Args:
        namespace: What a module or a class defines.
    """
    for value in tuple(namespace.values()):
        if isinstance(value, type) and value.__module__.startswith(_PACKAGE):
            leave_out(vars(value))
        elif isinstance(value, types.FunctionType):
            value.__code__ = _generated(value.__code__)


def _generated(code: types.CodeType) -> types.CodeType:
    if not code.co_filename.startswith(ENGINE):
        return code
    constants = tuple(
        _generated(c) if isinstance(c, types.CodeType) else c for c in code.co_consts
    )
    name = code.co_filename
    if "__tracebackhide__" in code.co_varnames:
        # Not ``<…>`` as a whole: for that, `linecache` would ask no loader for lines.
        name = f"{COMPILED}engine>/{os.path.basename(name)}"
    return code.replace(co_consts=constants, co_filename=name)


# Guards the tallies of failures. They are exact, and failures are rare. Reentrant: the
# garbage collector or a signal may call a hook that fails in the middle.
_LOCK = threading.RLock()

if hasattr(os, "register_at_fork"):  # a thread may hold it that the child has not
    os.register_at_fork(after_in_child=_LOCK._at_fork_reinit)  # type: ignore[attr-defined]  # noqa: SLF001 - as the standard library does


def _is_own(error: BaseException) -> bool:
    """Return whether *error* is an implementation's failure, not a cancellation."""
    # Its class may be the photon's, and say of its objects what it likes.
    return issubclass(type(error), (Exception, SystemExit, KeyboardInterrupt))


def _where_raised(error: BaseException, impl: Implementation) -> str:
    """Return ``file:line`` of the photon's frame that is outermost in the traceback."""
    step = traceback_of(error)
    while step is not None:
        name = step.tb_frame.f_code.co_filename
        if not name.startswith((ENGINE, COMPILED)):
            return f"{name}:{step.tb_lineno}"
        step = step.tb_next
    return impl.where


class Quarantines:
    """Skips an implementation for some time after failures in a row.

    What is known of one is in its own tally, so that a new generation begins anew.

    Attributes:
        failures: This many failures in a row begin the quarantine.
        seconds: It is skipped for this long. Then it is called again: one failure
            begins the next quarantine, and one success ends it.
        clock: Returns the time in seconds.
    """

    __slots__ = ("clock", "failures", "seconds")

    def __init__(
        self, failures: int, seconds: float, clock: Callable[[], float]
    ) -> None:
        self.failures = failures
        self.seconds = seconds
        self.clock = clock

    def is_skipped(self, impl: Implementation) -> bool:
        """Return whether *impl* is skipped now."""
        until = impl.tally.quarantined_until
        return until is not None and self.clock() < until

    def begins(self, impl: Implementation) -> bool:
        """Return whether the failure of *impl* begins a quarantine now."""
        tally = impl.tally
        if self.is_skipped(impl):  # a call from before it
            return False
        if tally.quarantined_until is None and tally.streak < self.failures:
            return False
        tally.quarantined_until = self.clock() + self.seconds
        tally.streak = 0
        return True

    def ends(self, impl: Implementation) -> bool:
        """Return whether the success of *impl* ends its quarantine now."""
        if impl.tally.quarantined_until is None or self.is_skipped(impl):
            return False
        impl.tally.quarantined_until = None
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
        quarantines: None if nothing is ever skipped.
        deadlines: Photon → seconds that its ``async`` implementations may take.
        reports: Functions that are called with every `HookFailure`. What they raise is
            ignored.
        releases: Functions that are called with photon, hook and generation when a
            quarantine ends by a success; likewise.
        replaced: Snapshots that were replaced while calls used them.
        totals: What all generations of the photons did.
    """

    __slots__ = (
        "deadlines",
        "is_registered",
        "isolate",
        "lock",
        "monitors",
        "quarantines",
        "refresh",
        "releases",
        "replaced",
        "reports",
        "swaps",
        "totals",
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
        self.releases: tuple[Callable[[str, str, int], object], ...] = ()
        self.is_registered = is_registered
        self.refresh = refresh
        self.monitors: tuple[tuple[Callable[..., Any], Callable[..., Any]], ...] = ()
        self.quarantines: Quarantines | None = None
        self.deadlines: dict[str, float] = {}
        self.replaced: list[CallSnapshot] = []
        self.totals = Totals()

    @property
    def epoch(self) -> int:
        """Number of swaps so far. Each snapshot knows the epoch it is of."""
        return self.swaps.number

    def forget_ended(self) -> None:
        """Forget replaced snapshots that no call will use; the lock is held."""
        kept = []
        for snapshot in self.replaced:
            barrier = snapshot.caller.barrier
            is_seen = barrier is not None and snapshot in barrier.old
            if is_seen or not snapshot.settle():
                kept.append(snapshot)
        self.replaced[:] = kept

    def deadline(self, impl: Implementation) -> float | None:
        """Return the seconds that *impl* may take, or None."""
        if impl.deadline is not None:
            return impl.deadline
        return self.deadlines.get(impl.photon)

    def succeeded(self, hook: str, impl: Implementation) -> None:
        """Note a success of *impl* in *hook*: its streak of failures ends."""
        impl.tally.streak = 0
        if self.quarantines is not None and self.quarantines.ends(impl):
            self.refresh(impl.photon)
            for release in self.releases:
                with contextlib.suppress(Exception):
                    release(impl.photon, hook, impl.generation)

    def has_quarantined(self, implementations: Iterable[Implementation]) -> bool:
        """Return whether one of *implementations* is skipped, or called on trial."""
        return self.quarantines is not None and any(
            impl.tally.quarantined_until is not None for impl in implementations
        )

    def not_skipped(
        self, implementations: Collection[Implementation]
    ) -> Collection[Implementation]:
        """Return those of *implementations* that are not in quarantine."""
        if self.quarantines is None:
            return implementations
        kept = []
        for impl in implementations:
            if self.quarantines.is_skipped(impl):
                impl.tally.skip()
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
        missed = implementations[index + 1 :]
        if _is_own(error):
            self._record(hook, implementations[index], error, missed, spared=False)
        else:
            self.miss(missed)

    def miss(self, implementations: Iterable[Implementation]) -> None:
        """Count a call that does not reach *implementations*."""
        with _LOCK:
            for impl in implementations:
                impl.tally.miss()

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
        spared = isolated and not issubclass(type(error), KeyboardInterrupt)
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
        where = _where_raised(error, impl)
        with _LOCK:
            impl.tally.fail()
            for other in missed:
                other.tally.miss()
            self.totals.raised(impl.photon, hook, where, class_name(error))
        # A plugin that was only registered raises as it does in pluggy.
        if impl.generation:
            note = (
                f"raised by photon {impl.photon!r} (generation {impl.generation}) "
                f"in hook {hook!r} at {where}"
            )
            # The class of the exception may be the photon's.
            with contextlib.suppress(BaseException):
                # One exception object may be raised again and again.
                if note not in getattr(error, "__notes__", ()):
                    BaseException.add_note(error, note)
        seconds = self._begin_quarantine(impl)
        if not self.reports or not (spared or seconds):
            return
        from luminal.hooks.records import HookFailure

        failure = HookFailure(
            impl.photon, hook, impl.generation, where, error, seconds, spared
        )
        for report in self.reports:
            with contextlib.suppress(Exception):  # it must not end a photon's call
                report(failure)

    def _begin_quarantine(self, impl: Implementation) -> float:
        """Begin the quarantine of *impl* if it is time; return the seconds."""
        quarantines = self.quarantines
        if quarantines is None or impl.photon.startswith(_RESERVED):
            return 0.0
        with self.lock:
            # A call under way may fail in a photon that is gone or was swapped out.
            # That does not count against the photon that has the name now.
            if not self.is_registered(impl.plugin) or not quarantines.begins(impl):
                return 0.0
            self.refresh(impl.photon)
        return quarantines.seconds
