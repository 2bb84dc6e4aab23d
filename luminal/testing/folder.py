"""A directory of photons that a test writes, edits and deletes."""

from __future__ import annotations

import os
import shutil
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from luminal.testing.saving import Save, save

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Folder"]


class Folder:
    """A directory of photons.

    Args:
        path: The directory; it is made where there is none.

    Attributes:
        path: The directory.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).resolve()
        self.path.mkdir(parents=True, exist_ok=True)

    def write(self, name: str, text: str | bytes) -> Path:
        """Write a file, with the directories above it.

        Args:
            name: Its path below the directory, such as ``"geo/__init__.py"``.
            text: Its text, indented as you like and with a line end before it.

        Returns:
            Its full path.

        Raises:
            ValueError: *name* leads out of the directory.
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
        """Change a file as a person with an editor would.

        Args:
            name: Its path below the directory.
            text: Its new text, or a function from the old text to the new one.
            how: The steps by which it is saved.

        Returns:
            Its full path.

        Raises:
            FileNotFoundError: There is no such file; `write` makes one.
            ValueError: *name* leads out of the directory.
        """
        path = self._inside(name)
        try:
            before = path.read_bytes()
        except FileNotFoundError as error:
            there = ", ".join(sorted(each.name for each in self.path.iterdir()))
            text = f"no such file to edit; there are: {there or 'none'}"
            raise FileNotFoundError(error.errno, text, str(path)) from None
        if callable(text):
            text = text(before.decode()).encode()
        self._about_to_change()
        save(path, _bytes(text), how)
        return path

    def copy(self, source: str | os.PathLike[str]) -> Path:
        """Copy a photon of your own here: a file, or the directory of a package.

        Args:
            source: The file or directory; it keeps its name.

        Returns:
            Where the copy is.
        """
        source = Path(source)
        target = self.path / source.resolve().name
        self._about_to_change()
        if source.is_dir():
            leave_out = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, target, ignore=leave_out)
        else:
            shutil.copyfile(source, target)
        return target

    def delete(self, name: str) -> None:
        """Delete a file, or a directory with all that is in it."""
        path = self._inside(name)
        self._about_to_change()
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()

    def _inside(self, name: str) -> Path:
        """Return where *name* is; a test must not write into somebody's files."""
        path = self.path / name
        if self.path not in Path(os.path.abspath(path)).parents:
            raise ValueError(f"{name!r} leads out of {str(self.path)!r}")
        return path

    def _about_to_change(self) -> None:
        """Called before the disk is touched."""


def _bytes(text: str | bytes) -> bytes:
    if isinstance(text, bytes):
        return text
    # A text that begins below its opening quotes keeps its line numbers.
    return textwrap.dedent(text).removeprefix("\n").encode()
