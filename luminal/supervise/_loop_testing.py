"""Test loops, infinite ones included: run a task at a chosen turn, end at a limit."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

__all__ = ["LoopTask", "LoopTrace"]


class LoopTask:
    """Something to run at one turn of a loop under test.

    Args:
        at_iteration: The turn, counted from 1, at which it is due.
        coroutine: A function, async or not, that is called then.
        **arguments: Keyword arguments of that function.
    """

    def __init__(
        self, at_iteration: int, coroutine: Callable[..., Any], **arguments: Any
    ) -> None:
        self.at_iteration = at_iteration
        self.coroutine = coroutine
        self.arguments = arguments

    async def run(self) -> Any:
        """Call the function and wait for what it returns, if that can be awaited."""
        result = self.coroutine(**self.arguments)
        return await result if inspect.isawaitable(result) else result

    def __repr__(self) -> str:
        name = getattr(self.coroutine, "__name__", self.coroutine)
        return f"<LoopTask {name} at {self.at_iteration}>"


async def _nothing() -> None:
    """Stand for a turn at which no task is due."""


@attrs.define(init=False, eq=False)
class LoopTrace:
    """Counts the turns of a loop under test and runs the tasks that are due.

    Args:
        tasks: The tasks, at most one for each turn.
        iteration_limit: Number of turns after which `evaluate_tasks` raises
            `StopIteration`; 0 for no limit.

    Raises:
        KeyError: Two tasks are due at one turn, or one was given twice.

    Example:
        >>> import asyncio
        >>> async def endless(trace):
        ...     try:
        ...         while True:
        ...             await trace.evaluate_tasks()
        ...     except StopIteration:
        ...         print("ended after turn", trace.iteration_limit)
        >>> async def say(word):
        ...     print(word)
        >>> task = LoopTask(at_iteration=2, coroutine=say, word="at two")
        >>> asyncio.run(endless(LoopTrace([task], iteration_limit=3)))
        at two
        ended after turn 3
    """

    iteration_limit: int
    current_iteration: int
    # Turn → its task; the only place where tasks are kept.
    _due: dict[int, LoopTask]

    def __init__(
        self, tasks: Iterable[LoopTask] = (), iteration_limit: int = 0
    ) -> None:
        self.iteration_limit = iteration_limit
        self.current_iteration = 0
        self._due = {}
        for task in tasks:
            self.add_task(task)

    @property
    def tasks(self) -> list[LoopTask]:
        """The tasks, in the order in which they were added."""
        return list(self._due.values())

    @property
    def tasks_with_keys(self) -> dict[int, LoopTask]:
        """Turn → the task that is due then."""
        return dict(self._due)

    def add_task(self, task: LoopTask) -> None:
        """Add *task*.

        Raises:
            KeyError: It was added before, or another is due at the same turn.
        """
        if task.at_iteration in self._due:
            raise KeyError(
                f"{task!r} cannot be added: "
                f"{self._due[task.at_iteration]!r} is due at that turn"
            )
        self._due[task.at_iteration] = task

    def evaluate_tasks(self) -> Awaitable[Any]:
        """Count one turn and return what runs the task due at it.

        Not a coroutine function: the *call* raises, because `StopIteration` that
        leaves a coroutine becomes `RuntimeError`.

        Raises:
            StopIteration: The turn is past `iteration_limit`.
        """
        if self.iteration_limit and self.current_iteration >= self.iteration_limit:
            raise StopIteration(self.current_iteration)
        self.current_iteration += 1
        task = self._due.get(self.current_iteration)
        return _nothing() if task is None else task.run()
