"""What a photon can own, one class a kind, all stopped by the same three rungs.

What comes in is a running thing, what goes out is its end: ``ask`` tells it, ``press``
cancels or halts it, ``kill`` ends it by force where the system can. None of them
waits. What is alive after all three is described as a `Leftover`.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Any

import attrs

from luminal.supervise.leftovers import Leftover
from luminal.supervise.reaper import halt_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from luminal.supervise.halts import Halt

__all__ = [
    "Belonging",
    "OwnedHandle",
    "OwnedLoop",
    "OwnedProcess",
    "OwnedTask",
    "OwnedThread",
    "started_at",
]

_ROOM = __file__.rpartition("/")[0]
_MACHINERY = ("/threading.py", "/asyncio/", "/concurrent/", "/multiprocessing/")


def started_at() -> str:
    """Return ``file:line in function`` of the code that called into this room."""
    for frame, line in traceback.walk_stack(None):
        file = frame.f_code.co_filename
        if not file.startswith(_ROOM) and not any(m in file for m in _MACHINERY):
            return f"{file}:{line} in {frame.f_code.co_name}"
    return ""


def _is_waiting(thread: threading.Thread) -> bool:
    """Whether *thread* waits for an event, a condition or a queue: it does no work."""
    frame = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001 - documented
    return frame is not None and frame.f_code.co_filename == threading.__file__


@attrs.define(eq=False)
class Belonging:
    """Something that a photon started.

    Attributes:
        thing: The thing itself.
        where: ``file:line in function`` that started it.
    """

    kind = "thing"
    why = "it does not end"

    thing: Any
    where: str = attrs.field(factory=started_at)

    @property
    def name(self) -> str:
        """Its own name."""
        return str(getattr(self.thing, "name", self.thing))

    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return False

    def ask(self) -> None:
        """Tell it to end."""

    def hurry(self) -> None:
        """Press it if it cannot know that it was asked; the others may take longer."""

    def press(self) -> None:
        """Cancel or halt it."""
        self.ask()

    def kill(self) -> None:
        """End it by force."""
        self.press()

    def leftover(self, owner: str, seconds: float) -> Leftover:
        """Describe it, alive after all rungs."""
        return Leftover(
            self.kind, self.name, owner, self.where, self.why, round(seconds, 3)
        )


@attrs.define(eq=False)
class OwnedThread(Belonging):
    """A thread of any kind.

    Attributes:
        is_starting: It is about to run.
        is_halted: It was told to end.
    """

    kind = "thread"
    is_starting: bool = False
    is_halted: bool = False

    _halt: Halt | None = None

    def is_alive(self) -> bool:
        """Whether it runs."""
        return self.is_starting or bool(self.thing.is_alive())

    def ask(self) -> None:
        """Set its ``halting`` flag; cancel it where it is a timer."""
        if isinstance(self.thing, threading.Timer):
            self.thing.cancel()
        flag = getattr(self.thing, "halting", None)
        if isinstance(flag, threading.Event):
            flag.set()

    def run_until_halted(self, run: Callable[[], None]) -> None:
        """Call *run*; the end of a halted thread is no news for an excepthook."""
        vars(self.thing).pop("run", None)  # a method again, no reference to itself
        try:
            run()
        except BaseException as error:
            if isinstance(error, Exception) or not self.is_halted:
                raise

    def hurry(self) -> None:
        """Halt it where it has no flag to look at, or waits and does not look."""
        if not hasattr(self.thing, "halting") or _is_waiting(self.thing):
            self.press()

    def press(self) -> None:
        """Halt it, unless it is the caller's own thread."""
        if self._halt is None and self.thing is not threading.current_thread():
            self.is_halted = True
            self._halt = halt_thread(self.thing)

    def leftover(self, owner: str, seconds: float) -> Leftover:
        """Describe it, with its stack."""
        record = Belonging.leftover(self, owner, seconds)
        if self._halt is None:
            return record
        seen = self._halt.leftover()
        why = f"{seen.why}, at {seen.where}"
        return attrs.evolve(record, why=why, stack=seen.stack)


@attrs.define(eq=False)
class OwnedTask(Belonging):
    """An asyncio task, on any thread's event loop."""

    kind = "task"
    why = "it swallows its cancellation, or its event loop does not run"

    @property
    def name(self) -> str:
        """The task's name."""
        return str(self.thing.get_name())

    def is_alive(self) -> bool:
        """Whether it is not done; on a closed loop nothing is alive."""
        return not self.thing.done() and not self.thing.get_loop().is_closed()

    def ask(self) -> None:
        """Cancel it, on its own loop."""
        with contextlib.suppress(RuntimeError):  # the loop has closed meanwhile
            self.thing.get_loop().call_soon_threadsafe(self.thing.cancel)

    def press(self) -> None:
        """Nothing between asking and killing: a second one would cut short its end."""

    def kill(self) -> None:
        """Cancel it once more, for one that has swallowed the first."""
        self.ask()


@attrs.define(eq=False)
class OwnedHandle(Belonging):
    """A call that an event loop has in store."""

    kind = "timer"

    def is_alive(self) -> bool:
        """Whether it may still be called."""
        loop = self.thing._loop  # noqa: SLF001
        return (
            not self.thing.cancelled()
            and not loop.is_closed()
            and self.thing._scheduled  # noqa: SLF001
        )

    def ask(self) -> None:
        """Cancel it."""
        self.thing.cancel()


@attrs.define(eq=False)
class OwnedProcess(Belonging):
    """A child process, of `subprocess` or of `multiprocessing`."""

    kind = "process"
    why = "it does not end, even killed"

    @property
    def name(self) -> str:
        """Its command, or its name, and its number."""
        command = getattr(self.thing, "args", None) or getattr(self.thing, "name", "")
        first = command[0] if isinstance(command, (list, tuple)) else command
        return f"{first} ({self.thing.pid})"

    def is_alive(self) -> bool:
        """Whether it runs; one that has ended is reaped by the question."""
        poll = getattr(self.thing, "poll", None)
        if poll is not None:
            return poll() is None
        try:
            return bool(self.thing.is_alive())
        except (AssertionError, ValueError):
            return False  # not our child any more, or closed

    def ask(self) -> None:
        """Terminate it."""
        self._signal("terminate")

    def press(self) -> None:
        """Nothing between asking and killing."""

    def kill(self) -> None:
        """Kill it."""
        self._signal("kill")

    def _signal(self, how: str) -> None:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            getattr(self.thing, how)()


@attrs.define(eq=False)
class OwnedLoop(Belonging):
    """A `SuperLoop`."""

    kind = "loop"
    why = "its cycle does not return"

    @property
    def name(self) -> str:
        """Name of its thread."""
        return str(self.thing.thread_name)

    def is_alive(self) -> bool:
        """Whether its thread lives."""
        return bool(self.thing.is_alive)

    def ask(self) -> None:
        """Tell it to stop."""
        self.thing.ask_to_stop()

    def press(self) -> None:
        """Halt its thread."""
        self.thing.halt()
