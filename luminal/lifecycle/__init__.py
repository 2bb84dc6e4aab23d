"""From a loaded class to a running photon, and to its end.

In come candidates and Handlers, out come Handlers in another state. This room does
not know that there is such a thing as a reload.
"""

from __future__ import annotations

from luminal.lifecycle.events import Events
from luminal.lifecycle.handler import Handler
from luminal.lifecycle.intake import Batch, Intake
from luminal.lifecycle.ports import Ports
from luminal.lifecycle.registry import Registry
from luminal.lifecycle.turn import Turn

__all__ = ["Batch", "Events", "Handler", "Intake", "Ports", "Registry", "Turn"]
