"""The swap of plugins' implementations, and what is known about calls under way.

A swap replaces the implementations of several photons by those of their next
generations, in all hooks at once and in the same positions. All work is done before
`PreparedSwap.commit`, which is a few stores, or after it. A call sees wholly the old
generation or wholly the new one, and so does every call that it makes.

While calls from before the swap are under way, calls of the swapped hooks go through a
`CallBarrier`. It finds the outermost call on the stack and uses the implementations of
the time when that call began.
"""

# ruff: noqa: SLF001 - a part of the manager
from __future__ import annotations

import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Final, Self

from luminal._running_loop import running_task
from luminal.errors import PhotonReloadError
from luminal.hooks import _delegation
from luminal.hooks._calls import CallSnapshot, has_gil, outermost, own_calls

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
    from luminal.hooks._impl import Tally
    from luminal.hooks._manager import PluginManager
    from luminal.hooks._order import Order
    from luminal.hooks._registration import Marked, Registration
    from luminal.hooks._totals import Total
    from luminal.hooks.records import HookComparison, HookStatistics, HookTotal

__all__ = [
    "CallBarrier",
    "PreparedSwap",
    "abandon",
    "await_idle",
    "begin_anew",
    "calls_in",
    "compare",
    "statistics",
    "totals",
    "wait_until_idle",
]

_CHECK_EVERY: Final = 0.001  # seconds between two looks at the counters


def _epochs_under_way(policy: Policy) -> set[int]:
    """Return the epochs of all calls under way that began before the last swap."""
    with policy.lock:
        policy.forget_ended()
        return {s.until for s in policy.replaced if s.under_way}


def _flow() -> Callable[[], int]:
    """Return a function that numbers the running task, greenlet or thread.

    What is not imported when a swap begins can have suspended no call before it. A
    number that is used again stands for what began after the swap.
    """
    thread: Callable[[], int] = threading.get_ident
    greenlet = sys.modules.get("greenlet")
    if greenlet is not None:
        current = greenlet.getcurrent

        def thread() -> int:
            return id(current())

    if "asyncio" not in sys.modules:
        return thread

    def flow() -> int:
        task = running_task()
        return thread() if task is None else id(task)

    return flow


class CallBarrier:
    """Leads the calls of one hook while calls from before a swap are under way.

    Attributes:
        policy: What the hooks share.
        epoch: The swap's.
        old: Snapshots of earlier epochs, the oldest first.
        new: The snapshot with the swap's new generations.
    """

    __slots__ = ("_checked", "_flow", "_passing", "epoch", "new", "old", "policy")

    def __init__(
        self, policy: Policy, epoch: int, old: list[CallSnapshot], new: CallSnapshot
    ) -> None:
        self.policy = policy
        self.epoch = epoch
        self.old = old
        self.new = new
        self._checked = 0.0
        self._flow = _flow()
        # Numbers of tasks, greenlets and threads that are in no call from before. They
        # can come into none: a call that begins now is of the new epoch.
        self._passing: set[int] = set()

    def passes(self) -> bool:
        """Return whether what runs is known to be in no call from before the swap."""
        return self._flow() in self._passing

    def first(self) -> int | None:
        """Return the epoch of the outermost call that makes this call, if any."""
        is_done = self.policy.epoch >= self.epoch
        if is_done:
            self._check()
            if self.passes():
                return None
        found = outermost(self.policy)
        if is_done and (found is None or found >= self.epoch):
            self._passing.add(self._flow())
        return found

    def seen_by(self, epoch: int) -> CallSnapshot:
        """Return what a call sees whose outermost call is of *epoch*."""
        if epoch < self.epoch:
            for snapshot in reversed(self.old):
                if snapshot.epoch <= epoch:
                    return snapshot
        return self.new

    def _check(self) -> None:
        now = time.monotonic()
        if now - self._checked > _CHECK_EVERY:
            self._checked = now
            self.remove_if_idle()

    def remove_if_idle(self) -> None:
        """Remove the barrier if no call from before it is under way."""
        with self.policy.lock:
            self.keep(_epochs_under_way(self.policy))
            self.policy.forget_ended()

    def keep(self, epochs: Iterable[int]) -> None:
        """Keep the snapshots that calls of *epochs* see; without one, end the barrier.

        A call that outlives many swaps keeps alive only what it sees.
        """
        with self.policy.lock:
            if self.policy.epoch >= self.epoch:
                seen = {id(self.seen_by(e)) for e in epochs if e < self.epoch}
                self.old = [snapshot for snapshot in self.old if id(snapshot) in seen]
                self._end_if_empty()

    def abandon(self, plugin: object) -> None:
        """Lead calls that see *plugin* to the new generation from now on."""
        with self.policy.lock:
            reached = [n for n, snapshot in enumerate(self.old) if snapshot.has(plugin)]
            if reached:
                # What is older would be seen instead.
                del self.old[: reached[-1] + 1]
                self._end_if_empty()

    def _end_if_empty(self) -> None:
        caller = self.new.caller
        if not self.old and caller.barrier is self:
            caller.barrier = None
            caller.deoptimize()

    def last_epoch_of(self, plugin: object) -> int:
        """Return the last epoch whose calls may still reach *plugin*; -1: none."""
        ends = [*(snapshot.epoch for snapshot in self.old[1:]), self.epoch]
        return max(
            (e - 1 for s, e in zip(self.old, ends, strict=False) if s.has(plugin)),
            default=-1,
        )


class PreparedSwap:
    """A swap of which everything is prepared: orders, snapshots and barriers.

    The manager's lock is held meanwhile.

    It is a context manager: everything is prepared when its block begins. A block that
    ends without having called `commit` leaves everything as it was.

    Args:
        manager: Where the plugins are registered.
        pairs: (registered plugin or its name, the next one).
        generation: Of the next ones; None for one more than that of the plugin before.
        owners: Generations of photons' code, whose specifications come into force.
        marked: Id of a new plugin → its implementations, where they are known.

    Attributes:
        changes: (old registration, new one, which is verified), one pair a photon.
        is_done: It has been committed.
    """

    __slots__ = (
        "_barriers",
        "_delegated",
        "_epoch",
        "_given",
        "_manager",
        "_policy",
        "_specs",
        "changes",
        "is_done",
    )

    def __init__(
        self,
        manager: PluginManager,
        pairs: Iterable[tuple[object, object]],
        generation: int | None,
        owners: Collection[Any],
        marked: Mapping[int, Iterable[Marked]],
    ) -> None:
        self._manager = manager
        self._policy: Policy = manager._policy
        self._given = pairs, generation, owners, marked
        self._delegated: list[PreparedSwap] = []
        self._specs: dict[Caller, Any] = {}
        # (caller, its new order, the barrier before, the barrier)
        self._barriers: list[tuple[Caller, Order, CallBarrier | None, CallBarrier]] = []
        self.is_done: bool = False
        self.changes: list[tuple[Registration, Registration]] = []

    def __enter__(self) -> Self:
        if not (has_gil() or os.environ.get("LUMINAL_SWAP_WITHOUT_GIL")):
            raise PhotonReloadError(
                "photons cannot be swapped while Python runs without the GIL",
                why="this is not tested enough on free-threaded builds",
                hint="set PYTHON_GIL=1, or LUMINAL_SWAP_WITHOUT_GIL=1 to try it",
            )
        manager = self._manager
        pairs, generation, owners, marked = self._given
        changing = manager._specified_by(owners) if manager._specs else set()
        changes = manager._prepare_changes(pairs, generation, changing, marked)
        self.changes = changes
        manager._repeat_history(changes)  # takes the lock
        try:
            manager._check_orders(changes)
            for owner in owners if manager._specs else ():
                for caller, spec in manager._specs.get(owner, {}).items():
                    if caller.spec is not spec:
                        self._specs[caller] = spec
            for caller in changing | self._specs.keys():
                spec = self._specs.get(caller, caller.spec)
                manager._verify_swapped(caller, spec, changes)
            for _, new in changes:
                if new.delegated:
                    for other in _delegation.swaps(manager, changes):
                        self._delegated.append(other.__enter__())
                    break
            orders = _new_orders(self._policy, manager._caller, changes)
            for caller in self._specs:
                if caller not in orders:
                    orders[caller] = caller.order.copy()
            # If no hook changes, no call can tell the new generation from the old one.
            self._epoch = self._policy.swaps.number + bool(orders)
            for caller, order in orders.items():
                self._put_barrier(caller, order)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        manager = self._manager
        try:
            if self.is_done:
                self._finish()
                for old, new in self.changes:
                    old.is_gone = True
                    del manager._by_id[id(old.plugin)]
                    manager._by_id[id(new.plugin)] = new
                    manager._name2plugin[new.name] = new.plugin
                    manager._forget(old)
            else:
                self._undo()
        finally:
            for other in reversed(self._delegated):
                other.__exit__()
            self._policy.lock.release()
        if not self.is_done:
            return
        for old, new in self.changes:
            if old.delegated and old.plugin is not new.plugin:
                for manages in _delegation.having(manager, old):
                    manages.unregister(old.plugin)
            if new.delegated:
                _delegation.register(manager, new)

    def _put_barrier(self, caller: Caller, order: Order) -> None:
        """Let calls go through a barrier, which still shows the old generation."""
        old, last = caller.snapshot, caller.barrier
        before = [old] if last is None else [*last.old, old]
        new = CallSnapshot(caller, self._epoch, order.implementations())
        barrier = CallBarrier(self._policy, self._epoch, before, new)
        self._barriers.append((caller, order, last, barrier))
        caller.barrier = barrier
        caller.deoptimize()
        old.is_gone = True

    def commit(self) -> None:
        """Let calls that begin from now on see the new generations, in all hooks."""
        for caller, spec in self._specs.items():
            caller.spec = spec
        for other in self._delegated:
            other.commit()
        self._policy.swaps.number = self._epoch  # this one store
        self.is_done = True

    def _finish(self) -> None:
        """Do what is left to do after the commit."""
        for caller, spec in self._specs.items():
            caller.take_specification(spec)
        for _, registration in self.changes:
            for _, impl, _ in registration.implementations:
                impl.tally.take_over()
        for caller, order, _, barrier in self._barriers:
            caller.order = order
            caller.replace_snapshot(barrier.new, self._epoch - 1)
            if caller.is_orphaned:
                caller.orphan()
        if not self._barriers:
            return
        swapped = {id(caller) for caller, _, _, _ in self._barriers}
        for caller in self._manager._callers.values():
            # Calls that are under way now may have begun before the commit.
            if id(caller) not in swapped and caller.snapshot.under_way:
                caller.split(self._epoch - 1)
        under_way = _epochs_under_way(self._policy)
        for _, _, _, barrier in self._barriers:
            barrier.keep(under_way)
        self._policy.forget_ended()

    def _undo(self) -> None:
        """Give up a swap that was not committed."""
        for caller, _, last, _ in self._barriers:
            caller.barrier = last
            caller.deoptimize()
            caller.snapshot.is_gone = False


def _new_orders(
    policy: Policy,
    find: Callable[[str], Caller],
    changes: Sequence[tuple[Registration, Registration]],
) -> dict[Caller, Order]:
    """Put the new implementations into copies of the orders; return the copies."""
    orders: dict[Caller, Order] = {}
    totals = policy.totals
    for old, new in changes:
        if not (old.positions or new.implementations):
            continue
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
            impl.tally.prepare(totals.of(new.name, caller.name))
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


# Calls under way, and statistics.

_SHORTEST_PAUSE: Final = 0.0002  # seconds between two looks at the counters, at first
_LONGEST_PAUSE: Final = 0.01


def _snapshots(policy: Policy, callers: Iterable[Caller]) -> list[CallSnapshot]:
    """Return every snapshot of which calls may be under way, once."""
    with policy.lock:
        return policy.replaced + [caller.snapshot for caller in callers]


def calls_in(
    policy: Policy,
    callers: Collection[Caller],
    plugin: object,
    *,
    with_loop: bool = False,
) -> tuple[int, int]:
    """Return how many calls may be in *plugin*, and how many are on the own stack.

    A call counts from its beginning to its end if *plugin* implements its hook. A call
    that began before *plugin* was swapped out also counts: it may still call a hook.
    Calls that run the loop of this task are on the own stack if *with_loop* says so.
    """
    with policy.lock:  # so no swap is half done
        barriers = [b for caller in callers if (b := caller.barrier) is not None]
        last = max([b.last_epoch_of(plugin) for b in barriers]) if barriers else -1
        reaching = [
            snapshot
            for snapshot in _snapshots(policy, callers)
            if (snapshot.is_gone and snapshot.until <= last) or snapshot.has(plugin)
        ]
        count = sum([snapshot.under_way for snapshot in reaching])
        if not count:
            # No call needs the old generation: free it now and not at the next call.
            for barrier in barriers:
                barrier.remove_if_idle()
            policy.forget_ended()
            return 0, 0
        own = sum(s in reaching for s, _ in own_calls(policy, with_loop=with_loop))
    return count, own


def abandon(callers: Iterable[Caller], plugin: object) -> None:
    """Lead calls from before the swap of *plugin* to its successor from now on."""
    for caller in callers:
        if caller.barrier is not None:
            caller.barrier.abandon(plugin)


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

    A call on the own stack cannot end while it waits. If only such calls are left, it
    returns at once.
    """
    for pause in _pauses(deadline):
        count, own = calls_in(policy, callers, plugin)
        if count == own:
            return not own
        time.sleep(pause)
    return not calls_in(policy, callers, plugin)[0]


async def await_idle(
    policy: Policy,
    callers: Collection[Caller],
    plugin: object,
    deadline: float,
    *,
    with_loop: bool = False,
) -> bool:
    """Wait as `wait_until_idle` does, and let the event loop run."""
    import asyncio

    for pause in _pauses(deadline):
        count, own = calls_in(policy, callers, plugin, with_loop=with_loop)
        if count == own:
            return not own
        await asyncio.sleep(pause)
    return not calls_in(policy, callers, plugin)[0]


def statistics(
    policy: Policy, callers: Collection[Caller]
) -> tuple[HookStatistics, ...]:
    """Return the numbers of every implementation, hook by hook, in call order."""
    from luminal.hooks.records import HookStatistics

    calls: dict[Tally, int] = {}
    running: dict[Tally, int] = {}
    found: list[HookStatistics] = []
    with policy.lock:
        for snapshot in _snapshots(policy, callers):
            _add(running, snapshot, snapshot.under_way)
            _add(calls, snapshot, snapshot.calls)
        for caller in callers:
            is_exact = not caller.is_first and not caller.is_historic()
            for impl in caller.order.implementations():
                tally = impl.tally
                reached = tally.reached(calls.get(tally, 0))
                row = HookStatistics(
                    photon=impl.photon,
                    hook=caller.name,
                    generation=impl.generation,
                    calls=reached if is_exact else tally.calls,
                    errors=tally.errors,
                    seconds=tally.nanoseconds / 1e9,
                    in_flight=running.get(tally, 0),
                    skipped=tally.skipped,
                    quarantined=tally.quarantined_until is not None,
                )
                found.append(row)
    return tuple(found)


def compare(
    policy: Policy, callers: Iterable[Caller], plugin: object
) -> tuple[HookComparison, ...]:
    """Return what *plugin* did in each hook, and the generation before it."""
    from luminal.hooks.records import HookComparison, quantile

    found: list[HookComparison] = []
    with policy.lock:
        for caller in callers:
            for impl in caller.order.implementations():
                if impl.plugin is not plugin:
                    continue
                before = impl.tally.before()
                now = impl.tally.total.mark().since(impl.tally.began)
                row = HookComparison(
                    hook=caller.name,
                    calls=now.calls + now.errors,
                    errors=now.errors,
                    timed=now.timed,
                    p95=quantile(now.buckets, 0.95),
                    calls_before=before.calls + before.errors,
                    errors_before=before.errors,
                    timed_before=before.timed,
                    p95_before=quantile(before.buckets, 0.95),
                )
                found.append(row)
    return tuple(found)


def _add(numbers: dict[Tally, int], snapshot: CallSnapshot, calls: int) -> None:
    """Add *calls* to the numbers of all implementations in *snapshot*."""
    for impl in snapshot.known if calls else ():
        numbers[impl.tally] = numbers.get(impl.tally, 0) + calls


def totals(policy: Policy, callers: Collection[Caller]) -> tuple[HookTotal, ...]:
    """Return the totals of every photon in every hook of *callers*."""
    from luminal.hooks.records import HookTotal

    found: list[HookTotal] = []
    with policy.lock:  # so no snapshot is settled meanwhile
        ended, running = _totals_in_use(policy, callers)
        estimated = {c.name: c.is_first or c.is_historic() for c in callers}
        for photon, hook, total in policy.totals:
            is_estimated = estimated.get(hook)
            if is_estimated is None:
                continue
            calls = total.calls + total.errors
            if not is_estimated:
                # What had missed it is subtracted after the calls were counted: so it
                # is never too much.
                calls = total.reached(ended.get(total, 0))
            row = HookTotal(
                photon=photon,
                hook=hook,
                calls=total.tell(calls),
                is_exact=not is_estimated,
                errors=total.errors,
                seconds=total.nanoseconds / 1e9,
                in_flight=running.get(total, 0),
                skipped=total.skipped,
                timed=total.timed,
                seconds_on_loop=total.on_loop / 1e9,
                buckets=tuple(total.buckets),
            )
            found.append(row)
    return tuple(found)


def _totals_in_use(
    policy: Policy, callers: Iterable[Caller]
) -> tuple[dict[Total, int], dict[Total, int]]:
    """Return how many calls ended, and are under way, in snapshots not yet settled."""
    ended: dict[Total, int] = {}
    running: dict[Total, int] = {}
    for snapshot in _snapshots(policy, callers):
        for numbers, calls in ((ended, snapshot.ended), (running, snapshot.under_way)):
            for impl in snapshot.known if calls else ():
                total = impl.tally.total
                numbers[total] = numbers.get(total, 0) + calls
    return ended, running


def begin_anew(policy: Policy, callers: Iterable[Caller]) -> None:
    """Let all totals begin at zero, in a process that was just forked."""
    lock: Any = policy.lock
    if not lock.acquire(blocking=False):  # a thread held it that does not exist here
        lock._at_fork_reinit()
        lock.acquire()
    try:
        policy.totals.places = {}
        ended, _ = _totals_in_use(policy, callers)
        for _, _, total in policy.totals:
            total.clear()
            total.settled = -ended.get(total, 0)
        for snapshot in _snapshots(policy, callers):
            for impl in snapshot.implementations:
                impl.tally.begin(impl.tally.total)
    finally:
        lock.release()
