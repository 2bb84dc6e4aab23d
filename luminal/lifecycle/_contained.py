"""`Failures`: every exception of a photon that Luminal contains goes through here.

What runs photons' code beside the Loader's own calls, and goes on when that raises,
calls `Failures.contain`. So each such exception is logged with its traceback, counted,
emitted as an event, and shown by the photon's Handler, whatever kind of code has raised
it. `luminal.model.FailureKind` is the table of kinds.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

import attrs

from luminal._forks import begin_anew_in_forks
from luminal._plain import class_name, error_text, note_text, plain, steps_of
from luminal.errors import PhotonQuarantinedError, PhotonRaisedError
from luminal.lifecycle._failures import error_position, frames_of, suggestion
from luminal.loading import PhotonLoader
from luminal.model import Event, EventKind, Failure, FailureKind, Problem

if TYPE_CHECKING:
    import logging
    from types import FrameType

    from luminal.errors import LuminalError
    from luminal.hooks.records import HookFailure
    from luminal.lifecycle._runtime import Events

__all__ = ["INTERVAL", "Failures"]

INTERVAL = 60.0
"""Seconds within which failures of one kind and place are reported once."""

_MOST = 500
"""Kinds and places that are remembered; of more, the oldest are forgotten."""


# What raised in one place: photon, generation, kind, hook, class of the error, file
# and line.
# Not the names of tasks and threads: each may have its own.
_Key = tuple[str, int, FailureKind, str, str, str, int]


class _Told:
    """What is known of one kind and place.

    Attributes:
        failure: The latest that was reported.
        at: Monotonic time of that report.
    """

    def __init__(self, failure: Failure, at: float) -> None:
        self.failure = failure
        self.at = at


class Failures:
    """The exceptions of one host's photons that were contained.

    Args:
        events: Where they are emitted.

    Attributes:
        counts: (photon, kind) → how many there have been since the photon was loaded;
            exact.
    """

    def __init__(self, events: Events) -> None:
        self.events = events
        self.begin_anew()
        begin_anew_in_forks(self)

    def begin_anew(self) -> None:
        """Begin at zero; also in a process that was just forked."""
        self.counts: Counter[tuple[str, FailureKind]] = Counter()
        self._told: dict[_Key, _Told] = {}
        self._lock: threading.Lock = threading.Lock()

    def contain(
        self,
        kind: FailureKind,
        error: BaseException,
        *,
        photon: str,
        generation: int = 0,
        file: str = "",
        name: str = "",
    ) -> None:
        """Report *error*, which goes no further. Nothing is raised, whatever it is.

        The first one of a kind and place is reported at once, later ones at most once
        in `INTERVAL`, with their number. All of them are counted.

        Args:
            kind: What has raised it.
            error: The exception.
            photon: Name of the photon whose code it is.
            generation: Number of its generation, 0 where that is unknown.
            file: The photon's file.
            name: Name of the hook, task, thread or function.
        """
        with self._lock:
            self.counts[photon, kind] += 1
        try:
            self._contain(kind, error, photon, generation, file, plain(name, 200))
        except Exception:  # noqa: BLE001 - a silent failure would be worse
            _logger().exception("a failure of photon %r cannot be reported", photon)

    def _contain(
        self,
        kind: FailureKind,
        error: BaseException,
        photon: str,
        generation: int,
        file: str,
        name: str,
    ) -> None:
        where, line = error_position(error, file)
        hook = name if kind is FailureKind.HOOK else ""
        key = (photon, generation, kind, hook, class_name(error), where, line or 0)
        now = time.monotonic()
        with self._lock:
            told = self._told.get(key)
            if told is not None:
                told.failure = attrs.evolve(told.failure, count=told.failure.count + 1)
                if now - told.at < INTERVAL:
                    return
                told.at = now
        # Not under the lock: this asks the photon's exception for its text.
        note_text(error)  # once
        count = told.failure.count if told else 1
        failure = _failure(key, error, name, file or where, count)
        with self._lock:
            self._told.pop(key, None)  # again at the end: it is the latest
            self._told[key] = _Told(failure, now)
            while len(self._told) > _MOST:
                del self._told[next(iter(self._told))]
        _log(failure, error)
        self.events.emit(
            Event(EventKind.RAISED, photon, generation, file, problem=failure.problem)
        )

    def quarantined(self, failure: HookFailure) -> None:
        """Report that a hook of a photon is skipped from now on."""
        file, _, line = failure.where.rpartition(":")
        error = PhotonQuarantinedError(
            f"hook {failure.hook!r} is skipped for {failure.skipped_for:g} seconds",
            photon=failure.photon,
            file=file or None,
            line=int(line) if line.isdigit() else None,
            why=f"it failed too often in a row: {error_text(failure.error)}",
            hint="correct it and reload the photon",
        )
        _logger().error("%s", error)
        self._emit(EventKind.QUARANTINED, failure.photon, failure.generation, error)

    def released(self, photon: str, hook: str, generation: int) -> None:
        """Report that *hook* is called again, and has succeeded."""
        _logger().info("photon %r: hook %r is not skipped any more", photon, hook)
        self._emit(EventKind.RELEASED, photon, generation)

    def _emit(
        self,
        kind: EventKind,
        photon: str,
        generation: int,
        error: LuminalError | None = None,
    ) -> None:
        problem = Problem.of(error, "hook") if error is not None else None
        file = (error.file or "") if error is not None else ""
        self.events.emit(Event(kind, photon, generation, file, problem=problem))

    def report(
        self,
        photon: str,
        generation: int,
        file: str,
        kind: str,
        error: BaseException,
        name: str,
    ) -> None:
        """Report what code of a photon has raised; see `contain`.

        Args:
            photon: Its name.
            generation: Its generation.
            file: Its file.
            kind: A value of `luminal.model.FailureKind`.
            error: The exception.
            name: Name of what has raised it.
        """
        self.contain(
            FailureKind(kind),
            error,
            photon=photon,
            generation=generation,
            file=file,
            name=name,
        )

    def of(self, photon: str, generation: int) -> tuple[Failure, ...]:
        """Return the latest failures of a generation, one of each kind and place.

        The one that was reported last is the last.
        """
        with self._lock:
            return tuple(
                told.failure
                for key, told in self._told.items()
                if key[:2] == (photon, generation)
            )

    def counted(self, photon: str) -> dict[str, int]:
        """Return kind → number of failures of *photon* since it was loaded."""
        with self._lock:
            return {str(k): n for (p, k), n in self.counts.items() if p == photon}

    def forget(self, photon: str, generation: int | None = None) -> None:
        """Forget the failures of *photon*, which is over.

        Args:
            photon: Its name.
            generation: Which one is over; what was counted stays. None for all, and
                what was counted.
        """
        if not self._told and not self.counts:
            return
        with self._lock:
            for key in [k for k in self._told if k[0] == photon]:
                if generation is None or key[1] == generation:
                    del self._told[key]
            if generation is None:
                for counted in [c for c in self.counts if c[0] == photon]:
                    del self.counts[counted]


def _failure(
    key: _Key, error: BaseException, name: str, file: str, count: int
) -> Failure:
    photon, generation, kind, _, _, where, line = key
    raised = PhotonRaisedError(
        f"{kind.subject}{f' {name!r}' if name else ''} raised an exception",
        photon=photon or None,
        file=where or None,
        line=line or None,
        why=error_text(error),
        hint="correct it" + suggestion(error, before="; "),
    )
    raised.consequence = kind.consequence
    raised.frames = frames_of(error, file)
    problem = Problem.of(raised, str(kind))
    return Failure(kind, photon, generation, name, problem, count)


def _logger() -> logging.Logger:
    import logging

    return logging.getLogger("luminal.failures")


def _log(failure: Failure, error: BaseException) -> None:
    import logging

    said = (
        f"{failure.count} so far"
        if failure.count > 1
        else f"the next ones are logged once in {INTERVAL:.0f} seconds at most"
    )
    generation = f" (generation {failure.generation})" if failure.generation else ""
    problem, logger = failure.problem, _logger()
    if not logger.isEnabledFor(logging.ERROR):
        return
    text = "photon %r%s: %s at %s:%d: %s; %s"
    place = problem.what, problem.file, problem.line, problem.why
    args = (failure.photon, generation, *place, said)
    record = logger.makeRecord(
        logger.name, logging.ERROR, __file__, 0, text, args, None
    )
    # Not the exception itself: whoever keeps the record would keep old code with it.
    record.exc_text = _traceback_text(error)
    logger.handle(record)


def _traceback_text(error: BaseException) -> str:
    import traceback

    steps = [
        traceback.FrameSummary(
            frame.f_code.co_filename,
            line,
            frame.f_code.co_qualname,
            lookup_line=False,
            line=_line_of(frame, line),
        )
        for frame, line in steps_of(error)
    ]
    head = "Traceback (most recent call last):\n"
    return f"{head}{''.join(traceback.format_list(steps))}{error_text(error)}"


def _line_of(frame: FrameType, line: int) -> str | None:
    """Return a line of a photon's code as it was compiled; None: `linecache` has it.

    `linecache` has the lines of the generation that serves.
    """
    loader = frame.f_globals.get("__loader__")
    if type(loader) is not PhotonLoader:
        return None
    source = loader.generation.sources.get(loader.path)
    lines = source.text.splitlines() if source is not None else []
    return lines[line - 1] if 0 < line <= len(lines) else ""
