"""Read at staging what may be imported later, inside functions.

A call that began on one generation may import a module for the first time when the next
generation has been swapped in, and the files are the next one's. So they are read when
the generation is staged: all modules of a package, and for every unit the helpers that
an import statement in one of its functions names. Nothing of it is executed.
"""

from __future__ import annotations

import dis
import os
import time
from contextlib import suppress
from importlib.machinery import EXTENSION_SUFFIXES
from inspect import CO_NEWLOCALS
from types import CodeType
from typing import TYPE_CHECKING, Any

import attrs

from luminal.errors import LuminalError, PhotonUnreadableError
from luminal.loading._importer import _NEVER_OURS
from luminal.loading._origin import ModuleLocation
from luminal.loading._source import Pinned, SourceFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from luminal.loading._generation import Generation
    from luminal.loading._origin import Origin

__all__ = ["MOST_BYTES", "MOST_FILES", "Directory", "read_late_units", "read_unit"]

MOST_FILES = 500
"""Files of one unit that are read before they are imported, and folders looked into.

To read 500 takes some 20 ms. A larger package is likely to hold something that is not
its code, an environment or a data set.
"""
MOST_BYTES = 8 * 2**20
"""Bytes of one unit that are read before they are imported; they stay in memory."""

_MOST_UNITS = 100
"""Helpers of one unit that are read before they are imported."""

_IMPORT = dis.opmap["IMPORT_NAME"]
_CONSTANT = dis.opmap["LOAD_CONST"]


_TICK = 10_000_000
"""Nanoseconds by which the time of a file may be behind the clock.

File systems take the time of the kernel's last tick, which are 10 ms apart at most.
"""


@attrs.frozen
class Directory:
    """A directory as it was at one moment.

    Attributes:
        path: Its path.
        moment: In nanoseconds since the epoch.
        identity: Device and number of what was found at the path.
    """

    path: str
    moment: int
    identity: tuple[int, int]

    @classmethod
    def of(cls, path: str) -> Directory:
        """Return the directory at *path* as it is now."""
        moment = time.time_ns()
        try:
            status = os.stat(path)
        except (OSError, ValueError):
            return cls(path, 0, (0, 0))  # to execute the file will say why
        return cls(path, moment, (status.st_dev, status.st_ino))

    def is_unchanged(self, path: str) -> bool:
        """Whether the file at *path*, below it, is certainly what it was then."""
        try:
            status = os.stat(self.path)
            if (status.st_dev, status.st_ino) != self.identity:
                return False  # a link leads elsewhere, or a directory was renamed
            # A directory in between may have been exchanged as well.
            while path != self.path:
                for status in (os.lstat(path), os.stat(path)):
                    changed = max(status.st_ctime_ns, status.st_mtime_ns)
                    if changed >= self.moment - _TICK:
                        return False
                path, below = os.path.dirname(path), path
                if path == below:
                    return False  # it does not lie below
        except (OSError, ValueError):
            return False
        return True


def read_unit(
    unit: str, location: ModuleLocation, read: Callable[[str], SourceFile]
) -> Pinned:
    """Read the modules of a unit; what is beyond the bounds is left out.

    What cannot be read is left out too. An import of it will say why.

    Args:
        unit: Full name of the unit.
        location: Where its root module lies.
        read: Returns the bytes of a file.
    """
    locations: dict[str, ModuleLocation] = {}
    sources: dict[str, SourceFile] = {}
    size = 0
    for fullname, found in _modules(unit, location):
        if len(sources) >= MOST_FILES or size >= MOST_BYTES:
            break
        with suppress(PhotonUnreadableError):
            source = sources[found.path] = read(found.path)
            locations[fullname] = found
            size += len(source.data)
    return Pinned(locations, sources)


def _modules(
    unit: str, location: ModuleLocation
) -> Iterator[tuple[str, ModuleLocation]]:
    """Yield (full name, location) of the modules of a unit, its root first."""
    if location.kind not in ("module", "package"):
        return
    yield unit, location
    # Folders without an `__init__.py` may hold modules, or a tree of data: they are
    # looked into last, and into so many folders only.
    packages, folders = [(unit, location.directory)], list[tuple[str, str | None]]()
    for _ in range(MOST_FILES):
        if not packages and not folders:
            return
        package, directory = (packages or folders).pop()
        if directory is None:
            continue
        try:
            with os.scandir(directory) as entries:
                names = sorted(entry.name for entry in entries)
        except (OSError, ValueError):
            continue
        present = set(names)
        for name in names:
            stem, dot, suffix = name.partition(".")
            if not stem.isidentifier() or suffix not in ("", "py"):
                continue
            fullname, path = f"{package}.{stem}", os.path.join(directory, name)
            init = os.path.join(directory, stem, "__init__.py")
            if not dot:
                if os.path.isfile(init):
                    yield fullname, ModuleLocation("package", init, unit)
                    packages.append((fullname, path))
                elif stem != "__pycache__" and os.path.isdir(path):
                    folders.append((fullname, path))
            elif (
                stem != "__init__"
                # A compiled module or a package of the same name hides it.
                and present.isdisjoint(stem + other for other in EXTENSION_SUFFIXES)
                and not (stem in present and os.path.isfile(init))
            ):
                yield fullname, ModuleLocation("module", path, unit)


def read_late_units(generation: Generation, code: CodeType, package: str) -> None:
    """Read the helpers that import statements in functions of *code* name.

    And what these import themselves, as far as they are single files. A package among
    them is read wholly, and of its imports those that its ``__init__`` makes.

    Args:
        generation: Its ``late_units`` are added to.
        code: Of a module of it that has been executed.
        package: ``__package__`` of that module.
    """
    known = generation.late_units
    # (code, its package, its unit and origin, whether it has not been executed yet)
    queue = [(code, package, generation.unit, generation.origin, False)]
    while queue and len(known) < _MOST_UNITS:
        code, package, user, below, is_whole = queue.pop()
        for names in _imported(code, package, is_whole=is_whole):
            for unit, origin in _units(generation, below, user, *names):
                if unit in known or unit in generation.needs or unit == generation.unit:
                    continue
                files = generation.host.read_ahead(unit, origin)
                if files is None:
                    continue
                known[unit] = files
                root = files.locations.get(unit)
                if root is not None and root.path in files.sources:
                    with suppress(LuminalError):
                        inner = generation.host.compile(files.sources[root.path])
                        is_package = root.kind == "package"
                        inside = unit if is_package else unit.rpartition(".")[0]
                        queue.append((inner, inside, unit, origin, True))


def _imported(
    code: CodeType, package: str, *, is_whole: bool
) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yield what import statements name: (package it is relative to, name, names).

    Args:
        code: With all code that is nested in it.
        package: ``__package__`` of the module.
        is_whole: Include statements outside of functions, which are executed once.
    """
    stack = [code]
    while stack:
        code = stack.pop()
        for each in code.co_consts:
            if type(each) is CodeType:
                stack.append(each)  # noqa: PERF401 - looked at in each reload
        if not is_whole and not code.co_flags & CO_NEWLOCALS:
            continue
        steps = code.co_code
        operations = steps[::2]
        at = operations.find(_IMPORT)
        while at >= 0:
            # A statement loads level and names, and imports; `dis` takes twenty
            # times as long to say so.
            name, before = _argument(steps, at)
            names, first = _argument(steps, before)
            level, _ = _argument(steps, first)
            if operations[before] == _CONSTANT and first >= 0:
                is_constant = operations[first] == _CONSTANT
                yield from _relative(
                    package,
                    code.co_names[name],
                    code.co_consts[level] if is_constant else level,
                    code.co_consts[names],
                )
            at = operations.find(_IMPORT, at + 1)


def _argument(steps: bytes, at: int) -> tuple[int, int]:
    """Return the argument of operation *at*, and where the one before it is."""
    argument, shift = steps[2 * at + 1], 8
    while at > 0 and steps[2 * at - 2] == dis.EXTENDED_ARG:
        at -= 1
        argument |= steps[2 * at + 1] << shift
        shift += 8
    return argument, at - 1


def _relative(
    package: str, name: str, level: Any, names: Any
) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yield the statement, where its operands are what a statement's are."""
    if not isinstance(level, int) or level < 0:
        return
    wanted = names if isinstance(names, tuple) else ()
    if level == 0:
        yield "", name, wanted
    elif package and package.count(".") >= level - 1:
        yield package.rsplit(".", level - 1)[0], name, wanted


def _units(
    generation: Generation,
    origin: Origin,
    user: str,
    base: str,
    name: str,
    names: tuple[str, ...],
) -> Iterator[tuple[str, Origin]]:
    """Yield the units that an import statement leads to, and where they are found.

    Args:
        generation: Whose code it may be.
        origin: Where modules of the unit with the statement are found.
        user: That unit.
        base: The package that the statement is relative to, if it is.
        name: What it imports from.
        names: What it imports from there.
    """
    start = f"{base}.{name}".strip(".")
    named = [f"{start}.{each}" for each in names if each != "*"]
    if base or origin.owns(name):
        if origin.owns(start):
            yield from _units_at(origin, start, *named)
        return
    for each in (start, *named):
        found = generation.host.roots.find(each)
        if found is not None:
            yield from _units_at(found[0].origin, found[1])
    top, dot, rest = name.partition(".")
    beside = origin.neighbour(top, user) if top not in _NEVER_OURS else None
    if beside is not None:
        start = f"{beside}{dot}{rest}"
        yield from _units_at(
            origin, start, *(f"{start}.{each}" for each in names if each != "*")
        )


def _units_at(origin: Origin, *fullnames: str) -> Iterator[tuple[str, Origin]]:
    for fullname in fullnames:
        location = origin.find(fullname)
        if location is not None and location.kind == "namespace":
            location = origin.find(f"{fullname}.__init__")
        if location is not None and location.unit and location.kind != "extension":
            yield location.unit, origin
