"""Failures have names, isolation spares the others, numbers and orders are told."""

from __future__ import annotations

import threading
from typing import Any

import pluggy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luminal.errors import PhotonConflictError
from luminal.hooks import Answer, HookFailure, PluginManager
from luminal.interfaces import hookimpl, hookspec
from luminal.model import Quarantine
from luminal.testing import FakeClock
from tests.waiting import DEADLINE


class Specs:
    @hookspec
    def work(self, x: int) -> Any: ...

    @hookspec(isolate=True)
    def spared(self, x: int) -> Any: ...

    @hookspec(firstresult=True)
    def one(self, x: int) -> Any: ...

    @hookspec(historic=True)
    def told(self, x: Any) -> Any: ...


def manager(**options: Any) -> PluginManager:
    pm = PluginManager("luminal", **options)
    pm.add_hookspecs(Specs)
    return pm


class Good:
    @hookimpl
    def work(self, x: int) -> Any:
        return x

    @hookimpl
    def spared(self, x: int) -> Any:
        return x

    @hookimpl
    def one(self, x: int) -> Any:
        return None


class Bad:
    @hookimpl
    def work(self, x: int) -> Any:
        raise LookupError("bad")

    @hookimpl
    def spared(self, x: int) -> Any:
        raise LookupError("bad")

    @hookimpl
    def one(self, x: int) -> Any:
        return x


LINE_OF_WORK = Bad.work.__code__.co_firstlineno + 2


@pytest.mark.fault(22)
async def test_an_exception_has_a_note_that_names_the_photon() -> None:
    """Photon, hook, generation and file:line; cold, prepared and awaited."""
    pm = manager()
    pm.register(Good(), "good")
    pm.register(Bad(), "bad", generation=3)
    expected = (
        f"raised by photon 'bad' (generation 3) in hook 'work' "
        f"at {__file__}:{LINE_OF_WORK}"
    )
    for _ in range(20):
        with pytest.raises(LookupError) as caught:
            pm.hook.work(x=1)
        assert caught.value.__notes__ == [expected]
        with pytest.raises(LookupError) as caught:
            await pm.ahook.work(x=1)
        assert caught.value.__notes__ == [expected]


def test_one_exception_object_raised_again_gets_one_note() -> None:
    """Notes do not pile up on an exception that a photon keeps."""
    kept = LookupError("kept")

    class Keeps:
        @hookimpl
        def work(self, x: int) -> Any:
            raise kept

    pm = manager()
    pm.register(Keeps(), "keeps", generation=1)
    for _ in range(30):
        with pytest.raises(LookupError):
            pm.hook.work(x=1)
    assert len(kept.__notes__) == 1


@pytest.mark.fault(22)
async def test_isolation_reports_and_the_others_answer() -> None:
    """One photon's failure is an event; SystemExit too; Ctrl-C is not."""
    events: list[HookFailure] = []
    pm = manager(report=events.append)
    pm.register(Good(), "good")
    pm.register(Bad(), "bad")
    for _ in range(20):
        assert pm.hook.spared(x=1) == [1]
        assert await pm.ahook.spared(x=1) == [1]
    assert len(events) == 40
    assert (events[0].photon, events[0].hook) == ("bad", "spared")
    assert isinstance(events[-1].error, LookupError)
    assert events[-1].where.startswith(__file__)

    class Exits:
        @hookimpl
        def spared(self, x: int) -> Any:
            raise SystemExit(1) if x else KeyboardInterrupt

    pm.register(Exits(), "exits")
    for _ in range(12):
        assert pm.hook.spared(x=1) == [1]
        with pytest.raises(KeyboardInterrupt):
            pm.hook.spared(x=0)


@pytest.mark.fault(22)
async def test_isolation_of_wrappers() -> None:
    """A wrapper that fails on either side leaves the result as it was."""
    events: list[HookFailure] = []
    pm = manager(isolate=True, report=events.append)

    class Before:
        @hookimpl(wrapper=True)
        def work(self, x: int) -> Any:
            raise LookupError("before")
            yield

    class After:
        @hookimpl(wrapper=True)
        def work(self, x: int) -> Any:
            yield
            raise LookupError("after")

    for name, plugin in (("g", Good()), ("b", Before()), ("a", After())):
        pm.register(plugin, name)
    for _ in range(12):
        assert pm.hook.work(x=1) == [1]
        assert await pm.ahook.work(x=1) == [1]
    assert {e.photon for e in events} == {"a", "b"}


@pytest.mark.fault(44)
def test_a_listener_that_raises_changes_nothing() -> None:
    """The call goes on when the report itself fails."""

    def report(failure: HookFailure) -> None:
        raise RuntimeError("listener")

    pm = manager(report=report)
    pm.register(Bad(), "bad")
    assert pm.hook.spared(x=1) == []


async def test_detailed_says_who_answered_what() -> None:
    """In the order of calls; failures of an isolated hook are among the answers."""
    pm = manager()
    pm.register(Good(), "good")
    pm.register(Bad(), "bad", generation=2)
    answers = pm.hook.spared.detailed(x=5)
    assert [(a.photon, a.generation, a.value) for a in answers] == [
        ("bad", 2, None),
        ("good", 0, 5),
    ]
    assert isinstance(answers[0].error, LookupError)
    assert pm.hook.one.detailed(x=5) == [Answer("bad", 2, 5)]
    found: Any = await pm.ahook.spared.detailed(x=5)
    assert [a.photon for a in found] == ["bad", "good"]


@pytest.mark.fault(22)
@settings(max_examples=60)
@given(st.lists(st.sampled_from(["good", "bad"]), min_size=1, max_size=40))
def test_calls_and_errors_are_exact(wishes: list[str]) -> None:
    """Whatever fails when, the numbers are those of a count by hand."""
    calls = dict.fromkeys("abc", 0)
    errors = dict.fromkeys("abc", 0)

    def counting(name: str) -> Any:
        class Photon:
            @hookimpl
            def work(self, x: str) -> Any:
                calls[name] += 1
                if name == "b" and x == "bad":
                    errors[name] += 1
                    raise LookupError

        return Photon()

    pm = manager()
    for name in "abc":
        pm.register(counting(name), name)
    for wish in wishes:
        try:
            pm.hook.work(x=wish)
        except LookupError:
            continue
    found = {s.photon: s for s in pm.statistics() if s.hook == "work"}
    assert {n: s.calls for n, s in found.items()} == calls
    assert {n: s.errors for n, s in found.items()} == errors


async def test_a_wrapper_that_fails_late_takes_no_call_from_the_others() -> None:
    """Its second half raises: what it wraps has been called and counted."""

    class Late:
        @hookimpl(wrapper=True)
        def work(self, x: int) -> Any:
            yield
            raise LookupError

    pm = manager()
    pm.register(Good(), "good")
    pm.register(Late(), "late")
    for _ in range(20):
        with pytest.raises(LookupError):
            pm.hook.work(x=1)
        with pytest.raises(LookupError):
            await pm.ahook.work(x=1)
    found = {s.photon: s for s in pm.statistics() if s.hook == "work"}
    assert (found["good"].calls, found["good"].errors) == (40, 0)
    assert (found["late"].calls, found["late"].errors) == (40, 40)


def test_errors_are_exact_under_threads() -> None:
    """Eight threads fail side by side; none is lost."""
    pm = manager()
    pm.register(Bad(), "bad")

    def work() -> None:
        for _ in range(500):
            pm.hook.spared(x=1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    [found] = [s for s in pm.statistics() if s.hook == "spared"]
    assert (found.calls, found.errors) == (4000, 4000)


def test_in_flight_is_known_for_a_sync_call() -> None:
    """A call that another thread is in is counted for its photon and no other."""
    inside, go_on = threading.Event(), threading.Event()

    class Waits:
        @hookimpl
        def work(self, x: int) -> Any:
            if x:
                inside.set()
                assert go_on.wait(DEADLINE)

    pm = manager()
    waits, other = Waits(), Good()
    pm.register(waits, "waits")
    for calls_before in (0, 20):
        for _ in range(calls_before):
            pm.hook.work(x=0)
        inside.clear()
        go_on.clear()
        thread = threading.Thread(target=lambda: pm.hook.work(x=1))
        thread.start()
        assert inside.wait(DEADLINE)
        assert (pm.in_flight(waits), pm.in_flight(other)) == (1, 0)
        assert pm.statistics()[0].in_flight == 1
        go_on.set()
        assert pm.wait_until_idle(waits, DEADLINE)
        thread.join(DEADLINE)


@pytest.mark.parametrize("calls_before", [0, 20])
def test_a_quarantine_skips_and_tries_again(
    calls_before: int,
) -> None:
    """After failures in a row a photon is passed over, reported, then tried again."""
    clock = FakeClock(1000)
    events: list[HookFailure] = []
    pm = manager(report=events.append)
    pm.set_quarantine(Quarantine(3, 5), clock=clock)
    is_bad, calls = True, 0

    class Moody:
        @hookimpl
        def spared(self, x: int) -> Any:
            nonlocal calls
            calls += 1
            if is_bad:
                raise LookupError
            return "moody"

    pm.register(Good(), "good")
    pm.register(Moody(), "moody")
    is_bad = False
    for _ in range(calls_before):
        assert pm.hook.spared(x=1) == ["moody", 1]
    for _ in range(5):
        is_bad = True
        for _ in range(2):
            assert pm.hook.spared(x=1) == [1]
        is_bad = False
        assert pm.hook.spared(x=1) == ["moody", 1]
    is_bad, calls = True, 0
    for _ in range(10):
        assert pm.hook.spared(x=1) == [1]
    assert calls == 3
    assert events[-1].skipped_for == 5
    clock.advance(6)
    for _ in range(10):  # one failure on trial is enough
        assert pm.hook.spared(x=1) == [1]
    assert calls == 4
    clock.advance(6)
    is_bad = False
    for _ in range(20):
        assert pm.hook.spared(x=1) == ["moody", 1]
    found = next(
        s for s in pm.statistics() if (s.photon, s.hook) == ("moody", "spared")
    )
    assert found.skipped == 16


def ordered(pm: PluginManager) -> list[str]:
    return [place.photon for place in pm.explain_order("work").places]


def test_before_and_after_by_name() -> None:
    """Photons are put before and after others by name; the rest stays as it was."""
    pm = manager()

    def named(**options: Any) -> Any:
        class Photon:
            @hookimpl(**options)
            def work(self, x: int) -> Any:
                return None

        return Photon()

    pm.register(named(), "a")
    pm.register(named(after="a"), "b")
    pm.register(named(before=["b", "nobody"]), "c")
    pm.register(named(trylast=True), "d")
    assert ordered(pm) == ["c", "a", "b", "d"]
    text = str(pm.explain_order("work"))
    assert "after 'a'" in text
    assert "trylast" in text
    with pytest.raises(
        PhotonConflictError, match="'e' before 'a' before 'b' before 'e'"
    ):
        pm.register(named(before="a", after="b"), "e")
    assert ordered(pm) == ["c", "a", "b", "d"]
    assert not pm.has_plugin("e")
    with pytest.raises(PhotonConflictError):
        pm.swap("a", named(after="b"))
    assert ordered(pm) == ["c", "a", "b", "d"]
    pm.swap("a", named())
    assert ordered(pm) == ["c", "a", "b", "d"]


def test_history_does_not_keep_a_photon() -> None:
    """Earlier calls that hold a photon, or belong to it, end with it."""
    pm = manager()
    told: list[Any] = []

    class Hears:
        @hookimpl
        def told(self, x: Any) -> Any:
            told.append(x)

    leaving = Good()
    pm.register(leaving, "leaving")
    pm.hook.told.call_historic(kwargs={"x": leaving})
    pm.hook.told.call_historic(kwargs={"x": leaving.work})
    pm.hook.told.call_historic(kwargs={"x": "owned"}, owner="leaving")
    pm.hook.told.call_historic(kwargs={"x": "stays"})
    pm.unregister(leaving)
    pm.register(Hears(), "hears")
    assert told == ["stays"]
    assert pm.hook.told.forget() == 1


def test_monitoring_can_be_undone_in_any_order() -> None:
    """Undoing the first of two monitors leaves the second alone."""
    pm = manager()
    pm.register(Good(), "good")
    log: list[str] = []

    def pair(name: str) -> tuple[Any, Any]:
        return (
            lambda *a: log.append(f"{name} before"),
            lambda *a: log.append(f"{name} after"),
        )

    for _ in range(12):
        pm.hook.work(x=1)
    first = pm.add_hookcall_monitoring(*pair("1"))
    second = pm.add_hookcall_monitoring(*pair("2"))
    pm.hook.work(x=1)
    assert log == ["2 before", "1 before", "1 after", "2 after"]
    first()
    pm.hook.work(x=1)
    assert log[4:] == ["2 before", "2 after"]
    second()
    pm.hook.work(x=1)
    assert len(log) == 6


async def test_typed_hooks_are_the_hooks() -> None:
    """`hooks` leads a specification made with def to a call, async def to an await."""

    class Mixed:
        @hookspec
        def sync(self, x: int) -> int: ...  # type: ignore[empty-body]

        @hookspec
        async def later(self, x: int) -> int: ...  # type: ignore[empty-body]

    class Photon:
        @hookimpl
        def sync(self, x: int) -> int:
            return x

        @hookimpl
        async def later(self, x: int) -> int:
            return x + 1

    pm = PluginManager("luminal")
    pm.add_hookspecs(Mixed)
    pm.register(Photon())
    hooks = pm.hooks(Mixed)
    assert hooks.sync(x=1) == [1]

    assert await hooks.later(x=1) == [2]


@pytest.mark.fault(25)
def test_a_broken_descriptor_is_never_touched() -> None:
    """Registration runs no property, `__getattr__` or `__dir__` of the photon."""

    class Trap:
        @property
        def trap(self) -> None:
            raise AssertionError("touched")

        def __getattr__(self, name: str) -> Any:
            if name != "__name__":
                raise AssertionError(name)
            raise AttributeError(name)

        def __dir__(self) -> Any:
            raise AssertionError("listed")

        @hookimpl
        def work(self, x: int) -> Any:
            return x

    pm = manager()
    pm.register(Trap())
    assert pm.hook.work(x=3) == [3]


def test_markers_of_pluggy_and_of_luminal_mix() -> None:
    """pluggy's own markers of the project are understood."""
    theirs = pluggy.HookimplMarker("luminal")

    class Photon:
        @theirs(tryfirst=True)
        def work(self, x: int) -> Any:
            return "theirs"

    pm = manager()
    pm.register(Photon())
    pm.register(Good())
    assert pm.hook.work(x=1) == ["theirs", 1]
