"""Luminal: plugins ("photons") that can be changed while the program runs.

``import luminal`` loads next to nothing: each public name imports its package at first
use (PEP 562).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from luminal._lazy import Getter, Lister, lazy_attributes

if TYPE_CHECKING:
    from luminal import blocking as blocking
    from luminal.discovery import discover
    from luminal.errors import LuminalError
    from luminal.hooks import PluginManager
    from luminal.interfaces import IPhoton, PhotonContext, hookimpl, hookspec
    from luminal.managers import Handler, Loader
    from luminal.model import Deadlines, Probation, Quarantine
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
    "Quarantine",
    "__version__",
    "discover",
    "hookimpl",
    "hookspec",
]

__version__ = "0.1.0"

__getattr__: Getter
__dir__: Lister
__getattr__, __dir__ = lazy_attributes(
    globals(),
    {
        "luminal.blocking": ("blocking",),
        "luminal.discovery": ("discover",),
        "luminal.errors": ("LuminalError",),
        "luminal.hooks": ("PluginManager",),
        "luminal.interfaces": ("IPhoton", "PhotonContext", "hookimpl", "hookspec"),
        "luminal.managers": ("Handler", "Loader"),
        "luminal.model": ("Deadlines", "Probation", "Quarantine"),
        "luminal.reload": ("Previous",),
    },
)
