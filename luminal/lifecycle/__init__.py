"""From a loaded class to a running photon, and to its end.

In come candidates and Handlers, out come Handlers in another state. This room does
not know that there is such a thing as a reload.
"""

from __future__ import annotations

from luminal.lifecycle._batch import Batch, Intake, Registry
from luminal.lifecycle._handler import Handler
from luminal.lifecycle._lock import CrossLoopLock
from luminal.lifecycle._runtime import Events, Runtime

__all__ = [
    "Batch",
    "CrossLoopLock",
    "Events",
    "Handler",
    "Intake",
    "Registry",
    "Runtime",
]
