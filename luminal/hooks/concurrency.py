"""Awaiting implementations side by side, in a task group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from luminal.hooks.calling import call_one, pick

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from luminal.hooks.course import Course
    from luminal.hooks.occupant import Occupant

__all__ = ["side_by_side"]


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

    async def one(place: int) -> Any:
        occupant, args, named = chosen[place]
        try:
            value = await call_one(course, occupant, args, named, weight)
        except (Exception, SystemExit) as error:
            course.answered(occupant, None, error)
            if course.spare(offset + place, error):
                return None
            raise
        course.answered(occupant, value, None)
        return value

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(n)) for n in range(len(chosen))]
    except BaseExceptionGroup as errors:
        # Callers expect what the photon raised, as in a call in turn; further
        # failures of the same moment go with it.
        cause = errors.exceptions[0]
        for other in errors.exceptions[1:]:
            cause.add_note(f"beside it: {other!r}")
        raise cause from None
    return [v for task in tasks if (v := task.result()) is not None]
