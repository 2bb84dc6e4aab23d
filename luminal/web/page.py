"""A `Picture` as one HTML document, or part by part.

Comes in: a picture. Goes out: HTML, in which everything that photons, files and errors
say is escaped. Works without its script. Must never refer to anything outside.
"""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING

from luminal.managers.excerpt import lines_around
from luminal.web.dress import SCRIPT, STYLE, policy
from luminal.web.timeline import timeline

if TYPE_CHECKING:
    from luminal.model import Problem
    from luminal.web.picture import Failure, Photon, Picture

__all__ = ["parts_of", "render_page", "time_of"]

_TITLES = {
    "photons": "Photons",
    "failures": "Failures",
    "hooks": "Hooks",
    "timeline": "Timeline",
}
_HOOK_HEADS = (
    "Hook",
    "Photon",
    "Generation",
    "Calls",
    "Errors",
    "Time",
    "In flight",
    "Passed over",
)
_RIGHT = ' class="n"'
_COLORS = {"running": "good", "failed": "bad", "skipped": "soft", "stopped": "soft"}


def render_page(picture: Picture, events: str = "") -> str:
    """Return the whole document.

    Args:
        picture: What it shows.
        events: Where the page hears what changes; empty for a page that stays as it is.
    """
    parts = {key: encodable(html) for key, html in parts_of(picture).items()}
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
<nav aria-label="Sections"><ul>{links}</ul></nav>
</header>
<main>
{sections}</main>
<footer><p>Read-only. State: <span id="live" role="status">{live}</span></p></footer>
<script>{SCRIPT}</script>
</body>
</html>
"""


def parts_of(picture: Picture) -> dict[str, str]:
    """Return the parts that change, by the id of the element that holds them."""
    return {
        "host-part": f'<h1>Luminal <span class="soft">host {picture.pid}</span></h1>'
        f"<p><code>{escape(picture.command)}</code></p>",
        "sum-part": _summary(picture),
        "photons-part": _photons(picture),
        "failures-part": "".join(map(_failure, picture.failures))
        or "<p>None; nothing has failed.</p>",
        "timeline-part": timeline(picture.events, time_of),
        "hooks-part": _hooks(picture),
    }


def time_of(at: float) -> str:
    """Return a time as HTML, in UTC; the script shows the reader's own."""
    if not at:
        return '<span class="soft nowrap">unknown</span>'
    moment = datetime.fromtimestamp(at, UTC)
    stamp = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    return f'<time datetime="{stamp}">{moment:%Y-%m-%d %H:%M:%S} UTC</time>'


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


def _photons(picture: Picture) -> str:
    if not picture.photons:
        return "<p>No photon is loaded.</p>"
    rows = "".join(map(_photon, picture.photons))
    return (
        '<table class="cards"><caption>In the order of loading; numbers count since '
        "the latest swap.</caption><thead><tr>"
        '<th scope="col">Name</th><th scope="col">State</th>'
        '<th scope="col" class="n">Generation</th><th scope="col">Since</th>'
        '<th scope="col" class="n">Calls</th><th scope="col" class="n">Errors</th>'
        f'<th scope="col">File</th></tr></thead><tbody>{rows}</tbody></table>'
    )


def _photon(photon: Photon) -> str:
    color = _COLORS.get(photon.state, "mid")
    file = f"<code>{escape(_short(photon.file))}</code>"
    why = ""
    if photon.problem is not None:
        lead = "reload refused: " if photon.state == "running" else "why not: "
        text = escape(f"{photon.problem.what} [{photon.problem.code}]")
        why = f'<p class="{"soft" if photon.state == "skipped" else "bad"}">'
        why += f"{lead}{text}</p>"
    errors = ' bad"' if photon.errors else '"'
    number = photon.generation or "none"
    return (
        f'<tr><th scope="row">{escape(photon.name)}</th>'
        f'<td class="tag {color}">{escape(photon.state)}</td>'
        f'<td class="n" data-of="generation">{number}</td>'
        f'<td data-of="since">{time_of(photon.since)}</td>'
        f'<td class="n" data-of="calls">{photon.calls}</td>'
        f'<td class="n{errors} data-of="errors">{photon.errors}</td>'
        f'<td class="all" title="{escape(photon.file)}">{file}{why}</td></tr>'
    )


def _short(path: str) -> str:
    """Return the last parts of *path*; the whole is in the cell's title."""
    words = path.replace("\\", "/").split("/")
    return path if len(words) < 4 else "…/" + "/".join(words[-2:])


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


def _hooks(picture: Picture) -> str:
    if picture.hooks is None:
        return "<p>The host did not tell them hook by hook.</p>"
    if not picture.hooks:
        return "<p>No photon implements a hook.</p>"
    rows = "".join(
        f'<tr><th scope="row" class="all">{escape(row.hook)}</th>'
        f'<td class="all">{escape(row.photon)}</td>'
        f'<td class="n" data-of="generation">{row.generation}</td>'
        f'<td class="n" data-of="calls">{row.calls}</td>'
        f'<td class="n{" bad" if row.errors else ""}" data-of="errors">'
        f"{row.errors}</td>"
        f'<td class="n nowrap" data-of="time">{row.seconds * 1000:.1f} ms</td>'
        f'<td class="n" data-of="in flight">{row.in_flight}</td>'
        f'<td class="n" data-of="passed over">{row.skipped}</td></tr>'
        for row in sorted(picture.hooks, key=lambda r: (r.hook, r.photon))
    )
    heads = "".join(
        f'<th scope="col"{"" if at < 2 else _RIGHT}>{head}</th>'
        for at, head in enumerate(_HOOK_HEADS)
    )
    return (
        '<table class="cards"><caption>Since each photon took its seat; time is an '
        f"estimate.</caption><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
    )
