"""Registrations that outlive their photon unless somebody takes them back.

Wrappers around `atexit.register`, `logging.Logger.addHandler` and `signal.signal`,
and the belongings they leave with their owner.
"""

from __future__ import annotations

import atexit
import contextlib
import signal
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Any

import attrs

from luminal.supervise._halting import Halt, Leftover, begin_halt, halt_thread
from luminal.supervise._ownership import find_owner, unowned

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable


__all__ = [
    "Belonging",
    "OwnedExecutor",
    "OwnedHandle",
    "OwnedLoop",
    "OwnedPool",
    "OwnedProcess",
    "OwnedRawThread",
    "OwnedTask",
    "OwnedThread",
    "add_handler",
    "atexit_register",
    "set_signal",
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


@attrs.define(eq=False)
class OwnedRawThread(Belonging):
    """Wraps the function, so that its beginning and its end are known.

    Attributes:
        ident: Identifier of the thread; 0 before it runs.
        is_over: The function has returned or raised.
    """

    kind = "thread"
    ident: int = 0
    native_id: int = 0
    is_over: bool = False

    @property
    def name(self) -> str:
        """Name of the function."""
        return getattr(self.thing, "__qualname__", repr(self.thing))

    def run(self, *args: Any, **kwargs: Any) -> None:
        """Call the function; what the thread runs."""
        self.native_id = threading.get_native_id()
        self.ident = threading.get_ident()
        try:
            self.thing(*args, **kwargs)
        except SystemExit:
            pass  # as `_thread` itself would do
        finally:
            self.is_over = True

    def is_alive(self) -> bool:
        """Whether the function has not returned."""
        return not self.is_over

    def ask(self) -> None:
        """It has no flag to set."""

    def hurry(self) -> None:
        """Halt it: it cannot know that it was asked."""
        self.press()

    def press(self) -> None:
        """Halt it."""
        if self.ident:
            begin_halt(
                Halt(
                    name=self.name,
                    ident=self.ident,
                    is_open=self.is_alive,
                    native_id=self.native_id,
                )
            )


@attrs.define(eq=False)
class OwnedExitFunction(Belonging):
    """A function that was registered with `atexit`."""

    kind = "atexit"
    _is_there: bool = True

    @property
    def name(self) -> str:
        """Name of the function."""
        return getattr(self.thing, "__qualname__", repr(self.thing))

    def is_alive(self) -> bool:
        """Whether it would be called at exit, as far as we know."""
        return self._is_there

    def ask(self) -> None:
        """Take it back."""
        atexit.unregister(self.thing)
        self._is_there = False


@attrs.define(eq=False)
class OwnedLogHandler(Belonging):
    """A handler that was added to a logger."""

    kind = "logging"
    logger: logging.Logger = attrs.field(kw_only=True)

    @property
    def name(self) -> str:
        """The handler and its logger."""
        return f"{self.thing!r} of {self.logger.name!r}"

    def is_alive(self) -> bool:
        """Whether it is still there."""
        return self.thing in self.logger.handlers

    def ask(self) -> None:
        """Remove and close it."""
        self.logger.removeHandler(self.thing)
        self.thing.close()


@attrs.define(eq=False)
class OwnedSignal(Belonging):
    """A handler of a signal."""

    kind = "signal"
    why = "only the main thread may put the old handler back"
    number: int = attrs.field(kw_only=True)
    before: Any = attrs.field(kw_only=True)
    # The record of the handler that this one replaced, where a photon had set it.
    previous: OwnedSignal | None = attrs.field(kw_only=True)

    @property
    def name(self) -> str:
        """Name of the signal."""
        return signal.Signals(self.number).name

    def is_alive(self) -> bool:
        """Whether it is the present handler, or what a later one would put back."""
        return self._is_present() or self._later() is not None

    def _is_present(self) -> bool:
        return signal.getsignal(self.number) is self.thing

    def _later(self) -> OwnedSignal | None:
        """Return the record that was made after this one, if that one holds it."""
        later = _latest.get(self.number)
        while later is not None and later.previous is not self:
            later = later.previous
        return later

    def ask(self) -> None:
        """Put the handler back that was there before, now or when a later one goes."""
        later = self._later()
        if later is not None:
            later.before, later.previous = self.before, self.previous
        elif self._is_present():
            with contextlib.suppress(ValueError):  # not in the main thread
                signal.signal(self.number, self.before)
                _latest.pop(self.number, None)
                if self.previous is not None:
                    _latest[self.number] = self.previous


# Signal → the record of the handler that a photon set last.
_latest: dict[int, OwnedSignal] = {}


def atexit_register(register: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap `atexit.register`."""

    def wrapper(function: Any, /, *args: Any, **kwargs: Any) -> Any:
        result = register(function, *args, **kwargs)
        owner = find_owner()
        # The standard library's own outlive any photon, and must.
        if owner is not None and not _is_of_library(function):
            owner.adopt(OwnedExitFunction(function))
        return result

    return wrapper


def _is_of_library(function: Any) -> bool:
    module = getattr(function, "__module__", None) or ""
    return module.partition(".")[0] in {
        "concurrent",
        "logging",
        "luminal",
        "multiprocessing",
        "weakref",
    }


def add_handler(add: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap `logging.Logger.addHandler`."""

    def wrapper(self: logging.Logger, hdlr: logging.Handler) -> None:
        add(self, hdlr)
        owner = find_owner()
        if owner is not None:
            owner.adopt(OwnedLogHandler(hdlr, logger=self))

    return wrapper


def set_signal(set_: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap `signal.signal`."""

    def wrapper(signalnum: int, handler: Any) -> Any:
        before = set_(signalnum, handler)
        owner = find_owner()
        if owner is not None:
            known = _latest.get(signalnum)
            previous = known if known is not None and known.thing is before else None
            owned = _latest[signalnum] = OwnedSignal(
                handler, number=signalnum, before=before, previous=previous
            )
            owner.adopt(owned)
        return before

    return wrapper
