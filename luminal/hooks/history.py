"""Memory of a historic hook: calls that those who come later are told of.

It must not keep a photon that is gone: what holds one, or belongs to one, is forgotten
with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Past"]


class Past:
    """An earlier call of a historic hook."""

    __slots__ = ("callback", "kwargs", "owner")

    def __init__(
        self,
        kwargs: Mapping[str, Any],
        callback: Callable[[Any], object] | None,
        owner: str | None,
    ) -> None:
        self.kwargs = kwargs
        self.callback = callback
        self.owner = owner

    def belongs_to(self, plugin: object, photon: str | None) -> bool:
        """Return whether this memory would keep *plugin* alive, or is *photon*'s."""
        if photon is not None and self.owner == photon:
            return True
        held = (*self.kwargs.values(), self.callback)
        return plugin is not None and any(
            value is plugin or getattr(value, "__self__", None) is plugin
            for value in held
            if value is not None
        )
