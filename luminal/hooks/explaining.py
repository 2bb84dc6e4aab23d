"""Says why a hook calls its photons in the order in which it does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from luminal.hooks.occupant import Occupant

__all__ = ["OrderExplanation", "Place", "explain"]


@attrs.frozen
class Place:
    """One implementation's place in the order.

    Attributes:
        position: Counted from 1, in the order of calls.
        photon: Name of the photon.
        generation: Its generation.
        kind: ``"wrapper"`` or ``"implementation"``.
        why: What put it there.
        where: ``file:line`` of the implementation.
    """

    position: int
    photon: str
    generation: int
    kind: str
    why: str
    where: str


@attrs.frozen
class OrderExplanation:
    """The order of one hook.

    Attributes:
        hook: Name of the hook.
        places: In the order of calls.
    """

    hook: str
    places: tuple[Place, ...]

    def __str__(self) -> str:
        if not self.places:
            return f"{self.hook}: nobody implements it"
        width = max(len(place.photon) for place in self.places)
        lines = [f"{self.hook}: {len(self.places)} in the order of calls"]
        lines += [
            f"{p.position:>4}  {p.photon:<{width}}  {p.kind:<14}  {p.why}  ({p.where})"
            for p in self.places
        ]
        return "\n".join(lines)


def _reason(occupant: Occupant) -> str:
    reasons = []
    if occupant.tryfirst:
        reasons.append("asks to be first")
    if occupant.trylast:
        reasons.append("asks to be last")
    reasons.extend(f"before {name!r}" for name in occupant.before)
    reasons.extend(f"after {name!r}" for name in occupant.after)
    return ", ".join(reasons) or "the later registered, the earlier called"


def explain(hook: str, occupants: Iterable[Occupant]) -> OrderExplanation:
    """Explain the order of *occupants*, who are in the order of calls."""
    return OrderExplanation(
        hook,
        tuple(
            Place(
                position=number,
                photon=occupant.photon,
                generation=occupant.generation,
                kind="wrapper" if occupant.is_wrapper else "implementation",
                why=_reason(occupant),
                where=occupant.where,
            )
            for number, occupant in enumerate(occupants, 1)
        ),
    )
