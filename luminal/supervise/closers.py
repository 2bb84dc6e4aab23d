"""What a photon wants called when its life ends, and how that is kept in bounds."""

from __future__ import annotations

import contextlib
import inspect
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from luminal.supervise.belongings import OwnedThread
from luminal.supervise.leftovers import Leftover
from luminal.supervise.thread import TracedThread

if TYPE_CHECKING:
    from asyncio import Task
    from collections.abc import Awaitable, Callable

__all__ = ["Closer", "run_closer"]

# For a coroutine that is cancelled because it is late.
_CANCEL_SECONDS = 0.1
# Those that swallowed it; a task that nobody holds may be collected while it runs.
_abandoned: set[Task[None]] = set()


class Closing(Protocol):
    """The scope whose closers run."""

    name: str
    errors: list[BaseException]

    def adopt(self, belonging: Any) -> None:
        """Own *belonging* from now on."""


@attrs.frozen(eq=False)
class Closer:
    """A function to call at the end, plain or async."""

    function: Callable[[], Any]

    @property
    def name(self) -> str:
        """Name of the function."""
        return getattr(self.function, "__qualname__", repr(self.function))


async def run_closer(
    closer: Closer, deadline: float, scope: Closing
) -> Leftover | None:
    """Call *closer*: a plain one on a thread of its own, so that it cannot hang us.

    Args:
        closer: What to call.
        deadline: Seconds that it may take.
        scope: Whose it is; what it raises goes to its ``errors``.

    Returns:
        None where it came back, else what is known of it.
    """
    if inspect.iscoroutinefunction(closer.function):
        return await _await_within(closer.function(), closer, deadline, scope)
    begun = time.monotonic()
    value, late = await _call_apart(closer, deadline, scope)
    if late is not None or not inspect.isawaitable(value):
        return late
    left = max(0.05, deadline - (time.monotonic() - begun))
    return await _await_within(value, closer, left, scope)


async def _await_within(
    awaitable: Awaitable[Any], closer: Closer, deadline: float, scope: Closing
) -> Leftover | None:
    """Await on a task of its own, which is given up when the time is over."""
    import asyncio

    task = asyncio.ensure_future(_contain(awaitable, scope.errors))
    try:
        await asyncio.wait({task}, timeout=deadline)
    finally:
        if not task.done():
            task.cancel()
    if task.done():
        return None
    await asyncio.wait({task}, timeout=_CANCEL_SECONDS)
    if not task.done():
        _abandoned.add(task)
        task.add_done_callback(_abandoned.discard)
        # Else `asyncio.run` would wait for it at its end, for ever.
        asyncio._unregister_task(task)  # noqa: SLF001 - documented
    return _late(closer, deadline, scope)


async def _contain(awaitable: Awaitable[Any], errors: list[BaseException]) -> None:
    """Collect what is raised: a task that raises SystemExit would end the loop."""
    import asyncio

    try:
        await awaitable
    except asyncio.CancelledError as error:
        current = asyncio.current_task()
        if current is not None and current.cancelling():
            raise
        errors.append(error)  # raised by the closer itself, of another task
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the others go on
        errors.append(error)


def _late(closer: Closer, deadline: float, scope: Closing) -> Leftover:
    why = f"it did not come back within {deadline:.2g} seconds"
    return Leftover("callback", closer.name, scope.name, why=why, seconds=deadline)


async def _call_apart(
    closer: Closer, deadline: float, scope: Closing
) -> tuple[Any, Leftover | None]:
    import asyncio

    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    outcome: list[Any] = []

    def call() -> None:
        try:
            outcome.append(closer.function())
        except BaseException as error:  # noqa: BLE001 - handed to the loop's thread
            scope.errors.append(error)
        finally:
            with contextlib.suppress(RuntimeError):  # came back after the end
                loop.call_soon_threadsafe(done.set)

    thread = TracedThread(target=call, name=f"{scope.name}-close", daemon=True)
    thread.start()
    try:
        await asyncio.wait_for(done.wait(), deadline)
    except TimeoutError:
        if thread is not threading.current_thread():
            thread.halt()
        return None, _late(closer, deadline, scope)
    except asyncio.CancelledError:
        scope.adopt(OwnedThread(thread))  # whoever goes on closing ends it as well
        raise
    thread.join()  # it has nothing left to do, and holds what it called until then
    return (outcome[0] if outcome else None), None
