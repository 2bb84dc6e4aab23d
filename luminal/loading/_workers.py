"""Run photons' code in threads, each piece of it under a deadline.

The import of a photon and its plain functions may block. So they never run on an event
loop, and an event loop waits for them only until their deadline.
"""

from __future__ import annotations

import contextvars
import gc
import os
import sys
import threading
import time
from contextlib import contextmanager, nullcontext, suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import attrs

from luminal.errors import PhotonTimeoutError
from luminal.supervise import unowned

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType

    _Work = tuple[Callable[[], object], Callable[[], object]]

__all__ = [
    "Result",
    "WorkerThread",
    "abandoned",
    "collecting_rarely",
    "describe_position",
    "run_each_in_thread",
    "run_in_thread",
    "run_in_worker",
]

_STANDARD = os.path.dirname(os.__file__) + os.sep

T = TypeVar("T")

abandoned: set[threading.Thread] = set()
"""Threads that passed their deadline and still run; each is removed when it ends."""


@attrs.define
class Result(Generic[T]):
    """How a piece of work ended: with a value, or with what it raised."""

    value: T | None = None
    error: BaseException | None = None


@attrs.define(eq=False)
class _LoopEvent:
    """An event that a thread sets and a coroutine waits for."""

    loop: AbstractEventLoop
    is_set: bool = False
    # The present wait, which ends when the event is set or the time is over.
    _waiter: Future[None] | None = None

    def set(self) -> None:
        """Set the event; called in a thread."""
        with suppress(RuntimeError):  # the loop was closed: no coroutine waits
            self.loop.call_soon_threadsafe(self._set)

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
            timer = self.loop.call_later(seconds, self._wake)
            try:
                await self._waiter
            finally:
                timer.cancel()
        return self.is_set


@attrs.define(eq=False)
class _JobQueue(Generic[T]):
    """Jobs that a thread runs in turn; the thread can be given up during each."""

    jobs: Sequence[Callable[[], T]]
    results: list[Result[T] | None]
    done: _LoopEvent
    position: int = 0
    # `time.monotonic()` at which the present job began.
    began: float = attrs.Factory(time.monotonic)
    is_given_up: bool = False
    # Guards position, results and is_given_up: a job's end and its deadline race.
    lock: threading.Lock = attrs.Factory(threading.Lock)

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
            late = PhotonTimeoutError(
                f"timed out after {deadline:g} seconds",
                why=f"it was {_position_of(thread)}",
                hint="do less there, or give it a longer deadline",
            )
            self.results[self.position] = Result(error=late)
            return True


def _capture(job: Callable[[], T]) -> Result[T]:
    result: Result[T] = Result()
    # `result` is made before the job: a thread that is being halted must not enter a
    # function of ours while it handles the halt's exception. CPython 3.11 has crashed
    # there.
    try:
        result.value = job()
    except BaseException as error:  # noqa: BLE001 - also SystemExit is only a failure
        result.error = error
    return result


def _position_of(thread: threading.Thread) -> str:
    """Return the line that *thread* executes, as ``at file:line``."""
    frame = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001 - documented
    frames: list[FrameType] = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return describe_position(frames)


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
        is_owned: Whether thread and jobs belong to the photon whose code runs now, as
            its own steps do. What serves the host must not end with a photon.

    Returns:
        A result for each job; `PhotonTimeoutError` for those that were given up.
    """
    import asyncio

    results: list[Result[Any] | None] = [None] * len(jobs)
    position = 0
    while position < len(jobs):
        done = _LoopEvent(asyncio.get_running_loop())
        queue = _JobQueue(jobs, results, done, position)
        with nullcontext() if is_owned else unowned():
            context = contextvars.copy_context()
            thread = threading.Thread(
                target=context.run, args=(queue.run,), name=name, daemon=True
            )
            thread.start()
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
    """Run one *job* on a thread of its own, for at most *deadline* seconds."""
    return (await run_each_in_thread([job], deadline, name, is_owned=is_owned))[0]


async def run_in_worker(
    worker: WorkerThread, job: Callable[[], T], deadline: float
) -> Result[T]:
    """Run *job* on the thread of *worker*; without one, on a thread of its own.

    Args:
        worker: May have a thread.
        job: A function without arguments.
        deadline: Seconds that it may take; then it is given up, with the thread.
    """
    import asyncio

    done = _LoopEvent(asyncio.get_running_loop())
    queue: _JobQueue[T] = _JobQueue([job], [None], done)
    with unowned():
        context = contextvars.copy_context()
    thread = worker.submit(lambda: context.run(queue.run_jobs), done.set)
    if thread is None:
        return await run_in_thread(job, deadline, "luminal-stage")
    try:
        while not await done.wait(queue.began + deadline - time.monotonic()):
            if queue.give_up(thread, deadline):
                break
    except asyncio.CancelledError:
        queue.give_up(thread, 0.0)
        raise
    finally:
        if queue.is_given_up:
            worker.abandon(thread)
    return queue.results[0] or Result()


@attrs.define(eq=False)
class _Running:
    """A thread and its queue of work; None is the end of it."""

    work: SimpleQueue[_Work | None] = attrs.Factory(SimpleQueue)
    thread: threading.Thread = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.thread = threading.Thread(
            target=_serve, args=(self.work,), name="luminal-stage", daemon=True
        )
        with unowned():
            self.thread.start()


def _serve(work: SimpleQueue[_Work | None]) -> None:
    while (given := work.get()) is not None:
        job, done = given
        job()
        # No reference to the photon remains here when its reload goes on. What it has
        # put into a `threading.local` belongs to that object, not to the thread.
        del job, given
        done()
        del done


@attrs.define(eq=False)
class WorkerThread:
    """The thread on which a host stages the generations of its reloads.

    It waits for work from the first reload on. On a busy host a reload takes twice as
    long where each one starts a thread of its own.
    """

    _running: _Running | None = None
    _lock: threading.Lock = attrs.Factory(threading.Lock)

    def start(self) -> None:
        """Start the thread, unless it runs."""
        with self._lock:
            # After a fork it does not.
            if self._running is None or not self._running.thread.is_alive():
                self._running = _Running()

    def submit(
        self, job: Callable[[], object], done: Callable[[], object]
    ) -> threading.Thread | None:
        """Let the thread call *job*, then *done*.

        Returns:
            The thread; None where it does not run, and neither is called.
        """
        with self._lock:
            if self._running is None or not self._running.thread.is_alive():
                return None
            self._running.work.put((job, done))
            return self._running.thread

    def abandon(self, thread: threading.Thread) -> None:
        """Use *thread* no more; it ends when its job does."""
        with self._lock:
            if self._running is not None and self._running.thread is thread:
                self._running.work.put(None)
                self._running = None

    def stop(self) -> None:
        """End the thread, and wait for that up to a second."""
        with self._lock:
            running, self._running = self._running, None
        if running is not None:
            running.work.put(None)
            if running.thread is not threading.current_thread():
                running.thread.join(1.0)


_MANY = 100
"""A load of fewer modules does not touch the collector."""
_NEW = 50_000
"""New objects after which the collector runs during a load; the default is 700."""

_lock = threading.Lock()
# The setting is the process's, and several loaders may be at work.
_users = 0
_before = (0, 0, 0)


@contextmanager
def collecting_rarely(modules: int) -> Iterator[None]:
    """Let the garbage collector run less often within a block.

    A thousand modules start dozens of collections that find nothing and take a fifth
    of the time of the load. The collector is not switched off, since photons' code
    runs. Where the host has switched it off, or lets it run still less often, nothing
    changes.

    Args:
        modules: How many are to be made; for a few nothing changes.
    """
    global _users, _before
    if modules < _MANY:
        yield
        return
    with _lock:
        _users += 1
        if _users == 1:
            _before = gc.get_threshold()
            if 0 < _before[0] < _NEW:
                gc.set_threshold(_NEW, *_before[1:])
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            is_ours = gc.get_threshold() == (_NEW, *_before[1:])
            if _users == 0 and is_ours:
                gc.set_threshold(*_before)
