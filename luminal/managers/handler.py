"""`Handler`: the host's handle on one photon, as `luminal.managers.Handler`."""

from __future__ import annotations

from luminal.lifecycle import Handler

__all__ = ["Handler"]
