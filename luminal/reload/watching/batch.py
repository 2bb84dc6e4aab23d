"""What the watcher hands on: a settled batch of paths, and notes on its own state.

First station of a reload. Values only; nothing here looks at the disk.
"""

from __future__ import annotations

import enum

import attrs

__all__ = ["Batch", "Cause", "Note", "NoteCode"]


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
