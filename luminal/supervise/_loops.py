"""Supervised loops: `SuperLoop` runs ``cycle()`` again and again on its own thread.

`AsyncLoop` has a coroutine as its cycle, and the cycle of `ProcessLoop` is the life of
a child process. What a loop does now is one `Status`; `TABLE` lists every change of it.
Each start is a `Run`, with a thread of its own that is asked to stop once and for all:
a thread that was given up can never cycle again. No lock is held while code of a
subclass runs.
"""

from __future__ import annotations

import abc
import contextlib
import enum
import functools
import logging
import threading
import time
import weakref
from collections.abc import Callable  # noqa: TC003 - attrs reads it
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import attrs

from luminal._running_loop import run_coroutine
from luminal._weak import members_of
from luminal.supervise._ownership import find_owner
from luminal.supervise._threads import TracedThread

if TYPE_CHECKING:
    import asyncio
    import subprocess
    from collections.abc import Iterator, Mapping, Sequence

    from luminal.supervise._controller import LoopController
    from luminal.supervise._scope import Scope

__all__ = [
    "AsyncLoop",
    "Backoff",
    "ChildEnded",
    "ProcessLoop",
    "Restart",
    "Run",
    "Status",
    "SuperLoop",
]

_logger = logging.getLogger("luminal.supervise")

# `start` returns when `on_thread_start` has run, or after this time.
_BEGIN_SECONDS = 0.1


class Restart(enum.StrEnum):
    """Which ends of a loop are answered by a restart."""

    PERMANENT = "permanent"
    """Every end that nobody asked for."""
    TRANSIENT = "transient"
    """An exception only."""
    TEMPORARY = "temporary"
    """None."""


@attrs.frozen
class Backoff:
    """How long to wait before a restart: exponential, capped, with full jitter.

    Attributes:
        initial: Upper bound of the second restart's pause, in seconds; the first
            restart of a row comes at once.
        factor: By what the bound grows with each further restart.
        cap: Highest bound, in seconds.
        healthy_after: Seconds of good running after which the row begins anew.
    """

    initial: float = 0.1
    factor: float = 2.0
    cap: float = 30.0
    healthy_after: float = 10.0

    def pause(self, restarts_in_a_row: int) -> float:
        """Return how many seconds to wait before the next restart."""
        if restarts_in_a_row <= 0:
            return 0.0
        import random

        exponent = min(restarts_in_a_row - 1, 64)
        bound = min(self.cap, self.initial * self.factor**exponent)
        # Full jitter: the pauses of many loops that failed together spread out.
        return random.uniform(0.0, bound)  # noqa: S311 - not a secret


# The states ------------------------------------------------------------------------


class Status(enum.StrEnum):
    """What a loop does now."""

    IDLE = "idle"
    """It was never started, or its start was declined."""
    STARTING = "starting"
    """`start` was called; there is no thread yet."""
    RESUMING = "resuming"
    """The same, of a loop that was paused."""
    CANCELLED = "cancelled"
    """It was stopped on purpose while it was starting."""
    RUNNING = "running"
    """It cycles."""
    STOPPING = "stopping"
    """It was stopped on purpose; a cycle may be under way."""
    PAUSING = "pausing"
    """Its group stopped it, to start it again; a cycle may be under way."""
    STOPPED = "stopped"
    """It was stopped on purpose, and has ended."""
    PAUSED = "paused"
    """Its group stopped it, to start it again, and it has ended."""
    FAILED = "failed"
    """It ended without being asked to, or could not be started."""


class Step(enum.StrEnum):
    """What happens to a loop."""

    START = "start"
    """`start` was called."""
    STARTED = "started"
    """Its thread has been made."""
    FAIL = "fail"
    """Its start has failed."""
    STOP = "stop"
    """It is stopped on purpose."""
    PAUSE = "pause"
    """It is stopped by its group."""
    RESET = "reset"
    """Its thread is given up."""
    END = "end"
    """Its start was declined, or its cycles have ended."""


TABLE: Mapping[tuple[Status, Step], Status] = MappingProxyType(
    {
        (Status.IDLE, Step.START): Status.STARTING,
        (Status.IDLE, Step.STOP): Status.STOPPED,
        (Status.IDLE, Step.PAUSE): Status.PAUSED,
        (Status.IDLE, Step.RESET): Status.PAUSED,
        (Status.STARTING, Step.STARTED): Status.RUNNING,
        (Status.STARTING, Step.FAIL): Status.FAILED,
        (Status.STARTING, Step.STOP): Status.CANCELLED,
        (Status.STARTING, Step.END): Status.IDLE,
        (Status.RESUMING, Step.STARTED): Status.RUNNING,
        (Status.RESUMING, Step.FAIL): Status.PAUSED,
        (Status.RESUMING, Step.STOP): Status.CANCELLED,
        (Status.RESUMING, Step.END): Status.IDLE,
        (Status.CANCELLED, Step.STARTED): Status.STOPPED,
        (Status.CANCELLED, Step.FAIL): Status.STOPPED,
        (Status.CANCELLED, Step.RESET): Status.STARTING,
        (Status.CANCELLED, Step.END): Status.STOPPED,
        # Of a loop that cycles there is no thread in a child after a fork.
        (Status.RUNNING, Step.START): Status.STARTING,
        (Status.RUNNING, Step.FAIL): Status.FAILED,
        (Status.RUNNING, Step.STOP): Status.STOPPING,
        (Status.RUNNING, Step.PAUSE): Status.PAUSING,
        (Status.RUNNING, Step.RESET): Status.PAUSED,
        (Status.RUNNING, Step.END): Status.FAILED,
        (Status.STOPPING, Step.START): Status.STARTING,
        (Status.STOPPING, Step.FAIL): Status.STOPPED,
        (Status.STOPPING, Step.RESET): Status.PAUSED,
        (Status.STOPPING, Step.END): Status.STOPPED,
        (Status.PAUSING, Step.START): Status.RESUMING,
        (Status.PAUSING, Step.FAIL): Status.PAUSED,
        (Status.PAUSING, Step.STOP): Status.STOPPING,
        (Status.PAUSING, Step.RESET): Status.PAUSED,
        (Status.PAUSING, Step.END): Status.PAUSED,
        (Status.STOPPED, Step.START): Status.STARTING,
        (Status.STOPPED, Step.RESET): Status.PAUSED,
        (Status.PAUSED, Step.START): Status.RESUMING,
        (Status.PAUSED, Step.STOP): Status.STOPPED,
        (Status.FAILED, Step.START): Status.STARTING,
        (Status.FAILED, Step.STOP): Status.STOPPED,
        (Status.FAILED, Step.PAUSE): Status.PAUSED,
        (Status.FAILED, Step.RESET): Status.PAUSED,
    }
)
"""(status, step) → next status. A step that is not listed changes nothing."""

_ON_PURPOSE = frozenset({Status.CANCELLED, Status.STOPPING, Status.STOPPED})
_ENDED = frozenset({Status.IDLE, Status.STOPPED, Status.PAUSED, Status.FAILED})


@attrs.define(eq=False)
class Run:
    """One start of a loop.

    Attributes:
        thread: The thread, which runs nothing else.
        resumes: The loop was paused before.
        begun: Set when ``on_thread_start`` has run, or the thread cannot be had.
        asked: When it was first asked to stop, `time.monotonic`; 0 before.
        on_stop: Arguments for ``on_stop``, while that is still to be called.
        beat: When the last cycle began, `time.monotonic`.
        error: What ended it, where that was an exception.
        cancel: Cancels what the cycle awaits, from any thread; None where it awaits
            nothing.
    """

    thread: TracedThread
    resumes: bool = False
    begun: threading.Event = attrs.field(factory=threading.Event)
    asked: float = 0.0
    on_stop: tuple[tuple[Any, ...], dict[str, Any]] | None = None
    beat: float = attrs.field(factory=time.monotonic)
    error: BaseException | None = None
    cancel: Callable[[], object] | None = None

    def ask(self, args: tuple[Any, ...] = (), kwargs: Any = None) -> None:
        """Let the thread end after its present cycle; the first call counts."""
        if not self.asked:
            self.asked = time.monotonic()
            self.on_stop = (args, kwargs or {})

    @property
    def may_be_alive(self) -> bool:
        """Whether its thread runs, or is about to."""
        is_new = self.thread.ident is None and not self.begun.is_set()
        return is_new or self.thread.is_alive()

    def wait(self, until: float) -> bool:
        """Wait for the end of the thread; return whether it has ended.

        Args:
            until: How long at most, by `time.monotonic`.
        """
        # A thread that is just being started cannot be joined yet.
        self.begun.wait(max(0.0, until - time.monotonic()))
        if self.thread.ident is not None:
            self.thread.join(max(0.0, until - time.monotonic()))
        return not self.may_be_alive


# The loop --------------------------------------------------------------------------


class SuperLoop(abc.ABC):
    """Runs `cycle` again and again on a thread of its own.

    Args:
        green_light: Event that is set while the group is well; put out by `failure`.
        grace_period: Longest time that `stop` waits for the thread, in seconds.
        max_loop_failures: More failures than this put the light out.
        stop_on_failure: Stop this loop as well when that happens.
        reset_globally: Take part in a reset of the whole group.
        restart: Which ends a controller answers by a restart.
        backoff: How long it waits before that.
        stall_after: Seconds without a new cycle after which the loop counts as hung;
            None where a cycle may take any time.
    """

    def __init__(
        self,
        green_light: threading.Event | None = None,
        grace_period: float = 5,
        max_loop_failures: int = 10,
        stop_on_failure: bool = False,
        reset_globally: bool = True,
        *,
        restart: Restart = Restart.PERMANENT,
        backoff: Backoff | None = None,
        stall_after: float | None = None,
    ) -> None:
        self._green_light = green_light
        self._grace_period = grace_period
        self._max_loop_failures = max_loop_failures
        self._stop_on_failure = stop_on_failure
        # The photon whose code it is, or that has started it.
        self._owner: Scope | None = None
        self.reset_globally = reset_globally
        self.restart = restart
        self.backoff: Backoff = backoff or Backoff()
        self.stall_after = stall_after
        # Guards what follows; never held while `cycle` or a hook of a subclass runs.
        self._status_lock = threading.RLock()
        self._status = Status.IDLE
        # The latest start, and those whose thread was given up.
        self._run: Run | None = None
        self._abandoned: list[Run] = []
        self._failures = 0
        self._thread_index = 0
        self._controller: LoopController | None = None
        # Threads that stop and start the loop for its group, not for the host.
        self._group_threads: set[int] = set()

    # What a subclass overrides --------------------------------------------------------

    @abc.abstractmethod
    def cycle(self) -> Any:
        """Do one turn of the work."""

    def on_start(self, *_args: Any, **_kwargs: Any) -> bool | None:
        """Prepare, in the caller's thread; ``False`` or an exception cancels."""
        return True

    def on_stop(self, *_args: Any, **_kwargs: Any) -> None:  # noqa: B027 - may stay empty
        """Clean up after the thread has ended, in the thread that stopped it."""

    def on_thread_start(self) -> None:  # noqa: B027 - may stay empty
        """Prepare, in the loop's own thread."""

    def on_thread_stop(self) -> None:  # noqa: B027 - may stay empty
        """Clean up, in the loop's own thread, however it ends."""

    def make_name(self, index: int) -> str:
        """Return the name of the thread number *index*."""
        return f"{type(self).__qualname__}_{index}"

    # How it is ------------------------------------------------------------------------

    @property
    def is_alive(self) -> bool:
        """Whether its thread lives; also true of one that does not stop."""
        run = self._run
        return run is not None and run.thread.is_alive()

    @property
    def running(self) -> bool:
        """Whether it cycles: alive, not at its end, and not asked to stop."""
        return self._status is Status.RUNNING and self.is_alive

    @property
    def is_stopped(self) -> bool:
        """Whether it was stopped on purpose, since its last start."""
        return self._status in _ON_PURPOSE

    @property
    def is_hung(self) -> bool:
        """Whether it runs, but has begun no cycle for `stall_after` seconds."""
        run = self._run
        if run is None or self.stall_after is None or not self.running:
            return False
        return time.monotonic() - run.beat > self.stall_after

    @property
    def abandoned(self) -> tuple[str, ...]:
        """Names of the threads that `hard_reset` gave up and that still live."""
        return tuple(r.thread.name for r in self._abandoned if r.thread.is_alive())

    @property
    def thread_name(self) -> str:
        """Name of the thread, or of the class where there is none."""
        run = self._run
        return run.thread.name if run is not None else str(self)

    def __str__(self) -> str:
        return type(self).__qualname__

    def _advance(self, step: Step) -> bool:
        """Take *step*; return whether the status has changed."""
        with self._status_lock:
            status = TABLE.get((self._status, step))
            if status is not None:
                self._status = status
            return status is not None

    # Up -------------------------------------------------------------------------------

    def start(self, *args: Any, **kwargs: Any) -> None:
        """Start a new thread unless one runs; arguments go to `on_start`.

        Returns when `on_thread_start` has run, or after a tenth of a second.
        """
        self._join_ended()
        with self._status_lock:
            # A group starts nothing that was stopped on purpose.
            is_kept_down = self._is_for_group() and self.is_stopped
            if is_kept_down or (self._run is not None and self._run.may_be_alive):
                return
            if not self._advance(Step.START):
                return
        run = self._new_run() if self._may_start(args, kwargs) else None
        if run is None:
            return
        try:
            run.thread.start()
        except BaseException:
            self._advance(Step.FAIL)
            run.begun.set()
            raise
        _stop_at_exit(self)
        run.begun.wait(_BEGIN_SECONDS)

    def _join_ended(self) -> None:
        """Wait for a thread whose cycles are over: it is about to end."""
        run = self._run
        if run is None or self._status not in _ENDED or run.thread.ident is None:
            return
        if threading.current_thread() is not run.thread:
            run.thread.join(self._grace_period)

    def _may_start(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        # Its thread is Luminal's: whose code it runs is found out here.
        self._owner = find_owner(self)
        try:
            answer = self.on_start(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - told
            self._advance(Step.FAIL)
            self._tell(error, "on_start raised, not started")
            return False
        except BaseException:
            self._advance(Step.FAIL)
            raise
        # Only an explicit False cancels: a function that forgets to return does not.
        if answer is False:
            self._advance(Step.END)
            _logger.info("%s: on_start returned False, not started", self)
            return False
        return True

    def _new_run(self) -> Run | None:
        in_use = {thread.name for thread in threading.enumerate()}
        with self._status_lock:
            resumes = self._status is Status.RESUMING
            self._advance(Step.STARTED)
            if self._status is not Status.RUNNING:
                return None  # it was stopped while `on_start` ran
            while (name := self.make_name(self._thread_index)) in in_use:
                self._thread_index += 1
            self._thread_index += 1
            self._failures = 0
            self._abandoned = [r for r in self._abandoned if r.thread.is_alive()]
            run = Run(TracedThread(name=name, daemon=True), resumes)
            run.thread.run = functools.partial(self._live, run)  # type: ignore[method-assign]
            self._run = run
            return run

    # In its own thread ----------------------------------------------------------------

    def _live(self, run: Run) -> None:
        try:
            try:
                self.on_thread_start()
            finally:
                run.begun.set()
            try:
                self._turn(run)
            finally:
                self.on_thread_stop()
        except Exception as error:  # noqa: BLE001 - told
            run.error = error
            self._tell(error, f"{run.thread.name} ended by an exception")
        except BaseException as error:
            run.error = error
            if not issubclass(type(error), SystemExit):
                raise
        finally:
            self._ended(run)

    def _turn(self, run: Run) -> None:
        while not run.asked:
            run.beat = time.monotonic()
            self.cycle()

    def _tell(self, error: Exception, what: str) -> None:
        """Report *error* as one of the photon that has started this, or log it."""
        owner = self._owner
        if owner is not None:
            owner.tell("loop", error, type(self).__name__)
        else:
            _logger.error("%s: %s", self, what, exc_info=error)

    def _ended(self, run: Run) -> None:
        with self._status_lock:
            is_current = self._run is run
            if is_current:
                self._advance(Step.END)
        if is_current:  # else `hard_reset` calls it, before it starts a new thread
            self._call_on_stop(run)
        if run.asked:
            return
        controller = self._controller
        is_handled = controller is not None and controller.loop_ended(self, run)
        if not is_handled and run.error is not None:
            self._put_light_out()

    def beat(self) -> None:
        """Say, from within a long cycle, that the loop is not hung."""
        run = self._run_of_this_thread()
        if run is not None:
            run.beat = time.monotonic()

    def _run_of_this_thread(self) -> Run | None:
        me = threading.current_thread()
        with self._status_lock:
            runs = [self._run, *self._abandoned]
        return next((run for run in runs if run and run.thread is me), None)

    # Down -----------------------------------------------------------------------------

    def stop(self, *args: Any, **kwargs: Any) -> bool:
        """Stop the thread and wait for it, at most `grace_period` seconds in all.

        Called in the loop's own thread, it returns at once; the thread ends after the
        cycle under way. Arguments go to `on_stop`, which runs when the thread has
        ended, in the caller's thread, or in the loop's where the caller did not wait
        for long enough.

        Returns:
            Whether the thread has ended.
        """
        run = self._ask(args, kwargs)
        if run is None:
            return True
        if threading.current_thread() is run.thread:
            return False
        if not run.wait(run.asked + self._grace_period):
            return False
        self._call_on_stop(run)
        return True

    def ask_to_stop(self) -> None:
        """Ask the thread to end, and do not wait.

        The loop counts as stopped on purpose. `stop` counts its grace period from now.
        """
        self._ask()

    def _ask(self, args: tuple[Any, ...] = (), kwargs: Any = None) -> Run | None:
        with self._status_lock:
            self._advance(Step.PAUSE if self._is_for_group() else Step.STOP)
            run = self._run
            if run is not None:
                run.ask(args, kwargs)
        if run is not None:
            self._wake(run)
        return run

    def halt(self) -> None:
        """Ask the thread to stop and halt it: a cycle under way does not go on."""
        self.ask_to_stop()
        run = self._run
        if run is not None and threading.current_thread() is not run.thread:
            run.thread.halt()

    def _wake(self, run: Run) -> None:  # noqa: B027 - may stay empty
        """End what the cycle of *run* waits for; for subclasses that know it."""

    def _call_on_stop(self, run: Run) -> None:
        with self._status_lock:
            arguments, run.on_stop = run.on_stop, None
        if arguments is not None:
            try:
                self.on_stop(*arguments[0], **arguments[1])
            except Exception as error:  # noqa: BLE001 - told
                self._tell(error, "on_stop raised")

    def hard_reset(self) -> None:
        """Give the old thread up and start a new one at once, whatever the old does.

        The old thread is asked to stop and halted, never waited for, and listed in
        `abandoned` until it ends. `on_stop` and `on_start` run in between.
        """
        with self._status_lock:
            if self._is_for_group() and self.is_stopped:
                return
            self._advance(Step.RESET)
            run, self._run = self._run, None
            if run is not None:
                run.ask()
                run.on_stop = run.on_stop or ((), {})
                self._abandoned.append(run)
        if run is not None:
            self._wake(run)
            if threading.current_thread() is not run.thread:
                run.thread.halt()
            self._call_on_stop(run)
        with self._for_group():  # a `stop` that came meanwhile is obeyed
            self.start()

    # For its group --------------------------------------------------------------------

    @contextlib.contextmanager
    def _for_group(self) -> Iterator[None]:
        """Within the block, this thread calls `stop` and `start` for the group.

        Such a stop is not on purpose, and such a start does not start what was stopped
        on purpose.
        """
        me = threading.get_ident()
        is_outermost = me not in self._group_threads
        self._group_threads.add(me)
        try:
            yield
        finally:
            if is_outermost:
                self._group_threads.discard(me)

    def _is_for_group(self) -> bool:
        return threading.get_ident() in self._group_threads

    def _pause(self) -> bool:
        """Stop the loop, to be started again soon."""
        with self._for_group():
            return self.stop()

    def _resume(self) -> bool:
        """Start the loop again, unless it was stopped on purpose.

        Returns:
            Whether nothing went wrong: False where `on_start` raised.
        """
        self._join_ended()
        before = self._run
        with self._for_group():
            if self.is_alive:
                self.hard_reset()
            else:
                self.start()
        is_new = self._run is not None and self._run is not before
        return is_new or self._status not in (Status.FAILED, Status.PAUSED)

    def failure(self) -> bool:
        """Count a critical failure.

        Returns:
            Whether that was one too many: the green light is out now.
        """
        with self._status_lock:
            self._failures += 1
            if self._failures <= self._max_loop_failures:
                return False
            self._failures = 0
        _logger.warning("%s: more than %d failures", self, self._max_loop_failures)
        if self._stop_on_failure:
            self._pause()  # a reset starts it again
        self._put_light_out()
        return True

    def set_green_light(self, light: threading.Event | None) -> None:
        """Share *light* from now on."""
        self._green_light = light

    def _put_light_out(self) -> None:
        if self._green_light is not None:
            self._green_light.clear()


# At the interpreter's exit -----------------------------------------------------------

_EXIT_SECONDS = 5.0
# Every loop that was ever started and still exists.
_loops: weakref.WeakSet[SuperLoop] = weakref.WeakSet()
_is_registered = False


def _stop_at_exit(loop: SuperLoop) -> None:
    """Have *loop* stopped when the interpreter exits, if it runs then."""
    global _is_registered
    _loops.add(loop)
    if not _is_registered:
        import atexit

        atexit.register(_stop_all)
        _is_registered = True


def _stop_all() -> None:
    loops = [loop for loop in members_of(_loops) if loop.is_alive]
    for loop in loops:
        loop.ask_to_stop()
    end = time.monotonic() + _EXIT_SECONDS
    while any(loop.is_alive for loop in loops) and time.monotonic() < end:
        time.sleep(0.005)
    for loop in loops:
        if not loop.is_alive:
            loop.stop()


# Other kinds -------------------------------------------------------------------------


class AsyncLoop(SuperLoop):
    """A `SuperLoop` with ``async def cycle``; `stop` cancels what it awaits."""

    @abc.abstractmethod
    async def cycle(self) -> Any:
        """Do one turn of the work."""

    def _turn(self, run: Run) -> None:
        import asyncio

        try:
            run_coroutine(self._cycles(run))
        except asyncio.CancelledError:
            if not run.asked:
                raise RuntimeError("the cycle was cancelled") from None

    async def _cycles(self, run: Run) -> None:
        import asyncio

        task: asyncio.Task[Any] | None = asyncio.current_task()
        loop = asyncio.get_running_loop()
        if task is not None:
            cancel = task.cancel
            run.cancel = lambda: loop.call_soon_threadsafe(cancel)
        try:
            while not run.asked:
                run.beat = time.monotonic()
                await self.cycle()
        finally:
            run.cancel = None

    def _wake(self, run: Run) -> None:
        cancel = run.cancel
        if cancel is not None:
            # Where its event loop has closed, nothing is awaited any more.
            with contextlib.suppress(RuntimeError):
                cancel()


class ChildEnded(RuntimeError):  # noqa: N818 - what happened, in the past tense
    """The child ended by itself, or was killed by somebody else.

    Attributes:
        returncode: Its exit status; negative for the signal that killed it.
    """

    def __init__(self, command: Sequence[str], returncode: int) -> None:
        super().__init__(f"{command[0]!r} ended with {returncode}")
        self.returncode = returncode


class ProcessLoop(SuperLoop):
    """Keeps one child process running.

    Its cycle is the life of one child. Stopping asks the child (SIGTERM), waits for
    half of the grace period, then kills it.

    Args:
        command: Program and arguments.
        *args: Positional arguments of `SuperLoop`.
        **kwargs: Further arguments of `SuperLoop`; ``popen`` are those of
            `subprocess.Popen`.
    """

    def __init__(self, command: Sequence[str], *args: Any, **kwargs: Any) -> None:
        self._popen = kwargs.pop("popen", {})
        super().__init__(*args, **kwargs)
        self.command: list[str] = list(command)
        self.child: subprocess.Popen[Any] | None = None

    @property
    def pid(self) -> int:
        """Number of the child that lives, or 0."""
        child = self.child
        return child.pid if child is not None and child.returncode is None else 0

    def cycle(self) -> None:
        """Start a child and wait for its end.

        Raises:
            ChildEnded: It ended with an error, and nobody had asked it to.
        """
        import subprocess

        run = self._run_of_this_thread()
        child = subprocess.Popen(self.command, **self._popen)  # noqa: S603 - its job
        self.child = child
        try:
            while child.poll() is None:
                if run is not None and run.asked:
                    return
                try:
                    child.wait(0.05)
                except subprocess.TimeoutExpired:
                    self.beat()
        finally:
            self._end(child)
        if child.returncode:
            raise ChildEnded(self.command, child.returncode)
        raise SystemExit  # a good end: only a permanent child is started again

    def _end(self, child: subprocess.Popen[Any]) -> None:
        if child.poll() is not None:
            return
        child.terminate()
        end = time.monotonic() + self._grace_period / 2
        while child.poll() is None and time.monotonic() < end:
            time.sleep(0.005)
        if child.poll() is None:
            child.kill()
        child.wait()
