"""Trees of files, and a process that saves them, as an editor does.

In the watching process a save would wait for the GIL, and that time would count.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SAVES", "Saver", "tree"]


def _in_place(file: Path, text: str) -> None:
    file.write_text(text)


def _by_rename(file: Path, text: str) -> None:
    fresh = file.with_suffix(".tmp")
    fresh.write_text(text)
    os.replace(fresh, file)


SAVES = {"in place": _in_place, "rename": _by_rename}


class Saver:
    """The process that saves; a context manager."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.watching_saver"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def save(self, way: str, file: Path, text: str) -> float:
        """Save *text*; return the monotonic time at which the save began."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(f"{way}\t{file}\t{text!r}", file=self._process.stdin, flush=True)
        return float(self._process.stdout.readline())


@contextmanager
def tree(count: int) -> Iterator[list[Path]]:
    """Write *count* files, a hundred in each directory."""
    root = Path(tempfile.mkdtemp(prefix="watching_"))
    try:
        files = []
        for number in range(count):
            folder = root / f"p{number // 100}"
            folder.mkdir(exist_ok=True)
            files.append(folder / f"m{number}.py")
            files[-1].write_text("value = 0\n")
        yield files
    finally:
        shutil.rmtree(root)


def _serve() -> None:
    for line in sys.stdin:
        way, file, text = line.rstrip("\n").split("\t")
        content = text[1:-1].replace("\\n", "\n") + "\n"
        began = time.monotonic()
        SAVES[way](Path(file), content)
        print(began, flush=True)


if __name__ == "__main__":
    _serve()
