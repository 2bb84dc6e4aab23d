"""What happened to photons, as values: events, outcomes and reports.

Beside them stand the settings that a host may give: deadlines and probation.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Mapping  # noqa: TC003 - attrs resolves it
from typing import TYPE_CHECKING, Self

import attrs

from luminal._plain import to_json
from luminal.model.candidate import Problem  # noqa: TC001 - attrs resolves it

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "Deadlines",
    "Event",
    "EventKind",
    "Failure",
    "FailureKind",
    "FileChange",
    "Outcome",
    "OutcomeResult",
    "Probation",
    "Quarantine",
    "Report",
    "SwapChanges",
    "as_quarantine",
]


class OutcomeResult(enum.StrEnum):
    """What happened to one photon of a batch."""

    LOADED = "loaded"
    STARTED = "started"
    SKIPPED = "skipped"
    FAILED = "failed"


@attrs.frozen
class Outcome:
    """What became of one photon.

    Attributes:
        photon: Its name.
        result: Loaded, started, skipped or failed.
        origin: Where it came from, see `luminal.model.Candidate`.
        file: The file that holds it, or an empty string.
        generation: Number of the generation that serves, 0 where none does.
        problem: Why it was skipped or failed; None where it was loaded or started.
        warnings: What is wrong though it was loaded.
        phases: Seconds of each phase so far, see `Event`.
    """

    photon: str
    result: OutcomeResult
    origin: str = ""
    file: str = ""
    generation: int = 0
    problem: Problem | None = None
    warnings: tuple[Problem, ...] = ()
    phases: Mapping[str, float] = attrs.field(factory=dict, hash=False)


@attrs.frozen(repr=False)
class Report:
    """The outcomes of one batch, in the order in which they were decided."""

    outcomes: tuple[Outcome, ...] = ()

    def __iter__(self) -> Iterator[Outcome]:
        return iter(self.outcomes)

    def __len__(self) -> int:
        return len(self.outcomes)

    def _of(self, *results: OutcomeResult) -> tuple[Outcome, ...]:
        return tuple(o for o in self.outcomes if o.result in results)

    @property
    def loaded(self) -> tuple[Outcome, ...]:
        """Outcomes of the photons that are loaded now, started or not."""
        return self._of(OutcomeResult.LOADED, OutcomeResult.STARTED)

    @property
    def started(self) -> tuple[Outcome, ...]:
        """Outcomes of the photons that were started."""
        return self._of(OutcomeResult.STARTED)

    @property
    def skipped(self) -> tuple[Outcome, ...]:
        """Outcomes of the photons that were left out on purpose."""
        return self._of(OutcomeResult.SKIPPED)

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """Outcomes of the photons that could not be loaded."""
        return self._of(OutcomeResult.FAILED)

    def followed_by(self, later: Report) -> Report:
        """Return both, with the later outcome of each photon that is in both."""
        decided = {outcome.photon for outcome in later}
        kept = tuple(o for o in self.outcomes if o.photon not in decided)
        return Report(kept + later.outcomes)

    def to_json(self) -> str:
        """Return the report as one JSON object, keys as the attributes are named."""
        return to_json(
            {
                "schema": 1,
                "photons": [attrs.asdict(outcome) for outcome in self.outcomes],
            },
            indent=2,
        )

    def __repr__(self) -> str:
        return (
            f"<Report loaded={len(self.loaded)} skipped={len(self.skipped)} "
            f"failed={len(self.failed)}>"
        )

    def __str__(self) -> str:
        done = [f"{len(self.started)} started"] if self.started else []
        loaded = len(self.loaded) - len(self.started)
        if loaded or not done:
            done.append(f"{loaded} loaded")
        counts = f"{len(self.skipped)} skipped, {len(self.failed)} failed"
        lines = [", ".join([*done, counts])]
        for outcome in (*self.skipped, *self.failed):
            lines.append(f"{outcome.result}: {outcome.photon}")
            if outcome.problem is not None:
                problem = str(outcome.problem.error(outcome.photon))
                lines.extend(f"  {line}" for line in problem.splitlines())
        for outcome in self.outcomes:
            for warning in outcome.warnings:
                lines.append(f"warning: {outcome.photon}")
                text = str(warning.error(outcome.photon))
                lines.extend(f"  {line}" for line in text.splitlines())
        return "\n".join(lines)


class EventKind(enum.StrEnum):
    """What an event is about.

    Attributes:
        meaning: One sentence about it, for the documentation.
    """

    meaning: str

    def __new__(cls, value: str, meaning: str = "") -> Self:
        """Make the member of *value*."""
        member = str.__new__(cls, value)
        member._value_, member.meaning = value, meaning
        return member

    DISCOVERED = "discovered", "discovery found it; none of its code has run"
    LOADED = "loaded", "its modules have been executed"
    SKIPPED = "skipped", "it was skipped on purpose, because it is disabled for example"
    REJECTED = (
        "rejected",
        "it, or its new generation, was rejected; an old one keeps running",
    )
    RECOVERED = (
        "recovered",
        "the save that was rejected has been undone; it runs what its files say",
    )
    UNCHANGED = (
        "unchanged",
        "a file of it was saved without a change of code, so it runs on as it is",
    )
    STARTED = "started", "it runs"
    FAILED = "failed", "it could not be loaded, started or finalized; see the problem"
    RAISED = (
        "raised",
        "its code raised an exception that was contained; see the problem",
    )
    STAGED = "staged", "a new generation has been loaded beside the old one"
    SWAPPED = "swapped", "the new generation has replaced the old one"
    DRAINED = (
        "drained",
        "no call is in flight on the old generation, or the wait timed out",
    )
    CONFIRMED = "confirmed", "a probation ended well, and the new generation stays"
    ROLLED_BACK = (
        "rolled_back",
        "the earlier generation runs again: a failed probation, or on request",
    )
    FINALIZED = "finalized", "it has been finalized, and owns nothing any more"
    ORPHANED = "orphaned", "its files are gone or cannot be reached; it keeps running"
    QUARANTINED = "quarantined", "a hook of it failed too often and is skipped"
    RELEASED = "released", "a hook of it that was in quarantine has succeeded again"
    RETIRED = "retired", "Python has collected the old generation; nothing refers to it"
    UNLOADED = "unloaded", "the host has removed it"
    PINNED = "pinned", "the lock has taken its files at their first use"
    UNPINNED = "unpinned", "a lock is in force and does not list it; it runs"
    SIDE_EFFECT = (
        "side_effect",
        "it changed the environment, signals or the like, if that is checked",
    )
    OUTDATED = (
        "outdated",
        "it uses code that the host imported before it changed on disk",
    )
    DRIFTED = (
        "drifted",
        "its new text names what the old one did not, if that is compared",
    )
    THROTTLED = (
        "throttled",
        "it writes its own files, so the watch reloads it less often; see the problem",
    )
    LEAKED = (
        "leaked",
        "an old generation is kept in memory, or still being retired; see the problem",
    )


class FailureKind(enum.StrEnum):
    """What of a photon has raised an exception that Luminal contained.

    Attributes:
        subject: What has raised it, for messages.
        consequence: What becomes of it.
    """

    subject: str
    consequence: str

    def __new__(cls, value: str, subject: str = "", consequence: str = "") -> Self:
        """Make the member of *value*."""
        member = str.__new__(cls, value)
        member._value_, member.subject = value, subject
        member.consequence = consequence
        return member

    HOOK = "hook", "hook", "the call went on without its answer"
    TASK = "task", "task", "the task has ended"
    THREAD = "thread", "thread", "the thread has ended"
    EVERY = "every", "timed call", "the next call comes in time"
    LOOP = "loop", "supervised loop", "it is supervised as it was asked for"
    FINALIZE = "finalize", "'finalize'", "what it held has been ended by force"
    ON_CLOSE = "on_close", "function of on_close", "the others were called"
    SUBSCRIBER = "subscriber", "subscriber to events", "the others were called"


@attrs.frozen
class Failure:
    """An exception of a photon's code that was contained.

    Attributes:
        kind: What has raised it.
        photon: Name of the photon; empty where it is the host's own code.
        generation: Number of its generation, 0 where that is unknown.
        name: Name of the hook, task, thread or function.
        problem: What was raised, and where.
        count: How often, in this place of this generation.
        at: Wall-clock time in seconds of the first one that this record is of.
    """

    kind: FailureKind
    photon: str
    generation: int
    name: str
    problem: Problem
    count: int = 1
    at: float = attrs.Factory(time.time)


@attrs.frozen
class Event:
    """One step of one photon.

    Attributes:
        kind: Which step.
        photon: Name of the photon.
        generation: Number of the generation that it concerns, 0 where none does.
        file: The photon's file, or an empty string.
        seconds: How long the step took, 0 where that says nothing.
        problem: Why, where something went wrong.
        at: Wall-clock time in seconds since the epoch, for people.
        hooks: Names of the hooks whose implementations have changed with it.
        files: Of a swap, a rejection or its undoing: paths of the files that have
            changed; empty where it was asked for without a change.
        photons: Likewise: names of all photons of the same step.
        phases: Of a load, start, swap, rejection, drain or finalization: seconds of
            each phase that there was, such as ``read``, ``compile`` and ``execute``,
            by the monotonic clock. They do not overlap. All photons of a file or a
            swap share those of the same step.
    """

    kind: EventKind
    photon: str
    generation: int = 0
    file: str = ""
    seconds: float = 0.0
    problem: Problem | None = None
    at: float = attrs.Factory(time.time)
    hooks: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    photons: tuple[str, ...] = ()
    phases: Mapping[str, float] = attrs.field(factory=dict, hash=False)

    def __str__(self) -> str:
        text = f"photon {self.photon!r} {self.kind}"
        if self.generation:
            text += f", generation {self.generation}"
        if self.seconds:
            text += f", {self.seconds * 1000:.1f} ms"
        if self.problem is not None:
            text += f": {self.problem.error(self.photon)}"
        return text


_LARGEST_TEXT = 2**18
"""Bytes of a file whose text is kept to show what has changed."""


def _kept(data: bytes | None) -> bytes | None:
    return b"" if data is not None and len(data) > _LARGEST_TEXT else data


@attrs.frozen
class FileChange:
    """A file that a swap has changed.

    Attributes:
        path: Its absolute path.
        before: Its bytes in the old generation; None where it had none.
        after: Its bytes in the new generation; None where it has it no more. Of large
            files and of data files the bytes are not kept.
        is_text: Whether `diff` can show it.
    """

    path: str
    before: bytes | None = attrs.field(repr=False, converter=_kept)
    after: bytes | None = attrs.field(repr=False, converter=_kept)
    is_text: bool = True

    def diff(self, most: int = 200) -> list[str]:
        """Return what has changed as lines of a unified diff.

        Args:
            most: Number of lines at most; a last line says how many more there are.
        """
        import difflib

        old, new = (
            (data or b"").decode(errors="replace").splitlines()
            for data in (self.before, self.after)
        )
        found = difflib.unified_diff(old, new, "before", "after", lineterm="")
        lines = [line[:200] for line in found][2:]  # not the names of both
        left = len(lines) - most
        return [*lines[:most], f"({left} more lines)"] if left > 0 else lines


@attrs.frozen
class SwapChanges:
    """What one swap has changed.

    Attributes:
        generations: Name of a photon → number of its new generation.
        files: The files that differ.
        at: Wall-clock time in seconds.
    """

    generations: dict[str, int]
    files: tuple[FileChange, ...]
    at: float = attrs.Factory(time.time)


@attrs.frozen
class Deadlines:
    """Seconds after which a step of a photon has timed out.

    Attributes:
        load: For executing its modules.
        start: For ``__init__`` and ``start`` together.
        finalize: For ``finalize``.
        close: For ending what it owns once it is finalized.
        drain: For calls that are in flight when it is to be finalized.

    Example:
        >>> Deadlines(start=5)
        Deadlines(load=30.0, start=5, finalize=10.0, close=5.0, drain=10.0)
    """

    load: float = 30.0
    start: float = 30.0
    finalize: float = 10.0
    close: float = 5.0
    drain: float = 10.0

    @property
    def shortest(self) -> float:
        """The shortest one of a single call of a photon's code."""
        return min(self.load, self.start, self.finalize)


@attrs.frozen
class Quarantine:
    """Settings under which a hook of a photon is skipped that fails again and again.

    After that time it is called again: a success ends the quarantine, a failure begins
    the next one. A reload of the photon ends it as well.

    Attributes:
        failures: Failures in a row, of one photon in one hook, after which it is
            skipped.
        seconds: How long it is skipped.
    """

    failures: int = 5
    seconds: float = 30.0


def as_quarantine(value: Quarantine | int | None) -> Quarantine | None:
    """Return settings; None where nothing is ever skipped.

    Args:
        value: Settings, or a number of failures alone; None or 0 for never.

    Raises:
        ValueError: The numbers are negative, or there is no failure to wait for.
    """
    if value is None or value is False or value == 0:
        return None
    settings = value if isinstance(value, Quarantine) else Quarantine(int(value))
    if settings.failures < 1 or not settings.seconds > 0:
        raise ValueError(f"not a number of failures, or of seconds: {value!r}")
    return settings


@attrs.frozen
class Probation:
    """Settings under which a swap is provisional; by default it is not.

    A photon fails when its method ``is_healthy(self)``, plain or ``async``, raises or
    returns a false value, or when too many calls of its hooks raise.

    Attributes:
        seconds: How long it lasts; 0 for swaps that are final at once.
        interval: Seconds between looks.
        error_rate: Part of the calls, from 0 to 1, above which errors are too many.
        min_calls: Calls below which no rate is judged; for what is compared with the
            old generation, of each of both, and timed ones for times.
        more_errors: A photon also fails if a hook raises in a larger part of its calls
            than in the old generation, by more than this; 0 compares nothing.
        slowdown: A photon also fails if 95 of 100 calls of a hook take more than this
            many times as long as in the old generation. Times are right within a factor
            of two, so less than 4 may be chance; 0 compares nothing.
    """

    seconds: float = 0.0
    interval: float = 0.25
    error_rate: float = 0.5
    min_calls: int = 10
    more_errors: float = 0.0
    slowdown: float = 0.0
