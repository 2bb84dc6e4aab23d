"""LoopTask and LoopTrace: loops under test."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luminal.supervise import LoopTask, LoopTrace


async def test_the_call_raises_stop_iteration_in_async_code():
    """An `async` caller catches it around the await: it is no RuntimeError."""

    async def loop():
        trace = LoopTrace(iteration_limit=3)
        turns = 0
        try:
            while True:
                await trace.evaluate_tasks()
                turns += 1
        except StopIteration:
            return turns, trace.current_iteration

    assert await loop() == (3, 3)


@given(
    due=st.sets(st.integers(1, 30), max_size=6),
    limit=st.integers(1, 30),
)
async def test_each_task_runs_at_its_turn_once(due, limit):
    """Exactly the tasks due within the limit run, each at its own turn."""
    ran = []

    async def note(turn):
        ran.append((turn, trace.current_iteration))

    trace = LoopTrace(
        tasks=[LoopTask(at_iteration=n, coroutine=note, turn=n) for n in sorted(due)],
        iteration_limit=limit,
    )

    async def loop():
        while True:
            try:
                await trace.evaluate_tasks()
            except StopIteration:
                return

    await loop()
    assert ran == [(n, n) for n in sorted(due) if n <= limit]
    assert set(trace.tasks_with_keys) == due
    assert len(trace.tasks) == len(due)


async def test_zero_means_no_limit():
    trace = LoopTrace(iteration_limit=0)

    for _ in range(200):
        await trace.evaluate_tasks()
    assert trace.current_iteration == 200


def test_adding_twice_is_a_key_error():
    task = LoopTask(1, print)
    trace = LoopTrace([task])
    with pytest.raises(KeyError):
        trace.add_task(task)
    with pytest.raises(KeyError):
        LoopTrace([task, task])


async def test_a_plain_function_and_its_result():
    """A task may be a plain function; the awaitable gives its result."""
    trace = LoopTrace([LoopTask(1, lambda x: x + 1, x=2)])

    assert await trace.evaluate_tasks() == 3
