"""Luminal: plugins ("photons") that can be changed while the program runs.

The front door. It is lazy (PEP 562): ``import luminal`` loads nothing; each public
name loads its room at first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from luminal import blocking as blocking
    from luminal.discovery import discover
    from luminal.errors import LuminalError
    from luminal.hooks import PluginManager
    from luminal.interfaces import IPhoton, PhotonContext, hookimpl, hookspec
    from luminal.managers import Handler, Loader
    from luminal.model import Deadlines, Probation
    from luminal.reload import Previous

__all__ = [
    "Deadlines",
    "Handler",
    "IPhoton",
    "Loader",
    "LuminalError",
    "PhotonContext",
    "PluginManager",
    "Previous",
    "Probation",
    "__version__",
    "discover",
    "hookimpl",
    "hookspec",
]

__version__ = "0.1.0"

_ROOMS = {
    "Deadlines": "luminal.model",
    "Handler": "luminal.managers",
    "IPhoton": "luminal.interfaces",
    "Loader": "luminal.managers",
    "LuminalError": "luminal.errors",
    "PhotonContext": "luminal.interfaces",
    "PluginManager": "luminal.hooks",
    "Previous": "luminal.reload",
    "Probation": "luminal.model",
    "discover": "luminal.discovery",
    "hookimpl": "luminal.interfaces",
    "hookspec": "luminal.interfaces",
}


def __getattr__(name: str) -> object:
    """Import the room that *name* lives in, and keep it at the front door."""
    from importlib import import_module

    if name == "blocking":  # a room that is a front desk of its own
        return import_module("luminal.blocking")
    room = _ROOMS.get(name)
    if room is None:
        raise AttributeError(f"module 'luminal' has no attribute {name!r}")
    value = getattr(import_module(room), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
