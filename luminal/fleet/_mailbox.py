"""Messages that wait until a member asks for them."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import Final, Generic, TypeVar

__all__ = ["Mailbox"]

T = TypeVar("T")

_MOST: Final = 16
"""Messages that wait; of more, the oldest are lost, and told again."""


class Mailbox(Generic[T]):
    """Messages for one member. It belongs to one event loop.

    Args:
        owner: Which process of the member takes them: one that was started anew has a
            mailbox of its own.
    """

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self._messages: deque[T] = deque(maxlen=_MOST)
        self._has_some: asyncio.Event = asyncio.Event()

    def put(self, message: T) -> None:
        """Add a message."""
        self._messages.append(message)
        self._has_some.set()

    async def take(self, seconds: float) -> list[T]:
        """Return the messages, once there are any; none after some time.

        Args:
            seconds: How long to wait for the first one.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._has_some.wait()
        self._has_some.clear()
        messages = [*self._messages]
        self._messages.clear()
        return messages
