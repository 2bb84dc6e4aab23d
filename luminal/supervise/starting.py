"""What a photon starts through its context: the starting half of a `Scope`.

What comes in is a coroutine, a function, a command or a loop, what goes out is that
thing running, owned by the scope. Nothing is started for a scope that has been closed.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import attrs

from luminal.errors import PhotonStateError
from luminal.supervise import attribution, belongings
from luminal.supervise.owners import current_owner, owned_by
from luminal.supervise.thread import TracedThread

if TYPE_CHECKING:
    import asyncio
    import subprocess
    from collections.abc import Callable, Coroutine, Sequence
    from concurrent.futures import ThreadPoolExecutor

    from luminal.supervise.superloop import SuperLoop

__all__ = ["Starting"]

# Longest wait for Luminal's own loop to begin a spawned coroutine.
_OWNED_SECONDS = 1.0


@attrs.define(eq=False, repr=False)
class Starting:
    """Starts things and owns them.

    Args:
        name: Name of the photon.

    Attributes:
        is_closed: It has been closed; what is started later is ended at once.
    """

    name: str
    is_closed: bool = attrs.field(default=False, init=False)
    # Guards what several threads of the photon may change at once.
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    # How many times Luminal's own loop has been borrowed.
    _borrowed: int = attrs.field(default=0, init=False)

    def adopt(self, belonging: Any) -> None:
        """Own *belonging* from now on."""
        raise NotImplementedError

    def _check_open(self) -> None:
        if self.is_closed:
            raise PhotonStateError(
                "its life has ended, nothing can be started for it",
                photon=self.name,
                hint="start it before `finalize` returns",
            )

    def owning(self) -> owned_by:
        """Attribute to this scope what is started within the ``with`` block.

        Raises:
            PhotonStateError: The scope has been closed.
        """
        self._check_open()
        attribution.refresh()
        return owned_by(self)

    def spawn(
        self, coroutine: Coroutine[Any, Any, Any], *, name: str | None = None
    ) -> asyncio.Future[Any] | Any:
        """Run *coroutine* on the loop that runs here, or else on Luminal's own.

        Args:
            coroutine: What to run.
            name: Name of the task.

        Returns:
            The task; where no loop runs here, a `concurrent.futures.Future`.

        Raises:
            PhotonStateError: The life has ended.
        """
        import asyncio

        if self.is_closed:
            coroutine.close()  # nobody will ever await it
        with self.owning():
            try:
                running = asyncio.get_running_loop()
            except RuntimeError:
                return self._spawn_apart(coroutine, name)
            task = running.create_task(coroutine, name=name)
        if not attribution.sees_tasks_of(running):
            self.adopt(belongings.OwnedTask(task))
        return task

    def _spawn_apart(
        self, coroutine: Coroutine[Any, Any, Any], name: str | None
    ) -> Any:
        import asyncio

        from luminal.supervise.own_loop import borrow_loop, return_loop

        loop = borrow_loop()
        with self._lock:
            is_late = self.is_closed
            self._borrowed += not is_late
        if is_late:
            return_loop()
            coroutine.close()
            self._check_open()
        where = belongings.started_at()
        is_owned = threading.Event()

        async def run() -> Any:
            task = asyncio.current_task()
            if task is not None:
                if name:
                    task.set_name(name)
                self.adopt(belongings.OwnedTask(task, where))
            is_owned.set()
            current_owner.set(self)
            return await coroutine

        future = asyncio.run_coroutine_threadsafe(run(), loop)
        # A scope that closes at once must not miss it.
        is_owned.wait(_OWNED_SECONDS)
        return future

    def thread(
        self, function: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> TracedThread:
        """Start *function* on a thread that can be halted, and return the thread."""
        with self.owning():
            thread = TracedThread(
                target=function,
                args=args,
                kwargs=kwargs,
                name=f"{self.name}-{getattr(function, '__name__', 'thread')}",
                daemon=True,
            )
            thread.start()
        return thread

    def process(self, command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start *command* as a child; *options* are those of `subprocess.Popen`."""
        import subprocess

        with self.owning():
            return subprocess.Popen(command, **options)  # noqa: S603 - the photon's

    def loop(self, loop: SuperLoop) -> SuperLoop:
        """Start *loop*, and stop it with the photon."""
        with self.owning():
            self.adopt(belongings.OwnedLoop(loop))
            loop.start()
        return loop

    def every(self, seconds: float, function: Callable[[], Any]) -> TracedThread:
        """Call *function* every *seconds*, first after that time, on one thread.

        What it raises is logged and does not end the calls; halting the thread that
        is returned does.

        Raises:
            ValueError: *seconds* is negative.
        """
        if not seconds >= 0:
            raise ValueError(f"calls come every so many seconds, not {seconds!r}")
        from luminal.supervise.ticking import tick

        return self.thread(tick, seconds, function, self.name)

    def executor(self, max_workers: int | None = None) -> ThreadPoolExecutor:
        """Return a new thread pool, shut down with the photon."""
        from concurrent.futures import ThreadPoolExecutor

        with self.owning():
            return ThreadPoolExecutor(max_workers, thread_name_prefix=self.name)

    def _return_loops(self) -> None:
        from luminal.supervise.own_loop import return_loop

        with self._lock:
            borrowed, self._borrowed = self._borrowed, 0
        for _ in range(borrowed):
            return_loop()
