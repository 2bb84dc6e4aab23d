"""Finds the marked functions of a photon without running any of its code.

In comes a module, class or instance, out come its hook implementations, bound as
attribute access would bind them. Properties, ``__getattr__`` and ``__dir__`` of the
photon are never run.
"""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["bound", "marked"]

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
