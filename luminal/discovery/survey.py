"""The whole discovery, without an index: disk → candidates in load order."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import attrs

from luminal.discovery.directories import read_directory
from luminal.discovery.names import fold
from luminal.discovery.order import arrange
from luminal.discovery.units import read_unit
from luminal.model import Candidate, Source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from luminal.discovery.request import Request
    from luminal.discovery.witness import Witness

__all__ = ["survey", "survey_file"]


def survey(request: Request, witness: Witness) -> list[Candidate]:
    """Return everything that *request* asks for, seen through *witness*.

    Args:
        request: What to look for, and where.
        witness: Keeps what is looked at.
    """
    found = _once(_everything(request, witness), witness)
    return arrange(_switched(found, request), api_version=request.api_version)


def survey_file(
    path: str, base: str, api_version: str | None, witness: Witness
) -> list[Candidate]:
    """Return the photons of the one unit at *path*, in load order.

    Args:
        path: Absolute path.
        base: Name of the photon base.
        api_version: See `luminal.discovery.discover`.
        witness: Keeps what is looked at.
    """
    origin = os.path.dirname(path)
    if os.path.basename(path) == "__init__.py":
        origin = os.path.dirname(origin)
    found = read_unit(witness, path, origin, base, asked_for=True)
    return arrange(found, api_version=api_version, is_part=True)


def _everything(request: Request, witness: Witness) -> Iterator[Candidate]:
    if request.group is not None:
        from luminal.discovery.installed import read_installed

        yield from read_installed(witness, request.path, request.group, request.base)
    for directory in request.directories:
        yield from read_directory(
            witness, directory, request.base, recursive=request.recursive
        )


def _once(candidates: Iterable[Candidate], witness: Witness) -> Iterator[Candidate]:
    """Drop what was found before: overlapping directories, an editable install."""
    seen: set[object] = set()
    for candidate in candidates:
        file = witness.identity(candidate.location)
        attribute = candidate.target.rpartition(":")[2]
        same_file = (candidate.location, attribute, candidate.name)
        installed = (file, attribute)
        if candidate.source is Source.DISTRIBUTION:
            seen.add(installed)
        elif same_file in seen or installed in seen:
            continue
        seen.add(same_file)
        yield candidate


def _switched(candidates: Iterable[Candidate], request: Request) -> Iterator[Candidate]:
    """Switch off what the host does not want."""
    allowed = None if request.allow is None else set(map(fold, request.allow))
    blocked = set(map(fold, request.block))
    for candidate in candidates:
        name = fold(candidate.name)
        is_wanted = (allowed is None or name in allowed) and name not in blocked
        if candidate.enabled and is_wanted:
            yield candidate
        else:  # nobody wants it, so nothing is wrong with it
            yield attrs.evolve(candidate, enabled=False, problem=None)
