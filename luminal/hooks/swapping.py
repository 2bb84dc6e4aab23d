"""The swap: photons' new generations take the seats of the old ones, all at once.

In come pairs of registered photons and their successors, verified; out comes the same
order with other occupants. A call sees wholly the old or wholly the new; so does
everything that one outermost call makes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from luminal.hooks.gate import Gate, Swap, epochs_under_way
from luminal.hooks.view import View

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from luminal.hooks.desk import HookDesk
    from luminal.hooks.enrolment import Enrolment
    from luminal.hooks.policy import Policy
    from luminal.hooks.registry import Record

__all__ = ["swap"]


def swap(
    policy: Policy,
    desks: Collection[HookDesk],
    find: Callable[[str], HookDesk],
    changes: Iterable[tuple[Record, Record, Enrolment]],
) -> None:
    """Seat new generations; the lock is held.

    Args:
        policy: What the hooks share.
        desks: All hooks of the manager.
        find: Finds or makes the desk of a hook.
        changes: (old record, new record, verified implementations), one a photon.
    """
    affected: dict[HookDesk, View] = {}
    for old, new, enrolment in changes:
        chosen = [(find(name), occupant) for name, occupant, _ in enrolment.chosen]
        for desk in (*old.desks(), *dict.fromkeys(d for d, _ in chosen)):
            if desk not in affected:
                # Looked up before its order changes.
                _ = desk.hook.view.occupants
                affected[desk] = desk.hook.view
        free: dict[HookDesk, list[int]] = {}
        for desk, seat, _ in old.seats:
            free.setdefault(desk, []).append(seat)
        spare_seat = len(old.seats)
        for desk, occupant in chosen:
            occupant.tally.born = desk.hook.calls
            seats = free.get(desk)
            if seats:
                seat = seats.pop(0)
                desk.hook.order.reseat(seat, occupant)
            else:
                seat = (new.rank << 12) + spare_seat
                spare_seat += 1
                desk.hook.order.insert(seat, occupant)
            new.seats.append((desk, seat, occupant))
        for desk, seats in free.items():
            for seat in seats:
                desk.hook.order.unseat(seat)
    _flip(policy, desks, affected)


def _flip(
    policy: Policy, desks: Collection[HookDesk], affected: dict[HookDesk, View]
) -> None:
    """Let calls that begin from now on see the new order, in all hooks together."""
    step = Swap()
    epoch = policy.epoch + 1
    gates = []
    for desk, old in affected.items():
        hook = desk.hook
        new = View(hook, epoch)
        _ = new.occupants
        last = hook.gate
        before = [old] if last is None else [*last.old, old]
        hook.gate = Gate(policy, before, new, step)
        gates.append((hook, hook.gate))
        hook.shut(hook.gate)
        if last is not None:
            last.is_over = True
    # A call of another hook that begins from here on belongs to the new epoch: it
    # must be told from one that began before, so that hook's view is made anew.
    policy.epoch = epoch
    for desk in desks:
        if desk not in affected:
            desk.hook.renew(desk.hook.view.again(epoch))
    step.done = True
    for hook, gate in gates:
        hook.settle(gate.new)
    under_way = epochs_under_way(policy)
    for _, gate in gates:
        gate.keep(under_way)
