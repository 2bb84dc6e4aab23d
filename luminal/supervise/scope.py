"""`Scope`: the owner of everything that one photon starts.

What comes in are threads, tasks, processes, loops, timers, context managers and
closers, started through the photon's context or attributed to it; what goes out, when
the photon's life ends, is their end, and a record of each that lives on. It never
waits longer than its deadline.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import attrs

from luminal.errors import PhotonStateError
from luminal.supervise import attribution, belongings
from luminal.supervise.closers import Closer, run_closer
from luminal.supervise.owners import current_owner, owned_by
from luminal.supervise.thread import TracedThread

if TYPE_CHECKING:
    import asyncio
    import subprocess
    from collections.abc import Callable, Coroutine, Sequence
    from concurrent.futures import ThreadPoolExecutor

    from luminal.supervise.belongings import Belonging
    from luminal.supervise.leftovers import Leftover
    from luminal.supervise.superloop import SuperLoop

__all__ = ["Scope"]

# After which share of the deadline, or seconds at most, the next rung is climbed.
_RUNGS = (("ask", 0, 0), ("hurry", 0.1, 0.15), ("press", 0.1, 60), ("kill", 0.5, 60))
_TICK_SECONDS = 0.003
# Longest wait for Luminal's own loop to begin a spawned coroutine.
_OWNED_SECONDS = 1.0


@attrs.define(eq=False, repr=False)
class Scope:
    """Owns what a photon starts, and ends it with the photon.

    Args:
        name: Name of the photon.

    Attributes:
        errors: What closers raised, in the order in which they ran.
        is_closed: It has been closed; what is started later is ended at once.
    """

    name: str
    errors: list[BaseException] = attrs.field(factory=list, init=False)
    is_closed: bool = attrs.field(default=False, init=False)
    # In the order in which they were started; closed in reverse.
    _owned: list[Belonging] = attrs.field(factory=list, init=False)
    _closers: list[Closer] = attrs.field(factory=list, init=False)
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    _borrowed: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        attribution.enter(self)

    def __repr__(self) -> str:
        return f"<Scope {self.name!r} owned={len(self.living())}>"

    def owning(self) -> owned_by:
        """Attribute to this scope what is started within the ``with`` block.

        Raises:
            PhotonStateError: The scope has been closed.
        """
        if self.is_closed:
            raise PhotonStateError(
                "its life has ended, nothing can be started for it",
                photon=self.name,
                hint="start it before `finalize` returns",
            )
        attribution.refresh()
        return owned_by(self)

    def living(self) -> list[Belonging]:
        """Return what it owns and what has not ended, in the order of starting."""
        with self._lock:
            self._owned[:] = [one for one in self._owned if one.is_alive()]
            return list(self._owned)

    def adopt(self, belonging: Any) -> None:
        """Own *belonging* from now on; after `close`, end it at once."""
        with self._lock:
            if len(self._owned) > 32:
                self._owned[:] = [one for one in self._owned if one.is_alive()]
            self._owned.append(belonging)
        if self.is_closed:
            belonging.ask()
            belonging.press()

    # Through the context ----------------------------------------------------------

    def spawn(
        self, coroutine: Coroutine[Any, Any, Any], *, name: str | None = None
    ) -> asyncio.Future[Any] | Any:
        """Run *coroutine* on the loop that runs here, or else on Luminal's own.

        Args:
            coroutine: What to run.
            name: Name of the task.

        Returns:
            The task; where no loop runs here, a `concurrent.futures.Future`.
        """
        import asyncio

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

        from luminal.supervise.own_loop import borrow_loop

        loop = borrow_loop()
        self._borrowed += 1
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
        """
        from luminal.supervise.ticking import tick

        return self.thread(tick, seconds, function, self.name)

    def executor(self, max_workers: int | None = None) -> ThreadPoolExecutor:
        """Return a new thread pool, shut down with the photon."""
        from concurrent.futures import ThreadPoolExecutor

        with self.owning():
            return ThreadPoolExecutor(max_workers, thread_name_prefix=self.name)

    def enter(self, manager: Any) -> Any:
        """Enter the context *manager* now, leave it when the life ends.

        Returns what its ``__enter__`` returned; for an asynchronous one, an awaitable.
        """
        if hasattr(manager, "__aenter__") and not hasattr(manager, "__enter__"):
            return self._aenter(manager)
        value = manager.__enter__()
        self._closers.append(Closer(lambda: manager.__exit__(None, None, None)))
        return value

    async def _aenter(self, manager: Any) -> Any:
        value = await manager.__aenter__()
        self._closers.append(Closer(lambda: manager.__aexit__(None, None, None)))
        return value

    def on_close(self, function: Callable[[], Any]) -> None:
        """Call *function* when the life ends, the last one given first."""
        self._closers.append(Closer(function))

    # The end ----------------------------------------------------------------------

    async def close(self, deadline: float = 5.0) -> tuple[Leftover, ...]:
        """End everything: closers in reverse, then ask, wait, press, kill.

        What closers raise is collected in `errors`.

        Args:
            deadline: Seconds for all of it together.

        Returns:
            What is left, with the reason; empty where nothing is.
        """
        import asyncio

        begun = time.monotonic()
        left: list[Leftover] = []
        while self._closers:
            closer = self._closers.pop()
            remaining = deadline * 0.8 - (time.monotonic() - begun)
            late = await run_closer(closer, max(0.05, remaining), self)
            if late is not None:
                left.append(late)
        self.is_closed = True
        climbed = time.monotonic()
        budget = max(0.2, begun + deadline - climbed)
        rungs = list(_RUNGS)
        while alive := self._not_mine():
            passed = time.monotonic() - climbed
            if passed > budget:
                break
            while rungs and passed >= min(rungs[0][1] * budget, rungs[0][2]):
                self._climb(rungs.pop(0)[0], alive)
            await asyncio.sleep(_TICK_SECONDS)
        left.extend(one.leftover(self.name, time.monotonic() - begun) for one in alive)
        self._leave()
        return tuple(left)

    def _not_mine(self) -> list[Belonging]:
        import asyncio

        try:
            mine = {asyncio.current_task(), threading.current_thread()}
        except RuntimeError:
            mine = {None, threading.current_thread()}
        return [one for one in self.living() if one.thing not in mine]

    def _climb(self, rung: str, alive: list[Belonging]) -> None:
        for one in reversed(alive):
            try:
                getattr(one, rung)()
            except Exception as error:  # noqa: BLE001 - the others go on
                self.errors.append(error)

    def _leave(self) -> None:
        attribution.leave(self)
        if self._borrowed:
            from luminal.supervise.own_loop import return_loop

            for _ in range(self._borrowed):
                return_loop()
            self._borrowed = 0

    def close_sync(self, deadline: float = 5.0) -> tuple[Leftover, ...]:
        """Do what `close` does, from code that is not ``async``."""
        import asyncio

        result: list[tuple[Leftover, ...]] = []

        def run() -> None:
            result.append(asyncio.run(self.close(deadline)))

        thread = threading.Thread(target=run, name=f"{self.name}-close", daemon=True)
        thread.start()
        thread.join(deadline + 1.0)
        return result[0] if result else ()
