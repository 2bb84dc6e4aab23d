"""Pools of workers that a photon made: stopped as a whole, workers and all."""

from __future__ import annotations

import threading
from typing import Any

import attrs

from luminal.supervise.belongings import Belonging
from luminal.supervise.owners import unowned
from luminal.supervise.reaper import halt_thread

__all__ = ["OwnedExecutor", "OwnedPool"]


@attrs.define(eq=False)
class OwnedExecutor(Belonging):
    """A thread or process pool of `concurrent.futures`."""

    kind = "executor"
    why = "a worker does not end"

    @property
    def name(self) -> str:
        """Its prefix, or its class."""
        prefix = getattr(self.thing, "_thread_name_prefix", "")
        return prefix or type(self.thing).__name__

    def _workers(self) -> list[Any]:
        threads = list(getattr(self.thing, "_threads", ()))
        processes = getattr(self.thing, "_processes", None) or {}
        return threads + list(processes.values())

    def is_alive(self) -> bool:
        """Whether a worker of it runs."""
        return any(worker.is_alive() for worker in self._workers())

    def ask(self) -> None:
        """Shut it down; what waits in it is cancelled."""
        self.thing.shutdown(wait=False, cancel_futures=True)

    def press(self) -> None:
        """Halt its threads, terminate its processes."""
        for worker in self._workers():
            if isinstance(worker, threading.Thread):
                halt_thread(worker)
            else:
                worker.terminate()

    def kill(self) -> None:
        """Kill its processes."""
        for worker in self._workers():
            if not isinstance(worker, threading.Thread):
                worker.kill()


@attrs.define(eq=False)
class OwnedPool(Belonging):
    """A pool of `multiprocessing`."""

    kind = "pool"

    def is_alive(self) -> bool:
        """Whether a worker process of it runs."""
        return any(worker.is_alive() for worker in self.thing._pool or ())  # noqa: SLF001

    def ask(self) -> None:
        """Terminate it; that waits a moment for its threads, so not on this one."""
        with unowned():
            threading.Thread(target=self.thing.terminate, daemon=True).start()

    def press(self) -> None:
        """Nothing between asking and killing."""

    def kill(self) -> None:
        """Kill its workers."""
        for worker in self.thing._pool or ():  # noqa: SLF001
            worker.kill()
