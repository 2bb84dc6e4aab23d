"""`Trail`: what a photon changed of the interpreter, and what keeps its code alive.

In come two moments, before and after a photon's code ran; out go warnings, a refusal,
and at the end of the photon the state as it was. Only for hosts that ask for it. It
must never keep a photon from ending.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import attrs

from luminal.errors import PhotonStateError
from luminal.model import Event, EventKind, Problem
from luminal.supervise import Change, Footprint, Policy, find_pins
from luminal.supervise.facets import FACETS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from luminal.lifecycle._runtime import Events
    from luminal.supervise import Leftover

__all__ = ["Mark", "Terms", "Trail", "name_pins", "namespaces_of"]

_UNDONE = (Policy.RESTORE, Policy.REFUSE)
# Stands for the facets that are not named.
_EVERY = "*"


@attrs.frozen
class Terms:
    """What a host does about changes of the interpreter's shared state.

    Attributes:
        facets: Facet → policy, see `luminal.supervise.facets`; ``*`` for the rest,
            which are allowed without it.
        events: Who hears of it.
    """

    facets: Mapping[str, Policy]
    events: Events

    @classmethod
    def of(cls, asked: Mapping[str, str] | str | None, events: Events) -> Terms | None:
        """Return what a host *asked* for; one policy stands for all facets.

        Raises:
            ValueError: There is no such facet or policy.
        """
        if asked is None:
            return None
        by_name = {_EVERY: asked} if isinstance(asked, str) else asked
        known = {facet.name for facet in FACETS} | {_EVERY}
        for name in by_name:
            if name not in known:
                raise ValueError(f"no facet {name!r}; there are {sorted(known)}")
        return cls({name: Policy(how) for name, how in by_name.items()}, events)

    def policy(self, change: Change) -> Policy:
        """Return what is done about *change*."""
        return self.facets.get(change.facet, self.facets.get(_EVERY, Policy.ALLOW))

    @contextmanager
    def following(self, trail: Trail, photon: str, file: str) -> Iterator[None]:
        """Note on *trail* what is changed within the ``with`` block.

        Raises:
            PhotonStateError: A refused facet has changed; it has been put back.
        """
        before = Footprint.take()
        mark: Mark | None = None
        try:
            yield
            mark = trail.note(before, self)
            self._refuse(mark, photon, file)
            for change in mark.changes:
                if self.policy(change) is Policy.WARN:
                    self._warn(change, photon, file)
        except BaseException:
            trail.undo_last(mark or trail.note(before, self))
            raise

    def _refuse(self, mark: Mark, photon: str, file: str) -> None:
        refused = [c for c in mark.changes if self.policy(c) is Policy.REFUSE]
        if refused:
            raise PhotonStateError(
                "changed what the host refuses to have changed",
                photon=photon,
                file=file,
                why="; ".join(map(str, refused)),
                hint="leave it alone, or ask the host for another policy",
            )

    def _warn(self, change: Change, photon: str, file: str) -> None:
        import logging

        text = f"changed {change}"
        logging.getLogger("luminal.footprint").warning("photon %r %s", photon, text)
        error = PhotonStateError(
            text, file=file, hint="leave it alone, or allow it in the host's policy"
        )
        problem = Problem.of(error, "footprint")
        self.events.emit(
            Event(EventKind.SIDE_EFFECT, photon, file=file, problem=problem)
        )


# Those that may yet be taken back; guarded by the lock.
_marks: WeakSet[Mark] = WeakSet()
_lock = threading.Lock()


@attrs.define(eq=False)
class Mark:
    """Two moments, and what differs between them."""

    before: Footprint
    after: Footprint
    changes: tuple[Change, ...]
    # Facets that are put back.
    undone: frozenset[str]

    def __attrs_post_init__(self) -> None:
        if self.undone:
            with _lock:
                _marks.add(self)

    def undo(self) -> None:
        """Take back what was changed, and nothing that others have changed since."""
        for change in reversed(self.changes):
            if change.facet in self.undone:
                self.after.undo(change, self.before)
        # What another photon found is not brought back when that one goes.
        with _lock:
            _marks.discard(self)
            others = list(_marks) if self.undone else []
        for other in others:
            other.before = other.before.without(self.before, self.after, self.undone)


@attrs.define(eq=False)
class Trail:
    """What the code of one photon has changed.

    Attributes:
        marks: Of each time that its code was loaded or started.
        pins: What kept its code alive after it was unloaded.
    """

    marks: list[Mark] = attrs.Factory(list)
    pins: tuple[Leftover, ...] = ()

    @property
    def changes(self) -> tuple[Change, ...]:
        """Everything, the first change first."""
        return tuple(change for mark in self.marks for change in mark.changes)

    def note(self, before: Footprint, terms: Terms) -> Mark:
        """Compare *before* with the present moment."""
        after = Footprint.take()
        changes = after.since(before)
        undone = frozenset(
            c.facet for c in changes if c.can_restore and terms.policy(c) in _UNDONE
        )
        mark = Mark(before, after, changes, undone)
        if changes:
            self.marks.append(mark)
        return mark

    def undo_last(self, mark: Mark) -> None:
        """Take *mark* back: what made it has failed."""
        if mark in self.marks:
            self.marks.remove(mark)
        mark.undo()

    def undo(self) -> None:
        """Take everything back that is to be, the latest first."""
        while self.marks:
            self.marks.pop().undo()

    def absorb(self, other: Trail) -> None:
        """Go on with what *other* has noted as well.

        The next generation may rely on what the one before has set, and what is set
        already is no change: so it all stays until the photon is unloaded.
        """
        # Of the others the latest are enough: a photon may be reloaded for years.
        self.marks = [m for m in self.marks if m.undone] + other.marks
        other.marks = []


def namespaces_of(handler: Any) -> list[dict[str, Any]]:
    """Return the namespaces of a photon that is about to be released."""
    if handler._runtime.terms is None or handler.generation is None:
        return []
    return [vars(module) for module in handler.generation.modules.values()]


def name_pins(handler: Any, namespaces: list[dict[str, Any]]) -> None:
    """Say what keeps the code of a released photon alive, if the host follows it.

    Args:
        handler: Whose code it was; its ``trail.pins`` are set.
        namespaces: What `namespaces_of` returned.
    """
    if not namespaces:
        return
    pins = handler._changes.pins = find_pins(namespaces, photon=handler.name)
    if not pins:
        return
    import logging

    what = "; ".join(map(str, pins))
    logging.getLogger("luminal.footprint").warning(
        "photon %r is gone, and its code is kept alive: %s", handler.name, what
    )
    error = PhotonStateError(
        "its code is kept alive after the end",
        file=handler.filepath,
        why=what,
        hint="take it back in `finalize`, or start it through the context",
    )
    problem = Problem.of(error, "unload")
    handler._runtime.tell(EventKind.LEAKED, handler, problem=problem)
