"""Find the file of a module by its full name, in a directory or a distribution.

Nothing is read or executed here, and `sys.modules` is not looked at.

A *unit* is what is loaded and replaced as one: a single file, a package with everything
below it, or the modules of an installed distribution. The modules of a directory get
names below a name of the directory's own (``plugins_1a2b3c4d.weather``). So a file may
be called like a module of the standard library, and two directories may hold files of
one name.
"""

from __future__ import annotations

import os
import re
import stat
import time
from functools import cached_property
from importlib.machinery import EXTENSION_SUFFIXES
from itertools import starmap
from typing import TYPE_CHECKING, Literal, Protocol
from weakref import WeakSet, WeakValueDictionary
from zlib import crc32

import attrs

from luminal._weak import members_of
from luminal.store import stamp_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from luminal.store import Stamp
    from luminal.trust import Bundle

__all__ = [
    "BundleOrigin",
    "DirectoryOrigin",
    "DistributionOrigin",
    "ModuleLocation",
    "Origin",
    "claim_directory",
    "claim_name",
    "claimed_directories",
    "find_below",
    "is_file",
    "look",
    "may_hold",
    "rows_of_record",
]


def rows_of_record(text: str) -> list[tuple[str, str]]:
    """Return (name as written, digest) of each file that a RECORD lists (PEP 376).

    What importlib.metadata says leaves out files that are missing: those by which an
    incomplete installation is known.

    Raises:
        csv.Error: It cannot be read.
    """
    import csv
    import io

    rows = csv.reader(io.StringIO(text, newline=""))
    return [(row[0], row[1]) for row in rows if len(row) >= 2]


@attrs.frozen
class ModuleLocation:
    """Where a module lies.

    Attributes:
        kind: ``module``, ``package``, ``extension``, or ``namespace`` for a
            directory without ``__init__.py``.
        path: The file, or the directory of a namespace.
        unit: Full name of the root module of the unit that it belongs to; empty
            for a namespace, which belongs to no unit.
    """

    kind: Literal["module", "package", "extension", "namespace"]
    path: str
    unit: str

    @property
    def directory(self) -> str | None:
        """The directory to look in for submodules; None for what has none."""
        if self.kind == "package":
            return os.path.dirname(self.path)
        return self.path if self.kind == "namespace" else None


def is_file(path: str) -> bool:
    """Whether *path* is a regular file or a link to one."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


# Directory → (its stamp, when it was listed, names in it, their first parts). Photons'
# imports ask for the same few directories again and again.
_listings: dict[str, tuple[Stamp, int, frozenset[str], frozenset[str]]] = {}
# The clock of file systems ticks in milliseconds. A directory that changed fewer
# nanoseconds than this before it was listed may change again with the same stamp.
# Discovery, which keeps its answers for good, waits for longer.
_TICK = 50_000_000


def _listing(directory: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the names in *directory*, and what they begin with up to a dot."""
    try:
        stamp = stamp_of(os.stat(directory))
        known = _listings.get(directory)
        if (
            known is not None
            and known[0] == stamp
            and known[1] - _changed(stamp) > _TICK
        ):
            return known[2:]
        listed = time.time_ns()
        names = frozenset(os.listdir(directory))
    except (OSError, ValueError):
        return frozenset(), frozenset()
    stems = frozenset(name.partition(".")[0] for name in names)
    _listings[directory] = (stamp, listed, names, stems)
    return names, stems


def _changed(stamp: Stamp) -> int:
    """Return when a directory changed last, in nanoseconds since the epoch."""
    return max(stamp[4:])


def may_hold(directory: str, stem: str) -> bool:
    """Whether *directory* holds anything that a module *stem* could be."""
    return stem in _listing(directory)[1]


def look(
    directory: str, stem: str, unit: str, *, prefers_source: bool = False
) -> ModuleLocation | None:
    """Find the module *stem* in *directory*; packages win, as in CPython.

    Args:
        directory: Its absolute path.
        stem: Name of the module, without packages.
        unit: What the module belongs to.
        prefers_source: Whether a ``.py`` file wins over a compiled module beside it.
            CPython, and so an installed distribution, has it the other way.
    """
    names = _listing(directory)[0]
    inside = os.path.join(directory, stem)
    if stem in names:
        init = os.path.join(inside, "__init__.py")
        if is_file(init):
            return ModuleLocation("package", init, unit)
    source = None
    if stem + ".py" in names:
        source = ModuleLocation("module", inside + ".py", unit)
    if source is not None and prefers_source:
        return source
    for suffix in EXTENSION_SUFFIXES:
        if stem + suffix in names:
            return ModuleLocation("extension", inside + suffix, unit)
    if source is not None:
        return source
    if stem in names and os.path.isdir(inside):
        return ModuleLocation("namespace", inside, "")
    return None


class Origin(Protocol):
    """Where modules of some units are found: a directory, distribution or bundle."""

    @property
    def tops(self) -> Iterable[str]:
        """First parts of the full names that belong to it."""

    def owns(self, fullname: str) -> bool:
        """Whether *fullname* belongs to it."""

    def find(self, fullname: str) -> ModuleLocation | None:
        """Return where *fullname* lies, or None where there is no such module."""

    def neighbour(self, top: str, unit: str) -> str | None:
        """Return the full name that the bare name *top* has in *unit*, if any."""

    def unit_of(self, fullname: str) -> str:
        """Return the unit of *fullname*, where its name does not begin with it."""

    def roots_of(self, unit: str) -> Iterable[str]:
        """Return the full names of what lies at the top of *unit*."""


def find_below(directory: str, parts: list[str], unit: str) -> ModuleLocation | None:
    """Return where a module of a distribution lies, or None for no such module.

    Args:
        directory: Where its first part is looked for.
        parts: Its name, split at the dots.
        unit: Full name of the root module of the unit that all of it belongs to.
    """
    location: ModuleLocation | None = None
    for index, part in enumerate(parts):
        location = look(directory, part, unit)
        if location is None or (location.directory is None and index < len(parts) - 1):
            return None
        directory = location.directory or directory
    return location


def _descend(directory: str, start: str, parts: list[str]) -> ModuleLocation | None:
    """Walk *parts* down from *directory*, whose modules' names begin with *start*."""
    unit = ""
    location: ModuleLocation | None = None
    for index, part in enumerate(parts):
        name = unit or ".".join([start, *parts[: index + 1]])
        # A source file was hashed and can be replaced; a compiled one cannot.
        location = look(directory, part, name, prefers_source=True)
        if location is None:
            return None
        # A folder without code, below a package, is a part of it.
        unit = location.unit or unit
        if location.directory is None:
            return location if index == len(parts) - 1 else None
        directory = location.directory
    return location


@attrs.define(eq=False, repr=False)
class DirectoryOrigin:
    """A directory of photons.

    Args:
        directory: Its absolute path.
        salt: Another number for each loader of one directory.
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

    def find(self, fullname: str) -> ModuleLocation | None:
        """Return where *fullname* lies; the directory itself is a namespace."""
        if fullname == self.name:
            return ModuleLocation("namespace", self.directory, "")
        parts = fullname[len(self.name) + 1 :].split(".")
        return _descend(self.directory, self.name, parts)

    def neighbour(self, top: str, unit: str) -> str | None:
        """Return the full name of the module *top* beside *unit*.

        As for a script, the importing file's own directory is looked in, then this
        one. A single file never finds itself: ``discord.py`` that imports ``discord``
        means the installed package.
        """
        beside = unit.rpartition(".")[0]
        for package in (beside, self.name) if beside != self.name else (beside,):
            if package == self.name and not may_hold(self.directory, top):
                continue
            fullname = f"{package}.{top}"
            location = self.find(fullname)
            if location is None or location.kind == "namespace":
                continue
            if fullname != unit or location.kind == "package":
                return fullname
        return None

    def unit_of(self, fullname: str) -> str:  # noqa: ARG002 - protocol
        """Return nothing: the names of all modules of a unit begin with its name."""
        return ""

    def roots_of(self, unit: str) -> tuple[str]:
        """Return *unit*: it is one file or one package."""
        return (unit,)


_claims: WeakValueDictionary[str, object] = WeakValueDictionary()
_claimed: WeakSet[DirectoryOrigin] = WeakSet()


def claim_directory(directory: str, owner: object) -> DirectoryOrigin:
    """Return *directory* under a name that no other owner uses.

    Args:
        directory: An absolute path.
        owner: The world that is loaded into; two of them do not share a directory.
    """
    salt = 0
    while True:
        origin = DirectoryOrigin(directory, salt)
        if _claims.setdefault(origin.name, owner) is owner:
            _claimed.add(origin)
            return origin
        salt += 1


def claim_name(origin: DirectoryOrigin, owner: object) -> DirectoryOrigin:
    """Return *origin*, whose name *owner* uses from now on, whoever else did."""
    _claims[origin.name] = owner
    _claimed.add(origin)
    return origin


def claimed_directories() -> set[str]:
    """Return the directories that photons of this process are loaded from."""
    return {origin.directory for origin in members_of(_claimed)}


def _root_of_module(module: str, location: str) -> tuple[str, str]:
    """Return the topmost regular package above *module*, and where it is looked for.

    What lies above it is a namespace package (PEP 420), shared with others.
    """
    parts = module.split(".")
    directory = os.path.dirname(location)
    if os.path.basename(location) == "__init__.py":
        directory = os.path.dirname(directory)
    depth = len(parts)
    while depth > 1 and is_file(os.path.join(directory, "__init__.py")):
        directory = os.path.dirname(directory)
        depth -= 1
    return ".".join(parts[:depth]), directory


@attrs.define(eq=False, repr=False, slots=False)
class DistributionOrigin:
    """The modules of one installed distribution, under their real names.

    They are one unit, however many packages and lone modules there are at the top. It
    is called like the root of *module*.

    Args:
        module: Full name of a module that an entry point names.
        location: File of that module.
        metadata: Its ``.dist-info`` folder, empty where it has none on disk.
        others: Further modules that entry points name → their files.
    """

    module: str
    location: str
    metadata: str
    others: dict[str, str] = attrs.Factory(dict)

    def add(self, module: str, location: str) -> None:
        """Let a further module that an entry point names belong to it."""
        if module != self.module and module not in self.others:
            self.others[module] = location
            vars(self).pop("roots", None)
            vars(self).pop("entered", None)

    @cached_property
    def root(self) -> tuple[str, str]:
        """The root of *module*, which names the unit, and where it is looked for."""
        return _root_of_module(self.module, self.location)

    @cached_property
    def entered(self) -> dict[str, str]:
        """Full name of each root that an entry point names → directory it lies in."""
        name, directory = self.root
        return {name: directory, **dict(starmap(_root_of_module, self.others.items()))}

    @cached_property
    def record(self) -> tuple[tuple[str, str, str], ...] | None:
        """Rows of RECORD (PEP 376): name as written, absolute path, digest.

        None where there is no RECORD, and where it does not list the module's file:
        that of an editable installation lists what leads to the sources, not these.
        """
        if not self.metadata:
            return None
        import csv

        try:
            with open(
                os.path.join(self.metadata, "RECORD"),
                encoding="utf-8",
                errors="surrogateescape",
                newline="",
            ) as file:
                rows = rows_of_record(file.read())
        except (OSError, csv.Error):
            return None
        site = os.path.dirname(self.metadata)
        found = tuple(
            (name, os.path.normpath(os.path.join(site, name)), digest)
            for name, digest in rows
        )
        location = os.path.normpath(self.location)
        return found if any(path == location for _, path, _ in found) else None

    @cached_property
    def entry_points(self) -> bytes:
        """Its ``entry_points.txt``; empty where there is none that can be read."""
        try:
            with open(os.path.join(self.metadata, "entry_points.txt"), "rb") as file:
                return file.read() if self.metadata else b""
        except OSError:
            return b""

    @cached_property
    def roots(self) -> dict[str, str]:
        """Full name of each root of the distribution → directory it lies in."""
        found = dict(self.entered)
        site = next((d for name, d in found.items() if "." not in name), None)
        if site is not None:
            for path, _, _ in self.record or ():
                top = path.removesuffix(".py").removesuffix("/__init__")
                if path.endswith(".py") and top.isidentifier():
                    found.setdefault(top, site)
        return found

    @property
    def tops(self) -> set[str]:
        """First parts of the names of the distribution's modules."""
        return {root.partition(".")[0] for root in self.roots}

    def _root_of(self, fullname: str) -> str | None:
        roots, name = self.roots, fullname
        while name and name not in roots:
            name = name.rpartition(".")[0]
        return name or None

    def owns(self, fullname: str) -> bool:
        """Whether *fullname* belongs to a package that the distribution installed."""
        return self._root_of(fullname) is not None

    def find(self, fullname: str) -> ModuleLocation | None:
        """Return where *fullname* lies below the distribution's roots."""
        root = self._root_of(fullname)
        if root is None:
            return None
        parts = [root.rpartition(".")[2], *fullname[len(root) :].split(".")[1:]]
        return find_below(self.roots[root], parts, self.root[0])

    def neighbour(self, top: str, unit: str) -> str | None:  # noqa: ARG002 - protocol
        """Return *top* itself where the distribution installed it."""
        return top if self.owns(top) else None

    def unit_of(self, fullname: str) -> str:
        """Return the one unit of all modules of the distribution."""
        return self.root[0] if self.owns(fullname) else ""

    def roots_of(self, unit: str) -> Iterable[str]:  # noqa: ARG002 - protocol
        """Return all roots of the distribution."""
        return self.roots


@attrs.define(eq=False, repr=False)
class BundleOrigin:
    """The modules of one bundle, under their real names.

    Each generation has all files of the bundle that it was made of, so nothing is ever
    looked for here.

    Args:
        path: Absolute path of the bundle.
        root: Full name of what all its modules lie below; the name of its unit.

    Attributes:
        beside: Modules of a directory that was packed, which import each other by
            their bare names.
        bundle: What was opened last of it.
        fleet: Name by which a fleet decides what runs of it; empty where the process
            itself does. Its bytes are those that were decided, not those at *path*.
    """

    path: str
    root: str
    beside: frozenset[str] = frozenset()
    bundle: Bundle | None = None
    fleet: str = ""

    def take(self, bundle: Bundle | None, modules: Iterable[str]) -> None:
        """Note what was opened.

        Args:
            bundle: The bundle.
            modules: Full names of its modules.
        """
        self.bundle = bundle
        if bundle is not None and bundle.manifest.flat:
            parts = {name[len(self.root) + 1 :] for name in modules}
            self.beside |= {part for part in parts if part and "." not in part}

    @property
    def tops(self) -> tuple[str]:
        """First part of the names of its modules."""
        return (self.root.partition(".")[0],)

    def owns(self, fullname: str) -> bool:
        """Whether *fullname* is the root's name or below it."""
        return fullname == self.root or fullname.startswith(self.root + ".")

    def find(self, fullname: str) -> ModuleLocation | None:  # noqa: ARG002 - protocol
        """Return None: what is not among the files of a generation is nowhere."""
        return None

    def neighbour(self, top: str, unit: str) -> str | None:  # noqa: ARG002 - protocol
        """Return the full name of a module that was a file beside the importing one."""
        return f"{self.root}.{top}" if top in self.beside else None

    def unit_of(self, fullname: str) -> str:  # noqa: ARG002 - protocol
        """Return nothing: the names of all modules of a unit begin with its name."""
        return ""

    def roots_of(self, unit: str) -> tuple[str]:
        """Return *unit*: what all modules lie below."""
        return (unit,)
