"""A fleet in one list: processes, network, disk and clock, with every fault they have.

Messages are lost, doubled, delayed and reordered; members and the coordinator crash at
every step; rows of the journal are torn at any byte or cannot be written, and messages
arrive while one is being written.
"""

from __future__ import annotations

from collections import Counter
from random import Random

import attrs

from luminal.fleet._journal import Entry, _line, _parse, compacted
from luminal.fleet._protocol import (
    Begin,
    Commit,
    CommitPrepared,
    Coordinator,
    Finished,
    Hold,
    Load,
    Log,
    Member,
    MemberState,
    Row,
    Send,
    Stage,
    Undo,
    Write,
    decision_for,
)

DIGESTS = ("good", "fine", "bad on b")


@attrs.define(eq=False)
class Process:
    """A member's process: what it does is done later, or never."""

    member: Member
    connection: int = 0
    jobs: list = attrs.Factory(list)
    # What really runs: unit → number; and what is ready beside it.
    runs: dict = attrs.Factory(dict)
    ready: dict = attrs.Factory(dict)


class World:
    """A fleet whose processes, network and disk are one list of what may happen."""

    def __init__(self, random: Random, count: int = 3) -> None:
        self.random = random
        self.now = 0.0
        self.journal: list[Row] = []
        # What is left of it, where it was compacted.
        self.file: list[Row] = []
        # The part of a row that a crash has left behind those of the journal.
        self.torn = b""
        self.writing: Row | None = None
        self.counts: Counter[str] = Counter()
        # Who has begun the latest swap, when, and who was there to be asked.
        self.begun_by: Coordinator | None = None
        self.begun_at = 0.0
        self.asked: set[str] = set()
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
        data = b"".join(_line(Entry(row, 0.0, {})) for row in self.file)
        entries, whole = _parse(data + self.torn, "journal")
        assert [entry.row for entry in entries] == self.file
        assert whole == len(data)
        self.torn, self.writing = b"", None
        if self.random.random() < 0.3:
            entries = compacted(entries, self.random.randint(1, 3))
            self.counts["journals compacted"] += 1
        self.file = [entry.row for entry in entries]
        assert vars(Log(self.file)) == vars(Log(self.journal))
        self.coordinator = Coordinator(Log(self.file))
        self.messages = []
        self.do(self.coordinator.begin())
        for name in list(self.processes):
            self.connect(name)

    def crash_coordinator(self) -> None:
        self.counts["coordinators crashed"] += 1
        row, self.writing = self.writing, None
        if row is not None:  # durable before it is told, or not
            line = _line(Entry(row, 0.0, {}))
            whole = self.random.randint(0, len(line))
            if whole == len(line):
                self.append(row)
            else:
                self.counts["rows torn"] += 1
                self.torn = line[:whole]
        self.coordinator = None
        self.messages = []
        for process in self.processes.values():
            self.act(process, process.member.lost())

    def append(self, row: Row) -> None:
        self.journal.append(row)
        self.file.append(row)

    def start(self, name: str) -> None:
        self.processes[name] = Process(Member(name))
        self.connect(name)

    def connect(self, name: str) -> None:
        if self.coordinator is not None:
            self.connections += 1
            self.processes[name].connection = self.connections
            self.do(self.coordinator.joined(name, self.now))

    def crash(self, name: str) -> None:
        self.counts["members crashed"] += 1
        del self.processes[name]
        self.asked.discard(name)
        if self.coordinator is not None:
            self.do(self.coordinator.left(name, self.now))

    def cut(self, name: str) -> None:
        """Lose the connection; the coordinator sees it, and a new one is made."""
        process = self.processes[name]
        self.asked.discard(name)
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

    def write(self, row: Row) -> None:
        """Begin to write a row: other things may happen before it is durable."""
        assert self.writing is None
        self.writing = row
        if isinstance(row, Begin):
            self.begun_by = self.coordinator
            self.begun_at = self.now
        elif isinstance(row, Commit):
            self.check_votes(row.number)

    def check_votes(self, number: int) -> None:
        """Nothing is decided for what one has refused, or not all have voted on."""
        coordinator = self.coordinator
        assert coordinator is not None
        assert coordinator is self.begun_by, "another coordinator's swap was committed"
        is_late = self.now >= self.begun_at + coordinator.vote_seconds
        for name, state in coordinator.members.items():
            assert state.refused != number, f"{name} has refused it"
            process = self.processes.get(name)
            if process is not None and name in self.asked and not is_late:
                assert state.prepared == number, f"{name} has not voted"

    def end_write(self) -> None:
        """Let what is being written be durable, fail, or be cut short by a crash."""
        row = self.writing
        assert row is not None
        chance = self.random.random() if self.faults else 1.0
        if chance < 0.1:
            self.crash_coordinator()
            return
        self.writing = None
        is_written = chance > 0.15
        if is_written:
            self.append(row)
            self.counts[type(row).__name__] += 1
            if isinstance(row, Begin):
                self.begun_at = self.now
                there = set(self.coordinator.members)
                self.asked = there & (row.members or there)
        else:
            self.counts["disk full"] += 1
        self.do(self.coordinator.written(row, self.now, is_written=is_written))

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
            case Stage(number, unit, digest):
                if digest == f"bad on {name}" or fails:
                    self.act(process, member.staged(job, "cannot be imported"))
                else:
                    process.ready[unit] = number
                    self.act(process, member.staged(job))
            case Undo(number, unit):
                if process.ready.get(unit) == number:
                    del process.ready[unit]
            case Hold(number, _):
                self.act(process, member.drained(number))
            case CommitPrepared(number, unit):
                assert process.ready.pop(unit) == number
                if not fails:
                    self.runs(process, unit, number)
                self.act(process, member.committed(unit, number, "x" * fails))
            case Load(number, unit, _):
                assert unit not in process.ready
                if not fails:
                    self.runs(process, unit, number)
                self.act(process, member.committed(unit, number, "x" * fails))

    def runs(self, process: Process, unit: str, number: int) -> None:
        """Nothing ever runs that is not decided, in the journal."""
        assert Commit(number) in self.journal
        assert number >= process.runs.get(unit, 0)
        process.runs[unit] = number

    def deliver(self, at: int) -> None:
        name, connection, message = self.messages.pop(at)
        self.counts["messages"] += 1
        if self.faults:
            chance = self.random.random()
            if chance < 0.1:
                self.counts["messages lost"] += 1
                return
            if chance < 0.2:
                self.counts["messages doubled"] += 1
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
        unit = random.choice(["geo", "rain"])
        digest = random.choice(DIGESTS)
        self.do(self.coordinator.request(unit, digest, members, mode))

    def step(self) -> None:
        """Let one thing happen."""
        self._happen()
        if (of := self.coordinator) is not None:
            assert of._behind == {name for name in of.members if of.is_behind(name)}

    def _happen(self) -> None:
        random = self.random
        if self.writing is not None and random.random() < 0.3:
            self.end_write()
            return
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
        elif choice < 0.7:
            self.end_unit(self.processes[name])
        else:
            self.cut(name)

    def end_unit(self, process: Process) -> None:
        """Let something else end what runs, as a kill list does."""
        for unit in [*process.member.runs]:
            is_at_rest = all(job.unit != unit for job in process.jobs)
            if is_at_rest and unit not in process.ready:
                self.counts["units ended"] += 1
                del process.runs[unit]
                self.act(process, process.member.ended(unit, "killed"))
                return

    def settle(self) -> None:
        """End all faults, and let everything come to rest.

        Raises:
            AssertionError: It does not, or members do not run what is decided.
        """
        self.faults = False
        if self.coordinator is None:
            self.start_coordinator()
        for name in self.names:
            if name not in self.processes:
                self.start(name)
        for _ in range(400):
            count = 0
            while (
                self.messages
                or self.writing is not None
                or any(p.jobs for p in self.processes.values())
            ):
                if self.writing is not None:
                    self.end_write()
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
            for unit in log.table:
                decision = decision_for(log.table, unit, name)
                if (decision.number if decision else 0) != process.runs.get(unit, 0):
                    return False
        return True


def simulate(random: Random, steps: int, members: int) -> Counter[str]:
    """Let *steps* things happen, and all come to rest; then once more, without faults.

    Returns:
        What has happened, and how often.

    Raises:
        AssertionError: Something ran that was not decided, a decision was split, or
            members that can be reached do not converge.
    """
    world = World(random, members)
    for _ in range(steps):
        world.step()
    world.settle()
    world.request()
    world.settle()
    return world.counts
