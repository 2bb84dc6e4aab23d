"""The engine's rules where they end: circuits, tracers, monitors, odd signatures."""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import Any

import pytest

from luminal.hooks import PluginManager
from luminal.interfaces import hookimpl, hookspec
from luminal.model import Quarantine
from luminal.testing import FakeClock
from tests.waiting import DEADLINE

MANY = 20
"""Calls after which a caller is prepared."""


class Specs:
    @hookspec
    def work(self, x: Any) -> Any: ...

    @hookspec
    def rest(self) -> Any: ...

    @hookspec
    def pair(self, a: int, b: int) -> Any: ...


class Bad:
    @hookimpl
    def work(self, x: Any) -> Any:
        if callable(x):
            x()
        raise LookupError("bad")

    @hookimpl
    def rest(self) -> Any:
        return "rests"


class Good:
    @hookimpl
    def work(self, x: Any) -> Any:
        return "good"


def manager(*plugins: object) -> PluginManager:
    pm = PluginManager("luminal")
    pm.add_hookspecs(Specs)
    for plugin in plugins:
        pm.register(plugin, type(plugin).__name__)
    return pm


def fail(pm: PluginManager, x: Any = None) -> None:
    with pytest.raises(LookupError):
        pm.hook.work(x=x)


# Quarantines.


def test_a_new_generation_is_not_passed_over_for_the_old_ones_failures() -> None:
    """A quarantine of the old generation is none of its successor."""
    pm = manager(Bad())
    pm.set_quarantine(Quarantine(1, 3600), clock=FakeClock(1000))
    fail(pm)
    assert pm.hook.work(x=None) == []
    pm.swap("Bad", Good())
    assert pm.hook.work(x=None) == ["good"]


@pytest.mark.parametrize("comes_back", [False, True])
def test_late_failures_of_who_is_gone_begin_no_quarantine(comes_back: bool) -> None:
    """What a call under way brings after a swap is not held against the new one."""
    pm = manager(Bad())
    pm.set_quarantine(Quarantine(1, 3600), clock=FakeClock(1000))
    reached, go_on = threading.Event(), threading.Event()

    def work() -> None:
        reached.set()
        assert go_on.wait(DEADLINE)

    thread = threading.Thread(target=fail, args=(pm, work))
    thread.start()
    assert reached.wait(DEADLINE)
    if comes_back:
        pm.unregister(name="Bad")
        pm.register(Good(), "Bad")
    else:
        pm.swap("Bad", Good())
    go_on.set()
    thread.join(DEADLINE)
    assert pm.hook.work(x=None) == ["good"]


def test_functions_of_one_call_are_never_passed_over() -> None:
    """What `call_extra` is given belongs to no photon, so it has no quarantine."""
    pm = manager(Good())
    pm.set_quarantine(Quarantine(1, 3600), clock=FakeClock(1000))

    def extra(x: Any) -> Any:
        raise LookupError(x)

    for _ in range(2):
        with pytest.raises(LookupError):
            pm.hook.work.call_extra([extra], {"x": 1})


@pytest.mark.parametrize("half", ["first", "second"])
@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("calls_between", [1, MANY])
def test_a_wrappers_streak_ends_when_it_goes_well(
    half: str, is_async: bool, calls_between: int
) -> None:
    """Only failures in a row of a wrapper begin its quarantine."""

    class Wraps:
        @hookimpl(wrapper=True)
        def work(self, x: Any) -> Any:
            if x == "first":
                raise LookupError
            result = yield
            if x == "second":
                raise LookupError
            return result

    pm = manager(Good(), Wraps())
    pm.set_quarantine(Quarantine(2, 3600), clock=FakeClock(1000))

    def call(x: Any) -> Any:
        async def work() -> Any:
            return await pm.ahook.work(x=x)

        return asyncio.run(work()) if is_async else pm.hook.work(x=x)

    for _ in range(4):
        with pytest.raises(LookupError):
            call(half)
        for _ in range(calls_between):
            assert call(None) == ["good"]
    for _ in range(2):
        with pytest.raises(LookupError):
            call(half)
    assert call(half) == ["good"]


def test_a_wrapper_that_passes_anothers_error_on_has_not_failed() -> None:
    """An exception that goes through a wrapper ends that wrapper's own streak."""

    class Wraps:
        @hookimpl(wrapper=True)
        def rest(self) -> Any:
            return (yield)

        @hookimpl(wrapper=True)
        def work(self, x: Any) -> Any:
            if x == "mine":
                raise LookupError
            return (yield)

    class Theirs:
        @hookimpl
        def work(self, x: Any) -> Any:
            if x == "theirs":
                raise LookupError

    pm = manager(Theirs(), Wraps())
    pm.set_quarantine(Quarantine(2, 3600), clock=FakeClock(1000))
    for _ in range(4):
        fail(pm, "mine")
        fail(pm, "theirs")
        assert pm.hook.work(x=None) == []
    fail(pm, "mine")


# Swaps.


def test_one_photon_in_two_pairs_of_a_swap_is_refused() -> None:
    """Nothing has changed then."""
    first, second, new = Good(), Bad(), Good()
    pm = manager(first, second)
    for pairs in ([(first, new), (second, new)], [(first, new), (first, Good())]):
        with pytest.raises(ValueError, match="in two pairs"):
            pm.swap_many(pairs)
    assert pm.list_name_plugin() == [("Good", first), ("Bad", second)]
    assert pm.is_registered(first)
    assert not pm.is_registered(new)


# Tracers.


def test_a_tracer_may_end_a_call_at_any_line() -> None:
    """A debugger that quits, or a thread that is halted, gets its own exception."""

    class Quit(BaseException):
        pass

    pm = manager(Good())
    for _ in range(MANY):
        pm.hook.work(x=None)
    code = pm.hook.work.__code__  # type: ignore[attr-defined]
    lines = {line for _, _, line in code.co_lines() if line}
    assert len(lines) > 4
    ended = set()
    before = sys.gettrace()
    for at in lines:

        def trace(frame: Any, event: str, arg: Any, at: int = at) -> Any:
            if frame.f_code is not code:
                return None
            if event == "line" and frame.f_lineno == at:
                raise Quit
            return trace

        sys.settrace(trace)
        try:
            pm.hook.work(x=None)
        except Quit:
            ended.add(at)
        finally:
            sys.settrace(before)
    assert len(ended) > 3


# Monitors.


@pytest.mark.parametrize("fails", [False, True])
def test_awaited_calls_are_monitored_and_traced(fails: bool) -> None:
    """`add_hookcall_monitoring` runs around awaited calls too, inside out."""

    class Waits:
        @hookimpl
        async def work(self, x: Any) -> Any:
            await asyncio.sleep(0)
            seen.append(x)
            if fails:
                raise LookupError
            return x

    pm = manager(Waits())
    seen: list[Any] = []

    def pair(tag: str) -> Any:
        return (
            lambda name, impls, kwargs: seen.append((tag, name, len(impls), kwargs)),
            lambda result, *_: seen.append((tag, type(result.exception))),
        )

    async def call() -> Any:
        try:
            return await pm.ahook.work(x=1)
        except LookupError:
            return "failed"

    undo = [pm.add_hookcall_monitoring(*pair(tag)) for tag in ("inner", "outer")]
    kind = LookupError if fails else type(None)
    answer: Any = "failed" if fails else [1]
    assert asyncio.run(call()) == answer
    assert seen == [
        ("outer", "work", 1, {"x": 1}),
        ("inner", "work", 1, {"x": 1}),
        1,
        ("inner", kind),
        ("outer", kind),
    ]
    for one in undo:
        one()
    seen.clear()
    assert asyncio.run(call()) == answer
    assert seen == [1]


# Signatures and exceptions.


def test_arguments_by_position_alone_are_handed_over() -> None:
    """An implementation may have ``/`` after an argument with a default."""

    class Slash:
        @hookimpl
        def pair(self, a: int, b: int = 0, /) -> Any:
            return a, b

    pm = manager(Slash())
    assert [pm.hook.pair(a=1, b=2) for _ in range(MANY)] == [[(1, 2)]] * MANY


def test_an_async_wrapper_lets_the_end_of_an_iteration_pass() -> None:
    """StopAsyncIteration is an exception like others, warm and cold."""

    class Wraps:
        @hookimpl(wrapper=True)
        async def work(self, x: Any) -> Any:
            yield (yield)

    class Ends:
        @hookimpl
        def work(self, x: Any) -> Any:
            raise StopAsyncIteration("mine")

    pm = manager(Ends(), Wraps())

    async def call() -> Any:
        try:
            await pm.ahook.work(x=1)
        except Exception as raised:
            return type(raised)

    assert {asyncio.run(call()) for _ in range(MANY)} == {StopAsyncIteration}
