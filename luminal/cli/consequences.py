"""What follows for the others when a photon fails: a line that ends the worry.

Comes in: candidates, and what became of them. Goes out: half a sentence for each that
failed, for the label ``so``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from luminal.cli.relations import edges_between
from luminal.model import OutcomeResult

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from luminal.model import Candidate, Outcome

__all__ = ["after_start", "counted", "if_loaded"]

_NAMED = 3
"""Photons that are named; of more, only the number is told."""


def after_start(
    outcomes: Sequence[Outcome], found: Sequence[Candidate]
) -> dict[str, str]:
    """Return what follows from each failure, once the others have been started.

    Args:
        outcomes: What became of all of them.
        found: The candidates, in load order.
    """
    running = {o.photon for o in outcomes if o.result is OutcomeResult.LOADED}
    said = {}
    for outcome in outcomes:
        if outcome.result is not OutcomeResult.FAILED or outcome.problem is None:
            continue
        needing = _needing(outcome.photon, found)
        left_out = [name for name in needing if name not in running]
        without = [name for name in needing if name in running]
        is_start = outcome.problem.phase == "start"
        parts = ["it was not started" if is_start else "it was not loaded"]
        if left_out:
            parts.append(_who_need(left_out, "was left out", "were left out"))
        if without:
            parts.append(_who_need(without, "runs without it", "run without it"))
        parts.append(counted(len(running) - len(without), "runs", "run"))
        said[outcome.photon] = "; ".join(parts)
    return said


def if_loaded(
    found: Sequence[Candidate], failing: Collection[str] | None = None
) -> dict[str, str]:
    """Return what would follow from each failure, if *found* were loaded.

    Args:
        found: The candidates, in load order.
        failing: Names of those that fail when they are tried; None for those with a
            problem, where none was tried.
    """
    enabled = [candidate for candidate in found if candidate.enabled]
    one, several = "can be loaded", "can be loaded"
    if failing is None:
        failing = [c.name for c in enabled if c.problem is not None]
        one, several = "is not affected", "are not affected"
    lost = {name for failed in failing for name in _needing(failed, found)}
    sound = sum(c.name not in lost and c.name not in failing for c in enabled)
    said = {}
    for name in failing:
        parts = ["a host leaves it out"]
        needing = _needing(name, found)
        if needing:
            parts.append(_who_need(needing, "is left out", "are left out"))
        if sound:
            parts.append(counted(sound, one, several))
        said[name] = "; ".join(parts)
    return said


def counted(others: int, one: str, several: str) -> str:
    """Return a sentence on the other photons.

    Args:
        others: How many there are of them.
        one: What a single one does.
        several: What more than one do.
    """
    if others > 1:
        return f"{others} other photons {several}"
    return f"{others or 'no'} other photon {one}"


def _needing(photon: str, found: Sequence[Candidate]) -> list[str]:
    """Return who needs *photon*, over as many others as may be, in load order."""
    edges = [edge for edge in edges_between(found) if edge.kind == "requires"]
    reached = {photon}
    while more := {e.later for e in edges if e.earlier in reached} - reached:
        reached |= more
    return _in_order(reached - {photon}, found)


def _in_order(names: Collection[str], found: Iterable[Candidate]) -> list[str]:
    return [candidate.name for candidate in found if candidate.name in names]


def _who_need(names: Sequence[str], one: str, several: str) -> str:
    if len(names) == 1:
        return f"{names[0]!r}, which needs it, {one}"
    listed = f" ({', '.join(map(repr, names))})" if len(names) <= _NAMED else ""
    return f"{len(names)} photons that need it{listed} {several}"
