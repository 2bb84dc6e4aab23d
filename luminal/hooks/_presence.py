"""Which generation of a plugin a running call sees: asked by hooks that nobody calls.

A plugin that is followed implements one hook more, of which it is the only one. So the
rules for calls under way hold for the plugin as a whole, whatever hooks it implements.
"""

# ruff: noqa: SLF001 - a part of the manager
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

from luminal.hooks._calls import outermost
from luminal.hooks._impl import Implementation, complete_options

if TYPE_CHECKING:
    from luminal.hooks._manager import PluginManager
    from luminal.hooks._registration import Registration

__all__ = ["follow", "implement", "is_presence", "seen"]

_PREFIX = "_luminal_presence_"


def is_presence(hook: str) -> bool:
    """Whether *hook* is one of these."""
    return hook.startswith(_PREFIX)


def follow(manager: PluginManager, name: str) -> None:
    """Do what `PluginManager.follow` says."""
    with manager._policy.lock:
        if name in manager._followed:
            return
        manager._followed.add(name)
        registration = manager._by_id.get(id(manager._name2plugin.get(name)))
        if registration is None:
            return
        impl = implement(registration)
    manager._add(registration, f"{_PREFIX}{name}", impl, was_verified=True)


def implement(registration: Registration) -> Implementation:
    """Add the implementation of the plugin's own hook to its registration."""
    options: Any = complete_options({})
    plugin, name = registration.plugin, registration.name
    hookimpl = pluggy.HookImpl(plugin, name, _be_there, options)
    impl = Implementation(hookimpl, registration.generation)
    registration.implementations.append((f"{_PREFIX}{name}", impl, True))
    return impl


def _be_there() -> None:
    """Implement that hook."""


def seen(manager: PluginManager, name: str) -> object | None:
    """Do what `PluginManager.seen` says."""
    caller = manager._callers.get(f"{_PREFIX}{name}")
    while True:
        barrier = caller.barrier if caller is not None else None
        if barrier is not None:
            epoch = outermost(manager._policy)
            if epoch is not None:
                for impl in barrier.seen_by(epoch).implementations:
                    return impl.plugin
        found: object | None = manager.get_plugin(name)
        # Otherwise a swap has begun meanwhile, which this call must not see.
        if barrier is not None or caller is None or caller.barrier is None:
            return found
