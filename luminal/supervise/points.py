"""Where a thread may be interrupted without leaving a lock held.

What comes in is a frame of a running thread, what goes out is a verdict. An
exception that arrives at a backward jump or at a function's entry leaves through
every ``with`` and ``finally`` around it; one that arrives between
``lock.acquire()`` and the ``try`` below it does not. This module never raises into
a thread; it only says where one stands.
"""

from __future__ import annotations

import functools
import opcode
import os
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import CodeType, FrameType

__all__ = [
    "is_clear",
    "is_in_machinery",
    "is_in_try",
    "is_own",
    "is_plain_point",
    "is_safe_point",
    "own_codes",
    "round_offsets",
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
    os.path.join(_HERE, name)
    for name in ("starters.py", "halts.py", "reaper.py", "attribution.py")
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
def is_own(code: CodeType, *, is_pressing: bool = False) -> bool:
    """Tell whether *code* is what the thread runs, not what runs it.

    Args:
        code: Code of one frame.
        is_pressing: The thread's time for clean-up is over: the standard library
            counts as well, except for what holds locks of the process.
    """
    file = code.co_filename
    if code.co_name in _CLOSERS or file.startswith((*_UNTOUCHED, *_SHIELDED)):
        return False
    is_library = file.startswith(_STDLIB) and "site-packages" not in file
    return is_pressing or not is_library


def is_in_machinery(frame: FrameType | None) -> bool:
    """Tell whether *frame* or one outwards of it runs our own book-keeping."""
    while frame is not None:
        code = frame.f_code
        if code.co_filename in _MACHINERY and code.co_name != "_owned_call":
            return True
        frame = frame.f_back
    return False


def is_clear(frame: FrameType | None) -> bool:
    """Tell whether no frame from *frame* outwards may hold a lock of the process."""
    while frame is not None:
        code = frame.f_code
        if code.co_name in _CLOSERS or _is_shielded(code.co_filename, code.co_name):
            return False
        frame = frame.f_back
    return True


def takes_locks(code: CodeType) -> bool:
    """Tell whether *code* mentions what takes or gives back a lock by hand."""
    return not _TAKERS.isdisjoint(code.co_names)


@functools.lru_cache(maxsize=512)
def _tries(code: CodeType) -> tuple[tuple[int, int], ...]:
    """Ranges of offsets inside a ``try``, clean-up code not counted."""
    import dis

    table = dis._parse_exception_table(code)  # type: ignore[attr-defined]  # noqa: SLF001
    return tuple((e.start, e.end) for e in table if not e.lasti)


def is_in_try(frame: FrameType) -> bool:
    """Tell whether *frame* stands inside a ``try`` whose clean-up has not begun."""
    at = frame.f_lasti
    return any(start <= at < end for start, end in _tries(frame.f_code))


def is_covered(frame: FrameType | None) -> bool:
    """Tell whether every lock that is taken by hand has its ``finally`` already.

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


def own_codes(frame: FrameType | None, *, is_pressing: bool) -> set[CodeType]:
    """Return the code objects of the thread's own work, from *frame* outwards."""
    codes = set()
    while frame is not None:
        if is_own(frame.f_code, is_pressing=is_pressing):
            codes.add(frame.f_code)
        frame = frame.f_back
    return codes


def where(frame: FrameType | None) -> str:
    """Return ``file:line in function`` of the innermost frame outside this room."""
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


def is_safe_point(frame: FrameType, *, is_pressing: bool = False) -> bool:
    """Tell whether an exception may arrive in *frame*, the innermost of its thread.

    The very entry of a shielded function is as good as the call of it: it has not
    taken anything yet.
    """
    code = frame.f_code
    if code.co_name in _CLOSERS or frame.f_lasti not in _safe_offsets(code):
        return False
    if is_own(code, is_pressing=is_pressing):
        return is_clear(frame)
    outer = frame.f_back
    return (
        outer is not None
        and code.co_code[frame.f_lasti] == _RESUME
        and is_own(outer.f_code, is_pressing=is_pressing)
        and is_clear(outer)
    )


def is_plain_point(frame: FrameType, *, is_pressing: bool = False) -> bool:
    """Tell whether *frame* runs code with no ``try``, ``with`` or lock by hand.

    Nothing is given back there, so the return of a call is as good as a jump. It may
    be a call that blocks.
    """
    code = frame.f_code
    return (
        not code.co_exceptiontable
        and not takes_locks(code)
        and is_own(code, is_pressing=is_pressing)
        and is_clear(frame)
    )
