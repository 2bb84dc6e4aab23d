"""Calls under way, found in the frames of running threads.

In comes nothing, out come the views that calls under way see. Sync calls are not
counted while they run: whoever wants to know looks at the stacks. The frame of a
caller has its view among the constants of its code.
"""

from __future__ import annotations

import sys
import threading
import types
from typing import TYPE_CHECKING, Any, Final

from luminal.hooks.concurrency import answer_of
from luminal.hooks.failure import GENERATED
from luminal.hooks.running import arun, run
from luminal.hooks.view import View

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["note_door", "note_general", "outermost", "this_thread", "views_of_threads"]

_COROUTINE: Final = 0x80


def _view_of(code: types.CodeType) -> View | None:
    for constant in code.co_consts:
        if type(constant) is types.MethodType and type(constant.__self__) is View:
            return constant.__self__
    return None


def _views(frame: types.FrameType | None) -> Iterator[tuple[View, bool]]:
    """Yield (view, is async) of each call on a stack, the innermost first."""
    general: View | None = None
    is_late = False
    while frame is not None:
        code = frame.f_code
        is_door = id(code) in _doors
        if code is _OF_ITS_OWN:
            # The bottom of a task's stack, which belongs to a call all the same.
            yield frame.f_locals["course"].view, True
        elif id(code) in _general:
            local = frame.f_locals
            course = local.get("course")
            general = local.get("view", general) if course is None else course.view
        elif code is _LATE:
            # What stands in front of it was prepared for a view that is gone.
            is_late = frame.f_locals.get("is_late", False)
        elif is_late:
            is_late = False
        elif is_door or code.co_filename.startswith(GENERATED):
            # The caller in front of a general run, or a gate, which knows no view.
            own = frame.f_locals.get("view") if is_door else _view_of(code)
            view, general = own or general, None
            if view is not None:
                yield view, bool(code.co_flags & _COROUTINE)
        frame = frame.f_back


_OF_ITS_OWN: Final = answer_of.__code__
_LATE: Final = View.asampled.__code__

# By identity: the hash of a code object is made anew from all its constants each time.
_general: Final[dict[int, types.CodeType]] = {}


_doors: Final[dict[int, types.CodeType]] = {}


def note_door(*functions: Callable[..., Any]) -> None:
    """Say that *functions* are where calls begin, with the view in a variable."""
    for function in functions:
        _doors[id(function.__code__)] = function.__code__


def note_general(*functions: Callable[..., Any]) -> None:
    """Say that *functions* run a call with its view or course in a variable."""
    for function in functions:
        _general[id(function.__code__)] = function.__code__


note_general(run, arun)


def outermost(policy: Any) -> View | None:
    """Return the view of this thread's outermost call of *policy*'s hooks."""
    found = None
    for view, _ in _views(sys._getframe(1)):  # noqa: SLF001 - the stack is the point
        if view.hook.policy is policy:
            found = view
    return found


def views_of_threads(policy: Any, *, awaited_too: bool = False) -> list[Any]:
    """Return (thread, view) for every sync call of *policy*'s hooks under way.

    Args:
        policy: What the hooks share.
        awaited_too: Also for async calls that a thread runs at this moment.
    """
    found = []
    for thread, frame in sys._current_frames().items():  # noqa: SLF001 - as above
        for view, awaited in _views(frame):
            if (awaited_too or not awaited) and view.hook.policy is policy:
                found.append((thread, view))
    return found


def this_thread() -> int:
    """Return the number that `views_of_threads` knows this thread by."""
    return threading.get_ident()
