"""What a photon can own: one class for each kind of thing, ended in the same way.

Each has three ways to be ended, weakest first. ``cancel`` asks it to end: a flag, a
cancellation, a SIGTERM. ``interrupt`` halts or cancels what it does now. ``kill`` ends
it by force where the system can. None of them waits. What is alive after all three is
described by a `Leftover`.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs

from luminal._running_loop import running_loop
from luminal.supervise._halting import Halt, Leftover, begin_halt, halt_thread
from luminal.supervise._ownership import running_for, unowned, user_frame
from luminal.supervise._waits import begin_noting, end_noting

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

    from luminal.supervise._ownership import Code

__all__ = [
    "OwnedCallback",
    "OwnedExecutor",
    "OwnedExitFunction",
    "OwnedHandle",
    "OwnedLogHandler",
    "OwnedLoop",
    "OwnedPool",
    "OwnedProcess",
    "OwnedRawThread",
    "OwnedResource",
    "OwnedSignal",
    "OwnedSubstitute",
    "OwnedTask",
    "OwnedThread",
    "OwnedTransport",
    "OwnedWork",
    "callbacks_of",
    "handlers_of",
    "started_at",
]


def started_at() -> str:
    """Return ``file:line in function`` of the code that starts something."""
    frame = user_frame()
    if frame is None:
        return ""
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"


def _is_waiting(thread: threading.Thread) -> bool:
    """Whether *thread* waits for an event, a condition or a queue: it does no work."""
    frame = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001 - documented
    return frame is not None and frame.f_code.co_filename == threading.__file__


@attrs.define(eq=False, repr=False)
class OwnedResource:
    """Something that a photon started or registered.

    Attributes:
        thing: The thing itself.
        where: ``file:line in function`` that started it.
        wake: Ends what its owner owns and it may wait for.
        is_shared: It may be another photon's of the same file.
    """

    kind = "thing"
    why = "it does not end"

    thing: Any
    where: str = attrs.field(factory=started_at)
    wake: Callable[[], bool] = attrs.field(default=bool, kw_only=True)
    is_shared: bool = attrs.field(default=False, kw_only=True)

    @property
    def name(self) -> str:
        """Its own name."""
        return str(getattr(self.thing, "name", self.thing))

    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return False

    def cancel(self) -> None:
        """Ask it to end."""

    def interrupt_if_unaware(self) -> None:
        """Interrupt it where it cannot know that it was cancelled."""

    def interrupt(self) -> None:
        """Interrupt what it does."""
        self.cancel()

    def kill(self) -> None:
        """End it by force, where the system can."""
        self.interrupt()

    def leftover(self, owner: str, seconds: float) -> Leftover:
        """Describe it, where it is alive after all of that."""
        return Leftover(
            self.kind, self.name, owner, self.where, self.why, round(seconds, 3)
        )


def _own_greenlet() -> Any:
    """Return the greenlet that runs here as a thread, where gevent has made one of it.

    None in a thread of the system.
    """
    gevent: Any = sys.modules.get("gevent")
    monkey: Any = sys.modules.get("gevent.monkey")
    if gevent is None or monkey is None or not monkey.is_module_patched("threading"):
        return None
    current = gevent.getcurrent()
    return current if isinstance(current, gevent.Greenlet) else None


@attrs.define(eq=False, repr=False)
class OwnedThread(OwnedResource):
    """A thread of any kind.

    Where gevent has replaced threads by greenlets it is one of these: the system knows
    no such thread, and it is ended as gevent ends it.

    Attributes:
        is_starting: It is about to run.
        is_halted: Its halt has begun.
        tell: See `Scope.tell`.
        code: Refers to the generation that has started it.
    """

    kind = "thread"
    is_starting: bool = False
    is_halted: bool = False
    tell: Callable[[str, BaseException, str], object] | None = None
    code: weakref.ref[Code] | None = None
    _halt: Halt | None = None
    _is_cancelled: bool = False
    _greenlet: Any = None

    def is_alive(self) -> bool:
        """Whether it runs."""
        return self.is_starting or bool(self.thing.is_alive())

    def cancel(self) -> None:
        """Set its ``halting`` flag; cancel it where it is a timer."""
        self._is_cancelled = True
        if isinstance(self.thing, threading.Timer):
            self.thing.cancel()
        flag = getattr(self.thing, "halting", None)
        if isinstance(flag, threading.Event):
            flag.set()

    def run_until_halted(self, run: Callable[[], None]) -> None:
        """Call *run*; where a halt ends it, no excepthook is called."""
        vars(self.thing).pop("run", None)  # a method again, no reference to itself
        self._greenlet = _own_greenlet()
        is_noting = begin_noting()
        try:
            with running_for(self.code):
                run()
        except BaseException as error:
            # What it has waited for may have been cancelled before it was halted.
            if self._is_cancelled and is_cancellation(error):
                return
            # Its class may be the photon's, and say what it likes.
            cls = type(error)
            if not issubclass(cls, SystemExit) and not self.is_halted:
                self.tell_of(error)
            if issubclass(cls, Exception) or not self.is_halted:
                raise
        finally:
            if is_noting:
                end_noting()
            self._greenlet = None

    def tell_of(self, error: BaseException) -> None:
        """Report what has ended the thread."""
        if self.tell is not None:
            self.tell("thread", error, self.name)

    def interrupt_if_unaware(self) -> None:
        """Halt it where it has no flag to look at, or waits and does not look."""
        if not hasattr(self.thing, "halting") or _is_waiting(self.thing):
            self.interrupt()

    def interrupt(self) -> None:
        """Halt it, unless it is the caller's own thread."""
        if self._halt is None and self.thing is not threading.current_thread():
            self.is_halted = True
            greenlet = self._greenlet
            if greenlet is None:
                self._halt = self._begin_halt()
            else:  # on its own loop, which may be another thread's
                end = functools.partial(greenlet.kill, block=False)
                greenlet.parent.loop.run_callback_threadsafe(end)

    def _begin_halt(self) -> Halt | None:
        return halt_thread(self.thing, wake=self.wake)

    def leftover(self, owner: str, seconds: float) -> Leftover:
        """Describe it, with its stack."""
        record = OwnedResource.leftover(self, owner, seconds)
        if self._halt is None:
            return record
        seen = self._halt.leftover()
        why = f"{seen.why}, at {seen.where}"
        return attrs.evolve(record, why=why, stack=seen.stack)


@attrs.define(eq=False, repr=False)
class OwnedRawThread(OwnedThread):
    """A thread of `_thread.start_new_thread`, which has no object of its own.

    The thing is its function; it runs inside of `run`, so that its identifier, its
    beginning and its end are known.
    """

    _ident: int = 0
    _native_id: int = 0
    _is_over: bool = False

    @property
    def name(self) -> str:
        """Name of the function."""
        return getattr(self.thing, "__qualname__", repr(self.thing))

    def run(self, *args: Any, **kwargs: Any) -> None:
        """Call the function; what the thread runs."""
        self._native_id = threading.get_native_id()
        self._ident = threading.get_ident()
        self._greenlet = _own_greenlet()
        is_noting = begin_noting()
        try:
            with running_for(self.code):
                self.thing(*args, **kwargs)
        except SystemExit:
            pass  # as `_thread` itself would do
        except BaseException as error:
            if self._is_cancelled and is_cancellation(error):
                return
            if not self.is_halted:
                self.tell_of(error)
            raise
        finally:
            if is_noting:
                end_noting()
            self._is_over, self._greenlet = True, None

    def is_alive(self) -> bool:
        """Whether the function has not returned."""
        return not self._is_over

    def interrupt(self) -> None:
        """Halt it, once it runs."""
        if self._ident:
            super().interrupt()

    def _begin_halt(self) -> Halt:
        return begin_halt(
            Halt(
                self.name,
                self._ident,
                self.is_alive,
                native_id=self._native_id,
                wake=self.wake,
            )
        )


def is_cancellation(error: BaseException) -> bool:
    """Whether *error* says that what was waited for has been cancelled."""
    import asyncio
    import concurrent.futures

    cancelled = (asyncio.CancelledError, concurrent.futures.CancelledError)
    return issubclass(type(error), cancelled)


def is_unretrieved(task: Any) -> bool:
    """Whether *task* is done, has raised, and nobody has asked for the exception.

    asyncio itself looks at this to log it, when the task is collected.
    """
    return task.done() and bool(getattr(task, "_log_traceback", False))


class OwnedTask(OwnedResource):
    """An asyncio task, on any thread's event loop."""

    __slots__ = ()

    kind = "task"
    why = "it swallows its cancellation, or its event loop does not run"

    @property
    def name(self) -> str:
        """The task's name."""
        return str(self.thing.get_name())

    def is_alive(self) -> bool:
        """Whether it is not done; on a closed loop nothing is alive."""
        return not self.thing.done() and not self.thing.get_loop().is_closed()

    def cancel(self) -> None:
        """Cancel it, on its own loop."""
        with contextlib.suppress(RuntimeError):  # the loop has closed meanwhile
            self.thing.get_loop().call_soon_threadsafe(self.thing.cancel)

    def interrupt(self) -> None:
        """Do nothing: a second cancellation would cut short its end."""

    def kill(self) -> None:
        """Cancel it once more, for one that has swallowed the first."""
        self.cancel()


# How late an event loop may be with a call.
_LATE_SECONDS = 10.0


@attrs.define(eq=False, repr=False)
class OwnedHandle(OwnedResource):
    """A call that an event loop will make later."""

    kind = "timer"
    loop: Any = attrs.field(kw_only=True)

    def is_alive(self) -> bool:
        """Whether it may still be called."""
        if self.thing.cancelled() or self.loop.is_closed():
            return False
        # uvloop's do not tell. To cancel one that was called does nothing.
        is_due = self.thing.when() + _LATE_SECONDS < self.loop.time()
        return bool(getattr(self.thing, "_scheduled", not is_due))

    def cancel(self) -> None:
        """Cancel it, on its own loop's thread while that runs."""
        _call_on(self.loop, self.thing.cancel)


def _call_on(loop: Any, function: Callable[[], object]) -> None:
    """Call *function* in the thread of *loop* while that runs, else here."""
    if loop is running_loop() or not loop.is_running():
        function()
        return
    with contextlib.suppress(RuntimeError):  # the loop has closed meanwhile
        loop.call_soon_threadsafe(function)


@attrs.define(eq=False, repr=False)
class OwnedWork(OwnedResource):
    """A call that an executor of somebody else makes, as a future."""

    kind = "call"
    why = "it runs on a thread or in a process that the photon does not own"
    function: Any = attrs.field(kw_only=True)

    @property
    def name(self) -> str:
        """Name of the function."""
        function = self.function
        while isinstance(function, functools.partial):
            function = function.func
        return getattr(function, "__qualname__", repr(function))

    def is_alive(self) -> bool:
        """Whether it waits, or runs."""
        return not self.thing.done()

    def cancel(self) -> None:
        """Cancel it, where it has not begun."""
        self.thing.cancel()


class OwnedProcess(OwnedResource):
    """A child process, of `subprocess` or of `multiprocessing`."""

    __slots__ = ()

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

    def cancel(self) -> None:
        """Terminate it."""
        self._signal("terminate")

    def interrupt(self) -> None:
        """Do nothing: it has been asked to end."""

    def kill(self) -> None:
        """Kill it."""
        self._signal("kill")

    def _signal(self, how: str) -> None:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            getattr(self.thing, how)()


@attrs.define(eq=False, repr=False)
class OwnedTransport(OwnedProcess):
    """A child process of an event loop that starts it itself, by its transport."""

    @property
    def name(self) -> str:
        """Its number."""
        return str(self.thing.get_pid())

    def is_alive(self) -> bool:
        """Whether it runs; that it has ended is left for its loop to notice."""
        if self.thing.get_returncode() is not None:
            return False
        if not hasattr(os, "waitid"):  # macOS, before Python 3.13
            return True
        how = os.WEXITED | os.WNOHANG | os.WNOWAIT
        try:
            return os.waitid(os.P_PID, self.thing.get_pid(), how) is None
        except ChildProcessError:
            return False


@attrs.define(eq=False, repr=False)
class OwnedLoop(OwnedResource):
    """A `SuperLoop`."""

    __slots__ = ()

    kind = "loop"
    why = "its cycle does not return"

    @property
    def name(self) -> str:
        """Name of its thread."""
        return str(self.thing.thread_name)

    def is_alive(self) -> bool:
        """Whether its thread lives."""
        return bool(self.thing.is_alive)

    def cancel(self) -> None:
        """Ask it to stop."""
        self.thing.ask_to_stop()

    def interrupt(self) -> None:
        """Halt its thread."""
        self.thing.halt()


class OwnedExecutor(OwnedResource):
    """A thread or process pool of `concurrent.futures`."""

    __slots__ = ()

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

    def cancel(self) -> None:
        """Shut it down; what waits in it is cancelled."""
        self.thing.shutdown(wait=False, cancel_futures=True)

    def interrupt(self) -> None:
        """Halt its threads, terminate its processes."""
        for worker in self._workers():
            if isinstance(worker, threading.Thread):
                halt_thread(worker, wake=self.wake)
            else:
                worker.terminate()

    def kill(self) -> None:
        """Kill its processes."""
        for worker in self._workers():
            if not isinstance(worker, threading.Thread):
                worker.kill()


@attrs.define(eq=False, repr=False)
class OwnedPool(OwnedResource):
    """A pool of `multiprocessing`."""

    kind = "pool"
    # Terminates it.
    _ending: threading.Thread | None = None

    def is_alive(self) -> bool:
        """Whether a worker process of it runs, or it is being terminated."""
        if self._ending is not None and self._ending.is_alive():
            return True
        return any(worker.is_alive() for worker in self.thing._pool or ())  # noqa: SLF001

    def cancel(self) -> None:
        """Terminate it; that waits a moment for its threads, so not on this one."""
        with unowned():
            self._ending = threading.Thread(target=self.thing.terminate, daemon=True)
            self._ending.start()

    def interrupt(self) -> None:
        """Do nothing: it has been asked to end."""

    def kill(self) -> None:
        """Kill its workers."""
        for worker in self.thing._pool or ():  # noqa: SLF001
            # Those of a `ThreadPool` are threads, which are owned by themselves.
            if not isinstance(worker, threading.Thread):
                worker.kill()


@attrs.define(eq=False, repr=False)
class OwnedExitFunction(OwnedResource):
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

    def cancel(self) -> None:
        """Unregister it."""
        atexit.unregister(self.thing)
        self._is_there = False


@attrs.define(eq=False, repr=False)
class OwnedLogHandler(OwnedResource):
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

    def cancel(self) -> None:
        """Remove and close it."""
        self.logger.removeHandler(self.thing)
        self.thing.close()


@attrs.define(eq=False, repr=False)
class OwnedSubstitute(OwnedResource):
    """Something that has taken the place of what was there before, or of nothing.

    Photons take a place and end in any order: where a later one has taken it over, that
    one takes over what is to be put back.

    Attributes:
        before: What was there before.
        others: All that photons have put there over each other, first to last.
    """

    before: Any = attrs.field(kw_only=True)
    others: list[OwnedSubstitute] = attrs.field(kw_only=True)

    def __attrs_post_init__(self) -> None:
        self.others.append(self)

    def is_in_place(self) -> bool:
        """Whether this is there, if it is the last of the photons'."""
        return True

    def put_back(self) -> None:
        """Put there what was there before.

        Raises:
            ValueError: That cannot be done in this thread.
        """

    def is_alive(self) -> bool:
        """Whether it is there, or would be put back by a later one."""
        others = self.others
        return self in others and (others[-1] is not self or self.is_in_place())

    def cancel(self) -> None:
        """Put back what was there before, now or when a later one goes."""
        others = self.others
        if self not in others:
            return
        if others[-1] is not self:
            others[others.index(self) + 1].before = self.before
        left = [one for one in others if one is not self]
        if others[-1] is self and self.is_in_place():
            try:
                with unowned():
                    self.put_back()
            except ValueError:
                left.append(self)
        # To put something back is to replace what is there, which clears the list.
        others[:] = left


# Signal → the records of the handlers that photons set over each other.
_handlers: dict[int, list[OwnedSubstitute]] = {}


def handlers_of(number: int, before: Any) -> list[OwnedSubstitute]:
    """Return the photons' handlers of a signal; none if *before* is the host's."""
    handlers = _handlers.setdefault(number, [])
    if handlers and handlers[-1].thing is not before:
        handlers.clear()  # the host has set another one in between
    return handlers


@attrs.define(eq=False, repr=False)
class OwnedSignal(OwnedSubstitute):
    """A handler of a signal."""

    kind = "signal"
    why = "only the main thread may put the old handler back"
    number: int = attrs.field(kw_only=True)

    @property
    def name(self) -> str:
        """Name of the signal."""
        return signal.Signals(self.number).name

    def is_in_place(self) -> bool:
        """Whether it is the present handler."""
        return signal.getsignal(self.number) is self.thing

    def put_back(self) -> None:
        """Set the handler that was there before."""
        signal.signal(self.number, self.before)


# Loop → what it calls for, such as a reader's descriptor → what photons let it call.
_callbacks: weakref.WeakKeyDictionary[
    Any, dict[tuple[str, int], list[OwnedSubstitute]]
] = weakref.WeakKeyDictionary()


def callbacks_of(loop: Any, what: str, number: int) -> list[OwnedSubstitute]:
    """Return what photons let *loop* call for a descriptor or signal.

    Args:
        loop: The event loop.
        what: ``"reader"``, ``"writer"`` or ``"signal"``.
        number: Of the descriptor or the signal.
    """
    return _callbacks.setdefault(loop, {}).setdefault((what, number), [])


@attrs.define(eq=False, repr=False)
class OwnedCallback(OwnedSubstitute):
    """What an event loop calls for a descriptor or a signal: function and arguments.

    Attributes:
        kind: ``"reader"``, ``"writer"`` or ``"signal"``.
        number: Of the descriptor or the signal.
        loop: The event loop.
    """

    why = "its event loop does not run, or not in the main thread"
    kind: str = attrs.field(kw_only=True)
    number: int = attrs.field(kw_only=True)
    loop: Any = attrs.field(kw_only=True)

    @property
    def name(self) -> str:
        """What it is for, and name of the function."""
        function = self.thing[0]
        return f"{self.number}: {getattr(function, '__qualname__', repr(function))}"

    def is_alive(self) -> bool:
        """Whether it may be called; what a closed loop has called is forgotten."""
        if self.loop.is_closed():
            self.others.clear()  # or the loop would be kept
        return super().is_alive()

    def cancel(self) -> None:
        """Put back what was there before, on the loop's own thread while that runs."""
        _call_on(self.loop, super().cancel)

    def put_back(self) -> None:
        """Let the loop call what it called before, or nothing."""
        what = f"{self.kind}_handler" if self.kind == "signal" else self.kind
        try:
            if self.before is None:
                getattr(self.loop, f"remove_{what}")(self.number)
            else:
                getattr(self.loop, f"add_{what}")(self.number, *self.before)
        except RuntimeError as error:
            raise ValueError(str(error)) from error
