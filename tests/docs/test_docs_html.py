"""The pages as they are built: no warning, no link that leads nowhere, all anchors."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urlsplit

import pytest

from luminal.cli._options import KEYS
from luminal.cli._output import Exit
from luminal.errors import ERROR_CODES
from luminal.interfaces import LifecycleSpecs
from luminal.model import EventKind, State, Step
from tests.web.chrome import CHROMIUM, DRIVER, WHY_NOT, chrome

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"

SPHINX_OWN = {"genindex.html", "py-modindex.html", "search.html"}
"""Pages that no document of ours is behind."""

pytestmark = pytest.mark.slow


class Page(HTMLParser):
    """What one page offers to link to, and where it leads."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.anchors.update(found[key] or "" for key in ("id", "name") if key in found)
        for key in ("href", "src"):
            if found.get(key):
                self.links.append(str(found[key]))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Page]:
    """Build the pages, every warning being an error, and read them.

    The sources are copied, since a build writes the generated pages beside them.
    """
    pytest.importorskip("sphinx")
    pytest.importorskip("furo")
    pytest.importorskip("myst_parser")
    place = tmp_path_factory.mktemp("site")
    root = place / "root"
    root.mkdir()
    for path in ROOT.iterdir():
        if path.name not in (".git", ".dev", "docs"):
            (root / path.name).symlink_to(path)
    for path in DOCS.rglob("*"):
        inner = path.relative_to(ROOT)
        if path.is_file() and not {"_build", "generated", "__pycache__"} & {
            *inner.parts
        }:
            target = root / inner
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    command = [sys.executable, "-m", "sphinx", "-q", "-E", "-n", "-W", "--keep-going"]
    built = place / "html"
    done = subprocess.run(
        [*command, str(root / "docs"), str(built)],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return {path: Page(path) for path in built.rglob("*.html")}


def page(site: dict[Path, Page], name: str) -> Page:
    return next(each for path, each in site.items() if path.match(name))


def test_no_link_leads_nowhere(site: dict[Path, Page]) -> None:
    """Each relative link finds its file, and each fragment its anchor."""
    broken = []
    for path, each in site.items():
        for link in each.links:
            address, fragment = urldefrag(link)
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve()
            target = path if not parts.path else target
            if target.is_dir():
                target /= "index.html"
            if not target.exists():
                broken.append(f"{path.name}: {link}")
                continue
            anchors = site[target].anchors if target in site else {unquote(fragment)}
            if fragment and unquote(fragment) not in anchors:
                broken.append(f"{path.name}: {link}")
    assert broken == []


def test_no_page_is_an_orphan(site: dict[Path, Page]) -> None:
    """From the first page, every other one is reached by links."""
    start = min((p for p in site if p.name == "index.html"), key=lambda p: len(p.parts))
    seen, todo = {start}, [start]
    while todo:
        here = todo.pop()
        for link in site[here].links:
            path = (here.parent / unquote(urlsplit(link).path)).resolve()
            if path in site and path not in seen:
                seen.add(path)
                todo.append(path)
    assert {path.name for path in set(site) - seen} - SPHINX_OWN == set()


@pytest.mark.parametrize(
    ("name", "anchors"),
    [
        ("generated/settings.html", [f"confval-{key}" for key in KEYS]),
        ("generated/settings.html", ["envvar-LUMINAL_PATHS", "photon-exclusive"]),
        ("generated/states.html", [f"state-{state}" for state in State]),
        ("generated/states.html", [f"step-{step}" for step in Step]),
        ("generated/states.html", [f"drawn-{state}" for state in State]),
        ("reference/cli.html", [f"exit-{code.value}" for code in Exit]),
        ("explanation/architecture.html", ["room-errors", "room-testing"]),
        (
            "generated/events.html",
            [f"event-{each.replace(' ', '-')}" for each in EventKind],
        ),
        (
            "generated/hooks.html",
            [
                f"luminal.interfaces.LifecycleSpecs.{name}"
                for name in vars(LifecycleSpecs)
                if not name.startswith("_")
            ],
        ),
    ],
)
def test_every_word_has_its_anchor(
    site: dict[Path, Page], name: str, anchors: list[str]
) -> None:
    assert [a for a in anchors if a not in page(site, name).anchors] == []


def test_every_error_code_has_its_anchor(site: dict[Path, Page]) -> None:
    anchors = page(site, "generated/errors.html").anchors
    ours = [c for c, e in ERROR_CODES.items() if e.__module__ == "luminal.errors"]
    assert [c for c in ours if f"luminal-error-{c}" not in anchors] == []


def test_every_option_has_its_anchor(site: dict[Path, Page]) -> None:
    """That of its command, or where several commands share it, that of all."""
    import click

    from luminal.cli._main import COMMANDS, root

    anchors = page(site, "generated/commands.html").anchors
    missing = []
    for name in COMMANDS:
        assert f"command-{name}" in anchors
        command = root.get_command(click.Context(root), name)
        for option in options_of(command):
            names = (f"luminal-{name}-{option}", f"luminal-{option}")
            if not any(f"cmdoption-{each}" in anchors for each in names):
                missing.append(f"{name} --{option}")
    assert missing == []


def options_of(command: Any) -> list[str]:
    return [
        each.opts[-1].lstrip("-")
        for each in command.params
        if each.param_type_name == "option"
    ]


def test_every_public_name_has_its_anchor(site: dict[Path, Page]) -> None:
    """Every name in a room's ``__all__`` is described, or said to be described."""
    import luminal

    anchors = {anchor for each in site.values() for anchor in each.anchors}
    missing = []
    rooms = [path.stem for path in site if path.parent.name == "api"]
    assert len(rooms) >= 17
    for room in rooms:
        module = importlib.import_module(room)
        for name in module.__all__:
            value = getattr(module, name)
            home = str(getattr(value, "__module__", None) or room).split(".")
            own = ".".join([*home[:2], getattr(value, "__name__", name)])
            if f"{room}.{name}" not in anchors and own not in anchors:
                missing.append(f"{room}.{name}")
    assert missing == []
    assert "luminal.managers.Loader.reload_photon" in anchors
    assert "luminal.managers.Loader.photons" in anchors
    assert luminal.__all__


WIDER = """
const room = document.documentElement.clientWidth;
if (document.documentElement.scrollWidth > room) return "the page";
for (const each of document.querySelectorAll("article *")) {
  const framed = each.closest(".drawing, .table-wrapper, pre");
  if (!framed && each.getBoundingClientRect().right > room + 1) return each.outerHTML;
}
return "";
"""


@pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason=WHY_NOT)
@pytest.mark.parametrize("width", [1280, 390])
def test_no_page_is_wider_than_its_screen(
    site: dict[Path, Page], tmp_path: Path, width: int
) -> None:
    """Only tables, code and drawings may be, each in a frame that scrolls."""
    with chrome(tmp_path) as window:
        window.look(width, "light")
        too_wide = {}
        for path in sorted(path for path in site if path.name not in SPHINX_OWN):
            window.open(path.as_uri())
            if found := window.run(WIDER):
                too_wide[path.name] = found
        assert too_wide == {}
        assert window.complaints() == []
