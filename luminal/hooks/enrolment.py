"""A photon's implementations on their way to their seats.

In comes what was found on a photon, out come occupants that are verified. Before
`seat`, nothing has changed.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pluggy

from luminal.hooks.occupant import Occupant
from luminal.hooks.order import Order

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from luminal.hooks.desk import HookDesk
    from luminal.hooks.history import Past
    from luminal.hooks.registry import Record

__all__ = ["Enrolment", "caught_up", "check_orders"]

_DEFAULTS = {
    "tryfirst": False,
    "trylast": False,
    "wrapper": False,
    "hookwrapper": False,
    "optionalhook": False,
    "specname": None,
}


class Enrolment:
    """The implementations of one photon, verified but not seated.

    Args:
        known: Finds the desk of a hook.
        verify: Raises where an implementation does not fit its hook.
    """

    def __init__(
        self,
        known: Callable[[str], HookDesk | None],
        verify: Callable[[Any, Any], None],
    ) -> None:
        self._known = known
        self._verify = verify
        self.chosen: list[tuple[str, Occupant, bool]] = []
        # Historic calls that the successor of somebody has been told of.
        self._told: dict[Occupant, set[Past]] = {}

    def add(
        self,
        plugin: object,
        name: str,
        generation: int,
        attribute: str,
        function: Any,
        options: Any,
    ) -> None:
        """Take one implementation.

        Raises:
            pluggy.PluginValidationError: It does not fit its hook.
        """
        for key, value in _DEFAULTS.items():
            options.setdefault(key, value)
        impl = pluggy.HookImpl(plugin, name, function, options)
        hook = options["specname"] or attribute
        desk = self._known(hook)
        if desk is not None and desk.has_spec():
            self._verify(desk, impl)
        verified = desk is not None and desk.has_spec()
        self.chosen.append((hook, Occupant(impl, generation), verified))

    def repeat_history(self, old: Record) -> None:
        """Repeat historic calls for who will take the seats of *old*.

        Calls that *old*'s photon made itself, or that hold it, are not among them.
        """
        for hook, occupant, _ in self.chosen:
            desk = self._known(hook)
            if desk is not None and desk.history:
                told = self._told.setdefault(occupant, set())
                desk.repeat(occupant, told, leaving=old.plugin)

    def is_behind(self) -> bool:
        """Return whether there were more historic calls since `repeat_history`."""
        return any(
            desk.has_more(self._told.get(occupant, set()))
            for hook, occupant, _ in self.chosen
            if (desk := self._known(hook)) is not None
        )

    def seat(self, record: Record, desks: Callable[[str], HookDesk]) -> None:
        """Give every implementation its seat; repeat historic calls for it.

        Args:
            record: Gets the seats.
            desks: Finds or makes the desk of a hook.
        """
        for name, occupant, verified in self.chosen:
            desk = desks(name)
            if not verified and desk.has_spec():
                self._verify(desk, occupant.impl)
            told: set[Past] = set()
            while not _seat(record, desk, occupant, told):
                desk.repeat(occupant, told)


def _seat(record: Record, desk: HookDesk, occupant: Occupant, told: set[Past]) -> bool:
    """Give *occupant* a seat; False: there are historic calls it must hear of first."""
    hook = desk.hook
    with hook.lock:
        if record.is_gone:  # unregistered by what it was told of
            return True
        if desk.has_more(told):
            return False
        seat = record.next_seat()
        occupant.tally.born = hook.calls
        hook.order.seat(seat, occupant)
        record.seats.append((desk, seat, occupant))
        hook.changed(grown=True)
        return True


@contextmanager
def caught_up(
    lock: threading.RLock, changes: Sequence[tuple[Record, Record, Enrolment]]
) -> Iterator[None]:
    """Hold *lock* once all successors have heard of all historic calls.

    Args:
        lock: The manager's.
        changes: (old record, new record, verified implementations), one a photon.
    """
    while True:
        # Code of photons: without the lock, and before anything is changed.
        for record, _, enrolment in changes:
            enrolment.repeat_history(record)
        with lock:
            if not any(enrolment.is_behind() for _, _, enrolment in changes):
                yield
                return


def check_orders(
    known: Callable[[str], HookDesk | None],
    changes: Iterable[tuple[Enrolment, Record | None]],
) -> None:
    """Raise where *changes* together would make an order impossible.

    Args:
        known: Finds the desk of a hook.
        changes: Who comes, and whose seats they take.

    Raises:
        PhotonConflictError: ``before`` and ``after`` would go round in a circle.
    """
    coming: dict[str, list[Occupant]] = {}
    leaving: set[tuple[str, int]] = set()
    for enrolment, old in changes:
        for hook, occupant, _ in enrolment.chosen:
            coming.setdefault(hook, []).append(occupant)
        for desk, seat, _ in old.seats if old is not None else ():
            leaving.add((desk.name, seat))
    for hook, occupants in coming.items():
        found = known(hook)
        order = Order() if found is None else found.hook.order
        order.check(occupants, {seat for name, seat in leaving if name == hook})
