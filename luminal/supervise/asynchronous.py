"""Halting by an asynchronous exception, sent only where it does no harm.

What comes in is the halt of one thread, what goes out is `SystemExit` pending in it.
CPython delivers such an exception when the thread next takes the interpreter's lock
back, so the place where it stands now is the place where it is raised. NULL is never
sent: on 3.11 and 3.12 that leaves the interpreter slower for good.
"""

from __future__ import annotations

import functools
import opcode
import sys
import threading
from typing import TYPE_CHECKING

from luminal.supervise.points import (
    is_clear,
    is_covered,
    is_own,
    is_plain_point,
    is_safe_point,
    stack_of,
    takes_locks,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from luminal.supervise.halt_state import HaltState

__all__ = [
    "exit_error",
    "forget",
    "raise_anywhere",
    "raise_at_return",
    "raise_at_safe_point",
    "raise_if_covered",
    "send",
]


_PUSH_EXC_INFO = opcode.opmap["PUSH_EXC_INFO"]
# Identifier of the thread → its halt, for the exception that comes back.
_sent: dict[int, HaltState] = {}


def send(halt: HaltState) -> bool:
    """Make `SystemExit` pending in *halt*'s thread; False where it has ended."""
    import ctypes

    error = exit_error(halt)

    # Identifiers are given to new threads at once: ask immediately before sending.
    if not halt.is_open():
        return False
    post = ctypes.pythonapi.PyThreadState_SetAsyncExc
    sent = post(ctypes.c_ulong(halt.ident), ctypes.py_object(error))
    halt.raises += 1
    if sys.version_info < (3, 12):
        _take_flag_down(post, ctypes.c_ulong(threading.get_ident()))
    return bool(sent)


class _Down(BaseException):
    """Sent by a thread to itself."""


def _take_flag_down(post: Callable[..., int], me: object) -> None:
    """Take the interpreter's notice of a pending exception down, on 3.11.

    It is one for all threads, and stays until its receiver runs. Meanwhile every
    thread looks for it at each round, and one that is traced looks for ever: it hangs
    at the entry of a function. Whoever receives an exception takes the notice down;
    who then takes the interpreter's lock with one pending puts it up again.
    """
    import ctypes

    try:
        post(me, ctypes.py_object(_Down))
        # It is raised when that call returns, at the latest with the next round.
        for _ in range(1000):
            pass
    except _Down:
        pass


def exit_error(halt: HaltState) -> type[SystemExit]:
    """Return what to raise in *halt*'s thread: on 3.11 an exit that comes back."""
    if sys.version_info >= (3, 12):
        return SystemExit
    _sent[halt.ident] = halt
    return Pressed


def forget(halt: HaltState) -> None:
    """Drop what is kept for *halt*, whose thread has ended."""
    if _sent.get(halt.ident) is halt:
        del _sent[halt.ident]


def raise_at_safe_point(halt: HaltState) -> bool:
    """Send where nothing can be left behind; tell whether the thread stands there.

    That is at a jump or an entry, or anywhere in code that gives nothing back.
    """
    frame = stack_of(halt.ident)
    if frame is None:
        return False
    pressing = halt.is_pressing
    is_harmless = is_safe_point(frame, is_pressing=pressing) or is_plain_point(
        frame, is_pressing=pressing
    )
    return is_harmless and send(halt)


def raise_if_covered(halt: HaltState) -> bool:
    """Send to a thread that is always met inside of logging, where that is harmless.

    A logging thread lets go of the interpreter's lock while it writes, so it is met
    there and nowhere else; the call that writes stands inside a ``try``.
    """
    frame = stack_of(halt.ident)
    return frame is not None and is_covered(frame) and send(halt)


def raise_at_return(halt: HaltState, frame: FrameType) -> bool:
    """Send to a thread that is blocked in *frame*'s call: raised when that returns.

    Not where the code mentions taking a lock: an exception on the way out of
    ``acquire()`` leaves the lock held.
    """
    code = frame.f_code
    if takes_locks(code) or not is_own(code):
        return False
    return is_clear(frame) and send(halt)


def raise_anywhere(halt: HaltState) -> bool:
    """Send wherever the thread stands, but never inside what holds process locks."""
    frame = stack_of(halt.ident)
    if (
        frame is None
        or not is_clear(frame)
        or not is_own(frame.f_code, is_pressing=True)
    ):
        return False
    return send(halt)


class Pressed(SystemExit):
    """`SystemExit` that comes back while it is swallowed; sent on 3.11 only.

    It is instantiated when a handler is about to take it, in the thread itself: the
    one moment at which code of ours runs there. From then on that thread alone is
    traced, and the trace asks the halt at each round's end and each entry.
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        _trace_from(sys._getframe(1))  # noqa: SLF001 - the documented way

    def __del__(self) -> None:
        # CPython removes a trace function that raises; put it back.
        _trace_from(sys._getframe(0).f_back)  # noqa: SLF001


def _trace_from(frame: FrameType | None) -> None:
    halt = _sent.get(threading.get_ident())
    if halt is None or not halt.is_open():
        return
    press = functools.partial(_press, halt)
    sys.settrace(press)  # type: ignore[arg-type]
    while frame is not None:
        if is_own(frame.f_code):
            frame.f_trace = press
        frame = frame.f_back


def _press(halt: HaltState, frame: FrameType, event: str, _arg: object) -> object:
    if not is_own(frame.f_code, is_pressing=halt.is_pressing):
        return None
    if event in ("line", "call"):
        # A line at or above the last one of the same frame is a backward jump.
        last_frame, last_line = halt.last_line
        halt.last_line = id(frame), frame.f_lineno
        is_round = id(frame) == last_frame and frame.f_lineno <= last_line
        if frame.f_code.co_code[frame.f_lasti] == _PUSH_EXC_INFO:
            return functools.partial(
                _press, halt
            )  # a handler begins, which `may_raise` cannot see yet
        is_point = is_round or event == "call" or halt.is_pressing
        if is_point and is_clear(frame) and halt.may_raise():
            raise Pressed
    return functools.partial(_press, halt)
