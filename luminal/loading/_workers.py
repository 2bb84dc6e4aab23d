"""Run a photon's code on a thread of its own, each piece under a deadline.

A photon's import and its plain functions may block. They never run on an event loop,
and a loop that waits for them waits at most as long as it was told to.
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
from luminal.supervise.owners import unowned

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

# === loading.apart ===
# Run a photon's code on a thread of its own, each piece under a deadline.
#
# A photon's import and its plain functions may block. They never run on an event loop,
# and a loop that waits for them waits at most as long as it was told to.

_STANDARD = os.path.dirname(os.__file__) + os.sep

T = TypeVar("T")

abandoned: set[threading.Thread] = set()
"""Threads that were given up on and still run; each leaves when it ends."""


@attrs.define
class Result(Generic[T]):
    """How a piece of work ended: with a value, or with what it raised."""

    value: T | None = None
    error: BaseException | None = None


@attrs.define(eq=False)
class _Bell:
    """Rung once in a thread, and waited for on a loop."""

    loop: AbstractEventLoop
    has_rung: bool = False
    # What the loop waits for: the bell, or time to look what keeps the thread.
    _news: Future[None] | None = None

    def ring(self) -> None:
        """Say that the work is done."""
        with suppress(RuntimeError):  # the loop was closed; nobody waits any more
            self.loop.call_soon_threadsafe(self._hear)

    def _hear(self) -> None:
        self.has_rung = True
        self._wake()

    def _wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    async def wait(self, seconds: float) -> bool:
        """Wait for the bell; tell whether it has rung after *seconds*."""
        if not self.has_rung:
            # `asyncio.wait` would take another round of the loop.
            self._news = self.loop.create_future()
            alarm = self.loop.call_later(seconds, self._wake)
            try:
                await self._news
            finally:
                alarm.cancel()
        return self.has_rung


@attrs.define(eq=False)
class _Worker(Generic[T]):
    """Jobs that a thread does in turn, and can be given up in the middle of one."""

    jobs: Sequence[Callable[[], T]]
    results: list[Result[T] | None]
    bell: _Bell
    position: int = 0
    # `time.monotonic()` at which the present job began.
    began: float = attrs.Factory(time.monotonic)
    is_given_up: bool = False
    # Guards position, results and is_given_up: a job's end and its deadline race.
    lock: threading.Lock = attrs.Factory(threading.Lock)

    def run(self) -> None:
        self.work()
        self.bell.ring()

    def work(self) -> None:
        while self.position < len(self.jobs):
            # Nobody may wait any more, even before the first job.
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
        """Leave the thread alone if its job is over *deadline*; tell whether it is."""
        with self.lock:
            is_late = time.monotonic() - self.began >= deadline
            if not is_late or self.position >= len(self.jobs):
                return False
            abandoned.add(thread)
            self.is_given_up = True
            late = PhotonTimeoutError(
                f"did not come back within {deadline:g} seconds",
                why=f"it was {_where(thread)}",
                hint="do less there, or give it a longer deadline",
            )
            self.results[self.position] = Result(error=late)
            return True


def _capture(job: Callable[[], T]) -> Result[T]:
    result: Result[T] = Result()
    # Made before: a thread that is being halted must not enter a function of ours with
    # the halt's exception in hand. CPython 3.11 has crashed there.
    try:
        result.value = job()
    except BaseException as error:  # noqa: BLE001 - also SystemExit is only a failure
        result.error = error
    return result


def _where(thread: threading.Thread) -> str:
    """Return what *thread* executes, as ``file:line``."""
    frame = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001 - documented
    frames: list[FrameType] = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return describe_position(frames)


def describe_position(frames: Sequence[FrameType]) -> str:
    """Return where *frames* stand, as ``at file:line``.

    Args:
        frames: The innermost first. One of the standard library says little; the
            first one outside of it is named.
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

    A job that is not over after *deadline* is given up, with its thread; the rest go
    on, on another one.

    Args:
        jobs: Functions without arguments.
        deadline: Seconds for each.
        name: Name of the thread.
        on_give_up: Called with the index of a job that was given up, also when the
            caller itself is cancelled.
        is_owned: Whether thread and jobs belong to the photon whose code runs now, as
            its own steps do; what serves the host must not end with a photon.

    Returns:
        A result for each job; `PhotonTimeoutError` for those that were given up.
    """
    import asyncio

    results: list[Result[Any] | None] = [None] * len(jobs)
    position = 0
    while position < len(jobs):
        loop = asyncio.get_running_loop()
        worker = _Worker(jobs, results, _Bell(loop), position)
        with nullcontext() if is_owned else unowned():
            context = contextvars.copy_context()
            thread = threading.Thread(
                target=context.run, args=(worker.run,), name=name, daemon=True
            )
            thread.start()
        try:
            position = await _wait(worker, thread, deadline)
        except asyncio.CancelledError:
            if worker.give_up(thread, 0.0):
                on_give_up(worker.position)
            raise
        if worker.is_given_up:
            on_give_up(position - 1)
    return [result or Result() for result in results]


async def _wait(worker: _Worker[Any], thread: threading.Thread, deadline: float) -> int:
    """Wait until the worker is through or stuck; return the next job's position."""
    while True:
        left = worker.began + deadline - time.monotonic()
        if await worker.bell.wait(max(left, 0.001)):
            # It has nothing left to do; after this it is gone from every list.
            thread.join()
            return len(worker.jobs)
        if worker.give_up(thread, deadline):
            return worker.position + 1


async def run_in_thread(
    job: Callable[[], T], deadline: float, name: str, *, is_owned: bool = False
) -> Result[T]:
    """Run one *job* on a thread of its own, for at most *deadline* seconds."""
    return (await run_each_in_thread([job], deadline, name, is_owned=is_owned))[0]


async def run_in_worker(
    hand: WorkerThread, job: Callable[[], T], deadline: float
) -> Result[T]:
    """Run *job* on the thread of *hand*, or else on one of its own.

    Args:
        hand: Who may have one.
        job: A function without arguments.
        deadline: Seconds that it may take; then it is given up, with the thread.
    """
    import asyncio

    bell = _Bell(asyncio.get_running_loop())
    worker: _Worker[T] = _Worker([job], [None], bell)
    with unowned():
        context = contextvars.copy_context()
    thread = hand.give(lambda: context.run(worker.work), bell.ring)
    if thread is None:
        return await run_in_thread(job, deadline, "luminal-stage")
    try:
        while not await bell.wait(worker.began + deadline - time.monotonic()):
            if worker.give_up(thread, deadline):
                break
    except asyncio.CancelledError:
        worker.give_up(thread, 0.0)
        raise
    finally:
        if worker.is_given_up:
            hand.lose(thread)
    return worker.results[0] or Result()


# === loading.stagehand ===
# The stagehand: the one thread of a host on which new generations are staged.
#
# In come pieces of work, one at a time; whoever gives one waits elsewhere. A thread that
# stays is woken in a fraction of the time that a new one takes, and what it compiles is
# compiled in memory that is warm. It must never keep anything of a photon.


@attrs.define(eq=False)
class _Place:
    """A thread and where it finds its work; None is the last."""

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
        # Nothing of the photon is here any more when its reload goes on. What it has
        # put into a `threading.local` belongs to that object, not to the thread.
        del job, given
        done()
        del done


@attrs.define(eq=False)
class WorkerThread:
    """Has a thread from `begin` to `end`; a host that never swaps needs none."""

    _place: _Place | None = None
    _lock: threading.Lock = attrs.Factory(threading.Lock)

    def begin(self) -> None:
        """Have a thread wait for work."""
        with self._lock:
            if self._place is None or not self._place.thread.is_alive():  # by a fork
                self._place = _Place()

    def give(
        self, job: Callable[[], object], done: Callable[[], object]
    ) -> threading.Thread | None:
        """Have *job* called, then *done*, on the thread that is returned.

        None where there is none; then neither is called.
        """
        with self._lock:
            if self._place is None or not self._place.thread.is_alive():
                return None
            self._place.work.put((job, done))
            return self._place.thread

    def lose(self, thread: threading.Thread) -> None:
        """Use *thread* no more; it ends when its job does."""
        with self._lock:
            if self._place is not None and self._place.thread is thread:
                self._place.work.put(None)
                self._place = None

    def end(self) -> None:
        """Let the thread end, which waits for work, and wait until it has."""
        with self._lock:
            place, self._place = self._place, None
        if place is not None:
            place.work.put(None)
            if place.thread is not threading.current_thread():
                place.thread.join(1.0)


# === loading.collecting ===
# Fewer garbage collections while many modules are made, which are no garbage.
#
# A thousand modules set off dozens of collections that go through all that the program
# holds and find nothing: a fifth of the time of a load. For that time the collector
# waits for more new objects; it is never switched off, since photons' code runs.

_MANY = 100
"""Modules from which on it pays."""
_NEW = 50_000
"""New objects after which the collector runs meanwhile; by default it is 700."""

_lock = threading.Lock()
# The setting is the process's, and several loaders may be at work.
_users = 0
_before = (0, 0, 0)


@contextmanager
def collecting_rarely(modules: int) -> Iterator[None]:
    """Let the garbage collector run less often within a block.

    A host that has switched it off, or set it rarer still, keeps what it has set.

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
