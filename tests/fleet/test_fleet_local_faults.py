"""Local fleets in trouble: unhealthy canaries, an old journal, nobody who decides."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

import luminal.blocking
from luminal.errors import FleetError
from luminal.fleet import MemberDriver, SwapReport
from luminal.fleet.local import LocalClient, LocalFleet
from luminal.managers.status import status_of
from luminal.model import Probation
from tests.fleet.test_fleet_local import Place, place
from tests.waiting import DEADLINE, async_wait_until

__all__ = ["place"]  # the fixture

T = TypeVar("T")


async def until(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask a fleet until it answers something."""
    end = time.monotonic() + DEADLINE
    while not (answer := await ask()):
        assert time.monotonic() < end
    return answer


async def test_canaries_that_raise_are_returned(place: Place) -> None:
    a, b = place.start("a", "b")
    assert a.heard() == b.heard() == ["one"]
    source = place.save("two", where="other")
    source.write_text(source.read_text().replace("return", "raise KeyError or"))
    health = Probation(seconds=DEADLINE, interval=0.05, min_calls=5)
    swap = asyncio.ensure_future(
        place.client.swap(source, mode="canary", first=["b"], health=health)
    )

    def both() -> tuple[object, object]:
        return a.ask("answer"), b.ask("answer")

    await async_wait_until(lambda: swap.done() or "KeyError" in str(both()[1]))
    while not swap.done():
        answers = await asyncio.to_thread(both)
        assert answers[0] == ["one"]
    report = await swap
    assert not report.is_committed
    assert "calls have raised" in report.why
    assert report.returned == report.number + 1 == 3
    assert both() == (["one"], ["one"])
    status = await place.client.status()
    assert status.canaries == {}
    assert {member.runs["geo"] for member in status.members} == {3}


async def test_an_old_journal_decides_nothing_until_recovered(place: Place) -> None:
    for worker in place.start("a", "b", "c"):
        assert worker.heard() == ["one"]
    journal = Path(place.journal)
    old = journal.read_bytes()  # noqa: ASYNC240
    await place.client.swap(place.save("two"))
    first = place.coordinator()
    new = journal.with_name("new")
    new.write_bytes(old)  # as a backup that is put back
    new.rename(journal)
    place.kill(first)
    place.coordinator()

    async def blocked() -> str:
        return (await place.client.status()).blocked_by

    member = await until(blocked)
    three = place.save("three")
    with pytest.raises(FleetError, match="luminal fleet recover") as caught:
        await place.client.swap(three)
    assert member in str(caught.value)
    assert place.answers() == [["two"]] * 2
    (report,) = await place.client.recover([three], by="a test")
    assert report.is_committed
    assert report.number == 3
    # A worker that is just looking for who decides now runs it a moment later.
    await async_wait_until(lambda: place.answers() == [["three"]] * 2)
    assert not await blocked()
    assert (await place.client.swap(place.save("four"))).number == 4


async def test_workers_without_sources_run_what_is_swapped_in(place: Place) -> None:
    """Whoever decides hands over when it leaves."""
    for worker in place.start("a", "b", sources=[]):
        assert "no attribute 'who'" in worker.heard()
    await place.client.swap(place.save("two"))
    assert place.answers() == [["two"]] * 2
    first = place.coordinator()
    first.close()
    assert first.process.returncode == 0
    place.workers.remove(first)
    place.coordinator()
    await place.client.swap(place.save("three"))
    assert place.answers() == [["three"]]


@pytest.fixture
def loader() -> Iterator[luminal.blocking.Loader]:
    with luminal.blocking.Loader() as loader:
        yield loader


def test_a_host_without_a_loop_joins(
    place: Place, loader: luminal.blocking.Loader
) -> None:
    fleet = LocalFleet(loader.loader, "shop", place.source)
    loader.call(fleet.join())
    assert fleet.hook.who() == ["one"]
    report = loader.call(fleet.swap(place.save("two"), mode="barrier"))
    assert report.is_committed
    assert fleet.hook.who() == ["two"]
    loader.call(fleet.close())


def test_join_tells_what_it_waits_for(
    place: Place, loader: luminal.blocking.Loader
) -> None:
    """Here another process has the journal, and does not listen."""
    from luminal.fleet import Journal

    os.makedirs(os.path.dirname(place.journal), exist_ok=True)
    journal = Journal(place.journal)
    fleet = LocalFleet(loader.loader, "shop", place.source)
    try:
        with pytest.raises(FleetError, match=r"(?s)'shop'.*told it within 0\.1 s"):
            loader.call(fleet.join(timeout=0.1))
        journal.close()
        loader.call(fleet.join())  # it goes on to try
    finally:
        journal.close()
        loader.call(fleet.close())


async def test_what_comes_before_any_member_waits_for_its_vote(place: Place) -> None:
    """A save while no worker runs is proposed by the next one, and refused by it."""
    (worker,) = place.start("a", watch=True)
    assert worker.heard() == ["one"]
    place.kill(worker)
    place.save("bad", "raise RuntimeError('not here')")
    (worker,) = place.start("b", watch=True)
    assert worker.heard() == ["one"]

    async def known() -> SwapReport | None:  # a row behind the decision
        report = await place.saved(2)
        return report if report.seconds else None

    report = await until(known)
    assert not report.is_committed
    assert set(report.votes) == {"b"}


@pytest.mark.parametrize(
    "request_", [{"ask": "swap"}, {"ask": 1}, {"ask": "roll-back"}]
)
async def test_a_request_of_no_sense_is_answered(
    tmp_path: Path, request_: dict[str, object]
) -> None:
    async with luminal.Loader() as loader:
        fleet = LocalFleet(loader, "odd", journal=tmp_path / "journal")
        await fleet.join(DEADLINE)
        with pytest.raises(FleetError) as refused:
            await LocalClient("odd", DEADLINE)._ask(**request_)
        assert "has ended" not in str(refused.value)
        assert (await fleet.status()).members  # it goes on
        await fleet.close()


async def test_a_member_that_fails_says_so_and_follows_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    usual, failures = MemberDriver.received, ["it is broken"]

    def received(driver: MemberDriver, message: Any) -> None:
        if failures:
            raise RuntimeError(failures.pop())
        usual(driver, message)

    monkeypatch.setattr(MemberDriver, "received", received)
    async with luminal.Loader() as loader:
        fleet = LocalFleet(loader, "odd", journal=tmp_path / "journal")
        with pytest.raises(FleetError, match="it is broken"):
            await fleet.join(DEADLINE)
        assert "it is broken" in caplog.text
        await fleet.join(DEADLINE)

        def fail(_: object) -> None:
            raise RuntimeError("no figures")

        monkeypatch.setattr(MemberDriver, "figures", fail)
        assert fleet._server is not None
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(fleet._server._figures(fleet.member_name), 0.1)
        await async_wait_until(lambda: "no figures" in caplog.text)
        assert [m.info.name for m in (await fleet.status()).members]
        assert "fleet" in status_of(loader)
        await fleet.close()
        assert "fleet" not in status_of(loader)
