"""What a fleet is asked to run, as the bytes of a bundle; and who asks."""

from __future__ import annotations

import getpass
import os
import socket
from typing import TYPE_CHECKING

from luminal.errors import FleetError, did_you_mean_path

if TYPE_CHECKING:
    from luminal.trust import Bundle

    Source = str | os.PathLike[str] | bytes | Bundle
    """A path, the name of a distribution, or a bundle."""

__all__ = ["bytes_of", "who_asks"]


def bytes_of(source: Source, name: str = "", version: str = "") -> bytes:
    """Return the bundle of a source. It reads files, so it is called in a thread.

    Args:
        source: A directory, file, wheel, ``.photon`` file or distribution; or a bundle,
            also as its bytes.
        name: Of the bundle; by default that of the source.
        version: By default that of its photons, ``0`` where they have none or several.

    Raises:
        LuminalError: It cannot be packed.
    """
    from luminal.discovery import pack
    from luminal.trust import Bundle

    if isinstance(source, bytes):
        return source
    if isinstance(source, Bundle):
        return source.data()
    text = os.fspath(source)
    if text.endswith(".photon"):
        try:
            with open(text, "rb") as file:
                return file.read()
        except OSError as error:
            raise FleetError(
                "cannot be read",
                file=text,
                why=error.strerror or str(error),
                hint=did_you_mean_path(text).removeprefix("; "),
            ) from error
    return pack(text, name=name, version=version, default_version="0").data()


def who_asks() -> str:
    """Return the user and the machine, for the history."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # an id without a name, as in containers
        return socket.gethostname()
    return f"{user}@{socket.gethostname()}"
