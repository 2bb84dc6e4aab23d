"""What somebody in a hurry meant: the nearest of what there is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["near", "near_path"]


def near(name: str, known: Iterable[str]) -> str:
    """Return a question for the nearest of *known*, or an empty string.

    Args:
        name: What was typed.
        known: What there is.
    """
    import difflib

    found = difflib.get_close_matches(name, list(known), 1)
    return f"; did you mean {found[0]!r}?" if found else ""


def near_path(path: str | None) -> str:
    """Return a question for what lies where *path* leads, under a like name.

    Args:
        path: What was typed, and leads to nothing.
    """
    directory, name = os.path.split((path or "").rstrip(os.sep))
    try:
        beside = os.listdir(directory or os.curdir)
    except OSError:
        return near_path(directory) if directory and directory != path else ""
    return near(name, beside)
