"""Threads that can be halted, what a photon owns, supervised loops, leak reports.

Other packages import from here. Each name is loaded when it is first used: a host
that only loads photons does not pay for loops and their controllers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from luminal.supervise._controller import (
        GreenLight,
        GroupGaveUp,
        Intensity,
        LoopController,
        LoopState,
        Strategy,
        snapshot,
        super_loop_factory,
    )
    from luminal.supervise._halting import Leftover, abandoned_threads, halt_thread
    from luminal.supervise._interpreter_state import (
        FACETS,
        Change,
        Footprint,
        Policy,
    )
    from luminal.supervise._loop_testing import LoopTask, LoopTrace
    from luminal.supervise._loop_thread import LoopThread
    from luminal.supervise._loops import (
        AsyncLoop,
        Backoff,
        ChildEnded,
        ProcessLoop,
        Restart,
        SuperLoop,
    )
    from luminal.supervise._ownership import unowned
    from luminal.supervise._referrers import find_referrers
    from luminal.supervise._scope import Scope
    from luminal.supervise._threads import (
        ThreadManager,
        TracedThread,
        checkpoint,
        sleep,
    )

__all__ = [
    "FACETS",
    "AsyncLoop",
    "Backoff",
    "Change",
    "ChildEnded",
    "Footprint",
    "GreenLight",
    "GroupGaveUp",
    "Intensity",
    "Leftover",
    "LoopController",
    "LoopState",
    "LoopTask",
    "LoopThread",
    "LoopTrace",
    "Policy",
    "ProcessLoop",
    "Restart",
    "Scope",
    "Strategy",
    "SuperLoop",
    "ThreadManager",
    "TracedThread",
    "abandoned_threads",
    "checkpoint",
    "find_referrers",
    "halt_thread",
    "sleep",
    "snapshot",
    "super_loop_factory",
    "unowned",
]

_NAMES_OF = {
    "_controller": "GreenLight GroupGaveUp Intensity LoopController LoopState Strategy"
    " snapshot super_loop_factory",
    "_halting": "Leftover abandoned_threads halt_thread",
    "_interpreter_state": "FACETS Change Footprint Policy",
    "_loop_testing": "LoopTask LoopTrace",
    "_loop_thread": "LoopThread",
    "_loops": "AsyncLoop Backoff ChildEnded ProcessLoop Restart SuperLoop",
    "_ownership": "unowned",
    "_referrers": "find_referrers",
    "_scope": "Scope",
    "_threads": "ThreadManager TracedThread checkpoint sleep",
}
_MODULE_OF = {
    name: module for module, names in _NAMES_OF.items() for name in names.split()
}


def __getattr__(name: str) -> object:
    """Import the module that defines *name*, and keep the value here."""
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
