"""The swap of plugins' implementations, and what is known about calls under way.

A swap replaces the implementations of several photons by those of their next
generations, in all hooks at once and in the same positions. All work is done before
`PreparedSwap.commit`, which is a few stores, or after it. A call sees wholly the old
generation or wholly the new one, and so does every call that it makes.

While calls from before the swap are under way, calls of the swapped hooks go through a
`CallBarrier`. It finds the outermost call on the stack and uses the implementations of
the time when that call began.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Final

from luminal.hooks._calls import (
    CallSnapshot,
    calls_of_threads,
    note_runners,
    outermost,
)

if TYPE_CHECKING:
    from collections.abc import (
        Callable,
        Collection,
        Iterable,
        Iterator,
        Mapping,
        Sequence,
    )

    from luminal.hooks._caller import Caller
    from luminal.hooks._errors import Policy
    from luminal.hooks._impl import Implementation
    from luminal.hooks._manager import Registration
    from luminal.hooks._order import Order
    from luminal.hooks.records import HookStatistics

__all__ = [
    "CallBarrier",
    "PreparedSwap",
    "SwapState",
    "await_idle",
    "calls_in",
    "statistics",
    "wait_until_idle",
]

_CHECK_EVERY: Final = 0.001  # seconds between two searches of the threads' stacks


class SwapState:
    """Whether a swap is committed; the barriers of all its hooks share it.

    It is apart from the `PreparedSwap`, which refers to the old plugins.

    Attributes:
        done: From this store on, all hooks of the swap show the new generation.
    """

    __slots__ = ("done",)

    def __init__(self) -> None:
        self.done = False


def _epochs_under_way(policy: Policy) -> set[int]:
    """Return the epochs of all calls under way."""
    found = {s.epoch for _, s in calls_of_threads(policy, include_async=True)}
    with policy.lock:
        policy.forget_ended()
        found.update(snapshot.epoch for snapshot in policy.replaced)
    return found


def _of_epoch(snapshots: Sequence[CallSnapshot], epoch: int) -> CallSnapshot | None:
    """Return the latest of *snapshots* that is not later than *epoch*."""
    return next((s for s in reversed(snapshots) if s.epoch <= epoch), None)


class CallBarrier:
    """Makes the calls of one hook while calls from before a swap are under way.

    Attributes:
        policy: What the hooks share.
        old: Snapshots of earlier epochs, the oldest first.
        new: The snapshot with the swap's new generations.
        swap: Whether the swap is done.
        is_over: Whether the hook's functions do not lead here any more.
    """

    __slots__ = ("_checked", "is_over", "new", "old", "policy", "swap")

    def __init__(
        self,
        policy: Policy,
        old: list[CallSnapshot],
        new: CallSnapshot,
        swap: SwapState,
    ) -> None:
        self.policy = policy
        self.old = old
        self.new = new
        self.swap = swap
        self.is_over = False
        self._checked = 0.0

    def choose(self) -> CallSnapshot:
        """Return the snapshot for the call that this thread makes now."""
        old, first = self.old, outermost(self.policy)
        if first is None:
            return self.new if self.swap.done or not old else old[-1]
        if first.epoch >= self.new.epoch:
            return self.new
        return _of_epoch(old, first.epoch) or self.new

    def lead(self) -> CallSnapshot:
        """Return the snapshot for the call that this thread makes now.

        From the choice on, this frame and then the caller's show a swap that a call is
        under way; before the choice they do not. If a swap was committed meanwhile, it
        may have missed this call; then the choice is made again.
        """
        while True:
            was_done = self.swap.done
            snapshot = self.choose()
            if was_done or not self.swap.done:
                return snapshot
            del snapshot  # or the next choice would take this for a call under way

    def enter(self, kwargs: dict[str, Any]) -> Any:
        """Make a sync call."""
        self._check()
        snapshot = self.lead()
        if self.is_over:  # it ended between the beginning of this call and the choice
            del snapshot
            return self.new.caller.sync(**kwargs)
        snapshot.caller.tick()
        return snapshot.caller.run(snapshot, kwargs, 1)

    async def aenter(self, kwargs: dict[str, Any]) -> Any:
        """Make an async call."""
        self._check()
        snapshot = self.lead()
        if self.is_over:
            del snapshot
            return await self.new.caller.awaited(**kwargs)
        snapshot.enter()
        try:
            return await snapshot.caller.arun(snapshot, kwargs, 1)
        finally:
            next(snapshot.left)

    def _check(self) -> None:
        now = time.monotonic()
        if self.swap.done and now - self._checked > _CHECK_EVERY:
            self._checked = now
            self.remove_if_idle()

    def remove_if_idle(self) -> None:
        """Remove the barrier if no call from before it is under way."""
        self.keep(_epochs_under_way(self.policy))

    def keep(self, epochs: Iterable[int]) -> None:
        """Keep the snapshots that calls of *epochs* see; without one, end the barrier.

        A call that outlives many swaps keeps alive only what it sees.
        """
        caller = self.new.caller
        with self.policy.lock:
            seen = {id(_of_epoch(self.old, e)) for e in epochs if e < self.new.epoch}
            self.old = [snapshot for snapshot in self.old if id(snapshot) in seen]
            if not self.old and caller.barrier is self:
                caller.barrier = None
                caller.deoptimize()
                self.is_over = True


# Functions in which a call has chosen its snapshot and not yet begun to run it.
note_runners(CallBarrier.lead, CallBarrier.enter, CallBarrier.aenter)


class PreparedSwap:
    """A swap of which everything is prepared: orders, snapshots and barriers.

    It is made, committed and finished, or undone, while the manager's lock is held.

    Args:
        policy: What the hooks share.
        callers: Those of all hooks of the manager.
        find: Finds or makes the caller of a hook.
        changes: (old registration, new one, which is verified), one pair a photon.
        specs: Caller → the specification that comes into force.
    """

    __slots__ = (
        "_barriers",
        "_epoch",
        "_policy",
        "_renewed",
        "_specs",
        "_state",
        "changes",
    )

    def __init__(
        self,
        policy: Policy,
        callers: Collection[Caller],
        find: Callable[[str], Caller],
        changes: Sequence[tuple[Registration, Registration]],
        specs: Mapping[Caller, Any],
    ) -> None:
        self.changes = changes
        self._specs = specs
        self._policy = policy
        self._state = SwapState()
        orders = _new_orders(find, changes)
        for caller in specs:
            if caller not in orders:
                orders[caller] = caller.order.copy()
        # If no hook changes, no call can tell the new generation from the old one.
        self._epoch = policy.epoch + 1 if orders else policy.epoch
        # (caller, its new order, the barrier before, the barrier)
        self._barriers: list[tuple[Caller, Order, CallBarrier | None, CallBarrier]] = []
        # Present snapshots of the other hooks, and those for the new epoch.
        self._renewed: list[tuple[CallSnapshot, CallSnapshot]] = []
        for caller in callers if orders else ():
            order = orders.get(caller)
            if order is not None:
                self._put_barrier(caller, order)
                continue
            # A call of another hook that begins after the commit belongs to the new
            # epoch, so it needs a snapshot of that epoch.
            present = caller.snapshot
            self._renewed.append((present, present.for_epoch(self._epoch)))
            # From here on a search for calls under way finds those of the present one.
            policy.replaced.append(present)

    def _put_barrier(self, caller: Caller, order: Order) -> None:
        """Let calls go through a barrier, which still shows the old generation."""
        old, last = caller.snapshot, caller.barrier
        before = [old] if last is None else [*last.old, old]
        new = CallSnapshot(caller, self._epoch, order.implementations())
        barrier = CallBarrier(self._policy, before, new, self._state)
        self._barriers.append((caller, order, last, barrier))
        caller.barrier = barrier
        caller.put_barrier(barrier)
        if last is not None:
            last.is_over = True

    @property
    def is_done(self) -> bool:
        """Whether calls that begin now see the new generations."""
        return self._state.done

    def commit(self) -> None:
        """Let calls that begin from now on see the new generations, in all hooks."""
        self._policy.epoch = self._epoch
        for caller, spec in self._specs.items():
            caller.spec = spec
        for _, snapshot in self._renewed:
            snapshot.caller.step_to(snapshot)
        self._state.done = True

    def finish(self) -> None:
        """Do what is left to do after the commit."""
        for caller, spec in self._specs.items():
            caller.take_specification(spec)
        for old, _ in self._renewed:
            old.caller.count(old)
        for caller, order, _, barrier in self._barriers:
            caller.order = order
            caller.replace_snapshot(barrier.new)
            if caller.is_orphaned:
                caller.orphan()
        if self._barriers:
            under_way = _epochs_under_way(self._policy)
            for _, _, _, barrier in self._barriers:
                barrier.keep(under_way)
        self._policy.forget_ended()

    def undo(self) -> None:
        """Give up a swap that was not committed."""
        for caller, _, last, barrier in self._barriers:
            caller.barrier = last
            barrier.is_over = True
            if last is None:
                caller.deoptimize()
            else:
                last.is_over = False
                caller.put_barrier(last)


def _new_orders(
    find: Callable[[str], Caller],
    changes: Sequence[tuple[Registration, Registration]],
) -> dict[Caller, Order]:
    """Put the new implementations into copies of the orders; return the copies."""
    orders: dict[Caller, Order] = {}
    for old, new in changes:
        chosen = [(find(name), impl) for name, impl, _ in new.implementations]
        for caller in (*old.callers(), *dict.fromkeys(c for c, _ in chosen)):
            if caller not in orders:
                # The present snapshot looks its implementations up while it is so.
                _ = caller.snapshot.implementations
                orders[caller] = caller.order.copy()
        free: dict[Caller, list[int]] = {}
        for caller, position in old.positions:
            free.setdefault(caller, []).append(position)
        number = len(old.positions)
        for caller, impl in chosen:
            impl.tally.calls_before = caller.calls
            positions = free.get(caller)
            if positions:
                position = positions.pop(0)
                orders[caller].replace(position, impl)
            else:
                position = new.position(number)
                number += 1
                orders[caller].insert(position, impl)
            new.positions.append((caller, position))
        for caller, positions in free.items():
            for position in positions:
                orders[caller].remove(position)
    return orders


# Calls under way, and statistics. A call pays for one counter only.

_SHORTEST_PAUSE: Final = 0.0002  # seconds between two searches of the stacks, at first
_LONGEST_PAUSE: Final = 0.01


def _snapshots_of_async_calls(
    policy: Policy, callers: Iterable[Caller]
) -> Iterator[CallSnapshot]:
    """Yield every snapshot of which async calls may be under way, once."""
    seen: dict[int, CallSnapshot] = {id(s): s for s in tuple(policy.replaced)}
    for caller in callers:
        seen[id(caller.snapshot)] = caller.snapshot
        for snapshot in caller.barrier.old if caller.barrier is not None else ():
            seen[id(snapshot)] = snapshot
    yield from seen.values()


def _last_epoch_of(callers: Iterable[Caller], plugin: object) -> int:
    """Return the last epoch whose calls may still reach *plugin*; -1: there is none."""
    epochs = [
        snapshot.epoch
        for caller in callers
        if caller.barrier is not None
        for snapshot in caller.barrier.old
        if _has(snapshot, plugin)
    ]
    return max(epochs, default=-1)


def _has(snapshot: CallSnapshot, plugin: object) -> bool:
    return any(impl.plugin is plugin for impl in snapshot.implementations)


def calls_in(
    policy: Policy, callers: Collection[Caller], plugin: object
) -> tuple[int, int]:
    """Return how many calls may be in *plugin*, and how many of them are this thread's.

    A call counts from its beginning to its end if *plugin* implements its hook. A call
    that began before *plugin* was swapped out also counts: it may still call a hook.
    """
    last_epoch = _last_epoch_of(callers, plugin)
    this_thread, count, own = threading.get_ident(), 0, 0
    for thread, snapshot in calls_of_threads(policy):
        if snapshot.epoch <= last_epoch or _has(snapshot, plugin):
            count += 1
            own += thread == this_thread
    for snapshot in _snapshots_of_async_calls(policy, callers):
        under_way = snapshot.awaited
        if under_way and (snapshot.epoch <= last_epoch or _has(snapshot, plugin)):
            count += under_way
    if not count:
        # No call needs the old generation: free it now and not at the next call.
        for caller in callers:
            if caller.barrier is not None:
                caller.barrier.remove_if_idle()
    return count, own


def _pauses(deadline: float) -> Iterator[float]:
    """Yield growing pauses until *deadline* seconds have passed."""
    end = time.monotonic() + deadline
    pause = _SHORTEST_PAUSE
    while (left := end - time.monotonic()) > 0:
        yield min(pause, left)
        pause = min(pause * 2, _LONGEST_PAUSE)


def wait_until_idle(
    policy: Policy, callers: Collection[Caller], plugin: object, deadline: float
) -> bool:
    """Wait until no call may be in *plugin*; False: the deadline passed.

    A call on this thread's own stack cannot end while it waits. If only such calls are
    left, it returns at once.
    """
    for pause in _pauses(deadline):
        count, own = calls_in(policy, callers, plugin)
        if count == own:
            return not own
        time.sleep(pause)
    return not calls_in(policy, callers, plugin)[0]


async def await_idle(
    policy: Policy, callers: Collection[Caller], plugin: object, deadline: float
) -> bool:
    """Wait as `wait_until_idle` does, and let the event loop run."""
    import asyncio

    for pause in _pauses(deadline):
        if not calls_in(policy, callers, plugin)[0]:
            return True
        await asyncio.sleep(pause)
    return not calls_in(policy, callers, plugin)[0]


def statistics(
    policy: Policy, callers: Collection[Caller]
) -> tuple[HookStatistics, ...]:
    """Return the numbers of every implementation, hook by hook, in call order."""
    running: dict[int, int] = {}
    for _, snapshot in calls_of_threads(policy):
        for impl in snapshot.implementations:
            running[id(impl)] = running.get(id(impl), 0) + 1
    for snapshot in _snapshots_of_async_calls(policy, callers):
        for impl in snapshot.implementations if snapshot.awaited else ():
            running[id(impl)] = running.get(id(impl), 0) + snapshot.awaited
    found: list[HookStatistics] = []
    for caller in callers:
        with policy.lock:
            implementations = caller.order.implementations()
        found.extend(
            _statistics_of(caller, impl, running.get(id(impl), 0))
            for impl in implementations
        )
    return tuple(found)


def _statistics_of(
    caller: Caller, impl: Implementation, in_flight: int
) -> HookStatistics:
    from luminal.hooks.records import HookStatistics

    tally, calls = impl.tally, impl.tally.calls
    if not caller.is_first and not caller.is_historic():
        # Every call of the hook reaches it: the hook's counter is exact.
        calls = caller.calls - tally.calls_before - tally.missed - tally.skipped
    return HookStatistics(
        photon=impl.photon,
        hook=caller.name,
        generation=impl.generation,
        calls=max(0, calls),
        errors=tally.errors,
        seconds=tally.nanoseconds / 1e9,
        in_flight=in_flight,
        skipped=tally.skipped,
    )
