"""What is closed when a photon's life ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from luminal.lifecycle.step import is_containable, run_step

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PhotonScope"]


@attrs.define(eq=False)
class PhotonScope:
    """Functions to call at the end, the last one given first."""

    name: str
    _closers: list[Callable[[], Any]] = attrs.Factory(list)

    def on_close(self, function: Callable[[], Any]) -> None:
        """Call *function* when the photon's life ends."""
        self._closers.append(function)

    async def close(self, deadline: float) -> list[BaseException]:
        """Call what was given; return what was raised."""
        errors: list[BaseException] = []
        while self._closers:
            closer = self._closers.pop()
            try:
                await run_step(closer, deadline=deadline, name=f"close {self.name}")
            except BaseException as error:
                if not is_containable(error):
                    raise
                errors.append(error)  # the others go on
        return errors
