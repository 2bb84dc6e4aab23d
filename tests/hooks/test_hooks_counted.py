"""Calls under way are counted, whatever suspends, watches or interrupts them."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from luminal._weak import members_of
from luminal.hooks import PluginManager
from luminal.hooks import _swap as engine
from luminal.interfaces import hookimpl, hookspec
from tests.waiting import DEADLINE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Specs:
    @hookspec
    def outer(self, run: Any) -> Any: ...

    @hookspec
    async def aouter(self, run: Any) -> Any: ...

    @hookspec
    def inner(self) -> Any: ...

    @hookspec
    def other(self) -> Any: ...


class Photon:
    def __init__(self, tag: Any) -> None:
        self.tag = tag

    @hookimpl
    def inner(self) -> Any:
        return self.tag


class Outer:
    @hookimpl
    def outer(self, run: Any) -> Any:
        return run()

    @hookimpl
    def other(self) -> Any:
        return "other"


class Wrapper:
    @hookimpl(wrapper=True)
    def outer(self, run: Any) -> Any:
        return (yield)


class AsyncOuter:
    @hookimpl
    async def outer(self, run: Any) -> Any:
        return await run()

    @hookimpl
    async def aouter(self, run: Any) -> Any:
        return await run()


def manager(outer: Any = None, *, is_warm: bool = True) -> PluginManager:
    pm = PluginManager("luminal")
    pm.add_hookspecs(Specs)
    pm.register(outer or Outer(), "outer")
    pm.register(Photon("old"), "p")
    for _ in range(12 if is_warm else 0):
        pm.hook.inner()
        pm.hook.other()
        if outer is None:
            pm.hook.outer(run=lambda: 1)
    return pm


@contextlib.contextmanager
def long_call(pm: PluginManager, run: Callable[[], Any]) -> Iterator[list[Any]]:
    """Keep a call of ``outer`` under way, which calls *run* when the block ends."""
    inside, go_on, found = threading.Event(), threading.Event(), []

    def wait() -> Any:
        inside.set()
        assert go_on.wait(DEADLINE)
        return run()

    def call() -> None:
        found.extend(pm.hook.outer(run=wait))

    thread = threading.Thread(target=call)
    thread.start()
    assert inside.wait(DEADLINE)
    try:
        yield found
    finally:
        go_on.set()
        thread.join(DEADLINE)


RUNNERS = ["asyncio", "uvloop"]


def run_on(kind: str, main: Any) -> Any:
    """Run *main* on a new loop of this kind."""
    factory = None
    if kind == "uvloop":
        factory = pytest.importorskip("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main())


@pytest.mark.parametrize("is_warm", [False, True])
def test_no_frame_of_another_thread_is_read(
    monkeypatch: pytest.MonkeyPatch, is_warm: bool
) -> None:
    def refuse() -> Any:
        raise AssertionError("frames of other threads were asked for")

    pm = manager(is_warm=is_warm)
    outer = pm.get_plugin("outer")
    with long_call(pm, pm.hook.inner) as found:
        monkeypatch.setattr(sys, "_current_frames", refuse)
        assert pm.in_flight(outer) == 1
        assert {row.in_flight for row in pm.statistics() if row.hook == "outer"} == {1}
        pm.swap("p", Photon("new"))
        assert pm.hook.inner() == ["new"]
        assert not pm.wait_until_idle(outer, 0.01)
    assert found == [["old"]]
    assert pm.wait_until_idle(outer, DEADLINE)


@pytest.mark.parametrize("is_warm", [False, True])
@pytest.mark.parametrize("library", ["gevent", "greenlet"])
def test_greenlets_that_are_suspended_in_a_hook_count(
    library: str, is_warm: bool
) -> None:
    """Five requests wait in a hook; each goes on with the generation it began with."""
    greenlet = pytest.importorskip("greenlet")
    if library == "gevent":
        pytest.importorskip("gevent")
    pm = manager(is_warm=is_warm)
    old, hub = pm.get_plugin("p"), greenlet.getcurrent()
    found: list[Any] = []

    def request() -> None:
        def wait() -> Any:
            if library == "gevent":
                event.wait(DEADLINE)
            else:
                hub.switch()
            return pm.hook.inner()

        found.extend(pm.hook.outer(run=wait))

    if library == "gevent":
        import gevent
        from gevent.event import Event

        event = Event()
        requests = [gevent.spawn(request) for _ in range(5)]
        gevent.sleep(0)
    else:
        requests = [greenlet.greenlet(request) for _ in range(5)]
        for each in requests:
            each.switch()
    assert pm.in_flight(pm.get_plugin("outer")) == 5
    pm.swap("p", Photon("new"))
    assert pm.in_flight(old) == 5
    assert not pm.wait_until_idle(old, 0.01)
    assert pm.hook.inner() == ["new"]
    if library == "gevent":
        event.set()
        gevent.joinall(requests)
    else:
        for each in requests:
            each.switch()
    assert found == [["old"]] * 5
    assert pm.in_flight(old) == 0
    assert pm.hook.inner() == ["new"]


@pytest.mark.parametrize("kind", RUNNERS)
def test_a_task_on_a_loop_that_a_hook_runs_is_an_outermost_call(kind: str) -> None:
    """It is not part of the call that runs the loop."""
    pm = manager()

    async def server() -> Any:
        pm.swap("p", Photon("new"))
        mine = pm.hook.inner()
        made = await asyncio.create_task(nested())
        return mine, made

    async def nested() -> Any:
        return pm.hook.inner()

    assert pm.hook.outer(run=lambda: run_on(kind, server)) == [(["new"], ["new"])]


@pytest.mark.parametrize("kind", RUNNERS)
def test_tasks_that_are_suspended_in_a_hook_count(kind: str) -> None:
    """Other tasks of the same loop see the new generation meanwhile."""
    pm = manager(AsyncOuter())
    old = pm.get_plugin("p")

    async def main() -> Any:
        reached, go_on = asyncio.Event(), asyncio.Event()

        async def wait() -> Any:
            reached.set()
            await go_on.wait()
            return pm.hook.inner()

        tasks = [asyncio.create_task(pm.ahook.outer(run=wait)) for _ in range(3)]
        await reached.wait()
        pm.swap("p", Photon("new"))

        async def other() -> Any:
            return [pm.hook.inner() for _ in range(20)]

        seen = await asyncio.gather(other(), other())
        assert pm.in_flight(old) == 3
        go_on.set()
        found = await asyncio.gather(*tasks)
        assert pm.in_flight(old) == 0
        return seen, found

    seen, found = run_on(kind, main)
    assert seen == [[["new"]] * 20] * 2
    assert found == [[["old"]]] * 3


@pytest.mark.parametrize("outer", [Outer, AsyncOuter])
def test_what_a_sync_call_of_an_async_hook_calls_is_part_of_it(outer: Any) -> None:
    """The loop that the engine runs for it is no border."""
    pm = manager(outer())

    async def arun() -> Any:
        return run()

    def run() -> Any:
        pm.swap("p", Photon("new"))
        return pm.hook.inner()

    if outer is AsyncOuter:
        assert pm.hook.aouter(run=arun) == [["old"]]
    else:
        assert pm.hook.outer(run=run) == [["old"]]


def test_a_swap_makes_only_its_own_hooks_cold() -> None:
    pm = manager()
    before = pm.hook.other.__code__
    with long_call(pm, lambda: None):
        pm.swap("p", Photon("new"))
        assert pm.hook.other.__code__ is before
    pm.hook.other()
    assert pm.hook.other.__code__ is before


def test_a_long_call_costs_other_threads_no_walk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each thread looks at its stack once, and the swapped hook is compiled again."""
    walks: list[int] = []
    real = engine.outermost

    def outermost(policy: Any) -> Any:
        walks.append(threading.get_ident())
        return real(policy)

    pm = manager()
    monkeypatch.setattr(engine, "outermost", outermost)
    with long_call(pm, pm.hook.inner) as found:
        pm.swap("p", Photon("new"))
        for _ in range(500):
            assert pm.hook.inner() == ["new"]
        assert walks.count(threading.get_ident()) == 1
    assert found == [["old"]]


@pytest.mark.parametrize("is_warm", [False, True])
def test_after_the_deadline_a_long_call_is_led_to_the_new(is_warm: bool) -> None:
    """What was given up is not called any more, and can be collected."""
    pm = manager(is_warm=is_warm)
    old = pm.get_plugin("p")
    with long_call(pm, pm.hook.inner) as found:
        pm.swap("p", Photon("new"))
        assert pm.in_flight(old) == 1
        pm.abandon(old)
        assert pm.in_flight(old) == 0
    assert found == [["new"]]


@pytest.mark.parametrize("has_hooks", [False, True])
def test_a_call_can_ask_which_generation_it_sees(has_hooks: bool) -> None:
    """Until it is given up, that is the one that its outermost call began with."""
    pm = manager()
    if not has_hooks:
        pm.unregister(name="p")
        pm.register(object(), "p")
    pm.follow("p")
    old, new = pm.get_plugin("p"), Photon("new") if has_hooks else object()
    with long_call(pm, lambda: pm.seen("p")) as found:
        pm.swap("p", new)
        assert pm.seen("p") is new
        assert pm.in_flight(old) == 1
    assert found == [old]
    assert pm.seen("p") is new
    assert pm.in_flight(old) == 0
    assert pm.seen("nobody") is None
    hooks = [caller.name for caller in pm.get_hookcallers(new)]
    assert hooks == (["inner"] if has_hooks else [])
    assert "inner" in {row.hook for row in pm.statistics()} or not has_hooks
    assert all(not row.hook.startswith("_") for row in pm.statistics())


@pytest.mark.parametrize("has_wrapper", [False, True])
@pytest.mark.parametrize("awaits", [False, True])
def test_a_debugger_that_ends_a_call_anywhere_leaves_the_counts_right(
    awaits: bool, has_wrapper: bool
) -> None:
    """An exception out of a trace function, at each event of a compiled caller."""
    pm = manager()
    outer = pm.get_plugin("outer")
    if has_wrapper:
        pm.register(Wrapper())

    def run() -> Any:
        return None

    def call() -> Any:
        if not awaits:
            return pm.hook.outer(run=run)
        with contextlib.suppress(StopIteration):
            return pm.ahook.outer(run=run).send(None)

    for _ in range(20):
        call()
    number, reached = 0, 0
    while number == reached:
        number, reached = number + 1, 0

        def trace(frame: Any, event: str, arg: Any, number: int = number) -> Any:
            nonlocal reached
            if frame.f_code.co_filename.startswith("<luminal.hooks"):
                reached += 1
                if reached == number:
                    raise SystemExit(number)
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            with contextlib.suppress(SystemExit):
                call()
        finally:
            sys.settrace(before)
        assert pm.in_flight(outer) == 0, number
    assert number > 5


@pytest.mark.parametrize("watch", ["settrace", "setprofile", "monitoring"])
def test_watched_calls_are_counted(watch: str) -> None:
    """Under coverage, a debugger, a profiler."""
    pm = manager()

    def trace(*_: Any) -> Any:
        return trace

    if watch == "monitoring":
        if sys.version_info < (3, 12):
            pytest.skip("sys.monitoring is new in 3.12")
        tool = sys.monitoring
        tool.use_tool_id(4, "test")
        tool.set_events(4, tool.events.LINE | tool.events.PY_START)
        tool.register_callback(4, tool.events.LINE, lambda *_: None)
        undo = lambda: (tool.set_events(4, 0), tool.free_tool_id(4))  # noqa: E731
    else:
        install, before = getattr(sys, watch), getattr(sys, f"get{watch[3:]}")()
        install(trace)
        undo = lambda: install(before)  # noqa: E731
    try:
        [(inside, answer)] = pm.hook.outer(
            run=lambda: (pm.in_flight(pm.get_plugin("outer")), pm.hook.inner())
        )
    finally:
        undo()
    assert (inside, answer) == (1, ["old"])
    assert pm.in_flight(pm.get_plugin("outer")) == 0


@pytest.mark.skipif(
    sys.version_info >= (3, 14),
    reason="there an exception that comes between the lock and the body of any `with "
    "lock:` keeps the lock, also without Luminal",
)
def test_interrupted_calls_are_counted() -> None:
    """Exceptions that another thread raises in the calling one, wherever it is."""
    pm = manager()
    stop = threading.Event()

    def call() -> None:
        while not stop.is_set():
            with contextlib.suppress(LookupError):
                for _ in range(1000):
                    pm.hook.inner()
                    pm.hook.outer(run=pm.hook.inner)

    def guarded() -> None:
        while not stop.is_set():
            with contextlib.suppress(LookupError):
                call()

    thread = threading.Thread(target=guarded)
    thread.start()
    send = ctypes.pythonapi.PyThreadState_SetAsyncExc
    for _ in range(300):
        send(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(LookupError))
        pm.in_flight(pm.get_plugin("p"))
    stop.set()
    thread.join(DEADLINE)
    assert pm.in_flight(pm.get_plugin("p")) == 0
    assert pm.in_flight(pm.get_plugin("outer")) == 0


def test_weak_sets_are_copied_while_another_thread_adds() -> None:
    """Such as those of managers that have a part of the hooks."""

    class Thing:
        pass

    weak: weakref.WeakSet[Thing] = weakref.WeakSet()
    kept = [Thing() for _ in range(200)]
    weak.update(kept)
    is_over = threading.Event()

    def add() -> None:
        while not is_over.is_set():
            more = [Thing() for _ in range(50)]
            weak.update(more)

    thread = threading.Thread(target=add)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        thread.start()
        for _ in range(500):
            assert set(kept) <= set(members_of(weak))
    finally:
        sys.setswitchinterval(before)
        is_over.set()
        thread.join()
