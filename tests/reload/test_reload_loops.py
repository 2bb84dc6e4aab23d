"""Where a watch runs coroutines when the event loop of whoever asked for it ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future

import pytest

from luminal.lifecycle import CrossLoopLock
from luminal.reload._loop import LoopRunner
from tests.waiting import DEADLINE, tasks_left


def in_thread(function: Callable[[], object]) -> Future[object]:
    """Call it on a thread that keeps nobody waiting where it never returns."""
    future: Future[object] = Future()
    threading.Thread(target=lambda: future.set_result(function()), daemon=True).start()
    return future


@pytest.mark.fault(46, 47)
def test_what_comes_while_the_loop_ends_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Asked for after `asyncio.run` has cancelled its tasks, before the loop stops."""
    runner, lock = LoopRunner(), CrossLoopLock()
    is_ending, is_asked = threading.Event(), threading.Event()
    hosts = []
    submit = asyncio.run_coroutine_threadsafe

    def submit_and_say_so(*arguments):
        future = submit(*arguments)
        is_asked.set()
        return future

    monkeypatch.setattr(asyncio, "run_coroutine_threadsafe", submit_and_say_so)

    async def work() -> str:
        async with lock:
            if asyncio.get_running_loop() in hosts:
                await asyncio.Event().wait()
            return "done"

    async def hold_up() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            is_ending.set()
            await asyncio.to_thread(is_asked.wait, DEADLINE)
            # What was asked for gets its chance to begin on this loop.
            for _ in range(10):
                await asyncio.sleep(0)

    async def main() -> None:
        hosts.append(asyncio.get_running_loop())
        runner.use(hosts[0])
        holding = asyncio.create_task(hold_up())
        await asyncio.sleep(0)
        assert not holding.done()

    def ask() -> str:
        is_ending.wait(DEADLINE)
        return runner.run(work)

    answer = in_thread(ask)
    asyncio.run(main())
    assert answer.result(DEADLINE) == "done"
    assert in_thread(lambda: runner.run(work)).result(DEADLINE) == "done"
    runner.close()


async def test_the_host_s_loop_is_used_while_it_runs_and_left_at_the_end() -> None:
    runner = LoopRunner()

    async def work() -> object:
        return asyncio.get_running_loop()

    here = asyncio.get_running_loop()
    runner.use(here)
    assert await asyncio.to_thread(runner.run, work) is here
    await asyncio.to_thread(runner.close)
    for _ in range(3):
        await asyncio.sleep(0)
    assert not tasks_left()


def test_work_that_ends_just_as_the_wait_times_out_has_its_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runner = LoopRunner()
    result = Future.result
    is_over = threading.Event()

    def time_out_and_wait(self, timeout=None):
        try:
            return result(self, 0)
        except TimeoutError:
            is_over.set()
            while not self.done():
                threading.Event().wait(0.001)
            raise

    async def work() -> str:
        await asyncio.to_thread(is_over.wait, DEADLINE)
        return "done"

    def run() -> object:
        with monkeypatch.context() as patch:
            patch.setattr(Future, "result", time_out_and_wait)
            return runner.run(work)

    runner.run(lambda: asyncio.sleep(0))  # its own loop runs before the patch
    assert run() == "done"
    runner.close()


def test_a_waiter_whose_loop_was_closed_does_not_keep_the_lock() -> None:
    lock = CrossLoopLock()

    async def hold(release: asyncio.Event) -> None:
        async with lock:
            await release.wait()

    async def wait_for_it() -> None:
        async with lock:
            pass

    closed = asyncio.new_event_loop()

    async def main() -> None:
        release = asyncio.Event()
        holder = asyncio.create_task(hold(release))
        await asyncio.sleep(0)
        waiting = await asyncio.to_thread(wait_on_the_other_loop)
        release.set()
        await holder
        async with asyncio.timeout(DEADLINE):
            await wait_for_it()
        assert not waiting.done()

    def wait_on_the_other_loop() -> asyncio.Task[None]:
        waiting = closed.create_task(wait_for_it())
        closed.run_until_complete(asyncio.sleep(0))
        closed.close()  # without a word to what waits on it
        return waiting

    asyncio.run(main())
