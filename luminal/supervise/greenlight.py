"""The light that a group of loops shares: green while all of them are well."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["GreenLight"]


class GreenLight(threading.Event):
    """A `threading.Event` that is set while all is well, and says when it goes out.

    Attributes:
        alarms: How many times it was cleared, also while it was out already: so that
            an alarm raised during a reset is not lost.
    """

    def __init__(self) -> None:
        super().__init__()
        self.alarms = 0
        self._counting = threading.Lock()
        self._listeners: list[Callable[[], None]] = []

    def clear(self) -> None:
        """Put the light out and wake who observes it."""
        with self._counting:
            self.alarms += 1
            listeners = list(self._listeners)
        super().clear()
        for listener in listeners:
            listener()

    def listen(self, listener: Callable[[], None]) -> None:
        """Call *listener* whenever the light is put out; it must not block."""
        with self._counting:
            if listener not in self._listeners:
                self._listeners.append(listener)
