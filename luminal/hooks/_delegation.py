"""Hooks that another manager has, on the plugins of this one.

A host's plugins may implement hooks of Luminal's life cycle, which are in a manager of
their own. Each manager refers weakly to those that it hands implementations to, and
keeps what they are to have with its registrations.
"""

# ruff: noqa: SLF001 - a part of the manager
from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from luminal.hooks._caller import Caller
    from luminal.hooks._manager import PluginManager
    from luminal.hooks._registration import Marked, Registration
    from luminal.hooks._swap import PreparedSwap

__all__ = ["check", "delegate", "having", "register", "swaps"]


def delegate(manager: PluginManager, other: PluginManager) -> None:
    """Do what `PluginManager.delegate` says."""
    with manager._policy.lock:
        own = {caller.name for caller in manager._all_callers() if caller.has_spec()}
        names = frozenset(other._specified()) - own
        manager._delegated |= names
        for name in names & manager._callers.keys():
            _take_away(manager, manager._callers.pop(name))
        manager._delegates.add(other)
        registrations = tuple(manager._by_id.values())
    for registration in registrations:
        register(manager, registration, [other])


def _take_away(manager: PluginManager, caller: Caller) -> None:
    """Take a hook away whose implementations are for another manager."""
    delattr(manager.hook, caller.name)
    delattr(manager.ahook, caller.name)
    for registration in manager._by_id.values():
        kept = [place for place in registration.positions if place[0] is not caller]
        if len(kept) == len(registration.positions):
            continue
        registration.positions = kept
        registration.implementations = [
            found for found in registration.implementations if found[0] != caller.name
        ]
        registration.delegated += [
            found
            for found in manager._marked(registration.plugin)
            if (found[2].get("specname") or found[0]) == caller.name
        ]


def check(manager: PluginManager, registration: Registration) -> None:
    """Raise if another manager cannot take what *registration* has for it."""
    for other in manager._delegates if registration.delegated else ():
        name, number = registration.name, registration.generation
        marked = _known(other, registration.delegated)
        other._prepare(registration.plugin, name, number, 0, marked=marked)


def register(
    manager: PluginManager,
    registration: Registration,
    others: Iterable[PluginManager] | None = None,
) -> None:
    """Register the delegated implementations of *registration* with *others*."""
    if not registration.delegated:
        return
    for other in tuple(manager._delegates if others is None else others):
        plugin, number = registration.plugin, registration.generation
        marked = _known(other, registration.delegated)
        if marked and not other.is_registered(plugin):
            # Somebody else may have the name there.
            is_free = registration.name not in other._name2plugin
            name = registration.name if is_free else str(id(plugin))
            other._register(plugin, name, number, marked)


def _known(manager: PluginManager, marked: Iterable[Marked]) -> list[Marked]:
    """Return those of *marked* whose hooks *manager* specifies."""
    known = set(manager._specified())
    return [one for one in marked if (one[2].get("specname") or one[0]) in known]


def having(manager: PluginManager, registration: Registration) -> list[PluginManager]:
    """Return the managers that have implementations of *registration*."""
    if not registration.delegated:
        return []
    return [o for o in manager._delegates if o.is_registered(registration.plugin)]


def swaps(
    manager: PluginManager, changes: Sequence[tuple[Registration, Registration]]
) -> list[PreparedSwap]:
    """Return the swaps of delegated implementations that *changes* need."""
    delegating = [pair for pair in changes if pair[1].delegated]
    if not delegating:
        return []
    from luminal.hooks._swap import PreparedSwap

    for _, new in delegating:
        check(manager, new)
    found: list[PreparedSwap] = []
    for other in tuple(manager._delegates):
        chosen = [(o, n) for o, n in delegating if other in having(manager, o)]
        if chosen:
            swap = PreparedSwap(
                other,
                [(old.plugin, new.plugin) for old, new in chosen],
                chosen[0][1].generation,
                (),
                {id(n.plugin): _known(other, n.delegated) for _, n in chosen},
            )
            found.append(swap)
    return found
