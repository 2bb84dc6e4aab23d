"""What keeps the code of an unloaded photon alive, by name.

What comes in are the namespaces of its modules, what goes out is a record for each
holder that is known to keep such code. Slow on purpose (tens of milliseconds, the
garbage collector's list is walked): ask when a generation did not die. It only reads.
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

from luminal.supervise.leftovers import Leftover
from luminal.supervise.pin_places import PLACES
from luminal.supervise.suspect import Suspect

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["find_pins"]


def find_pins(
    namespaces: Iterable[dict[str, Any]], *, photon: str = ""
) -> tuple[Leftover, ...]:
    """Return what is known to keep the code in *namespaces* alive.

    Args:
        namespaces: Dictionaries of the retired modules.
        photon: Whose they were, for the records.
    """
    suspect = Suspect(namespaces)
    objects = gc.get_objects()
    found = []
    for kind, look in PLACES:
        try:
            names = list(dict.fromkeys(look(suspect, objects)))
        except Exception as error:  # noqa: BLE001 - a strange object hides one kind only
            names = [f"(could not be read: {error!r})"]
        found += [
            Leftover(kind, name, photon, why="keeps the old code") for name in names
        ]
    del objects
    return tuple(found)
