"""The front desk: what a host orders, under the names that hosts know.

Lazy, like the front door: a host that loads photons does not pay for supervision.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from luminal.lifecycle import Handler
    from luminal.managers.control import Control
    from luminal.managers.loader import Loader
    from luminal.supervise import (
        GreenLight,
        LoopController,
        LoopTask,
        LoopTrace,
        SuperLoop,
        ThreadManager,
        TracedThread,
        super_loop_factory,
    )

__all__ = [
    "Control",
    "GreenLight",
    "Handler",
    "Loader",
    "LoopController",
    "LoopTask",
    "LoopTrace",
    "SuperLoop",
    "ThreadManager",
    "TracedThread",
    "super_loop_factory",
]

_ROOMS = {
    **dict.fromkeys(__all__, "luminal.supervise"),
    "Control": "luminal.managers.control",
    "Handler": "luminal.lifecycle",
    "Loader": "luminal.managers.loader",
}


def __getattr__(name: str) -> object:
    """Import what *name* stands for, and keep it here."""
    room = _ROOMS.get(name)
    if room is None:
        raise AttributeError(f"module 'luminal.managers' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(room), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
