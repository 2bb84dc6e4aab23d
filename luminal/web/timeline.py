"""The journal as lanes of marks and as a list, the latest first."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from luminal.model import Event

__all__ = ["timeline"]

_LANES = 12
_ROWS = 100
_COLORS = {
    "swapped": "swap",
    "started": "good",
    "confirmed": "good",
    "refused": "bad",
    "failed": "bad",
    "rolled back": "bad",
    "orphaned": "mid",
    "unloaded": "mid",
}
"""What gets a mark of its own in a lane, and in which color."""


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
    color = _COLORS.get(event.happening, "minor")
    took = f"{event.seconds * 1000:.1f} ms" if event.seconds else ""
    why = f": {escape(event.problem.what)}" if event.problem else ""
    return (
        f"<tr><td>{time_of(event.at)}</td>"
        f'<th scope="row">{escape(event.photon)}</th>'
        f'<td><span class="tag {color}">{escape(event.happening)}</span>{why}</td>'
        f'<td class="n" data-of="generation">{event.generation or ""}</td>'
        f'<td class="n nowrap">{took}</td></tr>'
    )


def _lanes(events: tuple[Event, ...], time_of: Callable[[float], str]) -> str:
    """Return one lane a photon, for the eye; the list says the same."""
    first = min(event.at for event in events)
    last = max(event.at for event in events)
    span = (last - first) or 1.0
    marks: dict[str, list[str]] = {}
    for event in events:
        color = _COLORS.get(event.happening)
        if color is not None:
            x = 10 + 980 * (event.at - first) / span
            title = escape(f"{event.happening}, generation {event.generation}")
            marks.setdefault(event.photon, []).append(
                f'<line class="{color}" vector-effect="non-scaling-stroke" '
                f'x1="{x:.1f}" x2="{x:.1f}" y1="2" y2="18">'
                f"<title>{title}</title></line>"
            )
    if not marks:
        return ""
    lanes = "".join(
        f"<span>{escape(photon)}</span>"
        '<svg viewBox="0 0 1000 20" preserveAspectRatio="none">'
        f'<path d="M0 10H1000" vector-effect="non-scaling-stroke"/>{"".join(of)}</svg>'
        for photon, of in list(marks.items())[-_LANES:]
    )
    ends = f'<span class="ends">{time_of(first)}{time_of(last)}</span>'
    legend = "".join(
        f'<span class="tag {color}">| {word}</span> '
        for color, word in (
            ("good", "started"),
            ("swap", "swapped"),
            ("bad", "failed"),
            ("mid", "left"),
        )
    )
    drawn = f'<div class="lanes">{lanes}{ends}</div>'
    return f'<div aria-hidden="true"><p>{legend}</p>{drawn}</div>'
