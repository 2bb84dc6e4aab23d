"""Look at some files again and again, from a thread of its own."""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING

from luminal._forks import begin_anew_in_forks
from luminal.errors import LuminalError
from luminal.reload._loop import LoopRunner
from luminal.supervise import unowned

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

__all__ = ["FilePoll", "state_of"]

_log = logging.getLogger("luminal.watch")


class FilePoll:
    """Calls a function at intervals, from a thread.

    Args:
        look: The function. What it raises is logged, and it is called again.
        name: Name of the thread.
        interval: Seconds between two calls.
        failure: What is logged where it raises, such as ``the list cannot be read``.
        is_needed: Asked before each call. Once it says no, the thread ends, and a later
            `start` begins another.

    Attributes:
        runner: Runs coroutines for *look*.
    """

    def __init__(
        self,
        look: Callable[[], object],
        *,
        name: str,
        interval: float,
        failure: str,
        is_needed: Callable[[], bool] = lambda: True,
    ) -> None:
        self._look = look
        self._name = name
        self._interval = interval
        self._failure = failure
        self._is_needed = is_needed
        self.runner = LoopRunner()
        # What was raised and logged last.
        self._logged = ""
        self._is_over = threading.Event()
        self._thread: threading.Thread | None = None
        self.begin_anew()
        begin_anew_in_forks(self)

    def begin_anew(self) -> None:
        """Free the lock; also in a process that was just forked."""
        # Held where the thread is started, and where it decides to end.
        self._starting = threading.Lock()

    def start(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Start looking; return whether that had not begun, or was over.

        Args:
            loop: The loop for the photons' coroutines, as long as it runs.
        """
        with self._starting:
            if self._thread is not None and self._thread.is_alive():
                return False
            self.runner = LoopRunner()  # that of a parent has ended with the fork
            self.runner.use(loop)
            self._thread = threading.Thread(
                target=self._run, name=self._name, daemon=True
            )
            with unowned():
                self._thread.start()
            return True

    def halt(self) -> None:
        """Cancel what is under way, and look no more."""
        self._is_over.set()
        self.runner.halt()

    def stop(self) -> None:
        """Look no more; returns when what is under way has ended."""
        self._is_over.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        self.runner.close()

    def _run(self) -> None:
        while not self._ends() and not self._is_over.wait(self._interval):
            try:
                self._look()
                self._logged = ""
            except LuminalError as error:
                if self._logged != str(error):  # not at each call
                    self._logged = str(error)
                    _log.error("%s: %s", self._failure, error)
            except Exception:  # noqa: BLE001 - it is tried again
                if not self.runner.is_halted:
                    _log.exception("%s", self._failure)

    def _ends(self) -> bool:
        with self._starting:
            if self._is_needed():
                return False
            self._thread = None
            return True


def state_of(file: str) -> object:
    """Return what differs when a file was written; None where there is none."""
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
