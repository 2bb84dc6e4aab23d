"""Who may come in: names that are free, requirements that are met."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import attrs

from luminal.discovery._names import fits, fold, split_requirement
from luminal.errors import (
    LuminalWarning,
    PhotonAlreadyLoadedError,
    PhotonConflictError,
    PhotonDependencyError,
    PhotonDisabledError,
)
from luminal.model import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from luminal.lifecycle.registry import Registry
    from luminal.loading import Selected
    from luminal.model import Candidate

__all__ = ["Admission"]


@attrs.define(eq=False)
class Admission:
    """What a batch has let in so far, beside what was loaded before it.

    Args:
        registry: The photons that were loaded before.
    """

    registry: Registry
    # Folded name → a photon that this batch has let in, and its unit's candidates.
    _admitted: dict[str, tuple[Selected, list[Candidate]]] = attrs.Factory(dict)

    @staticmethod
    def reason_to_skip(candidate: Candidate, registry: Registry) -> Problem | None:
        """Return why *candidate* is left out, or None."""
        loaded = [h for h in registry.of_file(candidate.location) if h.candidate]
        if any(h.name == candidate.name for h in loaded):
            already = PhotonAlreadyLoadedError(
                "is loaded already",
                photon=candidate.name,
                file=candidate.location,
                hint="reload it to take over what has changed",
            )
            warnings.warn(LuminalWarning(str(already)), stacklevel=4)
            return Problem.of(already, "discovery")
        if not candidate.enabled:
            disabled = PhotonDisabledError(
                "is switched off",
                photon=candidate.name,
                file=candidate.location,
                hint="enable it, or change the host's lists of allowed and blocked",
            )
            return Problem.of(disabled, "discovery")
        return None

    def check_requirements(self, candidates: Iterable[Candidate]) -> None:
        """Refuse candidates whose required photons are not there.

        Raises:
            PhotonDependencyError: Names what is missing.
        """
        for candidate in candidates:
            for requirement in candidate.requirements:
                why = self._unmet(requirement)
                if why:
                    raise PhotonDependencyError(
                        f"requires {requirement!r}",
                        photon=candidate.name,
                        file=candidate.location,
                        line=candidate.line or None,
                        why=why,
                        hint="load the required photon first, or mend it",
                    )

    def _unmet(self, requirement: str) -> str:
        name, wanted = split_requirement(requirement)
        key = fold(name)
        handler = self.registry.get(name)
        if key in self._admitted:
            version = _version_of(key, *self._admitted[key])
        elif handler is not None:
            version = handler.candidate.version if handler.candidate else ""
        else:
            return f"photon {name!r} is not loaded"
        if wanted and not fits(version, wanted):
            return f"photon {name!r} has version {version or 'none'}"
        return ""

    def check_names(
        self, selected: Iterable[Selected], candidates: list[Candidate]
    ) -> None:
        """Refuse photons whose names are taken.

        Raises:
            PhotonConflictError: Names both files.
        """
        location = candidates[0].location
        seen: set[str] = set()
        for chosen in selected:
            key = fold(chosen.name)
            other = ""
            if key in self._admitted:
                other = self._admitted[key][1][0].location
            elif key in seen:
                other = location
            elif (taken := self.registry.get(chosen.name)) is not None:
                other = taken.filepath
            seen.add(key)
            if other:
                raise PhotonConflictError(
                    "is there already",
                    photon=chosen.name,
                    file=location,
                    why=f"{other} has a photon of that name",
                    hint="give one of them another photon_name",
                )

    def admit(self, selected: Iterable[Selected], candidates: list[Candidate]) -> None:
        """Note that *selected* are in."""
        for chosen in selected:
            self._admitted[fold(chosen.name)] = chosen, candidates


def _version_of(key: str, chosen: Selected, candidates: list[Candidate]) -> str:
    """Return the version of an admitted photon, as far as anybody knows it."""
    versions = [c.version for c in candidates if fold(c.name) == key and c.version]
    return versions[0] if versions else str(getattr(chosen.obj, "photon_version", ""))
