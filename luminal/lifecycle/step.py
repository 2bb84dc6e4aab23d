"""One step of a photon's life: plain or ``async``, under a deadline, contained.

Whatever a photon raises is a failure of that photon and of nobody else, `SystemExit`
included. Only a real Ctrl-C goes through.
"""

from __future__ import annotations

import dis
import signal
import threading
from inspect import isawaitable, iscoroutinefunction
from time import monotonic
from typing import TYPE_CHECKING, Any

from luminal.errors import PhotonTimeoutError
from luminal.loading import Result, run_apart
from luminal.loading._workers import place_of

if TYPE_CHECKING:
    from asyncio import Task
    from collections.abc import Awaitable, Callable
    from types import FrameType

__all__ = ["abandoned_tasks", "is_containable", "is_real_interrupt", "run_step"]

GRACE = 1.0
"""Seconds that a coroutine has to end after it was cancelled."""

abandoned_tasks: set[Task[Any]] = set()
"""Tasks that swallowed their cancellation and run on, or did when their loop ended."""


def is_real_interrupt(error: BaseException) -> bool:
    """Whether *error* is a Ctrl-C, not a ``raise KeyboardInterrupt`` of a photon.

    A signal strikes the main thread at any instruction; a photon's own statement is
    at a ``raise``.
    """
    if not isinstance(error, KeyboardInterrupt):
        return False
    if threading.current_thread() is not threading.main_thread():
        return False
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None or signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        return False
    code = trace.tb_frame.f_code
    is_raised = code.co_code[trace.tb_lasti] == dis.opmap["RAISE_VARARGS"]
    # asyncio's own handler of the signal raises as well.
    return not is_raised or code.co_filename.endswith("runners.py")


def is_containable(error: BaseException) -> bool:
    """Whether *error* is the photon's own failure, not a cancellation or a Ctrl-C."""
    from asyncio import CancelledError

    return not isinstance(error, CancelledError) and not is_real_interrupt(error)


async def run_step(
    function: Callable[..., Any], *args: object, deadline: float, name: str
) -> Any:
    """Call *function*, plain on a thread of its own or ``async`` on this loop.

    Args:
        function: A photon's method.
        *args: Its arguments.
        deadline: Seconds that it may take.
        name: What is done, for the thread's and the task's name.

    Returns:
        What it returned.

    Raises:
        PhotonTimeoutError: It did not come back in time.
        BaseException: Whatever it raised.
    """
    until = monotonic() + deadline
    if iscoroutinefunction(function):
        return await _await_until(function(*args), until, deadline, name)
    result = await run_apart(lambda: function(*args), deadline, name, is_owned=True)
    value = _value_of(result)
    if isawaitable(value):
        return await _await_until(value, until, deadline, name)
    return value


async def _await_until(
    awaitable: Awaitable[Any], until: float, deadline: float, name: str
) -> Any:
    import asyncio

    task = asyncio.ensure_future(_contain(awaitable))
    task.set_name(name)
    try:
        await asyncio.wait({task}, timeout=max(until - monotonic(), 0))
    except asyncio.CancelledError:
        await _cancel(task)
        raise
    if not task.done():
        where = _where(task)
        await _cancel(task)
        raise PhotonTimeoutError(
            f"did not come back within {deadline:g} seconds",
            why=f"it was {where}",
            hint="do less there, or give it a longer deadline",
        )
    return _value_of(task.result())


def _value_of(result: Result[Any]) -> Any:
    """Return a step's value, or raise what it raised.

    What means something else to whoever awaits the step (that it was cancelled, that
    an iteration is over) is raised as a `RuntimeError` instead.
    """
    error = result.error
    if error is None:
        return result.value
    from asyncio import CancelledError

    if isinstance(error, CancelledError | StopIteration):
        disguised = RuntimeError(f"it raised {type(error).__name__}")
        raise disguised.with_traceback(error.__traceback__) from error
    raise error


async def _contain(awaitable: Awaitable[Any]) -> Result[Any]:
    """Turn what is raised into a value: a task that raises SystemExit ends the loop."""
    import asyncio

    try:
        return Result(await awaitable)
    except asyncio.CancelledError as error:
        current = asyncio.current_task()
        if current is not None and current.cancelling():
            raise
        return Result(error=error)  # raised by the photon itself
    except BaseException as error:
        if is_real_interrupt(error):
            raise
        return Result(error=error)


async def _cancel(task: Task[Any]) -> None:
    """Cancel *task* and wait a little; one that swallows it is given up."""
    import asyncio

    task.cancel()
    await asyncio.wait({task}, timeout=GRACE)
    if not task.done():
        abandoned_tasks.add(task)
        task.add_done_callback(abandoned_tasks.discard)
        # Else `asyncio.run` would wait for it at its end, for ever.
        asyncio._unregister_task(task)  # noqa: SLF001 - documented
    elif not task.cancelled():
        task.exception()  # seen, so that the loop does not complain about it


def _where(task: Task[Any]) -> str:
    """Return what *task* waits in, as ``at file:line``."""
    frames: list[FrameType] = []
    inner: Any = task.get_coro()
    while inner is not None:
        frame = getattr(inner, "cr_frame", None)
        if frame is not None:
            frames.insert(0, frame)
        inner = getattr(inner, "cr_await", None)
    return place_of(frames)
