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


class _Wait:
    """The ``select`` of a loop's selector: meanwhile other greenlets may run theirs.

    Args:
        select: The selector's own.

    Attributes:
        others: The loop that is noted as running meanwhile: another greenlet's.
    """

    def __init__(self, select: Callable[[float | None], Any]) -> None:
        self._select = select
        self.others: asyncio.AbstractEventLoop | None = None

    def __call__(self, timeout: float | None = None) -> Any:
        import asyncio

        own = asyncio._get_running_loop()  # noqa: SLF001 - made for who makes loops
        asyncio._set_running_loop(self.others)  # noqa: SLF001
        try:
            return self._select(timeout)
        finally:
            self.others = asyncio._get_running_loop()  # noqa: SLF001
            asyncio._set_running_loop(own)  # noqa: SLF001


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
    import asyncio

    wait = getattr(getattr(loop, "_selector", None), "select", None)
    if type(wait) is not _Wait:  # made by somebody else
        wait = _Wait(lambda _: None)
    wait.others = asyncio._get_running_loop()  # noqa: SLF001 - see `_Wait`
    asyncio._set_running_loop(None)  # noqa: SLF001
    try:
        yield
    finally:
        asyncio._set_running_loop(wait.others)  # noqa: SLF001


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
