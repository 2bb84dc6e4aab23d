"""A loop is always in one state, whatever is done to it in whatever order."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from luminal.supervise._loops import TABLE, Status, Step
from tests.supervise.turning import Turning
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("quiet")


class Orders(RuleBasedStateMachine):
    """What the host and the group order, beside what is expected of the loop."""

    def __init__(self):
        super().__init__()
        self.loop = Turning()
        self.runs = self.is_stopped = False

    @rule()
    def start(self):
        self.loop.start()
        self.runs, self.is_stopped = True, False

    @rule()
    def stop(self):
        assert self.loop.stop()
        self.runs, self.is_stopped = False, True

    @rule()
    def ask_to_stop(self):
        self.loop.ask_to_stop()
        self.runs, self.is_stopped = False, True

    @rule()
    def stop_for_the_group(self):
        assert self.loop._pause()
        self.runs = False

    @rule()
    def start_for_the_group(self):
        assert self.loop._resume()
        self.runs = not self.is_stopped

    @rule()
    def decline_a_start(self):
        self.loop.on_start = lambda: False
        self.loop.start()
        del self.loop.on_start
        if not self.runs:
            self.is_stopped = False

    @rule()
    def hard_reset(self):
        self.loop.hard_reset()
        self.runs, self.is_stopped = True, False

    @precondition(lambda self: self.runs)
    @rule()
    def fail(self):
        self.loop.fail.set()
        self.runs = False
        wait_until(lambda: not self.loop.is_alive)

    @invariant()
    def it_is_as_expected(self):
        if not self.runs:
            wait_until(lambda: not self.loop.is_alive)
        assert self.loop.is_alive is self.loop.running is self.runs
        assert self.loop.is_stopped is self.is_stopped

    def teardown(self):
        self.loop.stop()
        wait_until(lambda: not self.loop.abandoned)


TestOrders = Orders.TestCase
TestOrders.settings = settings(max_examples=30, stateful_step_count=12)


def test_every_status_can_be_left_and_reached():
    """No order leaves a loop in a status from which it cannot be started."""
    reached, before = {Status.IDLE}, set()
    while reached != before:
        before = set(reached)
        reached |= {then for (status, _), then in TABLE.items() if status in before}
    assert reached == set(Status)
    for status in Status:
        steps = [step for step in Step if (status, step) in TABLE]
        assert Step.START in steps or Step.STARTED in steps
