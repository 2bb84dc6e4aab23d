"""An exception of an implementation: whose it is, and what is told about it.

In comes an exception that passed through a caller, out comes the same exception with
a note that names photon, hook, generation and file:line; or, for an isolated hook, a
`HookFailure`. Runs on failing calls alone. It never swallows what is not an
implementation's failure: a cancellation is nobody's.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from luminal.hooks.occupant import Occupant

__all__ = ["ENGINE", "GENERATED", "ISOLATED", "blame", "is_own", "where_raised"]

ISOLATED: Final = (Exception, SystemExit)
"""What an isolated hook turns into a report. A real Ctrl-C passes."""

ENGINE: Final = __file__.rpartition("failure.py")[0]
"""Directory of this room: frames from here are not a photon's."""

RESERVED: Final = "luminal."
"""How the names of Luminal's own plugins begin; they run the code of photons."""

GENERATED: Final = "<luminal.hooks "
"""How the file names of prepared callers begin."""

# Guards the tallies of failures: they are exact, and failing is rare.
_LOCK = threading.Lock()


def is_own(error: BaseException) -> bool:
    """Return whether *error* is an implementation's doing, not a cancellation."""
    return isinstance(error, (Exception, SystemExit, KeyboardInterrupt))


def where_raised(error: BaseException, occupant: Occupant) -> str:
    """Return ``file:line`` of the photon's frame that *error* passed first."""
    step = error.__traceback__
    while step is not None:
        name = step.tb_frame.f_code.co_filename
        if not name.startswith((ENGINE, GENERATED)):
            return f"{name}:{step.tb_lineno}"
        step = step.tb_next
    return occupant.where


def blame(
    error: BaseException, occupant: Occupant, hook: str, missed: Iterable[Occupant]
) -> str:
    """Count *error* for *occupant* and name it in a note; return ``file:line``.

    Args:
        error: The exception.
        occupant: Whose it is.
        hook: Name of the hook.
        missed: Occupants that the call does not reach because of it.
    """
    with _LOCK:
        occupant.tally.errors += 1
        occupant.tally.streak += 1
        for other in missed:
            other.tally.missed += 1
    where = where_raised(error, occupant)
    if occupant.photon.startswith(RESERVED):
        return where  # whoever called it knows better whose code it ran
    note = (
        f"raised by photon {occupant.photon!r} (generation {occupant.generation}) "
        f"in hook {hook!r} at {where}"
    )
    # One exception object may be raised again and again.
    if note not in getattr(error, "__notes__", ()):
        error.add_note(note)
    return where
