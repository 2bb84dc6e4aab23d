"""Supervised loops: started, stopped, restarted by the rules, never forgotten."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luminal.supervise import (
    AsyncLoop,
    Backoff,
    GreenLight,
    Intensity,
    LoopController,
    ProcessLoop,
    Restart,
    Strategy,
    SuperLoop,
    snapshot,
    super_loop_factory,
)
from luminal.supervise._controller import RestartLog
from tests.supervise.turning import AT_ONCE, OFTEN, Turning
from tests.waiting import DEADLINE, wait_until

pytestmark = pytest.mark.usefixtures("quiet")


class Stuck(SuperLoop):
    """Its first cycle does not return before it is released."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.released = threading.Lock()
        self.released.acquire()
        self.is_in = threading.Event()
        self.events = []

    def cycle(self):
        self.is_in.set()
        self.released.acquire()
        self.released.release()
        self.events.append("cycle")

    def on_stop(self):
        self.events.append("on_stop")


def group(*loops, **kwargs):
    controller = LoopController(
        **{"backoff": AT_ONCE, "intensity": OFTEN, "grace_period": 2, **kwargs}
    )
    for loop in loops:
        controller.new_loop(loop)
    return controller


# One loop ------------------------------------------------------------------------


def test_a_loop_starts_turns_and_stops():
    loop = Turning()
    loop.start()
    wait_until(lambda: loop.turns > 3)
    assert loop.is_alive
    assert loop.running
    assert loop.stop() is True
    assert not loop.is_alive
    assert not loop.running


def test_an_exception_ends_the_run_honestly():
    """`running` is false, `on_thread_stop` ran, the light is out, `start` works."""
    stopped = []
    light = GreenLight()
    light.set()

    class Failing(Turning):
        def on_thread_stop(self):
            stopped.append(1)

    loop = Failing(light)
    loop.fail.set()
    loop.start()
    wait_until(lambda: not loop.is_alive)
    assert not loop.running
    assert stopped == [1]
    assert not light.is_set()
    loop.start()
    wait_until(lambda: loop.turns > 3)
    assert loop.stop()


@pytest.mark.parametrize(
    ("answer", "starts"), [(None, True), (True, True), (False, False), (0, True)]
)
def test_only_an_explicit_false_cancels_a_start(answer, starts):
    loop = Turning()
    loop.on_start = lambda: answer
    loop.start()
    assert loop.is_alive is starts
    loop.stop()


def test_an_exception_in_on_start_cancels():
    loop = Turning()
    loop.on_start = lambda: 1 / 0
    loop.start()
    assert not loop.is_alive


def test_on_stop_runs_after_the_last_cycle_also_of_a_stuck_loop():
    """A cycle never uses what `on_stop` has closed."""
    loop = Stuck(grace_period=0.05)
    loop.start()
    assert loop.is_in.wait(DEADLINE)
    assert loop.stop() is False
    assert loop.events == []
    assert loop.is_alive
    loop.released.release()
    wait_until(lambda: not loop.is_alive)
    assert loop.events == ["cycle", "on_stop"]


def test_a_stopped_stuck_loop_never_comes_back_to_life():
    """After `stop` timed out, `start` does not make two threads cycle."""
    loop = Stuck(grace_period=0.02)
    loop.start()
    assert loop.is_in.wait(DEADLINE)
    loop.stop()
    loop.start()
    assert loop.thread_name.endswith("_0")
    loop.released.release()
    wait_until(lambda: not loop.is_alive)
    assert loop.events.count("cycle") == 1


def test_hard_reset_gives_up_and_starts_anew_at_once():
    loop = Stuck(grace_period=30)
    loop.start()
    assert loop.is_in.wait(DEADLINE)
    old = loop.thread_name
    loop.hard_reset()
    assert loop.is_alive
    assert loop.thread_name != old
    assert loop.abandoned == (old,)
    loop.released.release()
    wait_until(lambda: not loop.abandoned)
    assert loop.stop()


def test_a_loop_may_stop_itself_also_in_on_stop():
    """No deadlock: `stop` in the own thread returns at once, in `on_stop` too."""

    class Ending(Turning):
        def cycle(self):
            self.stop()

        def on_stop(self):
            self.stop()

    loop = Ending()
    loop.start()
    wait_until(lambda: not loop.is_alive)
    assert loop.stop() is True


def test_failures_put_the_light_out_and_begin_anew_with_each_start():
    light = GreenLight()
    light.set()
    loop = Turning(light, max_loop_failures=2)
    assert [loop.failure(), loop.failure()] == [False, False]
    loop.start()
    assert [loop.failure(), loop.failure()] == [False, False]
    assert light.is_set()
    assert loop.failure() is True
    assert not light.is_set()
    loop.stop()


def test_an_async_loop_is_cancelled_by_stop():
    """What it awaits does not delay the end."""
    begun = threading.Event()

    class Waiting(AsyncLoop):
        async def cycle(self):
            begun.set()
            await asyncio.sleep(3600)

    loop = Waiting()
    loop.start()
    assert begun.wait(DEADLINE)
    assert loop.stop() is True


# Groups --------------------------------------------------------------------------


def test_factory_defaults_can_be_overridden():
    factory = super_loop_factory(grace_period=7, reset_globally=False)
    controller = LoopController(loop_factory=factory)
    loop = controller.new_from_factory(Turning, reset_globally=True)
    assert loop._grace_period == 7
    assert loop.reset_globally is True
    assert controller.new_loop(loop) is loop
    assert controller.loops == [loop]


@pytest.mark.parametrize("strategy", list(Strategy))
def test_who_is_restarted_by_each_strategy(strategy):
    """One: the failed; all: everybody; rest: the failed and those after it."""
    loops = [Turning() for _ in range(3)]
    controller = group(*loops, strategy=strategy)
    controller.start()
    controller.maintain_loops()
    loops[1].fail.set()
    expected = {
        Strategy.ONE_FOR_ONE: [1, 2, 1],
        Strategy.ONE_FOR_ALL: [2, 2, 2],
        Strategy.REST_FOR_ONE: [1, 2, 2],
    }[strategy]
    wait_until(lambda: [loop.starts for loop in loops] == expected)
    wait_until(lambda: all(loop.running for loop in loops))
    controller.stop()
    assert not controller.has_alive_loops()


def test_a_loop_stopped_on_purpose_stays_stopped_over_a_reset():
    one, other = Turning(), Turning()
    controller = group(one, other)
    controller.start()
    controller.maintain_loops()
    one.stop()
    controller.green_light.clear()
    wait_until(lambda: other.starts == 2 and controller.green_light.is_set())
    assert one.starts == 1
    assert one not in controller.get_stalled_loops()
    controller.stop()


def test_a_group_gives_up_loudly():
    """More restarts than the intensity allows: everything is stopped and shown so."""

    class Broken(Turning):
        def cycle(self):
            raise ValueError("always")

    sound = Turning()
    controller = group(
        Broken(backoff=AT_ONCE),
        sound,
        strategy=Strategy.ONE_FOR_ONE,
        intensity=Intensity(3, 60),
    )
    controller.start()
    controller.maintain_loops()
    wait_until(lambda: controller.has_given_up and not controller.is_alive)
    assert not controller.has_alive_loops()
    assert snapshot(controller).state == "gave up"


def test_temporary_and_transient_loops_are_left_alone():
    once = Turning(restart=Restart.TEMPORARY)
    fair = Turning(restart=Restart.TRANSIENT)
    controller = group(once, fair, strategy=Strategy.ONE_FOR_ONE)
    controller.start()
    controller.maintain_loops()
    once.fail.set()
    fair.fail.set()
    wait_until(lambda: fair.starts == 2)
    wait_until(lambda: not once.is_alive)
    assert once.starts == 1
    controller.stop()


def test_a_hung_loop_is_seen_by_its_heartbeat_and_replaced():
    class Hanging(Stuck):
        def cycle(self):
            if not self.is_in.is_set():
                super().cycle()
            threading.Event().wait(0.001)

    loop = Hanging(stall_after=0.05)
    controller = group(loop)
    controller.start()
    controller.maintain_loops()
    wait_until(lambda: loop.abandoned and loop.running)
    assert controller.restarts_of(loop) >= 1
    loop.released.release()
    wait_until(lambda: not loop.abandoned)
    controller.stop()


def test_stuck_loops_cost_one_grace_period_together():
    """All six are told before the first is waited for: their graces run together."""
    said = []

    class Telling(Stuck):
        def ask_to_stop(self):
            said.append("told")
            super().ask_to_stop()

        def stop(self, *args, **kwargs):
            said.append("waited for")
            return super().stop(*args, **kwargs)

    loops = [Telling(grace_period=0.05) for _ in range(6)]
    controller = group(*loops)
    controller.maintain_loops()
    controller.stop_loops()
    for loop in loops:
        loop.released.release()
    wait_until(lambda: not controller.has_alive_loops())
    assert said[:6] == ["told"] * 6
    assert said.count("waited for") == 6


def test_groups_nest_and_are_shown_as_a_tree():
    inner = group(Turning(), strategy=Strategy.ONE_FOR_ONE)
    outer = group(inner, Turning())
    outer.start()
    outer.maintain_loops()
    inner.maintain_loops()
    state = snapshot(outer)
    tree = json.loads(state.to_json())
    assert tree["schema"] == 1
    assert [loop["state"] for loop in tree["loops"]] == ["running", "running"]
    assert tree["loops"][0]["loops"][0]["state"] == "running"
    assert str(state).count("running") == 4
    outer.stop()
    assert not inner.has_alive_loops()


def test_a_killed_child_is_started_again():
    """kill -9 from outside is an end like any other."""
    loop = ProcessLoop(
        [sys.executable, "-c", "import time; time.sleep(600)"], backoff=AT_ONCE
    )
    controller = group(loop, strategy=Strategy.ONE_FOR_ONE)
    controller.start()
    controller.maintain_loops()
    wait_until(lambda: loop.pid)
    first = loop.pid
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: loop.pid not in (0, first))
    controller.stop()
    assert loop.pid == 0


@pytest.mark.slow
def test_supervision_under_fire():
    """Twenty loops that fail at random for a while: none is lost, none leaks."""
    rng = random.Random(5)
    loops = [Turning() for _ in range(20)]
    before = threading.active_count()
    controller = group(*loops, strategy=Strategy.ONE_FOR_ONE)
    controller.start()
    controller.maintain_loops()
    failures = 0
    end = time.monotonic() + 3
    while time.monotonic() < end:
        rng.choice(loops).fail.set()
        failures += 1
        threading.Event().wait(rng.random() / 100)
    wait_until(lambda: all(loop.running and not loop.fail.is_set() for loop in loops))
    assert threading.active_count() == before + 1 + len(loops)
    assert sum(controller.restarts_of(loop) for loop in loops) > 0
    for loop in loops:
        assert controller.restarts_of(loop) == loop.starts - 1
    controller.stop()
    assert not controller.has_alive_loops()
    wait_until(lambda: threading.active_count() <= before)


# The rules by themselves -----------------------------------------------------------


@given(row=st.integers(0, 200), cap=st.floats(0.1, 100), initial=st.floats(0.01, 1))
def test_pauses_are_jittered_and_capped(row, cap, initial):
    """The first restart comes at once, no pause is longer than its bound."""
    backoff = Backoff(initial=initial, cap=cap)
    pause = backoff.pause(row)
    assert 0 <= pause <= min(cap, initial * 2 ** max(0, min(row, 60) - 1)) + 1e-9
    assert backoff.pause(0) == 0


@given(times=st.lists(st.floats(0, 1000), max_size=60), limit=st.integers(1, 10))
def test_intensity_counts_within_its_period(times, limit):
    """A restart is one too many exactly when the period holds more than allowed."""
    intensity = Intensity(limit, 10)
    log = RestartLog()
    seen = []
    for now in sorted(times):
        seen.append(now)
        in_period = [t for t in seen if now - t <= 10]
        assert log.note(intensity, now) is (len(in_period) <= limit)


def test_a_stop_that_meets_a_start_waits_for_the_thread_to_begin(monkeypatch):
    """A thread that is not started cannot be joined."""
    about, go_on = threading.Event(), threading.Event()
    loop = Turning()
    begin = threading.Thread.start

    def start(self):
        if self.name.startswith("Turning"):
            about.set()
            assert go_on.wait(DEADLINE)
        begin(self)

    monkeypatch.setattr(threading.Thread, "start", start)
    starting = threading.Thread(target=loop.start)
    starting.start()
    assert about.wait(DEADLINE)
    answers = []
    stopping = threading.Thread(target=lambda: answers.append(loop.stop()))
    stopping.start()
    wait_until(lambda: loop.is_stopped)
    go_on.set()
    stopping.join(DEADLINE)
    starting.join(DEADLINE)
    assert answers == [True]
    assert not loop.is_alive


def test_a_thread_that_cannot_be_started_is_none_to_wait_for(monkeypatch):
    loop = Turning()

    def start(_):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(RuntimeError, match="new thread"):
            loop.start()
    assert loop.stop() is True
    loop.start()
    assert loop.is_alive
    assert loop.stop() is True


def test_a_controller_stops_what_was_started_after_its_end():
    controller = LoopController()
    controller.start()
    assert controller.stop() is True
    loop = controller.new_loop(Turning())
    controller.maintain_loops()
    assert loop.is_alive
    assert controller.stop() is True
    assert not loop.is_alive


def test_orders_from_many_threads_leave_nothing_behind():
    """Stops, starts, resets and additions at once; the last word is a stop."""
    choice = random.Random(5)
    for _ in range(10):
        controller = LoopController(intensity=OFTEN)
        first = controller.new_loop(Turning())
        controller.start()
        controller.maintain_loops()
        orders = [
            controller.stop,
            controller.stop,
            controller.start,
            controller.hard_reset,
            lambda c=controller: c.maintain_loop(c.new_loop(Turning())),
            lambda c=controller, loop=first: c.stop_loop(loop),
        ]
        choice.shuffle(orders)
        failures = []

        def carry_out(order, failures=failures):
            try:
                order()
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=carry_out, args=(o,)) for o in orders]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE)
            assert not thread.is_alive()
        controller.stop()
        assert failures == []
        assert not controller.has_alive_loops()
        assert not controller.is_alive
