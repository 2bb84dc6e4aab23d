"""One hook as a call sees it: an unchanging list of occupants.

In comes an order, out comes what the callers are prepared from. A call uses one view
from its first implementation to its last; a change makes a new view and never
touches an old one.
"""

from __future__ import annotations

import itertools
import sys
import threading
import types
from typing import TYPE_CHECKING, Any, Final

from luminal.hooks._errors import GENERATED
from luminal.hooks._execution import answer_of, arun, run

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from typing import Protocol

    from luminal.hooks._impl import Implementation
    from luminal.hooks._order import Order

    class Hook(Protocol):
        """What a view asks of its hook."""

        name: str
        lock: threading.RLock
        order: Order
        spec: Any
        sync: Any
        awaited: Any
        spent: CallSnapshot | None
        tick: Callable[[], int]
        policy: Any

        @property
        def is_first(self) -> bool: ...
        def run(self, snapshot: CallSnapshot, kwargs: dict[str, Any], weight: int) -> Any: ...
        async def arun(
            self, snapshot: CallSnapshot, kwargs: dict[str, Any], weight: int
        ) -> Any: ...
        def step_to(self, snapshot: CallSnapshot) -> None: ...
        def count(self, old: CallSnapshot) -> None: ...
        def given(self, kwargs: dict[str, Any]) -> dict[str, Any]: ...
        def blame(self, snapshot: CallSnapshot, place: int, error: BaseException) -> None: ...
        def spare(self, snapshot: CallSnapshot, place: int, error: BaseException) -> bool: ...


__all__ = [
    "PERIOD",
    "CallSnapshot",
    "note_door",
    "note_general",
    "outermost",
    "read",
    "this_thread",
    "views_of_threads",
]

# === hooks.view ===
# One hook as a call sees it: an unchanging list of occupants.
#
# In comes an order, out comes what the callers are prepared from. A call uses one view
# from its first implementation to its last; a change makes a new view and never
# touches an old one.

PERIOD: Final = 128
"""Of so many calls of a prepared caller one is timed; a power of two."""


def read(counter: itertools.count[int]) -> int:
    """Return how often ``next`` was called on *counter*, without counting."""
    # A `count` is the one counter that is exact under threads without a lock; its
    # text is the one way to look at it that neither advances it nor is deprecated.
    return int(repr(counter)[6:-1])


class CallSnapshot:
    """What a call of one hook sees.

    Attributes:
        hook: The hook.
        epoch: Number of the manager's last swap when it was made; a call belongs to
            the epoch of its outermost view.
        occupants: In the order of calls, wrappers first; None until the first call,
            so that thousands of registrations in a row sort nothing.
        is_gone: Whether another view has taken its place.
        heat, aheat: Calls made before a caller was prepared.
        lines, alines: Line of the prepared caller → place of the occupant.
        entered, left: Async calls that began and ended.
    """

    __slots__ = (
        "_occupants",
        "aheat",
        "alines",
        "enter",
        "entered",
        "epoch",
        "heat",
        "hook",
        "is_gone",
        "left",
        "lines",
    )

    def __init__(
        self, hook: Hook, epoch: int, implementations: tuple[Implementation, ...] | None = None
    ) -> None:
        self.hook = hook
        self.epoch = epoch
        self._implementations = implementations
        self.is_gone = False
        self.heat = 0
        self.aheat = 0
        self.lines: dict[int, int] = {}
        self.alines: dict[int, int] = {}
        self.entered = itertools.count()
        self.enter = self.entered.__next__
        self.left = itertools.count()

    @property
    def is_pending(self) -> bool:
        """Whether the occupants have not been looked up yet."""
        return self._implementations is None

    @property
    def implementations(self) -> tuple[Implementation, ...]:
        """The occupants in the order of calls, wrappers first."""
        if self._implementations is None:
            with self.hook.lock:
                if self._implementations is None:
                    self._implementations = self.hook.order.implementations()
                    self.hook.spent = None
        return self._implementations

    def without(self, removed: Collection[str]) -> list[Implementation]:
        """Return the occupants but for those of plugins whose names are *removed*."""
        return [o for o in self.implementations if o.photon not in removed]

    def again(self, epoch: int) -> CallSnapshot:
        """Return a view of the same occupants for *epoch*."""
        return CallSnapshot(self.hook, epoch, self._implementations)

    @property
    def awaited(self) -> int:
        """Number of async calls under way."""
        # `left` first: a call that ends in between is counted as under way.
        left = read(self.left)
        return read(self.entered) - left

    # What sampled calls of a prepared caller are bound to. The bound method among a
    # caller's constants is also how a frame leads to its view.

    def sampled(self, kwargs: dict[str, Any]) -> Any:
        """Call with a clock at every implementation, for all calls of a period."""
        return self.hook.run(self, kwargs, PERIOD)

    async def asampled(self, kwargs: dict[str, Any]) -> Any:
        """Await with a clock at every implementation.

        A coroutine that was made before a change and is awaited after it comes here
        too: it has not begun, so it sees what is there now.
        """
        is_late = self.is_gone
        if is_late:
            next(self.left)  # it is none of this view's calls
            return await self.hook.awaited(**self.hook.given(kwargs))
        try:
            return await self.hook.arun(self, kwargs, PERIOD)
        finally:
            next(self.left)

    # A prepared caller has a line of its own for each occupant, so that the line of
    # the traceback tells whose an exception is, and calls that go well pay nothing.

    def fail(self, error: BaseException) -> None:
        """Attribute *error*, which ends a prepared sync call."""
        self._blame(self.lines, error)

    def afail(self, error: BaseException) -> None:
        """Attribute *error*, which ends a prepared async call."""
        self._blame(self.alines, error)

    def _blame(self, lines: dict[int, int], error: BaseException) -> None:
        place = lines.get(_line(error))
        if place is not None:  # else a tracer's: a debugger that quits, a halt
            self.hook.blame(self, place, error)

    def spare(self, error: BaseException) -> None:
        """Report *error* of a prepared sync call, which goes on."""
        self.hook.spare(self, self.lines[_line(error)], error)

    def aspare(self, error: BaseException) -> None:
        """Report *error* of a prepared async call, which goes on."""
        self.hook.spare(self, self.alines[_line(error)], error)

    def wrapper_failed(self, place: int, error: BaseException) -> bool:
        """Attribute the *error* of a wrapper's second half; True: it is dealt with."""
        return self.hook.spare(self, place, error)

    def wrapper_fared_well(self, place: int) -> None:
        """End a streak of failures of the wrapper at *place*."""
        self.implementations[place].tally.streak = 0


def _line(error: BaseException) -> int:
    return error.__traceback__.tb_lineno if error.__traceback__ is not None else 0


# === hooks.calls ===
# Calls under way, found in the frames of running threads.
#
# In comes nothing, out come the views that calls under way see. Sync calls are not
# counted while they run: whoever wants to know looks at the stacks. The frame of a
# caller has its view among the constants of its code.

_COROUTINE: Final = 0x80


def _view_of(code: types.CodeType) -> CallSnapshot | None:
    for constant in code.co_consts:
        if type(constant) is types.MethodType and type(constant.__self__) is CallSnapshot:
            return constant.__self__
    return None


def _views(frame: types.FrameType | None) -> Iterator[tuple[CallSnapshot, bool]]:
    """Yield (view, is async) of each call on a stack, the innermost first."""
    general: CallSnapshot | None = None
    is_late = False
    while frame is not None:
        code = frame.f_code
        is_door = id(code) in _doors
        if code is _OF_ITS_OWN:
            # The bottom of a task's stack, which belongs to a call all the same.
            yield frame.f_locals["course"].snapshot, True
        elif id(code) in _general:
            local = frame.f_locals
            context = local.get("course")
            general = local.get("view", general) if context is None else context.snapshot
        elif code is _LATE:
            # What stands in front of it was prepared for a view that is gone.
            is_late = frame.f_locals.get("is_late", False)
        elif is_late:
            is_late = False
        elif is_door or code.co_filename.startswith(GENERATED):
            # The caller in front of a general run, or a gate, which knows no view.
            own = frame.f_locals.get("view") if is_door else _view_of(code)
            snapshot, general = own or general, None
            if snapshot is not None:
                yield snapshot, bool(code.co_flags & _COROUTINE)
        frame = frame.f_back


_OF_ITS_OWN: Final = answer_of.__code__
_LATE: Final = CallSnapshot.asampled.__code__

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


def outermost(policy: Any) -> CallSnapshot | None:
    """Return the view of this thread's outermost call of *policy*'s hooks."""
    found = None
    for snapshot, _ in _views(sys._getframe(1)):  # noqa: SLF001 - the stack is the point
        if snapshot.hook.policy is policy:
            found = snapshot
    return found


def views_of_threads(policy: Any, *, awaited_too: bool = False) -> list[Any]:
    """Return (thread, view) for every sync call of *policy*'s hooks under way.

    Args:
        policy: What the hooks share.
        awaited_too: Also for async calls that a thread runs at this moment.
    """
    found = []
    for thread, frame in sys._current_frames().items():  # noqa: SLF001 - as above
        for snapshot, awaited in _views(frame):
            if (awaited_too or not awaited) and snapshot.hook.policy is policy:
                found.append((thread, snapshot))
    return found


def this_thread() -> int:
    """Return the number that `views_of_threads` knows this thread by."""
    return threading.get_ident()
