"""Photon files and packages of a directory → candidates."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from luminal.discovery._draft import DIRECTORY, DISTRIBUTION, Draft, draft_of
from luminal.discovery._manifest import table_of
from luminal.discovery._names import (
    check_module,
    check_photon,
    is_version,
    printable,
)
from luminal.discovery._static import ATTRIBUTES, Definition, Resolver
from luminal.errors import (
    LuminalError,
    PhotonUnreadableError,
    PhotonValidationError,
    did_you_mean,
    nearest,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from luminal.discovery._scan import RecordingFileSystem
    from luminal.discovery._static import ModuleFacts
    from luminal.model import Problem

__all__ = [
    "described",
    "read_directory",
    "read_unit",
    "warn_of_forgotten_bases",
]

_INIT = "__init__.py"


def read_unit(
    files: RecordingFileSystem,
    path: str,
    origin: str,
    base: str,
    roots: tuple[str, ...] = (),
    *,
    asked_for: bool = False,
) -> list[Draft]:
    """Return the candidates of the unit at *path*, in the order of their lines.

    Args:
        files: Where files are looked at.
        path: Absolute path of the module, of a package its ``__init__.py``.
        origin: The directory that it was found in.
        base: Name of the photon base.
        roots: Absolute paths of directories whose modules are the photons' own.
        asked_for: Whether a unit without a photon is a problem; else it is a helper
            and gives no candidate.
    """
    facts = files.facts(path)
    folder, leaf = os.path.split(path)
    is_package = leaf == _INIT
    stem = os.path.basename(folder) if is_package else os.path.splitext(leaf)[0]
    found: list[tuple[str, int, Definition]] = []
    if facts.problem is None:
        root = os.path.dirname(folder) if is_package else folder
        resolver = Resolver(files, root, base, (origin, *roots))
        found = _photons(resolver, path, facts, is_package)
        files.note_classes(path, facts, [f[2].facts for f in found], base)
        if not found and not asked_for and not facts.hook_line:
            return []
    known: dict[str, Any] = {
        "name": printable(stem),
        "source": DIRECTORY,
        "origin": origin,
        "location": path,
        "checksum": facts.checksum,
        "roots": roots,
        "problem": facts.problem,
    }
    if not found and not facts.hook_line:
        known["problem"] = facts.problem or _no_photon(path, base)
        return [Draft(**known)]
    defaults: dict[str, object] = {}
    try:
        check_module(stem, path)
        defaults = _table(files, path) if is_package else {}
    except LuminalError as error:
        known["problem"] = _problem(error)
    if not found:  # the module itself is the plugin
        return [Draft(**known, target=stem, line=facts.hook_line)]
    if len(found) > 1:
        defaults.pop("name", None)  # one name cannot serve several photons
    return [
        described(files, known, definition, target, line, defaults)
        for target, line, definition in found
    ]


def _no_photon(path: str, base: str) -> Problem:
    return _problem(
        PhotonValidationError(
            "holds no photon",
            file=path,
            why=f"no class in it derives from {base!r} or sets photon_name",
            hint=f"derive a class from {base}",
        )
    )


def described(
    files: RecordingFileSystem,
    known: dict[str, Any],
    definition: Definition,
    target: str,
    line: int,
    defaults: dict[str, object],
) -> Draft:
    """Return the candidate of a class.

    Args:
        files: Where files are looked at; what is odd is added to its warnings.
        known: Attributes that are known without the class.
        definition: The class.
        target: Its name in the unit.
        line: Its line in the unit.
        defaults: Metadata for what the class body leaves out.
    """
    facts = definition.facts
    said = {**defaults, **facts.literals} if defaults else facts.literals
    by_origin = known["source"] is DISTRIBUTION or facts.name == "Photon"
    name = str(said.get("name", known["name"] if by_origin else facts.name))
    problem = known["problem"]
    try:
        _check(definition, name)
    except PhotonValidationError as error:
        problem = problem or _problem(error)
    values = {
        **known,
        "name": printable(name) or known["name"],
        "target": target,
        "line": line,
        "problem": problem,
        "requirements": said.get("requires", ()),
    }
    for key in said:
        if key in _FIELDS:
            values[key] = said[key]
    if facts.odd or facts.steps or facts.literals.get("version"):
        files.warnings += _oddities(values["name"], definition)
    return Draft(**values)


def _oddities(name: str, definition: Definition) -> Iterator[Problem]:
    """Yield what is probably a mistake in the body of a class."""
    facts = definition.facts
    for field, line in facts.odd:
        if field == "name":
            continue  # the photon is refused for it
        is_known = field in ATTRIBUTES
        known = [f"photon_{each}" for each in ATTRIBUTES]
        yield _warning(
            f"photon {name!r} sets photon_{field}, which "
            + ("has a value of the wrong type" if is_known else "means nothing"),
            definition.path,
            line,
            "see luminal.IPhoton for the attributes and their types",
            "" if is_known else did_you_mean(f"photon_{field}", known),
        )
    for method, meant, line in facts.steps:
        if method == meant:
            what, why = (
                "that is a generator",
                "it is called, and none of it is executed",
            )
            hint = "take the yield out, or move it into a function that is iterated"
        else:
            what, why = "that nobody calls", f"there is no step {method!r}"
            hint = f"did you mean {meant!r}?"
        what = f"photon {name!r} has a method {method!r} {what}"
        yield _warning(what, definition.path, line, why, hint)
    version = facts.literals.get("version")
    if version and not is_version(str(version)):
        yield _warning(
            f"photon {name!r} has the version {printable(str(version))!r}",
            definition.path,
            facts.line,
            "it is no version by PEP 440, and fits no range that others require",
            "write it like '1.2.3'",
        )


def warn_of_forgotten_bases(files: RecordingFileSystem, base: str) -> None:
    """Warn of classes that look like photons, and derive from no photon base.

    Those that another class of these files derives from are left out.

    Args:
        files: Where files were looked at.
        base: Name of the photon base.
    """
    for path, facts in files.unclaimed:
        if facts.name not in files.bases:
            names = [name.rpartition(".")[2] for name in facts.bases]
            misspelt = nearest(base, names)
            near = f"did you mean {base!r} for {misspelt!r}?" if misspelt else ""
            has = "sets photon_name and " if facts.names_itself else ""
            has = "has hook implementations and " if facts.has_hooks else has
            files.warnings.append(
                _warning(
                    f"class {facts.name!r} {has}is no photon",
                    path,
                    facts.line,
                    f"it does not derive from {base!r}, so it is not loaded",
                    near or f"derive it from {base}",
                )
            )


def _warning(what: str, file: str, line: int, why: str, hint: str) -> Problem:
    return _problem(
        PhotonValidationError(what, file=file, line=line, why=why, hint=hint)
    )


def _check(definition: Definition, name: str) -> None:
    facts = definition.facts
    if facts.unreadable_name:
        raise PhotonValidationError(
            "photon_name is not a literal string",
            file=definition.path,
            line=facts.unreadable_name,
            why="discovery reads the name without running the file",
            hint="make it a literal",
        )
    check_photon(name, definition.path, facts.line)
    if facts.is_abstract:
        raise PhotonValidationError(
            f"class {facts.name!r} is abstract",
            file=definition.path,
            line=facts.line,
            why="it holds abstract methods, and no class of its file derives from it",
            hint="implement its abstract methods",
        )


_FIELDS = frozenset(
    {
        "author", "version", "description", "tags", "before", "after", "api", "owns",
        "files", "enabled",
    }
)  # fmt: skip


def _photons(
    resolver: Resolver, path: str, facts: ModuleFacts, is_package: bool
) -> list[tuple[str, int, Definition]]:
    """Return (name in the unit, line, class) of each photon of a unit."""
    classes = facts.classes.values()
    found = [
        (c.name, c.line, Definition(path, c))
        for c in classes
        if c.name[0] != "_"
        and not (c.is_abstract and any(c.name in other.bases for other in classes))
    ]
    if is_package:
        folder = os.path.dirname(path) + os.sep
        found += _exports(resolver, path, facts, folder)
    photons = [f for f in found if resolver.is_photon(f[2])]
    if len(photons) > 1:
        photons.sort(key=lambda f: (f[1], f[0]))
    return photons


def _exports(
    resolver: Resolver, path: str, facts: ModuleFacts, folder: str
) -> list[tuple[str, int, Definition]]:
    """Return the classes that a package's ``__init__`` imports from inside it."""
    names = {name: line for name, (_, line) in facts.imports.items()}
    for star in facts.stars:
        for module in resolver.files(path, star):
            names |= dict.fromkeys(resolver.public(module), 1)
    found: dict[tuple[str, str], tuple[str, int, Definition]] = {}
    for name, line in names.items():
        if name.startswith("_") or name in facts.classes:
            continue
        definition = resolver.find(path, name)
        if (
            definition is None
            or definition.path == path
            or not definition.path.startswith(folder)
            or definition.facts.is_abstract
        ):
            continue
        found.setdefault(
            (definition.path, definition.facts.name), (name, line, definition)
        )
    return list(found.values())


def _table(files: RecordingFileSystem, path: str) -> dict[str, object]:
    manifest = os.path.join(os.path.dirname(path), "pyproject.toml")
    if not files.is_file(manifest):
        return {}
    return table_of(files.read(manifest), manifest)


def _problem(error: LuminalError) -> Problem:
    from luminal.model import Problem

    return Problem.of(error, "discovery")


def read_directory(
    files: RecordingFileSystem,
    directory: str,
    base: str,
    *,
    recursive: bool,
    roots: tuple[str, ...] = (),
) -> Iterator[Draft]:
    """Yield the candidates of *directory*.

    Its modules and packages at the top; with *recursive* those of everything below,
    without it those one level down where the top has directories only. A package is
    one unit: what is inside belongs to it.

    Args:
        files: Where files are looked at.
        directory: Absolute path.
        base: Name of the photon base.
        recursive: Whether to descend.
        roots: Absolute paths of directories whose modules are the photons' own.
    """
    waiting = [directory]
    visited: set[tuple[object, ...]] = set()
    while waiting:
        folder = waiting.pop()
        listing = files.modules(folder)
        if isinstance(listing, int):
            yield _unlisted(folder, directory, listing)
            continue
        if listing[:2] in visited:  # by a link, maybe one that leads back up
            continue
        visited.add(listing[:2])
        names = [str(name) for name in listing[2:]]
        plain: list[str] = []
        for name in names:
            path = os.path.join(folder, name)
            if name.endswith("/"):
                path = os.path.join(path, "__init__.py")
                if not files.exists(path):
                    plain.append(os.path.join(folder, name[:-1]))
                    continue
            elif name.endswith(".photon"):
                from luminal.discovery._bundles import read_bundle_file

                yield from map(draft_of, read_bundle_file(files, path))
                continue
            yield from read_unit(files, path, directory, base, roots)
        only_folders = folder == directory and all(n.endswith("/") for n in names)
        if recursive or only_folders:
            waiting.extend(reversed(plain))


def _unlisted(folder: str, origin: str, number: int) -> Draft:
    refusal = PhotonUnreadableError(
        "directory cannot be read",
        file=folder,
        why=os.strerror(number),
        hint="give the host's user permission to read it",
    )
    from luminal.model import Problem

    return Draft(
        name=os.path.basename(folder) or folder,
        source=DIRECTORY,
        origin=origin,
        location=folder,
        problem=Problem.of(refusal, "read"),
    )
