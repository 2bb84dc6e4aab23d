"""Render a `HostSnapshot` as one HTML document, or as the parts of it that change.

The template is ``page.html``; the style is ``page.css`` and the script ``page.js``. The
document contains both, refers to nothing outside itself, and works without the script.
jinja2 escapes every value. It is imported when the first page is rendered.
"""

from __future__ import annotations

import contextlib
import functools
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from luminal.errors import MissingExtraError, PhotonSettingsError, escaped
from luminal.managers.excerpt import lines_of
from luminal.model import EventKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from luminal.model import Event, Problem
    from luminal.web._snapshot import HostSnapshot

__all__ = [
    "EVENT_STYLES",
    "content_security_policy",
    "encodable",
    "environment",
    "read_file",
    "render_page",
    "render_parts",
    "requires_extra",
]

_MOST_LANES = 12
_MOST_EVENTS = 100

EVENT_STYLES = {
    EventKind.REJECTED: "bad",
    EventKind.RECOVERED: "good",
    EventKind.STARTED: "good",
    EventKind.FAILED: "bad",
    EventKind.RAISED: "bad",
    EventKind.SWAPPED: "swap",
    EventKind.QUARANTINED: "bad",
    EventKind.RELEASED: "good",
    EventKind.CONFIRMED: "good",
    EventKind.ROLLED_BACK: "bad",
    EventKind.ORPHANED: "mid",
    EventKind.UNLOADED: "mid",
    EventKind.SIDE_EFFECT: "mid",
    EventKind.OUTDATED: "mid",
    EventKind.DRIFTED: "mid",
    EventKind.THROTTLED: "mid",
    EventKind.LEAKED: "mid",
}
"""CSS class of the events that have a mark in the timeline; the list has them all."""

_MARK_HEIGHTS = {"good": (6, 14), "mid": (6, 14), "swap": (1, 19), "bad": (1, 19)}
"""Top and bottom of a mark in a lane 20 units high: the colour is not the only sign."""


def render_page(
    snapshot: HostSnapshot, events: str = "", actions: str = "", plots: str = ""
) -> str:
    """Return the whole document as HTML.

    Args:
        snapshot: What it shows.
        events: URL of the server-sent events that update the page; empty for a page
            that does not change.
        actions: URL below which photons can be reloaded and rolled back; empty for a
            page that is read-only. The buttons are shown to who has the token only.
        plots: URL of the numbers over time, as JSON; empty for a page without plots.

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    document = _template().document(
        snapshot,
        events,
        content_security_policy(),
        style=read_file("page.css"),
        script=read_file("page.js"),
        parts=render_parts(snapshot),
        acts=actions,
        plots=plots,
    )
    return encodable(document)


def render_parts(snapshot: HostSnapshot) -> dict[str, str]:
    """Return the HTML of the parts that change, by the id of their element.

    Args:
        snapshot: What they show.

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    macros = _template()
    parts = {
        "host-part": macros.host(snapshot),
        "summary-part": macros.summary(snapshot),
        "photons-part": macros.photons(_rows(snapshot), snapshot.disabled),
        "changes-part": macros.changes(snapshot.changes),
        "failures-part": macros.failures(snapshot.failures),
        "fleet-part": macros.fleet(snapshot.fleet),
        "hooks-part": macros.hooks(snapshot.hooks),
        "timeline-part": macros.timeline(_timeline(snapshot.events)),
    }
    return {key: encodable(html) for key, html in parts.items()}


@functools.cache
def content_security_policy(style: str = "") -> str:
    """Return the policy of a document: its style, its script, and nothing else.

    Args:
        style: By default that of the page.
    """
    import base64
    import hashlib

    def digest(text: str) -> str:
        sha = hashlib.sha256(text.encode()).digest()
        return f"'sha256-{base64.b64encode(sha).decode()}'"

    script = read_file("page.js")
    return (
        f"default-src 'none'; style-src {digest(style or read_file('page.css'))}; "
        f"script-src {digest(script)}; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


@contextlib.contextmanager
def requires_extra() -> Iterator[None]:
    """Name the extra to install where an import in the block fails.

    Raises:
        MissingExtraError: What is imported is not installed, or not wholly.
    """
    try:
        yield
    except ImportError as error:
        raise MissingExtraError(
            "the page needs the libraries of the extra 'web'",
            why=str(error),
            hint="install them: pip install 'luminal-photons[web]'",
        ) from error


@functools.cache
def read_file(name: str) -> str:
    """Return a text file of this package."""
    from importlib import resources

    return resources.files("luminal.web").joinpath(name).read_text(encoding="utf-8")


@functools.cache
def _template() -> Any:
    """Return the macros of ``page.html``."""
    return environment().get_template("page.html").module


def environment() -> Any:
    """Return what makes templates: it escapes values, and has our filters.

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    with requires_extra():
        import jinja2
    made = jinja2.Environment(
        autoescape=True,
        loader=jinja2.FunctionLoader(read_file),
        lstrip_blocks=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    made.filters["utc"] = lambda at: datetime.fromtimestamp(at, UTC)
    made.filters["short_path"] = _short_path
    made.filters["quoted"] = _quoted
    made.globals["lines_of"] = _lines_of
    made.globals["editor"] = _editor
    made.globals["event_styles"] = EVENT_STYLES
    return made


_MOST_LOGGED = 20
"""Number of the latest events and records that are shown for a photon."""


def _rows(snapshot: HostSnapshot) -> list[dict[str, Any]]:
    """Return what is shown of each photon, those that fail first."""
    logs: dict[str, list[dict[str, Any]]] = {}
    for event in snapshot.events or ():
        problem = event.problem
        text = f"generation {event.generation}" if event.generation else ""
        if problem is not None:
            text = f"{problem.what} [{problem.code}] {problem.why}".strip()
        style = EVENT_STYLES.get(event.kind, "minor")
        entry = {"at": event.at, "what": event.kind, "text": text, "style": style}
        logs.setdefault(event.photon, []).append(entry)
    for record in snapshot.records:
        is_bad = record["level"] in ("error", "critical")
        entry = {
            "at": record["at"],
            "what": record["level"],
            "text": record["text"],
            "style": "bad" if is_bad else "minor",
        }
        logs.setdefault(record["photon"], []).append(entry)
    rows = []
    seen: dict[str, int] = {}
    for photon in sorted(snapshot.photons, key=lambda photon: not photon.is_failing):
        anchor = f"photon-{_quoted(photon.name)}"
        count = seen[anchor] = seen.get(anchor, 0) + 1
        settings = [f"{key} = {value}" for key, value in photon.settings.items()]
        facts = {
            "source": f"{photon.source} {photon.origin}".strip(),
            "requires": ", ".join(photon.requirements),
            "settings": ", ".join(settings),
            "lock": ": ".join(filter(None, (photon.trust, photon.trust_why))),
            "time in hooks": f"{photon.seconds * 1000:.1f} ms",
            "start-up" if photon.generation < 2 else "swap": _phases(photon.phases),
        }
        log = sorted(logs.get(photon.name, ()), key=lambda entry: -entry["at"])
        words = (photon.name, photon.version, photon.description, photon.origin)
        rows.append(
            {
                "photon": photon,
                "anchor": anchor if count == 1 else f"{anchor}-{count}",
                "facts": [pair for pair in facts.items() if pair[1]],
                "log": log[:_MOST_LOGGED],
                "text": " ".join((*words, photon.file)).casefold(),
            }
        )
    return rows


def _quoted(name: str) -> str:
    """Return *name* as a part of an id; it may have bytes that are no text."""
    from urllib.parse import quote

    return quote(name.encode(errors="surrogatepass"), safe="")


def _phases(phases: Mapping[str, float]) -> str:
    """Return the time of a load or swap, and of each phase of it."""
    if not phases:
        return ""
    each = ", ".join(f"{name} {s * 1000:.1f}" for name, s in phases.items())
    return f"{sum(phases.values()) * 1000:.1f} ms: {each}"


_EDITOR = "vscode://file{path}:{line}"
"""What opens a line in an editor, where ``$LUMINAL_EDITOR`` says nothing else."""


def _editor(path: str, line: int) -> str:
    """Return a URL that opens *path* in the editor of ``$LUMINAL_EDITOR``."""
    import os
    import re
    from urllib.parse import quote

    template = os.environ.get("LUMINAL_EDITOR", "")
    if not re.match(r"[a-z][a-z0-9+.-]+://", template):
        template = _EDITOR
    place = path.replace("\\", "/")
    place = place if place.startswith("/") else f"/{place}"
    quoted = quote(place.encode(errors="surrogateescape"), safe="/:")
    return template.replace("{path}", quoted).replace("{line}", str(line or 1))


def _lines_of(problem: Problem) -> list[tuple[int, str]]:
    """Return the lines around a problem; none of settings, which may be secrets."""
    return [] if problem.code == PhotonSettingsError.code else lines_of(problem)


def encodable(html: str) -> str:
    """Escape control characters, and bytes of a file's name that are no text."""
    return escaped(html)


def _short_path(path: str) -> str:
    """Return the last two parts of *path*."""
    parts = path.replace("\\", "/").split("/")
    return path if len(parts) < 4 else "…/" + "/".join(parts[-2:])


def _timeline(events: Sequence[Event] | None) -> dict[str, Any] | None:
    """Return what the timeline shows: the list of events, and lanes of marks.

    The lanes are those of the photons whose marks are the latest. The list says all
    that they say, and more.
    """
    if events is None:
        return None
    # Events of background work come late; each has the time at which it happened.
    events = sorted(events, key=lambda event: event.at)
    first, last = (events[0].at, events[-1].at) if events else (0.0, 0.0)
    lanes: dict[str, list[dict[str, Any]]] = {}
    legend: dict[str, dict[str, None]] = {}
    for event in events:
        style = EVENT_STYLES.get(event.kind)
        if style is None:
            continue
        top, bottom = _MARK_HEIGHTS[style]
        x = 10 + 980 * (event.at - first) / ((last - first) or 1.0)
        mark = {"style": style, "x": x, "top": top, "bottom": bottom, "event": event}
        # Inserted again at the end: the order is that of the latest mark.
        lane = lanes[event.photon] = lanes.pop(event.photon, [])
        lane.append(mark)
        legend.setdefault(style, {})[event.kind] = None
    return {
        "events": events[: -_MOST_EVENTS - 1 : -1],
        "omitted_events": max(len(events) - _MOST_EVENTS, 0),
        "lanes": sorted(list(lanes.items())[-_MOST_LANES:]),
        "count_of_lanes": len(lanes),
        "legend": legend,
        "first": first,
        "last": last,
    }
