"""From installed distributions to the candidates that their entry points name."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import attrs

from luminal.discovery.distributions import Distribution, installed_distributions
from luminal.discovery.entrypoints import EntryPoint, entries_of
from luminal.discovery.locate import locate
from luminal.discovery.manifest import Metadata, metadata_of
from luminal.discovery.requires import Environment
from luminal.discovery.resolve import Resolver
from luminal.discovery.units import described
from luminal.errors import (
    LuminalError,
    PhotonConflictError,
    PhotonNotFoundError,
    PhotonUnreadableError,
    PhotonValidationError,
)
from luminal.model import Candidate, Problem, Source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from luminal.discovery.witness import Witness

__all__ = ["read_installed"]


def read_installed(
    witness: Witness, path: tuple[str, ...], group: str, base: str
) -> Iterator[Candidate]:
    """Yield a candidate for each entry point of *group*.

    Args:
        witness: Where files are looked at.
        path: Absolute entries of ``sys.path``.
        group: Entry-point group.
        base: Name of the photon base.
    """
    installed = installed_distributions(witness, path)
    environment = Environment(witness, installed)
    for distribution in installed.values():
        file = os.path.join(distribution.folder, "entry_points.txt")
        if not witness.exists(file):
            continue
        bare = Candidate(
            name=distribution.name,
            source=Source.DISTRIBUTION,
            origin=f"{distribution.name} {distribution.version}".strip(),
            location="",
            group=group,
        )
        try:
            entries = entries_of(witness.read(file), file, group)
        except LuminalError as error:
            yield attrs.evolve(bare, problem=Problem.of(error, "discovery"))
            continue
        if entries:
            reader = _Reader(witness, distribution, path, base, environment)
            yield from reader.candidates(bare, entries, file)


@attrs.define
class _Reader:
    """Reads the entry points of one distribution.

    Everything but `witness` belongs to this one distribution.
    """

    witness: Witness
    distribution: Distribution
    path: tuple[str, ...]
    base: str
    environment: Environment

    def candidates(
        self, bare: Candidate, entries: list[EntryPoint], file: str
    ) -> Iterator[Candidate]:
        """Yield the candidate of each of *entries*, which stand in *file*."""
        metadata = Metadata()
        problem: Problem | None = None
        try:
            metadata = self._metadata()
            self._check_twins()
        except LuminalError as error:
            problem = Problem.of(error, "discovery")
        version = metadata.version or self.distribution.version
        name = metadata.name or self.distribution.name
        bare = attrs.evolve(
            bare,
            origin=f"{name} {version}".strip(),
            version=version,
            author=metadata.author,
            description=metadata.summary,
            tags=metadata.keywords,
            problem=problem,
        )
        for entry in entries:
            found = attrs.evolve(bare, name=entry.name, target=entry.target)
            try:
                found = self._described(found, entry, file)
                if found.problem is None:
                    self.environment.check(self.distribution, metadata, entry.extras)
            except LuminalError as error:
                late = problem or Problem.of(error, "discovery")
                found = attrs.evolve(found, problem=late)
            yield found

    def _metadata(self) -> Metadata:
        path = self.distribution.metadata
        if not self.witness.exists(path):
            raise PhotonUnreadableError(
                "belongs to a distribution without metadata",
                file=path,
                why="there is no such file, or no way to it",
                hint=f"pip install --force-reinstall {self.distribution.name}",
            )
        return metadata_of(self.witness.read(path), path)

    def _check_twins(self) -> None:
        if self.distribution.twins:
            folders = [self.distribution.folder, *self.distribution.twins]
            raise PhotonConflictError(
                f"distribution {self.distribution.name!r} is installed "
                f"{len(folders)} times in one place",
                file=folders[0],
                why=" and ".join(map(os.path.basename, folders)),
                hint=f"pip install --force-reinstall {self.distribution.name}",
            )

    def _described(self, bare: Candidate, entry: EntryPoint, file: str) -> Candidate:
        if entry.error is not None:
            raise entry.error
        place = locate(self.witness, self.distribution, entry.module, self.path)
        if place is None:
            raise PhotonNotFoundError(
                f"entry point leads to nothing: no module {entry.module!r}",
                file=file,
                line=entry.line,
                why=f"no Python file of that name belongs to {bare.origin!r}",
                hint="install the distribution again, or mend its entry point",
            )
        location, root = place
        facts = self.witness.facts(location)
        bare = attrs.evolve(bare, location=location, checksum=facts.checksum)
        if facts.problem is not None:
            return attrs.evolve(bare, problem=bare.problem or facts.problem)
        top = entry.attribute.partition(".")[0]
        if top and not facts.is_dynamic and top not in facts.bound:
            raise PhotonValidationError(
                f"entry point leads to nothing: no {top!r} in {entry.module!r}",
                file=location,
                why=f"line {entry.line} of {file} names it",
                hint="mend the entry point, or define what it names",
            )
        if not top or top != entry.attribute:
            return bare
        definition = Resolver(self.witness, root, self.base).find(location, top)
        if definition is None:
            return bare
        here = definition.path == location
        line = definition.facts.line if here else facts.imports.get(top, ("", 0))[1]
        return described(bare, definition, entry.target, line, {})
