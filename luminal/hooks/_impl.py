"""Who sits on a seat: one hook implementation, prepared for being called.

In comes the record that pluggy makes of an implementation, out comes what the
callers need of it, found out once: its kind, its arguments, whom it belongs to.
It never calls the implementation.
"""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pluggy

__all__ = ["Implementation", "Past", "Tally", "bound", "guest", "marked"]

# === hooks.occupant ===
# Who sits on a seat: one hook implementation, prepared for being called.
#
# In comes the record that pluggy makes of an implementation, out comes what the
# callers need of it, found out once: its kind, its arguments, whom it belongs to.
# It never calls the implementation.

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


class Implementation:
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

    def __init__(self, hookimpl: pluggy.HookImpl, generation: int = 0) -> None:
        options: Any = hookimpl.opts
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


def guest(method: Any) -> Implementation:
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
    return Implementation(pluggy.HookImpl(None, "<temp>", method, options))


# === hooks.finding ===
# Finds the marked functions of a photon without running any of its code.
#
# In comes a module, class or instance, out come its hook implementations, bound as
# attribute access would bind them. Properties, ``__getattr__`` and ``__dir__`` of the
# photon are never run.

_MARKABLE: Final = frozenset(
    {types.FunctionType, types.MethodType, staticmethod, classmethod}
)


def _statics(owner: type) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part in reversed(type.__getattribute__(owner, "__mro__")[:-1]):
        found.update(type.__getattribute__(part, "__dict__"))
    return found


def _instance_values(plugin: object, statics: Mapping[str, Any]) -> dict[str, Any]:
    try:
        values = object.__getattribute__(plugin, "__dict__")
    except AttributeError:
        values = {}
    found = dict(values) if isinstance(values, dict) else {}
    for name, value in statics.items():
        if type(value) is types.MemberDescriptorType and name not in found:
            try:
                found[name] = value.__get__(plugin, type(plugin))
            except AttributeError:
                continue
    return found


def _options(holder: Any, mark: str) -> dict[str, Any] | None:
    options = getattr(holder, mark, None)
    if options is None:
        options = getattr(getattr(holder, "__func__", None), mark, None)
    return options if isinstance(options, dict) else None


def _bind(value: Any, plugin: object, owner: type | None) -> Any:
    """Bind *value*, found on *owner* (None: on the plugin itself)."""
    if type(value) is staticmethod:
        return value.__func__
    if type(value) is classmethod:
        return value.__get__(None, plugin if isinstance(plugin, type) else type(plugin))
    if owner is not None and type(value) is types.FunctionType:
        return types.MethodType(value, plugin)
    return value


def _attributes(plugin: object) -> list[tuple[str, Any, type | None]]:
    """Return (name, static value, class that it must be bound through)."""
    if isinstance(plugin, type):
        return [(name, value, None) for name, value in _statics(plugin).items()]
    if isinstance(plugin, types.ModuleType):
        return [(n, v, None) for n, v in list(vars(plugin).items()) if _is_function(v)]
    owner = type(plugin)
    statics = _statics(owner)
    values = _instance_values(plugin, statics)
    own = [(n, v, None) for n, v in values.items() if _is_function(v)]
    return own + [(n, v, owner) for n, v in statics.items() if n not in values]


def _is_function(value: object) -> bool:
    return type(value) is types.FunctionType or type(value) is types.MethodType


def marked(plugin: object, mark: str) -> list[tuple[str, Any, dict[str, Any]]]:
    """Return (name, bound function, options) of what carries *mark*, by name."""
    found = []
    for name, value, owner in _attributes(plugin):
        if type(value) in _MARKABLE:
            options = _options(value, mark)
            if options is not None:
                found.append((name, _bind(value, plugin, owner), options))
    found.sort(key=_name_of)
    return found


def _name_of(item: tuple[str, Any, dict[str, Any]]) -> str:
    return item[0]


def bound(plugin: object, name: str) -> Any:
    """Return the function *name* of *plugin*, bound, or None."""
    for other, value, owner in _attributes(plugin):
        if other == name and type(value) in _MARKABLE:
            return _bind(value, plugin, owner)
    return None


# === hooks.history ===
# Memory of a historic hook: calls that those who come later are told of.
#
# It must not keep a photon that is gone: what holds one, or belongs to one, is forgotten
# with it.


class Past:
    """An earlier call of a historic hook."""

    __slots__ = ("callback", "kwargs", "owner")

    def __init__(
        self,
        kwargs: Mapping[str, Any],
        callback: Callable[[Any], object] | None,
        owner: str | None,
    ) -> None:
        self.kwargs = kwargs
        self.callback = callback
        self.owner = owner

    def belongs_to(self, plugin: object, photon: str | None) -> bool:
        """Return whether this memory would keep *plugin* alive, or is *photon*'s."""
        if photon is not None and self.owner == photon:
            return True
        held = (*self.kwargs.values(), self.callback)
        return plugin is not None and any(
            value is plugin or getattr(value, "__self__", None) is plugin
            for value in held
            if value is not None
        )
