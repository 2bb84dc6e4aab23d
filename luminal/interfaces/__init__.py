"""What a photon's author imports."""

from __future__ import annotations

from luminal.interfaces.markers import hookimpl, hookspec

__all__ = ["hookimpl", "hookspec"]
