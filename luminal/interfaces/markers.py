"""The two decorators that mark hooks: `hookspec` and `hookimpl`."""

from __future__ import annotations

import pluggy

__all__ = ["hookimpl", "hookspec"]

hookspec = pluggy.HookspecMarker("luminal")
hookimpl = pluggy.HookimplMarker("luminal")
