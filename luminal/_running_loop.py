"""Event loops where gevent has made greenlets of a program's threads.

asyncio keeps the running loop for each thread of the system. All greenlets of such a
thread are told of a loop that only one of them runs, and may not run one themselves. So
Luminal asks here which loop runs the caller, and the loops that it makes for threads of
its own are noted as running only while they do something, not while they wait.
"""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine, Iterator

__all__ = [
    "alone_in_thread",
    "new_event_loop",
    "run_coroutine",
    "running_loop",
    "running_task",
]

T = TypeVar("T")


def _has_greenlets() -> bool:
    return "gevent.monkey" in sys.modules or "eventlet.patcher" in sys.modules


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that runs the caller, or None."""
    module = sys.modules.get("asyncio")
    if module is None:
        return None
    loop: asyncio.AbstractEventLoop | None
    loop = module._get_running_loop()  # noqa: SLF001 - the other one raises
    if loop is None or not _has_greenlets():
        return loop
    # asyncio notes it to tell calls from other threads, by what gevent has replaced.
    runs_in = getattr(loop, "_thread_id", None)
    return loop if runs_in in (None, threading.get_ident()) else None


def running_task() -> asyncio.Task[Any] | None:
    """Return the task that runs the caller, or None."""
    loop = running_loop()
    if loop is None:
        return None
    import asyncio

    return asyncio.current_task(loop)


_Running = tuple["asyncio.AbstractEventLoop", "asyncio.Task[Any] | None"]


def _take() -> _Running | None:
    """Return the loop and the task that are noted as running, and note none."""
    import asyncio

    loop = asyncio._get_running_loop()  # noqa: SLF001 - these are for makers of loops
    if loop is None:
        return None
    task = asyncio.current_task(loop)
    if task is not None:
        asyncio._leave_task(loop, task)  # noqa: SLF001
    asyncio._set_running_loop(None)  # noqa: SLF001
    return loop, task


def _put_back(running: _Running | None) -> None:
    """Note what `_take` has returned as running."""
    if running is None:
        return
    import asyncio

    loop, task = running
    asyncio._set_running_loop(loop)  # noqa: SLF001
    if task is not None:
        asyncio._enter_task(loop, task)  # noqa: SLF001


class _Wait:
    """The ``select`` of a loop's selector: meanwhile other greenlets may run theirs.

    Args:
        select: The selector's own.

    Attributes:
        others: What another greenlet runs meanwhile, maybe in the middle of a task.
    """

    def __init__(self, select: Callable[[float | None], Any]) -> None:
        self._select = select
        self.others: _Running | None = None

    def __call__(self, timeout: float | None = None) -> Any:
        own = _take()
        _put_back(self.others)
        try:
            return self._select(timeout)
        finally:
            self.others = _take()
            _put_back(own)


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return a loop for a thread of Luminal's own, which may be a greenlet.

    It is run in a block of `alone_in_thread`.
    """
    import asyncio

    if not _has_greenlets():
        return asyncio.new_event_loop()
    import selectors

    selector = selectors.DefaultSelector()
    selector.select = _Wait(selector.select)  # type: ignore[method-assign]
    return asyncio.SelectorEventLoop(selector)


@contextmanager
def alone_in_thread(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Let the caller run *loop* in the block, also where another greenlet runs one."""
    if not _has_greenlets():
        yield
        return
    wait = getattr(getattr(loop, "_selector", None), "select", None)
    if type(wait) is not _Wait:  # made by somebody else
        wait = _Wait(lambda _: None)
    wait.others = _take()
    try:
        yield
    finally:
        _put_back(wait.others)


def run_coroutine(
    coroutine: Coroutine[Any, Any, T],
    make_loop: Callable[[], asyncio.AbstractEventLoop] = new_event_loop,
) -> T:
    """Do what `asyncio.run` does, also in a greenlet beside one that runs a loop.

    Args:
        coroutine: What to run.
        make_loop: Makes its loop.

    Returns:
        What *coroutine* returns.

    Raises:
        BaseException: Whatever it raises.
    """
    import asyncio

    loop = make_loop()
    with alone_in_thread(loop), asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(coroutine)
