"""What a supervised loop does in its own thread, and what its author overrides.

What comes in is one run, what goes out is its end: by a word from outside, or by what
was raised, of which the group that the loop belongs to hears. It never starts
anything, and holds no lock while code of a subclass runs.
"""

from __future__ import annotations

import abc
import logging
import time
from typing import TYPE_CHECKING, Any

from luminal.supervise.liveness import Liveness

if TYPE_CHECKING:
    import threading
    from typing import Protocol

    from luminal.supervise.run import Run

    class Supervisor(Protocol):
        """Who hears that a loop has ended unasked."""

        def heard_of_end(self, loop: Cycling, run: Run) -> bool:
            """Return whether it answers to that by itself."""


__all__ = ["Cycling"]

_logger = logging.getLogger("luminal.supervise")


class Cycling(Liveness, abc.ABC):
    """The half of a `SuperLoop` that runs in the loop's own thread."""

    def __init__(
        self,
        green_light: threading.Event | None,
        grace_period: float,
        stall_after: float | None,
    ) -> None:
        super().__init__(stall_after)
        self._green_light = green_light
        self._grace_period = grace_period
        # Written under `_state` only.
        self._controller: Supervisor | None = None

    @abc.abstractmethod
    def cycle(self) -> Any:
        """Do one turn of the work."""

    def on_start(self, *_args: Any, **_kwargs: Any) -> bool | None:
        """Prepare, in the caller's thread; ``False`` or an exception cancels."""
        return True

    def on_stop(self, *_args: Any, **_kwargs: Any) -> None:
        """Clean up after the thread has ended, in the thread that stopped it."""

    def on_thread_start(self) -> None:
        """Prepare, in the loop's own thread."""

    def on_thread_stop(self) -> None:
        """Clean up, in the loop's own thread, however it ends."""

    def _live(self, run: Run) -> None:
        try:
            try:
                self.on_thread_start()
            finally:
                run.begun.set()
            try:
                self._turn(run)
            finally:
                self.on_thread_stop()
        except Exception as error:
            run.error = error
            _logger.exception("%s: ended by an exception", run.thread.name)
        except BaseException as error:
            run.error = error
            if not isinstance(error, SystemExit):
                raise
        finally:
            run.is_over = True
            self._ended(run)

    def _turn(self, run: Run) -> None:
        while not run.stopping.is_set():
            run.beat = time.monotonic()
            self.cycle()

    def _ended(self, run: Run) -> None:
        # A restart before `start` is through would be taken for a second one.
        run.settled.wait(self._grace_period)
        if not run.is_killed:  # else who gave it up does so, before a new one starts
            self._pay_on_stop(run)
        if run.stopping.is_set() or run.is_killed:
            return
        # It was not asked to: its group hears of it.
        controller = self._controller
        is_heard = controller is not None and controller.heard_of_end(self, run)
        if not is_heard and run.error is not None:
            self._put_light_out()

    def _put_light_out(self) -> None:
        if self._green_light is not None:
            self._green_light.clear()

    def _pay_on_stop(self, run: Run) -> None:
        with self._state:
            owed, run.on_stop = run.on_stop, None
        if owed is not None:
            try:
                self.on_stop(*owed[0], **owed[1])
            except Exception:
                _logger.exception("%s: on_stop raised", self)

    def __str__(self) -> str:
        return type(self).__qualname__
