"""Folders of judged units as entries of ``sys.path``: what is imported was judged.

A photon may put a folder of its own on ``sys.path``, for libraries that it brings
along. What the interpreter's finders would read there is what is on the disk by then.
So a path hook stands for these folders where a lock is in force: it finds the files
that were judged, and no others.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    ExtensionFileLoader,
    ModuleSpec,
    PathFinder,
    SourceFileLoader,
)
from importlib.util import spec_from_file_location
from typing import TYPE_CHECKING, Any

from luminal.errors import PhotonVerificationError
from luminal.loading._importer import current_attempt, known_worlds
from luminal.loading._judging import SnapshotReader, read_data

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import ModuleType

    from luminal.loading._generation import Generation
    from luminal.loading._judging import Snapshot

__all__ = ["JudgedEntry", "let_hook_look", "path_hook"]


class JudgedEntry:
    """Finds modules in a folder of a judged unit (a path entry finder, PEP 451).

    Args:
        entry: The entry of ``sys.path``.
    """

    def __init__(self, entry: str) -> None:
        self.entry: str = entry

    def invalidate_caches(self) -> None:
        """Do nothing: what was judged stays as it is."""

    def find_spec(
        self, fullname: str, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where a module is among the files that were judged."""
        found = _around(self.entry)
        if found is None:  # the unit has gone, or is judged no more
            sys.path_importer_cache.pop(self.entry, None)
            return PathFinder.find_spec(fullname, [self.entry], target)
        snapshot, folder = found
        base = os.path.join(folder, fullname.rpartition(".")[2])
        init = os.path.join(base, "__init__.py")
        if init in snapshot.files:
            loader = _JudgedLoader(fullname, init, snapshot)
            return spec_from_file_location(
                fullname, init, loader=loader, submodule_search_locations=[base]
            )
        for suffix in EXTENSION_SUFFIXES:
            path = base + suffix
            if path in snapshot.files:
                native = _JudgedNativeLoader(fullname, path)
                native.snapshot = snapshot
                return spec_from_file_location(fullname, path, loader=native)
        if f"{base}.py" in snapshot.files:
            loader = _JudgedLoader(fullname, f"{base}.py", snapshot)
            return spec_from_file_location(fullname, f"{base}.py", loader=loader)
        if any(path.startswith(os.path.join(base, "")) for path in snapshot.files):
            spec = ModuleSpec(fullname, None, is_package=True)
            spec.submodule_search_locations = [base]
            return spec
        return None


class _JudgedLoader(SourceFileLoader):
    """Executes bytes that were judged, and no compiled file."""

    def __init__(self, fullname: str, path: str, snapshot: Snapshot) -> None:
        super().__init__(fullname, path)
        self.snapshot: Snapshot = snapshot

    def path_stats(self, path: str) -> Mapping[str, Any]:
        raise OSError(2, "No compiled file is looked for", path)

    def get_data(self, path: str) -> bytes:
        judged = self.snapshot.data(os.path.abspath(path))
        return super().get_data(path) if judged is None else judged

    def get_resource_reader(self, name: str | None = None) -> Any:  # noqa: ARG002
        return SnapshotReader(self.snapshot, self.path)


class _JudgedNativeLoader(ExtensionFileLoader):
    """Loads a compiled module that is what was judged."""

    snapshot: Snapshot

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        judged = self.snapshot.source(self.path)
        if read_data(self.path).checksum != judged.checksum:
            raise PhotonVerificationError(
                "is not the compiled module that was judged", file=self.path
            )
        return super().create_module(spec)


def path_hook(entry: str) -> JudgedEntry:
    """Return a finder for a folder of a judged unit (a path entry hook, PEP 302).

    Raises:
        ImportError: It is none: the next hook is asked.
    """
    # A program by its path, as `runpy.run_path` asks for it, is no folder.
    if entry.endswith((".py", ".pyw", ".pyc")) or _around(entry) is None:
        raise ImportError("no folder of a judged unit", path=entry)
    return JudgedEntry(entry)


# Folder of a judged unit → where it really lay when it was judged.
_real: dict[str, str] = {}


def let_hook_look(snapshot: Snapshot) -> None:
    """Let `path_hook` be asked for folders of a unit that were looked into before.

    Args:
        snapshot: Of the unit.
    """
    real = _real[snapshot.folder] = os.path.realpath(snapshot.folder)
    places = snapshot.folder, real
    starts = tuple(os.path.join(place, "") for place in places)
    for entry in [*sys.path_importer_cache]:
        if entry in places or entry.startswith(starts):
            sys.path_importer_cache.pop(entry, None)


def _around(entry: str) -> tuple[Snapshot, str] | None:
    """Return what was judged of the unit that has the folder *entry*, and its path.

    The unit has it by its name, wherever a link leads by now; or by where it lies.
    """
    named, real = os.path.abspath(entry), os.path.realpath(entry)
    for generation in _generations():
        snapshot, root = generation.snapshot, generation.locations.get(generation.unit)
        if snapshot is None or root is None or root.kind != "package":
            continue  # beside a lone module lie the files of others
        folder = snapshot.folder
        for path, top in ((named, folder), (real, _real.get(folder, folder))):
            if path == top or path.startswith(os.path.join(top, "")):
                return snapshot, os.path.normpath(folder + path[len(top) :])
    return None


def _generations() -> Iterator[Generation]:
    """Yield what the caller is staging, then what serves."""
    attempt = current_attempt()
    if attempt is not None:
        yield from [*attempt.pending.values(), *attempt.stage.ready.values()]
    for world in known_worlds():
        yield from [*world.generations.values()]
