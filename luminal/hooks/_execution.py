"""The general way to run a call: every option, one implementation after the other.

In come a view and the arguments, out comes the result by pluggy's rules. Cold hooks,
sampled calls and rare options run here; prepared callers do the same without looking
anything up, and properties hold the two together.
"""

from __future__ import annotations

import sys
import warnings
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, NoReturn

import pluggy

from luminal.errors import PhotonTimeoutError
from luminal.hooks._errors import ENGINE, GENERATED, ISOLATED, blame, is_own

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence

    from luminal.hooks._calls import CallSnapshot
    from luminal.hooks._errors import Policy
    from luminal.hooks._impl import Implementation
    from luminal.hooks.records import Answer

__all__ = [
    "CallContext",
    "amonitored",
    "answer_of",
    "arun",
    "asteady",
    "attribute",
    "aunwind",
    "block",
    "call_one",
    "complete",
    "monitored",
    "no_yield",
    "old_style",
    "outside",
    "pick",
    "run",
    "second_yield",
    "side_by_side",
    "steady",
    "unwind",
    "within",
]

# === hooks.awaiting ===
# Awaiting one implementation: with a deadline, from code that has no loop.
#
# In comes what an implementation returned, out comes its result. Nothing here keeps a
# loop, and asyncio is imported by the first call that needs it.


async def within(impl: Implementation, hook: str, seconds: float, value: Any) -> Any:
    """Await *value*, which *occupant* returned, for at most *seconds*.

    Raises:
        PhotonTimeoutError: It took longer and was cancelled.
    """
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


def block(hook: str, who: str, call: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run an async call from code without a loop: the blocking facade.

    Raises:
        pluggy.HookCallError: This thread runs a loop, which would stand still.
    """
    asyncio = sys.modules.get("asyncio")
    if asyncio is not None and asyncio._get_running_loop() is not None:  # noqa: SLF001
        raise pluggy.HookCallError(
            f"hook {hook!r} must be awaited here: photon {who!r} implements it with "
            f"'async def' and this thread runs an event loop\n"
            f"  try: await .ahook.{hook}(...)"
        )
    import asyncio as aio

    return aio.run(call())


# === hooks.calling ===
# Calling one implementation: its arguments among those of the call, its time.


def pick(
    impl: Implementation, kwargs: Mapping[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments of *occupant* among those of the call.

    Raises:
        pluggy.HookCallError: One is missing.
    """
    try:
        args = [kwargs[name] for name in impl.argnames]
    except KeyError as error:
        raise pluggy.HookCallError(
            f"hook call must provide argument {error.args[0]!r}"
        ) from error
    named = {n: kwargs[n] for n in impl.kwargnames if n in kwargs}
    if impl.is_direct and len(named) == len(impl.kwargnames):
        # By position, as prepared callers do: it may take them in no other way.
        return [*args, *named.values()], {}
    return args, named


async def call_one(
    context: CallContext,
    impl: Implementation,
    args: Sequence[Any],
    named: Mapping[str, Any],
    weight: int,
) -> Any:
    """Call *occupant*, await what it returns, and count."""
    start = perf_counter_ns()
    value = impl.function(*args, **named)
    if hasattr(value, "__await__"):
        seconds = context.deadline(impl)
        if seconds is None:
            value = await value
        else:
            value = await within(impl, context.hook, seconds, value)
    tally = impl.tally
    tally.calls += weight
    tally.nanoseconds += (perf_counter_ns() - start) * weight
    context.policy.succeeded(impl)
    return value


# === hooks.concurrency ===
# Awaiting implementations side by side, in a task group.


async def answer_of(
    context: CallContext,
    place: int,
    weight: int,
    impl: Implementation,
    args: Sequence[Any],
    named: Mapping[str, Any],
) -> Any:
    """Await the occupant at *place*; None where its failure is spared."""
    try:
        value = await call_one(context, impl, args, named, weight)
    except (Exception, SystemExit) as error:
        context.answered(impl, None, error)
        if context.spare(place, error):
            return None
        raise
    context.answered(impl, value, None)
    return value


async def side_by_side(
    context: CallContext,
    implementations: Sequence[Implementation],
    kwargs: Mapping[str, Any],
    weight: int,
) -> list[Any]:
    """Await *occupants* in a task group; return results in the usual order."""
    import asyncio

    chosen = [(o, *pick(o, kwargs)) for o in implementations]
    offset = len(context.implementations) - len(chosen)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(answer_of(context, offset + n, weight, *item))
                for n, item in enumerate(chosen)
            ]
    except BaseExceptionGroup as errors:
        # Callers expect what the photon raised, as in a call in turn; further
        # failures of the same moment go with it.
        cause = errors.exceptions[0]
        for other in errors.exceptions[1:]:
            cause.add_note(f"beside it: {other!r}")
        raise cause from None
    return [v for task in tasks if (v := task.result()) is not None]


# === hooks.course ===
# One call that runs in the general way: its occupants, its options, its answers.
#
# In come a view and who serves, out come attributions and, where asked for, a record
# of who answered what.


def attribute(
    policy: Policy,
    hook: str,
    implementations: Sequence[Implementation],
    place: int,
    error: BaseException,
    *,
    spared: bool = False,
    ends: bool = False,
) -> None:
    """Count and name the *error* of the occupant at *place*.

    Args:
        policy: What the hooks share.
        hook: Name of the hook.
        occupants: Those of the call.
        place: Whose error it is.
        error: What it raised.
        spared: Whether it is reported and the call goes on.
        ends: Whether those behind it are not called because of it.
    """
    impl = implementations[place]
    missed = implementations[place + 1 :] if ends else ()
    where = blame(error, impl, hook, missed)
    seconds = policy.failed(impl)
    if spared or seconds:
        from luminal.hooks.records import HookFailure

        policy.tell(
            HookFailure(
                impl.photon, hook, impl.generation, where, error, seconds
            )
        )


class CallContext:
    """A call under way.

    Attributes:
        view: What it sees.
        hook: Name of the hook.
        is_first: Whether the first result ends the call.
        isolated: Whether a failure leaves the others to answer.
        concurrent: Whether implementations are awaited side by side.
        answers: Where answers are kept, or None.
    """

    __slots__ = (
        "answers",
        "concurrent",
        "hook",
        "is_first",
        "isolated",
        "occupants",
        "policy",
        "view",
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
    ) -> None:
        self.policy = policy
        self.snapshot = snapshot
        self.hook = snapshot.hook.name
        self.implementations = implementations
        self.is_first = is_first
        self.isolated = isolated
        self.concurrent = concurrent
        self.answers = answers

    def blame(self, place: int, error: BaseException) -> None:
        """Attribute *error*, which ends the call."""
        attribute(self.policy, self.hook, self.implementations, place, error, ends=True)

    def spare(self, place: int, error: BaseException) -> bool:
        """Attribute *error*; return whether the call goes on without it."""
        if not is_own(error):
            return False
        spared = self.isolated and not isinstance(error, KeyboardInterrupt)
        attribute(self.policy, self.hook, self.implementations, place, error, spared=spared)
        return spared

    def fared_well(self, place: int) -> None:
        """Note that the wrapper at *place* came to its end without a failure."""
        self.policy.succeeded(self.implementations[place])

    def answered(
        self, impl: Implementation, value: Any, error: BaseException | None
    ) -> None:
        """Keep an answer where answers are kept."""
        if self.answers is not None and not (value is None and error is None):
            from luminal.hooks.records import Answer

            self.answers.append(
                Answer(impl.photon, impl.generation, value, error)
            )

    def deadline(self, impl: Implementation) -> float | None:
        """Return the seconds that *occupant* may take, or None."""
        return self.policy.deadline(impl)


# === hooks.wrapping ===
# Wrappers: their first halves before the call, their second halves after it.
#
# In come generators that stand at their ``yield``, the result or the exception of what
# they wrap; out comes the call's result or exception. Every second half runs, whatever
# the others do.


def outside() -> int:
    """Return the ``stacklevel`` of the code that called the hook."""
    level = 1
    frame = sys._getframe(1)  # noqa: SLF001 - how `warnings` itself counts
    while frame.f_back is not None and frame.f_code.co_filename.startswith(
        (ENGINE, GENERATED)
    ):
        frame, level = frame.f_back, level + 1
    return level


def _wrong(wrapper: Any, what: str) -> NoReturn:
    code = getattr(wrapper, "gi_code", None) or wrapper.ag_code
    raise RuntimeError(
        f"wrap_controller at {code.co_name!r} "
        f"{code.co_filename}:{code.co_firstlineno} {what}"
    )


def no_yield(wrapper: Any) -> NoReturn:
    """Raise for a *wrapper* that ended before its ``yield``."""
    _wrong(wrapper, "did not yield")


def second_yield(wrapper: Any) -> NoReturn:
    """Raise for a *wrapper* that yielded twice."""
    wrapper.close()
    _wrong(wrapper, "has second yield")


def steady(wrapper: Generator[Any, Any, Any]) -> None:
    """Run *wrapper* to its ``yield``.

    Raises:
        RuntimeError: It ended before.
    """
    try:
        next(wrapper)
    except StopIteration:
        _wrong(wrapper, "did not yield")


async def asteady(wrapper: Any) -> None:
    """Run *wrapper*, of either kind, to its ``yield``.

    Raises:
        RuntimeError: It ended before.
    """
    if hasattr(wrapper, "asend"):
        try:
            await wrapper.asend(None)
        except StopAsyncIteration:
            _wrong(wrapper, "did not yield")
    else:
        steady(wrapper)


def old_style(
    impl: Implementation, hook: str, *args: object, **kwargs: object
) -> Generator[None, Any, Any]:
    """Make a new-style wrapper of *occupant*, an old-style one."""
    inner = impl.function(*args, **kwargs)
    steady(inner)
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
                f"{type(error).__name__}: {error}\n"
                "Raise it through result.force_exception(), or use wrapper=True."
            ),
            stacklevel=outside(),
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
    fared_well: Callable[[int], None] | None = None,
) -> Any:
    """Run the second halves of *wrappers*, the innermost first.

    Args:
        wrappers: Generators at their ``yield``, in the order of their calls; None
            for those whose first half did not get there.
        result: What the call they wrap came to.
        error: The exception that it ended with, or None.
        failed: Is told a wrapper's place and its own exception; returns whether the
            exception was taken care of.
        fared_well: Is told the place of a wrapper that raised none of its own.

    Returns:
        The call's result.
    """
    for place in range(len(wrappers) - 1, -1, -1):
        wrapper = wrappers[place]
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
                        _call(fared_well, place)
                        continue
                    raise
            wrapper.close()
        except StopIteration as stop:
            result, error = stop.value, None
            _call(fared_well, place)
            continue
        except BaseException as raised:  # noqa: BLE001 - for the wrapper outside of it
            if raised is error:
                _call(fared_well, place)
            elif not failed(place, raised):
                error = raised
            continue
        try:
            _wrong(wrapper, "has second yield")
        except RuntimeError as raised:
            if not failed(place, raised):
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
    fared_well: Callable[[int], None] | None = None,
) -> Any:
    """Run the second halves of *wrappers* of either kind; see `unwind`.

    An async generator cannot return a value: what it yields in its second half is
    the call's result; where it ends without yielding, the result stays as it was.
    """
    for place in range(len(wrappers) - 1, -1, -1):
        wrapper = wrappers[place]
        if wrapper is None:
            continue
        try:
            if not hasattr(wrapper, "asend"):
                result, error = unwind((wrapper,), result, error, _nobody), None
            else:
                result, error = await _asecond_half(wrapper, result, error), None
        except BaseException as raised:  # noqa: BLE001 - as in `unwind`
            if raised is not error and not _came_back(raised, error):
                if not failed(place, raised):
                    error = raised
                continue
        _call(fared_well, place)
    if error is not None:
        try:
            raise error
        finally:
            del error
    return result


async def _asecond_half(wrapper: Any, result: Any, error: BaseException | None) -> Any:
    """Run the second half of an async *wrapper*; return the call's result."""
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


def _call(fared_well: Callable[[int], None] | None, place: int) -> None:
    if fared_well is not None:
        fared_well(place)


def _nobody(_place: int, _error: BaseException) -> bool:
    return False


# === hooks.running ===
# The general way to run a call: every option, one implementation after the other.
#
# In come a view and the arguments, out comes the result by pluggy's rules. Cold hooks,
# sampled calls and rare options run here; prepared callers do the same without looking
# anything up, and properties hold the two together.


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
            stacklevel=outside(),
        )
    return kwargs


def run(context: CallContext, implementations: Sequence[Implementation], kwargs: Any, weight: int) -> Any:
    """Call *occupants* in order.

    Args:
        course: The call's view and options.
        occupants: In the order of calls, wrappers first.
        kwargs: The arguments, completed.
        weight: How many calls the times stand for.

    Returns:
        The list of results, or the first one.
    """
    first, isolated = context.is_first, context.isolated
    result: Any = None if first else []
    opened: list[Any] = []
    error: BaseException | None = None
    place = -1
    try:
        for place, impl in enumerate(implementations):
            args, named = pick(impl, kwargs)
            start = perf_counter_ns()
            try:
                if impl.is_old_style:
                    value = old_style(impl, context.hook, *args, **named)
                else:
                    value = impl.function(*args, **named)
                if impl.is_wrapper:
                    steady(value)
                    opened.append(value)
                    continue
            except ISOLATED as raised:
                context.answered(impl, None, raised)
                if not isolated:
                    context.blame(place, raised)
                    raise
                context.spare(place, raised)
                if impl.is_wrapper:
                    opened.append(None)
                continue
            except BaseException as raised:
                context.blame(place, raised)
                raise
            tally = impl.tally
            tally.calls += weight
            tally.nanoseconds += (perf_counter_ns() - start) * weight
            context.policy.succeeded(impl)
            context.answered(impl, value, None)
            if value is not None:
                if first:
                    result = value
                    break
                result.append(value)
    except BaseException as raised:  # noqa: BLE001 - handed to the wrappers, then raised
        error = raised
    try:
        return unwind(opened, result, error, context.spare, context.fared_well)
    finally:
        del error


async def arun(
    context: CallContext, implementations: Sequence[Implementation], kwargs: Any, weight: int
) -> Any:
    """Await *occupants* in order, sync ones among them; see `run`."""
    first, isolated = context.is_first, context.isolated
    result: Any = None if first else []
    opened: list[Any] = []
    error: BaseException | None = None
    try:
        for place, impl in enumerate(implementations):
            args, named = pick(impl, kwargs)
            if context.concurrent and not impl.is_wrapper:
                result = await side_by_side(context, implementations[place:], kwargs, weight)
                break
            try:
                if impl.is_wrapper:
                    if impl.is_old_style:
                        value = old_style(impl, context.hook, *args, **named)
                    else:
                        value = impl.function(*args, **named)
                    await asteady(value)
                    opened.append(value)
                    continue
                value = await call_one(context, impl, args, named, weight)
            except ISOLATED as raised:
                context.answered(impl, None, raised)
                if not isolated:
                    context.blame(place, raised)
                    raise
                context.spare(place, raised)
                if impl.is_wrapper:
                    opened.append(None)
                continue
            except BaseException as raised:
                if is_own(raised):
                    context.blame(place, raised)
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
        return await aunwind(opened, result, error, context.spare, context.fared_well)
    finally:
        del error


# === hooks.monitoring ===
# Functions around every call: `add_hookcall_monitoring` and tracing.
#
# While nobody monitors, no call comes here.


def monitored(
    monitors: Sequence[tuple[Callable[..., Any], Callable[..., Any]]],
    context: CallContext,
    kwargs: Mapping[str, Any],
) -> Any:
    """Run *course* inside of *monitors*, the last of which is the outermost."""
    if not monitors:
        return run(context, context.implementations, kwargs, 1)
    before, after = monitors[-1]
    # pluggy's order: the reverse of the order of calls.
    hookimpls = [impl.hookimpl for impl in reversed(context.implementations)]
    before(context.hook, hookimpls, kwargs)
    outcome = pluggy.Result.from_call(lambda: monitored(monitors[:-1], context, kwargs))
    after(outcome, context.hook, hookimpls, kwargs)
    return outcome.get_result()


async def amonitored(
    monitors: Sequence[tuple[Callable[..., Any], Callable[..., Any]]],
    context: CallContext,
    kwargs: Mapping[str, Any],
) -> Any:
    """Await *course* inside of *monitors*; see `monitored`."""
    if not monitors:
        return await arun(context, context.implementations, kwargs, 1)
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
