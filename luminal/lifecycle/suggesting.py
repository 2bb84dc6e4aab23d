"""What the author of a photon may have meant, where a name was misspelt.

Comes in: an exception. Goes out: the nearest name, or nothing. Must never raise.
"""

from __future__ import annotations

import builtins
import re
import sys
from inspect import signature
from typing import TYPE_CHECKING

from luminal.interfaces import hookimpl, hookspec

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["meant"]

_OPTION = re.compile(r"(\w+)\.__call__\(\) got an unexpected keyword argument '(\w+)'")
_IMPORT = re.compile(r"cannot import name '(\w+)'")


def meant(error: BaseException) -> str:
    """Return the name that *error* misses under another one, or an empty string.

    Python tells it in a traceback only, and not each version for each kind.

    Args:
        error: What was raised.
    """
    try:
        name, known = _missing(error)
    except Exception:  # noqa: BLE001 - a photon's own class may do anything when asked
        return ""
    import difflib

    # A private name is hardly what was meant.
    public = [each for each in known if not each.startswith("_")]
    return next(iter(difflib.get_close_matches(name, public, 1)), "")


def _missing(error: BaseException) -> tuple[str, Iterable[str]]:
    """Return the name that was not found, and those that were there."""
    match error:
        case NameError(name=str(name)):
            return name, _in_sight(error)
        case AttributeError(name=str(name)):
            return name, dir(error.obj)
        case ModuleNotFoundError(name=str(name)):
            return name, {*sys.stdlib_module_names, *sys.modules}
        case ImportError(name=str(module)):
            found = _IMPORT.search(str(error))
            return found[1] if found else "", dir(sys.modules.get(module))
        case TypeError():
            return _option(str(error))
    return "", ()


def _in_sight(error: BaseException) -> set[str]:
    """Return the names that the code saw in which *error* was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return set()
    frame = trace.tb_frame
    return {*frame.f_locals, *frame.f_globals, *dir(builtins)}


def _option(text: str) -> tuple[str, Iterable[str]]:
    """Return the option of a marker that *text* refuses, and those that it has."""
    found = _OPTION.search(text)
    for marker in (hookimpl, hookspec):
        if found and found[1] == type(marker).__name__:
            return found[2], signature(marker).parameters
    return "", ()
