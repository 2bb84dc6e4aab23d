"""Calls finish on the generation that they began with; later ones see the new one."""

from __future__ import annotations

import asyncio
import sys
import threading

import pytest

from luminal.errors import LuminalError
from luminal.model import Deadlines, EventKind, State
from tests.waiting import DEADLINE, brief

PHOTON = """
import threading
from luminal import IPhoton, hookimpl
{head}

class Photon(IPhoton):
    photon_name = {name!r}
    ended = False

    def finalize(self):
        self.ended = True
        {finalize}

    @hookimpl
    def who(self):
        return ({name!r}, {number}, self.ended)

    @hookimpl
    {visit}
"""
PLAIN = "def visit(self, go): return (({name!r}, {number}, self.ended), go(self))"
ASYNC = "async def visit(self, go): return (({name!r}, {number}), await go(self))"


def write(photons, name, number, visit=PLAIN, head="", finalize="return True"):
    visit = visit.format(name=name, number=number)
    text = PHOTON.format(
        name=name, number=number, visit=visit, head=head, finalize=finalize
    )
    return photons.write(f"{name}.py", text)


@pytest.mark.fault(18)
async def test_a_long_call_on_a_thread(make_host, photons):
    """It ends on the old photon, which is finalized only then; others see the new."""
    async with make_host() as host:
        (a,) = await host.run(write(photons, "a", 1))
        old, inside, leave = a.instance, threading.Event(), threading.Event()

        def go(photon):
            inside.set()
            assert leave.wait(DEADLINE)
            return (photon is old, photon.ended)

        found = []
        thread = threading.Thread(
            target=lambda: found.append(host.hook.visit(go=go)), daemon=True
        )
        thread.start()
        await asyncio.to_thread(inside.wait, DEADLINE)
        write(photons, "a", 2)
        await host.reload_photon(a)
        assert host.answers() == [("a", 2, False)]
        assert not host.happened(EventKind.FINALIZED)
        leave.set()
        await host.until(lambda: host.happened(EventKind.FINALIZED))
        await asyncio.to_thread(thread.join, DEADLINE)
        assert found == [[(("a", 1, False), (True, False))]]
        (drained,) = host.happened(EventKind.DRAINED)
        assert drained.problem is None
        assert old.ended


@pytest.mark.fault(18)
async def test_a_long_call_on_a_task(make_host, photons):
    """The same for a call that is suspended in a task."""
    async with make_host() as host:
        (a,) = await host.run(write(photons, "a", 1, ASYNC))
        old, inside, leave = a.instance, asyncio.Event(), asyncio.Event()

        async def go(photon):
            inside.set()
            await leave.wait()
            return (photon is old, photon.ended)

        call = asyncio.create_task(host.ahook.visit(go=go))
        await inside.wait()
        write(photons, "a", 2, ASYNC)
        await host.reload_photon(a)
        assert host.answers() == [("a", 2, False)]
        assert not old.ended
        leave.set()
        assert await call == [(("a", 1), (True, False))]
        await host.until(lambda: host.happened(EventKind.FINALIZED))
        assert old.ended


@pytest.mark.fault(18)
async def test_the_drain_deadline_is_reported(make_host, photons):
    """A call that does not end does not keep the old photon from being finalized."""
    async with make_host(
        deadlines=Deadlines(DEADLINE, DEADLINE, DEADLINE, DEADLINE, drain=0.3)
    ) as host:
        (a,) = await host.run(write(photons, "a", 1))
        old, inside, leave = a.instance, threading.Event(), threading.Event()

        def go(photon):
            inside.set()
            leave.wait(DEADLINE)

        thread = threading.Thread(target=lambda: host.hook.visit(go=go), daemon=True)
        thread.start()
        await asyncio.to_thread(inside.wait, DEADLINE)
        await host.reload_photon(a)
        await host.until(lambda: host.happened(EventKind.FINALIZED))
        (drained,) = host.happened(EventKind.DRAINED)
        assert "calls were still under way" in str(drained)
        assert old.ended
        assert thread.is_alive()
        leave.set()
        await asyncio.to_thread(thread.join, DEADLINE)


@pytest.mark.fault(19)
@pytest.mark.parametrize("way", ["thread", "task"])
async def test_one_outermost_call_sees_one_generation(make_host, photons, way):
    """A call that calls hooks again after a swap of three photons sees the old ones."""
    async with make_host() as host:
        visit = PLAIN if way == "thread" else ASYNC
        paths = [write(photons, name, 1, visit) for name in "abc"]
        handlers = await host.run(*paths)
        swapped, inside = threading.Event(), threading.Event()
        seen = []

        def look():
            inside.set()
            assert swapped.wait(DEADLINE)
            seen.append(host.answers())

        async def alook(photon):
            if not seen:
                await asyncio.to_thread(inside.set)
                await asyncio.to_thread(swapped.wait, DEADLINE)
                seen.append(host.answers())

        if way == "thread":
            outer = asyncio.to_thread(host.hook.visit, go=lambda p: seen or look())
        else:
            outer = host.ahook.visit(go=alook)
        call = asyncio.create_task(outer)
        await asyncio.to_thread(inside.wait, DEADLINE)
        for name in "abc":
            write(photons, name, 2, visit)
        reload = asyncio.create_task(host.reload_photons(handlers))
        await host.until(lambda: len(host.happened(EventKind.SWAPPED)) == 3)
        assert await asyncio.to_thread(host.answers) == [(n, 2, False) for n in "abc"]
        swapped.set()
        answers = await call
        assert seen == [[(n, 1, False) for n in "abc"]]
        assert {answer[0][1] for answer in answers} == {1}
        await reload


@pytest.mark.fault(7)
async def test_reload_from_inside_a_call_of_the_same_photon(make_host, photons):
    """It does not wait for itself: the old one is finalized when the call has ended."""
    async with make_host() as host:
        (a,) = await host.run(write(photons, "a", 1, ASYNC))
        write(photons, "a", 2, ASYNC)
        old = a.instance

        async def go(photon):
            await host.reload_photon(a)
            return (a.number, photon is old, photon.ended, host.answers())

        (answer,) = await host.ahook.visit(go=go)
        assert answer == (("a", 1), (2, True, False, [("a", 1, False)]))
        assert host.answers() == [("a", 2, False)]
        await host.until(lambda: host.happened(EventKind.FINALIZED))
        (drained,) = host.happened(EventKind.DRAINED)
        assert drained.problem is None
        assert old.ended


@pytest.mark.fault(7)
async def test_reload_from_inside_a_plain_call(make_host, photons):
    """The same from a plain hook, on a loop of its own in another thread."""
    async with make_host() as host:
        (a,) = await host.run(write(photons, "a", 1))
        old = a.instance

        def go(photon):
            asyncio.run(host.reload_photon(a))
            return (a.number, photon.ended)

        (answer,) = await asyncio.to_thread(host.hook.visit, go=go)
        assert answer[1][0] == 2
        await host.until(lambda: host.happened(EventKind.FINALIZED))
        assert old.ended
        assert a.state is State.RUNNING


@pytest.mark.fault(7)
async def test_reload_twice_from_inside_a_call(make_host, photons):
    """Two generations at most: the third gives the first its limit."""
    async with make_host(deadlines=Deadlines(20, 20, 20, 20, drain=20)) as host:
        (a,) = await host.run(write(photons, "a", 1, ASYNC))
        first = a.instance

        async def go(photon):
            await host.reload_photon(a)
            await host.reload_photon(a)
            await host.until(lambda: first.ended)
            return a.number

        assert await host.ahook.visit(go=go) == [(("a", 1), 3)]
        told = {e.generation: e for e in host.happened(EventKind.DRAINED)}
        assert told[1].problem is not None


async def test_unload_waits_for_what_is_on_its_way_out(make_host, photons):
    """After an unload nothing of an earlier generation is left either."""
    host = make_host()
    (a,) = await host.run(write(photons, "a", 1, ASYNC))
    first, leave = a.instance, asyncio.Event()

    async def go(photon):
        await leave.wait()

    call = asyncio.create_task(host.ahook.visit(go=go))
    await asyncio.sleep(0)
    await host.reload_photon(a)
    assert not first.ended
    second = a.instance
    await host.unload_photon(a)
    assert (first.ended, second.ended) == (True, True)
    leave.set()
    await call
    await host.close()


@pytest.mark.fault(7)
async def test_reload_asked_for_by_an_import(make_host, photons):
    """An import that reloads is refused, which is the import's failure or its own."""
    async with make_host() as host:
        (a,) = await host.run(write(photons, "a", 1))
        sys.modules["luminal_test_host"] = host
        head = "import asyncio, luminal_test_host as h\nasyncio.run({})"
        try:
            for ask in (
                "h.reload_photon('a')",
                "h.unload_photon('a')",
                "h.load_photon(__file__)",
            ):
                write(photons, "a", 2, head=head.format(ask))
                with pytest.raises(
                    LuminalError, match="from inside of a load or reload"
                ):
                    await host.reload_photon(a)
                path = write(photons, "b", 1, head=head.format(ask))
                with pytest.raises(
                    LuminalError, match="from inside of a load or reload"
                ):
                    await host.load_photon(path)
            assert host.answers() == [("a", 1, False)]
        finally:
            del sys.modules["luminal_test_host"]


START = """
from luminal import IPhoton, hookimpl
import luminal_test_host as h

class Photon(IPhoton):
    async def start(self):
        await h.reload_photon('a')
"""


@pytest.mark.fault(7)
async def test_reload_asked_for_by_a_start(make_host, photons, monkeypatch):
    """That of a plain load may reload another photon; that of a reload is refused."""
    async with make_host() as host:
        (a,) = await host.run(write(photons, "a", 1))
        monkeypatch.setitem(sys.modules, "luminal_test_host", host)
        (b,) = await host.run(photons.write("b.py", START))
        assert (a.number, b.state) == (2, State.RUNNING)
        with pytest.raises(LuminalError, match="from inside of a load or reload"):
            await host.reload_photon(b)
        assert (a.number, b.number) == (2, 1)


@pytest.mark.fault(7)
async def test_a_photon_that_reloads_itself_while_it_starts(
    make_host, photons, monkeypatch
):
    """It cannot wait for its own start: refused, or done when it has started."""
    async with make_host() as host:
        monkeypatch.setitem(sys.modules, "luminal_test_host", host)
        path = photons.write("b.py", START.replace("'a'", "'b'"))
        loaded = await host.load_photon(path)
        with pytest.raises(LuminalError):
            await loaded.start()
        assert loaded[0].state is State.FAILED
        write(photons, "b", 2)
        await host.reload_photon(loaded[0])
        assert host.answers() == [("b", 2, False)]


WORKER = """
import asyncio
from luminal import IPhoton, hookimpl
import luminal_test_host as h

class Photon(IPhoton):
    async def start(self):
        self.task = asyncio.create_task(self.work())
    async def work(self):
        while h.photons['w'].number < {number} or h.ready < {number}:
            await asyncio.sleep(0.001)
        if {number} < 4:
            import importlib
            self.sibling = importlib.import_module(__package__ + '.sibling').VALUE
            h.siblings.append(self.sibling)
            await h.reload_photon('w')
    def finalize(self):
        return True
"""


@pytest.mark.fault(7)
async def test_a_task_of_a_photon_may_reload_it(make_host, photons, monkeypatch):
    """A task that `start` has begun is no part of the transaction once that is over."""
    async with make_host() as host:
        monkeypatch.setitem(sys.modules, "luminal_test_host", host)
        host.ready, host.siblings = 0, []
        photons.write("sibling.py", "VALUE = object()\n")
        (w,) = await host.run(photons.write("w.py", WORKER.format(number=1)))
        before = dict(sys.modules)
        for number in (2, 3, 4):
            photons.write("w.py", WORKER.format(number=number))
            host.ready = number - 1
            await host.until(lambda number=number: w.number == number)
        assert len(host.siblings) == 3
        assert not [name for name in sys.modules if name.endswith(".sibling")]

        def has_proxies():
            kinds = {type(m).__name__ for m in list(sys.modules.values())}
            return "ModuleProxy" in kinds

        # The task of an old generation that reloads ends after the reload.
        await host.until(lambda: not has_proxies())
        assert before.keys() <= sys.modules.keys()


@pytest.mark.fault(20)
@pytest.mark.parametrize("way", ["tasks", "loops"])
async def test_two_reloads_at_once(make_host, photons, way):
    """One after the other, each with a definite result, also on two event loops."""
    async with make_host() as host:
        (a,) = await host.run(write(photons, "a", 1))
        jobs = [
            host.reload_photon(a)
            if way == "tasks"
            else asyncio.to_thread(asyncio.run, host.reload_photon(a))
            for _ in range(4)
        ]
        assert await asyncio.gather(*jobs) == [a] * 4
        assert a.number == 5
        assert len(host.happened(EventKind.SWAPPED)) == 4
        await host.until(lambda: len(host.happened(EventKind.FINALIZED)) == 4)


@pytest.mark.fault(18)
@pytest.mark.slow
async def test_no_call_fails_while_photons_are_swapped(make_host, photons):
    """Threads and tasks call all the time: no error, no answer of two generations."""
    async with make_host() as host:
        paths = [write(photons, name, 1, ASYNC) for name in "abc"]
        handlers = await host.run(*paths)
        done, torn, errors, calls = threading.Event(), [], [], [0] * 4

        def check(answers):
            if len(answers) != 3 or len({a[1] for a in answers}) != 1:
                torn.append(answers)
            if any(a[2] for a in answers):
                torn.append(answers)

        def shout(me):
            while not done.is_set():
                try:
                    check(host.hook.who())
                    calls[me] += 1
                except BaseException as error:
                    errors.append(error)

        async def whisper():
            async def go(photon):
                await asyncio.sleep(0)

            while not done.is_set():
                answers = await host.ahook.visit(go=go)
                if len({a[0][1] for a in answers}) != 1:
                    torn.append(answers)
                calls[3] += 1

        threads = [threading.Thread(target=shout, args=(i,)) for i in range(3)]
        for thread in threads:
            thread.start()
        task = asyncio.create_task(whisper())
        for number in range(2, 12):
            for name in "abc":
                broken = "1 / 0" if number % 5 == 0 else ""
                write(photons, name, number, ASYNC, head=broken)
            if number % 5:
                await host.reload_photons(handlers)
            else:
                with pytest.raises(LuminalError):
                    await host.reload_photons(handlers)
        done.set()
        await task
        for thread in threads:
            await asyncio.to_thread(thread.join)
        assert not errors
        assert not torn
        assert all(calls)


@pytest.mark.fault(13)
async def test_a_finalize_that_hangs_ends_at_its_deadline(make_host, photons):
    """The new one serves meanwhile; what happened is told; the Loader can be closed."""
    async with make_host(
        deadlines=Deadlines(DEADLINE, DEADLINE, 0.2, brief(0.2), DEADLINE)
    ) as host:
        path = write(photons, "a", 1, finalize="threading.Event().wait(1)")
        (a,) = await host.run(path)
        write(photons, "a", 2)
        await host.reload_photon(a)
        (finalized,) = host.happened(EventKind.FINALIZED)
        assert "timed out after 0.2 seconds" in str(finalized)
        assert host.answers() == [("a", 2, False)]


@pytest.mark.fault(12)
@pytest.mark.parametrize("finalize", ["1 / 0", "raise SystemExit", "return False"])
async def test_a_finalize_that_fails_after_the_swap(make_host, photons, finalize):
    """It is told, with the photon; nothing is rolled back."""
    async with make_host() as host:
        (a,) = await host.run(write(photons, "a", 1, finalize=finalize))
        write(photons, "a", 2)
        await host.reload_photon(a)
        (finalized,) = host.happened(EventKind.FINALIZED)
        assert finalized.problem.phase == "finalize"
        assert finalized.photon == "a"
        assert host.answers() == [("a", 2, False)]
        assert a.problem is None


@pytest.mark.fault(46)
def test_the_end_of_the_loop_completes_a_retirement(make_host, photons):
    """`asyncio.run` ends with a call still under way: the old one is finalized."""
    host = make_host()
    leave, found = threading.Event(), []

    async def main():
        (a,) = await host.run(write(photons, "a", 1))
        inside = threading.Event()

        def go(photon):
            inside.set()
            leave.wait(DEADLINE)
            return photon.ended

        thread = threading.Thread(
            target=lambda: found.extend(host.hook.visit(go=go)), daemon=True
        )
        thread.start()
        await asyncio.to_thread(inside.wait, DEADLINE)
        old = a.instance
        await host.reload_photon(a)
        assert not old.ended
        leave.set()
        return old

    old = asyncio.run(main())
    assert old.ended
    assert [(answer[0], answer[1]) for answer in found] == [(("a", 1, False), False)]
    asyncio.run(host.close())


@pytest.mark.fault(47)
def test_a_loop_for_each_order(make_host, photons):
    """Load, reload, roll back and unload, each with an `asyncio.run` of its own."""
    host = make_host()
    (a,) = asyncio.run(host.run(write(photons, "a", 1)))
    write(photons, "a", 2)
    assert asyncio.run(host.reload_photon(a)) is a
    assert host.answers() == [("a", 2, False)]
    asyncio.run(host.roll_back(a))
    assert host.answers() == [("a", 1, False)]
    asyncio.run(host.unload_photon(a))
    assert host.photons == {}


LIMITED = Deadlines(DEADLINE, DEADLINE, DEADLINE, DEADLINE, drain=0.3)


def calling(host, go):
    """Call ``visit`` on a thread of its own; return the thread and the answers."""
    inside, found = threading.Event(), []

    def call():
        found.extend(host.hook.visit(go=lambda photon: (inside.set(), go(photon))[1]))

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread, inside, found


@pytest.mark.parametrize("is_deleted", [False, True])
async def test_an_unload_waits_for_calls_under_way(make_host, photons, is_deleted):
    """The photon is finalized when its last call has ended; the loop goes on."""
    async with make_host() as host:
        path = write(photons, "a", 1)
        (a,) = await host.run(path)
        old, leave = a.instance, threading.Event()

        def go(photon):
            assert leave.wait(DEADLINE)
            return photon.ended

        thread, inside, found = calling(host, go)
        await asyncio.to_thread(inside.wait, DEADLINE)
        if is_deleted:
            path.unlink()
        unload = asyncio.create_task(host.unload_photon(a))
        await host.until(lambda: a.state is State.STOPPING)
        assert not old.ended
        assert host.answers() == []
        leave.set()
        assert await unload
        await asyncio.to_thread(thread.join, DEADLINE)
        assert found == [(("a", 1, False), False)]
        assert old.ended
        (drained,) = host.happened(EventKind.DRAINED)
        assert drained.problem is None


async def test_an_unload_waits_no_longer_than_the_drain_deadline(make_host, photons):
    """And says so; a forced one waits for nothing."""
    async with make_host(deadlines=LIMITED) as host:
        for is_forced in (False, True):
            (a,) = await host.run(write(photons, "a", 1))
            old, leave = a.instance, threading.Event()
            thread, inside, _ = calling(host, lambda _, e=leave: e.wait(DEADLINE))
            await asyncio.to_thread(inside.wait, DEADLINE)
            await host.unload_photon(a, is_forced)
            assert thread.is_alive()
            assert old.ended is not is_forced
            leave.set()
            await asyncio.to_thread(thread.join, DEADLINE)
        (drained,) = host.happened(EventKind.DRAINED)
        assert "calls were still under way" in str(drained)


async def test_a_call_may_unload_its_own_photon(make_host, photons):
    """Awaited by the call itself: it is not waited for, so nobody waits for ever."""
    async with make_host() as host:
        (a,) = await host.run(write(photons, "a", 1, ASYNC))

        async def go(photon):
            return await host.unload_photon(a)

        assert await host.ahook.visit(go=go) == [(("a", 1), True)]
        assert a.state is State.STOPPED
        assert not host.answers()


async def test_a_call_on_another_thread_that_unloads_its_own_photon(make_host, photons):
    """It is waited for up to the drain deadline."""
    async with make_host(deadlines=LIMITED) as host:
        (a,) = await host.run(write(photons, "a", 1))
        loop = asyncio.get_running_loop()

        def go(photon):
            unload = host.unload_photon(a)
            return asyncio.run_coroutine_threadsafe(unload, loop).result(DEADLINE)

        thread, _, found = calling(host, go)
        await asyncio.to_thread(thread.join, DEADLINE)
        assert found == [(("a", 1, False), True)]


async def test_a_long_call_never_reaches_a_finalized_photon(make_host, photons):
    """After the deadline its hook calls are those of the new generation."""
    async with make_host(deadlines=LIMITED) as host:
        (a,) = await host.run(write(photons, "a", 1))
        leave = threading.Event()

        def go(photon):
            assert leave.wait(DEADLINE)
            return host.hook.who()

        thread, inside, found = calling(host, go)
        await asyncio.to_thread(inside.wait, DEADLINE)
        write(photons, "a", 2)
        await host.reload_photon(a)
        await host.until(lambda: host.happened(EventKind.FINALIZED))
        leave.set()
        await asyncio.to_thread(thread.join, DEADLINE)
        assert found == [(("a", 1, False), [("a", 2, False)])]
        (drained,) = host.happened(EventKind.DRAINED)
        assert "do not reach this generation" in str(drained)


async def test_a_call_that_runs_the_loop_of_an_unload_is_not_waited_for(
    make_host, photons
):
    """It cannot end before the unload does."""
    patient = Deadlines(DEADLINE, DEADLINE, DEADLINE, DEADLINE, drain=2 * DEADLINE)
    async with make_host(deadlines=patient) as host:
        (a,) = await host.run(write(photons, "a", 1))
        thread, _, found = calling(host, lambda _: asyncio.run(host.unload_photon(a)))
        await asyncio.to_thread(thread.join, DEADLINE)
        assert found == [(("a", 1, False), True)]
