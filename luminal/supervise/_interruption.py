"""Where a thread may be interrupted without leaving a lock held, and how that is done.

An exception that arrives at a backward jump or at a function's entry leaves through
every ``with`` and ``finally`` around it. One that arrives between ``lock.acquire()``
and the ``try`` below it does not. So there are rules for the places, and two ways to
raise.

On CPython 3.12 and later a `sys.monitoring` callback raises `SystemExit` in the thread
itself, at the first instruction of a loop's round or at a function's entry. Its events
are set only on the code objects of that thread's own work, and only while a halt is
under way. Other threads that run the same code pass through the callback unharmed.

On CPython 3.11, and for blocked threads, an asynchronous exception is sent. CPython
delivers it when the thread next takes the interpreter's lock back, so the place where
the thread stands now is the place where it is raised. NULL is never sent: on 3.11 and
3.12 that leaves the interpreter slower for good.
"""

from __future__ import annotations

import functools
import opcode
import os
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, FrameType

    from luminal.supervise._halting import Halt

__all__ = [
    "arm",
    "can_monitor",
    "disarm",
    "exit_error",
    "forget",
    "forget_monitoring",
    "is_clear",
    "is_in_machinery",
    "is_in_try",
    "is_own",
    "is_safe_point",
    "raise_anywhere",
    "raise_at_return",
    "raise_at_safe_point",
    "raise_if_covered",
    "send",
    "stack_of",
    "where",
]

_RESUME = opcode.opmap["RESUME"]
_STDLIB = os.path.dirname(os.path.abspath(threading.__file__))
_HERE = os.path.dirname(os.path.abspath(__file__))

# A thread inside one of these may hold a lock that the whole process needs.
_SHIELDED = (
    os.path.join(_STDLIB, "logging") + os.sep,
    os.path.join(_STDLIB, "importlib") + os.sep,
    os.path.join(_STDLIB, "threading.py"),
    os.path.join(_STDLIB, "queue.py"),
    os.path.join(_STDLIB, "weakref.py"),
    os.path.join(_STDLIB, "_weakrefset.py"),
    "<frozen importlib",
)
# The parts of threading.py that only call the thread's own code.
_BOOTSTRAP = frozenset({"_bootstrap", "_bootstrap_inner", "run"})
# Ours, and not to be interrupted either.
_MACHINERY = frozenset(
    os.path.join(_HERE, name) for name in ("_patches.py", "_halting.py", "_waits.py")
)
# Passed through by an exception, yet not the place to raise one.
_UNTOUCHED = (
    os.path.join(_STDLIB, "asyncio") + os.sep,
    os.path.join(_STDLIB, "concurrent") + os.sep,
    os.path.join(_STDLIB, "selectors.py"),
    os.path.join(_STDLIB, "contextlib.py"),
    os.path.join(_STDLIB, "subprocess.py"),
    _HERE + os.sep,
)
_IMPORTING = (os.path.join(_STDLIB, "importlib") + os.sep, "<frozen importlib")
# Names in a function that takes locks, or gives them back, by hand.
_TAKERS = frozenset(
    {"acquire", "release", "acquire_lock", "lock", "__enter__", "__exit__", "wait"}
)
# Functions that give something back: cut at their entry, it would stay taken.
_CLOSERS = frozenset(
    {"__exit__", "__aexit__", "__del__", "release", "close", "unlock", "shutdown"}
)


@functools.lru_cache(maxsize=2048)
def _is_shielded(file: str, name: str) -> bool:
    if not file.startswith(_SHIELDED):
        return False
    return not (file.endswith("threading.py") and name in _BOOTSTRAP)


@functools.lru_cache(maxsize=4096)
def is_own(code: CodeType, *, is_urgent: bool = False) -> bool:
    """Return whether *code* is what the thread runs, not what runs it.

    Args:
        code: Code of one frame.
        is_urgent: The thread's time for clean-up is over: the standard library
            counts as well, except for what holds locks of the process.
    """
    file = code.co_filename
    if code.co_name in _CLOSERS or file.startswith((*_UNTOUCHED, *_SHIELDED)):
        return False
    is_library = file.startswith(_STDLIB) and "site-packages" not in file
    return is_urgent or not is_library


def is_in_machinery(frame: FrameType | None) -> bool:
    """Return whether *frame* or one outwards of it runs our own book-keeping."""
    while frame is not None:
        code = frame.f_code
        if code.co_filename in _MACHINERY and code.co_name != "_owned_call":
            return True
        frame = frame.f_back
    return False


def is_clear(frame: FrameType | None) -> bool:
    """Return whether no frame from *frame* outwards may hold a lock of the process."""
    while frame is not None:
        code = frame.f_code
        if code.co_name in _CLOSERS or _is_shielded(code.co_filename, code.co_name):
            return False
        frame = frame.f_back
    return True


def takes_locks(code: CodeType) -> bool:
    """Return whether *code* mentions what takes or gives back a lock by hand."""
    return not _TAKERS.isdisjoint(code.co_names)


@functools.lru_cache(maxsize=512)
def _tries(code: CodeType) -> tuple[tuple[int, int], ...]:
    """Ranges of offsets inside a ``try``, clean-up code not counted."""
    import dis

    table = dis._parse_exception_table(code)  # type: ignore[attr-defined]  # noqa: SLF001
    return tuple((e.start, e.end) for e in table if not e.lasti)


def is_in_try(frame: FrameType) -> bool:
    """Return whether *frame* stands inside a ``try`` whose clean-up has not begun."""
    at = frame.f_lasti
    return any(start <= at < end for start, end in _tries(frame.f_code))


def is_covered(frame: FrameType | None) -> bool:
    """Return whether every lock that is taken by hand has its ``finally`` already.

    True where each frame from *frame* outwards either mentions no lock or stands
    inside a ``try`` that is not yet being cleaned up.
    """
    while frame is not None:
        code = frame.f_code
        name = code.co_name
        if name in _CLOSERS or name in _TAKERS:
            return False
        if code.co_filename.startswith(_IMPORTING):
            return False
        is_taking = takes_locks(code) and code.co_name not in _BOOTSTRAP
        if is_taking and not is_in_try(frame):
            return False
        frame = frame.f_back
    return True


def stack_of(ident: int) -> FrameType | None:
    """Return the innermost Python frame of the thread *ident*, or None."""
    return sys._current_frames().get(ident)  # noqa: SLF001 - the documented way


def own_codes(frame: FrameType | None, *, is_urgent: bool) -> set[CodeType]:
    """Return the code objects of the thread's own work, from *frame* outwards."""
    codes = set()
    while frame is not None:
        if is_own(frame.f_code, is_urgent=is_urgent):
            codes.add(frame.f_code)
        frame = frame.f_back
    return codes


def where(frame: FrameType | None) -> str:
    """Return ``file:line in function`` of the innermost frame outside this package."""
    while frame is not None and frame.f_code.co_filename.startswith(_HERE):
        frame = frame.f_back
    if frame is None:
        return ""
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"


def _jumps_back(opname: str) -> bool:
    return "JUMP_BACKWARD" in opname and "NO_INTERRUPT" not in opname


@functools.lru_cache(maxsize=512)
def round_offsets(code: CodeType) -> frozenset[int]:
    """Offsets of the first instruction of each loop's round in *code*."""
    import dis

    steps = dis.get_instructions(code)
    return frozenset(int(s.argval) for s in steps if _jumps_back(s.opname))


@functools.lru_cache(maxsize=512)
def jump_offsets(code: CodeType) -> frozenset[int]:
    """Offsets of the backward jumps in *code*."""
    import dis

    steps = dis.get_instructions(code)
    return frozenset(s.offset for s in steps if _jumps_back(s.opname))


@functools.lru_cache(maxsize=512)
def _safe_offsets(code: CodeType) -> frozenset[int]:
    """Offsets at which an exception meets the handlers that the source shows.

    CPython 3.11 looks a backward jump's handler up at the instruction *before* the
    jump's target, because it has jumped already when it notices the exception. A
    jump whose two places have different handlers is therefore no safe point.
    """
    import dis

    table = dis._parse_exception_table(code)  # type: ignore[attr-defined]  # noqa: SLF001

    def handler(offset: int) -> int:
        found = [e.target for e in table if e.start <= offset < e.end]
        return found[-1] if found else -1

    safe = set()
    for step in dis.get_instructions(code):
        if step.opname == "RESUME" and (step.arg or 0) < 2:
            safe.add(step.offset)
        elif _jumps_back(step.opname):
            jumped = int(step.argval) - 2
            if handler(step.offset) == handler(jumped):
                safe.add(step.offset)
    return frozenset(safe)


def is_safe_point(frame: FrameType, *, is_urgent: bool = False) -> bool:
    """Return whether an exception may arrive in *frame*, the innermost of its thread.

    The very entry of a shielded function is as good as the call of it: it has not
    taken anything yet.
    """
    code = frame.f_code
    if code.co_name in _CLOSERS or frame.f_lasti not in _safe_offsets(code):
        return False
    if is_own(code, is_urgent=is_urgent):
        return is_clear(frame)
    outer = frame.f_back
    return (
        outer is not None
        and code.co_code[frame.f_lasti] == _RESUME
        and is_own(outer.f_code, is_urgent=is_urgent)
        and is_clear(outer)
    )


def is_plain_point(frame: FrameType, *, is_urgent: bool = False) -> bool:
    """Return whether *frame* runs code with no ``try``, ``with`` or lock by hand.

    Nothing is given back there, so the return of a call is as good as a jump. It may
    be a call that blocks.
    """
    code = frame.f_code
    return (
        not code.co_exceptiontable
        and not takes_locks(code)
        and is_own(code, is_urgent=is_urgent)
        and is_clear(frame)
    )


# Guards the two tables and the tool's registration; never held while raising.
_lock = threading.Lock()
# Identifier of the thread → its halt. Read by the callbacks without the lock: one
# dictionary look-up is atomic.
_armed: dict[int, Halt] = {}
# Code object → identifiers of the threads that it is instrumented for.
_instrumented: dict[CodeType, set[int]] = {}
_tool = -1


def can_monitor() -> bool:
    """Return whether a tool number is ours, or free to be taken."""
    return _tool >= 0 or _free_tool() >= 0


if sys.version_info >= (3, 12):
    _monitoring = sys.monitoring
    _EVENTS = _monitoring.events

    def _free_tool() -> int:
        for number in (4, 3, 5):
            if _monitoring.get_tool(number) is None:
                return number
        return -1

    def _on_entry(code: CodeType, _offset: int) -> None:
        _raise_in(code)

    def _on_instruction(code: CodeType, offset: int) -> None:
        halt = _armed.get(threading.get_ident())
        if halt is None:
            return
        # Swallowed twice: the round may begin inside the very ``try`` that swallows.
        # The jump before it may be outside; it may also be outside of a ``with``
        # around the loop, which is why it is not the first choice.
        if offset in round_offsets(code) or (
            halt.raises > 1 and (halt.is_desperate or offset in jump_offsets(code))
        ):
            _raise_in(code)

    def _raise_in(code: CodeType) -> None:
        halt = _armed.get(threading.get_ident())
        # 0 is this function, 1 the callback, 2 the code that it was called for.
        if (
            halt is not None
            and is_own(code, is_urgent=halt.is_urgent)
            and is_clear(sys._getframe(2))  # noqa: SLF001 - the documented way
            and halt.may_raise()
        ):
            raise SystemExit

    def _claim() -> None:
        global _tool
        if _tool < 0:
            _tool = _free_tool()
            _monitoring.use_tool_id(_tool, "luminal halt")
            _monitoring.register_callback(_tool, _EVENTS.PY_START, _on_entry)
            _monitoring.register_callback(_tool, _EVENTS.INSTRUCTION, _on_instruction)

    def _yield_tool() -> None:
        global _tool
        for event in (_EVENTS.PY_START, _EVENTS.INSTRUCTION):
            _monitoring.register_callback(_tool, event, None)
        _monitoring.free_tool_id(_tool)
        _tool = -1

    def arm(halt: Halt) -> None:
        """Instrument what *halt*'s thread runs now; call again for what it runs later.

        The event JUMP would be the obvious one, but what its callback raises passes
        every handler of the function by: CPython 3.12.1 and 3.13.0 look the handler
        up at an address that they have just overwritten. So a round's end is seen as
        the first instruction of the next round.
        """
        with _lock:
            if not can_monitor():
                return
            codes = own_codes(stack_of(halt.ident), is_urgent=halt.is_urgent)
            _claim()
            _armed[halt.ident] = halt
            for code in codes:
                holders = _instrumented.setdefault(code, set())
                if not holders:
                    events = _EVENTS.INSTRUCTION | _EVENTS.PY_START
                    _monitoring.set_local_events(_tool, code, events)
                holders.add(halt.ident)

    def disarm(halt: Halt) -> None:
        """Take *halt*'s instruments away; after the last, give the tool number back."""
        with _lock:
            if _armed.get(halt.ident) is not halt:
                return
            del _armed[halt.ident]
            for code, holders in list(_instrumented.items()):
                holders.discard(halt.ident)
                if not holders:
                    del _instrumented[code]
                    _monitoring.set_local_events(_tool, code, 0)
            if not _armed:
                _yield_tool()

    def forget_monitoring() -> None:
        """Take every instrument away; in the child after a fork."""
        global _lock
        _lock = threading.Lock()
        _armed.clear()
        for code in _instrumented:
            _monitoring.set_local_events(_tool, code, 0)
        _instrumented.clear()
        if _tool >= 0:
            _yield_tool()

else:

    def _free_tool() -> int:
        return -1

    def arm(halt: Halt) -> None:
        """Do nothing: this interpreter cannot monitor."""

    def disarm(halt: Halt) -> None:
        """Do nothing: this interpreter cannot monitor."""

    def forget_monitoring() -> None:
        """Do nothing: this interpreter cannot monitor."""


_PUSH_EXC_INFO = opcode.opmap["PUSH_EXC_INFO"]
# Identifier of the thread → its halt, for the exception that comes back.
_sent: dict[int, Halt] = {}


def send(halt: Halt) -> bool:
    """Make `SystemExit` pending in *halt*'s thread; False where it has ended."""
    import ctypes

    post = ctypes.pythonapi.PyThreadState_SetAsyncExc
    ident, error = ctypes.c_ulong(halt.ident), ctypes.py_object(exit_error(halt))
    # Identifiers are given to new threads at once: ask immediately before sending.
    if not halt.is_open():
        return False
    sent = post(ident, error)
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


def exit_error(halt: Halt) -> type[SystemExit]:
    """Return what to raise in *halt*'s thread: on 3.11 an exit that comes back."""
    if sys.version_info >= (3, 12):
        return SystemExit
    if halt.trace is None:
        halt.trace = functools.partial(_trace, halt)
    _sent[halt.ident] = halt
    return RecurringExit


def forget(halt: Halt) -> None:
    """Drop what is kept for *halt*, whose thread has ended."""
    if _sent.get(halt.ident) is halt:
        del _sent[halt.ident]
        halt.trace = None


def raise_at_safe_point(halt: Halt) -> bool:
    """Send if the thread stands where nothing can be left behind.

    That is at a jump or an entry, or anywhere in code that gives nothing back.
    """
    frame = stack_of(halt.ident)
    if frame is None:
        return False
    is_urgent = halt.is_urgent
    is_harmless = is_safe_point(frame, is_urgent=is_urgent) or is_plain_point(
        frame, is_urgent=is_urgent
    )
    return is_harmless and send(halt)


def raise_if_covered(halt: Halt) -> bool:
    """Send to a thread that is always met inside of logging, where that is harmless.

    A logging thread lets go of the interpreter's lock while it writes, so it is met
    there and nowhere else; the call that writes stands inside a ``try``.
    """
    frame = stack_of(halt.ident)
    return frame is not None and is_covered(frame) and send(halt)


def raise_at_return(halt: Halt, frame: FrameType) -> bool:
    """Send to a thread that is blocked in *frame*'s call: raised when that returns.

    Not where the code mentions taking a lock: an exception on the way out of
    ``acquire()`` leaves the lock held.
    """
    code = frame.f_code
    if takes_locks(code) or not is_own(code):
        return False
    return is_clear(frame) and send(halt)


def raise_anywhere(halt: Halt) -> bool:
    """Send wherever the thread stands, but never inside what holds process locks."""
    frame = stack_of(halt.ident)
    if frame is None or not is_clear(frame) or not is_own(frame.f_code, is_urgent=True):
        return False
    return send(halt)


class RecurringExit(SystemExit):
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
    """Trace the present thread, from *frame* outwards.

    With one trace function for the whole halt: CPython 3.11 calls that of a frame by a
    borrowed reference. This runs in a finalizer, also while it is about to be called;
    a new one here would take the last reference away, and the interpreter crashes.
    """
    halt = _sent.get(threading.get_ident())
    if halt is None or halt.trace is None or not halt.is_open():
        return
    sys.settrace(halt.trace)  # type: ignore[arg-type]
    while frame is not None:
        if is_own(frame.f_code):
            frame.f_trace = halt.trace
        frame = frame.f_back


def _trace(halt: Halt, frame: FrameType, event: str, _arg: object) -> object:
    """Raise at the end of a loop's round and at an entry; the trace function."""
    if not is_own(frame.f_code, is_urgent=halt.is_urgent):
        return None
    if event in ("line", "call"):
        # A line at or above the last one of the same frame is a backward jump.
        last_frame, last_line = halt.last_line
        halt.last_line = id(frame), frame.f_lineno
        is_round = id(frame) == last_frame and frame.f_lineno <= last_line
        is_point = is_round or event == "call" or halt.is_urgent
        # Where a handler begins, `may_raise` cannot see yet that it is one.
        is_handler = frame.f_code.co_code[frame.f_lasti] == _PUSH_EXC_INFO
        if is_point and not is_handler and is_clear(frame) and halt.may_raise():
            raise RecurringExit
    return halt.trace
