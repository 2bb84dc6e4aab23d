"""The hook engine: pluggy's rules, sync and async, with seats that can be swapped."""

from __future__ import annotations

from luminal.hooks.manager import PluginManager

__all__ = ["PluginManager"]
