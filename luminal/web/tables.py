"""Photons and hooks as tables, which are cards where there is no room for columns."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from luminal.hooks import HookStatistics
    from luminal.web.picture import Photon

__all__ = ["hooks_table", "photons_table", "time_of"]

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
_LONG = 60
"""Rows from which on a table scrolls in a box of its own."""


def time_of(at: float) -> str:
    """Return a time as HTML, in UTC; the script shows the reader's own."""
    if not at:
        return '<span class="soft nowrap">unknown</span>'
    moment = datetime.fromtimestamp(at, UTC)
    stamp = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    return f'<time datetime="{stamp}">{moment:%Y-%m-%d %H:%M:%S} UTC</time>'


def photons_table(photons: tuple[Photon, ...]) -> str:
    """Return the HTML of who runs, and who does not."""
    if not photons:
        return "<p>No photon is loaded.</p>"
    rows = "".join(map(_photon, photons))
    return _box(
        "photons",
        len(photons),
        '<table class="cards"><caption>In the order of loading; numbers count since '
        "the latest swap.</caption><thead><tr>"
        '<th scope="col">Name</th><th scope="col">State</th>'
        '<th scope="col" class="n">Generation</th><th scope="col">Since</th>'
        '<th scope="col" class="n">Calls</th><th scope="col" class="n">Errors</th>'
        f'<th scope="col">File</th></tr></thead><tbody>{rows}</tbody></table>',
    )


def _photon(photon: Photon) -> str:
    color = _COLORS.get(photon.state, "mid")
    file = f"<code>{escape(_short(photon.file))}</code>"
    why = ""
    if photon.problem is not None:
        lead = "why not: "
        if photon.state == "running":
            is_pips = photon.problem.phase == "upgrade"
            lead = "upgrade: " if is_pips else "reload refused: "
        text = escape(f"{photon.problem.what} [{photon.problem.code}]")
        why = f'<p class="{"soft" if photon.state == "skipped" else "bad"}">'
        why += f"{lead}{text}</p>"
    number = photon.generation or "none"
    return (
        f'<tr><th scope="row">{escape(photon.name)}</th>'
        f'<td class="tag {color}">{escape(photon.state)}</td>'
        f"{_number('generation', number)}"
        f'<td data-of="since">{time_of(photon.since)}</td>'
        f"{_number('calls', photon.calls)}{_number('errors', photon.errors, 'bad')}"
        f'<td class="all" title="{escape(photon.file)}">{file}{why}</td></tr>'
    )


def _number(of: str, value: int | str, color: str = "") -> str:
    """Return a cell of a number; a card, which has no columns, leaves out a nought."""
    style = f"n {color}" if value else "n nil"
    return f'<td class="{style.rstrip()}" data-of="{of}">{value}</td>'


def _short(path: str) -> str:
    """Return the last parts of *path*; the whole is in the cell's title."""
    words = path.replace("\\", "/").split("/")
    return path if len(words) < 4 else "…/" + "/".join(words[-2:])


def _box(what: str, rows: int, table: str) -> str:
    """Return *table*, in a box that keys can scroll where it has many rows."""
    if rows < _LONG:
        return table
    return (
        f'<div class="tall" id="{what}-box" tabindex="0" role="region" '
        f'aria-label="Table of {what}">{table}</div>'
    )


def hooks_table(hooks: tuple[HookStatistics, ...] | None) -> str:
    """Return the HTML of what each photon did in each hook; None: not known."""
    if hooks is None:
        return "<p>The host did not tell them hook by hook.</p>"
    if not hooks:
        return "<p>No photon implements a hook.</p>"
    rows = "".join(
        f'<tr><th scope="row" class="all">{escape(row.hook)}</th>'
        f'<td class="all">{escape(row.photon)}</td>'
        f"{_number('generation', row.generation)}{_number('calls', row.calls)}"
        f"{_number('errors', row.errors, 'bad')}"
        f"{_number('time', f'{row.seconds * 1000:.1f} ms')}"
        f"{_number('in flight', row.in_flight)}"
        f"{_number('passed over', row.skipped, 'mid')}</tr>"
        for row in sorted(hooks, key=lambda r: (r.hook, r.photon))
    )
    heads = "".join(
        f'<th scope="col"{"" if at < 2 else _RIGHT}>{head}</th>'
        for at, head in enumerate(_HOOK_HEADS)
    )
    return _box(
        "hooks",
        len(hooks),
        '<table class="cards"><caption>Since each photon took its seat; time is an '
        f"estimate.</caption><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>",
    )
