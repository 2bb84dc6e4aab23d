"""`Scope`: owns everything that one photon starts, and ends it with the photon.

The photon starts threads, tasks, processes, loops and timed calls through its context,
which passes them to the scope; what it starts otherwise is attributed to the scope by
`_patches`. `Scope.close` calls what the photon wanted called at its end, then cancels,
interrupts and kills what is left. It never waits longer than its deadline, and returns
a record of each thing that lives on.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

import attrs

from luminal._plain import note_text
from luminal._running_loop import (
    alone_in_thread,
    new_event_loop,
    run_coroutine,
    running_loop,
    running_task,
)
from luminal.errors import PhotonStateError
from luminal.supervise import _entries, _ownership, _patches
from luminal.supervise._entries import Entries, put_entry
from luminal.supervise._halting import Leftover
from luminal.supervise._ownership import (
    Code,
    add_task,
    in_step,
    is_shared,
    started_for,
    step_owner,
    unowned,
)
from luminal.supervise._resources import (
    OwnedLoop,
    OwnedTask,
    OwnedThread,
    OwnedWork,
    is_unretrieved,
    started_at,
)
from luminal.supervise._threads import TracedThread

if TYPE_CHECKING:
    import asyncio
    import socket
    import subprocess
    from asyncio import Task
    from collections.abc import (
        Awaitable,
        Callable,
        Coroutine,
        Hashable,
        MutableMapping,
        Sequence,
    )
    from concurrent.futures import Future, ThreadPoolExecutor
    from contextlib import AbstractContextManager

    from luminal.supervise._loops import SuperLoop
    from luminal.supervise._resources import OwnedResource
    from luminal.supervise._spawned import Spawned

__all__ = ["Scope", "own_task_of_step", "own_thread_of_step", "started_for_step"]

_logger = logging.getLogger("luminal.supervise")

# Luminal's own event loop, for coroutines that are spawned where none runs: one daemon
# thread, started at the first need and ended with the last scope that used it.
# The lock guards the three below.
_lock = threading.Lock()
_locks: Any = (_lock, _patches._lock, _ownership._lock, _entries._lock)
if hasattr(os, "register_at_fork"):  # a thread may hold them that the child has not
    for _each in _locks:
        os.register_at_fork(after_in_child=_each._at_fork_reinit)  # noqa: SLF001
_loop: asyncio.AbstractEventLoop | None = None
_borrowers = 0
_process = 0


def _borrow_loop() -> asyncio.AbstractEventLoop:
    """Return Luminal's own loop; each call needs one of `_return_loop` later."""
    global _borrowers, _loop, _process
    with _lock:
        if _process != os.getpid():  # the thread is not in a child after a fork
            _process, _borrowers, _loop = os.getpid(), 0, None
        _borrowers += 1
        if _loop is None:
            _loop = new_event_loop()
            # Every scope uses the thread, whichever asks for it first.
            with unowned():
                threading.Thread(
                    target=_run_loop, args=(_loop,), name="luminal-loop", daemon=True
                ).start()
        return _loop


def _return_loop() -> None:
    """Give the loop back; the last call stops it."""
    global _borrowers, _loop
    with _lock:
        _borrowers -= 1
        if _borrowers or _loop is None:
            return
        loop, _loop = _loop, None
    loop.call_soon_threadsafe(loop.stop)


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Run *loop* until it is stopped: what one photon's task raises ends no other's."""
    while True:
        try:
            with alone_in_thread(loop):
                loop.run_forever()
            break
        except (SystemExit, KeyboardInterrupt):  # the scope tells of the task
            continue
    loop.close()


def _tick(seconds: float, function: Callable[[], Any], scope: Scope) -> None:
    """Call *function* every *seconds* until the current thread is halted.

    A call that takes too long delays the next one and is not made up for.
    """
    halting = getattr(threading.current_thread(), "halting", threading.Event())
    due = time.monotonic() + seconds
    while not halting.wait(max(0.0, due - time.monotonic())):
        due = max(due + seconds, time.monotonic())
        try:
            result = function()
            if inspect.isawaitable(result):
                run_coroutine(_wait_for(result))
        except BaseException as error:
            # It is being ended: by a halt, or because a task was cancelled.
            if halting.is_set() and not issubclass(type(error), Exception):
                raise
            scope.tell("every", error, _name_of(function))


async def _wait_for(awaitable: Any) -> None:
    await awaitable


# How long a coroutine may take that is cancelled because it is late.
_CANCEL_SECONDS = 0.1
# Those that swallowed the cancellation: a task without a reference may be collected
# while it runs.
_abandoned: set[Task[None]] = set()


def _name_of(function: Callable[[], Any]) -> str:
    return getattr(function, "__qualname__", repr(function))


async def _run_closer(
    function: Callable[[], Any], deadline: float, scope: Scope
) -> Leftover | None:
    """Call *function*: a plain one on a thread of its own, so that it cannot hang us.

    Args:
        function: What to call, plain or async.
        deadline: Seconds that it may take.
        scope: The scope that is closed; what *function* raises goes to its ``errors``.

    Returns:
        None where it has returned, else what is known of it.
    """
    if inspect.iscoroutinefunction(function):
        return await _await_within(function(), function, deadline, scope)
    begun = time.monotonic()
    value, late = await _call_in_thread(function, deadline, scope)
    if late is not None or not inspect.isawaitable(value):
        return late
    left = max(0.05, deadline - (time.monotonic() - begun))
    return await _await_within(value, function, left, scope)


async def _await_within(
    awaitable: Awaitable[Any],
    function: Callable[[], Any],
    deadline: float,
    scope: Scope,
) -> Leftover | None:
    """Await on a task of its own, which is given up when the time is over."""
    import asyncio

    task = asyncio.ensure_future(_contain(awaitable, scope.errors))
    try:
        await asyncio.wait({task}, timeout=deadline)
    finally:
        if not task.done():
            task.cancel()
    if task.done():
        return None
    await asyncio.wait({task}, timeout=_CANCEL_SECONDS)
    if not task.done():
        _abandoned.add(task)
        # It may be freed before it ends, at the end of the interpreter at the latest.
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001
        task.add_done_callback(_abandoned.discard)
        # Else `asyncio.run` would wait for it for ever.
        asyncio._unregister_task(task)  # noqa: SLF001 - documented
        # Nor is it a surprise that it is pending when the interpreter ends.
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001
    return _late(function, deadline, scope)


async def _contain(awaitable: Awaitable[Any], errors: list[BaseException]) -> None:
    """Collect what is raised: a task that raises SystemExit would end the loop."""
    import asyncio

    try:
        await awaitable
    except asyncio.CancelledError as error:
        current = asyncio.current_task()
        if current is not None and current.cancelling():
            raise
        errors.append(error)  # raised by the closer itself, of another task
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - the others go on
        errors.append(error)


def _late(function: Callable[[], Any], deadline: float, scope: Scope) -> Leftover:
    why = f"it timed out after {deadline:.2g} seconds"
    name = _name_of(function)
    return Leftover("callback", name, scope.name, why=why, seconds=deadline)


async def _call_in_thread(
    function: Callable[[], Any], deadline: float, scope: Scope
) -> tuple[Any, Leftover | None]:
    import asyncio

    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    outcome: list[Any] = []

    def call() -> None:
        try:
            outcome.append(function())
        except BaseException as error:  # noqa: BLE001 - handed to the loop's thread
            note_text(error)  # here: it may not return
            scope.errors.append(error)
        finally:
            with contextlib.suppress(RuntimeError):  # the loop has closed meanwhile
                loop.call_soon_threadsafe(done.set)

    with unowned():
        thread = TracedThread(target=call, name=f"{scope.name}-close", daemon=True)
        thread.start()
    try:
        await asyncio.wait_for(done.wait(), deadline)
    except TimeoutError:
        if thread is not threading.current_thread():
            thread.halt()
        return None, _late(function, deadline, scope)
    except asyncio.CancelledError:
        scope.adopt(OwnedThread(thread))  # the rest of the closing ends it
        raise
    thread.join()  # it has nothing left to do, and holds what it called until then
    return (outcome[0] if outcome else None), None


def _close_one(thing: Any) -> None:
    """Close an asyncio server or a socket; None is one that has been collected."""
    import asyncio

    if isinstance(thing, asyncio.Server):
        loop = thing.get_loop()
        if loop is asyncio.get_running_loop():
            thing.close()
        else:
            loop.call_soon_threadsafe(thing.close)
    # A socket that does not block may be in use by an event loop, whose selector would
    # keep its number: it is left to that loop.
    elif thing is not None and thing.gettimeout() != 0.0:
        thing.close()


# Longest wait for Luminal's own loop to begin a spawned coroutine.
_OWNED_SECONDS = 1.0
# What is done to what still lives, after which share of the time that is left, or after
# how many seconds at most.
_ESCALATION = (
    ("cancel", 0, 0),
    ("interrupt_if_unaware", 0.1, 0.15),
    ("interrupt", 0.1, 60),
    ("kill", 0.5, 60),
)
_POLL_SECONDS = 0.003
# Time for everything where the task that closes the scope is cancelled.
_CANCELLED_SECONDS = 0.5
_TOO_LATE = "it was not called: the time for closing was over"


@attrs.define(eq=False, repr=False)
class Scope:
    """Owns what a photon starts, and ends it with the photon.

    Args:
        name: Name of the photon.
        code: Its code, by which it is found what the photon starts without its
            context; None where that is nobody's.
        report: Called with what its code has raised and nobody else is told of: what
            it was (a value of `luminal.model.FailureKind`), the exception, and the name
            of the task, thread or function. By default it is logged.

    Attributes:
        has_started: The photon's ``start`` has returned.
        is_closed: It has been closed; what is started later is ended at once.
        errors: What was raised at the end, in the order in which it was raised.
    """

    name: str
    code: Code | None = None
    report: Callable[[str, BaseException, str], object] | None = None
    has_started: bool = attrs.field(default=False, init=False)
    is_closed: bool = attrs.field(default=False, init=False)
    errors: list[BaseException] = attrs.field(factory=list, init=False)
    # Guards what several threads of the photon may change at once.
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    # How many times Luminal's own loop has been borrowed.
    _borrowed: int = attrs.field(default=0, init=False)
    # What runs there, and what was not asked for its result yet.
    _spawned: list[Spawned] = attrs.field(factory=list, init=False)
    # In the order in which they were started; ended in reverse. A dict for its keys:
    # each one can be forgotten in the same time, however many there are.
    _owned: dict[OwnedResource, None] = attrs.field(factory=dict, init=False)
    # With more than so many, those that have ended are forgotten.
    _most_owned: int = attrs.field(default=32, init=False)
    # Called at the end, the last one first.
    _closers: list[Callable[[], Any]] = attrs.field(factory=list, init=False)
    # References to servers and bound sockets that were opened during the start.
    _opened: list[weakref.ref[Any]] = attrs.field(factory=list, init=False)
    # Its threads may wait for them; None while there has been none.
    _sockets: weakref.WeakSet[Any] | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        _patches.enter(self)

    def __repr__(self) -> str:
        return f"<Scope {self.name!r} owned={len(self.living())}>"

    def living(self) -> list[OwnedResource]:
        """Return what it owns and what has not ended, in the order of starting."""
        self._forget_ended()
        return list(self._owned)

    def _forget_ended(self) -> None:
        """Refer no more to what has ended; it may hold things of other generations.

        The lock is not held: a photon's thread may say by code of its own whether it
        lives, and that code may start something.
        """
        for one in list(self._owned):
            if not one.is_alive():
                self._owned.pop(one, None)
        # Looking at thousands that live takes its time: not again for each new one.
        self._most_owned = max(32, 2 * len(self._owned))

    def adopt(self, resource: OwnedResource) -> None:
        """Own *resource* from now on; after `close`, end it at once."""
        resource.wake = self.shut_sockets
        resource.is_shared = is_shared(self)
        if len(self._owned) > self._most_owned:
            self._forget_ended()
        with self._lock:
            self._owned[resource] = None
        if self.is_closed:
            resource.cancel()
            resource.interrupt()

    def adopt_task(self, task: Task[Any], where: str | None = None) -> None:
        """Own *task* until it is done.

        Args:
            task: On whatever loop; called in the thread of that loop.
            where: ``file:line in function`` that started it, where that is known.
        """
        owned = OwnedTask(task) if where is None else OwnedTask(task, where)
        self.adopt(owned)
        add_task(task, self)

        def forget(task: Task[Any]) -> None:
            with self._lock:
                self._owned.pop(owned, None)
            # What awaits the task is called next, and takes what it has raised.
            if not task.cancelled() and is_unretrieved(task):
                task.get_loop().call_soon(self._tell_of_task, task)

        task.add_done_callback(forget)

    def _tell_of_task(self, task: Task[Any]) -> None:
        if is_unretrieved(task):
            error = task.exception()
            if error is not None:
                coroutine = task.get_coro()
                self.tell("task", error, getattr(coroutine, "__qualname__", ""))

    def tell(self, kind: str, error: BaseException, name: str) -> None:
        """Report what code of the photon has raised, and nobody else is told of.

        Args:
            kind: A value of `luminal.model.FailureKind`.
            error: The exception.
            name: Name of the task, thread or function.
        """
        if self.report is not None:
            self.report(kind, error, name)
        else:
            _logger.error(
                "photon %r: %s %r raised", self.name, kind, name, exc_info=error
            )

    def adopt_work(self, future: Future[Any], function: Any) -> None:
        """Own a call of *function* by an executor of somebody else, until it is done.

        Args:
            future: Stands for the call.
            function: What is called.
        """
        owned = OwnedWork(future, function=function)
        self.adopt(owned)

        def forget(_: Future[Any]) -> None:
            with self._lock:
                self._owned.pop(owned, None)

        future.add_done_callback(forget)

    def note_opened(self, thing: Any) -> None:
        """Close *thing* at the end, unless the photon has started by then.

        Args:
            thing: An asyncio server, or a socket that is bound to an address.
        """
        if not self.has_started:
            self._opened.append(weakref.ref(thing))

    def note_socket(self, thing: socket.socket) -> None:
        """Shut *thing* down at the end, if a thread that does not end waits for it."""
        with self._lock:
            if self._sockets is None:
                self._sockets = weakref.WeakSet()
            self._sockets.add(thing)

    def shut_sockets(self) -> bool:
        """Shut down the sockets that threads may wait for; False without any.

        One that does not block belongs to an event loop; no thread waits for it alone.
        """
        import socket

        with self._lock:
            sockets = list(self._sockets or ())
        done = False
        for one in sockets:
            if one.fileno() >= 0 and one.gettimeout() != 0.0:
                # Not connected? Its reader is woken all the same on Linux.
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                done = True
        return done

    def mark_started(self) -> None:
        """Note that ``start`` has returned: the photon closes itself what is open."""
        self.has_started = True
        self._opened.clear()

    # Start things --------------------------------------------------------------

    def _check_open(self) -> None:
        if self.is_closed:
            raise PhotonStateError(
                "its life has ended, nothing can be started for it",
                photon=self.name,
                hint="start it before `finalize` returns",
            )

    def in_step(self) -> in_step:
        """Run a life-cycle step of the photon in the ``with`` block.

        Raises:
            PhotonStateError: The scope has been closed.
        """
        if self.is_closed:
            self._check_open()
        _patches.refresh()
        return in_step(self)

    def _starting(self) -> Any:
        """Own what Luminal starts within the ``with`` block on the photon's behalf."""
        self._check_open()
        _patches.refresh()
        return started_for(self)

    def spawn(
        self, coroutine: Coroutine[Any, Any, Any], *, name: str | None = None
    ) -> asyncio.Future[Any] | Any:
        """Run *coroutine* on the loop that runs here, or else on Luminal's own.

        Args:
            coroutine: What to run.
            name: Name of the task.

        Returns:
            The task; where no loop runs here, a `concurrent.futures.Future`.

        Raises:
            PhotonStateError: The life has ended.
        """
        if self.is_closed:
            coroutine.close()  # it will never be awaited
        with self._starting():
            running = running_loop()
            if running is None:
                return self._spawn_on_own_loop(coroutine, name)
            task = running.create_task(coroutine, name=name)
        if not task.done() and not self._owns_latest(task):
            self.adopt_task(task)
        return task

    def _owns_latest(self, thing: Any) -> bool:
        """Whether *thing* is the latest that was adopted: a wrapper has seen it."""
        with self._lock:
            latest = next(reversed(self._owned), None)
            return latest is not None and latest.thing is thing

    def _spawn_on_own_loop(
        self, coroutine: Coroutine[Any, Any, Any], name: str | None
    ) -> Any:
        import asyncio

        from luminal.supervise._spawned import run_on

        loop = _borrow_loop()
        with self._lock:
            is_late = self.is_closed
            self._borrowed += not is_late
        if is_late:
            _return_loop()
            coroutine.close()
            self._check_open()
        where = started_at()
        is_owned = threading.Event()

        async def run() -> Any:
            task = asyncio.current_task()
            if task is not None:
                if name:
                    task.set_name(name)
                with started_for(self):
                    self.adopt_task(task, where)
            is_owned.set()
            return await coroutine

        label = getattr(coroutine, "__qualname__", "")
        future = run_on(loop, run(), lambda error: self.tell("task", error, label))
        with self._lock:
            self._spawned = [one for one in self._spawned if one.tell is not None]
            self._spawned.append(future)
        # A scope that closes at once must not miss it.
        is_owned.wait(_OWNED_SECONDS)
        return future

    def thread(
        self, function: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> TracedThread:
        """Start *function* on a thread that can be halted, and return the thread."""
        with self._starting():
            thread = TracedThread(
                target=function,
                args=args,
                kwargs=kwargs,
                name=f"{self.name}-{getattr(function, '__name__', 'thread')}",
                daemon=True,
            )
            thread.start()
        return thread

    def process(self, command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start *command* as a child; *options* are those of `subprocess.Popen`."""
        import subprocess

        with self._starting():
            return subprocess.Popen(command, **options)  # noqa: S603 - the photon's

    def loop(self, loop: SuperLoop) -> SuperLoop:
        """Start *loop*, and stop it with the photon."""
        self._check_open()
        _patches.refresh()
        with started_for(self):
            self.adopt(OwnedLoop(loop))
        loop.start()
        return loop

    def every(self, seconds: float, function: Callable[[], Any]) -> TracedThread:
        """Call *function* every *seconds*, first after that time, on one thread.

        What it raises is logged and does not end the calls; halting the thread that
        is returned does.

        Raises:
            ValueError: *seconds* is negative.
        """
        if not seconds >= 0:
            raise ValueError(f"calls come every so many seconds, not {seconds!r}")

        return self.thread(_tick, seconds, function, self)

    def executor(self, max_workers: int | None = None) -> ThreadPoolExecutor:
        """Return a new thread pool, shut down with the photon."""
        from concurrent.futures import ThreadPoolExecutor

        with self._starting():
            return ThreadPoolExecutor(max_workers, thread_name_prefix=self.name)

    # Give things back -----------------------------------------------------------

    def enter(self, manager: Any) -> Any:
        """Enter the context *manager* now, leave it when the life ends.

        Returns what its ``__enter__`` returned; for an asynchronous one, an awaitable.

        Raises:
            PhotonStateError: The life has ended.
        """
        if hasattr(manager, "__aenter__") and not hasattr(manager, "__enter__"):
            return self._aenter(manager)
        self._check_open()
        value = manager.__enter__()
        if not self._add(lambda: manager.__exit__(None, None, None)):
            manager.__exit__(None, None, None)
            self._check_open()
        return value

    async def _aenter(self, manager: Any) -> Any:
        self._check_open()
        value = await manager.__aenter__()
        if not self._add(lambda: manager.__aexit__(None, None, None)):
            await manager.__aexit__(None, None, None)
            self._check_open()
        return value

    def on_close(self, function: Callable[[], Any]) -> None:
        """Call *function* when the life ends, the last one given first.

        Raises:
            PhotonStateError: The life has ended.
        """
        if not self._add(function):
            self._check_open()

    def put(self, mapping: MutableMapping[Any, Any], key: Hashable, value: Any) -> None:
        """Put *value* into *mapping*, and take it back when the life ends.

        Raises:
            PhotonStateError: The life has ended.
            BaseException: Whatever the mapping raises.
        """
        self._check_open()
        entry = put_entry(mapping, key, value)
        with self._lock:
            last = self._closers[-1] if self._closers else None
            is_late = self.is_closed
            if isinstance(last, Entries):
                last.entries.append(entry)
            elif not is_late:
                self._closers.append(Entries([entry]))
        if is_late:
            entry.take_back()
            self._check_open()

    def _add(self, function: Callable[[], Any]) -> bool:
        with self._lock:
            if not self.is_closed:
                self._closers.append(function)
            return not self.is_closed

    # The end ----------------------------------------------------------------------

    async def close(self, deadline: float = 5.0) -> tuple[Leftover, ...]:
        """Call what `on_close` was given, then cancel, interrupt and kill what is left.

        What is raised meanwhile is collected in `errors`. Where the calling task is
        cancelled, everything is ended all the same, within half a second, before the
        cancellation goes on.

        Args:
            deadline: Seconds for all of it together.

        Returns:
            What is left, with the reason; empty where nothing is.
        """
        import asyncio

        try:
            return await self._end(deadline)
        except asyncio.CancelledError:
            await self._end(min(deadline, _CANCELLED_SECONDS))
            raise

    async def _end(self, deadline: float) -> tuple[Leftover, ...]:
        import asyncio

        begun = time.monotonic()
        left: list[Leftover] = []
        while (function := self._next_closer()) is not None:
            passed = time.monotonic() - begun
            if passed > deadline:
                name = _name_of(function)
                left.append(Leftover("callback", name, self.name, why=_TOO_LATE))
                continue
            late = await _run_closer(function, max(0.05, deadline * 0.8 - passed), self)
            if late is not None:
                left.append(late)
        self._close_opened()
        self._hand_over()
        started = time.monotonic()
        budget = max(0.2, begun + deadline - started)
        steps = list(_ESCALATION)
        while alive := self._not_mine():
            passed = time.monotonic() - started
            if passed > budget:
                break
            while steps and passed >= min(steps[0][1] * budget, steps[0][2]):
                self._end_each(alive, steps.pop(0)[0])
            await asyncio.sleep(_POLL_SECONDS)
        left.extend(one.leftover(self.name, time.monotonic() - begun) for one in alive)
        self._release()
        return tuple(left)

    def _next_closer(self) -> Callable[[], Any] | None:
        """Return the function to call next; without one, the scope is closed."""
        with self._lock:
            if self._closers:
                return self._closers.pop()
            self.is_closed = True
            return None

    def _close_opened(self) -> None:
        """Free the addresses that a photon has taken which did not start.

        Else they would be taken for as long as a traceback refers to the photon.
        """
        while self._opened:
            try:
                _close_one(self._opened.pop()())
            except Exception as error:  # noqa: BLE001 - the others are closed
                self.errors.append(error)

    def _hand_over(self) -> None:
        """Leave what may be another photon's to that one, which has the same code."""
        others = self.code.scopes if self.code is not None else ()
        heir = next((one for one in others if not one.is_closed), None)
        if heir is not None:
            for one in self.living():
                if one.is_shared:
                    with self._lock:
                        self._owned.pop(one, None)
                    heir.adopt(one)

    def _not_mine(self) -> list[OwnedResource]:
        living = self.living()
        if not living:
            return living
        mine = {running_task(), threading.current_thread()}
        return [one for one in living if one.thing not in mine]

    def _end_each(self, alive: list[OwnedResource], how: str) -> None:
        for one in reversed(alive):
            try:
                getattr(one, how)()
            except Exception as error:  # noqa: BLE001 - the others go on
                self.errors.append(error)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to end, so that `close` needs no event loop."""
        return not (self._closers or self._opened or (self._owned and self.living()))

    def close_empty(self) -> bool:
        """Do what `close` does if there is nothing to end; return whether it is so."""
        if self._owned:
            self._forget_ended()
        with self._lock:
            if self._closers or self._opened or self._owned:
                return False
            self.is_closed = True
        self._release()
        return True

    def _release(self) -> None:
        """Attribute nothing to this scope any more, and give the own loop back."""
        _patches.leave(self)
        self.code = None  # contexts of tasks may refer to this for long
        with self._lock:
            borrowed, self._borrowed = self._borrowed, 0
            spawned, self._spawned = self._spawned, []
        for one in spawned:
            one.tell_unasked()
        for _ in range(borrowed):
            _return_loop()

    def close_sync(self, deadline: float = 5.0) -> tuple[Leftover, ...]:
        """Do what `close` does, from code that is not ``async``."""
        result: list[tuple[Leftover, ...]] = []

        async def end() -> None:
            result.append(await self.close(deadline))

        name = f"{self.name}-close"
        # It may wait for its executor without end.
        thread = threading.Thread(
            target=lambda: run_coroutine(end()), name=name, daemon=True
        )
        with unowned():
            thread.start()
        thread.join(deadline + 1.0)
        if result:
            return result[0]
        return (Leftover("thread", name, self.name, why="it still ends the others"),)


def own_thread_of_step(thread: threading.Thread) -> None:
    """Let *thread*, which does not end, be ended with the photon whose step it runs.

    Args:
        thread: It was started for another purpose.
    """
    owner = step_owner.get()
    if owner is not None:
        owner.adopt(OwnedThread(thread))


def own_task_of_step(task: Task[Any]) -> None:
    """Let *task* be ended with the photon whose step it runs."""
    owner = step_owner.get()
    if owner is not None:
        owner.adopt_task(task)


def started_for_step() -> AbstractContextManager[None]:
    """Let what Luminal starts in the ``with`` block end with the step's photon."""
    return started_for(step_owner.get())
