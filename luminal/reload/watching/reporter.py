"""What the watcher says of itself: each state once, when it begins.

In: the states that hold now. Out: notes on what is different from the last time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from luminal.reload.watching.batch import Note, NoteCode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["Reporter"]


@attrs.define
class Reporter:
    """Remembers what has been said.

    Attributes:
        say: Takes each note.
        poll: Seconds between two looks where nobody tells; named in the notes.
    """

    say: Callable[[Note], None]
    poll: float
    _said: set[tuple[NoteCode, str]] = attrs.field(init=False, factory=set)

    def forget(self, directory: str) -> None:
        """Say no more of *directory*, which nobody watches any longer."""
        self._said = {said for said in self._said if said[1] != directory}

    def report(
        self,
        *,
        blind: str | None,
        silent: Mapping[str, str],
        gone: Iterable[str],
        unreadable: Iterable[str],
    ) -> None:
        """Say what is new among the states that hold.

        Args:
            blind: Why the source misses changes; None if it does not.
            silent: Directory → type of its file system, which sends no events.
            gone: Watched directories that are not there.
            unreadable: Folders that cannot be listed.
        """
        every = f"every file is looked at every {self.poll:g} s"
        now: dict[tuple[NoteCode, str], str] = {}
        if blind:
            now[NoteCode.WATCH_LIMIT, ""] = f"{blind}: {every}"
        for path, kind in silent.items():
            text = f"{path!r} is on a file system without events ({kind}): {every}"
            now[NoteCode.NO_EVENTS, path] = text
        for path in gone:
            text = f"the watched directory {path!r} is gone: waiting for its return"
            now[NoteCode.GONE, path] = text
        for path in unreadable:
            text = f"{path!r} cannot be read: what was known of it is kept"
            now[NoteCode.UNREADABLE, path] = text
        before, self._said = self._said, set(now)
        for code, path in before - self._said:
            if code is NoteCode.GONE:
                text = f"the watched directory {path!r} is back"
                self.say(Note(NoteCode.RETURNED, path, text))
            elif code is NoteCode.UNREADABLE:
                text = f"{path!r} can be read again"
                self.say(Note(NoteCode.RETURNED, path, text))
        for (code, path), text in now.items():
            if (code, path) not in before:
                self.say(Note(code, path, text))
