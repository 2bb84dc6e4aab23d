"""What a photon changes of the interpreter's shared state, and what is done about it.

Only for hosts that ask for it, with ``Loader(footprint=…)``. Shared state is compared
before and after a photon's code has run. By the host's policy a change is allowed,
logged, undone when the photon ends, or a reason to reject the photon. After an unload
Luminal looks for what still refers to the photon's code. Nothing in here keeps a photon
from ending.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from luminal.errors import PhotonStateError
from luminal.model import Event, EventKind, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from luminal.lifecycle._handler import Handler
    from luminal.lifecycle._runtime import Events
    from luminal.supervise import Change, Footprint, Leftover, Policy

__all__ = [
    "Difference",
    "InterpreterChanges",
    "InterpreterPolicy",
    "namespaces_of",
    "report_referrers",
]

# Stands for the facets that are not named.
_EVERY = "*"


class InterpreterPolicy:
    """What a host does about changes of the interpreter's shared state.

    Attributes:
        facets: Facet → policy, see `luminal.supervise.FACETS`; ``*`` for the rest,
            which are allowed without it.
        events: Where a change is reported.
    """

    def __init__(self, facets: Mapping[str, Policy], events: Events) -> None:
        self.facets = facets
        self.events = events

    @classmethod
    def of(
        cls, asked: Mapping[str, str] | str | None, events: Events
    ) -> InterpreterPolicy | None:
        """Return what a host *asked* for; one policy stands for all facets.

        Raises:
            ValueError: There is no such facet or policy.
        """
        if asked is None:
            return None
        from luminal.supervise import FACETS, Policy

        by_name = {_EVERY: asked} if isinstance(asked, str) else asked
        known = {facet.name for facet in FACETS} | {_EVERY}
        for name in by_name:
            if name not in known:
                raise ValueError(f"no facet {name!r}; there are {sorted(known)}")
        return cls({name: Policy(how) for name, how in by_name.items()}, events)

    def policy(self, change: Change) -> Policy:
        """Return what is done about *change*."""
        from luminal.supervise import Policy

        return self.facets.get(change.facet, self.facets.get(_EVERY, Policy.ALLOW))

    @contextmanager
    def tracking(
        self, changes: InterpreterChanges, photon: str, file: str
    ) -> Iterator[None]:
        """Add to *changes* what is changed within the ``with`` block.

        Args:
            changes: The photon's.
            photon: Its name.
            file: Its file.

        Raises:
            PhotonStateError: A facet has changed that must not; it has been put back.
        """
        from luminal.supervise import Footprint

        before = Footprint.take()
        difference: Difference | None = None
        try:
            yield
            difference = changes.note(before, self)
            self.events.state_changes.update(c.facet for c in difference.changes)
            self._refuse(difference, photon, file)
            for change in difference.changes:
                if self.policy(change) == "warn":
                    self._warn(change, photon, file)
        except BaseException:
            changes.undo_one(difference or changes.note(before, self))
            raise

    def _refuse(self, difference: Difference, photon: str, file: str) -> None:
        refused = [c for c in difference.changes if self.policy(c) == "refuse"]
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


# Those that may still be undone; guarded by the lock.
_differences: WeakSet[Difference] = WeakSet()
_lock = threading.Lock()


class Difference:
    """The interpreter's state before and after some code ran, and what differs."""

    def __init__(
        self,
        before: Footprint,
        after: Footprint,
        changes: tuple[Change, ...],
        undone: frozenset[str],
    ) -> None:
        self.before = before
        self.after = after
        self.changes = changes
        # Facets that are put back.
        self.undone = undone
        if self.undone:
            with _lock:
                _differences.add(self)

    def undo(self) -> None:
        """Undo the changes, but nothing that others have changed since."""
        for change in reversed(self.changes):
            if change.facet in self.undone:
                self.after.undo(change, self.before)
        # Another photon that is undone later must not bring back what it found.
        with _lock:
            _differences.discard(self)
            others = list(_differences) if self.undone else []
        for other in others:
            other.before = other.before.without(self.before, self.after, self.undone)


class InterpreterChanges:
    """What the code of one photon has changed.

    Attributes:
        differences: One for each time that its code was loaded or started.
        referrers: What kept its code alive after it was unloaded.
    """

    def __init__(self, referrers: tuple[Leftover, ...] = ()) -> None:
        self.differences: list[Difference] = []
        self.referrers = referrers

    @property
    def changes(self) -> tuple[Change, ...]:
        """All changes, the first one first."""
        return tuple(
            change for difference in self.differences for change in difference.changes
        )

    def note(self, before: Footprint, policy: InterpreterPolicy) -> Difference:
        """Add what has changed since *before*, and return it."""
        from luminal.supervise import Footprint

        after = Footprint.take()
        changes = after.since(before)
        undone = frozenset(
            change.facet
            for change in changes
            if change.can_restore and policy.policy(change) in ("restore", "refuse")
        )
        difference = Difference(before, after, changes, undone)
        if changes:
            self.differences.append(difference)
        return difference

    def undo_one(self, difference: Difference) -> None:
        """Undo *difference* alone: the step that made it has failed."""
        if difference in self.differences:
            self.differences.remove(difference)
        difference.undo()

    def undo(self) -> None:
        """Undo all changes that are to be undone, the latest first."""
        while self.differences:
            self.differences.pop().undo()

    def absorb(self, other: InterpreterChanges) -> None:
        """Take over what *other* has noted.

        The next generation may rely on what the one before has set, and what is set
        already is no change. So all of it stays until the photon is unloaded.
        """
        # A photon may be reloaded for years: what is not undone is kept once.
        self.differences = [m for m in self.differences if m.undone] + other.differences
        other.differences = []


def namespaces_of(handler: Handler) -> list[dict[str, Any]]:
    """Return the namespaces of a photon's modules, for `report_referrers`.

    Called before the photon is released. Empty where the host does not ask.
    """
    if handler._runtime.interpreter_policy is None or handler.generation is None:
        return []
    return [vars(module) for module in handler.generation.modules.values()]


def report_referrers(handler: Handler, namespaces: list[dict[str, Any]]) -> None:
    """Find what keeps the code of a released photon alive, and report it.

    Args:
        handler: Whose code it was; its ``referrers`` are set.
        namespaces: What `namespaces_of` returned before.
    """
    if not namespaces:
        return
    from luminal.supervise import find_referrers

    referrers = find_referrers(namespaces, photon=handler.name)
    handler._changes.referrers = referrers
    if not referrers:
        return
    import logging

    what = "; ".join(map(str, referrers))
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
    handler._runtime.emit(EventKind.LEAKED, handler, problem=problem)
