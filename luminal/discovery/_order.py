"""In which order photons load, and which cannot: conflicts, requirements, cycles.

These are functions from candidates to candidates; nothing is read. What requires
something that cannot be loaded cannot be loaded either, and its problem names the
chain. The result depends on the candidates alone, not on their order.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from luminal.discovery._draft import Draft, candidate_of, draft_of
from luminal.discovery._names import check_range, fits, fold, split_requirement
from luminal.errors import (
    LuminalError,
    PhotonConflictError,
    PhotonDependencyError,
    nearest,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from luminal.model import Candidate

__all__ = ["Graph", "arrange", "arrange_candidates", "cycles", "in_order"]

Graph = dict[int, set[int]]
"""Number → the numbers that it waits for."""


_MOST_NAMED = 8
"""A text names so many photons at most, however many it is about."""

_MOST_WAYS = 10
"""So many ways are looked for among photons that all wait for each other."""


def cycles(graph: Graph) -> dict[int, list[int]]:
    """Return each number that waits for itself → a way from it back to itself.

    Among many that wait for each other, some share a way that one of them is not on.
    """
    found: dict[int, list[int]] = {}
    for members in _components(graph):
        ways = 0
        shared: list[int] = []
        for number in sorted(members):
            if number in found:
                continue
            if ways < _MOST_WAYS:
                ways += 1
                shared = _way_back(number, members, graph)
                found.update(dict.fromkeys(shared, shared))
            elif shared:
                found[number] = shared
    return found


def _components(graph: Graph) -> list[set[int]]:
    """Return the groups of numbers that wait for each other, by Tarjan's algorithm."""
    found: list[set[int]] = []
    # Number → when it was reached, and the earliest that it leads back to.
    reached: dict[int, int] = {}
    earliest: dict[int, int] = {}
    open_numbers: dict[int, None] = {}
    for start in graph:
        stack = [] if start in reached else [(start, iter(graph[start]))]
        while stack:
            number, others = stack[-1]
            if number not in reached:
                reached[number] = earliest[number] = len(reached)
                open_numbers[number] = None
            for other in others:
                if other not in reached:
                    stack.append((other, iter(graph.get(other, ()))))
                    break
                if other in open_numbers:
                    earliest[number] = min(earliest[number], reached[other])
            else:
                stack.pop()
                if stack:
                    above = stack[-1][0]
                    earliest[above] = min(earliest[above], earliest[number])
                if earliest[number] == reached[number]:
                    group = set()
                    while number not in group:
                        group.add(open_numbers.popitem()[0])
                    found.append(group)
    return found


def in_order(count: int, graph: Graph) -> list[int]:
    """Return 0 … *count* - 1, each after what it waits for, else by size.

    Args:
        count: How many there are.
        graph: A graph without cycles.
    """
    # Few photons wait for others, and the imports would be a part of each start.
    import heapq
    from graphlib import TopologicalSorter

    sorter = TopologicalSorter({**dict.fromkeys(range(count), ()), **graph})
    sorter.prepare()
    ready = list(sorter.get_ready())
    heapq.heapify(ready)
    result: list[int] = []
    while ready:
        number = heapq.heappop(ready)
        result.append(number)
        sorter.done(number)
        for follower in sorter.get_ready():
            heapq.heappush(ready, follower)
    return result


def _way_back(start: int, members: set[int], graph: Graph) -> list[int]:
    """Return the shortest path from *start* to itself, empty if there is none."""
    came: dict[int, int] = {}
    queue = [start]
    for index in queue:
        for other in sorted(graph.get(index, ())):
            if other == start:
                back = [index]
                while back[-1] != start:
                    back.append(came[back[-1]])
                return [*reversed(back), start]
            if other in members and other not in came:
                came[other] = index
                queue.append(other)
    return []


_ByName = dict[str, list[int]]


def arrange(
    candidates: Iterable[Draft],
    *,
    api_version: str | None = None,
    is_part: bool = False,
) -> list[Draft]:
    """Return the candidates in load order, with the problems that come to light.

    What a photon requires comes before it, ``before`` and ``after`` are respected,
    and else the names decide. Disabled photons take part in no conflict and satisfy
    no requirement.

    Args:
        candidates: All that were found, in any order.
        api_version: The host's version of its API, None to ask no photon for it.
        is_part: Whether there are more photons elsewhere, so that what is missing
            here may be there.
    """
    unordered = list(candidates)
    keys = list(map(_key, unordered))
    order = sorted(range(len(keys)), key=keys.__getitem__)
    found = [unordered[n] for n in order]
    by_name: _ByName = defaultdict(list)
    for index, n in enumerate(order):
        by_name[keys[n][0]].append(index)
    _refuse_conflicts(found, by_name)
    requires: Graph = {}
    for index, candidate in enumerate(found):
        if candidate.enabled and candidate.problem is None:
            try:
                if candidate.api:
                    _check_api(candidate, api_version)
                requires[index] = (
                    _required(candidate, found, by_name, is_part)
                    if candidate.requirements
                    else set()
                )
            except LuminalError as error:
                found[index] = _refuse(candidate, error)
    edges = _with_wishes(requires, found, by_name)
    _refuse_cycles(found, edges)
    _refuse_dependents(found, requires)
    sound = {i for i in edges if found[i].problem is None}
    edges = {i: others & sound for i, others in edges.items() if i in sound}
    if not any(edges.values()):
        return found  # in the order of their names
    return [found[index] for index in in_order(len(found), edges)]


def arrange_candidates(
    candidates: Iterable[Candidate], *, api_version: str | None = None
) -> list[Candidate]:
    """Return what `arrange` makes of candidates.

    Args:
        candidates: All that were found, in any order.
        api_version: The host's version of its API, None to ask no photon for it.
    """
    drafts = [draft_of(candidate) for candidate in candidates]
    return [candidate_of(each) for each in arrange(drafts, api_version=api_version)]


def _with_wishes(requires: Graph, found: Sequence[Draft], by_name: _ByName) -> Graph:
    """Return *requires* and ``before`` and ``after``, of and for what can be loaded."""
    edges = {index: set(others) for index, others in requires.items()}
    for index in requires:
        for name in found[index].after:
            edges[index].update(i for i in by_name.get(fold(name), ()) if i in edges)
        for name in found[index].before:
            for other in by_name.get(fold(name), ()):
                if other in edges:
                    edges[other].add(index)
    return edges


def _key(candidate: Draft) -> tuple[str, ...]:
    c = candidate
    return (fold(c.name), c.name, c.origin, c.location, c.target, c.source)


def _refuse(candidate: Draft, error: LuminalError) -> Draft:
    error.file = error.file or candidate.location or None
    error.line = error.line or candidate.line or None
    from luminal.model import Problem

    return candidate._replace(problem=Problem.of(error, "order"))


def _refuse_conflicts(found: list[Draft], by_name: _ByName) -> None:
    """Refuse all photons of one name. What could not be read has no name to defend."""
    for indexes in by_name.values():
        if len(indexes) < 2:
            continue
        rivals = [i for i in indexes if found[i].enabled and found[i].target]
        if len(rivals) < 2:
            continue
        named = rivals[:_MOST_NAMED]
        places = [f"{found[i].origin} ({found[i].location})" for i in named]
        why = "one is in " + ", another in ".join(places)
        if len(rivals) > len(named):
            why += f", and {len(rivals) - len(named)} more"
        for index in rivals:
            if found[index].problem is None:
                error = PhotonConflictError(
                    f"{len(rivals)} photons have this name",
                    why=why,
                    hint="rename one with photon_name, or block it",
                )
                found[index] = _refuse(found[index], error)


def _check_api(candidate: Draft, api_version: str | None) -> None:
    asks = bool(candidate.api) and api_version is not None
    if asks and not fits(str(api_version), candidate.api):
        raise PhotonDependencyError(
            f"asks for version {candidate.api} of the host's API",
            why=f"the host offers {api_version}",
            hint="install a version of the photon that fits this host",
        )


def _required(
    candidate: Draft,
    found: Sequence[Draft],
    by_name: _ByName,
    is_part: bool,
) -> set[int]:
    """Return the indexes of what *candidate* requires.

    Raises:
        PhotonDependencyError: Something is missing or of a wrong version.
        PhotonValidationError: A requirement is not written as PEP 440 asks for.
    """
    indexes: set[int] = set()
    for requirement in candidate.requirements:
        name, range_ = split_requirement(requirement)
        check_range(range_)
        rivals = [i for i in by_name.get(fold(name), ()) if found[i].enabled]
        # A file that could not be read may be called so; one that is so counts.
        rivals = [i for i in rivals if found[i].target] or rivals
        if not rivals and is_part:
            continue
        if not rivals:
            raise _missing(candidate, name, found, by_name)
        for index in rivals:
            version = found[index].version
            if found[index].problem is None and range_ and not fits(version, range_):
                raise PhotonDependencyError(
                    f"requires {requirement!r}",
                    why=f"{found[index].name!r} has "
                    + (f"version {version}" if version else "no version"),
                    hint=f"install a version of {name!r} that fits",
                )
        indexes.update(rivals)
    return indexes


def _missing(
    candidate: Draft,
    name: str,
    found: Sequence[Draft],
    by_name: _ByName,
) -> PhotonDependencyError:
    if fold(name) in by_name:
        why, hint = f"{name!r} is disabled", f"enable {name!r}"
    else:
        why, hint = f"there is no photon {name!r}", f"install or add {name!r}"
        near = nearest(fold(name), by_name)
        if near:
            hint += f"; did you mean {found[by_name[near][0]].name!r}?"
    why += f" ({candidate.name} -> {name})"
    return PhotonDependencyError(f"requires {name!r}", why=why, hint=hint)


def _refuse_cycles(found: list[Draft], edges: Graph) -> None:
    # Of each way, where its members are on it: the text of each begins with itself.
    if not any(edges.values()):
        return
    positions: dict[int, dict[int, int]] = {}
    for index, way in cycles(edges).items():
        members = positions.get(id(way))
        if members is None:
            members = positions[id(way)] = {i: n for n, i in enumerate(way[:-1])}
        at, length = members.get(index, 0), len(members)
        ahead = [way[(at + n) % length] for n in range(min(length, _MOST_NAMED))]
        names = [found[i].name for i in ahead]
        error = PhotonDependencyError(
            "is in a cycle of photons that wait for each other",
            why=_chain([*names, names[0]], length - len(names)),
            hint="take one of the requirements, before or after, out",
        )
        found[index] = _refuse(found[index], error)


def _chain(names: list[str], omitted: int) -> str:
    """Return *names* with arrows, and how many were left out before the last."""
    if omitted:
        names = [*names[:-1], f"... ({omitted} more)", names[-1]]
    return " -> ".join(names)


def _refuse_dependents(found: list[Draft], requires: Graph) -> None:
    """Refuse what requires a refused photon, and name the chain to its cause."""
    dependents: dict[int, list[int]] = defaultdict(list)
    for index, others in requires.items():
        for other in others:
            dependents[other].append(index)
    queue = [i for i in range(len(found)) if found[i].problem and found[i].enabled]
    # Index → the first names of the chain, its last index, how many are left out.
    chains = {index: ([found[index].name], index, 0) for index in queue}
    for index in queue:
        for dependent in dependents[index]:
            if found[dependent].problem is not None:
                continue
            ahead, last, omitted = chains[index]
            ahead = [found[dependent].name, *ahead]
            if len(ahead) > _MOST_NAMED:
                del ahead[-2]
                omitted += 1
            chains[dependent] = ahead, last, omitted
            cause, names = found[last], _chain(ahead, omitted)
            error = PhotonDependencyError(
                f"requires {found[index].name!r}, which cannot be loaded",
                why=f"{names}: {cause.problem.what if cause.problem else ''}",
                hint=f"fix {cause.name!r} ({cause.location}) first",
            )
            found[dependent] = _refuse(found[dependent], error)
            queue.append(dependent)
