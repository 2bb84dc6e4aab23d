"""Absence: the directory of photons is out of reach, and its photons go on.

In comes what the watcher says of itself, and paths that are not there any more; out
comes whether a file was really deleted. The photons' state says that they are on their
own. It must never take a photon away: a directory that vanished may be mounted again.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import attrs

from luminal.errors import PhotonUnreadableError
from luminal.model import Happening, Problem
from luminal.reload.watching import Cause, NoteCode

if TYPE_CHECKING:
    from luminal.lifecycle import Handler, Ports, Registry
    from luminal.reload.watching import Batch, Note

__all__ = ["Absence"]

_PHASE = "watch"


@attrs.define(eq=False)
class Absence:
    """What of one watched directory is out of reach.

    Args:
        directory: Its path.
        registry: Where its photons are known.
        ports: What connects them to the host.
    """

    directory: str
    registry: Registry
    ports: Ports
    # Directory → why it is out of reach.
    _away: dict[str, str] = attrs.Factory(dict)
    # Where the path leads, links followed, and on which file system.
    _place: tuple[str, int] | None = None

    def __attrs_post_init__(self) -> None:
        self._place = self._look()

    def _look(self) -> tuple[str, int] | None:
        try:
            return os.path.realpath(self.directory), os.stat(self.directory).st_dev
        except OSError:
            return None

    def hear(self, note: Note) -> None:
        """Take in what the watcher says of its directories."""
        if note.code in (NoteCode.GONE, NoteCode.UNREADABLE):
            self._begin(note.directory, str(note))
        elif note.code is NoteCode.RETURNED:
            self._end(note.directory)

    def look(self, batch: Batch) -> None:
        """See whether the directory is the one that it was, unless it must be.

        Args:
            batch: What is to be acted on. Plain edits are read without a look: a system
                call beside a busy thread costs as much as all the rest of it.
        """
        is_edited = batch.cause is Cause.EVENTS and len(batch.changed) == len(batch)
        if is_edited and not self._away:
            return
        place = self._look()
        if place is None:
            return  # the watcher will say so, or has
        known, self._place = self._place, self._place or place
        if known is None or place == known:
            self._end(self.directory)
        elif place[0] == known[0]:
            self._begin(
                self.directory, f"{self.directory!r} is on another file system now"
            )
        else:  # a link leads elsewhere
            self.settle()

    def settle(self) -> None:
        """Take the directory as it is now: what it holds is what is meant."""
        self._place = self._look() or self._place
        self._end(self.directory)

    def is_gone(self, path: str) -> bool:
        """Whether a photon's file has been deleted, and is not just out of reach."""
        is_ours = _is_below(path, self.directory) and self.registry.of_file(path)
        is_there = self.covers(path) or os.path.lexists(path)
        return bool(is_ours) and not is_there

    def covers(self, path: str) -> bool:
        """Whether *path* is out of reach, so that nothing can be said of it."""
        away = any(_is_below(path, directory) for directory in self._away)
        return away or not os.path.isdir(self.directory)

    def _begin(self, directory: str, why: str) -> None:
        if directory in self._away:
            return
        self._away[directory] = why
        error = PhotonUnreadableError(
            "goes on without its files",
            why=why,
            hint="bring them back, or unload the photon",
        )
        problem = Problem.of(error, _PHASE)
        for handler in self.registry.all().values():
            if _is_below(handler.filepath, directory) and not _is_marked(handler):
                handler.problem = problem
                self.ports.tell(Happening.ORPHANED, handler, problem=problem)

    def _end(self, directory: str) -> None:
        """Take the word back of the photons whose files are there again."""
        self._away.pop(directory, None)
        for handler in self.registry.all().values():
            path = handler.filepath
            if _is_marked(handler) and not self.covers(path) and os.path.lexists(path):
                handler.problem = None


def _is_marked(handler: Handler) -> bool:
    return handler.problem is not None and handler.problem.phase == _PHASE


def _is_below(path: str, directory: str) -> bool:
    return path.startswith(os.path.join(directory, ""))
