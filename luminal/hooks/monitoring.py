"""Functions around every call: `add_hookcall_monitoring` and tracing.

While nobody monitors, no call comes here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

from luminal.hooks.running import arun, run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from luminal.hooks.course import Course

__all__ = ["amonitored", "monitored"]


def monitored(
    monitors: Sequence[tuple[Callable[..., Any], Callable[..., Any]]],
    course: Course,
    kwargs: Mapping[str, Any],
) -> Any:
    """Run *course* inside of *monitors*, the last of which is the outermost."""
    if not monitors:
        return run(course, course.occupants, kwargs, 1)
    before, after = monitors[-1]
    # pluggy's order: the reverse of the order of calls.
    impls = [occupant.impl for occupant in reversed(course.occupants)]
    before(course.hook, impls, kwargs)
    outcome = pluggy.Result.from_call(lambda: monitored(monitors[:-1], course, kwargs))
    after(outcome, course.hook, impls, kwargs)
    return outcome.get_result()


async def amonitored(
    monitors: Sequence[tuple[Callable[..., Any], Callable[..., Any]]],
    course: Course,
    kwargs: Mapping[str, Any],
) -> Any:
    """Await *course* inside of *monitors*; see `monitored`."""
    if not monitors:
        return await arun(course, course.occupants, kwargs, 1)
    before, after = monitors[-1]
    impls = [occupant.impl for occupant in reversed(course.occupants)]
    before(course.hook, impls, kwargs)
    outcome: pluggy.Result[Any]
    try:
        outcome = pluggy.Result(await amonitored(monitors[:-1], course, kwargs), None)
    except BaseException as error:  # noqa: BLE001 - handed on by `get_result`
        outcome = pluggy.Result(None, error)
    after(outcome, course.hook, impls, kwargs)
    return outcome.get_result()
