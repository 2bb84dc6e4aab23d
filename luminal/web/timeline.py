"""The journal as lanes of marks and as a list, the latest first."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from luminal.model import EventKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from luminal.model import Event

__all__ = ["MARKS", "timeline"]

_LANES = 12
_ROWS = 100

MARKS = {
    EventKind.DISCOVERED: "",
    EventKind.LOADED: "",
    EventKind.SKIPPED: "",
    EventKind.REJECTED: "bad",
    EventKind.STARTED: "good",
    EventKind.FAILED: "bad",
    EventKind.STAGED: "",
    EventKind.SWAPPED: "swap",
    EventKind.DRAINED: "",
    EventKind.CONFIRMED: "good",
    EventKind.ROLLED_BACK: "bad",
    EventKind.FINALIZED: "",
    EventKind.ORPHANED: "mid",
    EventKind.RETIRED: "",
    EventKind.UNLOADED: "mid",
    EventKind.SIDE_EFFECT: "mid",
    EventKind.LEAKED: "mid",
}
"""Each happening's style; without one it is in the list only, and no mark in a lane."""

_HEIGHTS = {"good": (6, 14), "swap": (1, 19), "bad": (1, 19), "mid": (6, 14)}
"""From where to where a mark goes in a lane that is 20 high: not by color alone."""


def timeline(events: tuple[Event, ...] | None, time_of: Callable[[float], str]) -> str:
    """Return the HTML of the journal.

    Args:
        events: The oldest first; None where they are not known.
        time_of: Makes HTML of a wall-clock time in seconds.
    """
    if events is None:
        return "<p>The host did not tell its journal.</p>"
    if not events:
        return "<p>Nothing has happened yet.</p>"
    # What ends in the background is told late, with the time at which it happened.
    events = tuple(sorted(events, key=lambda event: event.at))
    rows = "".join(_row(event, time_of) for event in events[: -_ROWS - 1 : -1])
    left = len(events) - _ROWS
    rest = f'<p class="soft">{left} earlier ones are left out.</p>' if left > 0 else ""
    heads = (
        '<th scope="col">When</th><th scope="col">Photon</th><th scope="col">What</th>'
        '<th scope="col" class="n">Generation</th><th scope="col" class="n">Took</th>'
    )
    return (
        f'{_lanes(events, time_of)}<div class="tall" id="journal" tabindex="0" '
        'role="region" aria-label="Journal"><table class="cards journal">'
        f"<caption>The latest first.</caption><thead><tr>{heads}</tr></thead>"
        f"<tbody>{rows}</tbody></table>{rest}</div>"
    )


def _row(event: Event, time_of: Callable[[float], str]) -> str:
    color = MARKS.get(event.kind) or "minor"
    took = f"{event.seconds * 1000:.1f} ms" if event.seconds else ""
    why = f": {escape(event.problem.what)}" if event.problem else ""
    return (
        f"<tr><td>{time_of(event.at)}</td>"
        f'<th scope="row">{escape(event.photon)}</th>'
        f'<td><span class="tag {color}">{escape(event.kind)}</span>{why}</td>'
        f'<td class="n" data-of="generation">{event.generation or ""}</td>'
        f'<td class="n nowrap">{took}</td></tr>'
    )


def _lanes(events: tuple[Event, ...], time_of: Callable[[float], str]) -> str:
    """Return a lane for each photon that had news last; the list says the same."""
    first, last = events[0].at, events[-1].at
    span = (last - first) or 1.0
    lanes: dict[str, list[str]] = {}
    seen: dict[str, list[str]] = {}
    for event in events:
        color = MARKS.get(event.kind)
        if not color:
            continue
        # Put in again behind the others: the last are those that are drawn.
        lane = lanes[event.photon] = lanes.pop(event.photon, [])
        lane.append(_mark(event, color, 10 + 980 * (event.at - first) / span))
        words = seen.setdefault(color, [])
        if event.kind not in words:
            words.append(event.kind)
    if not lanes:
        return ""
    drawn = "".join(
        f"<span>{escape(photon)}</span>"
        '<svg viewBox="0 0 1000 20" preserveAspectRatio="none">'
        '<path d="M0 10H1000" vector-effect="non-scaling-stroke"/>'
        f"{''.join(lanes[photon])}</svg>"
        for photon in sorted(list(lanes)[-_LANES:])
    )
    legend = " ".join(
        f'<span class="tag {color}">{", ".join(words)}</span>'
        for color, words in seen.items()
    )
    if len(lanes) > _LANES:
        legend += f' <span class="soft">the latest {_LANES} of {len(lanes)}</span>'
    ends = f'<span class="ends">{time_of(first)}{time_of(last)}</span>'
    return (
        f'<div aria-hidden="true"><p class="legend">{legend}</p>'
        f'<div class="lanes">{drawn}{ends}</div></div>'
    )


def _mark(event: Event, color: str, x: float) -> str:
    top, bottom = _HEIGHTS[color]
    title = escape(f"{event.kind}, generation {event.generation}")
    return (
        f'<line class="{color}" vector-effect="non-scaling-stroke" '
        f'x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}">'
        f"<title>{title}</title></line>"
    )
