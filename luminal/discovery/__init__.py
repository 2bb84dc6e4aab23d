"""Finds photons in directories and installed distributions; imports none of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from luminal._lazy import Getter, Lister, lazy_attributes

if TYPE_CHECKING:
    from luminal.discovery._bundles import candidates_of as candidates_of
    from luminal.discovery._bundles import pack
    from luminal.discovery._discover import absolute_roots as absolute_roots
    from luminal.discovery._discover import archive_of as archive_of
    from luminal.discovery._discover import discover, discover_file
    from luminal.discovery._discover import several as several
    from luminal.discovery._distributions import canonical as canonical
    from luminal.discovery._files import files_of as files_of
    from luminal.discovery._files import find_data_files as find_data_files
    from luminal.discovery._files import is_checkers_copy as is_checkers_copy
    from luminal.discovery._files import is_data as is_data
    from luminal.discovery._files import is_data_file as is_data_file
    from luminal.discovery._files import modules_around as modules_around
    from luminal.discovery._files import read_bytes as read_bytes
    from luminal.discovery._index import Discovered
    from luminal.discovery._manifest import table_of as table_of
    from luminal.discovery._metadata import EntryPoint as EntryPoint
    from luminal.discovery._metadata import entries_of as entries_of
    from luminal.discovery._names import fits as fits
    from luminal.discovery._names import fold as fold
    from luminal.discovery._names import split_requirement as split_requirement
    from luminal.discovery._order import arrange_candidates as arrange_candidates

__all__ = ["Discovered", "discover", "discover_file", "pack"]

__getattr__: Getter
__dir__: Lister
__getattr__, __dir__ = lazy_attributes(
    globals(),
    {
        "_bundles": ("candidates_of", "pack"),
        "_index": ("Discovered",),
        "_discover": (
            "absolute_roots",
            "several",
            "archive_of",
            "discover",
            "discover_file",
        ),
        "_distributions": ("canonical",),
        "_files": (
            "files_of",
            "find_data_files",
            "is_data_file",
            "is_checkers_copy",
            "is_data",
            "modules_around",
            "read_bytes",
        ),
        "_manifest": ("table_of",),
        "_metadata": ("EntryPoint", "entries_of"),
        "_names": (
            "fits",
            "fold",
            "split_requirement",
        ),
        "_order": ("arrange_candidates",),
    },
)
