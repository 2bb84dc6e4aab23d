"""Halts a thread: raises `SystemExit` in it until it ends, or reports it.

A `Halt` follows one thread through an escalation. Its ``halting`` flag is set, which
cooperative code looks at. `SystemExit` is raised at a place where no lock is left held,
so that ``finally`` and ``with`` run. A blocking call is made to return. A thread that
swallows the exception gets it again, after half a second of clean-up also in its
clean-up. After two seconds the thread is listed as abandoned.

The first step runs in the thread that asks. One shared thread, the reaper, does the
rest for all halts; it exists only while there is a halt. Nothing is installed before a
halt is asked for, and nothing here waits for the halted thread.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sys
import threading
import time
from collections.abc import Callable  # noqa: TC003 - attrs reads it
from typing import TYPE_CHECKING, Any

import attrs

from luminal.supervise._interruption import (
    arm,
    can_monitor,
    disarm,
    exit_error,
    forget,
    forget_monitoring,
    is_clear,
    is_in_machinery,
    is_in_try,
    is_own,
    is_safe_point,
    raise_anywhere,
    raise_at_return,
    raise_at_safe_point,
    raise_if_covered,
    send,
    stack_of,
    where,
)
from luminal.supervise._ownership import unowned
from luminal.supervise._waits import forget_waits, waiter_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

__all__ = [
    "ABANDON_SECONDS",
    "PATIENCE_SECONDS",
    "Halt",
    "Leftover",
    "abandoned_threads",
    "begin_halt",
    "exit_if_halted",
    "halt_thread",
]


@attrs.frozen
class Leftover:
    """Something that could not be stopped, as a value that can be listed.

    Attributes:
        kind: ``thread``, ``task``, ``process``, ``executor``, ``timer``, ``loop``,
            ``callback``, or the facet of a footprint (``atexit``, ``signal`` ...).
        name: Its own name: of the thread, the task, the command.
        owner: Name of the photon that started it, or an empty string.
        where: ``file:line in function`` where it was started or now stands.
        why: Why it could not be stopped, in one line.
        seconds: For how long it was asked to end, in seconds.
        stack: Where it stands now, innermost frame last; empty where unknown.
    """

    kind: str
    name: str
    owner: str = ""
    where: str = ""
    why: str = ""
    seconds: float = 0.0
    stack: tuple[str, ...] = ()

    def __str__(self) -> str:
        owner = f" of {self.owner!r}" if self.owner else ""
        place = f" at {self.where}" if self.where else ""
        why = f": {self.why}" if self.why else ""
        return f"{self.kind} {self.name!r}{owner}{place}{why}"


PATIENCE_SECONDS = 0.5
"""How long a thread may spend in its own clean-up before that is cut short as well."""
ABANDON_SECONDS = 2.0
"""After this time a thread that lives on is listed as abandoned."""

_UNBLOCK_EVERY = 0.02
# A thread not met at a safe point for so long may never be met at one.
_UNLUCKY_SECONDS = 0.001


@attrs.define(eq=False, repr=False)
class Halt:
    """The halt of one thread: what is known of it, and the next step.

    Attributes:
        name: Name of the thread.
        ident: Its identifier; meaningful only while `is_open` says so, because
            CPython gives the number to the next thread at once.
        is_open: Whether the thread still runs Python code under that identifier.
        native_id: The kernel's number of the thread, or 0.
        owner: Name of the photon that it belongs to, or an empty string.
        begun: `time.monotonic` of the request, in seconds.
        raises: How many times `SystemExit` was raised or sent.
        is_abandoned: It outlived every step and was reported.
        last_line: Frame and line where the trace of 3.11 last was.
        trace: The trace function of 3.11, one for the whole halt.
        wake: Ends what its owner owns and it may wait for; returns whether there was
            anything.
        running_loop: The event loop that was last found running in it.
    """

    name: str
    ident: int
    is_open: Callable[[], bool]
    native_id: int = 0
    owner: str = ""
    begun: float = attrs.field(factory=time.monotonic)
    raises: int = 0
    is_abandoned: bool = False
    # Only the halted thread itself writes it.
    last_line: tuple[int, int] = (0, 0)
    trace: Callable[..., object] | None = None
    wake: Callable[[], bool] = bool  # without an owner: False
    running_loop: Any = None
    # When its blocking call was last ended; only the reaper writes it.
    _unblocked: float = 0.0
    # Held during a step, so that caller and reaper do not both raise.
    _step: threading.Lock = attrs.field(factory=threading.Lock)
    # Frame, offset and CPU time at the last look; equal twice means blocked.
    _look: tuple[int, int, int] = (0, -1, -1)
    # The same when the exception was last sent while the thread was blocked.
    _sent_at: tuple[int, int, int] = (0, -1, -1)

    @property
    def seconds(self) -> float:
        """Seconds since the halt was asked for."""
        return time.monotonic() - self.begun

    @property
    def is_urgent(self) -> bool:
        """Whether its time for clean-up is over."""
        return self.seconds > PATIENCE_SECONDS

    @property
    def is_desperate(self) -> bool:
        """Whether any instruction will do, safe or not: it swallows all the same."""
        return self.seconds > 2 * PATIENCE_SECONDS

    def may_raise(self) -> bool:
        """Decide, in the thread itself, whether `SystemExit` is raised here and now.

        The first time, yes. Later: where no exception is being handled, the last one
        was swallowed, so yes; where one is, the thread is cleaning up, so only when
        its time is over.
        """
        if not self.is_open():
            return False  # the number is another thread's by now
        if self.raises and not self.is_urgent:
            mine = self.ident == threading.get_ident()
            if not mine or sys.exc_info()[1] is not None:
                return False
        self.raises += 1
        return True

    def strike(self) -> None:
        """Raise for the first time, in the thread that asks for the halt.

        Without a system call: each lets go of the interpreter's lock, and gets it
        back only after the turns of all others.
        """
        with self._step:
            self._raise()

    def escalate(self) -> bool:
        """Do what is due now, in the reaper; return whether the thread has ended."""
        if not self._step.acquire(blocking=False):
            return False
        try:
            if self.is_open():
                self._raise()
                self._unblock()
                return False
            disarm(self)
            forget(self)
            return True
        finally:
            self._step.release()

    def _raise(self) -> None:
        if can_monitor():
            arm(self)
        elif self._may_send():
            raise_at_safe_point(self)

    def _unblock(self) -> None:
        frame = stack_of(self.ident)
        if frame is None or is_safe_point(frame) or is_in_machinery(frame):
            return
        look = (id(frame), frame.f_lasti, _cpu_time(self.native_id))
        is_still, self._look = look == self._look, look
        # It may never be met at a safe point: take one where every lock has its `try`.
        is_unlucky = not self.raises and self.seconds > _UNLUCKY_SECONDS
        if is_unlucky and not can_monitor() and raise_if_covered(self):
            return
        now = time.monotonic()
        if now - self._unblocked < _UNBLOCK_EVERY:
            return
        if is_still or frame.f_code.co_name == "wait" or not is_own(frame.f_code):
            if unblock(self, is_blocked=is_still):
                self._unblocked = now
                return
            if can_monitor():
                return
            # Nothing ends the call, but it may return by itself: raise then, once.
            if is_still and look != self._sent_at and self._may_send():
                self._sent_at = look
                raise_at_return(self, frame)
        elif self.is_urgent:
            raise_anywhere(self)

    def _may_send(self) -> bool:
        return not self.raises or self.is_urgent

    def leftover(self) -> Leftover:
        """Describe the thread as it stands now."""
        frame = stack_of(self.ident)
        is_blocked = frame is not None and not self._has_moved(frame)
        return Leftover(
            kind="thread",
            name=self.name,
            owner=self.owner,
            where=where(frame),
            why=(
                "blocked in a call that does not return to Python"
                if is_blocked
                else f"it swallowed SystemExit {self.raises} times"
                if self.raises
                else "it runs code that cannot be interrupted"
            ),
            seconds=round(self.seconds, 3),
            stack=_lines_of(frame),
        )

    def _has_moved(self, frame: FrameType) -> bool:
        look = (id(frame), frame.f_lasti, _cpu_time(self.native_id))
        return look != self._look


def _cpu_time(native_id: int) -> int:
    """Nanoseconds that the thread has run; -1 where that is not known."""
    try:
        with open(f"/proc/self/task/{native_id}/schedstat", "rb") as file:
            return int(file.read().split()[0])
    except (OSError, ValueError, IndexError):
        return -1


def _lines_of(frame: FrameType | None) -> tuple[str, ...]:
    lines: list[str] = []
    while frame is not None:
        code = frame.f_code
        lines.append(f"{code.co_filename}:{frame.f_lineno} in {code.co_name}")
        frame = frame.f_back
    return tuple(reversed(lines))


_STDLIB = os.path.dirname(os.path.abspath(threading.__file__))
_DEPTH = 12
# A call of one of these may wait for a socket.
_SOCKET_CALLS = frozenset(
    {
        "_accept",  # `socket.accept` calls it
        "accept",
        "connect",
        "do_handshake",
        "poll",
        "read",
        "readinto",
        "recv",
        "recv_into",
        "recvfrom",
        "recvfrom_into",
        "recvmsg",
        "select",
        "send",
        "sendall",
        "sendto",
    }
)


def unblock(halt: Halt, *, is_blocked: bool) -> bool:
    """Make the blocking call of *halt*'s thread return; False where nothing can.

    Only what is the thread's own is touched: the lock that it waits on, the event loop
    that runs in it; and the sockets of its owner, where it has one. Children are ended
    by their owner. Whatever else it waits for is somebody else's, and is left alone.

    Condition, Event, Queue, Semaphore, Barrier and Future all wait in
    `threading.Condition.wait`: its waiter is released, with `SystemExit` pending, so
    that it is raised inside that function's own ``try``.

    Args:
        halt: The halt of the thread.
        is_blocked: It stands where it stood at the last look, and used no time of a
            processor since; only then are sockets touched.
    """
    frame = stack_of(halt.ident)
    if frame is None:
        return False
    if frame.f_code is threading.Condition.wait.__code__:
        return _release_waiter(halt, frame)
    if any(_is_loop(outer) for outer in _outwards(frame)):
        return _leave_event_loop(halt)
    may_wait_for_socket = not _SOCKET_CALLS.isdisjoint(frame.f_code.co_names)
    return is_blocked and may_wait_for_socket and is_clear(frame) and halt.wake()


def _outwards(frame: FrameType) -> Iterator[FrameType]:
    at: FrameType | None = frame
    for _ in range(_DEPTH):
        if at is None:
            return
        yield at
        at = at.f_back


def _is_loop(frame: FrameType) -> bool:
    code = frame.f_code
    return (
        code.co_name == "run_forever"
        and os.path.basename(code.co_filename) == "base_events.py"
        and code.co_filename.startswith(_STDLIB)
    )


def _release_waiter(halt: Halt, frame: FrameType) -> bool:
    waiter = waiter_of(halt.ident)
    # Only while it stands in that `try`: anywhere else the exception would leave the
    # condition's own lock in a wrong state, or arrive later, in other code.
    if waiter is None or not waiter.locked() or not is_in_try(frame):
        return False
    if halt.raises and not halt.is_urgent:
        return False  # it got the exception, and may still be cleaning up
    if not send(halt):
        return False
    # Where a real notification came first, the exception is pending all the same.
    with contextlib.suppress(RuntimeError):
        waiter.release()
    return True


def _leave_event_loop(halt: Halt) -> bool:
    """Raise `SystemExit` in the loop that runs in the thread; its tasks are its own."""
    if halt.raises and not halt.is_urgent:
        return False

    def leave() -> None:
        halt.raises += 1
        raise exit_error(halt)

    loop = halt.running_loop
    if getattr(loop, "_thread_id", None) != halt.ident:
        loop = halt.running_loop = _find_loop(halt.ident)
    if loop is None:
        return False
    try:
        loop.call_soon_threadsafe(leave)
    except RuntimeError:
        return False  # it closed meanwhile
    return True


def _find_loop(ident: int) -> Any:
    """Return the event loop that runs in the thread *ident*: the loop itself knows."""
    import asyncio
    import gc

    for thing in gc.get_objects():
        # Not `isinstance`, which asks objects of all kinds for their `__class__`.
        is_loop = issubclass(type(thing), asyncio.BaseEventLoop)
        if is_loop and getattr(thing, "_thread_id", None) == ident:
            return thing
    return None


_logger = logging.getLogger("luminal.supervise")

# Guards everything below; wakes the reaper for a new halt.
_changed = threading.Condition()
_halts: list[Halt] = []
_reaper: threading.Thread | None = None


def halt_thread(
    thread: threading.Thread, *, owner: str = "", wake: Callable[[], bool] = bool
) -> Halt | None:
    """Begin to halt *thread*, and return at once.

    Args:
        thread: Any started thread; one of ours has a ``halting`` event as well.
        owner: Name of the photon that it belongs to, for the report.
        wake: Ends what the owner owns and the thread may wait for.

    Returns:
        The halt, or None where the thread is not running.
    """
    ident = thread.ident

    def is_open() -> bool:
        # A thread leaves this table before its identifier can be given away.
        return threading._active.get(ident) is thread  # type: ignore[attr-defined]  # noqa: SLF001

    is_running = ident is not None and is_open()
    flag = getattr(thread, "halting", None)
    if isinstance(flag, threading.Event):
        flag.set()
    if ident is None or not is_running:
        return None
    if sys.version_info < (3, 12):
        _silence(thread)
    return begin_halt(
        Halt(
            name=thread.name,
            ident=ident,
            is_open=is_open,
            native_id=thread.native_id or 0,
            owner=owner,
            wake=wake,
        )
    )


def _silence(thread: threading.Thread) -> None:
    """Let no traceback be printed for the exit that comes back, on 3.11.

    `threading` says nothing of `SystemExit`, but of a class derived from it.
    """
    invoke = thread._invoke_excepthook  # type: ignore[attr-defined]  # noqa: SLF001
    if getattr(invoke, "func", None) is not _invoke_unless_exit:
        quiet = functools.partial(_invoke_unless_exit, invoke)
        thread._invoke_excepthook = quiet  # type: ignore[attr-defined]  # noqa: SLF001


def _invoke_unless_exit(
    invoke: Callable[[threading.Thread], object], thread: threading.Thread
) -> None:
    if not isinstance(sys.exc_info()[1], SystemExit):
        invoke(thread)


def begin_halt(halt: Halt) -> Halt:
    """Raise for the first time from here, and leave the rest to the reaper.

    Returns:
        *halt*, or the halt of that thread that is under way already.
    """
    global _reaper
    with _changed:
        known = next((h for h in _halts if h.ident == halt.ident and h.is_open()), None)
        if known is not None:
            known.wake = halt.wake if halt.wake is not bool else known.wake
            return known
        _halts.append(halt)
    # First of all: while we have the interpreter's lock, the thread stands still.
    halt.strike()
    with _changed:
        if _reaper is None:
            _reaper = threading.Thread(target=_reap, name="luminal-reaper", daemon=True)
            with unowned():
                _reaper.start()
        _changed.notify()
    return halt


def exit_if_halted() -> None:
    """End the calling thread where it is halted: it is about to start something.

    A thread that does nothing else is hardly ever met at a safe point by others.

    Raises:
        SystemExit: It is halted.
    """
    for halt in tuple(_halts):
        if halt.ident == threading.get_ident() and halt.may_raise():
            raise exit_error(halt)


def _begin_anew() -> None:
    """Forget every halt; in the child after a fork, which has none of the threads."""
    global _changed, _reaper
    _changed = threading.Condition()
    _halts.clear()
    _reaper = None
    forget_monitoring()
    forget_waits()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


def abandoned_threads() -> tuple[Leftover, ...]:
    """Describe every halted thread that outlived all steps and still lives."""
    with _changed:
        halts = [h for h in _halts if h.is_abandoned and h.is_open()]
    return tuple(h.leftover() for h in halts)


def _pause(halts: list[Halt]) -> float:
    youngest = min((h.seconds for h in halts), default=0.0)
    if youngest > ABANDON_SECONDS:
        return 0.2
    # Without a monitor, a look has to find the thread at a safe point by chance.
    is_unlucky = any(not h.raises and h.seconds < ABANDON_SECONDS for h in halts)
    if is_unlucky and youngest < 0.02:
        return 0.0001
    return 0.001 if youngest < 0.02 or is_unlucky else 0.01


def _reap() -> None:
    global _reaper
    while True:
        with _changed:
            if not _halts:
                _reaper = None
                return
            _changed.wait(_pause(_halts))
            halts = list(_halts)
        ended = [h for h in halts if _is_over(h)]
        with _changed:
            for halt in ended:
                _halts.remove(halt)


def _is_over(halt: Halt) -> bool:
    try:
        if halt.escalate():
            if halt.is_abandoned:
                _logger.warning(
                    "thread %r, abandoned %.1f s ago, has ended",
                    halt.name,
                    halt.seconds,
                )
            return True
    except Exception:
        # One halt that fails must not end the reaper for the others.
        _logger.exception("halting thread %r failed", halt.name)
    if not halt.is_abandoned and halt.seconds > ABANDON_SECONDS:
        halt.is_abandoned = True
        _logger.error("abandoned: %s", halt.leftover())
    return False
