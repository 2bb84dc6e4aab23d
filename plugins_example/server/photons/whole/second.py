"""Reads the number when it is called."""

from __future__ import annotations

from . import edition as _edition


def edition() -> int:
    """Return the number."""
    return _edition.EDITION
