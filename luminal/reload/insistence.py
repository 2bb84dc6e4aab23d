"""Work that has to be brought to its end, though whoever asked for it is cancelled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["see_through"]

T = TypeVar("T")


async def see_through(work: Coroutine[Any, Any, T]) -> T:
    """Await *work* to its end; only then pass a cancellation on.

    Raises:
        asyncio.CancelledError: The caller was cancelled in the meantime.
        BaseException: Whatever *work* raised.
    """
    import asyncio

    task = asyncio.create_task(work, name="luminal-undo")
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        cause = None if task.cancelled() else task.exception()
        raise cancelled from cause
    return task.result()
