"""`PhotonContext`: what Luminal hands to a photon."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import attrs

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Mapping

__all__ = ["PhotonContext", "Scope"]


class Scope(Protocol):
    """Owner of what a photon holds; the context hands things to it."""

    def on_close(self, function: Callable[[], Any]) -> None:
        """Call *function* when the photon's life ends."""


@attrs.define(eq=False, repr=False)
class PhotonContext:
    """What a photon may ask of the host; reached as ``self.context``.

    Attributes:
        name: Name of the photon.
        settings: What the host has set for this photon; read-only.
        data: What is to outlive a reload; the next generation gets a copy of it.
    """

    name: str
    settings: Mapping[str, Any]
    _scope: Scope
    data: dict[str, Any] = attrs.Factory(dict)

    @property
    def logger(self) -> logging.Logger:
        """A standard logger of its own, ``luminal.photon.<name>``."""
        import logging

        return logging.getLogger(f"luminal.photon.{self.name}")

    def __repr__(self) -> str:
        return f"<PhotonContext {self.name!r}>"

    def on_close(self, function: Callable[[], Any]) -> None:
        """Call *function* after ``finalize``, the last one given first.

        Args:
            function: Takes no argument; may be ``async``. What it raises is reported
                and keeps no other from being called.
        """
        self._scope.on_close(function)
