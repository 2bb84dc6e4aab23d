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
from luminal.interfaces import IPhoton, hookimpl
from luminal.loading import Result, place_of, run_in_thread

if TYPE_CHECKING:
    from asyncio import Task
    from collections.abc import Awaitable, Callable
    from types import FrameType

    from luminal.interfaces import Subject

__all__ = [
    "Director",
    "abandoned_tasks",
    "is_containable",
    "is_real_interrupt",
    "run_step",
]

# === lifecycle.step ===
# One step of a photon's life: plain or ``async``, under a deadline, contained.
#
# Whatever a photon raises is a failure of that photon and of nobody else, `SystemExit`
# included. Only a real Ctrl-C goes through.

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
    result = await run_in_thread(lambda: function(*args), deadline, name, is_owned=True)
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


# === lifecycle.director ===
# Luminal's own implementation of the lifecycle hooks: call the photon's methods.


class Director:
    """Comes last, after whoever guards or replaces a step."""

    @hookimpl(trylast=True)
    async def photon_create(self, handler: Subject) -> object:
        """Create the photon, its context in place before ``__init__`` runs."""
        if handler.factory is None:
            return handler.instance
        factory = handler.factory
        if type(factory).__call__ is not type.__call__:  # a metaclass creates it
            created = await self._run(handler, lambda: factory())  # noqa: PLW0108
            _hand_over(created, handler)
            return created
        is_plain = factory.__init__ is object.__init__
        is_async = not is_plain and iscoroutinefunction(factory.__init__)

        def create() -> object:
            instance = factory.__new__(factory)
            if isinstance(instance, factory):
                _hand_over(instance, handler)
                if not is_async:
                    instance.__init__()
            return instance

        if is_plain and factory.__new__ is object.__new__:
            return create()  # nothing of the author's runs
        created = await self._run(handler, create)
        if is_async and isinstance(created, factory):
            await self._run(handler, created.__init__)
        return created

    @hookimpl(trylast=True)
    async def photon_start(self, handler: Subject) -> object:
        """Call ``start``, if the photon has one."""
        start = method_of(handler, "start")
        if start is not None:
            await self._run(handler, start)
        return True

    @hookimpl(trylast=True)
    async def photon_reload(self, handler: Subject, previous: object) -> object:
        """Call ``on_reload`` with what came before, if the photon has one."""
        on_reload = method_of(handler, "on_reload")
        if on_reload is not None:
            await self._run(handler, on_reload, previous)
        return True

    @hookimpl(trylast=True)
    async def photon_finalize(self, handler: Subject) -> object:
        """Call ``finalize``; None and true values say that it went well."""
        finalize = method_of(handler, "finalize")
        if finalize is None:
            return True
        deadline = handler.deadlines.finalize
        name = f"finalize {handler.name}"
        answer = await run_step(finalize, deadline=deadline, name=name)
        return answer is None or bool(answer)

    @staticmethod
    async def _run(
        handler: Subject, function: Callable[..., Any], *args: object
    ) -> Any:
        deadline = handler.deadlines.start
        name = f"start {handler.name}"
        return await run_step(function, *args, deadline=deadline, name=name)


def method_of(handler: Subject, name: str) -> Callable[..., Any] | None:
    """Return the lifecycle method *name* of a photon, or None.

    An object that an entry point names and that is no class of ours (a module, say)
    has no lifecycle, and a method that implements a hook of that name is a hook.
    """
    instance = handler.instance
    if handler.factory is None and not isinstance(instance, IPhoton):
        return None
    method = getattr(instance, name, None)
    # Whatever the project: the marker of project NAME sets ``NAME_impl`` to a dict.
    marks = getattr(method, "__dict__", {}).items()
    is_hook = any(m.endswith("_impl") and isinstance(opts, dict) for m, opts in marks)
    return method if callable(method) and not is_hook else None


def _hand_over(instance: object, handler: Subject) -> None:
    """Set ``context``, unless the photon's class has an idea of its own about it."""
    # Past the photon's metaclass, which may do anything.
    for cls in type.__getattribute__(type(instance), "__mro__"):
        if "context" in type.__getattribute__(cls, "__dict__"):
            return
    try:
        # Past an author's own __setattr__, which may expect a finished instance.
        object.__setattr__(instance, "context", handler.context)
    except (AttributeError, TypeError):
        return  # no room for attributes: such a photon does without
