"""Wake a blocked thread so that its halt reaches it.

What comes in is a halt whose thread stands in a call that does not return by itself;
what goes out is whether something was done that makes it return. Each kind of
blocking has its own waker. A waker touches only what the blocked frame itself holds,
and never waits.
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING

from luminal.supervise.asynchronous import exit_error, send
from luminal.supervise.points import is_clear, is_in_try, stack_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from luminal.supervise.halt_state import HaltState

__all__ = ["wake"]

_THREADING = os.path.abspath(threading.__file__)
_STDLIB = os.path.dirname(_THREADING)
_DEPTH = 12


def wake(halt: HaltState, *, is_blocked: bool) -> bool:
    """Make the blocking call of *halt*'s thread return; False where nothing can.

    Condition, Event, Queue, Semaphore, Barrier and Future all wait in
    `threading.Condition.wait`: its waiter is released, with `SystemExit` pending, so
    that it is raised inside that function's own ``try``. A socket is shut down, a
    child that is waited for is killed, a running event loop is cancelled.

    Args:
        halt: The halt of the thread.
        is_blocked: It stands where it stood at the last look, and used no time of a
            processor since; only then are sockets and children touched.
    """
    frame = stack_of(halt.ident)
    if frame is None:
        return False
    if _is_code(frame, "threading.py", "wait"):
        return _release_waiter(halt, frame)
    for inner in _outwards(frame):
        if _is_code(inner, "base_events.py", "run_forever"):
            return _stop_event_loop(halt, inner.f_locals.get("self"))
        if not is_blocked:
            continue
        if _is_code(inner, "subprocess.py", "_wait", "_communicate", "_try_wait"):
            return _kill(inner.f_locals.get("self"))
        if _is_code(inner, "popen_fork.py", "poll", "wait"):
            return _kill_pid(inner.f_locals.get("self"))
    return is_blocked and is_clear(frame) and _shut_sockets(frame)


def _outwards(frame: FrameType) -> Iterator[FrameType]:
    at: FrameType | None = frame
    for _ in range(_DEPTH):
        if at is None:
            return
        yield at
        at = at.f_back


def _is_code(frame: FrameType, file: str, *names: str) -> bool:
    code = frame.f_code
    return (
        code.co_name in names
        and os.path.basename(code.co_filename) == file
        and code.co_filename.startswith(_STDLIB)
    )


def _release_waiter(halt: HaltState, frame: FrameType) -> bool:
    waiter = frame.f_locals.get("waiter")
    # Only while it stands in that `try`: anywhere else the exception would leave the
    # condition's own lock in a wrong state, or arrive later, in other code.
    if waiter is None or not waiter.locked() or not is_in_try(frame):
        return False
    if halt.raises and not halt.is_pressing:
        return False  # it has been told, and may still be cleaning up
    if not send(halt):
        return False
    # Where a real notification came first, the exception is pending all the same.
    with contextlib.suppress(RuntimeError):
        waiter.release()
    return True


def _stop_event_loop(halt: HaltState, loop: object) -> bool:
    import asyncio

    if not isinstance(loop, asyncio.AbstractEventLoop):
        return False

    def cancel_all() -> None:
        for task in asyncio.all_tasks(loop):
            task.cancel()

    def leave() -> None:
        halt.raises += 1
        raise exit_error(halt)

    try:
        loop.call_soon_threadsafe(leave if halt.is_pressing else cancel_all)
    except RuntimeError:
        return False  # it closed meanwhile
    return True


def _kill(child: object) -> bool:
    import subprocess

    if not isinstance(child, subprocess.Popen) or child.returncode is not None:
        return False
    child.kill()
    return True


def _kill_pid(popen: object) -> bool:
    import signal

    pid = getattr(popen, "pid", None)
    if not isinstance(pid, int) or getattr(popen, "returncode", 0) is not None:
        return False
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _shut_sockets(frame: FrameType) -> bool:
    import socket

    done = False
    for inner in list(_outwards(frame))[:3]:
        held = list(inner.f_locals.values())
        me = inner.f_locals.get("self")
        if me is not None and not isinstance(me, threading.Thread):
            held += list(getattr(me, "__dict__", {}).values())
        for thing in held:
            if isinstance(thing, socket.socket) and thing.fileno() >= 0:
                # Not connected? Its reader is woken all the same on Linux.
                with contextlib.suppress(OSError):
                    thing.shutdown(socket.SHUT_RDWR)
                done = True
    return done
