"""The swap: photons' new generations take the seats of the old ones, all at once.

In come pairs of registered photons and their successors, verified; out comes the same
order with other occupants. A call sees wholly the old or wholly the new; so does
everything that one outermost call makes. All work is done before the turn, which is a
few stores, or after it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from luminal.hooks._calls import (
    CallSnapshot,
    note_general,
    outermost,
    this_thread,
    views_of_threads,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from luminal.hooks._caller import HookCaller, HookDesk
    from luminal.hooks._errors import Policy
    from luminal.hooks._impl import Implementation
    from luminal.hooks._manager import Registration, RegisteredPlugin
    from luminal.hooks._order import Order
    from luminal.hooks.records import HookStatistics

__all__ = [
    "Exchange",
    "CallBarrier",
    "Swap",
    "awhen_idle",
    "epochs_under_way",
    "flights",
    "statistics",
    "when_idle",
]

# === hooks.gate ===
# A gate: what a hook's callers are while calls from before a swap are under way.
#
# In comes a call, out comes the generation that its outermost call belongs to: who began
# before the swap finishes with what it began with, however many hooks it calls. The gate
# closes when no such call is left, and then calls cost nothing again.

_LOOK_EVERY: Final = 0.001  # seconds between looks at the threads' stacks


class Swap:
    """One swap; its hooks show the new generation from one store on."""

    __slots__ = ("done",)

    def __init__(self) -> None:
        self.done = False


def epochs_under_way(policy: Policy) -> set[int]:
    """Return the epochs of all calls under way."""
    found = {snapshot.epoch for _, snapshot in views_of_threads(policy, awaited_too=True)}
    with policy.lock:
        policy.forget_idle()
        found.update(snapshot.epoch for snapshot in policy.leaving)
    return found


def _of_epoch(snapshots: Sequence[CallSnapshot], epoch: int) -> CallSnapshot | None:
    return next((v for v in reversed(snapshots) if v.epoch <= epoch), None)


class CallBarrier:
    """Leads calls of one hook to the view of their epoch.

    Attributes:
        old: Views of earlier epochs, the oldest first.
        new: The view that the swap brings.
        swap: The swap.
        is_over: Whether callers do not lead here any more.
    """

    __slots__ = ("_looked", "is_over", "new", "old", "policy", "swap")

    def __init__(self, policy: Policy, old: list[CallSnapshot], new: CallSnapshot, swap: Swap) -> None:
        self.policy = policy
        self.old = old
        self.new = new
        self.swap = swap
        self.is_over = False
        self._looked = 0.0

    def choose(self) -> CallSnapshot:
        """Return the view for the call that this thread makes now."""
        old, first = self.old, outermost(self.policy)
        if first is None:
            return self.new if self.swap.done or not old else old[-1]
        if first.epoch >= self.new.epoch:
            return self.new
        return _of_epoch(old, first.epoch) or self.new

    def lead(self) -> CallSnapshot:
        """Return the view for the call that this thread makes now, and let it be seen.

        From the choice on, this frame and then the caller's tell a swap that a call is
        under way; before, they do not. Whoever chose what was there before a turn,
        and was not seen at it, chooses again.
        """
        while True:
            was_done = self.swap.done
            snapshot = self.choose()
            if was_done or not self.swap.done:
                return snapshot
            del snapshot  # or the next choice would take this for a call under way

    def enter(self, kwargs: dict[str, Any]) -> Any:
        """Make a sync call."""
        self._look()
        snapshot = self.lead()
        if self.is_over:  # overtaken between the gate's door and the choice
            del snapshot
            return self.new.hook.sync(**kwargs)
        snapshot.hook.tick()
        return snapshot.hook.run(snapshot, kwargs, 1)

    async def aenter(self, kwargs: dict[str, Any]) -> Any:
        """Make an async call."""
        self._look()
        snapshot = self.lead()
        if self.is_over:
            del snapshot
            return await self.new.hook.awaited(**kwargs)
        snapshot.enter()
        try:
            return await snapshot.hook.arun(snapshot, kwargs, 1)
        finally:
            next(snapshot.left)

    def _look(self) -> None:
        now = time.monotonic()
        if self.swap.done and now - self._looked > _LOOK_EVERY:
            self._looked = now
            self.close_if_idle()

    def close_if_idle(self) -> None:
        """Close the gate if no call from before it is left."""
        self.keep(epochs_under_way(self.policy))

    def keep(self, epochs: Iterable[int]) -> None:
        """Keep the views that calls of *epochs* see; close the gate if there is none.

        However many swaps one long call outlives, it keeps alive what it sees.
        """
        hook: Any = self.new.hook
        with self.policy.lock:
            seen = {id(_of_epoch(self.old, e)) for e in epochs if e < self.new.epoch}
            self.old = [snapshot for snapshot in self.old if id(snapshot) in seen]
            if not self.old and hook.barrier is self:
                hook.barrier = None
                hook.install()
                self.is_over = True


# A call that has chosen its view and not yet begun to run it.
note_general(CallBarrier.lead, CallBarrier.enter, CallBarrier.aenter)


# === hooks.swapping ===
# The swap: photons' new generations take the seats of the old ones, all at once.
#
# In come pairs of registered photons and their successors, verified; out comes the same
# order with other occupants. A call sees wholly the old or wholly the new; so does
# everything that one outermost call makes. All work is done before the turn, which is a
# few stores, or after it.


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
        changes: Sequence[tuple[RegisteredPlugin, RegisteredPlugin, Registration]],
    ) -> None:
        self.changes = changes
        self._policy = policy
        self._swap = Swap()
        orders = _new_orders(find, changes)
        # Where no hook changes, no call can tell the new from the old.
        self._epoch = policy.epoch + 1 if orders else policy.epoch
        # (hook, its new order, the gate before, the gate)
        self._barriers: list[tuple[HookCaller, Order, CallBarrier | None, CallBarrier]] = []
        # Present views of the other hooks, and those for the new epoch.
        self._renewed: list[tuple[CallSnapshot, CallSnapshot]] = []
        for desk in desks if orders else ():
            hook = desk.hook
            order = orders.get(desk)
            if order is not None:
                self._shut(hook, order)
                continue
            # A call of another hook that begins after the turn belongs to the new
            # epoch: it must be told from one that began before.
            self._renewed.append((hook.snapshot, hook.snapshot.again(self._epoch)))
            # From here on whoever looks for calls under way finds those of its view.
            policy.leaving.append(hook.snapshot)

    def _shut(self, hook: HookCaller, order: Order) -> None:
        """Lead calls of *hook* through a gate, which leads to what serves now."""
        old, last = hook.snapshot, hook.barrier
        before = [old] if last is None else [*last.old, old]
        new = CallSnapshot(hook, self._epoch, order.implementations())
        barrier = CallBarrier(self._policy, before, new, self._swap)
        self._barriers.append((hook, order, last, barrier))
        hook.barrier = barrier
        hook.shut(barrier)
        if last is not None:
            last.is_over = True

    @property
    def is_done(self) -> bool:
        """Whether calls that begin now see the new generations."""
        return self._swap.done

    def turn(self) -> None:
        """Let calls that begin from now on see the new order, in all hooks together."""
        self._policy.epoch = self._epoch
        for _, snapshot in self._renewed:
            snapshot.hook.step_to(snapshot)
        self._swap.done = True

    def settle(self) -> None:
        """Do after the turn what need not be done in it."""
        for old, _ in self._renewed:
            old.hook.count(old)
        for hook, order, _, barrier in self._barriers:
            hook.order = order
            hook.settle(barrier.new)
        if self._barriers:
            under_way = epochs_under_way(self._policy)
            for _, _, _, barrier in self._barriers:
                barrier.keep(under_way)
        self._policy.forget_idle()

    def undo(self) -> None:
        """Give up a swap that has not turned."""
        for hook, _, last, barrier in self._barriers:
            hook.barrier = last
            barrier.is_over = True
            if last is None:
                hook.install()
            else:
                last.is_over = False
                hook.shut(last)


def _new_orders(
    find: Callable[[str], HookDesk],
    changes: Sequence[tuple[RegisteredPlugin, RegisteredPlugin, Registration]],
) -> dict[HookDesk, Order]:
    """Seat the successors in copies of the orders; return those that differ."""
    orders: dict[HookDesk, Order] = {}
    for old, new, registration in changes:
        chosen = [(find(name), impl) for name, impl, _ in registration.chosen]
        for desk in (*old.desks(), *dict.fromkeys(d for d, _ in chosen)):
            if desk not in orders:
                # What the present view shows is looked up while it is still so.
                _ = desk.hook.snapshot.implementations
                orders[desk] = desk.hook.order.copy()
        free: dict[HookDesk, list[int]] = {}
        for desk, seat, _ in old.seats:
            free.setdefault(desk, []).append(seat)
        spare_seat = len(old.seats)
        for desk, impl in chosen:
            impl.tally.born = desk.hook.calls
            seats = free.get(desk)
            if seats:
                seat = seats.pop(0)
                orders[desk].reseat(seat, impl)
            else:
                seat = (new.rank << 12) + spare_seat
                spare_seat += 1
                orders[desk].insert(seat, impl)
            new.seats.append((desk, seat, impl))
        for desk, seats in free.items():
            for seat in seats:
                orders[desk].unseat(seat)
    return orders


# === hooks.census ===
# What runs and what has run: calls in flight, and statistics per photon and hook.
#
# In come the hooks of a manager, out come numbers. Asking is the expensive part; calls
# themselves pay for one counter.

_SHORTEST: Final = 0.0002  # seconds between two looks at the stacks, at first
_LONGEST: Final = 0.01


def _awaited_views(policy: Policy, desks: Iterable[HookDesk]) -> Iterator[CallSnapshot]:
    seen: dict[int, CallSnapshot] = {id(snapshot): snapshot for snapshot in tuple(policy.leaving)}
    for desk in desks:
        hook = desk.hook
        seen[id(hook.snapshot)] = hook.snapshot
        for snapshot in hook.barrier.old if hook.barrier is not None else ():
            seen[id(snapshot)] = snapshot
    yield from seen.values()


def _reach(desks: Iterable[HookDesk], plugin: object) -> int:
    """Return the last epoch whose calls may still be led to *plugin*; -1: none."""
    epochs = [
        snapshot.epoch
        for desk in desks
        if desk.hook.barrier is not None
        for snapshot in desk.hook.barrier.old
        if _holds(snapshot, plugin)
    ]
    return max(epochs, default=-1)


def _holds(snapshot: CallSnapshot, plugin: object) -> bool:
    return any(o.plugin is plugin for o in snapshot.implementations)


def flights(
    policy: Policy, desks: Collection[HookDesk], plugin: object
) -> tuple[int, int]:
    """Return how many calls may be in *plugin*, and how many of them are our own.

    A call counts from its begin to its end where *plugin* implements its hook, and so
    does one that began before *plugin* was swapped out and may still call a hook.
    """
    reach, here, count, own = _reach(desks, plugin), this_thread(), 0, 0
    for thread, snapshot in views_of_threads(policy):
        if snapshot.epoch <= reach or _holds(snapshot, plugin):
            count += 1
            own += thread == here
    for snapshot in _awaited_views(policy, desks):
        under_way = snapshot.awaited
        if under_way and (snapshot.epoch <= reach or _holds(snapshot, plugin)):
            count += under_way
    if not count:
        # Nobody needs the old generation: let go of it before the next call does.
        for desk in desks:
            if desk.hook.barrier is not None:
                desk.hook.barrier.close_if_idle()
    return count, own


def _pauses(deadline: float) -> Iterator[float]:
    """Yield growing pauses until *deadline* seconds have passed."""
    end = time.monotonic() + deadline
    pause = _SHORTEST
    while (left := end - time.monotonic()) > 0:
        yield min(pause, left)
        pause = min(pause * 2, _LONGEST)


def when_idle(
    policy: Policy, desks: Collection[HookDesk], plugin: object, deadline: float
) -> bool:
    """Wait until no call may be in *plugin*; False: the deadline passed.

    A call on this thread's own stack cannot end while it waits: then it does not.
    """
    for pause in _pauses(deadline):
        count, own = flights(policy, desks, plugin)
        if count == own:
            return not own
        time.sleep(pause)
    return not flights(policy, desks, plugin)[0]


async def awhen_idle(
    policy: Policy, desks: Collection[HookDesk], plugin: object, deadline: float
) -> bool:
    """Wait as `when_idle` does, while the loop goes on."""
    import asyncio

    for pause in _pauses(deadline):
        if not flights(policy, desks, plugin)[0]:
            return True
        await asyncio.sleep(pause)
    return not flights(policy, desks, plugin)[0]


def statistics(
    policy: Policy, desks: Collection[HookDesk]
) -> tuple[HookStatistics, ...]:
    """Return what every seated implementation did, hook by hook, in call order."""
    running: dict[int, int] = {}
    for _, snapshot in views_of_threads(policy):
        for impl in snapshot.implementations:
            running[id(impl)] = running.get(id(impl), 0) + 1
    for snapshot in _awaited_views(policy, desks):
        for impl in snapshot.implementations if snapshot.awaited else ():
            running[id(impl)] = running.get(id(impl), 0) + snapshot.awaited
    found: list[HookStatistics] = []
    for desk in desks:
        with policy.lock:
            implementations = desk.hook.order.implementations()
        found.extend(
            _one(desk, impl, running.get(id(impl), 0)) for impl in implementations
        )
    return tuple(found)


def _one(desk: HookDesk, impl: Implementation, in_flight: int) -> HookStatistics:
    from luminal.hooks.records import HookStatistics

    tally, hook = impl.tally, desk.hook
    calls = tally.calls
    if not hook.is_first and not hook.is_historic:
        calls = max(0, hook.calls - tally.born - tally.missed - tally.skipped)
    return HookStatistics(
        photon=impl.photon,
        hook=desk.name,
        generation=impl.generation,
        calls=calls,
        errors=tally.errors,
        seconds=tally.nanoseconds / 1e9,
        in_flight=in_flight,
        skipped=tally.skipped,
    )
