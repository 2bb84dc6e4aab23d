"""Wrappers: their first halves before the call, their second halves after it.

In come generators that stand at their ``yield``, the result or the exception of what
they wrap; out comes the call's result or exception. Every second half runs, whatever
the others do.
"""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any, NoReturn

import pluggy

from luminal.hooks.failure import ENGINE, GENERATED

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from luminal.hooks.occupant import Occupant

__all__ = [
    "asteady",
    "aunwind",
    "no_yield",
    "old_style",
    "outside",
    "second_yield",
    "steady",
    "unwind",
]


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
    occupant: Occupant, hook: str, *args: object, **kwargs: object
) -> Generator[None, Any, Any]:
    """Make a new-style wrapper of *occupant*, an old-style one."""
    inner = occupant.function(*args, **kwargs)
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
                f"teardown.\nPlugin: {occupant.photon}, Hook: {hook}\n"
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
