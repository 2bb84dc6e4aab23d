"""Totals of photons in hooks: exact, and never falling, whatever is swapped."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from luminal.hooks import PluginManager, _errors
from luminal.interfaces import hookimpl, hookspec
from tests.waiting import DEADLINE, wait_until

if TYPE_CHECKING:
    from luminal.hooks import HookTotal


class Specs:
    @hookspec
    def work(self, x: Any) -> Any: ...

    @hookspec(firstresult=True)
    def first(self, x: Any) -> Any: ...

    @hookspec
    async def wait(self, x: Any) -> Any: ...


class Good:
    @hookimpl
    def work(self, x: Any) -> Any:
        return x

    @hookimpl
    def first(self, x: Any) -> Any:
        return x

    @hookimpl
    async def wait(self, x: Any) -> Any:
        return x


class Guard:
    """Is called before `Good` and lets some calls not reach it."""

    @hookimpl(tryfirst=True)
    def work(self, x: Any) -> Any:
        if x == "bad":
            raise LookupError
        if x == "held":
            self.inside.set()
            assert self.go_on.wait(DEADLINE)
            raise LookupError

    @hookimpl(tryfirst=True)
    async def wait(self, x: Any) -> Any:
        await asyncio.sleep(x)

    def __init__(self) -> None:
        self.inside, self.go_on = threading.Event(), threading.Event()


def manager() -> PluginManager:
    pm = PluginManager("luminal")
    pm.add_hookspecs(Specs)
    pm.register(Good(), "good")
    pm.register(Guard(), "guard")
    return pm


def total(pm: PluginManager, photon: str, hook: str = "work") -> HookTotal:
    [found] = [t for t in pm.totals() if (t.photon, t.hook) == (photon, hook)]
    return found


def test_all_calls_are_counted_over_swaps_under_threads() -> None:
    """Eight threads call, one swaps, one looks: no number falls or is too large."""
    pm = manager()
    seen: dict[tuple[str, str], tuple[int, int]] = {}
    made = [0] * 8
    is_over = threading.Event()

    def call(number: int) -> None:
        while not is_over.is_set() or made[number] < 500:
            with contextlib.suppress(LookupError):
                pm.hook.work(x="bad" if made[number] % 5 == 0 else number)
            made[number] += 1

    def look() -> None:
        for found in pm.totals():
            key = (found.photon, found.hook)
            counts = (found.calls, found.errors)
            assert all(
                a <= b for a, b in zip(seen.get(key, (0, 0)), counts, strict=True)
            )
            seen[key] = counts

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    threads = [threading.Thread(target=call, args=(n,)) for n in range(8)]
    try:
        for thread in threads:
            thread.start()
        for number in range(150):
            pm.swap("good", Good())
            if number % 3 == 0:
                pm.swap("guard", Guard())
            look()
        is_over.set()
        for thread in threads:
            thread.join(DEADLINE)
    finally:
        is_over.set()
        sys.setswitchinterval(interval)
    bad = sum(-(-n // 5) for n in made)
    assert total(pm, "guard").calls == sum(made)
    assert total(pm, "guard").errors == bad
    assert total(pm, "good").calls == sum(made) - bad
    look()
    assert all(row.calls <= total(pm, "guard").calls for row in pm.statistics())


def test_totals_outlive_restarts_and_are_kept_for_a_bounded_number() -> None:
    pm = manager()
    for _ in range(20):
        pm.hook.work(x=1)
    pm.unregister(name="good")
    pm.hook.work(x=1)
    assert total(pm, "good").calls == 20
    assert total(pm, "guard").calls == 21
    pm.register(Good(), "good")
    pm.hook.work(x=1)
    assert total(pm, "good").calls == 21
    for number in range(1000):
        pm.register(Good(), f"many{number}")
        pm.unregister(name=f"many{number}")
    assert total(pm, "good").calls == 21
    assert len(pm.totals()) < 1000
    assert total(pm, "many999").calls == 0


def test_photons_that_come_later_do_not_have_earlier_calls() -> None:
    """Also where a call is under way while the photon comes or goes."""
    pm = manager()
    guard = pm.get_plugin("guard")

    def held() -> None:
        with pytest.raises(LookupError):
            pm.hook.work(x="held")

    thread = threading.Thread(target=held)
    thread.start()
    assert guard.inside.wait(DEADLINE)
    pm.register(Good(), "late")
    pm.swap("guard", Guard())
    pm.unregister(name="good")
    pm.hook.work(x=1)
    guard.go_on.set()
    thread.join(DEADLINE)
    assert total(pm, "late").calls == 1
    assert total(pm, "good").calls == 0
    # The error is of the old generation, and of the same photon.
    assert (total(pm, "guard").calls, total(pm, "guard").errors) == (2, 1)
    [row] = [s for s in pm.statistics() if s.photon == "guard" and s.hook == "work"]
    assert (row.calls, row.errors) == (1, 0)


@pytest.mark.parametrize("before", [0, 20])
async def test_a_call_that_is_cancelled_does_not_reach_the_rest(before: int) -> None:
    pm = manager()
    for _ in range(before):
        await pm.ahook.wait(x=0)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await pm.ahook.wait(x=DEADLINE)
    assert total(pm, "guard", "wait").calls == before + 1
    assert total(pm, "good", "wait").calls == before


@pytest.mark.parametrize("before", [0, 20])
def test_calls_of_some_and_with_more_are_counted(before: int) -> None:
    pm = manager()
    for _ in range(before):
        pm.hook.work(x=1)
    pm.subset_hook_caller("work", [pm.get_plugin("good")])(x=1)
    pm.hook.work.call_extra([lambda x: x], {"x": 1})
    assert total(pm, "guard").calls == before + 2
    assert total(pm, "good").calls == before + 1


def test_errors_are_counted_by_their_place() -> None:
    """Also where they are the caller's, and beyond swaps; a fast hook has a stride."""
    manager = PluginManager("luminal")
    manager.add_hookspecs(Specs)
    manager.register(Guard(), "guard")
    for _ in range(2):
        for _ in range(3):
            with pytest.raises(LookupError):
                manager.hook.work(x="bad")
        manager.swap("guard", Guard())
    [place] = manager.error_places()
    found = (place.photon, place.hook, place.error, place.count)
    assert found == ("guard", "work", "LookupError", 6)
    assert place.where.rpartition(":")[0] == __file__
    for number in range(5000):
        manager.hook.work(x=number)
    assert max(total.interval for total in manager.totals()) > 1


def test_an_estimate_says_so() -> None:
    pm = manager()
    for _ in range(1000):
        pm.hook.first(x=1)
    assert not total(pm, "good", "first").is_exact
    assert total(pm, "good", "first").calls > 0
    assert total(pm, "good").is_exact


def test_a_call_that_has_just_begun_lets_nothing_be_counted_twice() -> None:
    """A registration keeps the earlier snapshot, and a call enters the next one."""
    pm = manager()
    for _ in range(10):
        pm.hook.work(x=1)
    pm.register(Good(), "late")
    # Where a thread of a call stops that is about to look its implementations up.
    next(pm._callers["work"].snapshot.entered)
    assert total(pm, "good").calls == 10
    [row] = [s for s in pm.statistics() if s.photon == "good" and s.hook == "work"]
    assert row.calls == 10
    assert total(pm, "good").calls == 10


def test_a_plugin_that_has_left_is_let_go_before_the_next_call() -> None:
    pm = manager()
    pm.hook.work(x=1)
    pm.register(Good(), "late")
    gone = weakref.ref(pm.unregister(name="good"))
    gc.collect()
    assert gone() is None


def test_a_swap_that_is_undone_ends_no_generation() -> None:
    pm = manager()
    good, new = pm.get_plugin("good"), Good()

    def swap_and_fail() -> None:
        with pm.swapping([(good, new)]):
            raise LookupError

    for _ in range(10):
        pm.hook.work(x=1)
    with pytest.raises(LookupError):
        swap_and_fail()
    for _ in range(7):
        pm.hook.work(x=1)
    pm.swap(good, new)
    [row] = [row for row in pm.compare(new) if row.hook == "work"]
    assert (row.calls_before, row.calls) == (17, 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # threads of the test run
def test_a_process_that_was_forked_begins_at_zero() -> None:
    """Even if a thread of the parent held the locks, and where a call fails."""
    pm = manager()
    for _ in range(30):
        pm.hook.work(x=1)
        pm.hook.first(x=1)
    is_held, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        with pm._policy.lock, _errors._LOCK:
            is_held.set()
            go_on.wait(DEADLINE)

    thread = threading.Thread(target=hold)
    thread.start()
    assert is_held.wait(DEADLINE)
    pid = os.fork()
    if not pid:
        status = 1
        try:
            counts = [total(pm, "good").calls]
            for _ in range(3):
                pm.hook.work(x=1)
            with contextlib.suppress(LookupError):
                pm.hook.work(x="bad")
            pm.swap("good", Good())
            counts.append(total(pm, "good").calls)
            counts.append(min(row.calls for row in pm.statistics()))
            status = 0 if counts == [0, 3, 0] else 2
        finally:
            os._exit(status)
    go_on.set()
    thread.join(DEADLINE)
    ended: list[int] = []

    def has_ended() -> bool:
        child, status = os.waitpid(pid, os.WNOHANG)
        ended.append(status)
        return child == pid

    wait_until(has_ended)
    assert os.waitstatus_to_exitcode(ended[-1]) == 0
    assert total(pm, "good").calls == 30
