"""Calling one implementation: its arguments among those of the call, its time."""

from __future__ import annotations

from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import pluggy

from luminal.hooks.awaiting import within

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from luminal.hooks.course import Course
    from luminal.hooks.occupant import Occupant

__all__ = ["call_one", "pick"]


def pick(
    occupant: Occupant, kwargs: Mapping[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments of *occupant* among those of the call.

    Raises:
        pluggy.HookCallError: One is missing.
    """
    try:
        args = [kwargs[name] for name in occupant.argnames]
    except KeyError as error:
        raise pluggy.HookCallError(
            f"hook call must provide argument {error.args[0]!r}"
        ) from error
    named = {n: kwargs[n] for n in occupant.kwargnames if n in kwargs}
    if occupant.is_direct and len(named) == len(occupant.kwargnames):
        # By position, as prepared callers do: it may take them in no other way.
        return [*args, *named.values()], {}
    return args, named


async def call_one(
    course: Course,
    occupant: Occupant,
    args: Sequence[Any],
    named: Mapping[str, Any],
    weight: int,
) -> Any:
    """Call *occupant*, await what it returns, and count."""
    start = perf_counter_ns()
    value = occupant.function(*args, **named)
    if hasattr(value, "__await__"):
        seconds = course.deadline(occupant)
        if seconds is None:
            value = await value
        else:
            value = await within(occupant, course.hook, seconds, value)
    tally = occupant.tally
    tally.calls += weight
    tally.nanoseconds += (perf_counter_ns() - start) * weight
    course.policy.succeeded(occupant)
    return value
