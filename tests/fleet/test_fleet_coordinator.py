"""The process that decides, on real files, over members that only keep the rules."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

from luminal.discovery import pack
from luminal.errors import FleetError
from luminal.fleet import Contents, CoordinatorDriver, Journal, MemberInfo
from luminal.fleet._protocol import (
    Begin,
    Commit,
    CommitPrepared,
    Decided,
    Hold,
    Load,
    Member,
    MemberState,
    Prepare,
    Stage,
)
from luminal.model import Probation
from tests.waiting import DEADLINE, async_wait_until

PATIENT = {"vote_seconds": DEADLINE, "agree_seconds": DEADLINE}


class Fake:
    """A member that does at once what it is told; some bundles it refuses."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.rules = Member(name)
        self.refuses: set[str] = set()
        self.runs: dict[str, str] = {}

    def do(self, effects: list[Any]) -> None:
        for effect in effects:
            if isinstance(effect, MemberState):
                self.world.tell(self.rules.name, effect)
            elif isinstance(effect, Stage):
                why = "not here" if effect.digest in self.refuses else ""
                self.do(self.rules.staged(effect, why))
            elif isinstance(effect, Hold):
                self.do(self.rules.drained(effect.number))
            elif isinstance(effect, CommitPrepared | Load):
                number = effect.number
                decided = self.rules.decided.table[effect.unit]
                (digest,) = {d.digest for d in decided if d.number == number}
                self.runs[effect.unit] = digest
                self.do(self.rules.committed(effect.unit, number))


@attrs.define(eq=False)
class World:
    """A coordinator and its members, in one loop; nothing is lost."""

    directory: Path
    members: dict[str, Fake] = attrs.Factory(dict)
    driver: Any = None
    figures: dict[str, Any] = attrs.Factory(dict)
    lost: list[str] = attrs.Factory(list)
    prepared: list[str] = attrs.Factory(list)

    def start(self, **options: Any) -> None:
        self.driver = CoordinatorDriver(
            Journal(self.directory / "state" / "journal"),
            Contents(self.directory / "state" / "bundles"),
            self.send,
            name="shop",
            label="here",
            figures=self.ask,
            lost=lambda: self.lost.append("journal"),
            **{**PATIENT, **options},
        )
        self.driver.start()
        for name in self.members:
            self.driver.joined(name, MemberInfo.of_this_process(name))

    def add(self, *names: str) -> None:
        for name in names:
            self.members[name] = Fake(self, name)
            self.driver.joined(name, MemberInfo.of_this_process(name))

    def send(self, name: str, message: Prepare | Decided) -> None:
        loop = asyncio.get_running_loop()
        if isinstance(message, Prepare):
            self.prepared.append(name)
        member = self.members[name]
        loop.call_soon(lambda: member.do(member.rules.received(message)))

    def tell(self, name: str, state: MemberState) -> None:
        asyncio.get_running_loop().call_soon(
            lambda: self.driver.received(name, state) if self.driver else None
        )

    async def ask(self, name: str) -> Any:
        return self.figures.get(name, {})

    def bundle(self, answer: int) -> bytes:
        path = self.directory / "geo.py"
        path.write_text(
            "from luminal import IPhoton\n\n\nclass Photon(IPhoton):\n"
            f"    photon_name = 'geo'\n    photon_version = '{answer}'\n"
        )
        return pack(path).data()

    def numbers(self) -> set[int]:
        return {member.rules.runs.get("geo", 0) for member in self.members.values()}


@asynccontextmanager
async def world(directory: Path, *names: str, **options: Any) -> AsyncIterator[World]:
    """Run a coordinator with members of these names."""
    it = World(directory)
    it.start(**options)
    it.add(*names)
    try:
        yield it
    finally:
        await it.driver.close()


async def test_all_run_what_is_decided_and_the_report_tells_it(tmp_path: Path) -> None:
    async with world(tmp_path, "a", "b", "c") as it:
        for mode in ("immediate", "barrier"):
            data = it.bundle(len(mode))
            report = await it.driver.swap(data, mode=mode, by="me")
            assert report.is_committed
            assert report.behind == ()
            assert (report.unit, report.mode, report.by) == ("geo", mode, "me")
            assert report.votes == {"a": "", "b": "", "c": ""}
            assert it.numbers() == {report.number}
            assert it.driver.contents.get(report.digest) == data
        again = await it.driver.swap(data)
        assert (again.is_committed, again.number) == (True, 0)
        assert [each.number for each in it.driver.history()] == [1, 2]
        assert [each.by for each in it.driver.history()] == ["me", "me"]
        assert not any(each.is_behind for each in it.driver.status().members)


async def test_one_no_is_a_no_for_all_with_its_reason(tmp_path: Path) -> None:
    async with world(tmp_path, "a", "b") as it:
        first = await it.driver.swap(it.bundle(1))
        data = it.bundle(2)
        it.members["b"].refuses = {it.driver.contents.put(data)}
        report = await it.driver.swap(data)
        assert not report.is_committed
        assert report.why == "b: not here"
        assert report.votes["b"] == "not here"
        assert it.numbers() == {first.number}
        assert it.driver.history()[-1].why == "b: not here"


async def test_swaps_at_once_are_made_one_after_the_other(tmp_path: Path) -> None:
    async with world(tmp_path, "a", "b") as it:
        bundles = [it.bundle(n) for n in range(6)]
        reports = await asyncio.gather(*map(it.driver.swap, bundles))
        assert all(report.is_committed for report in reports)
        assert sorted(report.number for report in reports) == [1, 2, 3, 4, 5, 6]
        assert it.numbers() == {6}


async def test_a_swap_goes_on_when_nobody_waits_for_it(tmp_path: Path) -> None:
    async with world(tmp_path, "a") as it:
        await async_wait_until(lambda: not it.driver.status().members[0].is_behind)
        heard: list[Any] = []
        member = it.members["a"]
        do, member.do = member.do, heard.extend  # type: ignore[method-assign]
        swap = asyncio.ensure_future(it.driver.swap(it.bundle(1)))
        await async_wait_until(lambda: it.prepared and heard)
        assert it.driver.status().under_way == "geo"
        swap.cancel()
        member.do = do  # type: ignore[method-assign]
        do(heard)
        await asyncio.wait({swap})
        assert swap.cancelled()
        await async_wait_until(lambda: it.numbers() == {1})


async def test_roll_back_returns_to_what_was_decided_before(tmp_path: Path) -> None:
    async with world(tmp_path, "a", "b") as it:
        first = await it.driver.swap(it.bundle(1))
        await it.driver.swap(it.bundle(2))
        report = await it.driver.roll_back("geo", by="me")
        assert report.is_committed
        assert (report.number, report.digest) == (3, first.digest)
        assert it.numbers() == {3}
        with pytest.raises(FleetError, match=r"(?s)nothing is decided of 'goe'.*geo"):
            await it.driver.roll_back("goe")


async def test_a_report_says_that_nobody_could_vote(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        report = await it.driver.swap(it.bundle(1))
        assert report.is_committed
        assert "no member" in report.why
        await async_wait_until(lambda: "no member" in it.driver.history()[-1].why)
        it.add("a")
        assert (await it.driver.swap(it.bundle(2))).why == ""


@pytest.mark.parametrize(
    "options", [{"members": ["beta"]}, {"mode": "canary", "first": ["beta"]}]
)
async def test_nothing_is_decided_for_a_member_that_is_not_there(
    tmp_path: Path, options: Any
) -> None:
    async with world(tmp_path, "alpha", "betta") as it:
        await it.driver.swap(it.bundle(1))
        with pytest.raises(FleetError, match="'betta'"):
            await it.driver.swap(it.bundle(2), **options)
        assert it.driver.status().number == 1
        assert (await it.driver.swap(it.bundle(2), members=["alpha"])).is_committed


async def test_a_member_that_joins_later_runs_what_is_decided(tmp_path: Path) -> None:
    async with world(tmp_path, "a") as it:
        await it.driver.swap(it.bundle(1))
        it.add("z")
        await async_wait_until(lambda: it.numbers() == {1})


async def test_the_next_coordinator_aborts_what_was_open(tmp_path: Path) -> None:
    async with world(tmp_path, "a") as it:
        await it.driver.swap(it.bundle(1))
        it.driver.journal.append(Begin(2, "geo", "b"))
        await it.driver.close()
        it.start()
        await async_wait_until(lambda: it.driver.status().number == 2)
        assert not it.driver.history()[-1].is_committed
        report = await it.driver.swap(it.bundle(3))
        assert (report.number, report.is_committed) == (3, True)


@pytest.mark.parametrize("wanted", [{"members": "a"}, {"mode": "canary", "first": "a"}])
async def test_one_name_in_place_of_many_is_refused(
    tmp_path: Path, wanted: dict[str, str]
) -> None:
    """It would be read letter by letter."""
    async with world(tmp_path, "a") as it:
        with pytest.raises(TypeError, match=r"=\['a'\]"):
            await it.driver.swap(it.bundle(1), **wanted)  # type: ignore[arg-type]
        assert it.numbers() == {0}


async def test_a_full_disk_decides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path, "a", "b") as it:
        append = it.driver.journal.append

        def full(row: Any, **about: Any) -> None:
            if isinstance(row, kind):
                raise OSError(errno.ENOSPC, "No space left on device")
            append(row, **about)

        monkeypatch.setattr(it.driver.journal, "append", full)
        kind: type = Begin
        report = await it.driver.swap(it.bundle(1))
        assert not report.is_committed
        assert it.prepared == []
        kind = Commit  # the disk is full after the votes
        report = await it.driver.swap(it.bundle(2))
        assert not report.is_committed
        assert it.numbers() == {0}
        monkeypatch.undo()
        assert (await it.driver.swap(it.bundle(3))).is_committed


async def test_a_journal_that_fails_ends_the_coordinator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path, "a") as it:

        def fail(*_: object, **__: object) -> None:
            raise FleetError("the journal of the fleet cannot be used")

        monkeypatch.setattr(it.driver.journal, "append", fail)
        with pytest.raises(FleetError, match="not known"):
            await it.driver.swap(it.bundle(1))
        assert it.lost == ["journal"]
        with pytest.raises(FleetError, match="nothing any more"):
            await it.driver.swap(it.bundle(1))


async def test_a_journal_that_is_too_old_decides_nothing_until_recovered(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, "a", "b") as it:
        await it.driver.swap(it.bundle(1))
        old = (tmp_path / "state" / "journal").read_bytes()
        await it.driver.swap(it.bundle(2))
        await it.driver.close()
        (tmp_path / "state" / "journal").write_bytes(old)
        it.start()
        await async_wait_until(lambda: it.driver.status().blocked_by)
        with pytest.raises(FleetError, match="luminal fleet recover"):
            await it.driver.swap(it.bundle(3))
        (report,) = await it.driver.recover([it.bundle(3)], by="me")
        assert (report.is_committed, report.number) == (True, 3)
        assert it.numbers() == {3}
        assert it.driver.status().blocked_by == ""
        assert (await it.driver.swap(it.bundle(4))).number == 4


async def test_a_journal_that_is_lost_is_recovered_from_sources(tmp_path: Path) -> None:
    async with world(tmp_path, "a", "b") as it:
        await it.driver.swap(it.bundle(1))
        await it.driver.close()
        (tmp_path / "state" / "journal").unlink()
        it.start()
        await async_wait_until(lambda: it.driver.status().blocked_by)
        with pytest.raises(FleetError, match="nothing to decide"):
            await it.driver.recover()
        (report,) = await it.driver.recover([it.bundle(2)])
        assert it.numbers() == {report.number} == {2}


@pytest.mark.parametrize("what", ["luminal", "python"])
async def test_another_version_is_refused_by_name(tmp_path: Path, what: str) -> None:
    async with world(tmp_path) as it:
        info = attrs.evolve(MemberInfo.of_this_process("odd"), **{what: "0.1"})
        with pytest.raises(FleetError, match=r"'odd' has .* 0\.1"):
            it.driver.joined("odd", info)
        assert it.driver.status().members == ()


def figures(calls: int, errors: int, p95: float) -> dict[str, Any]:
    return {"geo": {"calls": calls, "errors": errors, "p95": p95}}


HEALTH = Probation(
    seconds=0.05, interval=0.01, min_calls=10, more_errors=0.05, slowdown=4.0
)


@pytest.mark.parametrize(
    ("canary", "why"),
    [
        (figures(100, 0, 0.011), ""),
        (figures(100, 20, 0.010), "have raised"),
        (figures(100, 0, 0.100), "p95"),
        (figures(5, 5, 1.0), ""),  # too few calls to tell
    ],
)
async def test_canaries_are_followed_by_all_or_returned(
    tmp_path: Path, canary: Any, why: str
) -> None:
    async with world(tmp_path, "a", "b", "c") as it:
        first = await it.driver.swap(it.bundle(1))
        it.figures = {"a": canary, "b": figures(100, 0, 0.010)}
        it.prepared.clear()
        report = await it.driver.swap(
            it.bundle(2), mode="canary", first=1, health=HEALTH
        )
        assert it.prepared[0] == "a"
        assert report.is_committed is (not why)
        assert why in report.why
        assert len(it.numbers()) == 1  # two decisions with numbers of their own
        (number,) = it.numbers()
        assert number == 3
        if why:
            assert report.returned == 3
            assert {m.runs["geo"] for m in it.members.values()} == {first.digest}


async def test_a_canary_that_ends_is_not_healthy(tmp_path: Path) -> None:
    async with world(tmp_path, "a", "b") as it:
        await it.driver.swap(it.bundle(1))
        swap = asyncio.ensure_future(
            it.driver.swap(
                it.bundle(2),
                mode="canary",
                first=["a"],
                health=attrs.evolve(HEALTH, seconds=DEADLINE),
            )
        )
        await async_wait_until(lambda: it.members["a"].rules.runs == {"geo": 2})
        del it.members["a"]
        it.driver.left("a")
        report = await swap
        assert not report.is_committed
        assert report.why.endswith("a has ended")
