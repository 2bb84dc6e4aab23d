"""A photon's implementations on their way to their seats.

In comes what was found on a photon, out come occupants that are verified. Before
`seat`, nothing has changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

from luminal.hooks.occupant import Occupant

if TYPE_CHECKING:
    from collections.abc import Callable

    from luminal.hooks.desk import HookDesk
    from luminal.hooks.registry import Record

__all__ = ["Enrolment"]

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
        desks: Finds or makes the desk of a hook.
        verify: Raises where an implementation does not fit its hook.
    """

    def __init__(
        self,
        desks: Callable[[str], HookDesk],
        verify: Callable[[Any, Any], None],
    ) -> None:
        self._desks = desks
        self._verify = verify
        self.chosen: list[tuple[str, Occupant, bool]] = []

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

    def _known(self, hook: str) -> HookDesk | None:
        owner: Any = getattr(self._desks, "__self__", None)
        found: HookDesk | None = owner._desks.get(hook)  # noqa: SLF001
        return found

    def check(self) -> None:
        """Raise where ``before`` and ``after`` would go round in a circle."""

    def seat(self, record: Record) -> None:
        """Give every implementation its seat; repeat historic calls for it."""
        for name, occupant, verified in self.chosen:
            desk = self._desks(name)
            if not verified and desk.has_spec():
                self._verify(desk, occupant.impl)
            if desk.history:
                desk.repeat(occupant)
            hook = desk.hook
            with hook.lock:
                seat = record.next_seat()
                occupant.tally.born = hook.calls
                hook.order.seat(seat, occupant)
                record.seats.append((desk, seat, occupant))
                hook.changed(grown=True)
