"""From one file or package to its candidates.

A unit is what is loaded and unloaded as a whole: a file ``name.py`` or a package
``name/__init__.py``. Comes in: its path. Goes out: a candidate per photon in it, or
one candidate with a problem where it cannot be read.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import attrs

from luminal.discovery.manifest import table_of
from luminal.discovery.names import check_module, check_photon, printable
from luminal.discovery.resolve import Definition, Resolver
from luminal.errors import LuminalError, PhotonValidationError
from luminal.model import Candidate, Problem, Source

if TYPE_CHECKING:
    from luminal.discovery.facts import ModuleFacts
    from luminal.discovery.witness import Witness

__all__ = ["described", "read_unit", "unit_name"]

_INIT = "__init__.py"


def unit_name(path: str) -> str:
    """Return the module's name of the unit at *path*."""
    folder, file = os.path.split(path)
    return os.path.basename(folder) if file == _INIT else os.path.splitext(file)[0]


def read_unit(
    witness: Witness, path: str, origin: str, base: str, *, asked_for: bool = False
) -> list[Candidate]:
    """Return the candidates of the unit at *path*, in the order of their lines.

    Args:
        witness: Where files are looked at.
        path: Absolute path of the module, of a package its ``__init__.py``.
        origin: The directory that it was found in.
        base: Name of the photon base.
        asked_for: Whether a unit without a photon is a problem; else it is a helper
            and gives no candidate.
    """
    facts = witness.facts(path)
    bare = Candidate(
        name=printable(unit_name(path)),
        source=Source.DIRECTORY,
        origin=origin,
        location=path,
        checksum=facts.checksum,
        problem=facts.problem,
    )
    if facts.problem is not None:
        return [bare]
    is_package = os.path.basename(path) == _INIT
    root = os.path.dirname(os.path.dirname(path) if is_package else path)
    found = _photons(Resolver(witness, root, base), path, facts, is_package)
    if not found:
        return [attrs.evolve(bare, problem=_no_photon(path, base))] if asked_for else []
    defaults: dict[str, object] = {}
    try:
        check_module(unit_name(path), path)
        defaults = _table(witness, path) if is_package else {}
    except LuminalError as error:
        bare = attrs.evolve(bare, problem=_problem(error))
    if len(found) > 1:
        defaults.pop("name", None)  # one name cannot serve several photons
    return [
        described(bare, definition, target, line, defaults)
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
    bare: Candidate,
    definition: Definition,
    target: str,
    line: int,
    defaults: dict[str, object],
) -> Candidate:
    """Return *bare* with what the class and the *defaults* say about the photon.

    Args:
        bare: What is known without the class.
        definition: The class.
        target: Its name in the unit.
        line: Its line in the unit.
        defaults: Metadata for what the class body leaves out.
    """
    facts = definition.facts
    said = {**defaults, **facts.literals}
    by_origin = bare.source is Source.DISTRIBUTION or facts.name == "Photon"
    name = said.get("name", bare.name if by_origin else facts.name)
    problem = bare.problem
    try:
        _check(definition, str(name))
    except PhotonValidationError as error:
        problem = problem or _problem(error)
    changes: dict[str, Any] = {key: said[key] for key in _FIELDS if key in said}
    changes["requirements"] = said.get("requires", ())
    changes["name"] = printable(str(name)) or bare.name
    return attrs.evolve(bare, target=target, line=line, problem=problem, **changes)


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


_FIELDS = (
    "author", "version", "description", "tags", "before", "after", "api", "enabled"
)  # fmt: skip


def _photons(
    resolver: Resolver, path: str, facts: ModuleFacts, is_package: bool
) -> list[tuple[str, int, Definition]]:
    """Return (name in the unit, line, class) of each photon of a unit."""
    derived = {base for c in facts.classes.values() for base in c.bases}
    found = [
        (c.name, c.line, Definition(path, c))
        for c in facts.classes.values()
        if not c.name.startswith("_") and not (c.is_abstract and c.name in derived)
    ]
    if is_package:
        folder = os.path.dirname(path) + os.sep
        found += _exports(resolver, path, facts, folder)
    return sorted(
        (f for f in found if resolver.is_photon(f[2])), key=lambda f: (f[1], f[0])
    )


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


def _table(witness: Witness, path: str) -> dict[str, object]:
    manifest = os.path.join(os.path.dirname(path), "pyproject.toml")
    if not witness.is_file(manifest):
        return {}
    return table_of(witness.read(manifest), manifest)


def _problem(error: LuminalError) -> Problem:
    return Problem.of(error, "discovery")
