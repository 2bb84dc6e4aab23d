"""The rules of a fleet's swap in a simulated world, with every fault that it may have.

``python -m tests.fleet.simulate`` does this 10,000 times.
"""

from __future__ import annotations

import os
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luminal.fleet._protocol import (
    Abort,
    Begin,
    Blocked,
    Commit,
    Coordinator,
    Decided,
    Decision,
    Load,
    Log,
    Member,
    MemberState,
    Prepare,
    Stage,
    Undo,
    Write,
)
from tests.fleet.world import World, simulate

RUNS = int(os.environ.get("LUMINAL_SIMULATIONS", "300"))


@given(random=st.randoms(use_true_random=False), steps=st.integers(1, 150))
@settings(
    max_examples=RUNS,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_no_decision_is_split_and_all_members_converge(
    random: Random, steps: int
) -> None:
    """Nothing runs that is not decided; what is decided runs in the end."""
    simulate(random, steps, random.randint(1, 4))


def test_a_swap_that_one_refuses_is_aborted_for_all() -> None:
    world = World(Random(1))
    world.faults = False
    world.do(world.coordinator.request("geo", "good"))
    world.settle()
    world.do(world.coordinator.request("geo", "bad on b"))
    world.settle()
    first, second = world.finished
    assert first.is_committed
    assert not second.is_committed
    assert "b: cannot be imported" in second.why
    assert [p.runs for p in world.processes.values()] == [{"geo": 1}] * 3


def test_what_runs_already_is_not_swapped_again() -> None:
    world = World(Random(1))
    world.faults = False
    for _ in range(2):
        world.do(world.coordinator.request("geo", "good"))
        world.settle()
    assert [each.number for each in world.finished] == [1, 0]
    assert len(world.journal) == 2


def test_a_decision_for_some_is_followed_by_one_for_all() -> None:
    """A canary, and what comes after it."""
    world = World(Random(1))
    world.faults = False
    for digest, members in (("good", None), ("fine", ["a"]), ("fine", None)):
        world.do(world.coordinator.request("geo", digest, members))
        world.settle()
    assert [each.is_committed for each in world.finished] == [True] * 3
    assert [p.runs for p in world.processes.values()] == [{"geo": 3}] * 3


def test_a_coordinator_with_an_old_journal_decides_nothing() -> None:
    """A member knows a higher number than it."""
    world = World(Random(1))
    world.faults = False
    world.do(world.coordinator.request("geo", "good"))
    world.settle()
    world.crash_coordinator()
    world.journal.clear()
    world.file.clear()
    world.start_coordinator()
    for process in world.processes.values():
        world.act(process, [process.member.state()])
    while world.messages:
        world.deliver(0)
    assert world.coordinator.blocked_by == "a"
    with pytest.raises(Blocked, match="a"):
        world.coordinator.request("geo", "fine")


def test_an_older_coordinator_is_not_heard() -> None:
    """Two may run at once where the journal was copied: the higher number counts."""
    member = Member("a")
    assert Stage(5, "geo", "good") in member.received(
        Prepare(5, "geo", "good", Decided(0, {}))
    )
    member.staged(Stage(5, "geo", "good"))
    (state,) = member.received(Prepare(4, "geo", "fine", Decided(0, {})))
    assert isinstance(state, MemberState)
    assert (state.promised, state.prepared) == (5, 5)
    member.received(Decided(5, {"geo": (Decision(5, "good"),)}))
    member.committed("geo", 5)
    (state,) = member.received(Decided(4, {"geo": (Decision(4, "fine"),)}))
    assert isinstance(state, MemberState)
    assert (state.closed, state.runs) == (5, {"geo": 5})


@pytest.mark.parametrize("votes", ["", "a", "ab"])
def test_votes_are_waited_for_until_the_time_is_over(votes: str) -> None:
    """One who does not answer is no vote against it, but somebody has to agree."""
    rules = Coordinator(Log(), vote_seconds=5.0, again_seconds=100.0)
    for name in "ab":
        rules.joined(name, 0.0)
        rules.received(name, MemberState(1, 0, 0, {}), 0.0)
    begin = Begin(1, "geo", "good")
    assert rules.request("geo", "good") == [Write(begin)]
    rules.written(begin, 0.0)
    effects = []
    for name in votes:
        assert effects == []
        effects = rules.received(name, MemberState(2, 1, 0, {}, prepared=1), 1.0)
    if votes != "ab":
        assert effects == rules.tick(4.9) == []
        effects = rules.tick(5.0)
    why = "no member has voted in time"
    assert effects == [Write(Commit(1) if votes else Abort(1, why))]


def test_other_bytes_of_one_number_are_not_what_runs() -> None:
    """An old journal that was put back gives a number away once more."""
    member = Member("a")
    first = Decided(1, {"geo": (Decision(1, "good"),)})
    assert Load(1, "geo", "good") in member.received(first)
    member.committed("geo", 1)
    assert member.is_current
    other = Decided(1, {"geo": (Decision(1, "fine"),)})
    assert Load(1, "geo", "fine") in member.received(other)
    assert not member.is_current
    member.committed("geo", 1)
    assert member.is_current
    # Nor does what it has voted for run where that number has other bytes.
    voted = Stage(2, "geo", "good")
    assert voted in member.received(Prepare(2, "geo", "good", other))
    member.staged(voted)
    effects = member.received(Decided(2, {"geo": (Decision(2, "fine"),)}))
    assert [type(each) for each in effects[:2]] == [Undo, Load]
    assert effects[1] == Load(2, "geo", "fine")
