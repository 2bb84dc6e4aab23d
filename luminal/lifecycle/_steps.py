"""Run one step of a photon's life: a plain or ``async`` method, under a deadline.

Whatever a photon raises is a failure of that photon alone, `SystemExit` included. Only
a real Ctrl-C is raised further. `DefaultLifecycle` is Luminal's own implementation of
the lifecycle's hooks: it calls the photon's methods.
"""

from __future__ import annotations

import dis
import signal
import threading
from functools import partial
from inspect import isawaitable, iscoroutinefunction
from time import monotonic
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

from luminal._plain import (
    attribute_of,
    attributes_of,
    class_name,
    has_simple_text,
    mro_of,
    note_text,
    own_values_of,
    static_of,
    traceback_of,
)
from luminal.errors import PhotonTimeoutError
from luminal.hooks._execution import awaited_by
from luminal.interfaces import IPhoton, hookimpl
from luminal.loading import Result, describe_position, reach_loop, run_in_thread
from luminal.supervise import own_task_of_step

if TYPE_CHECKING:
    from asyncio import Task
    from collections.abc import Awaitable, Callable
    from types import FrameType

    from luminal.lifecycle._handler import Handler

__all__ = [
    "DefaultLifecycle",
    "abandoned_tasks",
    "is_containable",
    "is_real_interrupt",
    "method_of",
    "run_step",
]

_TEXT_SECONDS = 0.1
"""Seconds for the text of an exception where no time is left of a deadline."""

GRACE = 1.0
"""Seconds that a coroutine has to end after it was cancelled."""

abandoned_tasks: set[Task[Any]] = set()
"""Tasks that swallowed their cancellation, and ran on when they were given up."""


def is_real_interrupt(error: BaseException) -> bool:
    """Whether *error* is a Ctrl-C, not a ``raise KeyboardInterrupt`` of a photon.

    A signal interrupts the main thread at any instruction; a photon's own statement
    is at a ``raise``.
    """
    if not issubclass(type(error), KeyboardInterrupt):
        return False
    if threading.current_thread() is not threading.main_thread():
        return False
    trace = traceback_of(error)
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

    # Not `isinstance`, here and below: it would ask the exception for its class.
    is_cancelled = issubclass(type(error), CancelledError)
    return not is_cancelled and not is_real_interrupt(error)


async def run_step(
    function: Callable[..., Any], *args: object, deadline: float, name: str
) -> Any:
    """Call *function*, plain on a thread or ``async`` on this loop.

    Args:
        function: A photon's method.
        *args: Its arguments.
        deadline: Seconds that it may take.
        name: Name of the thread or task.

    Returns:
        What it returned.

    Raises:
        PhotonTimeoutError: It took longer.
        BaseException: Whatever it raised.
    """
    if iscoroutinefunction(function):
        await reach_loop()
        until = monotonic() + deadline
        return await _await_until(function(*args), until, deadline, name)
    until = monotonic() + deadline
    result = await run_in_thread(lambda: function(*args), deadline, name, is_owned=True)
    value = _value_of(result)
    if isawaitable(value):
        await reach_loop()
        return await _await_until(value, until, deadline, name)
    return value


async def _await_until(
    awaitable: Awaitable[Any], until: float, deadline: float, name: str
) -> Any:
    import asyncio

    task = asyncio.ensure_future(_contain(awaitable))
    task.set_name(name)
    own_task_of_step(task)  # it may swallow its cancellation
    try:
        await asyncio.wait({task}, timeout=max(until - monotonic(), 0))
    except asyncio.CancelledError:
        await _cancel(task)
        raise
    if not task.done():
        where = _where(task)
        await _cancel(task)
        raise PhotonTimeoutError(
            f"timed out after {deadline:g} seconds",
            why=f"it was {where}",
            hint="do less there, or give it a longer deadline",
        )
    result = task.result()
    if result.error is not None and not has_simple_text(result.error):
        await _read_text(result.error, max(until - monotonic(), _TEXT_SECONDS), name)
    return _value_of(result)


async def _read_text(error: BaseException, deadline: float, name: str) -> None:
    """Read the text of *error* on a thread: that is code of a photon, and may hang."""
    await run_in_thread(lambda: note_text(error), deadline, name, is_owned=True)
    note_text(error, f"<{class_name(error)}, whose text was not read in time>")


def _value_of(result: Result[Any]) -> Any:
    """Return a step's value, or raise what it raised.

    `CancelledError` and `StopIteration` mean something else to the code that awaits
    the step, so they are raised as a `RuntimeError`.
    """
    error = result.error
    if error is None:
        return result.value
    from asyncio import CancelledError

    if issubclass(type(error), CancelledError | StopIteration):
        disguised = RuntimeError(f"it raised {class_name(error)}")
        raise disguised.with_traceback(traceback_of(error)) from error
    raise error


async def _contain(awaitable: Awaitable[Any]) -> Result[Any]:
    """Return what is raised as a value: a task that raises SystemExit ends the loop."""
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
    """Cancel *task* and wait up to `GRACE`; then it is given up."""
    import asyncio

    task.cancel()
    await asyncio.wait({task}, timeout=GRACE)
    if not task.done():
        abandoned_tasks.add(task)
        # It may be freed before it ends, at the end of the interpreter at the latest.
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001
        task.add_done_callback(abandoned_tasks.discard)
        # `asyncio.run` would wait for it for ever.
        asyncio._unregister_task(task)  # noqa: SLF001 - documented
        # Nor is it a surprise that it is pending when the interpreter ends.
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001
    elif not task.cancelled():
        task.exception()  # fetched, so that the loop does not log it


def _where(task: Task[Any]) -> str:
    """Return the line in which *task* waits, as ``at file:line``."""
    frames: list[FrameType] = []
    inner: Any = task.get_coro()
    while inner is not None:
        frame = getattr(inner, "cr_frame", None)
        if frame is not None:
            frames.insert(0, frame)
        inner = awaited_by(inner)
    return describe_position(frames)


class DefaultLifecycle:
    """Calls the photon's own methods, after all other implementations of a hook."""

    @hookimpl(trylast=True)
    async def photon_create(self, handler: Handler) -> object:
        """Create the photon, its context in place before ``__init__`` runs."""
        life = handler._life
        factory = life.factory
        if factory is None:
            return life.instance
        # On the loop, nothing is asked that the class or its metaclass may define.
        if static_of(type(factory), "__call__") is not vars(type)["__call__"]:
            created = await self._run(handler, lambda: factory())  # noqa: PLW0108
            _set_context(created, handler)
            return created
        made_by = attributes_of(factory, ("__init__", "__new__", "context"))
        init, new = made_by["__init__"], made_by["__new__"]  # `object` has both
        is_plain = init is vars(object)["__init__"]
        is_new = new is vars(object)["__new__"]
        if is_plain and is_new:  # nothing of the author's runs
            created = object.__new__(factory)
            if "context" not in made_by:
                _store_context(created, handler)
            return created
        is_async = type(init) is FunctionType and iscoroutinefunction(init)

        def create() -> object:
            instance = object.__new__(factory) if is_new else factory.__new__(factory)
            if _is_of(instance, factory):
                _set_context(instance, handler)
                if not is_async and not is_plain:
                    instance.__init__()
            return instance

        created = await self._run(handler, create)
        if is_async and _is_of(created, factory):
            await self._run(handler, MethodType(init, created))
        return created

    @hookimpl(trylast=True)
    async def photon_start(self, handler: Handler) -> object:
        """Call ``start``, if the photon has one."""
        start = method_of(handler, "start")
        if start is not None:
            await self._run(handler, start)
        # Here, as a wrapper of this hook may still raise.
        scope = handler._life.context.scope
        if scope is not None:
            scope.mark_started()
        return True

    @hookimpl(trylast=True)
    async def photon_reload(self, handler: Handler, previous: object) -> object:
        """Call ``on_reload`` with what came before, if the photon has one."""
        on_reload = method_of(handler, "on_reload")
        if on_reload is not None:
            await self._run(handler, on_reload, previous)
        return True

    @hookimpl(trylast=True)
    async def photon_finalize(self, handler: Handler) -> object:
        """Call ``finalize``; None and true values say that it went well."""
        finalize = method_of(handler, "finalize")
        if finalize is None:
            return True
        deadline = handler.deadlines.finalize
        name = f"finalize {handler.name}"
        went_well = await run_step(finalize, deadline=deadline, name=name)
        if type(went_well) in _PLAIN_ANSWERS:
            return went_well is None or bool(went_well)
        return await run_step(lambda: bool(went_well), deadline=deadline, name=name)

    @staticmethod
    async def _run(
        handler: Handler, function: Callable[..., Any], *args: object
    ) -> Any:
        deadline = handler.deadlines.start
        name = f"start {handler.name}"
        return await run_step(function, *args, deadline=deadline, name=name)


def method_of(handler: Handler, name: str) -> Callable[..., Any] | None:
    """Return the lifecycle method *name* of a photon, or None.

    An object that is no instance of a photon's class (a module that an entry point
    names, say) has no lifecycle. A method that implements a hook does not count.
    """
    instance = handler._life.instance
    cls = type(instance)
    if not issubclass(cls, IPhoton) and handler._life.factory is None:
        return None
    value = attribute_of(instance, name)
    if value is None:
        return None
    own = own_values_of(instance)
    function = value.__func__ if type(value) in _METHODS else value
    if type(function) is not FunctionType:
        kind = type(value)
        if static_of(kind, "__get__") is None and static_of(kind, "__call__") is None:
            return None  # no method at all
        return partial(_look_up_and_call, instance, name)
    # The marker of any pluggy project NAME sets ``NAME_impl`` to a dict.
    marks = function.__dict__.items()
    if any(m.endswith("_impl") and isinstance(opts, dict) for m, opts in marks):
        return None
    method: Callable[..., Any] = value
    if type(value) in _BOUND:
        method = value.__get__(instance, cls)
    elif name not in own and value is function:
        method = MethodType(function, instance)
    return method


def _look_up_and_call(instance: object, name: str, *args: object) -> object:
    """Call what a photon has as *name*: to look a descriptor up is code of it too."""
    method = getattr(instance, name)
    return method(*args) if callable(method) else None


_NOTHING = object()

_BOUND = (staticmethod, classmethod)
_METHODS = (*_BOUND, MethodType)

_PLAIN_ANSWERS = (type(None), bool, int, str)
"""Classes of which the truth is known without any code of a photon's."""


def _is_of(instance: object, cls: type) -> bool:
    """Whether *instance* is one of *cls*; no metaclass is asked."""
    for part in mro_of(type(instance)):  # noqa: SIM110 - asked in each reload
        if part is cls:
            return True
    return False


def _set_context(instance: object, handler: Handler) -> None:
    """Set ``context``, unless the photon's class defines that name itself."""
    if static_of(type(instance), "context", _NOTHING) is _NOTHING:
        _store_context(instance, handler)


def _store_context(instance: object, handler: Handler) -> None:
    try:
        # Without the author's __setattr__, which may expect a finished instance.
        object.__setattr__(instance, "context", handler._life.context)
    except (AttributeError, TypeError):
        return  # it has slots: such a photon gets no context
