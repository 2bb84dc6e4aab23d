"""What happened, as a value: for subscribers, the log and the journal."""

from __future__ import annotations

import enum
import time

import attrs

from luminal.model.candidate import Problem  # noqa: TC001 - attrs resolves it

__all__ = ["Event", "Happening"]


class Happening(enum.StrEnum):
    """A step of a photon's journey that somebody may want to know of."""

    DISCOVERED = "discovered"
    LOADED = "loaded"
    SKIPPED = "skipped"
    REFUSED = "refused"
    STARTED = "started"
    FAILED = "failed"
    STAGED = "staged"
    SWAPPED = "swapped"
    DRAINED = "drained"
    CONFIRMED = "confirmed"
    ROLLED_BACK = "rolled back"
    FINALIZED = "finalized"
    ORPHANED = "orphaned"
    RETIRED = "retired"
    UNLOADED = "unloaded"
    CHANGED = "changed shared state"
    PINNED = "is kept alive"


@attrs.frozen
class Event:
    """One step of one photon.

    Attributes:
        happening: Which step.
        photon: Name of the photon.
        generation: Number of the generation that it concerns, 0 where none does.
        file: The photon's file, or an empty string.
        seconds: How long the step took, 0 where that says nothing.
        problem: Why, where something went wrong.
        at: Wall-clock time in seconds since the epoch, for people.
    """

    happening: Happening
    photon: str
    generation: int = 0
    file: str = ""
    seconds: float = 0.0
    problem: Problem | None = None
    at: float = attrs.Factory(time.time)

    def __str__(self) -> str:
        text = f"photon {self.photon!r} {self.happening}"
        if self.generation:
            text += f", generation {self.generation}"
        if self.seconds:
            text += f", {self.seconds * 1000:.1f} ms"
        if self.problem is not None:
            text += f": {self.problem.error(self.photon)}"
        return text
