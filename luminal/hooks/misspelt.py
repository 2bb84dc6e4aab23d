"""Implementations of hooks that nobody has specified, and what their author meant."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from luminal.hooks.desk import HookDesk

__all__ = ["check_specified", "near", "nearest", "unspecified"]


def check_specified(desks: Sequence[HookDesk]) -> None:
    """Refuse an implementation of a hook without a specification.

    Args:
        desks: Those of all hooks.

    Raises:
        pluggy.PluginValidationError: There is one that is not marked ``optionalhook``.
    """
    known = [desk.name for desk in desks if desk.has_spec()]
    for desk in desks:
        if desk.has_spec() or desk.name.startswith("_"):
            continue
        for impl in desk.get_hookimpls():
            if impl.optionalhook:
                continue
            code = getattr(impl.function, "__code__", None)
            place = f"{code.co_filename}:{code.co_firstlineno}" if code else ""
            text = f"unknown hook {desk.name!r} in plugin {impl.plugin!r}"
            text += f"\n  at: {place}" if place else ""
            text += "\n  try: specify it, or mark it 'optionalhook'"
            text += near(desk.name, known)
            raise pluggy.PluginValidationError(impl.plugin, text)


def unspecified(
    marked: Iterable[tuple[str, Any, Any]], desks: Mapping[str, HookDesk]
) -> list[tuple[str, Any, str]]:
    """Return (hook, function, nearest hook) of what has no specification.

    Args:
        marked: (name, function, options) of a plugin's implementations.
        desks: Hook → its desk.
    """
    found = []
    for attribute, function, options in marked:
        name = options.get("specname") or attribute
        desk = desks.get(name)
        if options.get("optionalhook") or (desk is not None and desk.has_spec()):
            continue
        known = [name for name, desk in desks.items() if desk.has_spec()]
        found.append((name, function, nearest(name, known)))
    return found


def near(name: str, known: Iterable[str]) -> str:
    """Return a question for the nearest of *known*, or an empty string.

    Args:
        name: What was written.
        known: What there is.
    """
    found = nearest(name, known)
    return f"; did you mean {found!r}?" if found else ""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the nearest of *known* to *name*, or an empty string."""
    return next(iter(difflib.get_close_matches(name, list(known), 1)), "")
