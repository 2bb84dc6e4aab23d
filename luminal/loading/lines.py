"""The lines of the code that runs, for tracebacks and `inspect.getsource`.

`linecache` reads a file when it is asked, and by then the file may hold other text.
An entry without a modification time is never checked against the disk; its lines are
decoded when somebody looks.
"""

from __future__ import annotations

import linecache
from collections import UserList
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from luminal.loading.source import SourceFile

__all__ = ["forget_lines", "show_lines"]


class _Lines(UserList[str]):
    """The lines of a file's bytes as they were compiled."""

    def __init__(self, source: SourceFile) -> None:
        self.source = source

    # `UserList` asks for nothing else than this attribute.
    def __getattr__(self, name: str) -> Any:
        if name != "data":
            raise AttributeError(name)
        self.data = self.source.text.splitlines(keepends=True)
        return self.data

    def __getitem__(self, index: Any) -> Any:
        return self.data[index]


def show_lines(source: SourceFile) -> None:
    """Let `linecache` answer with the text of *source* for its path."""
    entry = (len(source.data), None, cast("list[str]", _Lines(source)), source.path)
    linecache.cache[source.path] = entry


def forget_lines(source: SourceFile) -> None:
    """Let `linecache` read the file of *source* again."""
    entry = linecache.cache.get(source.path)
    lines = entry[2] if entry is not None and len(entry) == 4 else None
    if getattr(lines, "source", None) is source:
        del linecache.cache[source.path]
