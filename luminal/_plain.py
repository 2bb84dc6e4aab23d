"""Text of objects that anybody may have written, safe to keep and to print.

A photon's exception, class or name is asked for its text by its own code, which may
raise anything, and return anything of any length. What the functions of this module
return is exactly a `str`, bounded, and without characters that control a terminal.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType, TracebackType

__all__ = ["class_name", "error_text", "escaped", "plain", "repr_of", "steps_of"]

MOST = 2000
"""Characters that are kept of a text."""

_FIRST, _LAST = 100, 400
"""Steps of a long traceback that are looked at: at its beginning and at its end."""

_KEPT = "\n\t\xa0"
"""Characters that are not printable, and harmless."""

_name_of_class = type.__dict__["__name__"].__get__


def escaped(text: str, kept: str = _KEPT) -> str:
    """Return *text* with a backslash escape for each character that is not printable.

    Those are control characters, those that change the direction of a text, and lone
    surrogates, which no encoding of Unicode can represent.

    Args:
        text: Any text.
        kept: Characters that stay as they are.
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in kept else c.encode("unicode_escape").decode()
        for c in text
    )


def plain(value: object, most: int = MOST) -> str:
    """Return the text of *value* as a bounded and printable `str`.

    Args:
        value: A text, or an object whose ``__str__`` is called. What that raises is not
            raised further, whatever it is.
        most: Characters that are kept: of a longer text, the beginning and the end.
    """
    try:
        text = value if issubclass(type(value), str) else str(value)
        text = str.__str__(text)  # of a subclass, the characters alone
    except BaseException:  # noqa: BLE001 - the code of a photon may raise anything
        text = f"<{class_name(value)}, whose text cannot be read>"
    if len(text) > most:
        half = most // 2
        left = len(text) - 2 * half
        text = f"{text[:half]} ... ({left} characters more) ... {text[-half:]}"
    return escaped(text)


def repr_of(value: object, most: int = 200) -> str:
    """Return ``repr(value)`` as `plain` returns a text."""
    try:
        text = repr(value)
    except BaseException:  # noqa: BLE001 - the code of a photon may raise anything
        text = f"<{class_name(value)}, which cannot be shown>"
    return plain(text, most)


def class_name(value: object) -> str:
    """Return the name of the class of *value*; none of its code runs."""
    return plain(_name_of_class(type(value)), 200)


def error_text(error: BaseException, most: int = MOST) -> str:
    """Return the class of *error*, and its text where it has one.

    Args:
        error: Anything that was raised. No code but its ``__str__`` runs.
        most: Characters of the text that are kept.
    """
    text = plain(error, most)
    return f"{class_name(error)}: {text}" if text else class_name(error)


def steps_of(error: BaseException) -> Iterator[tuple[FrameType, int]]:
    """Yield the frames of a traceback and the lines in them, the innermost last.

    An endless recursion may have left a million of them: of a long traceback only the
    beginning and the end are yielded.
    """
    steps = _steps(error.__traceback__)
    first = list(islice(steps, _FIRST))
    for step in (*first, *deque(steps, _LAST)):
        yield step.tb_frame, step.tb_lineno or 0


def _steps(step: TracebackType | None) -> Iterator[TracebackType]:
    while step is not None:
        yield step
        step = step.tb_next
