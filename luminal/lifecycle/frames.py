"""The way that an exception took, as small values.

Comes in: an exception that a photon raised. Goes out: its frames, the outermost first,
bounded in number. Must never keep a frame, nor raise.
"""

from __future__ import annotations

import linecache
import os
from traceback import walk_tb
from typing import TYPE_CHECKING

from luminal.model import Frame

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["frames_of"]

_FIRST, _LAST = 4, 12
"""How many frames of each kind are kept: where a long way began, where it ended."""

_WIDTH = 200
"""Characters that are kept of a line."""

_OURS = os.path.join(os.path.dirname(os.path.dirname(__file__)), "")
_STANDARD = os.path.join(os.path.dirname(os.__file__), "")
_SITES = ("site-packages", "dist-packages")


def frames_of(error: BaseException, location: str) -> tuple[Frame, ...]:
    """Return the frames that *error* came through, the innermost last.

    Args:
        error: What was raised.
        location: The photon's file; what lies beside and below it is its author's.
    """
    home = _home(location)
    way = [
        (frame, line or 0, _is_own(frame.f_code.co_filename, home))
        for frame, line in walk_tb(error.__traceback__)
    ]
    kept: set[int] = set()
    for kind in (True, False):
        places = [at for at, (_, _, is_own) in enumerate(way) if is_own is kind]
        kept |= {*places[:_FIRST], *places[-_LAST:]}
    return tuple(_frame(*way[at]) for at in sorted(kept))


def _frame(frame: FrameType, line: int, is_own: bool) -> Frame:
    code = frame.f_code
    text = _text(frame, code.co_filename, line) if is_own else ""
    return Frame(code.co_filename, line, code.co_qualname, text, is_own)


def _home(location: str) -> str:
    """Return how the paths of the author's files begin."""
    directory, _ = os.path.split(location)
    if not directory or os.path.basename(directory) in _SITES:
        return location  # a lone module among those of others
    return os.path.join(directory, "")


def _is_own(file: str, home: str) -> bool:
    if home and file.startswith(home):
        return True
    is_library = any(f"{os.sep}{site}{os.sep}" in file for site in _SITES)
    return not (is_library or file.startswith(("<", _OURS, _STANDARD)))


def _text(frame: FrameType, file: str, line: int) -> str:
    """Return a line as it was compiled; the file may hold another by now."""
    try:
        loader = frame.f_globals["__loader__"]
        source = loader.get_source(frame.f_globals["__name__"]).splitlines()
        return str(source[line - 1]).strip()[:_WIDTH]
    except Exception:  # noqa: BLE001 - a module may hold anything under these names
        return linecache.getline(file, line).strip()[:_WIDTH]
