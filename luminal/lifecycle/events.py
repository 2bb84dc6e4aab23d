"""Who hears what happens: subscribers, and a bounded journal.

News travels upward as values. A subscriber that raises is counted and logged; it
never changes what happens to a photon.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from luminal.model import Event

__all__ = ["Events"]


@attrs.define(eq=False)
class Events:
    """Hands each event to all subscribers, in the thread in which it happens.

    Args:
        journal: The latest events, oldest first.

    Attributes:
        failures: How many times a subscriber has raised.
    """

    journal: deque[Event] = attrs.field(factory=lambda: deque(maxlen=1000))
    failures: int = 0
    # Replaced as a whole, so that emitting needs no lock.
    _subscribers: tuple[Callable[[Event], object], ...] = ()
    _deferred: deque[Event] = attrs.Factory(deque)

    def subscribe(self, subscriber: Callable[[Event], object]) -> Callable[[], None]:
        """Call *subscriber* with each event from now on.

        Returns:
            A function without arguments that ends this.
        """
        self._subscribers = (*self._subscribers, subscriber)

        def unsubscribe() -> None:
            self._subscribers = tuple(s for s in self._subscribers if s != subscriber)

        return unsubscribe

    def emit(self, event: Event) -> None:
        """Note *event* in the journal and tell the subscribers."""
        if self._deferred:
            self._tell_deferred()
        self._tell(event)

    def defer(self, event: Event, loop: asyncio.AbstractEventLoop) -> None:
        """Emit *event* on *loop* soon, or with the next event if that is closed.

        For news from the garbage collector: that runs in any thread, in the middle of
        anything, whatever locks are held there; a subscriber may want one of them.
        """
        self._deferred.append(event)
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(self._tell_deferred)

    def _tell_deferred(self) -> None:
        with suppress(IndexError):  # until it is empty, whoever else takes from it
            while True:
                self._tell(self._deferred.popleft())

    def _tell(self, event: Event) -> None:
        self.journal.append(event)
        for subscriber in self._subscribers:
            try:
                subscriber(event)
            except Exception:
                self.failures += 1
                import logging

                logging.getLogger("luminal.events").exception(
                    "subscriber %r failed at %s", subscriber, event
                )
