"""Run photons' code in threads, each piece of it under a deadline.

The import of a photon and its plain functions may block. So they never run on an event
loop, and an event loop waits for them only until their deadline.
"""

from __future__ import annotations

import contextvars
import os
import sys
import threading
import time
import types
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import attrs

from luminal._plain import note_text
from luminal._running_loop import running_loop
from luminal.errors import PhotonTimeoutError
from luminal.supervise import (
    begin_noting,
    end_noting,
    own_thread_of_step,
    started_for_step,
    unowned,
    unwrapped,
)

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future
    from collections.abc import Callable, Coroutine, Generator, Sequence
    from types import FrameType

    from luminal.model import Deadlines

    _Work = tuple[Callable[[], object], Callable[[], object]]

__all__ = [
    "Result",
    "WorkerTask",
    "WorkerThread",
    "abandoned",
    "describe_position",
    "reach_loop",
    "run_each_in_thread",
    "run_from_thread",
    "run_in_thread",
    "run_on_worker",
]

_INTERVAL = 0.05
"""Seconds between questions whether to cancel what a thread waits for."""

_STANDARD = os.path.dirname(os.__file__) + os.sep

T = TypeVar("T")

abandoned: set[threading.Thread] = set()
"""Threads that passed their deadline and still run; each is removed when it ends."""


@attrs.define
class Result(Generic[T]):
    """How a piece of work ended: with a value, or with what it raised."""

    value: T | None = None
    error: BaseException | None = None


class _LoopEvent:
    """An event that a thread sets and a coroutine waits for."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        self.loop = loop
        self.is_set = False
        # The present wait, which ends when the event is set or the time is over.
        self._waiter: Future[None] | None = None

    def set(self) -> None:
        """Set the event; called in a thread."""
        try:  # noqa: SIM105 - in each reload
            unwrapped(self.loop.call_soon_threadsafe)(self._set)
        except RuntimeError:  # the loop was closed: no coroutine waits
            pass

    def _set(self) -> None:
        self.is_set = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self, seconds: float) -> bool:
        """Wait for the event, at most *seconds*; return whether it is set."""
        if not self.is_set:
            # `asyncio.wait` would take another iteration of the loop.
            self._waiter = self.loop.create_future()
            until = self.loop.time() + seconds
            timer = unwrapped(self.loop.call_at)(until, self._wake)
            try:
                await self._waiter
            finally:
                timer.cancel()
        return self.is_set


class _JobQueue(Generic[T]):
    """Jobs that a thread runs in turn; the thread can be given up during each."""

    def __init__(
        self,
        jobs: Sequence[Callable[[], T]],
        results: list[Result[T] | None],
        done: _LoopEvent,
        position: int,
    ) -> None:
        self.jobs = jobs
        self.results = results
        self.done = done
        self.position = position
        # `time.monotonic()` at which the present job began.
        self.began: float = time.monotonic()
        self.is_given_up = False
        # Guards position, results and is_given_up: a job's end and its deadline race.
        self.lock: threading.Lock = threading.Lock()

    def run(self) -> None:
        """Run the jobs, and set the event; in the thread."""
        self.run_jobs()
        self.done.set()

    def run_jobs(self) -> None:
        """Run the jobs; in the thread."""
        while self.position < len(self.jobs):
            # The thread may be given up even before the first job.
            job = None if self.is_given_up else self.jobs[self.position]
            result = _capture(job) if job is not None else None
            # No function of ours in here: a halt arrives where one begins.
            with self.lock:
                if self.is_given_up:
                    abandoned.discard(threading.current_thread())
                    return
                self.results[self.position] = result
                self.position += 1
                self.began = time.monotonic()

    def give_up(self, thread: threading.Thread, deadline: float) -> bool:
        """Abandon *thread* if its job has passed *deadline*; return whether it has."""
        with self.lock:
            is_late = time.monotonic() - self.began >= deadline
            if not is_late or self.position >= len(self.jobs):
                return False
            abandoned.add(thread)
            self.is_given_up = True
            self.results[self.position] = Result(error=_timeout(thread, deadline))
            return True


def _capture(
    job: Callable[[], T], context: contextvars.Context | None = None
) -> Result[T]:
    try:
        return Result(job() if context is None else context.run(job))
    except BaseException as error:  # noqa: BLE001 - also SystemExit is only a failure
        note_text(error)  # here, where it may hang until the deadline
        return Result(error=error)


def _timeout(thread: threading.Thread, deadline: float) -> PhotonTimeoutError:
    """Return the error of what *thread* does, which names the line."""
    frame = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001 - documented
    frames: list[FrameType] = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return PhotonTimeoutError(
        f"timed out after {deadline:g} seconds",
        why=f"it was {describe_position(frames)}",
        hint="do less there, or give it a longer deadline",
    )


def describe_position(frames: Sequence[FrameType]) -> str:
    """Return the first line of *frames* outside the standard library.

    Args:
        frames: The innermost first.

    Returns:
        Text such as ``at file:line``.
    """
    for frame in frames:
        if not frame.f_code.co_filename.startswith(_STANDARD):
            return f"at {frame.f_code.co_filename}:{frame.f_lineno}"
    return "at an unknown place"


async def run_each_in_thread(
    jobs: Sequence[Callable[[], T]],
    deadline: float,
    name: str,
    on_give_up: Callable[[int], object] = lambda _: None,
    *,
    is_owned: bool = False,
) -> list[Result[T]]:
    """Run *jobs* in turn on a thread of their own.

    A job that is not over after *deadline* is given up together with its thread. The
    remaining jobs run on another thread.

    Args:
        jobs: Functions without arguments.
        deadline: Seconds for each.
        name: Name of the thread.
        on_give_up: Called with the index of a job that was given up, also when the
            caller itself is cancelled.
        is_owned: Whether the thread ends with the photon a step of which runs here.
            What serves the host must not end with a photon.

    Returns:
        A result for each job; `PhotonTimeoutError` for those that were given up.
    """
    import asyncio

    loop = await reach_loop()
    results: list[Result[Any] | None] = [None] * len(jobs)
    position = 0
    while position < len(jobs):
        done = _LoopEvent(loop)
        queue = _JobQueue(jobs, results, done, position)
        context = contextvars.copy_context()
        thread = threading.Thread(
            target=context.run, args=(queue.run,), name=name, daemon=True
        )
        try:
            with started_for_step() if is_owned else unowned():
                thread.start()
        except RuntimeError:
            if threading.main_thread().is_alive():
                raise
            # Python 3.12.0 and 3.12.1 start no thread while they exit.
            context.run(queue.run_jobs)
            break
        try:
            position = await _wait(queue, thread, deadline)
        except asyncio.CancelledError:
            if queue.give_up(thread, 0.0):
                on_give_up(queue.position)
            raise
        if queue.is_given_up:
            on_give_up(position - 1)
    return [result or Result() for result in results]


async def _wait(
    queue: _JobQueue[Any], thread: threading.Thread, deadline: float
) -> int:
    """Wait until all jobs are done or one is given up; return the next position."""
    while True:
        left = queue.began + deadline - time.monotonic()
        if await queue.done.wait(max(left, 0.001)):
            # It has nothing left to do; now it is in no list of threads any more.
            thread.join()
            return len(queue.jobs)
        if queue.give_up(thread, deadline):
            return queue.position + 1


async def run_in_thread(
    job: Callable[[], T], deadline: float, name: str, *, is_owned: bool = False
) -> Result[T]:
    """Run one *job* on a thread of its own, for at most *deadline* seconds.

    For a coroutine that a worker runs, the worker calls the job, see `WorkerTask`.
    """
    if running_loop() is not None:
        return (await run_each_in_thread([job], deadline, name, is_owned=is_owned))[0]
    call = _Call(job, deadline, is_owned)
    await _leave(call)
    return call.result or Result()


def _forget_event_loop() -> None:
    """Forget what a job has set for this thread: the next one has another photon."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is not None:
        asyncio.set_event_loop(None)


async def reach_loop() -> AbstractEventLoop:
    """Return the running event loop; a coroutine that a worker runs leaves it first.

    Whatever awaits something that only an event loop provides begins with this, if a
    `WorkerTask` may get there.
    """
    import asyncio

    if running_loop() is None:
        await _leave(None)
    return asyncio.get_running_loop()


class _Call:
    """What a coroutine on a worker wants called."""

    def __init__(
        self,
        job: Callable[[], Any],
        deadline: float,
        is_owned: bool,
        result: Result[Any] | None = None,
    ) -> None:
        self.job = job
        self.deadline = deadline
        self.is_owned = is_owned
        self.result = result


@types.coroutine
def _leave(call: _Call | None) -> Generator[_Call | None, None, None]:
    """Suspend a coroutine on a worker: for *call*, or to go on on an event loop."""
    yield call


@attrs.define(eq=False, repr=False)
class WorkerTask(Generic[T]):
    """A coroutine that a worker's thread runs as far as it needs no event loop.

    The coroutine is suspended while code of photons runs: what it asks `run_in_thread`
    for is called from here. Where that passes its deadline, the thread is given up, and
    the coroutine goes on on an event loop. It also does where it calls `reach_loop`.

    Args:
        worker: Whose thread it is.
        coroutine: Not begun yet. It does not block, but in what it lets be called.
        patience: The shortest deadline of that, in seconds.

    Attributes:
        result: How the coroutine ended; None where it has not, see `finish`.
    """

    worker: WorkerThread
    coroutine: Coroutine[Any, Any, T]
    patience: float
    result: Result[T] | None = None
    _context: contextvars.Context = attrs.field(init=False)
    _running: _Running = attrs.field(init=False)
    # What is being called, and since when.
    _call: _Call | None = None
    _began: float = 0.0
    _is_suspended: bool = True
    # The worker must not let the coroutine go on.
    _is_taken: bool = False
    # Guards the four above: the end of a call and its deadline race.
    _lock: threading.Lock = attrs.Factory(threading.Lock)

    def __attrs_post_init__(self) -> None:
        self._context = contextvars.copy_context()

    def start(self, done: Callable[[], object]) -> None:
        """Begin, and call *done* on the worker's thread when there is no more to do."""
        self._running = self.worker.submit(self._run, done)

    def _run(self) -> None:
        """Run the coroutine; in the worker's thread."""
        with self._lock:
            self._is_suspended = is_over = self._is_taken
        if is_over:
            return
        has_called = False
        while (call := self._context.run(self._resume)) is not None:
            if not self._begin(call):
                return
            if has_called:
                _forget_event_loop()
            has_called = True
            result = _capture(call.job, self._context.copy())
            # No function of ours in here: a halt arrives where one begins.
            with self._lock:
                if self._is_taken:
                    abandoned.discard(threading.current_thread())
                    return
                self._is_suspended = False
            call.result = result

    def _resume(self) -> _Call | None:
        """Run the coroutine to its next call; None: it has ended, or needs a loop."""
        call: _Call | None = None
        try:
            call = self.coroutine.send(None)
        except StopIteration as stop:
            self.result = Result(stop.value)
        except BaseException as error:  # noqa: BLE001 - raised where it is awaited
            self.result = Result(error=error)
        if call is None:
            with self._lock:
                self._call, self._is_suspended = None, True
        return call

    def _begin(self, call: _Call) -> bool:
        """Note that *call* is made now; False: the coroutine was taken away."""
        with self._lock:
            self._call, self._began = call, time.monotonic()
            self._is_suspended = True
            return not self._is_taken

    def seconds_left(self) -> float:
        """Return the seconds after which a deadline may have passed."""
        with self._lock:
            left = self.patience
            if self._call is not None:
                left = min(left, self._began + self._call.deadline - time.monotonic())
        return max(left, 0.001)

    def give_up(self) -> bool:
        """Take the coroutine from the worker if what it calls is late.

        Returns:
            Whether it was taken.
        """
        with self._lock:
            call = self._call
            if call is None or time.monotonic() - self._began < call.deadline:
                return False
            self._abandon(call)
            return True

    def take(self) -> bool:
        """Take the coroutine from the worker.

        Returns:
            Whether it was taken. Else it executes just now, and the worker lets go of
            it in a moment.
        """
        with self._lock:
            self._is_taken = True
            if self._is_suspended and self._call is not None:
                self._abandon(self._call)
            return self._is_suspended

    def _abandon(self, call: _Call) -> None:
        """Give up the thread, which executes *call*."""
        self._is_taken = True
        thread = self._running.thread
        abandoned.add(thread)
        call.result = Result(error=_timeout(thread, call.deadline))
        self.worker.abandon(self._running)
        if call.is_owned:  # it ends with what the photon has started
            self._context.copy().run(own_thread_of_step, thread)

    async def finish(self, error: BaseException | None = None) -> T:
        """Let the coroutine go on on this loop, and return its result.

        Args:
            error: Raised in the coroutine first.

        Raises:
            BaseException: Whatever the coroutine raised.
        """
        import asyncio

        has_begun = False

        async def go_on() -> T:
            nonlocal has_begun
            has_begun = True
            return await _resumed(self.coroutine, error)

        while True:
            # In its own context, where it has set variables that it will reset.
            rest = asyncio.create_task(go_on(), context=self._context)
            try:
                return await rest
            except asyncio.CancelledError as cancelled:
                if has_begun:
                    raise
                error = cancelled


@types.coroutine
def _resumed(
    coroutine: Coroutine[Any, Any, T], error: BaseException | None
) -> Generator[Any, Any, T]:
    """Await a coroutine that has begun; ``await`` itself refuses it."""
    value: Any = None
    while True:
        try:
            wanted = coroutine.throw(error) if error else coroutine.send(value)
        except StopIteration as stop:
            result: T = stop.value
            return result
        value = error = None
        try:
            value = yield wanted
        except BaseException as raised:  # noqa: BLE001 - the coroutine handles it
            error = raised


def run_on_worker(
    worker: WorkerThread, coroutine: Coroutine[Any, Any, T], deadlines: Deadlines
) -> Coroutine[Any, Any, T]:
    """Run *coroutine* as a `WorkerTask` as far as possible, the rest on this loop.

    Args:
        worker: See `WorkerTask`. Where no loop runs here, a worker runs the caller, and
            the coroutine with it.
        coroutine: Likewise.
        deadlines: The shortest one is the task's patience.

    Raises:
        asyncio.CancelledError: The caller was cancelled; so was the coroutine.
        BaseException: Whatever it raised.
    """
    if running_loop() is None:
        return coroutine
    return _from_loop(worker, coroutine, deadlines.shortest)


async def _from_loop(
    worker: WorkerThread, coroutine: Coroutine[Any, Any, T], patience: float
) -> T:
    """Do what `run_on_worker` does, on an event loop."""
    import asyncio

    task = WorkerTask(worker, coroutine, patience)
    done = _LoopEvent(asyncio.get_running_loop())
    task.start(done.set)
    try:
        while not await done.wait(task.seconds_left()):
            if task.give_up():
                break
    except asyncio.CancelledError as cancelled:
        while not task.take():
            with suppress(asyncio.CancelledError):
                await done.wait(1.0)
        if task.result is None:
            with suppress(BaseException):
                await task.finish(cancelled)
        raise
    return _value_of(task.result) if task.result else await task.finish()


def run_from_thread(
    worker: WorkerThread,
    coroutine: Coroutine[Any, Any, T],
    patience: float,
    run: Callable[[Coroutine[Any, Any, T]], T],
    is_halted: Callable[[], bool] | None = None,
) -> T:
    """Run *coroutine* as a `WorkerTask` as far as possible, the rest with *run*.

    Args:
        worker: See `WorkerTask`.
        coroutine: Likewise.
        patience: Likewise.
        run: Runs a coroutine on an event loop, and returns its result.
        is_halted: Asked again and again while it waits: whether to cancel it.

    Raises:
        KeyboardInterrupt: The caller was interrupted; the coroutine was cancelled.
        asyncio.CancelledError: It was halted.
        BaseException: Whatever it raised.
    """
    task = WorkerTask(worker, coroutine, patience)
    done = threading.Lock()
    done.acquire()
    try:
        task.start(done.release)
        most = _INTERVAL if is_halted is not None else threading.TIMEOUT_MAX
        while not done.acquire(timeout=min(task.seconds_left(), most)):
            if task.give_up():
                break
            if is_halted is not None and is_halted():
                from asyncio import CancelledError

                raise CancelledError  # noqa: TRY301 - it ends as a Ctrl-C does
    except BaseException:  # a Ctrl-C, or a halt
        from asyncio import CancelledError

        while not task.take():
            done.acquire(timeout=1.0)
        if task.result is None:
            with suppress(BaseException):
                run(task.finish(CancelledError()))
        raise
    return _value_of(task.result) if task.result else run(task.finish())


def _value_of(result: Result[T]) -> T:
    if result.error is not None:
        raise result.error
    return result.value  # type: ignore[return-value]


class _Running:
    """A thread and its queue of work; None is the end of it."""

    thread: threading.Thread

    def __init__(self) -> None:
        self.work: SimpleQueue[_Work | None] = SimpleQueue()
        # What it executes may be halted, and the thread with it.
        self.is_given_up = False
        # After a fork there is no thread of it.
        self.process: int = os.getpid()
        self.has_failed: bool = False
        self.thread = threading.Thread(
            target=self._run, name="luminal-worker", daemon=True
        )
        with unowned():
            self.thread.start()

    def _run(self) -> None:
        try:
            _serve(self.work)
        except BaseException as error:
            if issubclass(type(error), Exception) or not self.is_given_up:
                self.has_failed = True
                raise


def _serve(work: SimpleQueue[_Work | None]) -> None:
    while (given := work.get()) is not None:
        job, done = given
        is_new = begin_noting()  # it may hang, and is halted then
        try:
            job()
        finally:
            if is_new:
                end_noting()
        # No reference to the photon remains here when its reload goes on. What it has
        # put into a `threading.local` belongs to that object, not to the thread.
        del job, given
        done()
        del done
        _forget_event_loop()


class WorkerThread:
    """The thread on which a host stages and starts the generations of its reloads.

    It waits for work from the first reload on. On a busy host a reload takes twice as
    long where each one starts a thread of its own.
    """

    def __init__(self) -> None:
        self._running: _Running | None = None
        self._lock: threading.Lock = threading.Lock()

    def start(self) -> None:
        """Start the thread, unless it runs."""
        with self._lock:
            if not self._runs():
                self._running = _Running()

    def _runs(self) -> bool:
        running = self._running
        return (
            running is not None
            and not running.has_failed
            and running.process == os.getpid()
        )

    def submit(self, job: Callable[[], object], done: Callable[[], object]) -> _Running:
        """Let the thread call *job*, then *done*.

        Returns:
            The thread and its queue. Where it does not run, it is one of their own.
        """
        with self._lock:
            running = self._running if self._runs() else None
            if running is None:
                running = _Running()
                running.work.put((job, done))
                running.work.put(None)
            else:
                running.work.put((job, done))
            return running

    def call_soon(self, function: Callable[[], object]) -> None:
        """Let the thread call *function*, if it runs; safe in a garbage collection."""
        running = self._running
        if running is not None:
            running.work.put((function, _do_nothing))

    def abandon(self, running: _Running) -> None:
        """Use a thread no more: it ends with its job, and another does the rest."""
        running.is_given_up = True
        with self._lock:
            if self._running is not running:
                return
            self._running, waiting = None, []
            with suppress(Empty):
                while True:
                    waiting.append(running.work.get_nowait())
            running.work.put(None)
            if waiting:
                self._running = _Running()
                for given in waiting:
                    self._running.work.put(given)

    def stop(self) -> None:
        """End the thread, and wait for that up to a second."""
        with self._lock:
            running, self._running = self._running, None
        if running is not None:
            running.work.put(None)
            if running.thread is not threading.current_thread():
                running.thread.join(1.0)


def _do_nothing() -> None:
    pass
