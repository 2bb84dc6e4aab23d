"""Names to files: which module of an origin lies where, and to which unit it belongs.

In comes a module's full name, out comes its place on disk. Nothing is read or
executed here, and `sys.modules` is never looked at.

A *unit* is what is loaded and replaced as one: a lone file, a package with all
that lies below it, or the modules of an installed distribution. The modules of a
directory live below a name of their own (``plugins_1a2b3c4d.weather``), so that a
file may be called like a module of the standard library, and two directories may
hold files of one name.
"""

from __future__ import annotations

import os
import re
from functools import cached_property
from typing import TYPE_CHECKING, Protocol
from weakref import WeakSet, WeakValueDictionary
from zlib import crc32

import attrs

from luminal.loading.place import Place, is_file, look, may_hold

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "DirectoryOrigin",
    "DistributionOrigin",
    "Origin",
    "claim_directory",
    "claimed_directories",
]


class Origin(Protocol):
    """What a generation asks about names."""

    @property
    def tops(self) -> Iterable[str]:
        """First parts of the names that are looked for here."""

    def owns(self, fullname: str) -> bool:
        """Whether *fullname* is to be looked for here and nowhere else."""

    def find(self, fullname: str) -> Place | None:
        """Return where *fullname* lies, or None where there is no such module."""

    def neighbour(self, top: str, unit: str) -> str | None:
        """Return the full name that the bare name *top* has in *unit*, if any."""


def _descend(directory: str, start: str, parts: list[str]) -> Place | None:
    """Walk *parts* down from *directory*, whose modules' names begin with *start*."""
    unit = ""
    place: Place | None = None
    for index, part in enumerate(parts):
        place = look(directory, part, unit or ".".join([start, *parts[: index + 1]]))
        if place is None:
            return None
        unit = place.unit
        if place.directory is None:
            return place if index == len(parts) - 1 else None
        directory = place.directory
    return place


@attrs.define(eq=False)
class DirectoryOrigin:
    """A directory of photons.

    Args:
        directory: Its absolute path.
        salt: Told apart from an equal directory that another loader uses.
    """

    directory: str
    salt: int = 0
    name: str = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        # Derived from the path alone, so that pickles outlive the process.
        label = re.sub(r"\W", "_", os.path.basename(self.directory)) or "root"
        label = f"_{label}" if label[0].isdigit() else label
        digest = crc32(os.fsencode(self.directory), self.salt)
        self.name = f"{label}_{digest:08x}"

    def name_of(self, path: str) -> str:
        """Return the full module name of the file at *path*, below this directory."""
        if path.startswith(self.directory + os.sep):
            relative = path[len(self.directory) + 1 :]
        else:
            relative = os.path.relpath(path, self.directory)
        stem = relative.removesuffix(".py").removesuffix(os.sep + "__init__")
        return ".".join([self.name, *stem.split(os.sep)])

    @property
    def tops(self) -> tuple[str]:
        """The directory's own name."""
        return (self.name,)

    def owns(self, fullname: str) -> bool:
        """Whether *fullname* is this directory's own name or below it."""
        return fullname == self.name or fullname.startswith(self.name + ".")

    def find(self, fullname: str) -> Place | None:
        """Return where *fullname* lies; the directory itself is a namespace."""
        if fullname == self.name:
            return Place("namespace", self.directory, "")
        parts = fullname[len(self.name) + 1 :].split(".")
        return _descend(self.directory, self.name, parts)

    def neighbour(self, top: str, unit: str) -> str | None:
        """Return the full name of the module *top* beside *unit*.

        As for a script, the importing file's own directory is looked in, then the
        origin's. A lone file never finds itself: ``discord.py`` that imports
        ``discord`` means the installed one.
        """
        beside = unit.rpartition(".")[0]
        for package in (beside, self.name) if beside != self.name else (beside,):
            if package == self.name and not may_hold(self.directory, top):
                continue
            fullname = f"{package}.{top}"
            place = self.find(fullname)
            if place is None or place.kind == "namespace":
                continue
            if fullname != unit or place.kind == "package":
                return fullname
        return None


_claims: WeakValueDictionary[str, object] = WeakValueDictionary()
_claimed: WeakSet[DirectoryOrigin] = WeakSet()


def claim_directory(directory: str, owner: object) -> DirectoryOrigin:
    """Return *directory* under a name that no other living owner uses.

    Args:
        directory: An absolute path.
        owner: Whoever loads from it; two loaders of one directory do not share.
    """
    salt = 0
    while True:
        origin = DirectoryOrigin(directory, salt)
        if _claims.setdefault(origin.name, owner) is owner:
            _claimed.add(origin)
            return origin
        salt += 1


def claimed_directories() -> set[str]:
    """Return the directories of photons that anybody in this process loads from."""
    return {origin.directory for origin in set(_claimed)}


@attrs.define(eq=False, slots=False)
class DistributionOrigin:
    """The modules of one installed distribution, under their real names.

    Args:
        distribution: Its name, as the metadata spell it.
        version: Its version, likewise.
        module: Full name of the module that the entry point names.
        location: File of that module.
    """

    distribution: str
    version: str
    module: str
    location: str

    @cached_property
    def root(self) -> tuple[str, str]:
        """The topmost regular package above the module, and where it is looked for.

        What lies above it is a namespace package (PEP 420), shared with others.
        """
        parts = self.module.split(".")
        directory = os.path.dirname(self.location)
        if os.path.basename(self.location) == "__init__.py":
            directory = os.path.dirname(directory)
        depth = len(parts)
        while depth > 1 and is_file(os.path.join(directory, "__init__.py")):
            directory = os.path.dirname(directory)
            depth -= 1
        return ".".join(parts[:depth]), directory

    @cached_property
    def record(self) -> str | None:
        """The text of the distribution's RECORD, None where it has none (PEP 376)."""
        normal = re.sub(r"[-_.]+", "_", self.distribution)
        for stem in dict.fromkeys((normal, normal.lower(), self.distribution)):
            folder = f"{stem}-{self.version}.dist-info"
            path = os.path.join(self.root[1], folder, "RECORD")
            try:
                with open(path, "rb") as file:
                    return os.fsdecode(file.read())
            except OSError:
                continue
        return None

    @cached_property
    def roots(self) -> dict[str, str]:
        """Full name of each root of the distribution → directory it lies in."""
        name, directory = self.root
        found = {name: directory}
        if "." not in name:
            for line in (self.record or "").splitlines():
                path = line.split(",", 1)[0].strip('"')
                top = path.removesuffix(".py").removesuffix("/__init__")
                if path.endswith(".py") and top.isidentifier():
                    found.setdefault(top, directory)
        return found

    @property
    def tops(self) -> set[str]:
        """First parts of the names of the distribution's modules."""
        return {root.partition(".")[0] for root in self.roots}

    def _root_of(self, fullname: str) -> str | None:
        first = self.root[0]
        if fullname == first or fullname.startswith(first + "."):
            return first
        top = fullname.partition(".")[0]
        return top if top in self.roots else None

    def owns(self, fullname: str) -> bool:
        """Whether *fullname* belongs to a package that the distribution installed."""
        return self._root_of(fullname) is not None

    def find(self, fullname: str) -> Place | None:
        """Return where *fullname* lies below the distribution's roots."""
        root = self._root_of(fullname)
        if root is None:
            return None
        unit = self.root[0]
        directory = self.roots[root]
        place: Place | None = None
        tail = fullname[len(root) :].split(".")[1:]
        for index, part in enumerate([root.rpartition(".")[2], *tail]):
            place = look(directory, part, unit)
            if place is None or (place.directory is None and index < len(tail)):
                return None
            directory = place.directory or directory
        return place

    def neighbour(self, top: str, unit: str) -> str | None:  # noqa: ARG002 - protocol
        """Return *top* itself where the distribution installed it."""
        return top if self.owns(top) else None
