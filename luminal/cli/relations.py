"""Who waits for whom: the edges between candidates, with their reasons."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from luminal.model import Candidate

__all__ = ["Edge", "edges_between"]


@attrs.frozen
class Edge:
    """Photon *later* comes after photon *earlier*.

    Attributes:
        later: Name of the one that waits.
        earlier: Name of the one that it waits for.
        kind: ``requires``, ``after`` or ``before`` (said by the earlier one).
        text: What the author wrote.
        is_met: Whether the earlier one is there.
    """

    later: str
    earlier: str
    kind: str
    text: str
    is_met: bool = True


def edges_between(found: Sequence[Candidate]) -> list[Edge]:
    """Return all edges between *found*, and those that lead to nothing."""
    from luminal.discovery import fold, split_requirement

    there = {fold(candidate.name): candidate.name for candidate in found}
    edges = []
    for candidate in found:
        for requirement in candidate.requirements:
            name = split_requirement(requirement)[0]
            known = there.get(fold(name))
            is_met = known is not None
            edges.append(
                Edge(candidate.name, known or name, "requires", requirement, is_met)
            )
        edges += [
            Edge(candidate.name, there[fold(name)], "after", name)
            for name in candidate.after
            if fold(name) in there
        ]
        edges += [
            Edge(there[fold(name)], candidate.name, "before", candidate.name)
            for name in candidate.before
            if fold(name) in there
        ]
    return edges
