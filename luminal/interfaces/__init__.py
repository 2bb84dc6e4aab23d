"""What a photon's author imports: the base class, the context, and the hook markers."""

from __future__ import annotations

from luminal.interfaces.context import PhotonContext
from luminal.interfaces.markers import hookimpl, hookspec
from luminal.interfaces.photon import IPhoton, LifecycleSpecs, Subject

__all__ = [
    "IPhoton",
    "LifecycleSpecs",
    "PhotonContext",
    "Subject",
    "hookimpl",
    "hookspec",
]
