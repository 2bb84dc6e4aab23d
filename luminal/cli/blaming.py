"""How a failure is told: whose, where with the lines, by which way, and what to do.

The author's code comes first; Luminal's own is shown to who asks for it with ``-v``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from luminal.cli.paper import clean, say, short, shows_all_frames

if TYPE_CHECKING:
    from collections.abc import Sequence

    from luminal.errors import LuminalError
    from luminal.model import Frame, Problem

__all__ = ["tell_error", "tell_problem"]

_CALLERS = 5
"""Calls of the author's that are shown without ``-v``."""


def tell_error(error: LuminalError) -> None:
    """Tell what *error* says."""
    from luminal.model import Problem

    tell_problem(error.photon or "", Problem.of(error, ""))


def tell_problem(
    photon: str,
    problem: Problem,
    *,
    so: str = "",
    err: bool = True,
    indent: str = "",
) -> None:
    """Tell which photon, what, where with the line itself, why, and what to do.

    Args:
        photon: Its name; empty where none is concerned.
        problem: What there is to tell.
        so: What follows from it, where more is known of that than the problem says.
        err: Whether this is talk; else it is what was asked for.
        indent: Blanks before each line.
    """
    subject = f"photon {clean(photon)!r}: " if photon else ""
    say(f"{indent}{subject}{clean(problem.what)} [{problem.code}]", fg="red", err=err)
    if problem.file:
        line = f":{problem.line}" if problem.line else ""
        say(f"{indent}  at: {short(problem.file)}{line}", err=err)
        _tell_lines(problem.file, problem.line, err, indent)
    _tell_way(problem, err, indent)
    labels = (
        ("because", problem.why),
        ("so", so or problem.consequence),
        ("try", problem.hint),
    )
    for label, value in labels:
        if value:
            say(f"{indent}  {label}: {clean(value)}", err=err)


def _tell_lines(path: str, number: int, err: bool, indent: str) -> None:
    """Tell line *number* of the file at *path*, and its neighbours."""
    from luminal.managers.excerpt import lines_around

    for at, text in lines_around(path, number, 1):
        is_it = at == number
        line = f"{indent}  {'>' if is_it else ' '} {at} | {clean(text)}".rstrip()
        say(line, dim=not is_it, err=err)


def _tell_way(problem: Problem, err: bool, indent: str) -> None:
    """Tell by which calls it came there, the innermost first."""
    if shows_all_frames():
        frames: Sequence[Frame] = problem.frames[::-1]
        left = 0
    else:
        blamed = (problem.file, problem.line)
        own = [frame for frame in problem.frames if frame.is_own][::-1]
        # The line to blame is shown already.
        own = own[1:] if own and (own[0].file, own[0].line) == blamed else own
        frames, left = own[:_CALLERS], len(own[_CALLERS:])
    for frame in frames:
        place = f"{short(frame.file)}:{frame.line}"
        say(f"{indent}  from: {place} in {clean(frame.function)}", err=err)
        text = frame.text or _on_disk(frame)
        if text:
            say(f"{indent}    {frame.line} | {clean(text)}", dim=True, err=err)
    if left:
        say(f"{indent}  from: {left} more calls; -v shows them", dim=True, err=err)


def _on_disk(frame: Frame) -> str:
    """Return the line of *frame* as its file has it; code of others changes rarely."""
    from luminal.managers.excerpt import lines_around

    return next(
        (text.strip() for _, text in lines_around(frame.file, frame.line, 0)), ""
    )
