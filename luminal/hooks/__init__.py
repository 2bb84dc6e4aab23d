"""The hook engine: pluggy's rules, sync and async, with seats that can be swapped.

In come photons' implementations, out come the functions that hosts call all day. The
values that it tells are loaded when the first of them is asked for (PEP 562).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from luminal.hooks._manager import PluginManager

if TYPE_CHECKING:
    from luminal.hooks.records import (
        Answer,
        HookFailure,
        HookStatistics,
        OrderExplanation,
        Place,
    )

__all__ = [
    "Answer",
    "HookFailure",
    "HookStatistics",
    "OrderExplanation",
    "Place",
    "PluginManager",
]


def __getattr__(name: str) -> object:
    """Load the records with the first of them."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from luminal.hooks import records as records

    return getattr(records, name)
