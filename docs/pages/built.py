"""Checks of the built pages, beside the warnings of Sphinx itself.

They cover the links of the theme, of raw HTML and of drawings, and the anchors of what
the code declares.
"""

from __future__ import annotations

import importlib
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from urllib.parse import unquote, urldefrag, urlsplit

from luminal.cli._options import KEYS
from luminal.cli._output import Exit
from luminal.errors import ERROR_CODES
from luminal.interfaces import LifecycleSpecs
from luminal.model import EventKind, State, Step

from .api import described_as, modules
from .command_line import commands, options_of
from .events import anchor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["broken_links", "missing_anchors", "problems_of"]


class _Page(HTMLParser):
    """The anchors and the links of one page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, _: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.anchors.update(found[key] or "" for key in ("id", "name") if key in found)
        self.links += [link for key in ("href", "src") if (link := found.get(key))]


def problems_of(built: Path) -> list[str]:
    """Return what is wrong with all pages of Luminal's documentation below *built*."""
    site = _read(built)
    return [*_broken(site), *_missing(site)]


def broken_links(built: Path) -> list[str]:
    """Return each relative link below *built* without its file or its anchor."""
    return [*_broken(_read(built))]


def missing_anchors(built: Path) -> list[str]:
    """Return each name of the code that no page below *built* has an anchor for."""
    return [*_missing(_read(built))]


def _read(built: Path) -> dict[Path, _Page]:
    return {path: _Page(path) for path in built.resolve().rglob("*.html")}


def _broken(site: dict[Path, _Page]) -> Iterator[str]:
    for path, page in site.items():
        for link in page.links:
            address, fragment = urldefrag(link)
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve()
            target = target if parts.path else path
            if target.is_dir():
                target /= "index.html"
            anchors = site[target].anchors if target in site else {unquote(fragment)}
            if not target.exists() or (fragment and unquote(fragment) not in anchors):
                yield f"{path.name}: the link {link} leads nowhere"


def _missing(site: dict[Path, _Page]) -> Iterator[str]:
    anchors = {f"{p.parent.name}/{p.name}": page.anchors for p, page in site.items()}
    for name, wanted in _wanted().items():
        for each in wanted:
            if not {*each.split()} & anchors.get(name, set()):
                yield f"{name}: no anchor {each}"
    yield from _missing_names(site)


def _wanted() -> dict[str, list[str]]:
    """Return page → anchors; one is enough of those that stand in one string."""
    ours = [c for c, e in ERROR_CODES.items() if e.__module__ == "luminal.errors"]
    specified = [name for name in vars(LifecycleSpecs) if not name.startswith("_")]
    hooks = [f"luminal.interfaces.LifecycleSpecs.{name}" for name in specified]
    options = [
        f"cmdoption-luminal-{name}-{option} cmdoption-luminal-{option}"
        for name, command in commands().items()
        for option in (each.opts[-1].lstrip("-") for each in options_of(command))
    ]
    return {
        "generated/settings.html": [
            *(f"confval-{key}" for key in KEYS),
            *("envvar-LUMINAL_PATHS", "photon-exclusive"),
        ],
        "generated/states.html": [
            *(f"state-{state}" for state in State),
            *(f"step-{step}" for step in Step),
            *(f"drawn-{state}" for state in State),
        ],
        "generated/events.html": [anchor(kind) for kind in EventKind],
        "generated/errors.html": [f"luminal-error-{code}" for code in ours],
        "generated/hooks.html": hooks,
        "generated/commands.html": [
            *(f"command-{name}" for name in commands()),
            *options,
        ],
        "reference/cli.html": [f"exit-{code.value}" for code in Exit],
    }


def _missing_names(site: dict[Path, _Page]) -> Iterator[str]:
    """Yield each public name that is not described, under its own name or another."""
    anchors = {each for page in site.values() for each in page.anchors}
    homes = described_as()
    for package in modules():
        for name in importlib.import_module(package).__all__:
            if homes[f"{package}.{name}"] not in anchors:
                yield f"{package}.{name} is not described"
