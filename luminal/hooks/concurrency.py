"""Awaiting implementations side by side, in a task group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from luminal.hooks.calling import call_one, pick

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from luminal.hooks.course import Course
    from luminal.hooks.occupant import Occupant

__all__ = ["answer_of", "side_by_side"]


async def answer_of(
    course: Course,
    place: int,
    weight: int,
    occupant: Occupant,
    args: Sequence[Any],
    named: Mapping[str, Any],
) -> Any:
    """Await the occupant at *place*; None where its failure is spared."""
    try:
        value = await call_one(course, occupant, args, named, weight)
    except (Exception, SystemExit) as error:
        course.answered(occupant, None, error)
        if course.spare(place, error):
            return None
        raise
    course.answered(occupant, value, None)
    return value


async def side_by_side(
    course: Course,
    occupants: Sequence[Occupant],
    kwargs: Mapping[str, Any],
    weight: int,
) -> list[Any]:
    """Await *occupants* in a task group; return results in the usual order."""
    import asyncio

    chosen = [(o, *pick(o, kwargs)) for o in occupants]
    offset = len(course.occupants) - len(chosen)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(answer_of(course, offset + n, weight, *item))
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
