"""What a new generation is handed by the one before it."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import attrs

from luminal.errors import PhotonReloadError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from luminal.lifecycle import Handler

__all__ = ["Previous", "hand_over"]


@attrs.frozen
class Previous:
    """The generation before, as ``on_reload(self, previous)`` sees it.

    Attributes:
        version: Its version, or an empty string.
        generation: Its number.
        instance: The photon, which is still serving; None for an exclusive one that
            has been stopped.
        data: A copy of its ``context.data``, the same that the new photon finds in
            its own context.
    """

    version: str
    generation: int
    instance: Any
    data: Mapping[str, Any]


def hand_over(old: Handler, new: Handler) -> Previous:
    """Copy the data of *old* to *new*, and return what *new* is told of *old*.

    A copy, so that whatever the new one makes of it, the old one's is untouched.

    Raises:
        PhotonReloadError: The data cannot be copied.
    """
    try:
        data = deepcopy(old.context.data)
    except Exception as error:
        raise PhotonReloadError(
            "its data cannot be handed over",
            photon=old.name,
            file=old.filepath,
            why=f"{type(error).__name__}: {error}",
            hint="keep in 'context.data' only what 'copy.deepcopy' can copy",
        ) from error
    new.context.data.update(data)
    version = old.candidate.version if old.candidate is not None else ""
    return Previous(version, old.number, old.instance, new.context.data)
