"""A thread that was started by `_thread.start_new_thread`: it has no object."""

from __future__ import annotations

import threading
from typing import Any

import attrs

from luminal.supervise.belongings import Belonging
from luminal.supervise.halts import Halt
from luminal.supervise.reaper import begin_halt

__all__ = ["OwnedRawThread"]


@attrs.define(eq=False)
class OwnedRawThread(Belonging):
    """Wraps the function, so that its beginning and its end are known.

    Attributes:
        ident: Identifier of the thread; 0 before it runs.
        is_over: The function has returned or raised.
    """

    kind = "thread"
    ident: int = 0
    native_id: int = 0
    is_over: bool = False

    @property
    def name(self) -> str:
        """Name of the function."""
        return getattr(self.thing, "__qualname__", repr(self.thing))

    def run(self, *args: Any, **kwargs: Any) -> None:
        """Call the function; what the thread runs."""
        self.native_id = threading.get_native_id()
        self.ident = threading.get_ident()
        try:
            self.thing(*args, **kwargs)
        except SystemExit:
            pass  # as `_thread` itself would do
        finally:
            self.is_over = True

    def is_alive(self) -> bool:
        """Whether the function has not returned."""
        return not self.is_over

    def ask(self) -> None:
        """It has no flag to set."""

    def hurry(self) -> None:
        """Halt it: it cannot know that it was asked."""
        self.press()

    def press(self) -> None:
        """Halt it."""
        if self.ident:
            begin_halt(
                Halt(
                    name=self.name,
                    ident=self.ident,
                    is_open=self.is_alive,
                    native_id=self.native_id,
                )
            )
