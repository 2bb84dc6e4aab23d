"""Groups of loops: what was stopped on purpose, what comes back, what is let go."""

from __future__ import annotations

import asyncio
import sys
import threading
import time

import pytest

from luminal.supervise import (
    AsyncLoop,
    Intensity,
    LoopController,
    Restart,
    Strategy,
    snapshot,
)
from tests.supervise.turning import AT_ONCE, OFTEN, Turning
from tests.waiting import DEADLINE, wait_until

pytestmark = pytest.mark.usefixtures("quiet")


def group(*loops, **kwargs):
    controller = LoopController(
        **{"backoff": AT_ONCE, "intensity": OFTEN, "grace_period": 5, **kwargs}
    )
    for loop in loops:
        controller.new_loop(loop)
    return controller


def reset(controller):
    """Put the light out and wait until the group has answered."""
    before = controller.restarts.total
    controller.green_light.clear()
    wait_until(
        lambda: controller.restarts.total > before and controller.green_light.is_set()
    )


@pytest.mark.parametrize("is_told_by_the_group", [True, False])
def test_a_loop_stopped_in_the_middle_of_a_reset_stays_stopped(is_told_by_the_group):
    """A reset brings up what it took down, and nothing that somebody else stopped."""
    is_in, go_on = threading.Event(), threading.Event()

    def between():
        is_in.set()
        assert go_on.wait(DEADLINE)

    one, other = Turning(), Turning()
    controller = group(one, other, reset_callback=between)
    controller.start()
    controller.maintain_loops()
    controller.green_light.clear()
    assert is_in.wait(DEADLINE)
    if is_told_by_the_group:
        controller.stop_loop(one)
    else:
        assert one.stop() is True
    go_on.set()
    wait_until(lambda: other.starts == 2 and controller.green_light.is_set())
    assert one.starts == 1
    assert one.is_stopped
    controller.stop()


@pytest.mark.parametrize("strategy", list(Strategy))
def test_a_restart_whose_on_start_raises_is_tried_again(strategy):
    """A loop that cannot be started at once is not forgotten."""

    class Late(Turning):
        answers = [None, OSError("the port is in use"), OSError("still"), None]

        def on_start(self):
            answer = self.answers.pop(0)
            if answer is not None:
                raise answer

    loop = Late()
    controller = group(loop, strategy=strategy)
    controller.start()
    controller.maintain_loops()
    loop.fail.set()
    wait_until(lambda: loop.starts == 2 and loop.running)
    assert loop.answers == []
    controller.stop()


def test_the_loops_of_a_group_below_come_back_with_it():
    """But for the one that was stopped on purpose, and the one that never ran."""
    loops = kept, stopped, idle = Turning(), Turning(), Turning()
    inner = group(*loops, strategy=Strategy.ONE_FOR_ONE)
    outer = group(inner, Turning())
    outer.start()
    outer.maintain_loops()
    for loop in (kept, stopped):
        inner.maintain_loop(loop)
    inner.stop_loop(stopped)
    reset(outer)
    wait_until(lambda: kept.starts == 2 and kept.running)
    inner.hard_reset()
    wait_until(lambda: kept.starts == 3 and kept.running)
    assert [stopped.starts, idle.starts] == [1, 0]
    outer.stop()
    assert not inner.has_alive_loops()


def test_a_group_that_gave_up_begins_anew_with_its_next_start():
    """By the group above it, or by hand: its loops run, its restarts do not count."""
    bad, sound = Turning(), Turning()
    inner = group(bad, sound, strategy=Strategy.ONE_FOR_ONE, intensity=Intensity(1, 60))
    outer = group(inner, strategy=Strategy.ONE_FOR_ONE)
    outer.start()
    outer.maintain_loops()
    inner.maintain_loops()
    for starts in (2, 3):
        bad.fail.set()
        wait_until(lambda starts=starts: bad.starts == starts and bad.running)
    assert outer.restarts_of(inner) == 1
    wait_until(lambda: sound.starts == 2 and sound.running)
    assert not inner.has_given_up
    assert snapshot(inner).state == "running"
    outer.release_loop(inner)
    for _ in range(2):
        wait_until(lambda: bad.running)
        bad.fail.set()
        wait_until(lambda: not bad.fail.is_set())
    wait_until(lambda: inner.has_given_up and not inner.is_alive)
    inner.start()
    wait_until(lambda: bad.running and sound.running)
    assert not inner.has_given_up
    inner.stop()
    outer.stop()


def test_a_loop_belongs_to_one_group():
    loop = Turning()
    first, second = group(loop), group()
    assert second.new_loop(loop) is loop
    assert first.loops == []
    assert second.loops == [loop]
    first.release_loop(loop)  # no longer its own
    loop.start()
    second.start()
    loop.fail.set()
    wait_until(lambda: loop.starts == 2)
    second.stop()


@pytest.mark.parametrize("restart", [Restart.PERMANENT, Restart.TRANSIENT])
def test_a_loop_that_failed_before_its_group_was_started_is_brought_back(restart):
    loop = Turning(restart=restart)
    controller = group(loop, strategy=Strategy.ONE_FOR_ONE)
    loop.fail.set()
    controller.maintain_loops()
    wait_until(lambda: not loop.is_alive)
    controller.start()
    wait_until(lambda: loop.starts == 2 and loop.running)
    controller.stop()


def test_loops_come_and_go_from_many_threads_and_none_is_lost():
    controller = group()
    usual = sys.getswitchinterval()
    kept = []

    def come_and_stay():
        kept.extend(controller.new_loop(Turning()) for _ in range(300))

    def come_and_go():
        for _ in range(300):
            controller.release_loop(controller.new_loop(Turning()))

    threads = [threading.Thread(target=come_and_go) for _ in range(3)]
    threads.append(threading.Thread(target=come_and_stay))
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(usual)
    assert controller.loops == kept


def test_a_released_loop_is_forgotten():
    controller = group(strategy=Strategy.ONE_FOR_ONE)
    controller.start()
    loop = controller.new_loop(Turning())
    loop.start()
    loop.fail.set()
    wait_until(lambda: controller.restarts_of(loop) == 1 and loop.running)
    controller.release_loop(loop)
    assert controller.restarts_of(loop) == 0
    loop.stop()
    controller.stop()


def test_an_async_loop_can_be_stopped_while_its_given_up_thread_ends():
    """Whose end takes away its own cancellation, not that of the new one."""
    ended = []

    class Waiting(AsyncLoop):
        async def cycle(self):
            try:
                await asyncio.sleep(3600)
            finally:
                await asyncio.sleep(0.05)
                ended.append(threading.current_thread())

    loop = Waiting(grace_period=DEADLINE)
    loop.start()
    loop.hard_reset()
    wait_until(lambda: not loop.abandoned)
    assert loop.running
    begun = time.monotonic()
    assert loop.stop() is True
    assert time.monotonic() - begun < DEADLINE


def test_a_reset_calls_on_start_when_on_stop_is_over():
    """Also where the old thread ends at once: it leaves `on_stop` to the reset."""
    said = []

    class Told(Turning):
        def on_start(self):
            said.append("start")

        def on_stop(self):
            threading.Event().wait(0.02)
            said.append("stop")

    loop = Told()
    loop.start()
    for _ in range(5):
        loop.hard_reset()
    loop.stop()
    assert said == ["start", "stop"] * 6


def test_a_group_below_keeps_the_light_of_its_loops():
    """A failure below is the business of the group below, and of no other."""
    below, beside = Turning(max_loop_failures=0), Turning()
    inner = group(below)
    outer = group(inner, beside)
    outer.start()
    outer.maintain_loops()
    inner.maintain_loops()
    assert below.failure() is True
    wait_until(lambda: below.starts == 2 and below.running)
    assert inner.restarts.total == 1
    assert outer.restarts.total == 0
    outer.release_loop(inner)
    assert below.failure() is True
    wait_until(lambda: below.starts == 3 and below.running)
    assert beside.starts == 1
    inner.stop()
    outer.stop()
