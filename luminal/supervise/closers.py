"""What a photon wants called when its life ends, and how that is kept in bounds."""

from __future__ import annotations

import contextlib
import inspect
import threading
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from luminal.supervise.leftovers import Leftover
from luminal.supervise.thread import TracedThread

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Closer", "run_closer"]


class Closing(Protocol):
    """The scope whose closers run."""

    name: str
    errors: list[BaseException]


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
    import asyncio

    try:
        if inspect.iscoroutinefunction(closer.function):
            await asyncio.wait_for(closer.function(), deadline)
            return None
        value, late = await _call_apart(closer, deadline, scope)
        if late is not None:
            return late
        if inspect.isawaitable(value):
            await asyncio.wait_for(value, deadline)
    except TimeoutError:
        why = f"it did not come back within {deadline:g} seconds"
        return Leftover("callback", closer.name, scope.name, why=why, seconds=deadline)
    except Exception as error:  # noqa: BLE001 - collected, the others go on
        scope.errors.append(error)
    return None


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
        why = f"it did not come back within {deadline:g} seconds"
        return None, Leftover("callback", closer.name, scope.name, why=why)
    thread.join()  # it has nothing left to do, and holds what it called until then
    return (outcome[0] if outcome else None), None
