"""A member of a fleet, told by hand what a coordinator would tell it."""

from __future__ import annotations

import asyncio
import os
import threading
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha512
from pathlib import Path
from typing import Any

import attrs
import pytest

import luminal.fleet
from luminal import Loader, hookspec
from luminal.discovery import pack
from luminal.errors import PhotonStateError
from luminal.fleet._member import MemberDriver
from luminal.fleet._protocol import Decided, Decision, MemberState, Prepare
from luminal.model import Deadlines
from luminal.reload import Prepared
from luminal.trust import Kill, KillList, SecretKey, open_bundle, sign
from tests.waiting import DEADLINE, async_wait_until, brief

TEXT = """
import asyncio, time
from luminal import IPhoton, hookimpl

class Photon(IPhoton):
    photon_name = "geo"
    photon_version = "1.0"
    {body}

    @hookimpl
    def who(self):
        return {answer!r}

    @hookimpl
    def wait(self, event):
        event["begun"].set()
        event["go on"].wait()
        return {answer!r}

    @hookimpl
    async def await_it(self, event):
        event["begun"].set()
        await event["go on"].wait()
        return {answer!r}
"""


class Specs:
    @hookspec
    def who(self) -> Any: ...

    @hookspec
    def wait(self, event: Any) -> Any: ...

    @hookspec
    async def await_it(self, event: Any) -> Any: ...


PATIENT = Deadlines(DEADLINE, DEADLINE, DEADLINE, DEADLINE, DEADLINE)


@attrs.define(eq=False)
class Fleet:
    """What the tests see of one member."""

    directory: Path
    loader: Loader
    driver: MemberDriver
    contents: dict[str, bytes]
    states: list[MemberState]
    fetched: list[str]
    closed: int = 0
    table: dict[str, tuple[Decision, ...]] = attrs.Factory(dict)

    def add(self, answer: Any, body: str = "pass") -> str:
        """Keep a bundle of a photon, and return its digest."""
        path = self.directory / "geo.py"
        path.write_text(TEXT.format(answer=answer, body=body))
        data = pack(path).data()
        digest = sha512(data).hexdigest()
        self.contents[digest] = data
        return digest

    def prepare(self, number: int, digest: str, name: str = "geo") -> None:
        self.driver.received(Prepare(number, name, digest, self.decided()))

    def decide(self, number: int, digest: str = "", name: str = "geo") -> None:
        """Decide for *digest*; without one, decide against."""
        self.closed = number
        if digest:
            self.table = {**self.table, name: (Decision(number, digest),)}
        self.driver.received(self.decided())

    def decided(self, held: int = 0) -> Decided:
        return Decided(self.closed, dict(self.table), held)

    async def until(self, is_it: Any) -> MemberState:
        """Wait for a state that the member sends."""
        await async_wait_until(lambda: any(map(is_it, list(self.states))))
        return next(filter(is_it, self.states))

    async def voted(self, number: int) -> str:
        """Wait for a vote; return why it is against, empty where it is for it."""
        state = await self.until(lambda s: number in (s.prepared, s.refused))
        return state.why if state.refused == number else ""

    async def runs(self, number: int, name: str = "geo") -> None:
        await self.until(lambda s: s.runs.get(name) == number)

    def answers(self) -> list[Any]:
        return self.driver.hook.who()


@asynccontextmanager
async def member(
    directory: Path, *, is_on_this_loop: bool = True, **options: Any
) -> AsyncIterator[Fleet]:
    contents: dict[str, bytes] = {}
    states: list[MemberState] = []
    fetched: list[str] = []

    async def fetch(digest: str) -> bytes:
        fetched.append(digest)
        return contents[digest]

    of_loader = {key: options.pop(key) for key in ("lock",) if key in options}
    of_loader["deadlines"] = options.pop("deadlines", PATIENT)
    loader = Loader(hookspecs=[Specs], unknown_hooks="ignore", **of_loader)
    loop = asyncio.get_running_loop() if is_on_this_loop else None
    driver = MemberDriver(
        loader, "a", fetch=fetch, send=states.append, loop=loop, **options
    )
    try:
        yield Fleet(directory, loader, driver, contents, states, fetched)
    finally:
        await driver.close()
        await loader.close()


@pytest.fixture(params=[True, False], ids=["loop of the host", "loop of its own"])
def is_on_this_loop(request: Any) -> bool:
    return request.param


async def test_it_prepares_votes_and_commits(
    tmp_path: Path, is_on_this_loop: bool
) -> None:
    async with member(tmp_path, is_on_this_loop=is_on_this_loop) as fleet:
        one = fleet.add(1)
        fleet.prepare(1, one)
        assert await fleet.voted(1) == ""
        assert fleet.answers() == []
        fleet.decide(1, one)
        await fleet.runs(1)
        assert fleet.answers() == [1]
        await fleet.driver.wait_current()
        assert fleet.driver.is_current
        assert luminal.fleet.hook().who() == [1]
        two = fleet.add(2)
        fleet.prepare(2, two)
        assert await fleet.voted(2) == ""
        assert {answer for _ in range(50) for answer in fleet.answers()} == {1}
        fleet.decide(2, two)
        await fleet.runs(2)
        assert fleet.answers() == [2]


async def test_what_was_decided_against_leaves_no_trace(tmp_path: Path) -> None:
    async with member(tmp_path) as fleet:
        one = fleet.add(1)
        fleet.decide(1, one)
        await fleet.runs(1)
        generation = fleet.loader.photons["geo"].generation
        fleet.prepare(2, fleet.add(2))
        assert await fleet.voted(2) == ""
        fleet.decide(2)
        state = await fleet.until(lambda s: s.closed == 2)
        assert (state.prepared, state.runs) == (0, {"geo": 1})
        assert fleet.answers() == [1]
        assert fleet.loader.photons["geo"].generation is generation
        three = fleet.add(3)
        fleet.prepare(3, three)
        assert await fleet.voted(3) == ""
        fleet.decide(3, three)
        await fleet.runs(3)
        assert fleet.answers() == [3]


NO = {
    "import": "import not_there_at_all",
    "start raises": "def start(self): raise ValueError('no')",
    "start hangs": "async def start(self): await asyncio.sleep(1000)",
    "start blocks": "def start(self): time.sleep(1.5)",
}


@pytest.mark.parametrize("how", NO)
async def test_it_votes_against_what_cannot_run(tmp_path: Path, how: str) -> None:
    limits = attrs.evolve(PATIENT, start=brief(0.05))  # at most a second
    async with member(tmp_path, deadlines=limits) as fleet:
        one = fleet.add(1)
        fleet.decide(1, one)
        await fleet.runs(1)
        fleet.prepare(2, fleet.add(2, NO[how]))
        assert await fleet.voted(2)
        fleet.decide(2)
        assert fleet.answers() == [1]
        three = fleet.add(3)
        fleet.prepare(3, three)
        assert await fleet.voted(3) == ""


async def test_it_converges_where_a_decision_was_lost(tmp_path: Path) -> None:
    async with member(tmp_path, ask_seconds=0.05) as fleet:
        one, two = fleet.add(1), fleet.add(2)
        fleet.prepare(1, one)
        assert await fleet.voted(1) == ""
        # It asks for the outcome by itself, and does not decide alone.
        count = len(fleet.states)
        await async_wait_until(lambda: len(fleet.states) > count + 2)
        assert fleet.states[-1].prepared == 1
        assert fleet.answers() == []
        fleet.decide(2, two)
        await fleet.runs(2)
        assert fleet.answers() == [2]


async def test_an_older_decision_is_no_news(tmp_path: Path) -> None:
    async with member(tmp_path) as fleet:
        one, two = fleet.add(1), fleet.add(2)
        fleet.decide(1, one)
        old = fleet.decided()
        fleet.decide(2, two)
        await fleet.runs(2)
        fleet.driver.received(old)
        fleet.driver.received(Prepare(1, "geo", one, Decided(0, {})))
        await fleet.until(lambda s: s.closed == 2)
        assert fleet.answers() == [2]


async def test_the_same_bytes_twice_swap_nothing(tmp_path: Path) -> None:
    async with member(tmp_path) as fleet:
        one = fleet.add(1)
        fleet.decide(1, one)
        await fleet.runs(1)
        generation = fleet.loader.photons["geo"].generation
        fleet.prepare(2, one)
        assert await fleet.voted(2) == ""
        fleet.decide(2, one)
        await fleet.runs(2)
        assert fleet.loader.photons["geo"].generation is generation
        assert fleet.fetched == [one]


async def test_bytes_that_are_missing_or_others_are_a_vote_against(
    tmp_path: Path,
) -> None:
    async with member(tmp_path) as fleet:
        fleet.prepare(1, "0" * 128)
        assert await fleet.voted(1)
        fleet.decide(1)
        one, two = fleet.add(1), fleet.add(2)
        fleet.contents[two] = fleet.contents[one]
        fleet.prepare(2, two)
        assert "digest" in await fleet.voted(2)
        fleet.decide(2)
        fleet.prepare(3, one, "other")
        assert "geo" in await fleet.voted(3)
        assert fleet.answers() == []


async def test_it_loads_what_it_lacks_as_soon_as_it_can(tmp_path: Path) -> None:
    async with member(tmp_path) as fleet:
        one = fleet.add(1)
        data = fleet.contents.pop(one)
        fleet.decide(1, one)
        await async_wait_until(lambda: fleet.driver.problems)
        waiting = asyncio.create_task(fleet.driver.wait_current())
        fleet.contents[one] = data
        while not fleet.driver.is_current:
            fleet.driver.received(fleet.decided())  # as a coordinator does
            await asyncio.sleep(0.02)
        await waiting
        assert fleet.answers() == [1]
        assert fleet.driver.problems == {}


async def test_calls_wait_until_it_runs_what_was_decided_when_it_joined(
    tmp_path: Path, is_on_this_loop: bool
) -> None:
    """Also of hooks that only the photons to come have."""
    async with member(tmp_path, is_on_this_loop=is_on_this_loop) as fleet:
        hook, ahook = fleet.driver.hook, fleet.driver.ahook
        body = """
    @hookimpl
    def late(self):
        return 1"""
        one = fleet.add(1, body)
        data = fleet.contents.pop(one)
        early: list[asyncio.Task[Any]] = [
            asyncio.create_task(asyncio.to_thread(hook.who)),
            asyncio.create_task(asyncio.to_thread(hook.late)),
            asyncio.create_task(ahook.late()),
        ]
        fleet.decide(1, one)
        await async_wait_until(lambda: fleet.driver.problems)
        other = tmp_path / "two.py"
        other.write_text(TEXT.format(answer="other", body="pass").replace("geo", "two"))
        two = pack(other).data()
        fleet.contents[sha512(two).hexdigest()] = two
        fleet.decide(2, sha512(two).hexdigest(), "two")
        await fleet.runs(2, "two")
        assert not any(task.done() for task in early)
        fleet.contents[one] = data
        while not fleet.driver.is_current:
            fleet.driver.received(fleet.decided())
            await asyncio.sleep(0.02)
        who, *late = await asyncio.gather(*early)
        assert sorted(map(str, who)) == ["1", "other"]
        assert late == [[1], [1]]
        with pytest.raises(AttributeError):
            hook.no_such_hook  # noqa: B018
        with pytest.raises(AttributeError):
            ahook.no_such_hook  # noqa: B018


async def test_photons_of_two_bundles(tmp_path: Path) -> None:
    async with member(tmp_path) as fleet:
        one = fleet.add(1)
        fleet.decide(1, one)
        await fleet.runs(1)
        other = tmp_path / "two.py"
        other.write_text(TEXT.format(answer="other", body="pass").replace("geo", "two"))
        data = pack(other).data()
        digest = sha512(data).hexdigest()
        fleet.contents[digest] = data
        # One waits for its decision; the other one is told of, and loaded after that.
        fleet.prepare(2, fleet.add(2))
        assert await fleet.voted(2) == ""
        fleet.closed = 3
        fleet.table["two"] = (Decision(3, digest),)
        fleet.driver.received(fleet.decided())
        await fleet.runs(3, "two")
        assert fleet.answers() == ["other", 1]


def event() -> dict[str, threading.Event]:
    return {"begun": threading.Event(), "go on": threading.Event()}


async def decided_under_a_call(fleet: Fleet) -> tuple[Any, asyncio.Task[Any]]:
    """Decide 2, with calls held; return what a call of 1 waits for, and that call."""
    one = fleet.add(1)
    fleet.decide(1, one)
    await fleet.runs(1)
    two = fleet.add(2)
    fleet.prepare(2, two)
    assert await fleet.voted(2) == ""
    slow = event()
    under_way = asyncio.create_task(
        asyncio.to_thread(fleet.driver.hook.wait, event=slow)
    )
    await async_wait_until(slow["begun"].is_set)
    fleet.closed, fleet.table = 2, {"geo": (Decision(2, two),)}
    fleet.driver.received(fleet.decided(held=2))
    return slow, under_way


async def test_barrier_holds_new_calls_until_all_have_committed(
    tmp_path: Path, is_on_this_loop: bool
) -> None:
    async with member(tmp_path, is_on_this_loop=is_on_this_loop) as fleet:
        slow, under_way = await decided_under_a_call(fleet)
        await async_wait_until(lambda: fleet.driver._calls._released is not None)
        held = [
            asyncio.create_task(asyncio.to_thread(fleet.driver.hook.who)),
            asyncio.create_task(fleet.driver.ahook.who()),
        ]
        assert not any(state.held for state in fleet.states)
        slow["go on"].set()
        assert await under_way == [1]
        await fleet.until(lambda s: s.held == 2)
        assert not any(task.done() for task in held)
        fleet.driver.received(fleet.decided())
        await fleet.runs(2)
        assert [await task for task in held] == [[2], [2]]


async def test_a_call_that_outlives_the_limit_keeps_nobody(tmp_path: Path) -> None:
    async with member(tmp_path, drain_seconds=0.05) as fleet:
        slow, under_way = await decided_under_a_call(fleet)
        await fleet.until(lambda s: s.held == 2)
        fleet.driver.received(fleet.decided())
        await fleet.runs(2)
        assert fleet.answers() == [2]
        slow["go on"].set()
        assert await under_way == [1]


async def test_a_call_within_a_call_is_not_held(tmp_path: Path) -> None:
    async with member(tmp_path) as fleet:
        body = """
    @hookimpl
    def nested(self, go):
        return go()"""
        fleet.decide(1, fleet.add(1, body))
        await fleet.runs(1)
        slow = event()

        def go() -> Any:
            slow["begun"].set()
            slow["go on"].wait(DEADLINE)
            return fleet.driver.hook.who()

        outer = asyncio.create_task(asyncio.to_thread(fleet.driver.hook.nested, go=go))
        await async_wait_until(slow["begun"].is_set)
        drained = fleet.driver._calls.hold()
        assert not drained.done()
        slow["go on"].set()
        assert await outer == [[1]]
        await asyncio.wrap_future(drained)


async def test_a_commit_that_fails_after_a_yes_is_made_up_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, failures = Prepared.commit, []

    async def fail_once(self: Prepared) -> None:
        if not failures:
            failures.append(self)
            await self.undo()
            raise ValueError("not now")
        await commit(self)

    async with member(tmp_path) as fleet:
        fleet.decide(1, fleet.add(1))
        await fleet.runs(1)
        two = fleet.add(2)
        fleet.prepare(2, two)
        assert await fleet.voted(2) == ""
        monkeypatch.setattr(Prepared, "commit", fail_once)
        fleet.decide(2, two)
        await async_wait_until(lambda: fleet.driver.problems)
        assert fleet.answers() == [1]
        assert not fleet.driver.is_current
        fleet.driver.received(fleet.decided())  # as a coordinator does
        await fleet.runs(2)
        assert fleet.answers() == [2]


async def test_held_calls_go_on_where_the_coordinator_is_lost(tmp_path: Path) -> None:
    async with member(tmp_path) as fleet:
        one, two = fleet.add(1), fleet.add(2)
        fleet.decide(1, one)
        await fleet.runs(1)
        fleet.prepare(2, two)
        assert await fleet.voted(2) == ""
        fleet.closed, fleet.table = 2, {"geo": (Decision(2, two),)}
        fleet.driver.received(fleet.decided(held=2))
        await fleet.until(lambda s: s.held == 2)
        held = asyncio.create_task(asyncio.to_thread(fleet.driver.hook.who))
        fleet.driver.lost()
        assert await held == [2]


async def test_a_held_call_may_be_cancelled_alone(tmp_path: Path) -> None:
    async with member(tmp_path) as fleet:
        fleet.decide(1, fleet.add(1))
        await fleet.runs(1)
        fleet.driver._calls.hold()
        first = asyncio.create_task(fleet.driver.ahook.who())
        second = asyncio.create_task(fleet.driver.ahook.who())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert not second.done()
        fleet.driver._calls.release()
        assert await second == [1]
        assert fleet.driver._calls.count == 0


async def test_figures_are_of_what_runs_now(tmp_path: Path) -> None:
    async with member(tmp_path) as fleet:
        fleet.decide(1, fleet.add(1))
        await fleet.runs(1)
        for _ in range(5):
            fleet.answers()
        assert fleet.driver.figures()["geo"]["calls"] == 5
        fleet.decide(2, fleet.add(2))
        await fleet.runs(2)
        fleet.answers()
        figures = fleet.driver.figures()["geo"]
        assert (figures["calls"], figures["errors"]) == (1, 0)
        assert figures["p95"] >= 0.0


async def test_a_closed_member_leaves_nothing_that_waits(
    tmp_path: Path, is_on_this_loop: bool
) -> None:
    async with member(tmp_path, is_on_this_loop=is_on_this_loop) as fleet:
        fleet.decide(1, fleet.add(1))
        await fleet.runs(1)
        fleet.prepare(2, fleet.add(2))
        assert await fleet.voted(2) == ""
        fleet.driver._calls.hold()
        held = asyncio.create_task(asyncio.to_thread(fleet.driver.hook.who))
        await fleet.driver.close()
        assert await held == [1]
        assert fleet.answers() == [1]
        with pytest.raises(PhotonStateError):
            luminal.fleet.hook()
        with pytest.raises(PhotonStateError):
            await fleet.driver.wait_current()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
async def test_a_process_that_was_forked_is_no_member(tmp_path: Path) -> None:
    async with member(tmp_path) as fleet:
        fleet.decide(1, fleet.add(1))
        await fleet.runs(1)
        assert luminal.fleet.hook().who() == [1]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # it has threads
            pid = os.fork()
        if pid == 0:
            try:
                luminal.fleet.hook()
            except PhotonStateError:
                os._exit(7)
            finally:
                os._exit(1)
        _, status = await asyncio.to_thread(os.waitpid, pid, 0)
        assert os.waitstatus_to_exitcode(status) == 7


async def test_what_a_kill_list_ends_is_not_reported_as_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUMINAL_STATE_DIR", str(tmp_path / "state"))
    anna = SecretKey.new()
    lock = tmp_path / "luminal.lock"
    lock.write_text(
        'version = 1\nmode = "signed"\nthreshold = 1\n\n[keys]\n'
        f'anna = "{anna.public}"\n'
    )
    async with member(tmp_path, lock=lock, ask_seconds=0.05) as fleet:

        def signed(number: int) -> str:
            (tmp_path / "geo.py").write_text(
                TEXT.format(answer=number, body="pass").replace("1.0", f"{number}.0")
            )
            data = sign(open_bundle(pack(tmp_path / "geo.py").data()), anna).data()
            digest = sha512(data).hexdigest()
            fleet.contents[digest] = data
            return digest

        for number in (1, 2):
            fleet.decide(number, signed(number))
            await fleet.runs(number)
        killing = KillList().adding(Kill("geo", "==2.0", why="it leaks")).signed(anna)
        new = tmp_path / "new.json"
        new.write_bytes(killing.data())
        new.replace(tmp_path / "kill-list.json")
        await async_wait_until(lambda: "it leaks" in fleet.states[-1].problem)
        assert "geo" not in fleet.states[-1].runs
        assert not fleet.driver.is_current
        assert not fleet.answers()
        three = signed(3)
        fleet.prepare(3, three)
        assert await fleet.voted(3) == ""
        fleet.decide(3, three)
        await fleet.runs(3)
        await async_wait_until(lambda: not fleet.states[-1].problem)
        assert fleet.answers() == [3]
