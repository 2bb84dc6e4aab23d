"""Calls under way: what each of them sees, and how to find them.

A call uses one `CallSnapshot` from its first implementation to its last. A change of
the order makes a new snapshot and never touches an old one. Sync calls are not counted
while they run; they are found on the stacks of the threads. The frame of a compiled
caller has its snapshot among the constants of its code. Other functions that run a call
have it in a local variable.
"""

from __future__ import annotations

import itertools
import sys
import types
from typing import TYPE_CHECKING, Any, Final

from luminal.hooks._compile import PERIOD, without_absent
from luminal.hooks._errors import COMPILED
from luminal.hooks._execution import answer_of, arun, run

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from luminal.hooks._caller import Caller
    from luminal.hooks._errors import Policy
    from luminal.hooks._impl import Implementation

__all__ = [
    "CallSnapshot",
    "calls_of_threads",
    "count_of",
    "note_entries",
    "note_runners",
    "outermost",
]


def count_of(counter: itertools.count[int]) -> int:
    """Return how often ``next`` was called on *counter*, without calling it."""
    # A `count` is exact under threads without a lock. Its text is the one way to read
    # it that neither advances it nor is deprecated.
    return int(repr(counter)[6:-1])


class CallSnapshot:
    """The implementations that a call of one hook sees.

    Attributes:
        caller: The hook's caller.
        epoch: Number of the manager's last swap when the snapshot was made. A call
            belongs to the epoch of its outermost call's snapshot.
        is_gone: Whether another snapshot has replaced it.
        heat, aheat: Sync and async calls so far without a compiled caller.
        lines, alines: Line of the compiled caller → index of the implementation.
        entered, left: Counters of async calls that began and ended.
    """

    __slots__ = (
        "_implementations",
        "aheat",
        "alines",
        "caller",
        "enter",
        "entered",
        "epoch",
        "heat",
        "is_gone",
        "left",
        "lines",
    )

    def __init__(
        self,
        caller: Caller,
        epoch: int,
        implementations: tuple[Implementation, ...] | None = None,
    ) -> None:
        self.caller = caller
        self.epoch = epoch
        # None until the first call: many registrations in a row sort nothing.
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
        """Whether the implementations have not been looked up yet."""
        return self._implementations is None

    @property
    def implementations(self) -> tuple[Implementation, ...]:
        """The implementations in the order of calls, wrappers first."""
        if self._implementations is None:
            with self.caller.lock:
                if self._implementations is None:
                    self._implementations = self.caller.order.implementations()
                    self.caller.superseded = None
        return self._implementations

    def without(self, removed: Collection[str]) -> list[Implementation]:
        """Return the implementations but for those of photons named in *removed*."""
        return [impl for impl in self.implementations if impl.photon not in removed]

    def for_epoch(self, epoch: int) -> CallSnapshot:
        """Return a snapshot of the same implementations for *epoch*."""
        return CallSnapshot(self.caller, epoch, self._implementations)

    @property
    def awaited(self) -> int:
        """Number of async calls under way."""
        # `left` first: a call that ends in between is counted as under way.
        left = count_of(self.left)
        return count_of(self.entered) - left

    # Compiled callers hold these bound methods among their constants. By them a frame
    # also leads to its snapshot.

    def sampled(self, kwargs: dict[str, Any]) -> Any:
        """Make a timed call; it stands for all calls of a period."""
        return self.caller.run(self, kwargs, PERIOD)

    async def asampled(self, kwargs: dict[str, Any]) -> Any:
        """Make a timed async call; it stands for all calls of a period.

        A coroutine that was made before a change and is awaited after it comes here
        too. It has not begun, so it sees the implementations of now.
        """
        is_late = self.is_gone
        if is_late:
            next(self.left)  # the call is not one of this snapshot
            return await self.caller.awaited(**without_absent(kwargs))
        try:
            return await self.caller.arun(self, kwargs, PERIOD)
        finally:
            next(self.left)

    # A compiled caller has a line of its own for each implementation. So the line of
    # the traceback says which one raised, and a call that succeeds pays nothing.

    def fail(self, error: BaseException) -> None:
        """Record *error*, which ends a compiled sync call."""
        self._fail(self.lines, error)

    def afail(self, error: BaseException) -> None:
        """Record *error*, which ends a compiled async call."""
        self._fail(self.alines, error)

    def _fail(self, lines: dict[int, int], error: BaseException) -> None:
        index = lines.get(_line(error))
        if index is not None:  # otherwise a tracer raised: a debugger, a halted thread
            caller = self.caller
            caller.policy.fail(caller.name, self.implementations, index, error)

    def spare(self, error: BaseException) -> None:
        """Record *error* of a compiled sync call, which goes on."""
        self.wrapper_failed(self.lines[_line(error)], error)

    def aspare(self, error: BaseException) -> None:
        """Record *error* of a compiled async call, which goes on."""
        self.wrapper_failed(self.alines[_line(error)], error)

    def wrapper_failed(self, index: int, error: BaseException) -> bool:
        """Record *error* of the implementation at *index*; True: the call goes on."""
        caller = self.caller
        return caller.policy.spare(
            caller.name,
            self.implementations,
            index,
            error,
            isolated=caller.is_isolated,
        )

    def wrapper_succeeded(self, index: int) -> None:
        """Note that the wrapper at *index* raised nothing of its own."""
        self.implementations[index].tally.streak = 0


def _line(error: BaseException) -> int:
    return error.__traceback__.tb_lineno if error.__traceback__ is not None else 0


# Finding calls on the stacks of threads.

_COROUTINE: Final = 0x80
_ANSWER: Final = answer_of.__code__
_LATE: Final = CallSnapshot.asampled.__code__

# By identity: the hash of a code object is computed from all its constants each time.
_runners: Final[dict[int, types.CodeType]] = {}
_entries: Final[dict[int, types.CodeType]] = {}


def note_entries(*functions: Callable[..., Any]) -> None:
    """Note *functions* in which calls begin, with the variable ``snapshot``."""
    for function in functions:
        _entries[id(function.__code__)] = function.__code__


def note_runners(*functions: Callable[..., Any]) -> None:
    """Note *functions* that run a call, with a ``snapshot`` or ``context`` variable."""
    for function in functions:
        _runners[id(function.__code__)] = function.__code__


note_runners(run, arun)


def _snapshot_of(code: types.CodeType) -> CallSnapshot | None:
    for constant in code.co_consts:
        if (
            type(constant) is types.MethodType
            and type(constant.__self__) is CallSnapshot
        ):
            return constant.__self__
    return None


def _calls(frame: types.FrameType | None) -> Iterator[tuple[CallSnapshot, bool]]:
    """Yield (snapshot, is async) of each call on a stack, the innermost first."""
    running: CallSnapshot | None = None
    is_late = False
    while frame is not None:
        code = frame.f_code
        is_entry = id(code) in _entries
        if code is _ANSWER:
            # The bottom of a task's stack; the task belongs to the call that made it.
            yield frame.f_locals["context"].snapshot, True
        elif id(code) in _runners:
            local = frame.f_locals
            context = local.get("context")
            running = (
                local.get("snapshot", running) if context is None else context.snapshot
            )
        elif code is _LATE:
            # The caller outside of it was compiled for a snapshot that is replaced.
            is_late = frame.f_locals.get("is_late", False)
        elif is_late:
            is_late = False
        elif is_entry or code.co_filename.startswith(COMPILED):
            # A caller around a runner that was found before, or a call barrier's
            # caller, which has no snapshot among its constants.
            own = frame.f_locals.get("snapshot") if is_entry else _snapshot_of(code)
            snapshot, running = own or running, None
            if snapshot is not None:
                yield snapshot, bool(code.co_flags & _COROUTINE)
        frame = frame.f_back


def outermost(policy: Policy) -> CallSnapshot | None:
    """Return the snapshot of this thread's outermost call of *policy*'s hooks."""
    found = None
    for snapshot, _ in _calls(sys._getframe(1)):  # noqa: SLF001 - the stack is needed
        if snapshot.caller.policy is policy:
            found = snapshot
    return found


def calls_of_threads(
    policy: Policy, *, include_async: bool = False
) -> list[tuple[int, CallSnapshot]]:
    """Return (thread id, snapshot) of every sync call of *policy*'s hooks under way.

    Args:
        policy: What the hooks share.
        include_async: Also return the async calls that a thread runs at this moment.
    """
    found = []
    for thread, frame in sys._current_frames().items():  # noqa: SLF001 - as above
        for snapshot, is_async in _calls(frame):
            if (include_async or not is_async) and snapshot.caller.policy is policy:
                found.append((thread, snapshot))
    return found
