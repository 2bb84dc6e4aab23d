"""Plan a reload: what a change affects, in which order, and what it can return to.

A *unit* is what is replaced as a whole: a photon's file, its package, its distribution,
or a helper module. `Change` has the units of a reload and the bytes that were read of
them; `History` has the files to which a roll-back returns. `find_unmet` checks the
requirements that photons have of each other.

`find_upgrades` reads the installed versions of distributions: every source file is read
once and must have the digest that RECORD gives. These bytes are staged, so that neither
an incomplete installation nor a mixture of two versions is ever executed.
"""

from __future__ import annotations

import functools
import os
from contextlib import suppress
from graphlib import CycleError, TopologicalSorter
from types import CodeType
from typing import TYPE_CHECKING

import attrs

from luminal._phases import Stopwatch, phase
from luminal.discovery import (
    candidates_of,
    discover,
    entries_of,
    fits,
    fold,
    split_requirement,
)
from luminal.errors import (
    LuminalError,
    PhotonDependencyError,
    PhotonReloadError,
    PhotonTornError,
)
from luminal.loading import (
    BundleOrigin,
    Choice,
    DistributionOrigin,
    add_owned,
    extensions_of,
    read_installed_files,
    read_source,
)
from luminal.trust import bundle_around

if TYPE_CHECKING:
    from collections.abc import (
        Callable,
        Collection,
        Iterable,
        Iterator,
        Mapping,
        Sequence,
    )
    from collections.abc import Set as AbstractSet

    from luminal.discovery import EntryPoint
    from luminal.lifecycle import Handler, Registry
    from luminal.loading import (
        Generation,
        ModuleLocation,
        Origin,
        Pinned,
        SourceFile,
        World,
    )
    from luminal.model import Candidate
    from luminal.reload._swap import Pair, Swap

    Edges = Callable[[str], AbstractSet[str]]

__all__ = [
    "Change",
    "EarlierFiles",
    "History",
    "SameCode",
    "Unmet",
    "Upgrade",
    "bundle_upgrade",
    "components",
    "distribution_of",
    "find_unmet",
    "find_upgrades",
    "in_order",
    "reachable",
]


_MOST_NAMED = 8
"""The text about a cycle names so many photons at most."""


def reachable(start: Iterable[str], edges: Edges) -> set[str]:
    """Return *start* and every unit that a chain of edges leads to.

    Args:
        start: Units.
        edges: Unit → units. With those that import from a unit, the answer is what a
            change affects; with those that it imports from, what it depends on.
    """
    found = set(start)
    queue = list(found)
    while queue:
        for other in tuple(edges(queue.pop())):
            if other not in found:
                found.add(other)
                queue.append(other)
    return found


def in_order(units: AbstractSet[str], needs: Edges) -> list[str]:
    """Return *units*, each one after those that it imports from, otherwise by name.

    Of units that import each other, the first by name comes first: to stage it brings
    in the others.

    Args:
        units: What is to be staged.
        needs: Unit → units that it imports from.
    """
    if len(units) < 2:
        return list(units)
    graph = {unit: {o for o in needs(unit) if o in units} - {unit} for unit in units}
    while True:
        sorter = TopologicalSorter(graph)
        try:
            sorter.prepare()
        except CycleError as error:
            cycle = error.args[1]  # each unit is imported by the next one
            first = min(range(1, len(cycle)), key=cycle.__getitem__)
            graph[cycle[first]].discard(cycle[first - 1])
        else:
            break
    ordered: list[str] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        sorter.done(*ready)
        ordered += ready
    return ordered


def components(units: AbstractSet[str], needs: Edges) -> list[set[str]]:
    """Split *units* into groups; no group imports from another one."""
    if len(units) < 2:
        return [set(units)] if units else []
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
            group = reachable([unit], joined.__getitem__)
            groups.append(group)
            left -= group
    return groups


@attrs.frozen
class Upgrade:
    """The present version of a distribution or bundle, to be swapped in.

    Attributes:
        unit: Its unit.
        origin: Where its modules are found now.
        choice: How its photons are chosen among the objects of its modules.
        candidates: What discovery knows of its photons.
        files: Its sources; None for an editable installation, which keeps no list.
        rejected: What it has besides, and what cannot be loaded.
    """

    unit: str
    origin: Origin
    choice: Choice
    candidates: tuple[Candidate, ...]
    files: Pinned | None
    rejected: tuple[Candidate, ...] = ()

    @property
    def checksums(self) -> dict[str, str]:
        """Path → digest of its sources."""
        sources = self.files.sources if self.files is not None else {}
        return {path: source.checksum for path, source in sources.items()}


def _is_same_code(one: object, other: object) -> bool:
    """Whether two code objects do the same, with the same lines and columns."""
    if not isinstance(one, CodeType) or not isinstance(other, CodeType):
        return True  # a constant, which was compared with the code around it
    return (
        one == other
        and one.co_linetable == other.co_linetable
        and one.co_exceptiontable == other.co_exceptiontable
        and all(map(_is_same_code, one.co_consts, other.co_consts))
    )


def _are_same(
    texts: Mapping[str, SourceFile], running: Mapping[str, SourceFile], world: World
) -> bool:
    """Whether *texts* compile to the code that runs.

    Args:
        texts: Path → what the file there is now.
        running: Path → what was read of it for what runs.
        world: Where that serves.

    Raises:
        PhotonSyntaxError: A text is no Python.
    """
    compiled = world.codes.compile
    for path, source in texts.items():
        new = compiled(source, is_new=True)
        if not _is_same_code(new, compiled(running[path])):
            return False
    return True


@attrs.frozen(eq=False)
class SameCode:
    """Texts that compile to the code of a generation that runs.

    Attributes:
        generation: The generation.
        texts: Path → the text.
    """

    generation: Generation
    texts: Mapping[str, SourceFile]


@attrs.define(eq=False)
class Change:
    """The units that are to be replaced, and by what.

    Attributes:
        units: Units whose files have changed, or that are to be replaced anyway.
        snapshot: Path → bytes that have been read already.
        edited: Unit → its files that are not as they were.
        pinned: Unit → files to be used instead of those on disk.
        upgrades: Unit of a distribution → its installed version.
        moves: Unit that is loaded → new units that photons of it have moved to, and
            where these are.
        gone: Units whose file has gone, and whose photons have moved.
        extended: Units that declare a data file which is new.
        candidates: What discovery knows of these photons.
        approved: See `Stage`.
        stopwatch: Measures the phases of the swap, also what was read before it.
    """

    units: set[str] = attrs.Factory(set)
    snapshot: dict[str, SourceFile] = attrs.Factory(dict)
    edited: dict[str, set[str]] = attrs.Factory(dict)
    pinned: dict[str, Pinned] = attrs.Factory(dict)
    upgrades: dict[str, Upgrade] = attrs.Factory(dict)
    moves: dict[str, dict[str, tuple[Origin, ModuleLocation]]] = attrs.Factory(dict)
    gone: set[str] = attrs.Factory(set)
    extended: set[str] = attrs.Factory(set)
    candidates: list[Candidate] = attrs.Factory(list)
    approved: Mapping[str, str] | None = None
    stopwatch: Stopwatch = attrs.Factory(Stopwatch)

    def differs(self, upgrade: Upgrade, running: Generation) -> bool:
        """Whether the installed version has other bytes than what runs."""
        if upgrade.files is None:
            for path, known in running.files.items():
                self.compare(upgrade.unit, path, known)
            return upgrade.unit in self.units
        return upgrade.checksums != {p: s.checksum for p, s in running.sources.items()}

    def include(self, upgrade: Upgrade) -> None:
        """Replace a distribution or bundle by the version that is there."""
        self.units.add(upgrade.unit)
        self.upgrades[upgrade.unit] = upgrade
        if upgrade.files is not None:
            self.pinned[upgrade.unit] = upgrade.files

    @property
    def may_be_half_written(self) -> bool:
        """Whether a file is empty or ends within a line.

        Such a file may be in the middle of a save: truncated, and not yet written.
        """
        for source in self.snapshot.values():
            if not source.data.endswith(b"\n") and not source.path.endswith(".photon"):
                return True
        return False

    @property
    def has_empty(self) -> bool:
        """Whether a file is empty, as after its truncation."""
        return any(not source.data for source in self.snapshot.values())

    def equals(self, other: Change) -> bool:
        """Whether the same bytes were read for both."""
        mine = {path: source.checksum for path, source in self.snapshot.items()}
        theirs = {path: source.checksum for path, source in other.snapshot.items()}
        return mine == theirs and self.units == other.units

    def drop_unchanged(self, running: Mapping[str, Generation]) -> None:
        """Drop units that run the bytes that were read, and units that do not run."""
        for unit in self.units - (self.extended & running.keys()):
            generation = running.get(unit)
            known = generation.files if generation else {}
            read = self.snapshot.keys() & known.keys()
            is_same = bool(read)
            for path in read:
                if self.snapshot[path].checksum != known[path].checksum:
                    is_same = False
            if generation is None or is_same:
                self.units.discard(unit)

    def read(self, path: str) -> SourceFile:
        """Return the bytes of the file at *path*, as they were read before if so."""
        return self.snapshot.get(path) or read_source(path)

    def compare(self, unit: str, path: str, known: SourceFile) -> None:
        """Read the file at *path*; replace *unit* if its bytes are not the known ones.

        A touch, a chmod, or a checkout there and back changes nothing.

        Args:
            unit: The unit that has read the file.
            path: Of the file.
            known: What was read of it for the generation that runs.
        """
        if bundle_around(path):
            return  # it changes with the bundle that it lies in
        try:
            with self.stopwatch.running():
                source = read_source(path)
        except LuminalError:
            pass  # staging reports what is wrong
        else:
            if source.checksum == known.checksum:
                return
            self.snapshot[path] = source
        self.units.add(unit)
        self.edited.setdefault(unit, set()).add(path)

    def take_same_code(self, world: World) -> list[SameCode]:
        """Take out units whose files have other texts of the code that runs.

        A comment at the end of a line changes no code, for instance. One above a
        function does: it moves the lines that tracebacks name.
        """
        found: list[SameCode] = []
        for unit, paths in self.edited.items():
            generation = world.generations.get(unit)
            if generation is None or unit in self.extended or unit not in self.units:
                continue
            if generation.snapshot is not None:
                continue  # what runs is what was accepted, comments included
            texts = {p: self.snapshot[p] for p in paths if p in self.snapshot}
            if len(texts) == len(paths) and paths.isdisjoint(generation.data):
                # Staging reports what is wrong.
                with suppress(LuminalError), self.stopwatch.running():
                    if _are_same(texts, generation.files, world):
                        found.append(SameCode(generation, texts))
                        self.units.discard(unit)
        return found


def bundle_upgrade(
    pinned: Pinned, origin: BundleOrigin, handlers: Sequence[Handler]
) -> Upgrade:
    """Return a version of a bundle, to be swapped in.

    Args:
        pinned: Its files.
        origin: Where it lies.
        handlers: Of photons that run of it.

    Raises:
        LuminalError: Its manifest cannot be used.
    """
    assert pinned.bundle is not None  # noqa: S101 - for type checkers
    candidates = tuple(candidates_of(pinned.bundle, origin.path))
    for candidate in candidates:
        if candidate.problem is not None:
            raise candidate.problem.error(candidate.name)
    choices = [h._choice for h in handlers if h._choice is not None]
    base = choices[0].base if choices else object
    excluded = choices[0].excluded if choices else frozenset()
    kept = tuple(c for c in candidates if c.enabled and c.name not in excluded)
    targets = tuple((c.name, c.target) for c in kept)
    return Upgrade(origin.root, origin, Choice(base, (), targets), kept, pinned)


def distribution_of(handler: Handler) -> str:
    """Return the distribution that a photon comes from; empty for a directory."""
    candidate = handler.candidate
    return candidate.distribution if candidate is not None else ""


def find_upgrades(
    loaded: Mapping[str, Sequence[Handler]],
    disabled: Collection[str] = (),
    api_version: str | None = None,
) -> dict[str, Upgrade | LuminalError]:
    """Return the installed versions of distributions, by one discovery a group.

    Args:
        loaded: Name of a distribution → Handlers of all its photons.
        disabled: Names of photons that are left out, though they are installed.
        api_version: The host's version of its API; None to ask no photon for it.

    Returns:
        Name → its installed version, or why there is none that can be swapped in:
        `PhotonTornError` where it is not installed or incomplete, as while pip is at
        work.
    """
    groups = {h.candidate.group for hs in loaded.values() for h in hs if h.candidate}
    installed: dict[str, list[Candidate]] = {}
    for group in sorted(groups):
        with phase("discover"):
            present = discover(group=group, block=disabled, api_version=api_version)
        for candidate in present:
            if candidate.name in disabled:
                continue
            installed.setdefault(candidate.distribution, []).append(candidate)
    found: dict[str, Upgrade | LuminalError] = {}
    for name, handlers in loaded.items():
        of = {handler.candidate.group for handler in handlers if handler.candidate}
        candidates = [c for c in installed.get(name, ()) if c.group in of]
        try:
            found[name] = _find_upgrade(handlers, candidates)
        except LuminalError as error:
            found[name] = error
    return found


def _find_upgrade(
    handlers: Sequence[Handler], candidates: Sequence[Candidate]
) -> Upgrade:
    """Return the installed version of the distribution of *handlers*.

    Args:
        handlers: Of all photons of one distribution.
        candidates: What is installed of it.

    Raises:
        PhotonTornError: It is not installed, or incomplete: pip may be at work.
        PhotonReloadError: It cannot be swapped in.
        LuminalError: One of its photons cannot be loaded any more.
    """
    first = handlers[0]
    if first.generation is None or first.candidate is None:
        raise _not_swappable(first, "it is not loaded", "load it first")
    if first.generation.borrowed:
        raise _not_swappable(
            first,
            "the host had imported its modules before Luminal did",
            "load photons before anything imports them, or restart the host",
        )
    targets = {handler.candidate.target for handler in handlers if handler.candidate}
    names = {fold(handler.name) for handler in handlers}
    loaded = [c for c in candidates if c.target in targets or fold(c.name) in names]
    found = [candidate for candidate in candidates if candidate.location]
    if not found or not all(candidate.location for candidate in loaded):
        raise PhotonTornError("is not installed", photon=first.name)
    origin = _origin_of(found, first.generation.unit)
    files = read_installed_files(origin)
    if files is None and _was_recorded(first.generation, origin):
        raise PhotonTornError(
            "has no RECORD of its files yet",
            photon=first.name,
            file=origin.location,
            why="the version that runs was installed with one",
        )
    if files is not None:
        unit = first.generation.unit
        files = add_owned(unit, files, read_source, is_checked=True)
    for candidate in loaded:  # only now that all files are known to be complete
        if candidate.problem is not None:
            raise candidate.problem.error(candidate.name)
    left_out = _left_out(handlers, origin)
    asked = [c for c in candidates if c in loaded or c.target not in left_out]
    wanted = [candidate for candidate in asked if candidate.problem is None]
    rejected = [candidate for candidate in asked if candidate.problem is not None]
    if not wanted:
        raise PhotonTornError(
            "has no entry point of its photons any more",
            photon=first.name,
            file=os.path.join(origin.metadata, "entry_points.txt"),
        )
    _check_swappable(first, origin, first.generation.unit)
    base = first._choice.base if first._choice is not None else object
    return Upgrade(
        first.generation.unit,
        origin,
        Choice(base, (), tuple((c.name, c.target) for c in wanted)),
        tuple(wanted),
        files,
        tuple(rejected),
    )


def _left_out(handlers: Sequence[Handler], new: DistributionOrigin) -> set[str]:
    """Return the entry points that the host has left out, and is not to get now.

    Those are left out that the version which runs has as well, by name or by object,
    and of which no photon is loaded: they were blocked, disabled, not selected or
    unloaded. What could not be loaded so far was wanted.

    Args:
        handlers: Of all photons of the distribution.
        new: The installed version.
    """
    running = handlers[0].generation
    if running is None or not isinstance(running.origin, DistributionOrigin):
        return set()
    groups = {handler.candidate.group for handler in handlers if handler.candidate}
    wanted: set[str] = set()
    for handler in handlers:
        wanted |= {handler.candidate.target} if handler.candidate else set()
        wanted |= handler._choice.failed if handler._choice else set()
    before = _entries(running.origin, groups)
    names = {entry.name for entry in before if entry.target not in wanted}
    found = {entry.target for entry in before} - wanted
    return found | {e.target for e in _entries(new, groups) if e.name in names}


def _entries(origin: DistributionOrigin, groups: Iterable[str]) -> list[EntryPoint]:
    path = os.path.join(origin.metadata, "entry_points.txt")
    with suppress(LuminalError):
        return [e for g in groups for e in entries_of(origin.entry_points, path, g)]
    return []


def _origin_of(candidates: Sequence[Candidate], unit: str) -> DistributionOrigin:
    """Return where the modules of the installed version are found.

    Args:
        candidates: What it has.
        unit: Its unit; one of the entry points lies in there, unless it is renamed.
    """
    places = {c.target.partition(":")[0].strip(): c.location for c in candidates}
    inside = [name for name in places if f"{name}.".startswith(f"{unit}.")]
    module, metadata = (inside or [*places])[0], candidates[0].metadata
    origin = DistributionOrigin(module, places[module], metadata)
    if origin.root[0] != unit:
        found = origin.find(unit)
        if found is not None and found.unit:
            # It is still there, though no entry point leads into it any more.
            origin = DistributionOrigin(unit, found.path, metadata)
    for name, location in places.items():
        origin.add(name, location)
    return origin


def _was_recorded(running: Generation, origin: DistributionOrigin) -> bool:
    """Whether *origin* lies where an installation with a RECORD is loaded from."""
    before = running.origin
    return (
        isinstance(before, DistributionOrigin)
        and before.record is not None
        and before.root == origin.root
    )


def _check_swappable(first: Handler, origin: DistributionOrigin, unit: str) -> None:
    """Reject what a process can have only one version of."""
    compiled = extensions_of(origin)
    if compiled or (first.generation is not None and first.generation.has_extension):
        name = compiled[0] if compiled else "one of its modules"
        raise _not_swappable(
            first,
            f"{name} is compiled, and a process can have only one version of it",
            "restart the host",
        )
    if origin.root[0] != unit:
        raise _not_swappable(
            first,
            f"its package {unit!r} is called {origin.root[0]!r} now",
            "unload the photons of the distribution, and load them again",
        )


def _not_swappable(handler: Handler, why: str, hint: str) -> PhotonReloadError:
    return PhotonReloadError(
        "its upgrade cannot be swapped in",
        photon=handler.name,
        file=handler.filepath,
        why=why,
        hint=hint,
    )


@attrs.frozen
class Unmet:
    """A requirement that would not be met after a swap.

    Attributes:
        error: Names what is missing, or the photons of a cycle.
        others: Names of the other photons that it is about.
    """

    error: PhotonDependencyError
    others: tuple[str, ...]


def find_unmet(
    pairs: Sequence[Pair], registry: Registry, settled: Sequence[Swap] = ()
) -> Unmet | None:
    """Return the first requirement, of a new photon or of others, that is not met.

    A requirement that was not met before the swap is no reason to reject it.

    Args:
        pairs: Of the swap, not started yet.
        registry: The photons of the host, the old ones of *pairs* among them.
        settled: Swaps that are committed in the same step.
    """
    asking: list[Handler] = []
    updated: list[tuple[Handler, Handler]] = []
    for pair in pairs:
        old, new = pair.old, pair.new
        now = new._life.candidate if new is not None else None
        if new is None or now is None:
            continue
        if now.requirements:
            asking.append(new)
        was = old._life.candidate if old is not None else None
        if old is not None and now.version != (was.version if was is not None else ""):
            updated.append((old, new))
    if not asking and not updated:
        return None
    after = _After(registry, [*(p for s in settled for p in s.pairs), *pairs])
    unmet = _unmet_of_others(updated, pairs, after) if updated else None
    if unmet is not None or not asking:
        return unmet
    before = {fold(p.old.name): p.old.candidate for p in pairs if p.old}
    for new in asking:
        was = before.get(fold(new.name))
        for requirement in _requirements(new.candidate):
            why = after.unmet(requirement)
            if why and requirement not in _requirements(was):
                error = _rejection(new, f"requires {requirement!r}", why)
                return Unmet(error, (split_requirement(requirement)[0],))
    for new in asking:
        cycle = after.cycle(new.name)
        if cycle:
            named = [*map(repr, cycle)]
            if len(named) > _MOST_NAMED:
                left_out = len(named) - _MOST_NAMED
                named[_MOST_NAMED - 1 : -1] = [f"... ({left_out} more)"]
            why = " requires ".join(named)
            return Unmet(_rejection(new, "requires itself", why), tuple(cycle))
    return None


def _unmet_of_others(
    updated: Sequence[tuple[Handler, Handler]], pairs: Sequence[Pair], after: _After
) -> Unmet | None:
    """Return a new version that a photon outside of the swap does not support.

    Args:
        updated: (old, new) photons of different versions.
        pairs: Of the swap.
        after: The photons of the host once it is made.
    """
    other = {fold(new.name): (old, new) for old, new in updated}
    within = {fold(pair.old.name) for pair in pairs if pair.old}
    for user in after.all():
        if fold(user.name) in within:
            continue
        for requirement in _requirements(user.candidate):
            name, wanted = split_requirement(requirement)
            old, new = other.get(fold(name), (None, None))
            if old is None or new is None or not wanted:
                continue
            if fits(_version(old), wanted) and not fits(_version(new), wanted):
                version = _version(new) or "none"
                error = PhotonDependencyError(
                    f"has version {version}, which {user.name!r} does not support",
                    photon=new.name,
                    file=new.filepath,
                    why=f"photon {user.name!r} requires {requirement!r}",
                    hint="use a version in that range, or change both in one batch",
                )
                return Unmet(error, (user.name,))
    return None


def _version(handler: Handler) -> str:
    candidate = handler.candidate
    return candidate.version if candidate is not None else ""


@attrs.define(eq=False)
class _After:
    """The photons of the host once the swap is made."""

    registry: Registry
    # The photons before and after.
    _pairs: Sequence[Pair]

    @functools.cached_property
    def changed(self) -> Mapping[str, Handler | None]:
        """Folded name → the new photon of that name; None where it is unloaded."""
        changed: dict[str, Handler | None] = {}
        for pair in self._pairs:
            if pair.old is not None:
                changed.setdefault(fold(pair.old.name), None)
            if pair.new is not None:
                changed[fold(pair.new.name)] = pair.new
        return changed

    def all(self) -> Iterator[Handler]:
        """Yield those that are loaded now, as they will be, without those that go."""
        for known in self.registry.all().values():
            handler = self.changed.get(fold(known.name), known)
            if handler is not None:
                yield handler

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

    def cycle(self, name: str) -> list[str]:
        """Return the names of a cycle of requirements, from *name* to itself, or []."""
        graph: dict[str, list[str]] = {}
        queue = [fold(name)]
        while queue:
            key = queue.pop()
            if key not in graph:
                handler = self.get(key)
                required = _requirements(handler.candidate) if handler else ()
                graph[key] = [fold(split_requirement(each)[0]) for each in required]
                queue += graph[key]
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            keys = error.args[1][-2::-1]  # each photon requires the next one
            if fold(name) not in keys:
                return []  # a cycle that was there before
            at = keys.index(fold(name))
            handlers = map(self.get, [*keys[at:], *keys[: at + 1]])
            return [handler.name for handler in handlers if handler is not None]
        return []


def _requirements(candidate: Candidate | None) -> tuple[str, ...]:
    return candidate.requirements if candidate is not None else ()


def _rejection(new: Handler, what: str, why: str) -> PhotonDependencyError:
    return PhotonDependencyError(
        what,
        photon=new.name,
        file=new.filepath,
        why=why,
        hint="load the required photon first, or fix it",
    )


EarlierFiles = dict[str, "Mapping[str, Pinned]"]
"""Unit → the files that it can return to, empty after its first generation."""


@attrs.define(eq=False)
class History:
    """The files of every unit before its latest swap, for a roll-back."""

    # Unit → the files, before the swap that made its present generation, of all units
    # of that swap.
    _before: dict[str, Mapping[str, Pinned]] = attrs.Factory(dict)

    def note(self, before: Mapping[str, Pinned]) -> EarlierFiles:
        """Record that units have been replaced in one swap.

        Args:
            before: Unit → its files before the swap.

        Returns:
            What was known of the units until now, for `take_back`.
        """
        earlier = {unit: self._before.get(unit, {}) for unit in before}
        self._before.update(dict.fromkeys(before, before))
        return earlier

    def take_back(self, earlier: EarlierFiles) -> None:
        """Forget a swap that was reverted."""
        self._before.update(earlier)

    def forget(self, unit: str) -> None:
        """Forget a unit that is not loaded any more."""
        self._before.pop(unit, None)

    def before(
        self, unit: str, needs: Callable[[str], AbstractSet[str]]
    ) -> tuple[dict[str, Pinned], list[set[str]]]:
        """Return the earlier files of *unit* and of all that was swapped with it.

        Args:
            unit: What is to be rolled back.
            needs: Unit → units that it imports from.

        Returns:
            Unit → its files, empty after its first generation; and the groups of these
            units that imports connect, the one with *unit* first.
        """
        swap = self._before.get(unit, {})
        # Not the units that have been replaced once more since then.
        same = {u: files for u, files in swap.items() if self._before.get(u) is swap}
        groups = components(same.keys(), needs)
        return same, sorted(groups, key=lambda group: unit not in group)
