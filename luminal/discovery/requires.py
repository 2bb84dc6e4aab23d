"""Whether what a distribution requires of others is installed, before any import."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from packaging.requirements import InvalidRequirement, Requirement

from luminal.discovery.distributions import Distribution, canonical
from luminal.discovery.manifest import Metadata, metadata_of
from luminal.discovery.versions import fits
from luminal.errors import LuminalError, PhotonDependencyError

if TYPE_CHECKING:
    from luminal.discovery.witness import Witness

__all__ = ["Environment"]


@attrs.define
class Environment:
    """What is installed, asked about requirements.

    Attributes:
        witness: Where metadata is looked at.
        installed: Canonical name → distribution.
    """

    witness: Witness
    installed: dict[str, Distribution]

    def check(
        self, distribution: Distribution, metadata: Metadata, extras: tuple[str, ...]
    ) -> None:
        """Refuse a distribution whose ``Requires-Dist`` is not satisfied.

        Args:
            distribution: What requires.
            metadata: Its metadata.
            extras: Its extras that an entry point asks for.

        Raises:
            PhotonDependencyError: Something is missing or of a wrong version.
        """
        self._check(distribution, metadata, extras, (distribution.name,))

    def _check(
        self,
        distribution: Distribution,
        metadata: Metadata,
        extras: tuple[str, ...],
        chain: tuple[str, ...],
    ) -> None:
        for line in metadata.requires:
            requirement = _asked_for(line, distribution, extras)
            if requirement is None:
                continue
            name = canonical(requirement.name)
            there = self.installed.get(name)
            names = " -> ".join((*chain, name))
            if there is None:
                raise _unmet(distribution, line, f"{name!r} is not installed", names)
            other = self._metadata(there)
            version = other.version or there.version
            range_ = str(requirement.specifier)
            if range_ and not fits(version, range_):
                why = f"version {version} is installed"
                raise _unmet(distribution, line, why, names)
            if requirement.extras and name not in chain:
                wanted = tuple(sorted(requirement.extras))
                only = [r for r in other.requires if "extra" in r]
                extra = attrs.evolve(other, requires=tuple(only))
                self._check(there, extra, wanted, (*chain, name))

    def _metadata(self, distribution: Distribution) -> Metadata:
        try:
            data = self.witness.read(distribution.metadata)
            return metadata_of(data, distribution.metadata)
        except LuminalError:  # its own problem; its folder's name says the version
            return Metadata()


def _asked_for(
    line: str, distribution: Distribution, extras: tuple[str, ...]
) -> Requirement | None:
    """Return the requirement in *line*, None where its marker leaves it out.

    Raises:
        PhotonDependencyError: It is malformed.
    """
    try:
        requirement = Requirement(line)
        return requirement if _applies(requirement, extras) else None
    except InvalidRequirement as error:
        why = str(error).partition("\n")[0]
    except (ValueError, LookupError, RecursionError) as error:
        # Well formed, and yet without a value: an unknown variable, versions that
        # are none. Which of these packaging raises for it depends on its version.
        why = f"its marker means nothing: {error}"
    raise PhotonDependencyError(
        f"distribution requires {line!r}",
        file=distribution.metadata,
        why=why,
        hint="mend the requirement in the distribution, and install it again",
    )


def _applies(requirement: Requirement, extras: tuple[str, ...]) -> bool:
    marker = requirement.marker
    if marker is None:
        return True
    return any(marker.evaluate({"extra": extra}) for extra in (*extras, ""))


def _unmet(
    distribution: Distribution, line: str, why: str, names: str
) -> PhotonDependencyError:
    return PhotonDependencyError(
        f"distribution requires {line!r}",
        file=distribution.metadata,
        why=f"{why} ({names})",
        hint=f"pip install {line.partition(';')[0].strip()!r}",
    )
