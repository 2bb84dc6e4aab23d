"""Calling the implementations of a hook in the general way, with every option.

`run` and `arun` call one implementation after the other by pluggy's rules. Cold hooks,
sampled calls and rare options run here. Compiled callers do the same without looking
anything up; property tests compare the two.
"""

from __future__ import annotations

import sys
import warnings
from functools import partial
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, NoReturn

import pluggy

from luminal._plain import error_text
from luminal._running_loop import run_coroutine, running_loop
from luminal.errors import PhotonTimeoutError
from luminal.hooks._errors import COMPILED, ENGINE, ISOLATED, leave_out

if TYPE_CHECKING:
    from collections.abc import (
        Callable,
        Collection,
        Coroutine,
        Generator,
        Mapping,
        Sequence,
    )

    from luminal.hooks._calls import CallSnapshot
    from luminal.hooks._errors import Policy
    from luminal.hooks._impl import Implementation
    from luminal.hooks._totals import Total
    from luminal.hooks.records import Answer

__all__ = [
    "CallContext",
    "OnLoop",
    "amonitored",
    "arun",
    "arun_first_half",
    "as_new_style",
    "aunwind",
    "awaited_by",
    "complete",
    "monitored",
    "no_yield",
    "part_of",
    "run",
    "run_blocking",
    "second_yield",
    "unwind",
    "within",
]


class CallContext:
    """The implementations, options and answers of one call.

    Attributes:
        policy: What the hooks share.
        snapshot: What the call sees.
        epoch: That of the outermost call; known where tasks are made.
        hook: Name of the hook.
        implementations: Those that take part, in the order of calls.
        is_first: Whether the first result ends the call.
        isolated: Whether the call goes on after a failure.
        concurrent: Whether implementations are awaited side by side.
        answers: List to which answers are added, or None.
        timed: Implementations of which every call is timed.
    """

    __slots__ = (
        "answers",
        "concurrent",
        "epoch",
        "hook",
        "implementations",
        "is_first",
        "isolated",
        "policy",
        "snapshot",
        "timed",
    )

    def __init__(
        self,
        policy: Policy,
        snapshot: CallSnapshot,
        implementations: Sequence[Implementation],
        *,
        is_first: bool,
        isolated: bool,
        concurrent: bool = False,
        answers: list[Answer] | None = None,
        timed: Collection[Implementation] = (),
    ) -> None:
        self.timed = timed
        self.policy = policy
        self.snapshot = snapshot
        self.epoch: int | None = None
        self.hook = snapshot.caller.name
        self.implementations = implementations
        self.is_first = is_first
        self.isolated = isolated
        self.concurrent = concurrent
        self.answers = answers

    def fail(self, index: int, error: BaseException) -> None:
        """Record *error* of the implementation at *index*, which ends the call."""
        self.policy.fail(self.hook, self.implementations, index, error)

    def spare(self, index: int, error: BaseException) -> bool:
        """Record *error*; return whether the call goes on without it."""
        return self.policy.spare(
            self.hook, self.implementations, index, error, isolated=self.isolated
        )

    def succeeded(self, index: int) -> None:
        """Note that the wrapper at *index* raised nothing of its own."""
        self.policy.succeeded(self.hook, self.implementations[index])

    def answered(
        self, impl: Implementation, value: Any, error: BaseException | None
    ) -> None:
        """Add an answer if answers are kept."""
        if self.answers is not None and not (value is None and error is None):
            from luminal.hooks.records import Answer

            self.answers.append(Answer(impl.photon, impl.generation, value, error))


# Calling one implementation.


def pick_arguments(
    impl: Implementation, kwargs: Mapping[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments of *impl* among those of the call.

    Raises:
        pluggy.HookCallError: One is missing.
    """
    __tracebackhide__ = True
    try:
        args = [kwargs[name] for name in impl.argnames]
    except KeyError as error:
        raise pluggy.HookCallError(
            f"hook call must provide argument {error.args[0]!r}"
        ) from error
    named = {n: kwargs[n] for n in impl.kwargnames if n in kwargs}
    if impl.is_direct and len(named) == len(impl.kwargnames):
        # By position, as compiled callers do.
        return [*args, *named.values()], {}
    return args, named


async def call_one(
    context: CallContext,
    impl: Implementation,
    args: Sequence[Any],
    named: Mapping[str, Any],
    weight: int,
) -> Any:
    """Call *impl*, await what it returns, and count."""
    __tracebackhide__ = True
    total = impl.tally.total
    if impl in context.timed:
        weight = 1
    start = perf_counter_ns()
    value = impl.function(*args, **named)
    if hasattr(value, "__await__"):
        seconds = context.policy.deadline(impl)
        if seconds is not None:
            value = within(impl, context.hook, seconds, value)
        value = await OnLoop(total, value, weight)
    total.time(perf_counter_ns() - start, weight)
    context.policy.succeeded(context.hook, impl)
    return value


class OnLoop:
    """Awaits a value of a timed call, and times when its code runs and does not wait.

    Args:
        total: Where the time is counted.
        value: What is awaited.
        weight: Number of calls that it stands for.
    """

    __slots__ = ("total", "value", "weight")

    def __init__(self, total: Total, value: Any, weight: int = 1) -> None:
        self.total = total
        self.value = value
        self.weight = weight

    def __await__(self) -> Generator[Any, Any, Any]:
        """Do what ``yield from`` does, with a clock around each step."""
        __tracebackhide__ = True
        steps = self.value.__await__()
        send, throw = getattr(steps, "send", None), getattr(steps, "throw", None)
        sent: Any = None
        raised: BaseException | None = None
        spent = 0
        start = perf_counter_ns()
        try:
            while True:
                start = perf_counter_ns()
                if raised is not None:
                    if throw is None:
                        raise raised
                    awaited = throw(raised)
                elif send is None or sent is None:
                    awaited = next(steps)
                else:
                    awaited = send(sent)
                spent += perf_counter_ns() - start
                sent = raised = None
                try:
                    sent = yield awaited
                except GeneratorExit:
                    getattr(steps, "close", int)()
                    raise
                except BaseException as error:  # noqa: BLE001 - thrown into the value
                    raised = error
        except StopIteration as stop:
            spent += perf_counter_ns() - start
            return stop.value
        finally:
            raised = None  # a frame that refers to its own exception is a cycle
            self.total.on_loop += spent * self.weight


def awaited_by(coroutine: Any) -> Any:
    """Return what *coroutine* awaits, through `OnLoop`; None: nothing."""
    found = getattr(coroutine, "cr_await", None)
    frame = getattr(found, "gi_frame", None)
    if frame is not None and frame.f_code is OnLoop.__await__.__code__:
        return frame.f_locals["self"].value
    return found


async def within(impl: Implementation, hook: str, seconds: float, value: Any) -> Any:
    """Await *value*, which *impl* returned, for at most *seconds*.

    Raises:
        PhotonTimeoutError: It took longer and was cancelled.
    """
    __tracebackhide__ = True
    if not hasattr(value, "__await__"):
        return value
    import asyncio

    try:
        async with asyncio.timeout(seconds) as limit:
            return await value
    except TimeoutError as error:
        if not limit.expired():
            raise
        file, _, line = impl.where.rpartition(":")
        raise PhotonTimeoutError(
            f"did not answer hook {hook!r} within {seconds:g} s",
            photon=impl.photon,
            file=file or None,
            line=int(line) if line else None,
            hint="make it faster, or raise its deadline",
        ) from error


async def part_of(
    policy: Policy,  # noqa: ARG001 - read from this frame, see `own_calls`
    epoch: int | None,  # noqa: ARG001 - likewise
    work: Coroutine[Any, Any, Any],
) -> Any:
    """Await *work* in a task that belongs to a call of *epoch*, which counts it."""
    __tracebackhide__ = True
    return await work


async def answer_of(
    context: CallContext,
    index: int,
    weight: int,
    impl: Implementation,
    args: Sequence[Any],
    named: Mapping[str, Any],
) -> Any:
    """Await *impl*, the implementation at *index*; None if its failure is spared."""
    __tracebackhide__ = True
    try:
        value = await call_one(context, impl, args, named, weight)
    except (Exception, SystemExit) as error:
        context.answered(impl, None, error)
        if context.spare(index, error):
            return None
        raise
    context.answered(impl, value, None)
    return value


async def side_by_side(
    context: CallContext, start: int, kwargs: Mapping[str, Any], weight: int
) -> list[Any]:
    """Await the implementations from index *start* on in a task group.

    Returns:
        Their results in the order of calls.
    """
    __tracebackhide__ = True
    import asyncio

    chosen = [
        (impl, *pick_arguments(impl, kwargs))
        for impl in context.implementations[start:]
    ]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(
                    part_of(
                        context.policy,
                        context.epoch,
                        answer_of(context, start + n, weight, *item),
                    )
                )
                for n, item in enumerate(chosen)
            ]
    except BaseExceptionGroup as errors:
        # Callers expect what the photon raised, as in a call one after the other.
        # Further failures of the same moment are named in notes.
        cause = errors.exceptions[0]
        for other in errors.exceptions[1:]:
            cause.add_note(f"also raised: {other!r}")
        raise cause from None
    return [v for task in tasks if (v := task.result()) is not None]


def run_blocking(
    hook: str, photon: str, call: Callable[[], Coroutine[Any, Any, Any]]
) -> Any:
    """Run an async call from code without an event loop.

    Args:
        hook: Name of the hook.
        photon: Name of a photon that implements it with ``async def``.
        call: Makes the coroutine.

    Raises:
        pluggy.HookCallError: This thread runs a loop, which would be blocked.
    """
    __tracebackhide__ = True
    if running_loop() is not None:
        raise pluggy.HookCallError(
            f"hook {hook!r} must be awaited here: photon {photon!r} implements it with "
            f"'async def' and this thread runs an event loop\n"
            f"  try: await .ahook.{hook}(...)"
        )
    return run_coroutine(call())


# Wrappers: the first half runs before the call, the second half after it. Every second
# half runs, whatever the others do.


def outer_stacklevel() -> int:
    """Return the ``stacklevel`` of the code that called the hook."""
    level = 1
    frame = sys._getframe(1)  # noqa: SLF001 - how `warnings` itself counts
    while frame.f_back is not None and frame.f_code.co_filename.startswith(
        (ENGINE, COMPILED)
    ):
        frame, level = frame.f_back, level + 1
    return level


def _wrong(wrapper: Any, what: str) -> NoReturn:
    __tracebackhide__ = True
    code = getattr(wrapper, "gi_code", None) or wrapper.ag_code
    raise RuntimeError(
        f"wrap_controller at {code.co_name!r} "
        f"{code.co_filename}:{code.co_firstlineno} {what}"
    )


def no_yield(wrapper: Any) -> NoReturn:
    """Raise for a *wrapper* that ended before its ``yield``."""
    __tracebackhide__ = True
    _wrong(wrapper, "did not yield")


def second_yield(wrapper: Any) -> NoReturn:
    """Raise for a *wrapper* that yielded twice."""
    __tracebackhide__ = True
    wrapper.close()
    _wrong(wrapper, "has second yield")


def run_first_half(wrapper: Generator[Any, Any, Any]) -> None:
    """Run *wrapper* to its ``yield``.

    Raises:
        RuntimeError: It ended before.
    """
    __tracebackhide__ = True
    try:
        next(wrapper)
    except StopIteration:
        _wrong(wrapper, "did not yield")


async def arun_first_half(wrapper: Any) -> None:
    """Run *wrapper*, of either kind, to its ``yield``.

    Raises:
        RuntimeError: It ended before.
    """
    __tracebackhide__ = True
    if hasattr(wrapper, "asend"):
        try:
            await wrapper.asend(None)
        except StopAsyncIteration:
            _wrong(wrapper, "did not yield")
    else:
        run_first_half(wrapper)


def as_new_style(
    impl: Implementation, hook: str, *args: object, **kwargs: object
) -> Generator[None, Any, Any]:
    """Make a new-style wrapper of *impl*, an old-style one."""
    __tracebackhide__ = True
    inner = impl.function(*args, **kwargs)
    run_first_half(inner)
    result: pluggy.Result[Any]
    try:
        result = pluggy.Result((yield), None)
    except BaseException as error:  # noqa: BLE001 - the wrapper decides
        result = pluggy.Result(None, error)
    try:
        inner.send(result)
    except StopIteration:
        pass
    except BaseException as error:
        warnings.warn(
            pluggy.PluggyTeardownRaisedWarning(
                "A plugin raised an exception during an old-style hookwrapper "
                f"teardown.\nPlugin: {impl.photon}, Hook: {hook}\n"
                f"{error_text(error)}\n"
                "Raise it through result.force_exception(), or use wrapper=True."
            ),
            stacklevel=outer_stacklevel(),
        )
        raise
    else:
        _wrong(inner, "has second yield")
    finally:
        inner.close()
    return result.get_result()


def unwind(
    wrappers: Sequence[Generator[Any, Any, Any] | None],
    result: Any,
    error: BaseException | None,
    failed: Callable[[int, BaseException], bool],
    succeeded: Callable[[int], None] | None = None,
) -> Any:
    """Run the second halves of *wrappers*, the innermost first.

    Args:
        wrappers: Generators at their ``yield``, in the order of their calls; None
            for those that failed before it.
        result: Result of the call that they wrap.
        error: The exception that it ended with, or None.
        failed: Called with a wrapper's index and the exception that the wrapper itself
            raised; returns whether the call goes on without the exception.
        succeeded: Called with the index of a wrapper that raised nothing of its own.

    Returns:
        The call's result.
    """
    __tracebackhide__ = True
    for index in range(len(wrappers) - 1, -1, -1):
        wrapper = wrappers[index]
        if wrapper is None:
            continue
        try:
            if error is None:
                wrapper.send(result)
            else:
                try:
                    wrapper.throw(error)
                except RuntimeError as raised:
                    if _came_back(raised, error):
                        wrapper.close()
                        _call(succeeded, index)
                        continue
                    raise
            wrapper.close()
        except StopIteration as stop:
            result, error = stop.value, None
            _call(succeeded, index)
            continue
        except BaseException as raised:  # noqa: BLE001 - for the next wrapper
            if raised is error:
                _call(succeeded, index)
            elif not failed(index, raised):
                error = raised
            continue
        try:
            _wrong(wrapper, "has second yield")
        except RuntimeError as raised:
            if not failed(index, raised):
                raise
    if error is not None:
        try:
            raise error
        finally:
            del error  # a frame that refers to its own exception is a cycle
    return result


async def aunwind(
    wrappers: Sequence[Any],
    result: Any,
    error: BaseException | None,
    failed: Callable[[int, BaseException], bool],
    succeeded: Callable[[int], None] | None = None,
) -> Any:
    """Run the second halves of *wrappers* of either kind; see `unwind`.

    An async generator cannot return a value. The value that it yields in its second
    half is the call's result; if it yields none, the result stays as it was.
    """
    __tracebackhide__ = True
    for index in range(len(wrappers) - 1, -1, -1):
        wrapper = wrappers[index]
        if wrapper is None:
            continue
        try:
            if not hasattr(wrapper, "asend"):
                result, error = unwind((wrapper,), result, error, _not_spared), None
            else:
                result, error = await _asecond_half(wrapper, result, error), None
        except BaseException as raised:  # noqa: BLE001 - as in `unwind`
            if raised is not error and not _came_back(raised, error):
                if not failed(index, raised):
                    error = raised
                continue
        _call(succeeded, index)
    if error is not None:
        try:
            raise error
        finally:
            del error
    return result


async def _asecond_half(wrapper: Any, result: Any, error: BaseException | None) -> Any:
    """Run the second half of an async *wrapper*; return the call's result."""
    __tracebackhide__ = True
    try:
        if error is None:
            result = await wrapper.asend(result)
        else:
            result = await wrapper.athrow(error)
        await wrapper.aclose()
    except StopAsyncIteration:
        pass
    finally:
        del error
    return result


def _came_back(raised: BaseException, error: BaseException | None) -> bool:
    """Return whether *raised* is how *error* leaves a generator it was thrown into."""
    return (
        isinstance(error, StopIteration | StopAsyncIteration)
        and isinstance(raised, RuntimeError)
        and raised.__cause__ is error
    )


def _call(succeeded: Callable[[int], None] | None, index: int) -> None:
    if succeeded is not None:
        succeeded(index)


def _not_spared(_index: int, _error: BaseException) -> bool:
    return False


def complete(spec: Any, kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return *kwargs* with *spec*'s defaults; warn of arguments that are missing."""
    if spec is None:
        return kwargs
    if spec.kwargdefaults:
        kwargs = {**spec.kwargdefaults, **kwargs}
    missing = [repr(name) for name in spec.argnames if name not in kwargs]
    if missing:
        warnings.warn(
            f"Argument(s) {', '.join(missing)} which are declared in the hookspec "
            "cannot be found in this hook call",
            stacklevel=outer_stacklevel(),
        )
    return kwargs


def run(context: CallContext, kwargs: Mapping[str, Any], weight: int) -> Any:
    """Call the implementations of *context* one after the other.

    Args:
        context: The call's implementations and options.
        kwargs: The arguments, completed.
        weight: Number of calls that the measured times stand for.

    Returns:
        The list of results, or the first one.
    """
    __tracebackhide__ = True
    first, isolated, timed = context.is_first, context.isolated, context.timed
    result: Any = None if first else []
    opened: list[Any] = []
    error: BaseException | None = None
    index = -1
    try:
        for index, impl in enumerate(context.implementations):
            args, named = pick_arguments(impl, kwargs)
            start = perf_counter_ns()
            try:
                if impl.is_old_style:
                    value = as_new_style(impl, context.hook, *args, **named)
                else:
                    value = impl.function(*args, **named)
                if impl.is_wrapper:
                    run_first_half(value)
                    opened.append(value)
                    continue
            except ISOLATED as raised:
                context.answered(impl, None, raised)
                if not isolated:
                    context.fail(index, raised)
                    raise
                context.spare(index, raised)
                if impl.is_wrapper:
                    opened.append(None)
                continue
            except BaseException as raised:
                context.fail(index, raised)
                raise
            spent = perf_counter_ns() - start
            impl.tally.total.time(spent, 1 if impl in timed else weight)
            context.policy.succeeded(context.hook, impl)
            context.answered(impl, value, None)
            if value is not None:
                if first:
                    result = value
                    break
                result.append(value)
    except BaseException as raised:  # noqa: BLE001 - handed to the wrappers, then raised
        error = raised
    try:
        return unwind(opened, result, error, context.spare, context.succeeded)
    finally:
        del error


async def arun(context: CallContext, kwargs: Mapping[str, Any], weight: int) -> Any:
    """Await the implementations of *context*, of which some may be sync; see `run`."""
    __tracebackhide__ = True
    first, isolated = context.is_first, context.isolated
    result: Any = None if first else []
    opened: list[Any] = []
    error: BaseException | None = None
    try:
        for index, impl in enumerate(context.implementations):
            args, named = pick_arguments(impl, kwargs)
            if context.concurrent and not impl.is_wrapper:
                result = await side_by_side(context, index, kwargs, weight)
                break
            try:
                if impl.is_wrapper:
                    if impl.is_old_style:
                        value = as_new_style(impl, context.hook, *args, **named)
                    else:
                        value = impl.function(*args, **named)
                    await arun_first_half(value)
                    opened.append(value)
                    continue
                value = await call_one(context, impl, args, named, weight)
            except ISOLATED as raised:
                context.answered(impl, None, raised)
                if not isolated:
                    context.fail(index, raised)
                    raise
                context.spare(index, raised)
                if impl.is_wrapper:
                    opened.append(None)
                continue
            except BaseException as raised:
                context.fail(index, raised)
                raise
            context.answered(impl, value, None)
            if value is not None:
                if first:
                    result = value
                    break
                result.append(value)
    except BaseException as raised:  # noqa: BLE001 - handed to the wrappers, then raised
        error = raised
    try:
        return await aunwind(opened, result, error, context.spare, context.succeeded)
    finally:
        del error


# Functions around every call: `add_hookcall_monitoring` and tracing.


def monitored(
    monitors: Sequence[tuple[Callable[..., Any], Callable[..., Any]]],
    context: CallContext,
    kwargs: Mapping[str, Any],
) -> Any:
    """Run the call inside of *monitors*, the last of which is the outermost."""
    __tracebackhide__ = True
    if not monitors:
        return run(context, kwargs, 1)
    before, after = monitors[-1]
    # pluggy's order: the reverse of the order of calls.
    hookimpls = [impl.hookimpl for impl in reversed(context.implementations)]
    before(context.hook, hookimpls, kwargs)
    outcome = pluggy.Result.from_call(
        partial(monitored, monitors[:-1], context, kwargs)
    )
    after(outcome, context.hook, hookimpls, kwargs)
    return outcome.get_result()


async def amonitored(
    monitors: Sequence[tuple[Callable[..., Any], Callable[..., Any]]],
    context: CallContext,
    kwargs: Mapping[str, Any],
) -> Any:
    """Await the call inside of *monitors*; see `monitored`."""
    __tracebackhide__ = True
    if not monitors:
        return await arun(context, kwargs, 1)
    before, after = monitors[-1]
    hookimpls = [impl.hookimpl for impl in reversed(context.implementations)]
    before(context.hook, hookimpls, kwargs)
    outcome: pluggy.Result[Any]
    try:
        outcome = pluggy.Result(await amonitored(monitors[:-1], context, kwargs), None)
    except BaseException as error:  # noqa: BLE001 - handed on by `get_result`
        outcome = pluggy.Result(None, error)
    after(outcome, context.hook, hookimpls, kwargs)
    return outcome.get_result()


leave_out(globals())
