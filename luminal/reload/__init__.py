"""From a change to a swap: watch, batch, plan, stage, start, exchange, retire."""

from __future__ import annotations

from luminal.reload.handover import Previous
from luminal.reload.reloaded import Reloaded
from luminal.reload.reloader import Policy, Reloader

__all__ = ["Policy", "Previous", "Reloaded", "Reloader"]
