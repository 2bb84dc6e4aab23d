"""When a batch is complete: a fake clock, no files."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from luminal.reload.watching._settle import Cause, Phase, Settle, Timing

PACE = Timing()
TINY = 1e-6


def settled(*news, locks=(), now=0.0):
    """Return a Settle that heard *news*: (path, phase, was_there, seconds)."""
    settle = Settle(PACE)
    for lock in locks:
        settle.add_lock(lock, now)
    for path, phase, was_there, at in news:
        settle.note(path, phase, was_there=was_there, now=at)
    return settle


def test_one_saved_file_waits_for_a_third_of_a_millisecond():
    settle = settled(("a", Phase.DONE, True, 0.0))
    assert settle.due() == pytest.approx(PACE.save)
    assert settle.take(PACE.save - TINY) is None
    batch = settle.take(PACE.save + TINY)
    assert batch.changed == {"a"}
    assert not settle.is_pending


def test_a_temporary_file_is_part_of_the_save():
    settle = settled(("a.tmp", Phase.WRITING, False, 0.0))
    settle.note("a.tmp", Phase.GONE, was_there=False, now=0.0)
    settle.note("a", Phase.DONE, was_there=True, now=0.0)
    assert settle.due() == pytest.approx(PACE.save)
    settle.note("b.tmp", Phase.WRITING, was_there=False, now=0.0)
    assert settle.due() >= PACE.quiet


@pytest.mark.parametrize(
    ("path", "phase", "was_there", "cause"),
    [
        ("b", Phase.DONE, True, Cause.EVENTS),
        ("a", Phase.DONE, False, Cause.EVENTS),
        ("a", Phase.GONE, False, Cause.EVENTS),
        ("a", Phase.DONE, True, Cause.RESCAN),
    ],
)
def test_what_may_be_part_of_more_waits_for_a_millisecond_and_more(
    path, phase, was_there, cause
):
    settle = Settle(PACE)
    settle.note(path, phase, was_there=was_there, now=0.0, cause=cause)
    if path == "b":
        settle.note("a", Phase.DONE, was_there=True, now=0.0)
    assert settle.due() >= PACE.quiet + PACE.quiet_per_path


def test_the_quiet_time_grows_with_the_paths_up_to_its_limit():
    news = [(f"f{n}", Phase.DONE, True, 0.0) for n in range(40)]
    assert settled(*news).due() == pytest.approx(0.011)
    news = [(f"f{n}", Phase.DONE, True, 0.0) for n in range(10_000)]
    assert settled(*news).due() == pytest.approx(0.050)


def test_a_file_that_is_written_keeps_the_batch_open():
    settle = settled(("a", Phase.WRITING, True, 0.0), ("b", Phase.DONE, True, 0.1))
    assert settle.due() == pytest.approx(0.250)
    settle.note("a", Phase.DONE, was_there=True, now=0.2)
    assert settle.due() == pytest.approx(0.2 + 0.0015)


@pytest.mark.parametrize("phase", [Phase.GONE, Phase.EMPTY])
def test_a_lost_text_is_waited_for(phase):
    settle = settled(("a", phase, True, 0.0))
    assert settle.due() == pytest.approx(0.100)
    settle.note("a", Phase.DONE, was_there=False, now=0.05)
    assert settle.due() == pytest.approx(0.05 + PACE.save)
    assert settle.take(0.06).changed == {"a"}


def test_a_file_that_came_and_went_is_no_news():
    settle = settled(("t", Phase.WRITING, False, 0.0), ("t", Phase.GONE, False, 0.001))
    assert settle.due() == pytest.approx(0.00225)
    assert settle.take(1.0) is None
    assert not settle.is_pending


def test_an_endless_storm_ends_at_the_cap():
    settle = Settle(PACE)
    at = 0.0
    while settle.take(at) is None:
        settle.note("log", Phase.WRITING, was_there=True, now=at)
        at += 0.01
    assert at == pytest.approx(PACE.cap, abs=0.02)


def test_a_lock_keeps_the_batch_open_and_its_end_ends_the_batch():
    settle = settled(
        ("a", Phase.DONE, True, 0.1), ("b", Phase.GONE, True, 0.2), locks=["index.lock"]
    )
    assert settle.take(4.0) is None
    settle.remove_lock("index.lock", 4.0)
    assert settle.due() == pytest.approx(4.001)
    batch = settle.take(4.01)
    assert batch.changed == {"a"}
    assert batch.deleted == {"b"}


def test_a_file_still_written_outlives_the_lock():
    settle = settled(("a", Phase.WRITING, True, 0.1), locks=["index.lock"])
    settle.remove_lock("index.lock", 0.2)
    assert settle.due() == pytest.approx(0.350)


def test_a_long_checkout_is_one_batch_up_to_the_cap_of_locks():
    settle = Settle(PACE)
    settle.add_lock("index.lock", 0.0)
    for second in range(1, 5):
        settle.note(f"f{second}", Phase.DONE, was_there=True, now=float(second))
        assert settle.take(second + 0.9) is None
    settle.remove_lock("index.lock", 5.0)
    assert len(settle.take(5.01)) == 4


def test_a_stale_lock_is_waited_for_once():
    settle = settled(("a", Phase.DONE, True, 0.0), locks=["index.lock"])
    assert settle.take(4.9) is None
    assert not settle.stale_locks(4.9)
    assert settle.take(5.0).changed == {"a"}
    assert settle.stale_locks(5.0) == ["index.lock"]
    settle.note("a", Phase.DONE, was_there=True, now=6.0)
    settle.add_lock("index.lock", 6.0)
    assert settle.take(6.01).changed == {"a"}
    settle.remove_lock("index.lock", 7.0)
    settle.add_lock("index.lock", 8.0)
    settle.note("a", Phase.DONE, was_there=True, now=8.0)
    assert settle.take(9.0) is None, "a lock taken anew is believed again"


def test_a_lock_that_was_there_long_before_the_change_is_not_waited_for():
    settle = settled(locks=["index.lock"])
    settle.note("a", Phase.DONE, was_there=True, now=60.0)
    assert settle.take(60.01).changed == {"a"}


def test_changes_without_end_beside_a_lock_end_at_the_cap_of_locks():
    settle = Settle(PACE)
    at = 0.0
    while settle.take(at) is None:
        settle.note("log", Phase.DONE, was_there=True, now=at)
        settle.remove_lock("index.lock", at)
        settle.add_lock("index.lock", at)
        at += 0.1
    assert at == pytest.approx(PACE.lock_cap, abs=0.2)


def test_the_weakest_way_of_knowing_counts():
    settle = Settle(PACE)
    for cause in (Cause.RESCAN, Cause.EVENTS, Cause.OVERFLOW, Cause.SCAN):
        settle.note(cause.value, Phase.DONE, was_there=True, now=0.0, cause=cause)
    assert settle.take(1.0).cause is Cause.OVERFLOW


class Settling(RuleBasedStateMachine):
    """Whatever comes: nothing is lost, doubled, early or late."""

    def __init__(self):
        super().__init__()
        self.settle = Settle(PACE)
        self.now = 0.0
        self.disk = {"a": True, "b": True, "c": False, "d": False}
        self.at_begin: dict[str, bool] | None = None
        self.touched: set[str] = set()
        self.began = 0.0
        self.last = 0.0
        self.writing: dict[str, float] = {}
        self.locks: dict[str, float] = {}
        self.unlocked = 0.0

    @rule(
        path=st.sampled_from("abcd"),
        phase=st.sampled_from(Phase),
        cause=st.sampled_from(Cause),
    )
    def news(self, path, phase, cause):
        if self.at_begin is None:
            self.at_begin, self.touched, self.began = dict(self.disk), set(), self.now
        self.settle.note(
            path, phase, was_there=self.disk[path], now=self.now, cause=cause
        )
        self.touched.add(path)
        self.last = self.now
        self.disk[path] = phase is not Phase.GONE
        self.writing.pop(path, None)
        if phase is Phase.WRITING:
            self.writing[path] = self.now

    @rule(lock=st.sampled_from(["l1", "l2"]))
    def lock(self, lock):
        self.settle.add_lock(lock, self.now)
        self.locks.setdefault(lock, self.now)

    @rule(lock=st.sampled_from(["l1", "l2"]))
    def unlock(self, lock):
        self.settle.remove_lock(lock, self.now)
        self.locks.pop(lock, None)
        self.last = self.unlocked = self.now

    @rule(present=st.sets(st.sampled_from(["l1", "l2"])))
    def resync(self, present):
        for lock in self.locks.keys() - present:
            del self.locks[lock]
            self.last = self.unlocked = self.now
        self.settle.set_locks(present, self.now)
        for lock in present:
            self.locks.setdefault(lock, self.now)

    @rule(step=st.sampled_from([0.0005, 0.003, 0.02, 0.09, 0.24, 1.0, 4.9, 30.0]))
    def time_goes_by(self, step):
        """The watcher never oversleeps: it asks whenever a batch is due."""
        end = self.now + step
        while (due := self.settle.due()) is not None and due <= end:
            self.now = max(self.now, due)
            self.deliver()
        self.now = end

    @precondition(lambda self: self.at_begin is not None)
    @rule()
    def ask_early(self):
        if self.settle.due() > self.now:
            assert self.settle.take(self.now) is None

    def deliver(self):
        batch = self.settle.take(self.now)
        capped = self.now >= max(self.began, self.unlocked) + PACE.cap - TINY
        capped |= self.now >= self.began + PACE.lock_cap - TINY
        if self.locks and self.now < self.began + PACE.lock_cap - TINY:
            for since in self.locks.values():
                assert self.now >= since + PACE.lock_cap - TINY, "a lock that lives"
        if not capped:
            stays = {p for p in self.touched if self.at_begin[p] and self.disk[p]}
            comes = {p for p in self.touched if self.at_begin[p] or self.disk[p]}
            is_save = len(stays) == len(comes) == 1
            quiet = PACE.save if is_save else PACE.quiet
            assert self.now >= self.last + quiet - TINY
            for since in self.writing.values():
                assert self.now >= since + PACE.writing - TINY
        net = {path for path in self.touched if self.at_begin[path] or self.disk[path]}
        if not net:
            assert batch is None
        else:
            assert batch.paths == net
            assert batch.created == {p for p in net if not self.at_begin[p]}
            assert batch.deleted == {p for p in net if not self.disk[p]}
            assert batch.changed == net - batch.created - batch.deleted
            assert batch.began == self.began
        self.at_begin, self.writing = None, {}

    @invariant()
    def pending_means_due(self):
        due = self.settle.due()
        assert (due is not None) is (self.at_begin is not None)
        assert self.settle.is_pending is (self.at_begin is not None)
        if due is not None:
            assert due <= self.began + PACE.lock_cap + TINY
            if not self.locks:
                assert due <= max(self.began, self.unlocked) + PACE.cap + TINY


Settling.TestCase.settings = settings(max_examples=150, stateful_step_count=40)
TestSettling = Settling.TestCase
