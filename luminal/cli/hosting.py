"""A host of the command line's own: load, start, stay, and leave when told to.

Comes in: candidates. Goes out: what became of them, through two callables. The first
SIGINT or SIGTERM finalizes, the second skips that, the third leaves at once; each wait
at the end has a limit, and whatever is left behind is named. SIGHUP reloads all.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import attrs

from luminal.cli.exits import Exit
from luminal.cli.leaving import PATIENCE, leave, leave_soon, write_now
from luminal.cli.waking import woken_by_signals
from luminal.errors import LuminalError
from luminal.managers.control import Control
from luminal.model import EventKind, State

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from luminal.managers import Loader
    from luminal.managers.loader import Watches
    from luminal.model import Candidate, Event, Outcome

__all__ = ["Hosting"]


@attrs.define(eq=False)
class Hosting:
    """Runs photons until it is told to stop. Belongs to the main thread, used once.

    Args:
        found: Candidates in load order.
        loader: What loads them.
        is_once: Whether to stop as soon as all have been started.
        on_started: Is told what became of each photon.
        on_stopped: Is told the exit code and what was left behind.
        on_ready: Is called when the host stays.
        watches: What is watched while they run; None for nothing.
    """

    found: Sequence[Candidate]
    loader: Loader
    is_once: bool
    on_started: Callable[[list[Outcome]], object]
    on_stopped: Callable[[Exit, list[str]], object]
    on_ready: Callable[[], object]
    watches: Watches | None = None
    # Photon → what went wrong with it last, unless it was mended.
    failures: dict[str, Event] = attrs.field(init=False, factory=dict)
    # Signals that have come. Written by the handler only, in the main thread.
    _presses: list[int] = attrs.field(init=False, factory=list)
    _is_over: bool = attrs.field(init=False, default=False)
    _loop: asyncio.AbstractEventLoop | None = attrs.field(init=False, default=None)
    _asked: asyncio.Event = attrs.field(init=False)
    _hurried: asyncio.Event = attrs.field(init=False)
    _control: Control = attrs.field(init=False)
    # Reloads under way; the loop itself holds tasks only weakly.
    _reloads: set[asyncio.Task[None]] = attrs.field(init=False, factory=set)

    def run(self) -> Exit:
        """Run, and return the exit code.

        The signal handlers stay: threads that are left may need another signal.
        """
        import asyncio

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._press)
        if hasattr(signal, "SIGHUP"):
            signal.signal(signal.SIGHUP, self._hang_up)
        self._control = Control(self.loader)
        self.loader.events.subscribe(self._hear)
        return asyncio.run(self._wakefully())

    def _hear(self, event: Event) -> None:
        if event.problem is not None and event.kind is not EventKind.SKIPPED:
            self.failures[event.photon] = event
        elif event.kind is EventKind.SWAPPED:
            self.failures.pop(event.photon, None)

    # Signals.

    def _press(self, number: int, frame: object) -> None:  # noqa: ARG002 - Python's
        """Note a signal. Runs between any two instructions: it must not print."""
        self._presses.append(number)
        if self._is_over or len(self._presses) > 2:
            leave(Exit.INTERRUPTED, self._left())
        later = (
            "finalizing; once more to hurry"
            if len(self._presses) == 1
            else "hurrying, without finalize; once more to leave"
        )
        write_now(f"\nluminal: {later}\n")
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._wake)

    def _hang_up(self, number: int, frame: object) -> None:  # noqa: ARG002 - Python's
        if self._loop is not None and not self._presses:
            self._loop.call_soon_threadsafe(self._reload_soon)

    def _reload_soon(self) -> None:
        import asyncio

        task = asyncio.ensure_future(self._reload_all())
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)

    async def _reload_all(self) -> None:
        try:
            await self.loader.reload_photons([*self.loader.photons], "component")
        except LuminalError:
            return  # told as an event

    def _wake(self) -> None:
        if self._presses:
            self._asked.set()
        if len(self._presses) > 1:
            self._hurried.set()

    def _left(self) -> list[str]:
        """Name the photons that are not at rest."""
        return [
            f"photon {handler.name!r} ({handler.state})"
            for handler in self.loader.photons.values()
            if handler.state not in (State.STAGED, State.STOPPED, State.FAILED)
        ]

    # The life of the host.

    async def _wakefully(self) -> Exit:
        import asyncio

        self._loop = asyncio.get_running_loop()
        with woken_by_signals(self._loop):
            return await self._live()

    async def _live(self) -> Exit:
        import asyncio

        self._asked, self._hurried = asyncio.Event(), asyncio.Event()
        self._wake()  # a signal may have come before there was a loop
        begin = asyncio.create_task(self._begin())
        if not await _until(begin, self._asked):
            begin.cancel()
            await asyncio.wait({begin}, timeout=PATIENCE)
        elif not self.is_once and (begin.result() or self.watches is not None):
            await self._stay()
        abandoned = await self._end()
        code = self._code(bool(abandoned))
        self.on_stopped(code, abandoned)
        self._is_over = True
        if hasattr(signal, "SIGHUP"):
            # Nothing is left to reload, and Python's end must not die of it.
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        leave_soon(code or Exit.FAILED)
        return code

    async def _stay(self) -> None:
        """Listen, watch, and wait for the first signal."""
        assert self._loop is not None  # noqa: S101 - it runs this
        try:
            self._control.start(self._loop)
        except (OSError, AttributeError) as error:
            write_now(f"luminal: 'reload' and 'top' cannot reach this host: {error}\n")
        if self.watches is not None:
            await self.watches.start()
        self.on_ready()
        await self._asked.wait()
        self._control.stop()

    async def _begin(self) -> bool:
        """Load and start; return whether any photon runs."""
        loaded = await self.loader.load(self.found)
        started = await self.loader.start()
        outcomes = [*loaded.skipped, *loaded.failed, *started]
        places = {candidate.name: at for at, candidate in enumerate(self.found)}
        outcomes.sort(key=lambda outcome: places.get(outcome.photon, len(places)))
        self.on_started(outcomes)
        return bool(started.loaded)

    async def _end(self) -> list[str]:
        """Unload everything; return what did not come to rest."""
        import asyncio

        close = asyncio.create_task(self._close())
        if not await _until(close, self._hurried):
            close.cancel()
            await asyncio.wait({close}, timeout=PATIENCE)
        elif close.exception() is None:
            return []
        if self.watches is not None:
            await asyncio.wait(
                {asyncio.create_task(self.watches.stop(True))}, timeout=PATIENCE
            )
        for handler in reversed(self.loader.photons.values()):
            if handler.name not in self.loader.photons:
                continue  # it left together with another one of its file
            try:
                await self.loader.unload_photon(handler, force_stop=True)
            except LuminalError:
                continue  # it stays where it is, and `_left` names it
        return self._left()

    async def _close(self) -> None:
        if self.watches is not None:
            await self.watches.stop()
        await self.loader.close()

    def _code(self, is_incomplete: bool) -> Exit:
        if len(self._presses) > 1 or signal.SIGINT in self._presses:
            return Exit.INTERRUPTED
        return Exit.FAILED if self.failures or is_incomplete else Exit.FINE


async def _until(task: asyncio.Task[Any], event: asyncio.Event) -> bool:
    """Wait for *task* or for *event*; return whether the task is done."""
    import asyncio

    waiter = asyncio.create_task(event.wait())
    await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED)
    waiter.cancel()
    return task.done()
