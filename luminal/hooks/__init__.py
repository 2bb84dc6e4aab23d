"""The hook engine: pluggy's rules, sync and async, with seats that can be swapped.

In come photons' implementations, out come the functions that hosts call all day.
"""

from __future__ import annotations

from luminal.hooks.census import HookStatistics
from luminal.hooks.course import Answer
from luminal.hooks.explaining import OrderExplanation, Place
from luminal.hooks.failure import HookFailure
from luminal.hooks.manager import PluginManager

__all__ = [
    "Answer",
    "HookFailure",
    "HookStatistics",
    "OrderExplanation",
    "Place",
    "PluginManager",
]
