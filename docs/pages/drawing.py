"""Drawings as SVG inside a page; they take its colours and its font, light or dark."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["arrow", "box", "figure", "label"]

Point = tuple[float, float]

HEAD = (
    '<defs><marker id="{id}-tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" '
    'markerHeight="7" orient="auto-start-reverse">'
    '<path d="M0 0L10 5L0 10z" fill="currentColor"/></marker></defs>'
)


def figure(name: str, title: str, size: Point, parts: Iterable[str]) -> str:
    """Return a whole drawing, in a frame that scrolls where the screen is narrow.

    Args:
        name: Its id in the page.
        title: What it shows, for screen readers.
        size: Width and height, in pixels.
        parts: The SVG of what is drawn.
    """
    width, height = size
    text = escape(title)
    view = f'viewBox="0 0 {width:g} {height:g}" style="min-width: {width * 0.8:g}px"'
    return "\n".join(
        [
            f'<div class="drawing" tabindex="0" role="group" aria-label="{text}">',
            f'<svg id="{name}" role="img" {view} xmlns="http://www.w3.org/2000/svg">',
            f"<title>{text}</title>",
            HEAD.format(id=name),
            *parts,
            "</svg>",
            "</div>",
            "",
        ]
    )


def box(at: Point, size: Point, text: str, name: str = "") -> str:
    """Return a box with its left upper corner *at*, and *text* in its middle."""
    (x, y), (width, height) = at, size
    owner = f' id="{name}"' if name else ""
    return (
        f'<g class="box"{owner}><rect x="{x:g}" y="{y:g}" width="{width:g}" '
        f'height="{height:g}" rx="5"/>'
        f'<text x="{x + width / 2:g}" y="{y + height / 2 + 4.5:g}" '
        f'text-anchor="middle">{escape(text)}</text></g>'
    )


def label(at: Point, text: str, anchor: str = "middle") -> str:
    """Return *text* at a point."""
    x, y = at
    return (
        f'<text class="label" x="{x:g}" y="{y:g}" text-anchor="{anchor}">'
        f"{escape(text)}</text>"
    )


def arrow(path: str, figure_name: str) -> str:
    """Return an arrow along *path*, which is SVG path data."""
    return f'<path class="arrow" d="{path}" marker-end="url(#{figure_name}-tip)"/>'
