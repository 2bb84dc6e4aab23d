"""Hook implementations: finding them on a plugin, and what the engine keeps of each.

`find_marked` reads the marked functions of a plugin without running any of its code.
`Implementation` holds what a call needs to know of one of them, found out once.
"""

from __future__ import annotations

import types
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, cast

from luminal._plain import mro_of, namespace_of, own_values_of
from luminal.hooks._totals import Counts, Total

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Self

    import pluggy

    from luminal.hooks._totals import Mark

__all__ = [
    "HistoricCall",
    "Implementation",
    "Tally",
    "complete_options",
    "extra_implementation",
    "find_function",
    "find_marked",
    "source_of",
]

_COROUTINE: Final = 0x80  # inspect.CO_COROUTINE, without importing inspect
_ITERABLE_COROUTINE: Final = 0x100
_ASYNC_GENERATOR: Final = 0x200


def source_of(function: object) -> str:
    """Return ``file:line`` of *function*, or an empty string."""
    code = getattr(function, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else ""


# When every call of an implementation is timed, and not one of many.
_FIRST_TIMED: Final = 1000  # calls of each generation, whatever they take
_SLOW: Final = 20_000  # nanoseconds, mean of the latest calls: two clocks are 1 % of it
_NOT_SLOW: Final = 10_000  # likewise, where every call is timed already
_WINDOW: Final = 2048  # calls; the mean is of one to two windows


_NOBODY: Final = Total()


class Tally(Counts):
    """What is counted of one implementation, and of its photon in the hook.

    Times are counted of the photon alone. Those of the implementation are what was
    added since it was registered.

    Attributes:
        total: What all generations of the photon did in the hook.
        began: What the total was when it was registered.
        streak: Failures in a row.
        quarantined_until: Time until which it is skipped; None if it is in no
            quarantine, or has succeeded after it.
    """

    __slots__ = ("_earlier", "_marks", "began", "quarantined_until", "streak", "total")

    def __init__(self) -> None:
        super().__init__()
        # Until it is registered, what is counted is of no interest.
        self.total = _NOBODY
        self.began = self._earlier = _NOBODY.began
        self._marks = ((0, 0), (0, 0))
        self.streak = 0
        self.quarantined_until: float | None = None

    def begin(self, total: Total) -> None:
        """Count for *total* from now on."""
        self.prepare(total)
        self.take_over()

    def prepare(self, total: Total) -> None:
        """Count for *total*, which the generation before may go on with."""
        self.total = total
        self.began = total.mark()
        self._earlier = total.began
        mark = (self.began.calls, self.began.nanoseconds)
        self._marks = (mark, mark)

    def take_over(self) -> None:
        """Note that the generation before has ended when this one began."""
        self.total.began = self.began

    def before(self) -> Mark:
        """Return what the generation before it has added to the total."""
        return self.began.since(self._earlier)

    @property
    def calls(self) -> int:
        """Calls that were timed; each counts for all the calls that it stands for."""
        return self.total.calls - self.began.calls

    @property
    def nanoseconds(self) -> int:
        """Time in the timed calls, scaled likewise."""
        return self.total.nanoseconds - self.began.nanoseconds

    def is_slow(self, *, was_slow: bool) -> bool:
        """Return whether every call is to be timed.

        Args:
            was_slow: Whether every call is timed now.
        """
        total = self.total
        if total.timed - self.began.timed < _FIRST_TIMED:
            return True
        earlier, later = self._marks
        now = (total.calls, total.nanoseconds)
        if now[0] - later[0] >= _WINDOW:
            earlier, later = self._marks = later, now
        calls, nanoseconds = now[0] - earlier[0], now[1] - earlier[1]
        if not calls:
            return was_slow
        return nanoseconds > calls * (_NOT_SLOW if was_slow else _SLOW)

    def settle(self, calls: int) -> None:
        """Count *calls* of a snapshot that no call uses any more."""
        self.settled += calls
        self.total.settled += calls

    def fail(self) -> None:
        """Count an exception."""
        self.errors += 1
        self.total.errors += 1
        self.streak += 1

    def miss(self) -> None:
        """Count a call of the hook that did not reach the implementation."""
        self.missed += 1
        self.total.missed += 1

    def skip(self) -> None:
        """Count a call that skipped it while it was in quarantine."""
        self.skipped += 1
        self.total.skipped += 1


class Implementation:
    """One implementation of one hook. Everything but the tally is immutable.

    Attributes:
        hookimpl: pluggy's record of it.
        function: What is called.
        argnames: Arguments that it needs, in its own order.
        kwargnames: Arguments that it takes if they are given.
        plugin: The photon that it belongs to.
        photon: The photon's name.
        generation: The photon's generation.
        is_wrapper: True for both kinds of wrappers.
        is_async: True for coroutine functions and async generators.
        is_direct: True if arguments with defaults can be passed by position.
        deadline: Seconds that it may take when awaited, or None.
        before, after: Names of photons that are called later, and earlier.
        tally: What is counted of it.
    """

    __slots__ = (
        "after",
        "argnames",
        "before",
        "deadline",
        "function",
        "generation",
        "hookimpl",
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

    def __init__(self, hookimpl: pluggy.HookImpl, generation: int = 0) -> None:
        options: Any = hookimpl.opts
        # Calls read these many times: an attribute of an attribute would cost more.
        self.hookimpl = hookimpl
        self.function: Any = hookimpl.function
        self.argnames = hookimpl.argnames
        self.kwargnames = hookimpl.kwargnames
        self.plugin = hookimpl.plugin
        self.photon = hookimpl.plugin_name
        self.generation = generation
        self.tryfirst = hookimpl.tryfirst
        self.trylast = hookimpl.trylast
        self.is_old_style = hookimpl.hookwrapper
        self.is_wrapper = hookimpl.wrapper or hookimpl.hookwrapper
        self.before: tuple[str, ...] = options.get("before", ())
        self.after: tuple[str, ...] = options.get("after", ())
        self.deadline: float | None = options.get("deadline")
        self.tally = Tally()
        bare = getattr(hookimpl.function, "__func__", hookimpl.function)
        is_function = type(bare) is types.FunctionType
        flags = bare.__code__.co_flags if is_function else 0
        self.is_async = bool(
            flags & (_COROUTINE | _ITERABLE_COROUTINE | _ASYNC_GENERATOR)
        )
        self.is_direct = is_function and "__wrapped__" not in bare.__dict__

    @property
    def is_constrained(self) -> bool:
        """Whether ``before`` or ``after`` names a photon."""
        return bool(self.before or self.after)

    @property
    def order_options(self) -> tuple[bool, bool, bool]:
        """The options that pluggy orders by."""
        return (self.is_wrapper, self.tryfirst, self.trylast)

    @property
    def where(self) -> str:
        """``file:line`` of the implementation, or an empty string."""
        return source_of(self.function)

    def __repr__(self) -> str:
        return f"<Implementation {self.photon!r} generation {self.generation}>"


def complete_options(options: dict[str, Any]) -> dict[str, Any]:
    """Add pluggy's defaults to the *options* of a marker and return them."""
    for name in ("wrapper", "hookwrapper", "optionalhook", "tryfirst", "trylast"):
        options.setdefault(name, False)
    options.setdefault("specname", None)
    return options


def extra_implementation(method: Any) -> Implementation:
    """Return *method* as an implementation for one ``call_extra``."""
    import pluggy

    options: Any = complete_options({})
    return Implementation(pluggy.HookImpl(None, "<temp>", method, options))


class HistoricCall(tuple[Any, Any]):  # noqa: SLOT001 - a tuple can have none
    """An earlier call of a historic hook: pluggy's pair of arguments and callback.

    Attributes:
        kwargs: Its arguments.
        callback: Called with each result that is not None, or None.
        owner: Photon; when it is unregistered, this call is forgotten. Or None.
    """

    # Two calls with equal arguments are two calls.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __new__(
        cls,
        kwargs: Mapping[str, Any],
        callback: Callable[[Any], object] | None,
        owner: str | None,
    ) -> Self:
        call = super().__new__(cls, (kwargs, callback))
        call.kwargs = kwargs
        call.callback = callback
        call.owner = owner
        return call

    kwargs: Mapping[str, Any]
    callback: Callable[[Any], object] | None
    owner: str | None

    def belongs_to(self, plugin: object, photon: str | None) -> bool:
        """Return whether this call keeps *plugin* alive, or *photon* owns it."""
        if photon is not None and self.owner == photon:
            return True
        held = (*self.kwargs.values(), self.callback)
        return plugin is not None and any(
            value is plugin or getattr(value, "__self__", None) is plugin
            for value in held
            if value is not None
        )


# Finding implementations. The rules are those of pluggy's own static lookup: plain
# functions, bound methods, static and class methods count; properties, ``__getattr__``
# and ``__dir__`` of the plugin never run. pluggy looks up each name of ``dir(plugin)``
# by ``inspect.getattr_static``, which makes a registration about ten times slower than
# one pass over the dictionaries.

_FUNCTIONS: Final = frozenset({types.FunctionType, types.MethodType})
_MARKABLE: Final = _FUNCTIONS | {staticmethod, classmethod}


def find_marked(plugin: object, mark: str) -> list[tuple[str, Any, dict[str, Any]]]:
    """Return (name, bound function, options) of what carries *mark*, by name.

    Args:
        plugin: A module, a class or an instance.
        mark: The attribute that a marker sets, such as ``"luminal_impl"``.
    """
    found = []
    for name, (value, is_method) in _functions(plugin).items():
        options = getattr(value, mark, None)
        if options is None and type(value) is not types.FunctionType:
            options = getattr(value.__func__, mark, None)
        if isinstance(options, dict):
            found.append((name, _bind(value, plugin, is_method), options))
    found.sort(key=lambda item: item[0])
    return found


def find_function(plugin: object, name: str) -> Any:
    """Return the function *name* of *plugin*, bound, or None."""
    value, is_method = _functions(plugin).get(name, (None, False))
    return None if value is None else _bind(value, plugin, is_method)


def _functions(plugin: object) -> dict[str, tuple[Any, bool]]:
    """Return name → (function, whether an instance's class has it) of *plugin*."""
    # Not `isinstance`: it would ask the plugin for its class.
    kind = type(plugin)
    is_class = issubclass(kind, type)
    found: dict[str, tuple[Any, bool]] = {}
    own: dict[str, Any] = {}
    if issubclass(kind, types.ModuleType):
        own = dict(vars(plugin))
    else:
        values: dict[str, Any] = {}
        for part in mro_of(cast("type", plugin) if is_class else kind)[-2::-1]:
            values.update(namespace_of(part))
        if not is_class:
            own = dict(own_values_of(plugin))
        for name, value in values.items():
            if type(value) in _MARKABLE and name not in own:
                found[name] = value, not is_class
            elif type(value) is types.MemberDescriptorType and not is_class:
                with suppress(AttributeError):  # an empty slot
                    own.setdefault(name, value.__get__(plugin, kind))
    for name, value in own.items():
        if type(value) in _FUNCTIONS:
            found[name] = value, False
    return found


def _bind(value: Any, plugin: object, is_method: bool) -> Any:
    """Bind *value* as attribute access would."""
    if type(value) is staticmethod:
        return value.__func__
    if type(value) is classmethod:
        is_class = issubclass(type(plugin), type)
        return value.__get__(None, cast("type", plugin) if is_class else type(plugin))
    if is_method and type(value) is types.FunctionType:
        return types.MethodType(value, plugin)
    return value
