"""What photons require of others: there, of the right version, in no circle.

In come pairs of a swap that have not been started; out comes a refusal, or nothing. A
requirement that was not met before is no reason: what runs does without it too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from luminal.discovery._names import fits, fold, split_requirement
from luminal.errors import PhotonDependencyError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from luminal.lifecycle import Handler, Registry
    from luminal.model import Candidate
    from luminal.reload.pairing import Pair

__all__ = ["Unmet", "find_unmet"]


@attrs.frozen
class Unmet:
    """A requirement that would not be met.

    Attributes:
        error: Names what is missing, or the chain of a circle.
        others: Names of the photons that it is about, beside the one that is refused.
    """

    error: PhotonDependencyError
    others: tuple[str, ...]


def find_unmet(pairs: Sequence[Pair], registry: Registry) -> Unmet | None:
    """Return the first requirement of a new photon, or of others, not met then.

    Args:
        pairs: Of the swap; their candidates learn what the new classes require.
        registry: The photons of the host, the old ones of *pairs* among them.
    """
    asking = [pair.new for pair in pairs if pair.new and _learn(pair.new)]
    unmet = _unmet_of_others(pairs, registry)
    if unmet is not None or not asking:
        return unmet
    after = _After.of(pairs, registry)
    before = {fold(p.old.name): p.old.candidate for p in pairs if p.old}
    for new in asking:
        was = before.get(fold(new.name))
        for requirement in _of(new.candidate):
            why = after.unmet(requirement)
            if why and requirement not in _of(was):
                error = _refusal(new, f"requires {requirement!r}", why)
                return Unmet(error, (split_requirement(requirement)[0],))
        chain = after.circle(new.name)
        if chain:
            why = " requires ".join(map(repr, chain))
            return Unmet(_refusal(new, "requires itself", why), tuple(chain))
    return None


def _unmet_of_others(pairs: Sequence[Pair], registry: Registry) -> Unmet | None:
    """Return whose version a photon outside of the swap cannot do with."""
    other = {
        fold(p.new.name): (p.old, p.new)
        for p in pairs
        if p.old and p.new and _version(p.old) != _version(p.new)
    }
    if not other:
        return None
    within = {fold(pair.old.name) for pair in pairs if pair.old}
    for user in registry.all().values():
        if fold(user.name) in within:
            continue
        for requirement in _of(user.candidate):
            name, wanted = split_requirement(requirement)
            old, new = other.get(fold(name), (None, None))
            if old is None or new is None or not wanted:
                continue
            if fits(_version(old), wanted) and not fits(_version(new), wanted):
                version = _version(new) or "none"
                error = PhotonDependencyError(
                    f"has version {version}, which {user.name!r} cannot do with",
                    photon=new.name,
                    file=new.filepath,
                    why=f"photon {user.name!r} requires {requirement!r}",
                    hint="keep to that range, or change both in one batch",
                )
                return Unmet(error, (user.name,))
    return None


def _version(handler: Handler) -> str:
    return handler.candidate.version if handler.candidate is not None else ""


@attrs.frozen
class _After:
    """The photons of the host once the swap is made."""

    registry: Registry
    # Folded name → what is new of that name; None for what leaves.
    changed: Mapping[str, Handler | None]

    @classmethod
    def of(cls, pairs: Iterable[Pair], registry: Registry) -> _After:
        changed: dict[str, Handler | None] = {}
        for pair in pairs:
            if pair.old is not None:
                changed.setdefault(fold(pair.old.name), None)
            if pair.new is not None:
                changed[fold(pair.new.name)] = pair.new
        return cls(registry, changed)

    def get(self, name: str) -> Handler | None:
        key = fold(name)
        return self.changed[key] if key in self.changed else self.registry.get(name)

    def unmet(self, requirement: str) -> str:
        """Return why a requirement is not met; empty where it is."""
        name, wanted = split_requirement(requirement)
        handler = self.get(name)
        if handler is None:
            return f"photon {name!r} is not loaded"
        version = _version(handler)
        if wanted and not fits(version, wanted):
            return f"photon {name!r} has version {version or 'none'}"
        return ""

    def circle(self, start: str) -> list[str]:
        """Return the names from *start* to itself; empty where nothing leads there."""
        seen: set[str] = set()
        ways = [[start]]
        while ways:
            way = ways.pop()
            handler = self.get(way[-1])
            for requirement in _of(handler.candidate) if handler is not None else ():
                name = split_requirement(requirement)[0]
                if fold(name) == fold(start):
                    return [*way, start]
                if fold(name) not in seen:
                    seen.add(fold(name))
                    ways.append([*way, name])
        return []


def _learn(new: Handler) -> bool:
    """Take over what a new class says that it requires; return whether it does."""
    asked = getattr(new.factory, "photon_requires", None)
    if new.candidate is not None and isinstance(asked, list | tuple):
        said = tuple(str(each) for each in asked)
        if said != new.candidate.requirements and (said or not new.candidate.group):
            new.candidate = attrs.evolve(new.candidate, requirements=said)
    return bool(_of(new.candidate))


def _of(candidate: Candidate | None) -> tuple[str, ...]:
    return candidate.requirements if candidate is not None else ()


def _refusal(new: Handler, what: str, why: str) -> PhotonDependencyError:
    return PhotonDependencyError(
        what,
        photon=new.name,
        file=new.filepath,
        why=why,
        hint="load the required photon first, or mend it",
    )
