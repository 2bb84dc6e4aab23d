"""Files that outlive the process: where they are, and how they are trusted.

Nothing here raises for the state of the disk: a cache that does not work costs time,
not a photon.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from luminal._lazy import Getter, Lister, lazy_attributes

if TYPE_CHECKING:
    from luminal.store._atomic import lock_descriptor as lock_descriptor
    from luminal.store._atomic import naming as naming
    from luminal.store._atomic import open_regular as open_regular
    from luminal.store._atomic import read_private as read_private
    from luminal.store._atomic import read_regular as read_regular
    from luminal.store._atomic import replace_file as replace_file
    from luminal.store._atomic import write_atomically as write_atomically
    from luminal.store._directories import cache_directory as cache_directory
    from luminal.store._directories import state_directory as state_directory
    from luminal.store._sealed import SealedStore as SealedStore
    from luminal.store._sealed import fingerprint as fingerprint
    from luminal.store._stamps import MARGIN as MARGIN
    from luminal.store._stamps import Stamp as Stamp
    from luminal.store._stamps import settled as settled
    from luminal.store._stamps import stamp_of as stamp_of

__getattr__: Getter
__dir__: Lister
__getattr__, __dir__ = lazy_attributes(
    globals(),
    {
        "_atomic": (
            "lock_descriptor",
            "naming",
            "open_regular",
            "read_private",
            "read_regular",
            "replace_file",
            "write_atomically",
        ),
        "_directories": ("cache_directory", "state_directory"),
        "_sealed": ("SealedStore", "fingerprint"),
        "_stamps": ("MARGIN", "Stamp", "settled", "stamp_of"),
    },
)
