"""What each way to carry a fleet has to survive: one suite, run over several adapters.

An `Adapter` starts members and a coordinator as processes of its engine. Faults are
files in a directory (`Flags`), which the photons of the tests and the processes look
for, so they happen at the wanted step of the wanted process, whatever its engine.
"""

from __future__ import annotations

import abc
import concurrent.futures
import os
import shutil
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from luminal.model import Probation
from tests.waiting import DEADLINE, wait_until

MEMBERS = ("a", "b", "c")


class Flags:
    """Files that say what is to happen, in the process and at the step of their name.

    Their text is ``raise``, ``kill`` (the process kills itself), ``full`` (the disk
    is), ``lose`` and ``double`` (of messages) or ``wait`` (until the file is gone).
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = Path(directory)

    def set(self, who: str, step: str, what: str) -> Path:
        path = self.directory / f"{who}.{step}"
        new = path.with_name(f"new-{path.name}")
        new.write_text(what)
        return new.rename(path)

    def get(self, who: str, step: str) -> str:
        try:
            return (self.directory / f"{who}.{step}").read_text()
        except FileNotFoundError:
            return ""

    def clear(self, who: str = "*", step: str = "*") -> None:
        for path in self.directory.glob(f"{who}.{step}"):
            path.unlink(missing_ok=True)

    def has_reached(self, who: str, step: str) -> bool:
        return bool(self.get(who, f"{step}.reached"))


TEXT = '''
import os
import pathlib
import signal
import time

import luminal

FLAGS = pathlib.Path({flags!r})


def obey(step):
    """Do what a file says, if there is one for this process and this step."""
    flag = FLAGS / (os.environ.get("FLEET_MEMBER", "") + ".{word}." + step)
    while True:
        try:
            what = flag.read_text()
        except FileNotFoundError:
            return
        reached = flag.with_name(flag.name + ".reached")
        reached.write_text("yes")
        if what == "kill":
            flag.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "raise":
            raise RuntimeError("not here")
        time.sleep(0.005)


obey("import")


class Photon(luminal.IPhoton):
    photon_name = "{unit}"
    photon_version = "1"

    def start(self):
        obey("start")

    def finalize(self):
        obey("finalize")

    @luminal.hookimpl
    def ask_{unit}(self):
        obey("call")
        return "{word}"
'''


class Adapter(abc.ABC):
    """A fleet of an engine, as the tests use it.

    Attributes:
        directory: For files of the test.
        flags: Where faults are asked for.
        journal: The file with the rows.
        comes_back: Whether the engine starts what was killed again by itself.
    """

    name: str = ""
    comes_back = False

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "flags").mkdir(parents=True)
        self.flags = Flags(directory / "flags")
        self.journal = directory / "state" / "journal"
        self.pool = concurrent.futures.ThreadPoolExecutor(8)

    # What an engine has to bring.

    @abc.abstractmethod
    def start_coordinator(self) -> None:
        """Start it, or wait until the engine has; it answers then."""

    @abc.abstractmethod
    def end_coordinator(self) -> None:
        """Kill it, so that it is gone until `start_coordinator`."""

    @abc.abstractmethod
    def add(self, member: str, **environ: str) -> None:
        """Start a member, and return once it takes work.

        Raises:
            Exception: It is refused, or its set-up fails.
        """

    @abc.abstractmethod
    def kill(self, member: str) -> None:
        """Kill the process of a member, as the system would."""

    def remove(self, member: str) -> None:
        """End a member for good."""
        self.kill(member)

    @abc.abstractmethod
    def swap(self, source: Path, **options: Any) -> Any:
        """Ask for a swap; return its report."""

    @abc.abstractmethod
    def roll_back(self, unit: str) -> Any:
        """Ask for a roll-back; return its report."""

    @abc.abstractmethod
    def ask(self, method: str, *args: Any) -> Any:
        """Call ``status``, ``history`` or ``recover``."""

    @abc.abstractmethod
    def answer(self, member: str, unit: str) -> str:
        """Return what the photon of a unit answers on a member; empty for nothing."""

    @abc.abstractmethod
    def local(self, member: str, operation: str, unit: str) -> str:
        """Stop, reload or unload a photon in one process; return the error."""

    @abc.abstractmethod
    def close(self) -> None:
        """End all that was started."""

    # What follows from it.

    def begin_swap(self, source: Path, **options: Any) -> concurrent.futures.Future:
        return self.pool.submit(self.swap, source, **options)

    def write(self, unit: str, word: str, more: str = "") -> Path:
        """Write a photon that answers *word*."""
        path = self.directory / "photons" / word / f"{unit}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        text = TEXT.format(flags=str(self.flags.directory), unit=unit, word=word)
        path.write_text(text + textwrap.dedent(more))
        return path

    def answers(self, unit: str, members: tuple[str, ...] = MEMBERS) -> list[str]:
        return [self.answer(member, unit) for member in members]

    def members(self) -> dict[str, Any]:
        """Return name → what the status says of it."""
        return {each.info.name: each for each in self.ask("status").members}

    def until_all_are_current(self, *members: str) -> None:
        wanted = members or MEMBERS

        def are_current() -> bool:
            try:
                known = self.members()
            except Exception:
                return False  # there is no coordinator at this moment
            return all(m in known and not known[m].is_behind for m in wanted)

        wait_until(are_current)

    def until_reached(self, member: str, step: str) -> None:
        wait_until(lambda: self.flags.has_reached(member, step))

    def until_voted(self, *members: str) -> None:
        """Wait until these members have voted with yes."""
        wait_until(lambda: all(self.members()[member].prepared for member in members))


_numbers = iter(range(10**6))


@contextmanager
def running(make: Callable[[Path], Adapter]) -> Iterator[Adapter]:
    """Run a fleet with all members, in a directory with a short path."""
    with tempfile.TemporaryDirectory(prefix="fleet-") as directory:
        adapter = make(Path(directory))
        try:
            adapter.start_coordinator()
            for member in MEMBERS:
                adapter.add(member)
            yield adapter
        finally:
            adapter.close()


class Conformance:
    """The suite. Its module has a fixture ``fleet``, with three members, for all."""

    @pytest.fixture
    def unit(self, fleet: Adapter) -> Iterator[str]:
        """A unit of the test's own, of which ``old`` runs; at the end all agree."""
        unit = f"unit{next(_numbers)}"
        assert fleet.swap(fleet.write(unit, f"old{unit}")).is_committed
        yield unit
        fleet.flags.clear()
        fleet.until_all_are_current()
        assert len({*fleet.answers(unit)}) == 1

    # A swap.

    def test_all_run_it(self, fleet: Adapter, unit: str) -> None:
        report = fleet.swap(fleet.write(unit, f"new{unit}"))
        assert report.is_committed
        assert report.behind == ()
        assert fleet.answers(unit) == [f"new{unit}"] * 3
        assert fleet.ask("history")[-1].number == report.number

    def test_the_same_bytes_again_change_nothing(
        self, fleet: Adapter, unit: str
    ) -> None:
        report = fleet.swap(fleet.write(unit, f"old{unit}"))
        assert report.is_committed
        assert report.number == 0

    def test_a_roll_back_is_a_decision(self, fleet: Adapter, unit: str) -> None:
        done = fleet.swap(fleet.write(unit, f"new{unit}"))
        report = fleet.roll_back(unit)
        assert report.is_committed
        assert report.number > done.number
        assert fleet.answers(unit) == [f"old{unit}"] * 3

    def test_barrier(self, fleet: Adapter, unit: str) -> None:
        report = fleet.swap(fleet.write(unit, f"new{unit}"), mode="barrier")
        assert report.is_committed
        assert fleet.answers(unit) == [f"new{unit}"] * 3

    def test_a_call_that_is_under_way_ends_on_its_generation(
        self, fleet: Adapter, unit: str
    ) -> None:
        flag = fleet.flags.set("b", f"old{unit}.call", "wait")
        call = fleet.pool.submit(fleet.answer, "b", unit)
        fleet.until_reached("b", f"old{unit}.call")
        assert fleet.swap(fleet.write(unit, f"new{unit}")).is_committed
        flag.unlink()
        assert call.result(DEADLINE) == f"old{unit}"

    def test_a_call_that_outlives_the_drain_limit_does_not_stop_a_barrier(
        self, fleet: Adapter, unit: str
    ) -> None:
        flag = fleet.flags.set("b", f"old{unit}.call", "wait")
        call = fleet.pool.submit(fleet.answer, "b", unit)
        fleet.until_reached("b", f"old{unit}.call")
        report = fleet.swap(fleet.write(unit, f"new{unit}"), mode="barrier")
        assert report.is_committed
        assert report.undrained == {"b": 1}
        assert fleet.ask("history")[-1].number == report.number
        assert not call.done()
        flag.unlink()
        assert call.result(DEADLINE) == f"old{unit}"

    def test_canary(self, fleet: Adapter, unit: str) -> None:
        health = Probation(seconds=0.2, interval=0.1)
        source = fleet.write(unit, f"new{unit}")
        report = fleet.swap(source, mode="canary", first=("b",), health=health)
        assert report.is_committed
        numbers = [each.number for each in fleet.ask("history")[-2:]]
        assert numbers == [report.number - 1, report.number]

    def test_the_clock_jumps(self, fleet: Adapter, unit: str) -> None:
        fleet.flags.set("coordinator", "clock", "jump")
        assert fleet.swap(fleet.write(unit, f"new{unit}")).is_committed
        fleet.flags.clear("coordinator")
        assert fleet.swap(fleet.write(unit, f"last{unit}")).is_committed

    # A no.

    @pytest.mark.parametrize("step", ["import", "start"])
    def test_one_no_is_a_no_of_all(self, fleet: Adapter, unit: str, step: str) -> None:
        fleet.flags.set("b", f"new{unit}.{step}", "raise")
        report = fleet.swap(fleet.write(unit, f"new{unit}"))
        assert not report.is_committed
        assert "not here" in report.why
        assert report.why.startswith("b")
        assert fleet.answers(unit) == [f"old{unit}"] * 3

    def test_a_syntax_error_is_refused(self, fleet: Adapter, unit: str) -> None:
        source = fleet.write(unit, f"new{unit}", more="def")
        with pytest.raises(Exception, match=r"LUM\d+"):
            fleet.swap(source)
        assert fleet.answers(unit) == [f"old{unit}"] * 3

    @pytest.mark.parametrize("operation", ["stop", "reload", "unload"])
    def test_a_prepared_photon_stays(
        self, fleet: Adapter, unit: str, operation: str
    ) -> None:
        flag = fleet.flags.set("c", f"new{unit}.start", "wait")
        swap = fleet.begin_swap(fleet.write(unit, f"new{unit}"))
        fleet.until_voted("a")
        assert "fleet" in fleet.local("a", operation, unit)
        assert fleet.answer("a", unit) == f"old{unit}"
        flag.unlink()
        assert swap.result(DEADLINE).is_committed

    # Members that die and come.

    @pytest.mark.parametrize("step", ["start", "finalize"])
    def test_a_member_is_killed_before_its_vote_or_as_it_commits(
        self, fleet: Adapter, unit: str, step: str
    ) -> None:
        word = "new" if step == "start" else "old"
        fleet.flags.set("b", f"{word}{unit}.{step}", "kill")
        swap = fleet.begin_swap(fleet.write(unit, f"new{unit}"))
        fleet.until_reached("b", f"{word}{unit}.{step}")
        fleet.add("b")
        assert swap.result(DEADLINE).is_committed
        fleet.until_all_are_current()
        assert fleet.answers(unit) == [f"new{unit}"] * 3

    def test_a_member_is_killed_after_its_vote(self, fleet: Adapter, unit: str) -> None:
        flag = fleet.flags.set("c", f"new{unit}.start", "wait")
        swap = fleet.begin_swap(fleet.write(unit, f"new{unit}"))
        fleet.until_voted("b")
        fleet.kill("b")
        flag.unlink()
        fleet.add("b")
        assert swap.result(DEADLINE).is_committed
        fleet.until_all_are_current()
        assert fleet.answers(unit) == [f"new{unit}"] * 3

    def test_a_member_joins_while_others_vote(self, fleet: Adapter, unit: str) -> None:
        flag = fleet.flags.set("c", f"new{unit}.start", "wait")
        swap = fleet.begin_swap(fleet.write(unit, f"new{unit}"))
        fleet.until_voted("a")
        fleet.add("d")
        assert fleet.answer("d", unit) == f"old{unit}"
        flag.unlink()
        assert swap.result(DEADLINE).is_committed
        fleet.until_all_are_current(*MEMBERS, "d")
        assert fleet.answer("d", unit) == f"new{unit}"
        fleet.remove("d")

    def test_a_member_whose_set_up_fails_takes_no_work(
        self, fleet: Adapter, unit: str
    ) -> None:
        fleet.flags.set("d", f"old{unit}.start", "raise")
        joining = fleet.pool.submit(fleet.add, "d")
        fleet.until_reached("d", f"old{unit}.start")
        assert not joining.done() or joining.exception() is not None
        fleet.flags.clear("d")
        fleet.remove("d")
        assert fleet.swap(fleet.write(unit, f"new{unit}")).is_committed

    def test_another_luminal_is_refused(self, fleet: Adapter, unit: str) -> None:
        with pytest.raises(Exception, match=r"9\.9"):
            fleet.add("old", FLEET_LUMINAL="9.9.9")
        assert "old" not in fleet.members()

    # The coordinator dies.

    @pytest.mark.parametrize(
        ("step", "is_committed"),
        [
            ("after-begin", False),
            ("before-commit", False),
            ("after-commit", True),
            ("after-telling-one", True),
        ],
    )
    def test_the_coordinator_is_killed(
        self, fleet: Adapter, unit: str, step: str, is_committed: bool
    ) -> None:
        fleet.flags.set("coordinator", step, "kill")
        swap = fleet.begin_swap(fleet.write(unit, f"new{unit}"))
        fleet.until_reached("coordinator", step)
        fleet.start_coordinator()
        fleet.until_all_are_current()
        assert fleet.answers(unit) == [f"{'new' if is_committed else 'old'}{unit}"] * 3
        concurrent.futures.wait([swap], DEADLINE)
        assert fleet.swap(fleet.write(unit, f"last{unit}")).is_committed

    def test_members_answer_while_there_is_no_coordinator(
        self, fleet: Adapter, unit: str
    ) -> None:
        flag = fleet.flags.set("c", f"new{unit}.start", "wait")
        swap = fleet.begin_swap(fleet.write(unit, f"new{unit}"))
        fleet.until_voted("a")
        fleet.end_coordinator()
        assert fleet.answers(unit) == [f"old{unit}"] * 3
        flag.unlink()
        fleet.start_coordinator()
        concurrent.futures.wait([swap], DEADLINE)

    def test_a_row_that_is_torn_was_not_written(
        self, fleet: Adapter, unit: str
    ) -> None:
        fleet.end_coordinator()
        with fleet.journal.open("ab") as file:
            file.write(b'0a1b2c3d {"at": 17')
        fleet.start_coordinator()
        fleet.until_all_are_current()
        assert fleet.swap(fleet.write(unit, f"new{unit}")).is_committed

    def test_no_row_no_decision(self, fleet: Adapter, unit: str) -> None:
        fleet.flags.set("coordinator", "begin", "full")
        report = fleet.swap(fleet.write(unit, f"new{unit}"))
        assert not report.is_committed
        assert "journal" in report.why
        assert fleet.answers(unit) == [f"old{unit}"] * 3
        fleet.flags.clear("coordinator")
        assert fleet.swap(fleet.write(unit, f"new{unit}")).is_committed

    def test_an_old_journal_decides_nothing(self, fleet: Adapter, unit: str) -> None:
        before = fleet.directory / "old-journal"
        shutil.copy(fleet.journal, before)
        assert fleet.swap(fleet.write(unit, f"new{unit}")).is_committed
        fleet.end_coordinator()
        shutil.copy(before, fleet.journal)
        fleet.start_coordinator()
        wait_until(lambda: fleet.ask("status").blocked_by)
        with pytest.raises(Exception, match=r"."):
            fleet.swap(fleet.write(unit, f"last{unit}"))
        assert fleet.answers(unit) == [f"new{unit}"] * 3
        fleet.ask("recover")
        fleet.until_all_are_current()
        assert fleet.swap(fleet.write(unit, f"last{unit}")).is_committed
        assert fleet.answers(unit) == [f"last{unit}"] * 3

    # Messages.

    @pytest.mark.parametrize("what", ["lose", "double"])
    def test_messages_are_lost_or_come_twice(
        self, fleet: Adapter, unit: str, what: str
    ) -> None:
        for member in MEMBERS:
            fleet.flags.set(member, "messages", what)
        swap = fleet.begin_swap(fleet.write(unit, f"new{unit}"))
        assert swap.result(DEADLINE).is_committed
        fleet.flags.clear(step="messages")
        fleet.until_all_are_current()
        assert fleet.answers(unit) == [f"new{unit}"] * 3
