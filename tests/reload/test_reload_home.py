"""Where a watch runs coroutines when the event loop of whoever asked for it ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future

import pytest

from luminal.lifecycle import CrossLoopLock
from luminal.reload._loop import Home
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
    home, turn = Home(), CrossLoopLock()
    is_ending, is_asked = threading.Event(), threading.Event()
    hosts = []
    submit = asyncio.run_coroutine_threadsafe

    def submit_and_say_so(*arguments):
        future = submit(*arguments)
        is_asked.set()
        return future

    monkeypatch.setattr(asyncio, "run_coroutine_threadsafe", submit_and_say_so)

    async def work() -> str:
        async with turn:
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
        home.settle(hosts[0])
        holding = asyncio.create_task(hold_up())
        await asyncio.sleep(0)
        assert not holding.done()

    def ask() -> str:
        is_ending.wait(DEADLINE)
        return home.run(work)

    answer = in_thread(ask)
    asyncio.run(main())
    assert answer.result(DEADLINE) == "done"
    assert in_thread(lambda: home.run(work)).result(DEADLINE) == "done"
    home.close()


async def test_the_host_s_loop_is_used_while_it_runs_and_left_at_the_end() -> None:
    home = Home()

    async def work() -> object:
        return asyncio.get_running_loop()

    here = asyncio.get_running_loop()
    home.settle(here)
    assert await asyncio.to_thread(home.run, work) is here
    await asyncio.to_thread(home.close)
    for _ in range(3):
        await asyncio.sleep(0)
    assert not tasks_left()
