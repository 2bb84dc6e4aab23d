"""From a change to a swap: watch, batch, plan, stage, start, exchange, retire."""

from __future__ import annotations

from luminal.reload._reloader import Policy, Reloaded, Reloader
from luminal.reload._swap import Previous

__all__ = ["Policy", "Previous", "Reloaded", "Reloader"]
