"""Short turns on the GIL: shared by all who are in a hurry, and always given back."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from luminal.supervise import Footprint
from luminal.supervise.hurry import Hurry, set_usual_interval, usual_interval


@pytest.fixture(autouse=True)
def usual():
    """The interval before the test, which is given back after it."""
    before = sys.getswitchinterval()
    yield before
    sys.setswitchinterval(before)


def test_the_interval_is_short_and_given_back(usual):
    with Hurry(), Hurry(0.00005):
        assert sys.getswitchinterval() == pytest.approx(0.00005)
        assert usual_interval() == usual
    assert sys.getswitchinterval() == usual_interval() == usual


def test_a_shorter_interval_of_the_hosts_is_left_alone():
    sys.setswitchinterval(0.00002)
    with Hurry():
        assert sys.getswitchinterval() == pytest.approx(0.00002)
    assert sys.getswitchinterval() == pytest.approx(0.00002)


def test_threads_that_hurry_at_once_leave_nothing_behind(usual):
    start = threading.Barrier(8)

    def work(seconds: float) -> None:
        hurry = Hurry(seconds)
        start.wait()
        for _ in range(300):
            with hurry:
                assert sys.getswitchinterval() <= seconds + 1e-6

    threads = [
        threading.Thread(target=work, args=((number + 1) * 1e-4,))
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sys.getswitchinterval() == usual


def test_a_hurry_is_no_change_that_a_photon_made(usual):
    """Neither its begin nor its end, and restoring does not end it."""
    before = Footprint.take()
    hurry = Hurry()
    hurry.begin()
    during = Footprint.take()
    hurry.end()
    both = [*during.since(before), *Footprint.take().since(during)]
    assert "switch interval" not in {change.facet for change in both}


def test_what_a_photon_set_in_a_hurry_is_put_back(usual):
    with Hurry():
        before = Footprint.take()
        sys.setswitchinterval(0.001)
        (change,) = (
            c for c in Footprint.take().since(before) if c.facet == "switch interval"
        )
        before.restore(change)
        assert sys.getswitchinterval() == pytest.approx(0.0001)
    assert sys.getswitchinterval() == usual


_FORK = """
import os, sys
from luminal.supervise.hurry import Hurry

with Hurry():
    if not os.fork():
        print(sys.getswitchinterval(), flush=True)
        os._exit(0)
    os.wait()
    print(sys.getswitchinterval())
print(sys.getswitchinterval())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_does_not_inherit_the_hurry():
    """The thread that would end it does not exist there."""
    outcome = subprocess.run(
        [sys.executable, "-c", _FORK], check=True, capture_output=True, text=True
    )
    seconds = [float(word) for word in outcome.stdout.split()]
    assert seconds == pytest.approx([0.005, 0.0001, 0.005])


class Hurries(RuleBasedStateMachine):
    """Some begin and end while the host sets what it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.before = sys.getswitchinterval()
        self.hurries = [Hurry(us / 1e6) for us in (50, 100, 3000)]
        self.wanted = [50, 100, 3000]
        self.running: set[int] = set()
        self.host = round(self.before * 1e6)
        # Whether the host has had the last word.
        self.is_hosts = True

    @rule(number=st.integers(0, 2))
    def begin(self, number: int) -> None:
        self.is_hosts &= number in self.running
        self.hurries[number].begin()
        self.running.add(number)

    @rule(number=st.integers(0, 2))
    def end(self, number: int) -> None:
        self.is_hosts &= number not in self.running
        self.hurries[number].end()
        self.running.discard(number)

    # Not what one of ours wants: nobody could tell it from ours.
    @rule(us=st.integers(1, 20_000).filter(lambda us: us not in {50, 100, 3000}))
    def the_host_sets(self, us: int) -> None:
        sys.setswitchinterval(us / 1e6 + 5e-7)
        self.host, self.is_hosts = us, True

    @rule(us=st.integers(1, 20_000))
    def somebody_restores(self, us: int) -> None:
        set_usual_interval(us / 1e6)
        self.host, self.is_hosts = us, False

    @invariant()
    def it_is_the_shortest_that_is_wanted(self) -> None:
        wanted = [self.wanted[number] for number in self.running]
        expected = self.host if self.is_hosts else min([self.host, *wanted])
        assert round(sys.getswitchinterval() * 1e6) == expected
        assert round(usual_interval() * 1e6) == self.host

    def teardown(self) -> None:
        for hurry in self.hurries:
            hurry.end()
        assert round(sys.getswitchinterval() * 1e6) == self.host
        sys.setswitchinterval(self.before)


class TestHurries(Hurries.TestCase):
    settings = settings(max_examples=60, stateful_step_count=20)
