"""The hook engine: pluggy's rules, sync and async, with plugins that can be swapped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from luminal._lazy import Getter, Lister, lazy_attributes

if TYPE_CHECKING:
    from luminal.hooks._deferred import DeferredPluginManager
    from luminal.hooks._manager import PluginManager
    from luminal.hooks.records import (
        Answer,
        ErrorPlace,
        HookComparison,
        HookFailure,
        HookStatistics,
        HookTotal,
        OrderExplanation,
        Place,
    )

__all__ = [
    "Answer",
    "DeferredPluginManager",
    "ErrorPlace",
    "HookComparison",
    "HookFailure",
    "HookStatistics",
    "HookTotal",
    "OrderExplanation",
    "Place",
    "PluginManager",
]

__getattr__: Getter
__dir__: Lister
__getattr__, __dir__ = lazy_attributes(
    globals(),
    {
        "_deferred": ("DeferredPluginManager",),
        "_manager": ("PluginManager",),
        "records": (
            "Answer",
            "ErrorPlace",
            "HookComparison",
            "HookFailure",
            "HookStatistics",
            "HookTotal",
            "OrderExplanation",
            "Place",
        ),
    },
)
