"""A supervised child process: started again by the rules when it ends unasked."""

from __future__ import annotations

import abc
import contextlib
import enum
import functools
import logging
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable  # noqa: TC003 - attrs reads it
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from luminal.supervise._threads import TracedThread

if TYPE_CHECKING:
    import asyncio
    import subprocess
    from collections.abc import Iterator, Sequence

__all__ = [
    "AsyncLoop",
    "Backoff",
    "ChildEnded",
    "Cycling",
    "Intensity",
    "Liveness",
    "ProcessLoop",
    "Restart",
    "RestartLog",
    "Run",
    "Strategy",
    "SuperLoop",
    "stop_at_exit",
]


class Strategy(enum.StrEnum):
    """Which loops of a group are restarted when one of them fails."""

    ONE_FOR_ONE = "one-for-one"
    ONE_FOR_ALL = "one-for-all"
    REST_FOR_ONE = "rest-for-one"


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


@attrs.frozen
class Intensity:
    """How many restarts within which time are too many.

    Attributes:
        restarts: This many are allowed;
        period: within this many seconds. One more, and the group gives up.
    """

    restarts: int = 10
    period: float = 60.0


@attrs.define
class RestartLog:
    """Counts the restarts of one loop, or of one group; owned by its controller."""

    times: deque[float] = attrs.field(factory=deque)
    total: int = 0
    in_a_row: int = 0
    last: float = float("-inf")

    def pause(self, backoff: Backoff, now: float) -> float:
        """Return the pause before a restart that becomes due at *now*."""
        if now - self.last > backoff.healthy_after:
            self.in_a_row = 0
        return backoff.pause(self.in_a_row)

    def note(self, intensity: Intensity, now: float) -> bool:
        """Count a restart at *now*; False where it is one too many."""
        self.times.append(now)
        while self.times and now - self.times[0] > intensity.period:
            self.times.popleft()
        self.total += 1
        self.in_a_row += 1
        self.last = now
        return len(self.times) <= intensity.restarts

    def forget(self) -> None:
        """Begin a new row and a new period; `total` stays."""
        self.times.clear()
        self.in_a_row = 0


@attrs.define(eq=False)
class Run:
    """One start of a loop: its thread, and what that thread was told.

    Attributes:
        stopping: Set once; the thread ends after the cycle under way.
        begun: Set when ``on_thread_start`` has run.
        settled: Set when the `start` that made it is through.
        asked: When it was first asked to stop, `time.monotonic`; 0 before.
        beat: When the last cycle began, `time.monotonic`.
        error: What ended it, where that was an exception.
        is_over: Its cycles have ended; the thread is about to.
        is_killed: It was given up; it may still be alive.
        cancel: Cancels what the cycle awaits, from any thread; None where it awaits
            nothing.
        on_stop: Arguments for ``on_stop``, while that is still owed.
    """

    thread: TracedThread
    stopping: threading.Event = attrs.field(factory=threading.Event)
    begun: threading.Event = attrs.field(factory=threading.Event)
    settled: threading.Event = attrs.field(factory=threading.Event)
    asked: float = 0.0
    beat: float = attrs.field(factory=time.monotonic)
    error: BaseException | None = None
    is_killed: bool = False
    is_over: bool = False
    cancel: Callable[[], object] | None = None
    on_stop: tuple[tuple[Any, ...], dict[str, Any]] | None = None

    def ask(self) -> None:
        """Tell the thread to end after its present cycle."""
        if not self.asked:
            self.asked = time.monotonic()
        self.stopping.set()

    def wait(self, until: float) -> bool:
        """Wait for the end of the thread; return whether it has ended.

        Args:
            until: How long at most, by `time.monotonic`.
        """
        # A thread that is just being started cannot be joined yet.
        self.settled.wait(max(0.0, until - time.monotonic()))
        if self.thread.ident is None:
            return self.settled.is_set()  # it could not be started, or may be yet
        self.thread.join(max(0.0, until - time.monotonic()))
        return not self.thread.is_alive()


class Running(Protocol):
    """A loop, as far as it matters here."""

    @property
    def is_alive(self) -> bool:
        """Whether its thread runs."""

    def ask_to_stop(self) -> None:
        """Tell it to stop, and do not wait."""

    def stop(self) -> Any:
        """Stop it."""


_DEADLINE_SECONDS = 5.0
# Everything that was ever started and still exists; registered with atexit once.
_loops: weakref.WeakSet[Running] = weakref.WeakSet()
_is_registered = False


def stop_at_exit(loop: Running) -> None:
    """Have *loop* stopped when the interpreter exits, if it runs then."""
    global _is_registered
    _loops.add(loop)
    if not _is_registered:
        import atexit

        atexit.register(_stop_all)
        _is_registered = True


def _stop_all() -> None:
    loops = [loop for loop in list(_loops) if loop.is_alive]
    for loop in loops:
        loop.ask_to_stop()
    end = time.monotonic() + _DEADLINE_SECONDS
    while any(loop.is_alive for loop in loops) and time.monotonic() < end:
        time.sleep(0.005)
    for loop in loops:
        if not loop.is_alive:
            loop.stop()


class Liveness:
    """The readable half of a `SuperLoop`.

    Attributes:
        stall_after: Seconds without a new cycle after which it counts as hung; None
            where a cycle may take any time.
    """

    def __init__(self, stall_after: float | None) -> None:
        self.stall_after = stall_after
        # Guards what `SuperLoop` changes; never held while code of a subclass runs.
        self._state = threading.RLock()
        self._run: Run | None = None
        self._abandoned: list[Run] = []
        self._is_stopped = False

    @property
    def is_alive(self) -> bool:
        """Whether its thread lives; also true of one that does not stop."""
        run = self._run
        return run is not None and run.thread.is_alive()

    @property
    def running(self) -> bool:
        """Whether it cycles: alive, not at its end, and not told to stop."""
        run = self._run
        if run is None or run.asked or run.is_over:
            return False
        return run.thread.is_alive()

    @property
    def is_stopped(self) -> bool:
        """Whether it was stopped on purpose, since its last start."""
        return self._is_stopped

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

    def beat(self) -> None:
        """Say, from within a long cycle, that the loop is not hung."""
        run = self._run_of_this_thread()
        if run is not None:
            run.beat = time.monotonic()

    def _run_of_this_thread(self) -> Run | None:
        me = threading.current_thread()
        with self._state:
            runs = [self._run, *self._abandoned]
        return next((run for run in runs if run and run.thread is me), None)


class Supervisor(Protocol):
    """Who hears that a loop has ended unasked."""

    def heard_of_end(self, loop: Cycling, run: Run) -> bool:
        """Return whether it answers to that by itself."""


class Cycling(Liveness, abc.ABC):
    """The half of a `SuperLoop` that runs in the loop's own thread."""

    def __init__(
        self,
        green_light: threading.Event | None,
        grace_period: float,
        stall_after: float | None,
    ) -> None:
        super().__init__(stall_after)
        self._green_light = green_light
        self._grace_period = grace_period
        # Written under `_state` only.
        self._controller: Supervisor | None = None

    @abc.abstractmethod
    def cycle(self) -> Any:
        """Do one turn of the work."""

    def on_start(self, *_args: Any, **_kwargs: Any) -> bool | None:
        """Prepare, in the caller's thread; ``False`` or an exception cancels."""
        return True

    def on_stop(self, *_args: Any, **_kwargs: Any) -> None:
        """Clean up after the thread has ended, in the thread that stopped it."""

    def on_thread_start(self) -> None:
        """Prepare, in the loop's own thread."""

    def on_thread_stop(self) -> None:
        """Clean up, in the loop's own thread, however it ends."""

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
        except Exception as error:
            run.error = error
            _logger.exception("%s: ended by an exception", run.thread.name)
        except BaseException as error:
            run.error = error
            if not isinstance(error, SystemExit):
                raise
        finally:
            run.is_over = True
            self._ended(run)

    def _turn(self, run: Run) -> None:
        while not run.stopping.is_set():
            run.beat = time.monotonic()
            self.cycle()

    def _ended(self, run: Run) -> None:
        # A restart before `start` is through would be taken for a second one.
        run.settled.wait(self._grace_period)
        if not run.is_killed:  # else who gave it up does so, before a new one starts
            self._pay_on_stop(run)
        if run.stopping.is_set() or run.is_killed:
            return
        # It was not asked to: its group hears of it.
        controller = self._controller
        is_heard = controller is not None and controller.heard_of_end(self, run)
        if not is_heard and run.error is not None:
            self._put_light_out()

    def _put_light_out(self) -> None:
        if self._green_light is not None:
            self._green_light.clear()

    def _pay_on_stop(self, run: Run) -> None:
        with self._state:
            owed, run.on_stop = run.on_stop, None
        if owed is not None:
            try:
                self.on_stop(*owed[0], **owed[1])
            except Exception:
                _logger.exception("%s: on_stop raised", self)

    def __str__(self) -> str:
        return type(self).__qualname__


# `start` returns when `on_thread_start` has run, or after this time.
_BEGIN_SECONDS = 0.1

_logger = logging.getLogger("luminal.supervise")


class SuperLoop(Cycling):
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
        super().__init__(green_light, grace_period, stall_after)
        self._max_loop_failures = max_loop_failures
        self._stop_on_failure = stop_on_failure
        self.reset_globally = reset_globally
        self.restart = restart
        self.backoff = backoff or Backoff()
        # Written under `_state` only.
        self._failures = 0
        self._thread_index = 0
        self._is_starting = False
        # The latest `start` ended in an exception of `on_start`.
        self._has_failed = False
        # Threads that bring it down or up by the rules of its group.
        self._rulers: set[int] = set()

    def start(self, *args: Any, **kwargs: Any) -> None:
        """Start a new thread unless one runs; arguments go to `on_start`.

        Returns when `on_thread_start` has run, or after a tenth of a second.
        """
        self._let_end()
        with self._state:
            # By the rules, what was stopped on purpose stays so.
            is_kept = self._is_ruled() and self._is_stopped
            if self._is_starting or self.is_alive or is_kept:
                return
            self._is_starting = True
            self._is_stopped = self._has_failed = False
        try:
            run = self._new_run() if self._may_start(args, kwargs) else None
            if run is None:
                return
            try:
                run.thread.start()
            finally:
                run.settled.set()
            stop_at_exit(self)
        finally:
            self._is_starting = False
        run.begun.wait(_BEGIN_SECONDS)

    def _let_end(self) -> None:
        """Wait for a thread whose cycles are over; it has only to say so."""
        run = self._run
        if run is None or not run.is_over:
            return
        if threading.current_thread() is not run.thread:
            run.thread.join(self._grace_period)

    def _may_start(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        try:
            answer = self.on_start(*args, **kwargs)
        except Exception:
            _logger.exception("%s: on_start raised, not started", self)
            self._has_failed = True
            return False
        # Only an explicit False cancels: a function that forgets to return does not.
        if answer is False:
            _logger.info("%s: on_start returned False, not started", self)
            return False
        return True

    def _new_run(self) -> Run | None:
        in_use = {thread.name for thread in threading.enumerate()}
        with self._state:
            if self._is_stopped:
                return None  # a `stop` that came while `on_start` ran is obeyed
            while (name := self.make_name(self._thread_index)) in in_use:
                self._thread_index += 1
            self._thread_index += 1
            self._failures = 0
            self._abandoned = [r for r in self._abandoned if r.thread.is_alive()]
            run = Run(TracedThread(name=name, daemon=True))
            run.thread.run = functools.partial(self._live, run)  # type: ignore[method-assign]
            self._run = run
            return run

    def stop(self, *args: Any, **kwargs: Any) -> bool:
        """Stop the thread and wait for it, at most `grace_period` seconds in all.

        Called in the loop's own thread, it returns at once; the thread ends after the
        cycle under way. Arguments go to `on_stop`, which runs when the thread has
        ended, in the caller's thread, or in the loop's where the caller did not wait
        for long enough.

        Returns:
            Whether the thread has ended.
        """
        with self._state:
            self._is_stopped = self._is_stopped or not self._is_ruled()
            run = self._run
            if run is None:
                return True
            if not run.asked and not run.is_killed:
                run.on_stop = (args, kwargs)
            run.ask()
        self._wake(run)
        if threading.current_thread() is run.thread:
            return False
        if not run.wait(run.asked + self._grace_period):
            return False
        self._pay_on_stop(run)
        return True

    def ask_to_stop(self) -> None:
        """Tell the thread to end, and do not wait; `stop` then does, from now on."""
        with self._state:
            run = self._run
            if run is not None and run.thread.is_alive() and not run.asked:
                run.on_stop = ((), {})
                run.ask()
        if run is not None:
            self._wake(run)

    def halt(self) -> None:
        """Tell the thread to stop and halt it: a cycle under way does not go on."""
        self.ask_to_stop()
        run = self._run
        if run is not None and threading.current_thread() is not run.thread:
            run.thread.halt()

    def _wake(self, run: Run) -> None:
        """End what the cycle of *run* waits for; for subclasses that know it."""

    def hard_reset(self) -> None:
        """Give the old thread up and start a new one at once, whatever the old does.

        The old thread is told to stop and to halt, never waited for, and listed in
        `abandoned` until it ends. `on_stop` and `on_start` run in between.
        """
        with self._state:
            if self._is_ruled() and self._is_stopped:
                return
            self._is_stopped = False
            run, self._run = self._run, None
            if run is not None:
                run.is_killed = True
                run.on_stop = run.on_stop or ((), {})
                run.ask()
                self._abandoned.append(run)
        if run is not None:
            self._wake(run)
            if threading.current_thread() is not run.thread:
                run.thread.halt()
            self._pay_on_stop(run)
        with self._by_the_rules():  # a `stop` that came meanwhile is obeyed
            self.start()

    @contextlib.contextmanager
    def _by_the_rules(self) -> Iterator[None]:
        """Let `stop` and `start` within the block be no orders of the host's.

        Such a stop is not on purpose, and such a start brings nothing up that was
        stopped on purpose.
        """
        me = threading.get_ident()
        is_outermost = me not in self._rulers
        self._rulers.add(me)
        try:
            yield
        finally:
            if is_outermost:
                self._rulers.discard(me)

    def _is_ruled(self) -> bool:
        return threading.get_ident() in self._rulers

    def _pause(self) -> bool:
        """Stop the loop, to be started again soon."""
        with self._by_the_rules():
            return self.stop()

    def _revive(self) -> bool:
        """Bring the loop up again, unless it was stopped on purpose.

        Returns:
            Whether nothing went wrong: False where `on_start` raised.
        """
        self._let_end()
        with self._by_the_rules():
            if self.is_alive or self.running:
                self.hard_reset()
            else:
                self.start()
        return not self._has_failed

    def failure(self) -> bool:
        """Count a critical failure.

        Returns:
            Whether that was one too many: the green light is out now.
        """
        with self._state:
            self._failures += 1
            if self._failures <= self._max_loop_failures:
                return False
            self._failures = 0
        _logger.warning("%s: more than %d failures", self, self._max_loop_failures)
        if self._stop_on_failure:
            self._pause()  # a reset starts it again
        self._put_light_out()
        return True

    def make_name(self, index: int) -> str:
        """Return the name of the thread number *index*."""
        return f"{type(self).__qualname__}_{index}"

    def set_green_light(self, light: threading.Event | None) -> None:
        """Share *light* from now on."""
        self._green_light = light


class AsyncLoop(SuperLoop):
    """A `SuperLoop` with ``async def cycle``; `stop` cancels what it awaits."""

    @abc.abstractmethod
    async def cycle(self) -> Any:
        """Do one turn of the work."""

    def _turn(self, run: Run) -> None:
        import asyncio

        try:
            asyncio.run(self._cycles(run))
        except asyncio.CancelledError:
            if not run.stopping.is_set():
                raise RuntimeError("the cycle was cancelled") from None

    async def _cycles(self, run: Run) -> None:
        import asyncio

        task: asyncio.Task[Any] | None = asyncio.current_task()
        loop = asyncio.get_running_loop()
        if task is not None:
            cancel = task.cancel
            run.cancel = lambda: loop.call_soon_threadsafe(cancel)
        try:
            while not run.stopping.is_set():
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
        self.command = list(command)
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
        run = self._run_of_this_thread()
        self._live_once(run)

    def _live_once(self, run: Run | None) -> None:
        import subprocess

        child = subprocess.Popen(self.command, **self._popen)  # noqa: S603 - its job
        self.child = child
        try:
            while child.poll() is None:
                if run is not None and (run.stopping.is_set() or run.is_killed):
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
