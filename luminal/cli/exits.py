"""Exit codes, the same for every verb: scripts may rely on them."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from luminal.errors import LuminalError

__all__ = ["Exit", "exit_for"]


class Exit(enum.IntEnum):
    """How a verb ended."""

    FINE = 0
    FAILED = 1
    USAGE = 2
    NOTHING = 3
    REFUSED = 4
    NO_HOST = 5
    INTERRUPTED = 130


def exit_for(error: LuminalError) -> Exit:
    """Return the exit code that *error* ends a verb with."""
    from luminal import errors

    if isinstance(error, errors.PhotonNotFoundError | errors.DirectoryNotFoundError):
        return Exit.NOTHING
    if isinstance(error, errors.MissingExtraError):
        return Exit.USAGE
    if isinstance(error, errors.HostNotRunningError):
        return Exit.NO_HOST
    if isinstance(error, errors.PathTakenError | errors.PhotonReloadError):
        return Exit.REFUSED
    return Exit.FAILED
