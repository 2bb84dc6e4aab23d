"""A graph as SVG: columns by distance, boxes, lines. Self-contained, light and dark."""

from __future__ import annotations

from typing import TYPE_CHECKING

from luminal.cli.paper import clean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from luminal.cli.relations import Edge

__all__ = ["draw"]

_LETTER, _HIGH, _GAP, _FAR = 8, 32, 16, 64
"""Widths and distances in pixels."""

_STYLE = """\
text { font: 13px monospace; fill: #222 }
rect { fill: #f4f4f4; stroke: #555 }
rect.not-ok { stroke: #b00; stroke-dasharray: 4 3 }
path { fill: none; stroke: #555 }
path.wish { stroke-dasharray: 4 3 }
@media (prefers-color-scheme: dark) {
  text { fill: #ddd } rect { fill: #2a2a2a; stroke: #aaa } path { stroke: #aaa }
}"""


def draw(states: Mapping[str, str], edges: Sequence[Edge]) -> str:
    """Return an SVG document: what waits stands to the right of what it waits for.

    Args:
        states: Photon → its state; what is not ``ok`` is drawn with a broken line.
        edges: Who waits for whom.
    """
    columns = _columns(states, edges)
    places: dict[str, tuple[int, int, int]] = {}
    x = _GAP
    height = 0
    for column in columns:
        width = max(len(clean(name)) for name in column) * _LETTER + 2 * _GAP
        for at, name in enumerate(column):
            places[name] = (x, _GAP + at * (_HIGH + _GAP), width)
        height = max(height, len(column) * (_HIGH + _GAP) + _GAP)
        x += width + _FAR
    root = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {x} {height}" '
        f'width="{x}" height="{height}" role="img">'
    )
    return "\n".join(
        [
            root,
            "<title>Photons and what they wait for</title>",
            f"<style>{_STYLE}</style>",
            *(_line(edge, places) for edge in edges),
            *(_box(name, states[name], *place) for name, place in places.items()),
            "</svg>",
        ]
    )


def _columns(states: Mapping[str, str], edges: Sequence[Edge]) -> list[list[str]]:
    """Return names by their distance from what waits for nothing."""
    distance = dict.fromkeys(states, 0)
    for _ in states:  # as often as the longest chain can be; circles end there
        for edge in edges:
            distance[edge.later] = min(
                max(distance[edge.later], distance[edge.earlier] + 1), len(states) - 1
            )
    columns: dict[int, list[str]] = {}
    for name, far in distance.items():
        columns.setdefault(far, []).append(name)
    return [columns[far] for far in sorted(columns)]


def _line(edge: Edge, places: Mapping[str, tuple[int, int, int]]) -> str:
    left, top, width = places[edge.earlier]
    end, low, _ = places[edge.later]
    start, high, low = left + width, top + _HIGH // 2, low + _HIGH // 2
    middle = (start + end) // 2
    kind = "" if edge.kind == "requires" else ' class="wish"'
    way = f"M {start} {high} C {middle} {high}, {middle} {low}, {end} {low}"
    return f'<path{kind} d="{way}"><title>{_text(edge.text)}</title></path>'


def _box(name: str, state: str, left: int, top: int, width: int) -> str:
    kind = "" if state == "ok" else ' class="not-ok"'
    return (
        f"<g><title>{_text(f'{name}: {state}')}</title>"
        f'<rect{kind} x="{left}" y="{top}" width="{width}" height="{_HIGH}" rx="4"/>'
        f'<text x="{left + _GAP}" y="{top + 21}">{_text(name)}</text></g>'
    )


def _text(text: str) -> str:
    from html import escape

    return escape(clean(text))
