"""What is known of a thread that was told to end; each rung reads and counts here."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable  # noqa: TC003 - attrs reads it

import attrs

__all__ = ["PATIENCE_SECONDS", "HaltState"]

PATIENCE_SECONDS = 0.5
"""How long a thread may spend in its own clean-up before that is cut short as well."""


@attrs.define(eq=False)
class HaltState:
    """What is known of one thread that was told to end.

    Attributes:
        name: Name of the thread.
        ident: Its identifier; meaningful only while `is_open` says so, because
            CPython gives the number to the next thread at once.
        is_open: Whether the thread still runs Python code under that identifier.
        native_id: The kernel's number of the thread, or 0.
        owner: Name of the photon that it belongs to, or an empty string.
        begun: `time.monotonic` of the request, in seconds.
        raises: How many times `SystemExit` was raised or sent.
        is_abandoned: It outlived every rung and was reported.
    """

    name: str
    ident: int
    is_open: Callable[[], bool]
    native_id: int = 0
    owner: str = ""
    begun: float = attrs.field(factory=time.monotonic)
    raises: int = 0
    is_abandoned: bool = False
    # Where the trace of 3.11 last was; only the halted thread itself writes it.
    last_line: tuple[int, int] = (0, 0)

    @property
    def seconds(self) -> float:
        """Seconds since the halt was asked for."""
        return time.monotonic() - self.begun

    @property
    def is_pressing(self) -> bool:
        """Whether its time for clean-up is over."""
        return self.seconds > PATIENCE_SECONDS

    @property
    def is_desperate(self) -> bool:
        """Whether any instruction will do, safe or not: it swallows all the same."""
        return self.seconds > 2 * PATIENCE_SECONDS

    def may_raise(self) -> bool:
        """Decide, in the thread itself, whether `SystemExit` is raised here and now.

        The first time, yes. Later: where no exception is being handled, the last one
        was swallowed, so yes; where one is, the thread is cleaning up, so only when
        its time is over.
        """
        if not self.is_open():
            return False  # the number is another thread's by now
        if self.raises and not self.is_pressing:
            mine = self.ident == threading.get_ident()
            if not mine or sys.exc_info()[1] is not None:
                return False
        self.raises += 1
        return True
