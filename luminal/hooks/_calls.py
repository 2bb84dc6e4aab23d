"""Calls under way: what each of them sees, and how they are counted.

A call uses one `CallSnapshot` from its first implementation to its last. A change of
the order makes a new snapshot and never touches an old one. Every call, sync or async,
advances one counter of its snapshot when it begins and another one in a ``finally``.

A call also keeps the number of swaps so far, its *epoch*, in a local variable. Only
while a call barrier is open, a thread looks at its own stack for the epoch of its
outermost call.
"""

from __future__ import annotations

import itertools
import sys
import threading
from typing import TYPE_CHECKING, Any, Final

from luminal._plain import traceback_of
from luminal.hooks._compile import EPOCH, KEPT
from luminal.hooks._errors import COMPILED, leave_out
from luminal.hooks._execution import part_of

if TYPE_CHECKING:
    import types
    from collections.abc import Callable, Collection, Iterator

    from luminal.hooks._caller import Caller
    from luminal.hooks._errors import Policy
    from luminal.hooks._impl import Implementation

__all__ = [
    "CallSnapshot",
    "count_of",
    "has_gil",
    "note_entries",
    "outermost",
    "own_calls",
]


def has_gil() -> bool:
    """Return whether one thread at a time runs Python code."""
    is_enabled = getattr(sys, "_is_gil_enabled", None)
    return is_enabled is None or bool(is_enabled())


class _LockedCount:
    """An `itertools.count` for interpreters where that one is not exact."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._value = 0

    def __next__(self) -> int:
        with self._lock:
            self._value += 1
            return self._value - 1

    def __repr__(self) -> str:
        return f"count({self._value})"


def counter() -> Any:
    """Return a counter for `next` that is exact under threads."""
    return itertools.count() if has_gil() else _LockedCount()


def count_of(counter: Any) -> int:
    """Return how often ``next`` was called on *counter*, without calling it."""
    # With the GIL a `count` is exact without a lock. Its text is the one way to read
    # it that neither advances it nor is deprecated.
    return int(repr(counter)[6:-1])


_CHOOSE_EVERY: Final = 2  # sampled calls; then what is timed is chosen again


class CallSnapshot:
    """The implementations that a call of one hook sees.

    Attributes:
        caller: The hook's caller.
        epoch: Number of the last swap of this hook when the snapshot was made.
        until: Epoch of the last calls that may use it, once it was replaced.
        is_gone: Whether another snapshot has replaced it. A call that finds this out
            after it was counted begins again.
        heat, aheat: Sync and async calls so far without a compiled caller.
        lines, alines: Line of the compiled caller → index of the implementation.
        timed, atimed: Implementations of which compiled callers time every call.
        entered, left: Counters of calls that began and ended.
        uncounted: Counter of calls among these that statistics leave out: they began
            again and are counted there. It is advanced before ``left`` is.
    """

    __slots__ = (
        "_implementations",
        "_sampled",
        "aheat",
        "alines",
        "atimed",
        "caller",
        "entered",
        "epoch",
        "heat",
        "is_gone",
        "left",
        "lines",
        "timed",
        "uncounted",
        "until",
    )

    def __init__(
        self,
        caller: Caller,
        epoch: int,
        implementations: tuple[Implementation, ...] | None = None,
    ) -> None:
        self.caller = caller
        self.epoch = self.until = epoch
        # None until the first call: many registrations in a row sort nothing.
        self._implementations = implementations
        self.is_gone = False
        self._sampled = 0
        self.heat = 0
        self.aheat = 0
        self.lines: dict[int, int] = {}
        self.alines: dict[int, int] = {}
        self.timed: frozenset[Implementation] = frozenset()
        self.atimed: frozenset[Implementation] = frozenset()
        self.entered = counter()
        self.left = counter()
        self.uncounted = counter()

    @property
    def is_pending(self) -> bool:
        """Whether the implementations have not been looked up yet."""
        return self._implementations is None

    @property
    def known(self) -> tuple[Implementation, ...]:
        """The implementations if a call has looked them up; before, it reached none.

        To ask for it settles no other snapshot.
        """
        return self._implementations or ()

    @property
    def implementations(self) -> tuple[Implementation, ...]:
        """The implementations in the order of calls, wrappers first."""
        if self._implementations is None:
            with self.caller.lock:
                if self._implementations is None:
                    self._implementations = self.caller.order.implementations()
                    if self.caller.policy.replaced:
                        self.caller.policy.forget_ended()
        return self._implementations

    def without(self, removed: Collection[str]) -> list[Implementation]:
        """Return the implementations but for those of photons named in *removed*."""
        return [impl for impl in self.implementations if impl.photon not in removed]

    def has(self, plugin: object) -> bool:
        """Return whether *plugin* is among the implementations."""
        known = self._implementations
        # Not `any`: it is asked in each reload.
        for impl in self.implementations if known is None else known:
            if impl.plugin is plugin:
                return True
        return False

    def again(self) -> CallSnapshot:
        """Return a snapshot of the same implementations, of which no call knows."""
        return CallSnapshot(self.caller, self.epoch, self._implementations)

    @property
    def under_way(self) -> int:
        """Number of calls under way."""
        # `left` first: a call that ends in between is counted as under way.
        left = count_of(self.left)
        return count_of(self.entered) - left

    @property
    def calls(self) -> int:
        """Number of calls that began."""
        return count_of(self.entered) - count_of(self.uncounted)

    @property
    def ended(self) -> int:
        """Number of calls that ended; never more."""
        left = count_of(self.left)
        return left - count_of(self.uncounted)

    def settle(self) -> bool:
        """Add the calls to what is counted of the implementations; once.

        The lock is held, and calls that begin see another snapshot.

        Returns:
            False: A call is under way.
        """
        # If as many have entered as had left before, none was under way in between, not
        # even a late one that begins again. So the number in the middle is exact.
        left, uncounted = count_of(self.left), count_of(self.uncounted)
        if count_of(self.entered) != left:
            return False
        calls = left - uncounted
        if calls:
            for impl in self._implementations or ():
                impl.tally.settle(calls)
        return True

    # What compiled callers leave to the general way.

    def sampled(self, kwargs: dict[str, Any], weight: int = 1) -> Any:
        """Make a timed call.

        Args:
            kwargs: The arguments.
            weight: Number of calls that it stands for.
        """
        __tracebackhide__ = True
        timed = self.timed
        if weight > 1 and self._is_time_to_choose():
            self.caller.choose_timed(self)
        return self.caller.run(self, kwargs, weight, timed=timed)

    async def asampled(self, kwargs: dict[str, Any], weight: int = 1) -> Any:
        """Make a timed async call; see `sampled`."""
        __tracebackhide__ = True
        timed = self.atimed
        if weight > 1 and self._is_time_to_choose():
            self.caller.achoose_timed(self)
        return await self.caller.arun(self, kwargs, weight, timed=timed)

    def _is_time_to_choose(self) -> bool:
        self._sampled += 1
        return not self._sampled % _CHOOSE_EVERY

    def slow(self, timed: Collection[Implementation]) -> frozenset[Implementation]:
        """Return the implementations of which every call is to be timed.

        Args:
            timed: Those of which every call is timed now.
        """
        return frozenset(
            impl
            for impl in self.implementations
            if not impl.is_wrapper and impl.tally.is_slow(was_slow=impl in timed)
        )

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
    trace = traceback_of(error)
    return trace.tb_lineno if trace is not None else 0


# The calls on the stack of the running thread, task or greenlet.

_COROUTINE: Final = 0x80 | 0x200  # a coroutine or an async generator
_AWAITS: Final = _COROUTINE | 0x20 | 0x100  # the same, or a generator that awaits

# By identity: the hash of a code object is computed from all its constants each time.
_entries: Final[dict[int, types.CodeType]] = {}


def note_entries(*functions: Callable[..., Any]) -> None:
    """Note functions that make a call, with variables ``policy, snapshot, epoch``.

    The epoch is None until the call is counted. The snapshot is None where another
    frame counts the call.
    """
    for function in functions:
        _entries[id(function.__code__)] = function.__code__


note_entries(part_of)


def own_calls(
    policy: Policy, *, with_loop: bool = False
) -> Iterator[tuple[CallSnapshot | None, int]]:
    """Yield (snapshot, epoch) of each call on the own stack, the innermost first.

    It ends at the first frame of a task, which is a coroutine that no other one awaits:
    what a task calls is not part of the call that runs the loop.

    Args:
        policy: What the hooks share.
        with_loop: Also yield calls that run the loop of this task.
    """
    frame: types.FrameType | None = sys._getframe(1)  # noqa: SLF001 - the own stack
    while frame is not None:
        code = frame.f_code
        if id(code) in _entries:
            local = frame.f_locals
            if local.get("policy") is policy and local.get("epoch") is not None:
                yield local.get("snapshot"), local["epoch"]
        elif code.co_filename.startswith(COMPILED):
            local = frame.f_locals
            epoch = local.get(EPOCH)
            if epoch is not None:
                snapshot: CallSnapshot = local[KEPT][2]
                if snapshot.caller.policy is policy:
                    yield snapshot, epoch
        back = frame.f_back
        if (
            not with_loop
            and code.co_flags & _COROUTINE
            and not (back is not None and back.f_code.co_flags & _AWAITS)
        ):
            return
        frame = back


def outermost(policy: Policy) -> int | None:
    """Return the epoch of the outermost call that makes this call; None: this is it."""
    found = None
    for _, found in own_calls(policy):  # noqa: B007 - the last one is wanted
        pass
    return found


leave_out(globals())
