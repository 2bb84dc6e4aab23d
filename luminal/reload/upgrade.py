"""Installed distributions: what has an upgrade brought, and may it be swapped in.

An upgrade is looked at by its RECORD alone: every source file is read once, and has to
have the digest that RECORD gives. What is staged are these bytes, so that neither a
half-installed version nor a mixture of two is ever executed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from luminal.discovery import discover
from luminal.errors import PhotonReloadError, PhotonTornError
from luminal.loading import Choice, DistributionOrigin
from luminal.loading._source import extensions_of, read_shipment
from luminal.model import Source
from luminal.reload.change import Renewal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from luminal.lifecycle import Handler
    from luminal.model import Candidate

__all__ = ["distribution_of", "look_up"]


def distribution_of(handler: Handler) -> str:
    """Return the distribution that a photon comes from; empty for a directory."""
    candidate = handler.candidate
    if candidate is None or candidate.source is not Source.DISTRIBUTION:
        return ""
    return candidate.origin.rpartition(" ")[0]


def look_up(handlers: Sequence[Handler]) -> Renewal:
    """Return what the distribution of *handlers* is on disk now.

    Args:
        handlers: Of its photons.

    Raises:
        PhotonTornError: It is not there, or not complete: pip may be at work.
        PhotonReloadError: It cannot be swapped in, and why.
        LuminalError: One of its photons cannot be loaded any more.
    """
    first = handlers[0]
    if first.generation is None or first.candidate is None:
        raise _refusal(first, "it is not loaded", "load it first")
    if first.generation.borrowed:
        raise _refusal(
            first,
            "the host had imported its modules before Luminal did",
            "load photons before anything imports them, or restart the host",
        )
    candidates = _candidates(first.candidate, distribution_of(first))
    distribution, _, version = candidates[0].origin.rpartition(" ")
    module = candidates[0].target.partition(":")[0].strip()
    location = candidates[0].location
    origin = DistributionOrigin(distribution, version, module, location)
    files = read_shipment(origin, is_checked=True)
    for candidate in candidates:  # only now: half a file is no fault of the author's
        if candidate.problem is not None:
            raise candidate.problem.error(candidate.name)
    _check_swappable(first, origin, first.generation.unit)
    targets = tuple((c.name, c.target) for c in candidates)
    base = first.choice.base if first.choice is not None else object
    choice = Choice(base, (), targets)
    return Renewal(first.generation.unit, origin, choice, tuple(candidates), files)


def _candidates(known: Candidate, distribution: str) -> list[Candidate]:
    found = [
        candidate
        for candidate in discover(group=known.group)
        if candidate.source is Source.DISTRIBUTION
        and candidate.origin.rpartition(" ")[0] == distribution
    ]
    if not found or not all(candidate.location for candidate in found):
        raise PhotonTornError("is not installed", photon=known.name)
    return found


def _check_swappable(first: Handler, origin: DistributionOrigin, unit: str) -> None:
    """Refuse what there can only be one of in a process."""
    compiled = extensions_of(origin)
    if compiled or (first.generation is not None and first.generation.has_extension):
        name = compiled[0] if compiled else "one of its modules"
        raise _refusal(
            first,
            f"{name} is compiled, and a process can have only one version of that",
            "restart the host",
        )
    if origin.root[0] != unit:
        raise _refusal(
            first,
            f"its package {unit!r} is called {origin.root[0]!r} now",
            "restart the host",
        )


def _refusal(handler: Handler, why: str, hint: str) -> PhotonReloadError:
    return PhotonReloadError(
        "its upgrade cannot be swapped in",
        photon=handler.name,
        file=handler.filepath,
        why=why,
        hint=hint,
    )
