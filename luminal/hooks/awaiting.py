"""Awaiting one implementation: with a deadline, from code that has no loop.

In comes what an implementation returned, out comes its result. Nothing here keeps a
loop, and asyncio is imported by the first call that needs it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pluggy

from luminal.errors import PhotonTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from luminal.hooks.occupant import Occupant

__all__ = ["block", "within"]


async def within(occupant: Occupant, hook: str, seconds: float, value: Any) -> Any:
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
        file, _, line = occupant.where.rpartition(":")
        raise PhotonTimeoutError(
            f"did not answer hook {hook!r} within {seconds:g} s",
            photon=occupant.photon,
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
