"""Who takes whose place: old Handlers and the photons of the new generation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from luminal.discovery._names import fold
from luminal.lifecycle import Handler
from luminal.model import Candidate, State

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from luminal.lifecycle import Ports
    from luminal.loading import Selected

__all__ = ["Pair", "pair_up"]


@attrs.define(eq=False)
class Pair:
    """A photon before and after.

    Attributes:
        old: The Handler that the host knows; None for a photon that appears.
        new: The next life; None for a photon that disappears.
        state: State of *old* when the transaction began.
        old_seat: What is registered for its hooks; None where nothing is.
    """

    old: Handler | None
    new: Handler | None
    state: State = State.STAGED
    old_seat: object | None = None

    @property
    def is_one_sided(self) -> bool:
        """Whether nobody could come back: a photon appeared, went, or stood aside."""
        if self.old is None or self.new is None:
            return True
        return self.state is not State.RUNNING

    @property
    def is_to_start(self) -> bool:
        """Whether the new photon is started: where the old one ran, or had tried to."""
        return self.old is None or self.state in (State.RUNNING, State.FAILED)

    @property
    def is_exclusive(self) -> bool:
        """Whether the old photon must stop before the new one can start."""
        if self.old is None or self.state is not State.RUNNING:
            return False
        return bool(getattr(self.old.instance, "photon_exclusive", False))


# `attrs.evolve` looks them up each time.
_FACTS = tuple(field.name for field in attrs.fields(Candidate))


def pair_up(
    selected: Iterable[Selected],
    handlers: Sequence[Handler],
    ports: Ports,
    known: Iterable[Candidate] = (),
) -> list[Pair]:
    """Match new photons with *handlers* by name, in the order of loading.

    Args:
        selected: The new photons.
        handlers: Of the old ones.
        ports: What connects them to the host.
        known: What discovery says of the new ones, where it was asked.
    """
    facts = {fold(candidate.name): candidate for candidate in known}
    by_name = {fold(chosen.name): chosen for chosen in selected}
    by_unit = {h.generation.unit: h for h in handlers if h.generation is not None}
    pairs: list[Pair] = []
    for old in handlers:
        chosen = by_name.pop(fold(old.name), None)
        new = None
        if chosen is not None:
            new = _successor(chosen, old, ports, facts.get(fold(old.name)))
        seat = ports.plugins.get_plugin(old.name)
        seat = seat if seat is not None and seat is old.instance else None
        pairs.append(Pair(old, new, old.state, seat))
    for chosen in by_name.values():
        neighbour = by_unit[chosen.generation.unit]
        fact = facts.get(fold(chosen.name))
        pairs.append(Pair(None, _successor(chosen, neighbour, ports, fact)))
    return pairs


def _successor(
    chosen: Selected, like: Handler, ports: Ports, fact: Candidate | None
) -> Handler:
    sources = chosen.generation.sources
    if fact is not None:
        filepath = fact.location
    elif like.filepath in sources:
        filepath = like.filepath
    else:  # it has come from another file
        filepath = next(iter(sources), like.filepath)
    source = sources.get(filepath)
    checksum = source.checksum if source is not None else like.checksum
    return Handler(
        like.logging,
        chosen.name,
        filepath,
        checksum,
        chosen.obj,
        generation=chosen.generation,
        candidate=fact or _renewed(like.candidate, chosen, filepath, checksum),
        choice=like.choice,
        ports=ports,
    )


def _renewed(
    candidate: Candidate | None, chosen: Selected, filepath: str, checksum: str
) -> Candidate | None:
    """Return *candidate* with what the new class says of itself."""
    if candidate is None:
        return None
    said: dict[str, Any] = {"checksum": checksum}
    if filepath != candidate.location and candidate.location:
        said["location"] = filepath
    for key in ("author", "version", "description"):
        value = getattr(chosen.obj, f"photon_{key}", None)
        if isinstance(value, str) and value:
            said[key] = value
    tags = getattr(chosen.obj, "photon_tags", ())
    if isinstance(tags, list | tuple):
        said["tags"] = tuple(str(tag) for tag in tags)
    kept = {field: getattr(candidate, field) for field in _FACTS}
    return Candidate(**{**kept, "name": chosen.name, **said})
