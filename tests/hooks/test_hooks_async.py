"""Awaited hooks: sync and async photons, wrappers, deadlines, cancellation, loops."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import Any

import pluggy
import pytest

from luminal.errors import PhotonTimeoutError
from luminal.hooks import PluginManager
from luminal.interfaces import hookimpl, hookspec
from tests.waiting import DEADLINE


class Specs:
    @hookspec
    async def ask(self, x: int) -> Any: ...

    @hookspec(firstresult=True)
    async def choose(self, x: int) -> Any: ...

    @hookspec(concurrent=True)
    def gather(self, x: Any) -> Any: ...

    @hookspec(sync_only=True)
    def plain(self, x: int) -> Any: ...


def manager(*plugins: Any) -> PluginManager:
    pm = PluginManager("luminal")
    pm.add_hookspecs(Specs)
    for number, plugin in enumerate(plugins):
        pm.register(plugin, f"p{number}", generation=1)
    return pm


class Sync:
    @hookimpl
    def ask(self, x: int) -> Any:
        return ("sync", x)

    @hookimpl
    def choose(self, x: int) -> Any:
        return "sync"


class Async:
    @hookimpl
    async def ask(self, x: int) -> Any:
        await asyncio.sleep(0)
        return ("async", x)

    @hookimpl
    async def choose(self, x: int) -> Any:
        return "async"


class Returns:
    """A plain function that returns an awaitable."""

    @hookimpl
    def ask(self, x: int) -> Any:
        async def later() -> Any:
            return ("later", x)

        return later()


def times(count: int, call: Any) -> list[Any]:
    """Await *call* so often that it is run cold, prepared and sampled."""

    async def main() -> list[Any]:
        return [await call() for _ in range(count)]

    return asyncio.run(main())


def test_sync_and_async_in_order() -> None:
    """The order is that of the registrations, whoever is awaited."""
    pm = manager(Sync(), Async(), Returns())
    expected = [("later", 1), ("async", 1), ("sync", 1)]
    assert times(300, lambda: pm.ahook.ask(x=1)) == [expected] * 300
    assert times(20, lambda: pm.ahook.choose(x=1)) == ["async"] * 20


def test_async_wrapper_and_generator_wrapper() -> None:
    """Both kinds of wrappers surround the awaited call; the outer has the last word."""

    class Outer:
        @hookimpl(wrapper=True)
        async def ask(self, x: int) -> Any:
            await asyncio.sleep(0)
            result = yield
            await asyncio.sleep(0)
            yield [*result, "outer"]

    class Silent:
        @hookimpl(wrapper=True)
        async def ask(self, x: int) -> Any:
            yield

    class Inner:
        @hookimpl(wrapper=True)
        def ask(self, x: int) -> Any:
            return [*(yield), "inner"]

    pm = manager(Async(), Inner(), Silent(), Outer())
    expected = [("async", 1), "inner", "outer"]
    assert times(20, lambda: pm.ahook.ask(x=1)) == [expected] * 20


def test_async_wrapper_sees_and_replaces_an_exception() -> None:
    """An exception is thrown in at the yield; yielding answers in its place."""

    class Raises:
        @hookimpl
        async def ask(self, x: int) -> Any:
            raise LookupError(x)

    class Mends:
        @hookimpl(wrapper=True)
        async def ask(self, x: int) -> Any:
            try:
                yield
            except LookupError:
                yield ["mended"]

    pm = manager(Raises())
    with pytest.raises(LookupError):
        times(1, lambda: pm.ahook.ask(x=1))
    pm.register(Mends())
    assert times(20, lambda: pm.ahook.ask(x=1)) == [["mended"]] * 20


@pytest.mark.parametrize("calls_before", [0, 12])
async def test_cancellation_reaches_who_runs_and_second_halves_run(
    calls_before: int,
) -> None:
    """A cancelled call cancels its implementation, runs wrappers, counts no error."""
    seen: list[str] = []

    class Waits:
        @hookimpl
        async def ask(self, x: int) -> Any:
            if not x:
                return None
            running.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                seen.append("implementation")
                raise

    class Around:
        @hookimpl(wrapper=True)
        async def ask(self, x: int) -> Any:
            try:
                yield
            finally:
                if x:
                    await asyncio.sleep(0)
                    seen.append("async wrapper")

    class Within:
        @hookimpl(wrapper=True)
        def ask(self, x: int) -> Any:
            try:
                return (yield)
            finally:
                if x:
                    seen.append("wrapper")

    pm = manager(Waits(), Within(), Around())

    running: Any = None
    for _ in range(calls_before):
        await pm.ahook.ask(x=0)
    running = asyncio.Event()
    task = asyncio.create_task(pm.ahook.ask(x=1))
    await running.wait()
    plugin = pm.get_plugin("p0")
    assert pm.in_flight(plugin) == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert pm.in_flight(plugin) == 0
    assert seen == ["implementation", "wrapper", "async wrapper"]
    assert {s.errors for s in pm.statistics()} == {0}


def test_a_deadline_names_the_photon() -> None:
    """Who does not answer in time is cancelled and named; whoever set it."""

    class Slow:
        @hookimpl
        async def ask(self, x: int) -> Any:
            await asyncio.Event().wait()

        @hookimpl(deadline=0.01)
        async def choose(self, x: int) -> Any:
            await asyncio.Event().wait()

    pm = manager(Slow())
    pm.set_deadline("p0", 0.01)
    for call in (pm.ahook.ask, pm.ahook.choose):
        for _ in range(12):
            with pytest.raises(PhotonTimeoutError, match="p0") as caught:
                times(1, partial(call, x=1))
            assert "0.01 s" in str(caught.value)
    assert [s.errors for s in pm.statistics()] == [12, 12]


def test_a_timeout_of_the_photon_itself_stays_its_own() -> None:
    """A `TimeoutError` from inside is not taken for the deadline's."""

    class Raises:
        @hookimpl
        async def ask(self, x: int) -> Any:
            raise TimeoutError("its own")

    pm = manager(Raises())
    pm.set_deadline("p0", 60)
    with pytest.raises(TimeoutError, match="its own"):
        times(1, lambda: pm.ahook.ask(x=1))


async def test_concurrent_runs_side_by_side_and_answers_in_order() -> None:
    """All are under way at once: each waits for the others; order is as ever."""
    count = 4

    def member(number: int) -> Any:
        class Member:
            @hookimpl
            async def gather(self, x: Any) -> Any:
                await x.wait()
                return number

        return Member()

    pm = manager(*[member(n) for n in range(count)])

    for _ in range(12):
        answers = await pm.ahook.gather(x=asyncio.Barrier(count))
        assert answers == [3, 2, 1, 0]


async def test_concurrent_failure_cancels_the_others_and_is_named() -> None:
    """One failure ends the call with that failure; the others are cancelled."""
    cancelled = []

    class Fails:
        @hookimpl
        async def gather(self, x: Any) -> Any:
            await x.wait()
            raise LookupError("mine")

    class Waits:
        @hookimpl
        async def gather(self, x: Any) -> Any:
            await x.wait()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(True)
                raise

    pm = manager(Waits(), Fails())

    with pytest.raises(LookupError, match="mine") as caught:
        await pm.ahook.gather(x=asyncio.Barrier(2))
    assert "photon 'p1'" in caught.value.__notes__[0]
    assert cancelled == [True]


def test_an_async_implementation_of_a_sync_only_hook_is_refused() -> None:
    """At registration, by name, and nothing is registered."""

    class Wrong:
        @hookimpl
        async def plain(self, x: int) -> Any: ...

    pm = manager()
    with pytest.raises(pluggy.PluginValidationError, match="'plain'"):
        pm.register(Wrong(), "wrong")
    assert not pm.has_plugin("wrong")


def test_a_sync_call_runs_async_photons_to_their_end() -> None:
    """From a thread without a loop, the call blocks; no coroutine is ever lost."""
    pm = manager(Sync(), Async())
    for _ in range(12):
        assert pm.hook.ask(x=1) == [("async", 1), ("sync", 1)]
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(pm.hook.choose(x=1)))
    thread.start()
    thread.join(DEADLINE)
    assert found == ["async"]


async def test_a_sync_call_in_a_loop_is_refused_before_anything_runs() -> None:
    """It would stand still: the error says to await, and nobody was called."""
    called = []

    class Counts:
        @hookimpl
        def ask(self, x: int) -> Any:
            called.append(x)

    pm = manager(Async(), Counts())

    with pytest.raises(pluggy.HookCallError, match=r"await .ahook.ask"):
        pm.hook.ask(x=1)
    assert called == []


def test_several_loops_in_several_threads() -> None:
    """The same hooks are awaited from four loops at once."""
    pm = manager(Sync(), Async())
    wrong: list[Any] = []

    def work() -> None:
        expected = [("async", 1), ("sync", 1)]
        wrong.extend(a for a in times(300, lambda: pm.ahook.ask(x=1)) if a != expected)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert wrong == []
    assert all(s.calls == 1200 for s in pm.statistics() if s.hook == "ask")


@pytest.mark.parametrize("calls_before", [0, 12])
async def test_a_coroutine_made_before_a_swap_runs_the_new_generation(
    calls_before: int,
) -> None:
    """It had not begun when the swap came, so it was not waited for."""
    pm = manager(Sync())
    for _ in range(calls_before):
        await pm.ahook.ask(x=1)

    class New:
        @hookimpl
        async def ask(self, x: int) -> Any:
            return "new"

    call = pm.ahook.ask(x=1)
    pm.swap("p0", New())
    assert await call == ["new"]


def test_an_unawaited_coroutine_counts_nothing() -> None:
    """A call that never begins is not in flight for ever."""
    pm = manager(Sync())
    times(12, lambda: pm.ahook.ask(x=1))
    call = pm.ahook.ask(x=1)
    call.close()  # type: ignore[attr-defined]
    assert pm.in_flight(pm.get_plugin("p0")) == 0
