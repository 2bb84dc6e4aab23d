"""Where a name of Luminal's is described, by whatever of its names it is referred to.

Comes in: a dotted name from a docstring. Goes out: dotted names to try instead, the
nearest first; none for what is not there at all.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

import luminal

__all__ = ["canonical", "homes_of", "is_public", "is_shown"]


def homes_of(target: str) -> list[str]:
    """Return where *target* may be described: under its room's name, or as its room.

    Args:
        target: Such as ``luminal.Loader`` or ``luminal.discovery.lint``.
    """
    value = _resolved(target)
    if value is None:
        return []
    homes = []
    if not isinstance(value, ModuleType) and hasattr(value, "__module__"):
        name = target.rpartition(".")[2]
        homes += [canonical(value, name), f"{value.__module__}.{name}"]
    return [*homes, ".".join(target.split(".")[:2])]


def canonical(value: object, name: str = "") -> str:
    """Return the dotted name under which *value* is described: its room's.

    Args:
        value: A class or function.
        name: What it is called where it has no name of its own.
    """
    home = ".".join(str(value.__module__).split(".")[:2])
    name = getattr(value, "__name__", name)
    if home.startswith("luminal") and not is_public(home):
        homes = (f"luminal.{each.name}" for each in iter_modules(luminal.__path__))
        for each in filter(is_public, homes):
            module = import_module(each)
            if name in module.__all__ and getattr(module, name) is value:
                home = each
    return f"{home}.{name}"


def is_shown(value: object) -> bool:
    """Whether a public package exports *value*."""
    package, _, name = canonical(value).rpartition(".")
    return is_public(package) and name in import_module(package).__all__


def is_public(package: str) -> bool:
    """Whether *package* is for users: it has ``__all__``."""
    return "._" not in package and hasattr(import_module(package), "__all__")


def _resolved(target: str) -> object | None:
    """Import what *target* names, with attributes of classes; None if it is not."""
    parts = target.split(".")
    for count in range(len(parts), 0, -1):
        try:
            value: object = import_module(".".join(parts[:count]))
        except ImportError:
            continue
        for name in parts[count:]:
            value = getattr(value, name, None)
        return value
    return None
