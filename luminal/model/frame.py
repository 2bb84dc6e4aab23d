"""A place that an exception came through, as a value: the traceback itself dies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Frame", "as_frames"]


@attrs.frozen
class Frame:
    """One call on the way to an exception.

    Attributes:
        file: Path of its file, or what stands for one.
        line: Line that was executed, counted from 1; 0 where unknown.
        function: Its qualified name.
        text: The line as it was compiled, without indentation; empty where unknown.
        is_own: Whether the code is the author's: not Luminal's, not the standard
            library's, and not another distribution's.
    """

    file: str
    line: int = 0
    function: str = ""
    text: str = ""
    is_own: bool = True


def as_frames(rows: Iterable[Frame | Mapping[str, Any]]) -> tuple[Frame, ...]:
    """Return *rows* as frames.

    Args:
        rows: Frames, or mappings with the names of the attributes as keys.
    """
    return tuple(row if isinstance(row, Frame) else Frame(**row) for row in rows)
