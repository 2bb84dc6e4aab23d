"""What identifies a Handler, and never changes under a host's hands."""

from __future__ import annotations

import attrs

from luminal.lifecycle.trail import Trail

__all__ = ["Nameplate"]


@attrs.define(eq=False, repr=False)
class Nameplate:
    """The first arguments of a Handler.

    Args:
        logging: Whether what happens to the photon is logged.
        name: Name of the photon.
        filepath: Path of its file.
        checksum: SHA-512 of the bytes that were compiled, as a hex digest.

    Attributes:
        trail: What its code has changed, where the host asks for that.
    """

    logging: bool
    # Read-only through properties: attrs' own frozen fields would slow down every
    # other attribute, and a host may load thousands of photons.
    _name: str
    _filepath: str
    _checksum: str
    trail: Trail = attrs.field(init=False, factory=Trail)

    @property
    def name(self) -> str:
        """Name of the photon."""
        return self._name

    @property
    def filepath(self) -> str:
        """Path of its file."""
        return self._filepath

    @property
    def checksum(self) -> str:
        """SHA-512 of the bytes that were compiled, as a hex digest."""
        return self._checksum
