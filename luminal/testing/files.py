"""Photons' files in a test: a folder to write them in, and how editors save files.

Nothing here waits. How a watcher reacts to the steps of a save is what a test checks.
"""

from __future__ import annotations

import enum
import os
import shutil
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Folder", "Save", "save"]


class Save(enum.StrEnum):
    """The steps by which a program saves a file."""

    IN_PLACE = "in place"
    """Truncated, then written: nano, ``open(path, "w")``, most formatters."""
    RENAME = "rename over"
    """Written to a second file, which then replaces the first: VS Code, PyCharm."""
    BACKUP = "backup and create"
    """The old file is renamed, a new one created, the old one deleted: Vim."""
    DELETE = "delete then create"
    """Deleted, then created: version control, synchronisers."""
    TWICE = "two writes"
    """Written by an editor, then again by a formatter that removes a blank line."""


def save(path: str | os.PathLike[str], data: bytes, how: Save = Save.IN_PLACE) -> None:
    """Save *data* at *path*, by the steps that *how* names.

    Args:
        path: The file. It is created if it does not exist.
        data: The whole content.
        how: The steps.
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


class Folder:
    """A directory of photons that a test writes, edits and deletes.

    Args:
        path: The directory. It is created if it does not exist.

    Attributes:
        path: The directory, absolute and without symbolic links.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path: Path = Path(path).resolve()
        self.path.mkdir(parents=True, exist_ok=True)

    def write(self, name: str, text: str | bytes) -> Path:
        """Write a file, and create the directories above it.

        Args:
            name: Path below the directory, such as ``"geo/__init__.py"``.
            text: The content. Text may be indented and begin with a line end.

        Returns:
            The full path of the file.

        Raises:
            ValueError: *name* is a path outside of the directory.
        """
        path = self._inside(name)
        self._about_to_change()
        path.parent.mkdir(parents=True, exist_ok=True)
        save(path, _bytes(text), Save.RENAME)
        return path

    def edit(
        self,
        name: str,
        text: str | bytes | Callable[[str], str],
        how: Save = Save.IN_PLACE,
    ) -> Path:
        """Change a file as an editor does.

        Args:
            name: Path below the directory.
            text: The new text, or a function that is given the old text and returns
                the new one.
            how: The steps by which the file is saved.

        Returns:
            The full path of the file.

        Raises:
            FileNotFoundError: The file does not exist; `write` creates one.
            ValueError: *name* is a path outside of the directory.
        """
        path = self._inside(name)
        try:
            before = path.read_bytes()
        except FileNotFoundError as error:
            names = ", ".join(sorted(each.name for each in self.path.iterdir()))
            text = f"no such file to edit; there are: {names or 'none'}"
            raise FileNotFoundError(error.errno, text, str(path)) from None
        if callable(text):
            text = text(before.decode()).encode()
        self._about_to_change()
        save(path, _bytes(text), how)
        return path

    def copy(self, source: str | os.PathLike[str]) -> Path:
        """Copy a photon into the directory.

        Args:
            source: A file, or the directory of a package. The copy has the same name.

        Returns:
            The full path of the copy.
        """
        source = Path(source)
        target = self.path / source.resolve().name
        self._about_to_change()
        if source.is_dir():
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, target, ignore=ignore)
        else:
            shutil.copyfile(source, target)
        return target

    def delete(self, name: str) -> None:
        """Delete a file, or a directory with everything in it.

        Args:
            name: Path below the directory.

        Raises:
            FileNotFoundError: It does not exist.
            ValueError: *name* is a path outside of the directory.
        """
        path = self._inside(name)
        self._about_to_change()
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()

    def _inside(self, name: str) -> Path:
        """Return the path of *name*, which must be in the directory."""
        path = self.path / name
        if self.path not in Path(os.path.abspath(path)).parents:
            raise ValueError(f"{name!r} is outside of {str(self.path)!r}")
        return path

    def _about_to_change(self) -> None:
        """Do what a subclass must do before a file changes."""


def _bytes(text: str | bytes) -> bytes:
    if isinstance(text, bytes):
        return text
    # A text that begins below its opening quotes keeps its line numbers.
    return textwrap.dedent(text).removeprefix("\n").encode()
