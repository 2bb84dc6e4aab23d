"""Who sits on a seat: one hook implementation, prepared for being called.

In comes the record that pluggy makes of an implementation, out comes what the
callers need of it, found out once: its kind, its arguments, whom it belongs to.
It never calls the implementation.
"""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import pluggy

__all__ = ["Occupant", "Tally", "guest"]

_COROUTINE: Final = 0x80  # inspect.CO_COROUTINE, without importing inspect
_ITERABLE_COROUTINE: Final = 0x100
_ASYNC_GENERATOR: Final = 0x200


class Tally:
    """What one implementation did, counted.

    Attributes:
        calls: Calls that were looked at one by one, each sampled call counting for
            all that it stands for.
        born: The hook's count of calls when the implementation took its seat.
        missed: Calls of the hook that ended before its turn.
        errors: Exceptions that it raised; exact.
        nanoseconds: Time in its sampled calls, scaled to all calls.
        streak: Failures in a row.
        skipped: Calls that passed it over while its circuit was open.
    """

    __slots__ = (
        "born",
        "calls",
        "errors",
        "missed",
        "nanoseconds",
        "skipped",
        "streak",
    )

    def __init__(self) -> None:
        self.calls = 0
        self.born = 0
        self.missed = 0
        self.errors = 0
        self.nanoseconds = 0
        self.streak = 0
        self.skipped = 0


class Occupant:
    """One implementation on its seat; everything but the tally is immutable.

    Attributes:
        impl: pluggy's record of it.
        function: What is called.
        argnames: Arguments that it must have, in its own order.
        kwargnames: Arguments that it takes where they are given.
        plugin: The photon that it belongs to.
        photon: That photon's name.
        generation: That photon's generation.
        is_wrapper: True for both kinds of wrappers.
        is_async: True for coroutine functions and async generators.
        is_direct: True where arguments with defaults may be passed by position.
        deadline: Seconds that it may take when awaited, or None.
        before, after: Names of photons that it is ordered by.
        tally: What it did.
    """

    __slots__ = (
        "after",
        "argnames",
        "before",
        "deadline",
        "function",
        "generation",
        "impl",
        "is_async",
        "is_direct",
        "is_old_style",
        "is_wrapper",
        "kwargnames",
        "photon",
        "plugin",
        "tally",
        "tryfirst",
        "trylast",
    )

    def __init__(self, impl: pluggy.HookImpl, generation: int = 0) -> None:
        options: Any = impl.opts
        self.impl = impl
        self.function: Any = impl.function
        self.argnames = impl.argnames
        self.kwargnames = impl.kwargnames
        self.plugin = impl.plugin
        self.photon = impl.plugin_name
        self.generation = generation
        self.tryfirst = impl.tryfirst
        self.trylast = impl.trylast
        self.is_old_style = impl.hookwrapper
        self.is_wrapper = impl.wrapper or impl.hookwrapper
        self.before: tuple[str, ...] = options.get("before", ())
        self.after: tuple[str, ...] = options.get("after", ())
        self.deadline: float | None = options.get("deadline")
        self.tally = Tally()
        bare = getattr(impl.function, "__func__", impl.function)
        flags = bare.__code__.co_flags if type(bare) is types.FunctionType else 0
        self.is_async = bool(
            flags & (_COROUTINE | _ITERABLE_COROUTINE | _ASYNC_GENERATOR)
        )
        self.is_direct = (
            type(bare) is types.FunctionType and "__wrapped__" not in bare.__dict__
        )

    @property
    def where(self) -> str:
        """``file:line`` of the implementation, or an empty string."""
        code = getattr(self.function, "__code__", None)
        return f"{code.co_filename}:{code.co_firstlineno}" if code else ""

    def __repr__(self) -> str:
        return f"<Occupant {self.photon!r} generation {self.generation}>"


def guest(method: Any) -> Occupant:
    """Return *method*, which takes part in one call and belongs to nobody."""
    import pluggy

    options: Any = {
        "wrapper": False,
        "hookwrapper": False,
        "optionalhook": False,
        "trylast": False,
        "tryfirst": False,
        "specname": None,
    }
    return Occupant(pluggy.HookImpl(None, "<temp>", method, options))
