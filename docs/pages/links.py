"""Where a reference in a docstring leads."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from .api import described_as

__all__ = ["description_of", "exists"]


def description_of(target: str) -> str | None:
    """Return the name under which the reference describes *target*, or None.

    Args:
        target: A name as docstrings and annotations write it, such as ``Loader``,
            ``luminal.managers.Loader.photons`` or ``luminal.model.outcome.Report``.
    """
    known = _described_as()
    parts = target.split(".")
    for count in range(len(parts), 0, -1):
        if home := known.get(".".join(parts[:count])):
            return ".".join([home, *parts[count:]])
    return None


_described_as = cache(described_as)


def exists(target: str) -> bool:
    """Whether *target* is the dotted name of a module, or of something in one."""
    parts = target.split(".")
    for count in range(len(parts), 0, -1):
        try:
            value: object = import_module(".".join(parts[:count]))
        except ImportError:
            continue
        for name in parts[count:]:
            if not hasattr(value, name):
                return name in getattr(value, "__annotations__", {})
            value = getattr(value, name)
        return True
    return False
