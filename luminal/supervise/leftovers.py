"""The record of something that outlived its owner: what, whose, where, and why."""

from __future__ import annotations

import attrs

__all__ = ["Leftover"]


@attrs.frozen
class Leftover:
    """Something that could not be stopped, as a value that can be listed.

    Attributes:
        kind: ``thread``, ``task``, ``process``, ``executor``, ``timer``, ``loop``,
            ``callback``, or the facet of a footprint (``atexit``, ``signal`` ...).
        name: Its own name: of the thread, the task, the command.
        owner: Name of the photon that started it, or an empty string.
        where: ``file:line in function`` where it was started or now stands.
        why: Why it could not be stopped, in one line.
        seconds: For how long it was asked to end, in seconds.
        stack: Where it stands now, innermost frame last; empty where unknown.
    """

    kind: str
    name: str
    owner: str = ""
    where: str = ""
    why: str = ""
    seconds: float = 0.0
    stack: tuple[str, ...] = ()

    def __str__(self) -> str:
        owner = f" of {self.owner!r}" if self.owner else ""
        place = f" at {self.where}" if self.where else ""
        why = f": {self.why}" if self.why else ""
        return f"{self.kind} {self.name!r}{owner}{place}{why}"
