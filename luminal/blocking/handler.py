"""Handlers whose steps are plain calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from luminal.managers.handlers import Handlers as AsyncHandlers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from luminal.lifecycle import Handler
    from luminal.supervise.loop_thread import LoopThread

__all__ = ["PlainHandler", "PlainHandlers"]


@attrs.frozen(repr=False)
class PlainHandler:
    """The host's handle on one photon; all but its steps is the `luminal.Handler`'s.

    Attributes:
        handler: That Handler. Two of these are equal where it is the same.
    """

    handler: Handler
    _loop: LoopThread = attrs.field(eq=False)

    def start(self) -> None:
        """Start the photon; see `luminal.lifecycle.Handler.start`."""
        self._loop.run(self.handler.start())

    def stop(self, force_stop: bool = False) -> bool:
        """Stop the photon; see `luminal.lifecycle.Handler.stop`."""
        return self._loop.run(self.handler.stop(force_stop))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.handler, name)

    def __repr__(self) -> str:
        return repr(self.handler)

    def __str__(self) -> str:
        return str(self.handler)


class PlainHandlers(list[PlainHandler]):
    """Handlers of photons that were loaded together.

    Args:
        handlers: As the Loader returns them.
        loop: Where their steps run.
    """

    def __init__(self, handlers: Iterable[Handler], loop: LoopThread) -> None:
        super().__init__(PlainHandler(handler, loop) for handler in handlers)
        self._handlers = handlers
        self._loop = loop

    def start(self) -> None:
        """Start all of them in order; a failure keeps no other from being started.

        Raises:
            LuminalError: As what `luminal.managers.Loader.load_photons` returns does.
        """
        handlers = self._handlers
        if not isinstance(handlers, AsyncHandlers):
            handlers = AsyncHandlers(handlers)
        self._loop.run(handlers.start())
