"""How a loop is: what can be asked of it at any time, from any thread."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from luminal.supervise.run import Run

__all__ = ["Liveness"]


class Liveness:
    """The readable half of a `SuperLoop`.

    Attributes:
        stall_after: Seconds without a new cycle after which it counts as hung; None
            where a cycle may take any time.
    """

    def __init__(self, stall_after: float | None) -> None:
        self.stall_after = stall_after
        # Guards what `SuperLoop` changes; never held while code of a subclass runs.
        self._state = threading.RLock()
        self._run: Run | None = None
        self._abandoned: list[Run] = []
        self._is_stopped = False

    @property
    def is_alive(self) -> bool:
        """Whether its thread lives; also true of one that does not stop."""
        run = self._run
        return run is not None and run.thread.is_alive()

    @property
    def running(self) -> bool:
        """Whether it cycles: alive, not at its end, and not told to stop."""
        run = self._run
        if run is None or run.asked or run.is_over:
            return False
        return run.thread.is_alive()

    @property
    def is_stopped(self) -> bool:
        """Whether it was stopped on purpose, since its last start."""
        return self._is_stopped

    @property
    def is_hung(self) -> bool:
        """Whether it runs, but has begun no cycle for `stall_after` seconds."""
        run = self._run
        if run is None or self.stall_after is None or not self.running:
            return False
        return time.monotonic() - run.beat > self.stall_after

    @property
    def abandoned(self) -> tuple[str, ...]:
        """Names of the threads that `hard_reset` gave up and that still live."""
        return tuple(r.thread.name for r in self._abandoned if r.thread.is_alive())

    @property
    def thread_name(self) -> str:
        """Name of the thread, or of the class where there is none."""
        run = self._run
        return run.thread.name if run is not None else str(self)

    def beat(self) -> None:
        """Say, from within a long cycle, that the loop is not hung."""
        run = self._run_of_this_thread()
        if run is not None:
            run.beat = time.monotonic()

    def _run_of_this_thread(self) -> Run | None:
        me = threading.current_thread()
        with self._state:
            runs = [self._run, *self._abandoned]
        return next((run for run in runs if run and run.thread is me), None)
