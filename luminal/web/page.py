"""A `Picture` as one HTML document, or part by part.

Comes in: a picture. Goes out: HTML, in which everything that photons, files and errors
say is escaped. Works without its script. Must never refer to anything outside.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from luminal.managers.excerpt import lines_around
from luminal.web.dress import SCRIPT, STYLE, policy
from luminal.web.tables import hooks_table, photons_table, time_of
from luminal.web.timeline import timeline

if TYPE_CHECKING:
    from luminal.model import Problem
    from luminal.web.picture import Failure, Picture

__all__ = ["parts_of", "render_page"]

_TITLES = {
    "photons": "Photons",
    "failures": "Failures",
    "hooks": "Hooks",
    "timeline": "Timeline",
}


def render_page(picture: Picture, events: str = "") -> str:
    """Return the whole document.

    Args:
        picture: What it shows.
        events: Where the page hears what changes; empty for a page that stays as it is.
    """
    parts = parts_of(picture)
    links = "".join(f'<li><a href="#{i}">{t}</a></li>' for i, t in _TITLES.items())
    sections = "".join(
        f'<section id="{i}" tabindex="-1" aria-labelledby="{i}-title">'
        f'<h2 id="{i}-title">{title}</h2><div id="{i}-part">{parts[f"{i}-part"]}</div>'
        "</section>\n"
        for i, title in _TITLES.items()
    )
    live = "not live yet; reload for news" if events else "a report; it stays as it is"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy()}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Luminal: host {picture.pid}</title>
<link rel="icon" href="data:,">
<style>{STYLE}</style>
</head>
<body data-events="{escape(events)}">
<a class="skip" href="#photons">Skip to the photons</a>
<header>
<div id="host-part">{parts["host-part"]}</div>
<div id="sum-part" role="status">{parts["sum-part"]}</div>
<p class="soft">Read-only. State: <span id="live" role="status">{live}</span></p>
<nav aria-label="Sections"><ul>{links}</ul></nav>
</header>
<main>
{sections}</main>
<footer><p>Times are this browser's, or UTC where scripts are off.</p></footer>
<script>{SCRIPT}</script>
</body>
</html>
"""


def parts_of(picture: Picture) -> dict[str, str]:
    """Return the parts that change, by the id of the element that holds them."""
    parts = {
        "host-part": f'<h1>Luminal <span class="soft">host {picture.pid}</span></h1>'
        f"<p><code>{escape(picture.command)}</code></p>",
        "sum-part": _summary(picture),
        "photons-part": photons_table(picture.photons),
        "failures-part": "".join(map(_failure, picture.failures))
        or "<p>None; nothing has failed.</p>",
        "timeline-part": timeline(picture.events, time_of),
        "hooks-part": hooks_table(picture.hooks),
    }
    # A file's name may hold bytes that are no text; they must not end the page.
    return {
        key: html.encode("utf-8", "backslashreplace").decode("utf-8")
        for key, html in parts.items()
    }


def _summary(picture: Picture) -> str:
    running = sum(photon.state == "running" for photon in picture.photons)
    standing = sum(failure.is_standing for failure in picture.failures)
    color = "bad" if standing else "good"
    return (
        '<ul class="sum">'
        f"<li><b>{len(picture.photons)}</b> photons</li>"
        f'<li><b class="good">{running}</b> running</li>'
        f'<li><b class="{color}">{standing}</b> failing now</li>'
        "</ul>"
    )


def _failure(failure: Failure) -> str:
    problem = failure.problem
    color, word = ("bad", "now") if failure.is_standing else ("soft", "past")
    where = f"{problem.file}:{problem.line}" if problem.line else problem.file
    more = "".join(
        f"<p>{label}: {escape(value)}</p>"
        for label, value in (
            ("because", problem.why),
            ("so", problem.consequence),
            ("try", problem.hint),
        )
        if value
    )
    return (
        f"<article><h3>{escape(failure.photon)}: {escape(problem.what)}</h3>"
        f'<p><span class="tag {color}">{word}</span> <span class="soft">'
        f"{escape(problem.code)}, in {escape(problem.phase)},</span> "
        f"{time_of(failure.at)}</p>"
        + (f"<p><code>{escape(where)}</code></p>" if where else "")
        + f"{_source(problem, where)}{more}</article>"
    )


def _source(problem: Problem, where: str) -> str:
    """Return the lines that *problem* points at, in a box that keys can scroll."""
    lines = lines_around(problem.file, problem.line)
    if not lines:
        return ""
    width = len(str(lines[-1][0]))
    rows = ((at, f"{at:>{width}} │ {escape(text)}") for at, text in lines)
    text = "\n".join(f"<b>{row}</b>" if at == problem.line else row for at, row in rows)
    label = escape(f"Source of {where}")
    return f'<pre tabindex="0" role="region" aria-label="{label}">{text}</pre>'
