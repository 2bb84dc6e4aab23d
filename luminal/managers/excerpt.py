"""The lines of a photon's file that a failure points at: for terminals and pages."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from luminal.model import Problem

__all__ = ["lines_around", "lines_of"]

_LARGEST = 2**20
"""Bytes of a file that is looked at."""


def lines_around(path: str, number: int, around: int = 2) -> list[tuple[int, str]]:
    """Return line *number* and its neighbours, of a regular file of sensible size.

    Read from the disk: what runs, and `linecache` knows, may be another generation.

    Args:
        path: Of the file.
        number: Counted from 1; 0 for none.
        around: How many lines before and after it are wanted.

    Returns:
        Numbers and lines; empty where there is no such line.
    """
    try:
        if not number or not os.path.isfile(path) or os.path.getsize(path) > _LARGEST:
            return []
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read().expandtabs().splitlines()
    except (OSError, ValueError):
        return []
    if not 0 < number <= len(lines):
        return []
    first = max(number - 1 - around, 0)
    found = lines[first : number + around]
    return [(at, line[:200]) for at, line in enumerate(found, first + 1)]


def lines_of(problem: Problem, around: int = 2) -> list[tuple[int, str]]:
    """Return the line that *problem* points at, and its neighbours.

    Where the file has another line there by now, it is the line as it was executed,
    alone.

    Args:
        problem: What went wrong.
        around: How many lines before and after it are wanted.
    """
    lines = lines_around(problem.file, problem.line, around)
    place = problem.file, problem.line
    for frame in problem.frames:
        if frame.text and (frame.file, frame.line) == place:
            text = " ".join(frame.text.split())
            now = "".join(line for at, line in lines if at == problem.line)
            if not " ".join(now.split()).startswith(text[:100]):
                return [(problem.line, frame.text)]
    return lines
