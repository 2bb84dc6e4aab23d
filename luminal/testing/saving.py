"""The ways in which editors and tools save a file.

In comes the new text of a file, out goes the file, by the same steps on the disk that a
known kind of program takes. It must never wait: what a watcher makes of the moments in
between is what a test is about.
"""

from __future__ import annotations

import enum
import os

__all__ = ["Save", "save"]


class Save(enum.StrEnum):
    """How a file is saved."""

    IN_PLACE = "in place"
    """Truncated, then written: nano, ``open(path, "w")``, most formatters."""
    RENAME = "rename over"
    """Written beside it under another name, then put in its place: VS Code, PyCharm."""
    BACKUP = "backup and create"
    """The old one is renamed, a new one created, the old one deleted: Vim."""
    DELETE = "delete then create"
    """Deleted, then created: version control, synchronisers."""
    TWICE = "two writes"
    """Saved by an editor, then tidied by a formatter that takes a blank line away."""


def save(path: str | os.PathLike[str], data: bytes, how: Save = Save.IN_PLACE) -> None:
    """Save *data* at *path*.

    Args:
        path: The file; every way creates it where there is none.
        data: All its bytes.
        how: By which steps.
    """
    path = os.fspath(path)
    if how is Save.RENAME:
        beside = _beside(path, ".tmp")
        _write(beside, data)
        os.replace(beside, path)
    elif how is Save.BACKUP:
        # Vim tries first whether it may create files here.
        probe = os.path.join(os.path.dirname(path), "4913")
        _write(probe, b"")
        os.unlink(probe)
        backup = path + "~"
        if os.path.lexists(path):
            os.rename(path, backup)
        _write(path, data)
        if os.path.lexists(backup):
            os.unlink(backup)
    else:
        if how is Save.DELETE and os.path.lexists(path):
            os.unlink(path)
        if how is Save.TWICE:
            _write(path, data + b"\n")
        _write(path, data)


def _beside(path: str, suffix: str) -> str:
    folder, name = os.path.split(path)
    return os.path.join(folder, f".{name}{suffix}")


def _write(path: str, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
