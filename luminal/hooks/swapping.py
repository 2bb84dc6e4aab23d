"""The swap: photons' new generations take the seats of the old ones, all at once.

In come pairs of registered photons and their successors, verified; out comes the same
order with other occupants. A call sees wholly the old or wholly the new; so does
everything that one outermost call makes. All work is done before the turn, which is a
few stores, or after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from luminal.hooks.gate import Gate, Swap, epochs_under_way
from luminal.hooks.view import View

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from luminal.hooks.desk import HookDesk
    from luminal.hooks.enrolment import Enrolment
    from luminal.hooks.hook import HookCaller
    from luminal.hooks.order import Order
    from luminal.hooks.policy import Policy
    from luminal.hooks.registry import Record

__all__ = ["Exchange"]


class Exchange:
    """A swap that is prepared: new orders, views and gates, one turn away.

    Made, turned and ended with the manager's lock held.

    Args:
        policy: What the hooks share.
        desks: All hooks of the manager.
        find: Finds or makes the desk of a hook.
        changes: (old record, new record, verified implementations), one a photon.
    """

    __slots__ = ("_epoch", "_gates", "_policy", "_renewed", "_swap", "changes")

    def __init__(
        self,
        policy: Policy,
        desks: Collection[HookDesk],
        find: Callable[[str], HookDesk],
        changes: Sequence[tuple[Record, Record, Enrolment]],
    ) -> None:
        self.changes = changes
        self._policy = policy
        self._swap = Swap()
        orders = _new_orders(find, changes)
        # Where no hook changes, no call can tell the new from the old.
        self._epoch = policy.epoch + 1 if orders else policy.epoch
        # (hook, its new order, the gate before, the gate)
        self._gates: list[tuple[HookCaller, Order, Gate | None, Gate]] = []
        # Present views of the other hooks, and those for the new epoch.
        self._renewed: list[tuple[View, View]] = []
        for desk in desks if orders else ():
            hook = desk.hook
            order = orders.get(desk)
            if order is not None:
                self._shut(hook, order)
                continue
            # A call of another hook that begins after the turn belongs to the new
            # epoch: it must be told from one that began before.
            self._renewed.append((hook.view, hook.view.again(self._epoch)))
            # From here on whoever looks for calls under way finds those of its view.
            policy.leaving.append(hook.view)

    def _shut(self, hook: HookCaller, order: Order) -> None:
        """Lead calls of *hook* through a gate, which leads to what serves now."""
        old, last = hook.view, hook.gate
        before = [old] if last is None else [*last.old, old]
        new = View(hook, self._epoch, order.occupants())
        gate = Gate(self._policy, before, new, self._swap)
        self._gates.append((hook, order, last, gate))
        hook.gate = gate
        hook.shut(gate)
        if last is not None:
            last.is_over = True

    @property
    def is_done(self) -> bool:
        """Whether calls that begin now see the new generations."""
        return self._swap.done

    def turn(self) -> None:
        """Let calls that begin from now on see the new order, in all hooks together."""
        self._policy.epoch = self._epoch
        for _, view in self._renewed:
            view.hook.step_to(view)
        self._swap.done = True

    def settle(self) -> None:
        """Do after the turn what need not be done in it."""
        for old, _ in self._renewed:
            old.hook.count(old)
        for hook, order, _, gate in self._gates:
            hook.order = order
            hook.settle(gate.new)
        if self._gates:
            under_way = epochs_under_way(self._policy)
            for _, _, _, gate in self._gates:
                gate.keep(under_way)
        self._policy.forget_idle()

    def undo(self) -> None:
        """Give up a swap that has not turned."""
        for hook, _, last, gate in self._gates:
            hook.gate = last
            gate.is_over = True
            if last is None:
                hook.install()
            else:
                last.is_over = False
                hook.shut(last)


def _new_orders(
    find: Callable[[str], HookDesk],
    changes: Sequence[tuple[Record, Record, Enrolment]],
) -> dict[HookDesk, Order]:
    """Seat the successors in copies of the orders; return those that differ."""
    orders: dict[HookDesk, Order] = {}
    for old, new, enrolment in changes:
        chosen = [(find(name), occupant) for name, occupant, _ in enrolment.chosen]
        for desk in (*old.desks(), *dict.fromkeys(d for d, _ in chosen)):
            if desk not in orders:
                # What the present view shows is looked up while it is still so.
                _ = desk.hook.view.occupants
                orders[desk] = desk.hook.order.copy()
        free: dict[HookDesk, list[int]] = {}
        for desk, seat, _ in old.seats:
            free.setdefault(desk, []).append(seat)
        spare_seat = len(old.seats)
        for desk, occupant in chosen:
            occupant.tally.born = desk.hook.calls
            seats = free.get(desk)
            if seats:
                seat = seats.pop(0)
                orders[desk].reseat(seat, occupant)
            else:
                seat = (new.rank << 12) + spare_seat
                spare_seat += 1
                orders[desk].insert(seat, occupant)
            new.seats.append((desk, seat, occupant))
        for desk, seats in free.items():
            for seat in seats:
                orders[desk].unseat(seat)
    return orders
