"""What runs and what has run: calls in flight, and statistics per photon and hook.

In come the hooks of a manager, out come numbers. Asking is the expensive part; calls
themselves pay for one counter.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from luminal.hooks.calls import this_thread, views_of_threads

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from luminal.hooks.desk import HookDesk
    from luminal.hooks.occupant import Occupant
    from luminal.hooks.policy import Policy
    from luminal.hooks.records import HookStatistics
    from luminal.hooks.view import View

__all__ = ["awhen_idle", "flights", "statistics", "when_idle"]

_SHORTEST: Final = 0.0002  # seconds between two looks at the stacks, at first
_LONGEST: Final = 0.01


def _awaited_views(policy: Policy, desks: Iterable[HookDesk]) -> Iterator[View]:
    seen: dict[int, View] = {id(view): view for view in tuple(policy.leaving)}
    for desk in desks:
        hook = desk.hook
        seen[id(hook.view)] = hook.view
        for view in hook.gate.old if hook.gate is not None else ():
            seen[id(view)] = view
    yield from seen.values()


def _reach(desks: Iterable[HookDesk], plugin: object) -> int:
    """Return the last epoch whose calls may still be led to *plugin*; -1: none."""
    epochs = [
        view.epoch
        for desk in desks
        if desk.hook.gate is not None
        for view in desk.hook.gate.old
        if _holds(view, plugin)
    ]
    return max(epochs, default=-1)


def _holds(view: View, plugin: object) -> bool:
    return any(o.plugin is plugin for o in view.occupants)


def flights(
    policy: Policy, desks: Collection[HookDesk], plugin: object
) -> tuple[int, int]:
    """Return how many calls may be in *plugin*, and how many of them are our own.

    A call counts from its begin to its end where *plugin* implements its hook, and so
    does one that began before *plugin* was swapped out and may still call a hook.
    """
    reach, here, count, own = _reach(desks, plugin), this_thread(), 0, 0
    for thread, view in views_of_threads(policy):
        if view.epoch <= reach or _holds(view, plugin):
            count += 1
            own += thread == here
    for view in _awaited_views(policy, desks):
        under_way = view.awaited
        if under_way and (view.epoch <= reach or _holds(view, plugin)):
            count += under_way
    if not count:
        # Nobody needs the old generation: let go of it before the next call does.
        for desk in desks:
            if desk.hook.gate is not None:
                desk.hook.gate.close_if_idle()
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
    for _, view in views_of_threads(policy):
        for occupant in view.occupants:
            running[id(occupant)] = running.get(id(occupant), 0) + 1
    for view in _awaited_views(policy, desks):
        for occupant in view.occupants if view.awaited else ():
            running[id(occupant)] = running.get(id(occupant), 0) + view.awaited
    found: list[HookStatistics] = []
    for desk in desks:
        with policy.lock:
            occupants = desk.hook.order.occupants()
        found.extend(
            _one(desk, occupant, running.get(id(occupant), 0)) for occupant in occupants
        )
    return tuple(found)


def _one(desk: HookDesk, occupant: Occupant, in_flight: int) -> HookStatistics:
    from luminal.hooks.records import HookStatistics

    tally, hook = occupant.tally, desk.hook
    calls = tally.calls
    if not hook.is_first and not hook.is_historic:
        calls = max(0, hook.calls - tally.born - tally.missed - tally.skipped)
    return HookStatistics(
        photon=occupant.photon,
        hook=desk.name,
        generation=occupant.generation,
        calls=calls,
        errors=tally.errors,
        seconds=tally.nanoseconds / 1e9,
        in_flight=in_flight,
        skipped=tally.skipped,
    )
