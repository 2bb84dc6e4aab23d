"""The units of a project as a lock sees them, and how a change of one is accepted.

This is what `luminal lock` does, without its output.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import attrs

from luminal.discovery import discover_file
from luminal.errors import LuminalError, PhotonTimeoutError
from luminal.loading import (
    DirectoryOrigin,
    DistributionOrigin,
    ModuleLocation,
    Pinned,
    add_owned,
    read_installed_files,
    read_source,
    read_unit,
    snapshot_of,
)
from luminal.managers._client import sockets, speak
from luminal.model import Problem, Source
from luminal.trust import bundle_unit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from luminal.loading import Origin
    from luminal.model import Candidate
    from luminal.trust import Judge, LockEntry, Unit

__all__ = ["FoundUnit", "accept_units", "ask_hosts", "find_units"]


@attrs.frozen
class FoundUnit:
    """A unit on the disk, as it would be judged.

    Attributes:
        unit: Its files; None where they cannot be read.
        photons: Names of its photons; none of a helper.
        place: Path of its root module.
        problem: Why it cannot be read.
    """

    unit: Unit | None
    photons: tuple[str, ...]
    place: str
    problem: Problem | None = None


def find_units(
    judge: Judge,
    candidates: Iterable[Candidate],
    paths: Iterable[str] = (),
    listed: Iterable[LockEntry] = (),
) -> list[FoundUnit]:
    """Return the units of photons, and all units at *paths*; nothing is executed.

    Args:
        judge: Of the project.
        candidates: The photons, as discovery has found them.
        paths: Files, and directories of photons of which all modules are wanted,
            helpers included.
        listed: What of the lock is wanted as well, where it is there.
    """
    photons: dict[str, list[str]] = {}
    bundles: dict[str, None] = {}
    places: dict[str, tuple[Origin, ModuleLocation | None]] = {}
    for candidate in candidates:
        path = candidate.location
        if not path:
            continue
        key = candidate.distribution or path
        photons.setdefault(key, []).append(candidate.name)
        if candidate.source is Source.BUNDLE:
            bundles[key] = None
        elif candidate.source is Source.DIRECTORY:
            places.setdefault(key, _place_of(path))
        else:
            module = candidate.target.partition(":")[0].strip()
            origin = DistributionOrigin(module, path, candidate.metadata)
            places.setdefault(key, (origin, None))
    for each in paths:
        path = os.path.abspath(each)
        if os.path.isdir(path):
            for key, place in _units_in(path):
                places.setdefault(key, place)
        elif path.endswith(".py"):
            places.setdefault(path, _place_of(path))
    base = os.path.dirname(judge.path)
    for entry in listed:
        path = os.path.normpath(os.path.join(base, entry.name))
        is_package = entry.name.endswith("/")
        key = os.path.join(path, "__init__.py") if is_package else path
        if entry.source == "directory" and os.path.isfile(key) and key not in places:
            places[key] = _place_of(key, is_package=is_package)
            photons[key] = [c.name for c in discover_file(key) if c.target]
    found = [_find_bundle(path, tuple(photons[path])) for path in bundles]
    return found + [
        _find(judge, origin, location, tuple(photons.get(key, ())))
        for key, (origin, location) in places.items()
    ]


def _find_bundle(path: str, photons: tuple[str, ...]) -> FoundUnit:
    try:
        return FoundUnit(bundle_unit(path), photons, path)
    except LuminalError as error:
        return FoundUnit(None, photons, path, Problem.of(error, "read"))


def _place_of(
    path: str, *, is_package: bool | None = None
) -> tuple[Origin, ModuleLocation]:
    if is_package is None:
        is_package = os.path.basename(path) == "__init__.py"
    directory = os.path.dirname(path)
    if is_package:
        directory = os.path.dirname(directory)
    origin = DirectoryOrigin(directory)
    name = origin.name_of(path)
    return origin, ModuleLocation("package" if is_package else "module", path, name)


def _units_in(
    directory: str, above: tuple[str, ...] = ()
) -> Iterator[tuple[str, tuple[Origin, ModuleLocation]]]:
    """Yield path and place of the root module of each unit in a directory of photons.

    An ``__init__.py`` of the directory itself is one among them: Luminal imports the
    others without it.

    Args:
        directory: Where to look.
        above: What it lies in; a link that leads back is not followed.
    """
    above = (*above, os.path.realpath(directory))
    for name in sorted(os.listdir(directory)):
        path = os.path.join(directory, name)
        init = os.path.join(path, "__init__.py")
        if name[0] == "." or name == "__pycache__":
            continue
        if os.path.isfile(init):
            yield init, _place_of(init)
        elif os.path.isdir(path):
            if os.path.realpath(path) not in above:
                yield from _units_in(path, above)
        elif name.endswith(".py"):
            yield path, _place_of(path, is_package=False)


def _find(
    judge: Judge,
    origin: Origin,
    location: ModuleLocation | None,
    photons: tuple[str, ...],
) -> FoundUnit:
    place = location.path if location is not None else ""
    try:
        files: Pinned | None
        if isinstance(origin, DistributionOrigin):
            place = origin.location
            files = read_installed_files(origin)
            name = origin.root[0]
            location = origin.find(name)
            if location is None:
                problem = Problem("LUM101", "read", "is not there", file=place)
                return FoundUnit(None, photons, place, problem)
        else:
            assert location is not None  # noqa: S101 - of each directory
            name = location.unit
            files = read_unit(name, location, read_source)
        if files is not None:
            files = add_owned(name, files, read_source)
        snapshot = snapshot_of(judge, origin, location, files, read_source)
    except LuminalError as error:
        return FoundUnit(None, photons, place, Problem.of(error, "read"))
    return FoundUnit(snapshot.unit, photons, place)


def accept_units(judge: Judge, units: Iterable[Unit]) -> None:
    """Write that the files of *units* may run.

    Raises:
        OSError: The lock cannot be written.
        LockFileError: It cannot be read.
    """
    for unit in units:
        judge.accept(unit)


def ask_hosts(
    judge: Judge,
    accepted: Iterable[FoundUnit],
    approve: Callable[[dict[str, Any]], dict[str, Any]],
) -> list[dict[str, Any]]:
    """Ask the running hosts with this lock to swap units in; return their rows.

    Args:
        judge: Of the project.
        accepted: The units. Of a helper, the photons that use it are swapped.
        approve: Called with the challenge of a host that asks for a second factor;
            returns the answer.
    """
    units, rows = list(accepted), []
    names = {name for unit in units for name in unit.photons}
    files = [unit.place for unit in units]
    for pid, path in sockets().items():
        try:
            status = speak(path, {"ask": "status"}, 5.0) or {}
            if (status.get("lock") or {}).get("path") != os.path.realpath(judge.path):
                continue
            known = {row["name"] for row in status["photons"]}
            request: dict[str, Any] = {
                "ask": "reload",
                "photons": sorted(names & known),
                "files": files,
            }
            answer = speak(path, request, None) or {}
            if "challenge" in answer:
                request["answer"] = approve(answer["challenge"])
                answer = speak(path, request, None) or {}
        except TimeoutError as error:
            silent = PhotonTimeoutError(
                f"host {pid} does not answer", why=str(error), hint="reload it there"
            )
            problem = attrs.asdict(Problem.of(silent, "reload"))
            rows.append(
                {"photon": "", "generation": 0, "host": pid, "problem": problem}
            )
            continue
        except OSError:  # it has just ended
            continue
        rows += [{**row, "host": pid} for row in answer.get("photons", ())]
        told = {row["photon"] for row in answer.get("photons", ())}
        rows += [
            {"photon": row["photon"] or "", "generation": 0, "host": pid} | row
            for row in answer.get("failures", ())
            if row["photon"] not in told
        ]
    return rows
