"""Station two: the exact bytes of a file, read once and hashed.

What is hashed here is what `luminal.loading.code` compiles; the file is not looked at
again, so that nothing can slip in between.
"""

from __future__ import annotations

from functools import cached_property
from hashlib import sha512

import attrs

from luminal.discovery._files import read_bytes

__all__ = ["SourceFile", "read_source"]


@attrs.frozen(slots=False)
class SourceFile:
    """A file's bytes as they were at one moment.

    Attributes:
        path: Absolute path of the file.
        data: Its bytes.
        checksum: Their SHA-512, as a hex digest.
    """

    path: str
    data: bytes = attrs.field(repr=False)
    checksum: str

    @cached_property
    def text(self) -> str:
        """The bytes, decoded by the rules of PEP 263."""
        from importlib.util import decode_source

        return decode_source(self.data)


def read_source(path: str) -> SourceFile:
    """Read *path* once.

    Raises:
        PhotonUnreadableError: It is no regular file, too large, or not readable.
    """
    # Discovery has looked at it, or code that runs has named it in an import.
    data, _ = read_bytes(path, is_known=True)
    return SourceFile(path, data, sha512(data).hexdigest())
