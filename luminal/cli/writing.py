"""Files for people: written where nothing is, never over something."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from luminal.errors import PathTakenError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["write_new"]


def write_new(directory: str, files: Mapping[str, str]) -> list[str]:
    """Write *files* below *directory*, all of them or none.

    Args:
        directory: Absolute path; made where it is missing.
        files: Path below *directory*, with slashes → text.

    Returns:
        Their absolute paths.

    Raises:
        PathTakenError: One of them exists; nothing has been written.
        OSError: The system refuses; what had been written is removed again.
    """
    paths = {os.path.join(directory, *name.split("/")): name for name in files}
    for path in paths:
        if os.path.lexists(path):
            raise PathTakenError(
                "would be written over what is there",
                file=path,
                why="a file of this name exists",
                hint="choose another name or directory, or remove it",
            )
    written: list[str] = []
    try:
        for path, name in paths.items():
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "x", encoding="utf-8") as file:
                written.append(path)
                file.write(files[name])
    except OSError:
        for path in written:
            with contextlib.suppress(OSError):
                os.unlink(path)
        raise
    return list(paths)
