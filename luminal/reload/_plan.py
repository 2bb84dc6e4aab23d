"""Which units a change affects, in which order, and which of them belong together.

Pure: in come edges that were seen while staging, out come units.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from luminal.discovery import fits, fold, split_requirement
from luminal.errors import LuminalError, PhotonDependencyError
from luminal.loading import read_source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from luminal.lifecycle import Handler, Registry
    from luminal.loading import Choice, Generation, Origin, Pinned, SourceFile
    from luminal.model import Candidate
    from luminal.reload._swap import Pair

    Edges = Callable[[str], AbstractSet[str]]

__all__ = [
    "Change",
    "History",
    "EarlierFiles",
    "Upgrade",
    "Unmet",
    "affected",
    "components",
    "find_unmet",
    "in_order",
    "upstream",
]

# === reload.plan ===
# Which units a change affects, in which order, and which of them belong together.
#
# Pure: in come edges that were seen while staging, out come units.


def upstream(units: Iterable[str], needs: Edges) -> set[str]:
    """Return *units* and all that they import from, directly or not."""
    return _reach(units, needs)


def affected(changed: Iterable[str], users: Edges) -> set[str]:
    """Return *changed* and all that imports from one of them, directly or not.

    Args:
        changed: Units whose files have changed.
        users: Unit → units that import from it.
    """
    return _reach(changed, users)


def _reach(start: Iterable[str], edges: Edges) -> set[str]:
    found = set(start)
    queue = list(found)
    while queue:
        for other in tuple(edges(queue.pop())):
            if other not in found:
                found.add(other)
                queue.append(other)
    return found


def in_order(units: AbstractSet[str], needs: Edges) -> list[str]:
    """Return *units*, what is imported from before what imports it.

    Units that import each other keep their names' order; staging the first brings in
    the others.
    """
    ordered: dict[str, None] = {}
    for unit in sorted(units):
        path = [(unit, iter(sorted(needs(unit))))]
        seen = {unit}
        while path:
            current, rest = path[-1]
            for other in rest:
                if other in units and other not in seen and other not in ordered:
                    seen.add(other)
                    path.append((other, iter(sorted(needs(other)))))
                    break
            else:
                path.pop()
                ordered.setdefault(current)
    return list(ordered)


def components(units: AbstractSet[str], needs: Edges) -> list[set[str]]:
    """Split *units* into groups of which none imports from another."""
    joined: dict[str, set[str]] = {unit: set() for unit in units}
    for unit in units:
        for other in tuple(needs(unit)):
            if other in units:
                joined[unit].add(other)
                joined[other].add(unit)
    groups: list[set[str]] = []
    left = set(units)
    for unit in sorted(units):
        if unit in left:
            group = _reach([unit], joined.__getitem__)
            groups.append(group)
            left -= group
    return groups


# === reload.change ===
# What a reload is about: units whose files differ, and the bytes that were read.


@attrs.frozen
class Upgrade:
    """What a distribution has become.

    Attributes:
        unit: Its unit.
        origin: Where its modules are looked for now.
        choice: How its photons are chosen.
        candidates: What discovery knows of them.
        files: Its sources; None for an editable installation, which keeps no list.
    """

    unit: str
    origin: Origin
    choice: Choice
    candidates: tuple[Candidate, ...]
    files: Pinned | None


@attrs.define(eq=False)
class Change:
    """The units that are to be replaced, and by what.

    Attributes:
        units: Units whose files have changed, or that are to be replaced anyway.
        snapshot: Path → bytes that have been read already.
        pinned: Unit → files to be used instead of those on disk.
        renewals: Unit of a distribution → what has become of it.
    """

    units: set[str] = attrs.Factory(set)
    snapshot: dict[str, SourceFile] = attrs.Factory(dict)
    pinned: dict[str, Pinned] = attrs.Factory(dict)
    upgrades: dict[str, Upgrade] = attrs.Factory(dict)

    def differs(self, upgrade: Upgrade, serving: Generation) -> bool:
        """Whether a distribution is another one than the generation that serves."""
        if upgrade.files is None:
            for path, known in serving.sources.items():
                self.compare(upgrade.unit, path, known)
            return upgrade.unit in self.units
        found = {p: s.checksum for p, s in upgrade.files.sources.items()}
        return found != {p: s.checksum for p, s in serving.sources.items()}

    def include(self, upgrade: Upgrade) -> None:
        """Replace a distribution by what it has become."""
        self.units.add(upgrade.unit)
        self.upgrades[upgrade.unit] = upgrade
        if upgrade.files is not None:
            self.pinned[upgrade.unit] = upgrade.files

    @property
    def may_be_half_written(self) -> bool:
        """Whether a file is empty or ends within a line.

        So it does while the next save has truncated it and not written all of it.
        """
        return any(not s.data.endswith(b"\n") for s in self.snapshot.values())

    @property
    def has_empty(self) -> bool:
        """Whether a file is empty, as after its truncation."""
        return any(not source.data for source in self.snapshot.values())

    def equals(self, other: Change) -> bool:
        """Whether the same bytes were read for both."""
        mine = {path: source.checksum for path, source in self.snapshot.items()}
        theirs = {path: source.checksum for path, source in other.snapshot.items()}
        return mine == theirs and self.units == other.units

    def drop_unchanged(self, serving: Mapping[str, Generation]) -> None:
        """Drop units that serve what was read by now, or that serve no more."""
        for unit in list(self.units):
            generation = serving.get(unit)
            read = self.snapshot.keys() & generation.sources if generation else set()
            if generation is None or (
                read
                and all(
                    self.snapshot[path].checksum == generation.sources[path].checksum
                    for path in read
                )
            ):
                self.units.discard(unit)

    def compare(self, unit: str, path: str, known: SourceFile) -> None:
        """Read the file at *path*; replace *unit* if it is not what is *known*.

        What equals them is dropped: a touch, a chmod, a checkout there and back.
        """
        try:
            source = read_source(path)
        except LuminalError:
            self.units.add(unit)  # staging it will say what is wrong
            return
        if source.checksum != known.checksum:
            self.units.add(unit)
            self.snapshot[path] = source


# === reload.requirements ===
# What photons require of others: there, of the right version, in no circle.
#
# In come pairs of a swap that have not been started; out comes a refusal, or nothing. A
# requirement that was not met before is no reason: what runs does without it too.


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
            new._life.candidate = attrs.evolve(new.candidate, requirements=said)
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


# === reload.history ===
# What served before: the files that a roll-back returns to.

EarlierFiles = dict[str, "Mapping[str, Pinned]"]
"""Unit → what it can return to; nothing where it has had one generation only."""


@attrs.define(eq=False)
class History:
    """One step back for every unit, together with what changed along with it."""

    # Unit → the files, before the swap that made its serving generation, of all units
    # that took part in that swap.
    _before: dict[str, Mapping[str, Pinned]] = attrs.Factory(dict)

    def note(self, before: Mapping[str, Pinned]) -> EarlierFiles:
        """Note that the units of *before* have been replaced in one swap.

        Returns:
            What was known of them until now, for `take_back`.
        """
        past = {unit: self._before.get(unit, {}) for unit in before}
        self._before.update(dict.fromkeys(before, before))
        return past

    def take_back(self, past: EarlierFiles) -> None:
        """Forget a swap that was reverted: its units serve again what they did."""
        self._before.update(past)

    def forget(self, unit: str) -> None:
        """Forget a unit that serves no more."""
        self._before.pop(unit, None)

    def before(
        self, unit: str, needs: Callable[[str], AbstractSet[str]]
    ) -> tuple[dict[str, Pinned], list[set[str]]]:
        """Return what *unit* and all that changed with it were.

        Args:
            unit: What is to be rolled back.
            needs: Unit → units that it imports from.

        Returns:
            Unit → its files; nothing where it has had one generation only. And the
            groups that imports connect, the one with *unit* first.
        """
        swap = self._before.get(unit, {})
        # A unit that has been replaced once more since then has another past.
        same = {u: files for u, files in swap.items() if self._before.get(u) is swap}
        groups = components(same.keys(), needs)
        return same, sorted(groups, key=lambda group: unit not in group)
