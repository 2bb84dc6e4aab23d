"""The rules of a fleet's swap in a simulated world, with every fault that it may have.

Messages are lost, doubled, delayed and reordered; members and the coordinator crash at
every step; rows of the journal are torn or cannot be written.
"""

from __future__ import annotations

import os
from random import Random

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luminal.fleet._protocol import (
    Blocked,
    Commit,
    Commits,
    Coordinator,
    Finished,
    Hold,
    Load,
    Log,
    Member,
    MemberState,
    Send,
    Stage,
    Undo,
    Write,
    decision_for,
)

RUNS = int(os.environ.get("LUMINAL_SIMULATIONS", "300"))
DIGESTS = ("good", "fine", "bad on b")


@attrs.define(eq=False)
class Process:
    """A member's process: what it does is done later, or never."""

    member: Member
    connection: int = 0
    jobs: list = attrs.Factory(list)
    # What really runs: photon → number; and what is ready beside it.
    runs: dict = attrs.Factory(dict)
    ready: dict = attrs.Factory(dict)


class World:
    """A fleet whose processes, network and disk are one list of what may happen."""

    def __init__(self, random: Random, count: int = 3) -> None:
        self.random = random
        self.now = 0.0
        self.journal: list = []
        self.names = "abcde"[:count]
        self.processes: dict[str, Process] = {}
        self.messages: list = []
        self.connections = 0
        self.finished: list[Finished] = []
        self.coordinator: Coordinator | None = None
        self.faults = True
        self.start_coordinator()
        for name in self.names:
            self.start(name)

    # What may happen.

    def start_coordinator(self) -> None:
        self.coordinator = Coordinator(Log(self.journal))
        self.messages = []
        self.do(self.coordinator.begin())
        for name in list(self.processes):
            self.connect(name)

    def crash_coordinator(self) -> None:
        self.coordinator = None
        self.messages = []
        for process in self.processes.values():
            self.act(process, process.member.lost())

    def start(self, name: str) -> None:
        self.processes[name] = Process(Member(name))
        self.connect(name)

    def connect(self, name: str) -> None:
        if self.coordinator is not None:
            self.connections += 1
            self.processes[name].connection = self.connections
            self.do(self.coordinator.joined(name, self.now))

    def crash(self, name: str) -> None:
        del self.processes[name]
        if self.coordinator is not None:
            self.do(self.coordinator.left(name, self.now))

    def cut(self, name: str) -> None:
        """Lose the connection; the coordinator sees it, and a new one is made."""
        process = self.processes[name]
        if self.coordinator is not None:
            self.do(self.coordinator.left(name, self.now))
            self.act(process, process.member.lost())
            self.connect(name)

    def do(self, effects: list) -> None:
        """Do what the coordinator wants."""
        for effect in effects:
            if self.coordinator is None:
                return
            match effect:
                case Write(row):
                    self.write(row)
                case Send(name, message):
                    if name in self.processes:
                        to = self.processes[name].connection
                        self.messages.append((name, to, message))
                case Finished():
                    self.finished.append(effect)
                case _:
                    raise AssertionError(effect)

    def write(self, row: object) -> None:
        chance = self.random.random() if self.faults else 1.0
        if chance < 0.03:  # a full disk
            self.do(self.coordinator.written(row, self.now, is_written=False))
        elif chance < 0.06:  # torn by a crash
            self.crash_coordinator()
        elif chance < 0.10:  # durable, and a crash before it is told
            self.journal.append(row)
            self.crash_coordinator()
        else:
            self.journal.append(row)
            self.do(self.coordinator.written(row, self.now))

    def act(self, process: Process, effects: list) -> None:
        """Do what a member wants: messages at once, work later."""
        for effect in effects:
            if isinstance(effect, MemberState):
                name = process.member.name
                self.messages.append((None, process.connection, (name, effect)))
            else:
                process.jobs.append(effect)

    def work(self, process: Process) -> None:
        """Do the next thing that a member wants, or fail at it."""
        job = process.jobs.pop(0)
        member, name = process.member, process.member.name
        fails = self.faults and self.random.random() < 0.1
        match job:
            case Stage(number, photon, digest):
                if digest == f"bad on {name}" or fails:
                    self.act(process, member.staged(job, "cannot be imported"))
                else:
                    process.ready[photon] = number
                    self.act(process, member.staged(job))
            case Undo(number, photon):
                if process.ready.get(photon) == number:
                    del process.ready[photon]
            case Hold(number, _):
                self.act(process, member.drained(number))
            case Commits(number, photon):
                assert process.ready.pop(photon) == number
                if not fails:
                    self.runs(process, photon, number)
                self.act(process, member.committed(photon, number, "x" * fails))
            case Load(number, photon, _):
                assert photon not in process.ready
                if not fails:
                    self.runs(process, photon, number)
                self.act(process, member.committed(photon, number, "x" * fails))

    def runs(self, process: Process, photon: str, number: int) -> None:
        """Nothing ever runs that is not decided, in the journal."""
        assert Commit(number) in self.journal
        assert number >= process.runs.get(photon, 0)
        process.runs[photon] = number

    def deliver(self, at: int) -> None:
        name, connection, message = self.messages.pop(at)
        if self.faults:
            chance = self.random.random()
            if chance < 0.1:
                return  # lost
            if chance < 0.2:  # doubled
                self.messages.append((name, connection, message))
        if self.coordinator is None:
            return
        if name is not None:
            process = self.processes.get(name)
            if process is not None and process.connection == connection:
                self.act(process, process.member.received(message))
            return
        sender, state = message
        process = self.processes.get(sender)
        if process is not None and process.connection == connection:
            self.do(self.coordinator.received(sender, state, self.now))

    def request(self) -> None:
        if self.coordinator is None or not self.coordinator.is_idle:
            return
        random = self.random
        members = None
        if random.random() < 0.3:
            members = random.sample(self.names, random.randint(1, len(self.names)))
        mode = random.choice(["immediate", "barrier"])
        photon = random.choice(["geo", "rain"])
        digest = random.choice(DIGESTS)
        self.do(self.coordinator.request(photon, digest, members, mode))

    def step(self) -> None:
        """Let one thing happen."""
        random = self.random
        choice = random.random()
        if self.messages and choice < 0.45:
            self.deliver(random.randrange(len(self.messages)))
        elif choice < 0.75:
            busy = [each for each in self.processes.values() if each.jobs]
            if busy:
                self.work(random.choice(busy))
        elif choice < 0.85:
            self.now += random.choice([0.1, 0.6, 5.0])
            if self.coordinator is not None:
                self.do(self.coordinator.tick(self.now))
        elif choice < 0.93:
            self.request()
        elif self.faults:
            self.fault()

    def fault(self) -> None:
        choice = self.random.random()
        name = self.random.choice(self.names)
        if choice < 0.3:
            if self.coordinator is None:
                self.start_coordinator()
            elif self.random.random() < 0.4:
                self.crash_coordinator()
        elif name not in self.processes:
            self.start(name)
        elif choice < 0.6:
            self.crash(name)
        else:
            self.cut(name)

    def settle(self) -> None:
        """End all faults, and let everything come to rest."""
        self.faults = False
        if self.coordinator is None:
            self.start_coordinator()
        for name in self.names:
            if name not in self.processes:
                self.start(name)
        for _ in range(400):
            count = 0
            while self.messages or any(p.jobs for p in self.processes.values()):
                while self.messages:
                    self.deliver(0)
                    count += 1
                    assert count < 1000, "messages lead to messages"
                for process in self.processes.values():
                    while process.jobs:
                        self.work(process)
            if self.is_at_rest():
                return
            self.now += 0.6
            self.do(self.coordinator.tick(self.now))
        raise AssertionError("it does not come to rest")

    def is_at_rest(self) -> bool:
        if not self.coordinator.is_idle:
            return False
        log = Log(self.journal)
        if log.open is not None:
            return False
        for name, process in self.processes.items():
            if process.ready or not process.member.is_current:
                return False
            for photon in log.table:
                decision = decision_for(log.table, photon, name)
                if (decision.number if decision else 0) != process.runs.get(photon, 0):
                    return False
        return True


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
    world = World(random, random.randint(1, 4))
    for _ in range(steps):
        world.step()
    world.settle()
    world.request()
    world.settle()


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
    world.start_coordinator()
    for process in world.processes.values():
        world.act(process, [process.member.state()])
    while world.messages:
        world.deliver(0)
    assert world.coordinator.blocked_by == "a"
    with pytest.raises(Blocked, match=r"^a$"):
        world.coordinator.request("geo", "fine")
