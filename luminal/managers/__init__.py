"""What a host uses: the Loader, its Handlers, supervised threads and loops.

`luminal.managers.loader`, `.handler`, `.threads` and `.loops` have the same names, for
programs that import them from there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from luminal._lazy import Getter, Lister, lazy_attributes

if TYPE_CHECKING:
    from luminal.lifecycle import Handler
    from luminal.managers._client import socket_directory as socket_directory
    from luminal.managers._client import socket_of as socket_of
    from luminal.managers._client import sockets as sockets
    from luminal.managers._client import speak as speak
    from luminal.managers._guard import OperationGuard as OperationGuard
    from luminal.managers._guard import Permit as Permit
    from luminal.managers._locking import FoundUnit as FoundUnit
    from luminal.managers._locking import accept_units as accept_units
    from luminal.managers._locking import ask_hosts as ask_hosts
    from luminal.managers._locking import find_units as find_units
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

__getattr__: Getter
__dir__: Lister
__getattr__, __dir__ = lazy_attributes(
    globals(),
    {
        "luminal.lifecycle": ("Handler",),
        "_guard": ("OperationGuard", "Permit"),
        "_client": ("socket_directory", "socket_of", "sockets", "speak"),
        "_locking": ("FoundUnit", "accept_units", "ask_hosts", "find_units"),
        "control": ("Control",),
        "loader": ("Loader",),
        "luminal.supervise": (
            "GreenLight",
            "LoopController",
            "LoopTask",
            "LoopTrace",
            "SuperLoop",
            "ThreadManager",
            "TracedThread",
            "super_loop_factory",
        ),
    },
)
