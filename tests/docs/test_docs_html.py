"""The pages as a browser shows them; Sphinx itself checks links and anchors."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote_plus

import pytest

from tests.web.chrome import CHROMIUM, DRIVER, WHY_NOT, chrome

BUILT = Path(__file__).resolve().parents[2] / "docs" / "_build" / "html"
SPHINX_OWN = {"genindex.html", "py-modindex.html", "search.html"}
"""Pages that no document of ours is behind."""

WIDER = """
const room = document.documentElement.clientWidth;
if (document.documentElement.scrollWidth > room) return "the page";
for (const each of document.querySelectorAll("article *")) {
  const framed = each.closest(".drawing, .table-wrapper, pre");
  if (!framed && each.getBoundingClientRect().right > room + 1) return each.outerHTML;
}
return "";
"""


@pytest.mark.slow
@pytest.mark.skipif(not BUILT.exists(), reason="build the pages first: dev.py docs")
@pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason=WHY_NOT)
def test_no_page_is_wider_than_its_screen(tmp_path: Path) -> None:
    """Only tables, code and drawings may be, each in a frame that scrolls."""
    with chrome(tmp_path) as window:
        window.look(390, "light")  # what fits here fits a larger one
        too_wide = {}
        for path in sorted(BUILT.rglob("*.html")):
            if path.name not in SPHINX_OWN:
                window.open(path.as_uri())
                if found := window.run(WIDER):
                    too_wide[path.name] = found
        assert too_wide == {}
        assert window.complaints() == []


@pytest.mark.slow
@pytest.mark.skipif(not BUILT.exists(), reason="build the pages first: dev.py docs")
@pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason=WHY_NOT)
def test_search_finds_the_page_that_newcomers_look_for(tmp_path: Path) -> None:
    """The title of a result begins so; pages for what people have come first."""
    with chrome(tmp_path) as window:
        for words, title in {
            "migrate": "Migrate from pluggy",
            "hot reload": "Reload photons in a host",
            "Flask": "Add photons to a Flask application",
            "FastAPI": "Add photons to a FastAPI",
            "Django": "Add photons to a Django project",
            "debug": "Debug a photon",
        }.items():
            window.open(f"{(BUILT / 'search.html').as_uri()}?q={quote_plus(words)}")
            window.until(
                "return [...document.querySelectorAll('#search-results li a')]"
                f".some(link => link.innerText.startsWith({json.dumps(title)}))"
            )
