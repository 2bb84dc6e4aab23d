"""From running photons to nothing: stop, forget, retire."""

from __future__ import annotations

from typing import TYPE_CHECKING

from luminal.lifecycle.trail import name_pins, namespaces_of
from luminal.loading import drop_type_caches
from luminal.model import Happening, State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from luminal.lifecycle.handler import Handler
    from luminal.lifecycle.ports import Ports
    from luminal.lifecycle.registry import Registry
    from luminal.loading import World

__all__ = ["depart"]


async def depart(
    leaving: Mapping[str, list[Handler]],
    registry: Registry,
    world: World,
    ports: Ports,
    is_forced: bool,
) -> None:
    """Unload the photons of some files, the last loaded first.

    What one of them does while it is finalized keeps no other from leaving.

    Args:
        leaving: File → its Handlers.
        registry: Where they are forgotten.
        world: Where their generations are retired.
        ports: Who is told.
        is_forced: Skip ``finalize``.
    """
    handlers = registry.in_order(h for of_file in leaving.values() for h in of_file)
    handlers.reverse()
    for handler in handlers:
        handler.has_left = True  # who asks for a start meanwhile is refused
    gone: list[Handler] = []
    try:
        for handler in handlers:
            try:
                if handler.state is not State.STAGED:
                    await handler.stop(is_forced)
            finally:
                # Also one whose end was cut short runs no more.
                registry.remove([handler])
                gone.append(handler)
                ports.tell(Happening.UNLOADED, handler)
    finally:
        units = {h.generation.unit for h in gone if h.generation is not None}
        # With the last photon goes all that was ever imported.
        world.retire(units if len(registry) else world.generations, registry.has_unit)
        spaces = [namespaces_of(handler) for handler in gone]
        for handler in gone:
            handler.trail.undo()
            handler.release()
        for handler, namespaces in zip(gone, spaces, strict=True):
            name_pins(handler, namespaces)
        drop_type_caches()
