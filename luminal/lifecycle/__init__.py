"""From a loaded class to a running photon, and to its end.

`Handler` is the state machine of one photon, `BatchLoader` loads and unloads many, and
`Runtime` is what the photons of one host share. Nothing in here knows of reloads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from luminal._lazy import Getter, Lister, lazy_attributes

if TYPE_CHECKING:
    from luminal.lifecycle._batch import BatchLoader as BatchLoader
    from luminal.lifecycle._batch import BatchResult as BatchResult
    from luminal.lifecycle._batch import Disabled as Disabled
    from luminal.lifecycle._batch import Registry as Registry
    from luminal.lifecycle._batch import check_names as check_names
    from luminal.lifecycle._batch import check_objects as check_objects
    from luminal.lifecycle._examining import examiner as examiner
    from luminal.lifecycle._failures import load_failure as load_failure
    from luminal.lifecycle._footprint import InterpreterChanges as InterpreterChanges
    from luminal.lifecycle._footprint import InterpreterPolicy as InterpreterPolicy
    from luminal.lifecycle._footprint import namespaces_of as namespaces_of
    from luminal.lifecycle._footprint import report_referrers as report_referrers
    from luminal.lifecycle._handler import Handler as Handler
    from luminal.lifecycle._lock import CrossLoopLock as CrossLoopLock
    from luminal.lifecycle._lock import forked_while_busy as forked_while_busy
    from luminal.lifecycle._runtime import Events as Events
    from luminal.lifecycle._runtime import Runtime as Runtime
    from luminal.lifecycle._runtime import UnknownHooks as UnknownHooks
    from luminal.lifecycle._settings import SettingsFile as SettingsFile
    from luminal.lifecycle._settings import settings_for as settings_for
    from luminal.lifecycle._settings import unused_tables as unused_tables
    from luminal.lifecycle._steps import is_containable as is_containable
    from luminal.lifecycle._steps import method_of as method_of
    from luminal.lifecycle._steps import run_step as run_step

__getattr__: Getter
__dir__: Lister
__getattr__, __dir__ = lazy_attributes(
    globals(),
    {
        "_batch": (
            "BatchLoader",
            "BatchResult",
            "Disabled",
            "Registry",
            "check_names",
            "check_objects",
        ),
        "_examining": ("examiner",),
        "_failures": ("load_failure",),
        "_footprint": (
            "InterpreterChanges",
            "InterpreterPolicy",
            "namespaces_of",
            "report_referrers",
        ),
        "_handler": ("Handler",),
        "_lock": ("CrossLoopLock", "forked_while_busy"),
        "_runtime": ("Events", "Runtime", "UnknownHooks"),
        "_settings": ("SettingsFile", "settings_for", "unused_tables"),
        "_steps": ("is_containable", "method_of", "run_step"),
    },
)
