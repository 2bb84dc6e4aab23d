"""Threads and tasks that call hooks during a soak test, and their results."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["NAMES", "Counts"]

NAMES = ("one", "two", "three")
BURST = 20
REST = 0.005
"""Seconds that a thread rests after a burst of calls. Threads that spin would make each
switch of threads cost 5 ms for each of them, and measure the interpreter instead."""
TASK_REST = 0.2
"""Seconds that a task rests after a call, so that a thousand of them find room."""

Answers = list[tuple[int, ...]]


class Counts:
    """The results of calls; a list for each caller, so that no count is lost."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.mixed = 0
        self.failed: list[BaseException] = []
        self.is_over = threading.Event()

    def judge(self, answers: Answers) -> None:
        """Count calls whose results are not all of one version."""
        versions = {number for answer in answers for number in answer}
        if len(versions) != 1 or len(answers) != len(NAMES):
            self.mixed += 1

    def shout(self, call: Callable[[], Answers]) -> None:
        """Call until the end, on a thread."""
        calls = 0
        while not self.is_over.is_set():
            for _ in range(BURST):
                try:
                    self.judge(call())
                except BaseException as error:
                    self.failed.append(error)
            calls += BURST
            time.sleep(REST)
        self.calls.append(calls)

    async def whisper(self, call: Callable[[Any], Awaitable[Answers]], at: int) -> None:
        """Call until the end, in a task that is suspended within each call."""

        async def pause() -> None:
            await asyncio.sleep((1 + at % 7) / 1000)

        calls = 0
        await asyncio.sleep(TASK_REST * (at % 100) / 100)
        while not self.is_over.is_set():
            try:
                self.judge(await call(pause))
            except BaseException as error:
                self.failed.append(error)
            calls += 1
            await asyncio.sleep(TASK_REST)
        self.calls.append(calls)

    async def during(
        self,
        work: Callable[[], Awaitable[int]],
        call: Callable[[], Answers],
        acall: Callable[[Any], Awaitable[Answers]],
        threads: int,
        tasks: int,
    ) -> None:
        """Let threads and tasks call while *work* swaps; print the results.

        Args:
            work: Swaps, and returns the number of swaps.
            call: The call of threads.
            acall: The call of tasks; its argument is awaited within.
            threads: Number of threads.
            tasks: Number of tasks.
        """
        shouting = [
            threading.Thread(target=self.shout, args=(call,)) for _ in range(threads)
        ]
        for thread in shouting:
            thread.start()
        whispering = [
            asyncio.create_task(self.whisper(acall, at)) for at in range(tasks)
        ]
        began = time.perf_counter()
        try:
            swaps = await work()
        finally:
            seconds = time.perf_counter() - began
            self.is_over.set()
            await asyncio.gather(*whispering)
            for thread in shouting:
                await asyncio.to_thread(thread.join)
        self._show(swaps, seconds)

    def _show(self, swaps: int, seconds: float) -> None:
        calls = sum(self.calls)
        share = 100 * self.mixed / calls if calls else 0.0
        print(
            f"{swaps} swaps and {calls} calls in {seconds:.1f} s: "
            f"{len(self.failed)} failed, {self.mixed} mixed ({share:.3f} %)"
        )
        for error in self.failed[:3]:
            print(f"  {type(error).__name__}: {error}")
