"""Time passes when a test says so, and every timer fires in its turn."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from luminal.model import Quarantine
from luminal.supervise import LoopThread
from luminal.testing import FakeClock, Host
from tests.waiting import DEADLINE

SECONDS = st.floats(0.001, 100_000.0)


@given(delays=st.lists(SECONDS, max_size=8), steps=st.lists(SECONDS, max_size=5))
@example(delays=[0.0010000000000000002, 0.001], steps=[1.0])
def test_timers_fire_in_order_at_their_times_and_not_before(
    delays: list[float], steps: list[float]
) -> None:
    """After each step exactly the timers due by then have fired, each at its time."""
    clock = FakeClock(start=7.0)
    loop = LoopThread("test-clock", clock.new_event_loop)
    fired: list[tuple[float, float]] = []

    async def wait(delay: float) -> None:
        await asyncio.sleep(delay)
        fired.append((delay, clock() - 7.0))

    async def begin() -> list[asyncio.Task[None]]:
        return [asyncio.create_task(wait(delay)) for delay in delays]

    try:
        tasks = loop.run(begin())
        passed = 0.0
        for step in steps:
            clock.advance(step)
            passed += step
            # The loop adds them to its time: two that differ by less are due together.
            due = sorted(7.0 + d for d in delays if d <= passed * (1 + 1e-12))
            assert [7.0 + delay for delay, _ in fired] == due
        for delay, at in fired:
            assert at == pytest.approx(delay)
        assert clock() == pytest.approx(7.0 + passed)
        assert len(tasks) == len(delays)
    finally:
        loop.close()


def test_timer_set_by_a_timer_fires_in_the_same_step() -> None:
    clock = FakeClock()
    loop = LoopThread("test-clock", clock.new_event_loop)
    times: list[float] = []

    async def tick() -> None:
        while True:
            await asyncio.sleep(60)
            times.append(clock())

    async def begin() -> asyncio.Task[None]:
        return asyncio.create_task(tick())

    task = loop.run(begin())
    clock.advance(3600)
    assert times == [60.0 * n for n in range(1, 61)]
    assert not task.done()
    loop.close()


@pytest.mark.parametrize("start", [0.0, 1e7, 1_800_000_000.1, 1e12])
def test_the_hour_may_be_late(start: float) -> None:
    """A clock may begin at the time of day, and go on for years: floats are coarse
    there, and each timer fires all the same."""
    clock = FakeClock(start)
    loop = LoopThread("test-clock", clock.new_event_loop)
    turns: list[float] = []
    arrived = threading.Event()

    async def tick() -> None:
        while True:
            await asyncio.sleep(36_000.1)
            turns.append(clock())

    async def begin() -> asyncio.Task[None]:
        return asyncio.create_task(tick())

    def advance() -> None:
        for _ in range(10):
            clock.advance(366 * 24 * 360.0)
        arrived.set()

    task = loop.run(begin())
    # A thread that may be left behind, where time does not pass.
    threading.Thread(target=advance, daemon=True).start()
    assert arrived.wait(DEADLINE)
    loop.close()
    assert not task.done() or task.cancelled()
    assert len(turns) == 10 * 366 * 24 * 360 // 36_001


def test_time_passes_inside_of_the_loop_too() -> None:
    clock = FakeClock()

    async def body() -> list[float]:
        times = []
        sleeping = asyncio.create_task(asyncio.sleep(86_400 * 3))
        for _ in range(3):
            await clock.elapse(86_400)
            times.append(clock())
        await sleeping
        with pytest.raises(RuntimeError, match="await elapse"):
            clock.advance(1)
        return times

    with asyncio.Runner(loop_factory=clock.new_event_loop) as runner:
        assert runner.run(body()) == [86_400.0, 172_800.0, 259_200.0]


def test_clock_without_a_loop_is_a_clock() -> None:
    clock = FakeClock(10)
    clock.advance(2.5)
    assert clock() == 12.5
    with pytest.raises(ValueError, match="cannot go back in time"):
        clock.advance(-1)
    loop = clock.new_event_loop()
    with pytest.raises(RuntimeError, match="another loop"):
        clock.new_event_loop()
    loop.close()
    clock.new_event_loop().close()


PHOTON = """
import asyncio

from luminal import IPhoton


class Hourly(IPhoton):
    async def start(self):
        self.turns = 0
        self.task = asyncio.create_task(self.work())

    async def work(self):
        while True:
            await asyncio.sleep(3600)
            self.turns += 1

"""


def test_photon_lives_a_day_at_once_and_is_watched_meanwhile(tmp_path: Path) -> None:
    """The host's loop goes by the clock; files, threads and deadlines do not."""
    clock = FakeClock()
    with Host(tmp_path / "host", clock=clock) as host:
        host.write("hourly.py", PHOTON)
        host.watch()
        clock.advance(86_400)
        assert host["Hourly"].turns == 24
        host.edit("hourly.py", lambda text: text.replace("3600", "1800"))
        host.reloaded("Hourly")
        clock.advance(86_400)
        assert host["Hourly"].turns == 48
        with pytest.raises(TimeoutError):  # not a day later by the host's clock
            host.until("unloaded", deadline=0.05)
        host.assert_no_leaks()  # to cancel its task takes time, of some kind


MOODY = """
from luminal import IPhoton, hookimpl


class Moody(IPhoton):
    is_bad = True

    @hookimpl
    def greet(self, name):
        if self.is_bad:
            raise LookupError(name)
        return "well"
"""


def test_a_quarantine_begins_and_ends_by_the_clock(tmp_path: Path, specs: type) -> None:
    """After failures in a row a photon is passed over until the clock says so."""
    clock = FakeClock()
    with Host(tmp_path / "host", clock=clock, hookspecs=[specs]) as host:
        host.write("moody.py", MOODY)
        host.run()
        host.loader.plugins.set_quarantine(Quarantine(2, 3600), clock=clock)
        for _ in range(2):
            with pytest.raises(LookupError):
                host.hook.greet(name="you")
        host["Moody"].is_bad = False
        clock.advance(3599)
        assert host.hook.greet(name="you") == []
        clock.advance(2)
        assert host.hook.greet(name="you") == ["well"]


def test_time_flows_in_a_block_and_stands_still_after_it() -> None:
    clock = FakeClock()
    loop = LoopThread("test-clock", clock.new_event_loop)
    with clock.flowing():
        loop.run(asyncio.sleep(0.05))
    loop.run(asyncio.sleep(0))  # it has seen the end of the block
    flowed = clock()
    assert flowed > 0.04
    clock.advance(10)
    assert clock() == flowed + 10
    task = asyncio.run_coroutine_threadsafe(asyncio.sleep(0.05), loop.loop)
    clock.advance(0.01)
    assert not task.done()
    clock.advance(0.05)
    assert task.result(DEADLINE) is None
    loop.close()
