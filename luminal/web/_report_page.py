"""Render a `HostReport` as one HTML file, which refers to nothing outside itself."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

from luminal.web._page import (
    content_security_policy,
    encodable,
    environment,
    read_file,
    render_parts,
)
from luminal.web._report import FEWEST, compare

if TYPE_CHECKING:
    from luminal.web._report import HostReport
    from luminal.web._snapshot import HostSnapshot

__all__ = ["render_report", "span"]

_MOST: Final = 50
"""Rows that are shown of a table; the JSON has all."""

_SECTIONS: Final = (
    ("compared", "Compared"),
    ("failures", "Failures"),
    ("photons", "Photons"),
    ("load", "Load"),
    ("hooks", "Hooks by time"),
    ("slowest", "Hooks by p99"),
    ("errors", "Errors by place"),
    ("swaps", "Swaps"),
    ("leaks", "Leaks"),
    ("restart", "At a restart"),
    ("cpu", "CPU"),
    ("changes", "Changes"),
    ("timeline", "Timeline"),
)

_OF_THE_PAGE: Final = ("failures", "photons", "changes", "timeline")


def render_report(
    report: HostReport,
    page: HostSnapshot | None = None,
    against: HostReport | None = None,
) -> str:
    """Return the whole document as HTML.

    Args:
        report: What it shows.
        page: The host's state, for the sections that its page has as well; None leaves
            them out.
        against: An earlier report, to be compared with.

    Raises:
        MissingExtraError: jinja2 is not installed.
        ValueError: *against* is the same report.
    """
    left_out = {*(_OF_THE_PAGE if page is None else ())}
    if against is None:
        left_out.add("compared")
    if report.cpu is None:
        left_out.add("cpu")
    changes = compare(against, report) if against is not None else ()
    style = read_file("page.css") + read_file("report.css")
    parts = render_parts(page) if page is not None else {}
    shown = ("host", "summary", *_OF_THE_PAGE)
    document = _template().render(
        report=report,
        sections=[each for each in _SECTIONS if each[0] not in left_out],
        parts={f"{name}-part": parts[f"{name}-part"] for name in shown if parts},
        policy=content_security_policy(style),
        style=style,
        script=read_file("page.js") if page is not None else "",
        load=_plotted(report),
        most=_MOST,
        old=against,
        goes_on=against is not None and report.goes_on_from(against),
        changes=changes,
        fewest=FEWEST,
        **_cpu(report.cpu),
    )
    return encodable(document)


@functools.cache
def _template() -> Any:
    made = environment()
    made.filters["span"] = span
    made.filters["amount"] = _amount
    return made.get_template("report.html")


def span(seconds: float) -> str:
    """Return a time for people, with the unit that fits."""
    if seconds >= 600:
        return (
            f"{seconds / 3600:.1f} h" if seconds >= 7200 else f"{seconds / 60:.0f} min"
        )
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.{1 if seconds < 100 * size else 0}f} {unit}"
    return f"{seconds * 1e9:.0f} ns" if seconds else "0"


def _amount(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _plotted(report: HostReport) -> list[dict[str, Any]]:
    """Return each row of the load, with its place in a plot 1000 units wide."""
    from datetime import UTC, datetime

    first = report.load[0].at
    whole = max(report.load[-1].at + report.load[-1].seconds - first, 1e-9)
    rows = []
    for row in report.load:
        seconds = max(row.seconds, 1e-9)
        when = datetime.fromtimestamp(row.at, UTC)
        rows.append(
            {
                "calls": row.calls,
                "failed": row.errors,
                "busy": row.busy,
                "rate": row.calls / seconds if row.seconds else 0.0,
                "errors": row.errors / seconds if row.seconds else 0.0,
                "p95_ms": row.p95 * 1000,
                "x": 1000 * (row.at - first) / whole,
                # No narrower than can be seen.
                "width": max(1000 * row.seconds / whole - 0.5, 1.5),
                "text": f"{when:%Y-%m-%d %H:%M} UTC",
            }
        )
    return rows


def _cpu(cpu: dict[str, Any] | None) -> dict[str, Any]:
    if cpu is None:
        return {"shares": [], "whole": 1, "late": 0.0}
    shares = [*cpu["photons"].items(), ("the host", cpu["host"])]
    return {
        "shares": sorted(shares, key=lambda pair: -pair[1]),
        "whole": sum(samples for _, samples in shares) or 1,
        "late": cpu["late"] / max(cpu["ticks"], cpu["late"], 1),
    }
