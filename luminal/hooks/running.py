"""The general way to run a call: every option, one implementation after the other.

In come a view and the arguments, out comes the result by pluggy's rules. Cold hooks,
sampled calls and rare options run here; prepared callers do the same without looking
anything up, and properties hold the two together.
"""

from __future__ import annotations

import warnings
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from luminal.hooks.calling import call_one, pick
from luminal.hooks.concurrency import side_by_side
from luminal.hooks.failure import ISOLATED, is_own
from luminal.hooks.wrapping import (
    asteady,
    aunwind,
    old_style,
    outside,
    steady,
    unwind,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from luminal.hooks.course import Course
    from luminal.hooks.occupant import Occupant

__all__ = ["arun", "complete", "run"]


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


def run(course: Course, occupants: Sequence[Occupant], kwargs: Any, weight: int) -> Any:
    """Call *occupants* in order.

    Args:
        course: The call's view and options.
        occupants: In the order of calls, wrappers first.
        kwargs: The arguments, completed.
        weight: How many calls the times stand for.

    Returns:
        The list of results, or the first one.
    """
    first, isolated = course.is_first, course.isolated
    result: Any = None if first else []
    opened: list[Any] = []
    error: BaseException | None = None
    place = -1
    try:
        for place, occupant in enumerate(occupants):
            args, named = pick(occupant, kwargs)
            start = perf_counter_ns()
            try:
                if occupant.is_old_style:
                    value = old_style(occupant, course.hook, *args, **named)
                else:
                    value = occupant.function(*args, **named)
                if occupant.is_wrapper:
                    steady(value)
                    opened.append(value)
                    continue
            except ISOLATED as raised:
                course.answered(occupant, None, raised)
                if not isolated:
                    course.blame(place, raised)
                    raise
                course.spare(place, raised)
                if occupant.is_wrapper:
                    opened.append(None)
                continue
            except BaseException as raised:
                course.blame(place, raised)
                raise
            tally = occupant.tally
            tally.calls += weight
            tally.nanoseconds += (perf_counter_ns() - start) * weight
            course.policy.succeeded(occupant)
            course.answered(occupant, value, None)
            if value is not None:
                if first:
                    result = value
                    break
                result.append(value)
    except BaseException as raised:  # noqa: BLE001 - handed to the wrappers, then raised
        error = raised
    try:
        return unwind(opened, result, error, course.spare, course.fared_well)
    finally:
        del error


async def arun(
    course: Course, occupants: Sequence[Occupant], kwargs: Any, weight: int
) -> Any:
    """Await *occupants* in order, sync ones among them; see `run`."""
    first, isolated = course.is_first, course.isolated
    result: Any = None if first else []
    opened: list[Any] = []
    error: BaseException | None = None
    try:
        for place, occupant in enumerate(occupants):
            args, named = pick(occupant, kwargs)
            if course.concurrent and not occupant.is_wrapper:
                result = await side_by_side(course, occupants[place:], kwargs, weight)
                break
            try:
                if occupant.is_wrapper:
                    if occupant.is_old_style:
                        value = old_style(occupant, course.hook, *args, **named)
                    else:
                        value = occupant.function(*args, **named)
                    await asteady(value)
                    opened.append(value)
                    continue
                value = await call_one(course, occupant, args, named, weight)
            except ISOLATED as raised:
                course.answered(occupant, None, raised)
                if not isolated:
                    course.blame(place, raised)
                    raise
                course.spare(place, raised)
                if occupant.is_wrapper:
                    opened.append(None)
                continue
            except BaseException as raised:
                if is_own(raised):
                    course.blame(place, raised)
                raise
            course.answered(occupant, value, None)
            if value is not None:
                if first:
                    result = value
                    break
                result.append(value)
    except BaseException as raised:  # noqa: BLE001 - handed to the wrappers, then raised
        error = raised
    try:
        return await aunwind(opened, result, error, course.spare, course.fared_well)
    finally:
        del error
