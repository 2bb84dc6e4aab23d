"""Handlers whose steps are plain calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from luminal.managers.loader import Handlers as AsyncHandlers

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from luminal.lifecycle import Handler

    Call = Callable[[Coroutine[Any, Any, Any]], Any]

__all__ = ["PlainHandler", "PlainHandlers"]


@attrs.frozen(repr=False)
class PlainHandler:
    """The host's handle on one photon; all but its steps is the `luminal.Handler`'s.

    Attributes:
        handler: That Handler. Two of these are equal where it is the same.
    """

    handler: Handler
    _call: Call = attrs.field(eq=False)

    def start(self) -> None:
        """Start the photon; see `luminal.lifecycle.Handler.start`."""
        self._call(self.handler.start())

    def stop(self, force_stop: bool = False) -> bool:
        """Stop the photon; see `luminal.lifecycle.Handler.stop`."""
        is_stopped: bool = self._call(self.handler.stop(force_stop))
        return is_stopped

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
        call: Runs a coroutine on the Loader's loop, and returns what it returns.
    """

    def __init__(self, handlers: Iterable[Handler], call: Call) -> None:
        super().__init__(PlainHandler(handler, call) for handler in handlers)
        self._handlers = handlers
        self._call = call

    def start(self) -> None:
        """Start all of them in order; a failure keeps no other from being started.

        Raises:
            LuminalError: As what `luminal.managers.Loader.load_photons` returns does.
        """
        handlers = self._handlers
        if not isinstance(handlers, AsyncHandlers):
            handlers = AsyncHandlers(handlers)
        self._call(handlers.start())
