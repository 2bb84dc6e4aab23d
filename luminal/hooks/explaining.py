"""Says why a hook calls its photons in the order in which it does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from luminal.hooks.records import OrderExplanation, Place

if TYPE_CHECKING:
    from collections.abc import Iterable

    from luminal.hooks.occupant import Occupant

__all__ = ["explain"]


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
