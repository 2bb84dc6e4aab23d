"""From a loaded class to a running photon, and to its end. It knows nothing of reloads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from luminal._lazy import lazy_attributes

if TYPE_CHECKING:
    from luminal.lifecycle._batch import Admission as Admission
    from luminal.lifecycle._batch import Batch as Batch
    from luminal.lifecycle._batch import Intake as Intake
    from luminal.lifecycle._batch import Registry as Registry
    from luminal.lifecycle._batch import depart as depart
    from luminal.lifecycle._failures import explain as explain
    from luminal.lifecycle._failures import words_of as words_of
    from luminal.lifecycle._footprint import Terms as Terms
    from luminal.lifecycle._footprint import Trail as Trail
    from luminal.lifecycle._footprint import name_pins as name_pins
    from luminal.lifecycle._footprint import namespaces_of as namespaces_of
    from luminal.lifecycle._handler import Handler as Handler
    from luminal.lifecycle._lock import CrossLoopLock as CrossLoopLock
    from luminal.lifecycle._runtime import Events as Events
    from luminal.lifecycle._runtime import Runtime as Runtime
    from luminal.lifecycle._steps import is_containable as is_containable
    from luminal.lifecycle._steps import method_of as method_of
    from luminal.lifecycle._steps import run_step as run_step

__getattr__, __dir__ = lazy_attributes(
    globals(),
    {
        "_batch": (
            "Admission",
            "Batch",
            "Intake",
            "Registry",
            "depart",
        ),
        "_failures": (
            "explain",
            "words_of",
        ),
        "_footprint": (
            "Terms",
            "Trail",
            "name_pins",
            "namespaces_of",
        ),
        "_handler": ("Handler",),
        "_lock": ("CrossLoopLock",),
        "_runtime": (
            "Events",
            "Runtime",
        ),
        "_steps": (
            "is_containable",
            "method_of",
            "run_step",
        ),
    },
)
