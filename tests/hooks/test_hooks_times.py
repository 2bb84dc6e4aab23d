"""What is told about the time of calls, by a clock that only the photons advance."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from luminal.hooks import HookTotal, PluginManager, _compile, _execution
from luminal.hooks.records import bounds
from luminal.interfaces import hookimpl, hookspec

if TYPE_CHECKING:
    from collections.abc import Callable

MS = 1_000_000  # nanoseconds


class Clock:
    now = 0

    def __call__(self) -> int:
        return self.now

    def advance(self, nanoseconds: int) -> None:
        self.now += nanoseconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(_compile, "perf_counter_ns", clock)
    monkeypatch.setattr(_execution, "perf_counter_ns", clock)
    return clock


class Specs:
    @hookspec
    def work(self, takes: int) -> Any: ...

    @hookspec(firstresult=True)
    def first(self, takes: int) -> Any: ...

    @hookspec
    async def wait(self, takes: int) -> Any: ...


class Photon:
    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.go_on = asyncio.Event()

    @hookimpl
    def work(self, takes: int) -> Any:
        if takes < 0:
            raise LookupError
        self.clock.advance(takes)

    @hookimpl
    def first(self, takes: int) -> Any:
        self.clock.advance(takes)
        return takes

    @hookimpl
    async def wait(self, takes: int) -> Any:
        self.clock.advance(takes)
        await asyncio.sleep(0)  # others advance the clock meanwhile
        self.clock.advance(takes)
        if takes == 7:
            await self.go_on.wait()
        return takes


def manager(clock: Clock) -> PluginManager:
    pm = PluginManager("luminal")
    pm.add_hookspecs(Specs)
    pm.register(Photon(clock), "p")
    return pm


def total(pm: PluginManager, hook: str) -> HookTotal:
    [found] = [t for t in pm.totals() if (t.photon, t.hook) == ("p", hook)]
    return found


@pytest.mark.parametrize("hook", ["work", "first"])
@pytest.mark.parametrize("calls", [50, 3000])
def test_every_call_of_a_slow_hook_is_timed(
    clock: Clock, hook: str, calls: int
) -> None:
    pm = manager(clock)
    call = getattr(pm.hook, hook)
    for number in range(calls):
        call(takes=MS + number)
    found = total(pm, hook)
    assert found.timed == found.calls == calls
    assert found.seconds == pytest.approx(clock.now / 1e9)
    assert 0.5e-3 <= found.quantile(0.5) <= 2e-3


@pytest.mark.parametrize("phase", [0, 17, 127])
def test_one_slow_call_among_fast_ones_is_seen(clock: Clock, phase: int) -> None:
    pm = manager(clock)
    for number in range(10_000):
        pm.hook.work(takes=3 * MS if number % 128 == phase else 100)
    found = total(pm, "work")
    assert found.timed == 10_000
    assert found.seconds == pytest.approx(clock.now / 1e9)
    assert found.quantile(0.5) < 1e-6
    assert 1.5e-3 < found.quantile(0.995) < 6e-3


def test_fast_calls_are_sampled_and_slow_ones_are_timed_again(clock: Clock) -> None:
    """In both directions, and an error is that of the photon that raises."""
    pm = manager(clock)

    def run(takes: int, calls: int = 30_000) -> tuple[int, float]:
        before, began = total(pm, "work"), clock.now
        for _ in range(calls):
            pm.hook.work(takes=takes)
        after = total(pm, "work")
        told = (after.seconds - before.seconds) / ((clock.now - began) / 1e9)
        return after.timed - before.timed, told

    timed, told = run(1000)
    assert 1000 < timed < 3000
    assert 0.9 < told < 1.1
    timed, told = run(50_000)
    assert timed > 25_000
    assert 0.9 < told < 1.1
    timed, told = run(1000)
    assert timed < 20_000
    for _ in range(10):
        with pytest.raises(LookupError):
            pm.hook.work(takes=-1)
    found = total(pm, "work")
    assert (found.calls, found.errors) == (90_010, 10)


def test_errors_are_those_of_the_photon_that_raises(clock: Clock) -> None:
    """Also of a call that runs earlier code, while the caller is compiled anew."""
    pm = manager(clock)
    nested: list[Callable[[], Any]] = []

    class Other:
        @hookimpl(tryfirst=True)
        def work(self, takes: int) -> Any:
            if nested and takes < 0:
                nested.pop()()

    pm.register(Other(), "other")
    for _ in range(500):
        pm.hook.work(takes=10)

    def more() -> None:
        for _ in range(2000):
            pm.hook.work(takes=10)

    nested.append(more)
    with pytest.raises(LookupError):
        pm.hook.work(takes=-1)
    errors = {t.photon: t.errors for t in pm.totals() if t.hook == "work"}
    assert errors == {"p": 1, "other": 0}


def test_calls_with_unknown_arguments_stand_for_themselves(clock: Clock) -> None:
    pm = manager(clock)
    for _ in range(3000):
        pm.hook.first(takes=1000, more=1)
    found = total(pm, "first")
    assert (found.calls, found.timed) == (3000, 3000)
    assert found.seconds == pytest.approx(clock.now / 1e9)


async def test_the_time_on_the_loop_is_told_apart(clock: Clock) -> None:
    pm = manager(clock)

    async def other() -> None:
        while True:
            clock.advance(3 * MS)
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    for _ in range(40):
        await pm.ahook.wait(takes=MS)
    task.cancel()
    found = total(pm, "wait")
    assert found.timed == found.calls == 40
    assert found.seconds_on_loop == pytest.approx(40 * 2e-3)
    assert found.seconds == pytest.approx(40 * 5e-3)


@pytest.mark.parametrize("before", [0, 20])
async def test_a_timed_call_can_be_cancelled(clock: Clock, before: int) -> None:
    pm = manager(clock)
    for _ in range(before):
        assert await pm.ahook.wait(takes=1) == [1]
    task = asyncio.ensure_future(pm.ahook.wait(takes=7))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert pm.in_flight(pm.get_plugin("p")) == 0
    assert total(pm, "wait").timed == before


def test_quantiles_of_buckets() -> None:
    assert len(bounds()) == 32
    assert bounds()[0] == 128e-9
    nothing = HookTotal("p", "h", 0, True, 0, 0.0, 0, 0, buckets=(0,) * 32)
    assert nothing.quantile(0.5) == nothing.mean == 0
    longest = HookTotal("p", "h", 1, True, 0, 200.0, 0, 0, 1, 0.0, (0,) * 31 + (1,))
    assert longest.quantile(0.5) > 100
