"""Exclusive photons: stopped before their successor starts, woken when it fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from luminal.errors import LuminalError
from luminal.reload.handover import Previous

if TYPE_CHECKING:
    from luminal.lifecycle import Handler, Ports

__all__ = ["Absent", "stand_aside", "stand_in"]


@attrs.define(eq=False)
class Absent:
    """Keeps the place of a stopped photon in the order of all hooks.

    Attributes:
        handler: The photon that was stopped.
        data: Its ``context.data``.
    """

    handler: Handler
    data: dict[str, Any]

    @classmethod
    def of(cls, handler: Handler) -> Absent:
        """Return what keeps the place of *handler*'s photon, and its data."""
        return cls(handler, handler.context.data)


async def stand_aside(absent: Absent, ports: Ports) -> None:
    """Stop an exclusive photon, its place kept."""
    ports.plugins.swap(absent.handler.instance, absent)
    await absent.handler.stop()


async def stand_in(absent: Absent, ports: Ports) -> None:
    """Start a photon again that had stood aside, with the data it had.

    Where that fails too, the photon is left failed and unseated, which is told as
    an event and logged: there is no third generation to turn to.
    """
    handler = absent.handler

    async def prepare(again: Handler) -> None:
        again.context.data.update(absent.data)
        version = again.candidate.version if again.candidate is not None else ""
        await ports.reload(again, Previous(version, again.number, None, absent.data))

    try:
        await handler.bring_up(
            prepare=prepare,
            seat=lambda again: ports.plugins.swap(absent, again.instance),
        )
    except LuminalError as error:
        import logging

        ports.plugins.unregister(absent)
        logging.getLogger("luminal.reload").critical(
            "photon %r could not be started again and is off: %s", handler.name, error
        )
