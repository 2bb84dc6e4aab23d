"""The page in a real browser: wide and narrow, light and dark, live, by keyboard."""

from __future__ import annotations

import http.server
import json
import os
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from luminal.hooks import HookStatistics
from luminal.managers import Loader
from luminal.model import Event, EventKind, Problem
from luminal.testing import Host
from luminal.web import (
    Failure,
    HostSnapshot,
    PhotonSnapshot,
    render_page,
    serve,
    snapshot_of,
)
from tests.waiting import DEADLINE
from tests.web.chrome import CHROMIUM, DRIVER, WHY_NOT, Chrome, chrome

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason=WHY_NOT),
]


STATE = "document.getElementById('live').textContent"
LIVE = f"return {STATE} === 'live'"


@contextmanager
def _not_found(port: int) -> Iterator[threading.Event]:
    """Answer 404 on *port*; the event is set at the first request."""
    asked = threading.Event()

    class NotFound(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)
            asked.set()

        def log_message(self, *args: object) -> None: ...

    with http.server.HTTPServer(("127.0.0.1", port), NotFound) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield asked
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with chrome(tmp_path_factory.mktemp("browser")) as window:
        yield window


@pytest.fixture
def browser(window: Chrome) -> Chrome:
    """A window that has left the page before, and forgotten what it complained of."""
    window.open("about:blank")
    window.complaints()
    return window


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_fits_and_can_be_read(
    browser: Chrome, url: str, width: int, scheme: str, tmp_path: Path
) -> None:
    """Nothing is wider than the window, each text has contrast enough (WCAG AA), the
    colors are those that were asked for, and the console has nothing to say."""
    browser.look(width, scheme)
    browser.open(url)
    browser.until(LIVE)
    assert browser.run("return document.documentElement.scrollWidth") <= width
    assert browser.run(FAINT) == []
    is_dark = browser.run(
        "return getComputedStyle(document.body).backgroundColor === 'rgb(15, 19, 24)'"
    )
    assert is_dark is (scheme == "dark")
    assert browser.complaints() == []
    place = Path(os.environ.get("LUMINAL_SCREENSHOTS", tmp_path))
    browser.shoot(place / f"page-{width}-{scheme}.png")


def test_a_reload_appears_by_itself(browser: Chrome, url: str, host: Host) -> None:
    """A swap is shown without a reload of the page, and focus stays where it was."""
    browser.look(1280, "light")
    browser.open(url)
    browser.until(LIVE)
    browser.run("window.same = 1; document.querySelector('[name=q]').focus()")
    host.reload("geo")
    browser.until(
        "return document.getElementById('journal').innerText.includes('swapped')"
    )
    assert browser.run("return window.same") == 1
    assert browser.run("return document.activeElement.name") == "q"


def test_keys_reach_everything(browser: Chrome, url: str) -> None:
    """Tab goes to the skip link, the sections, each place, and photons' details."""
    browser.look(1280, "light")
    browser.open(url)
    seen: list[str] = []
    for _ in range(30):
        browser.press("\ue004")
        seen.append(
            browser.run(
                "const e = document.activeElement;"
                "return e.getAttribute('href') || e.name || e.tagName"
            )
        )
    sections = ["failures", "load", "photons", "changes", "hooks", "timeline"]
    assert seen[:7] == ["#photons", *(f"#{name}" for name in sections)]
    assert seen.count("SUMMARY") >= 5  # two failures, three photons
    assert {"q", "state", "sort", "#photon-broken"} <= {*seen}
    assert any(each.startswith("vscode://file/") for each in seen)


def test_an_update_keeps_the_selection(
    browser: Chrome, url: str, loader: Loader
) -> None:
    """An update changes only what differs: a selection in another line is kept."""
    browser.look(1280, "light")
    browser.open(url)
    browser.until(LIVE)
    browser.run(
        "const row = document.querySelector('#hooks-part tbody th');"
        "getSelection().selectAllChildren(row); window.row = row"
    )
    loader.hook.locate(place="here")
    browser.until(
        "return document.querySelector('#hooks-part [data-of=calls]')"
        ".textContent === '1'"
    )
    assert browser.run("return getSelection().toString()") == "locate"
    assert browser.run("return window.row.isConnected")


async def test_it_connects_again_to_a_restarted_host(
    browser: Chrome, loader: Loader
) -> None:
    """Without a server the page says so. It shows the next host on that port, also
    after answers that are no event stream."""
    browser.look(1280, "light")
    with serve(loader, port=0) as served:
        browser.open(served.url)
        browser.until(LIVE)
        port = int(served.url.rstrip("/").rpartition(":")[2])
    browser.until(f"return {STATE}.startsWith('connection lost')")
    with _not_found(port) as asked:
        assert asked.wait(DEADLINE)
        browser.until(f"return {STATE}.startsWith('connection lost')")
    browser.run("document.querySelector('h1').textContent = 'another host'")
    other = Loader()
    with serve(other, port=port):
        browser.until(LIVE)
        browser.until("return document.body.innerText.includes('No photon is loaded')")
        assert browser.run("return document.title") == f"Luminal host {os.getpid()}"
    await other.close()


def test_many_pages_of_one_host_do_not_starve_each_other(
    browser: Chrome, url: str
) -> None:
    """A browser has six connections to one server; a page that is hidden holds none."""
    with ExitStack() as tabs:
        for _ in range(8):
            tabs.enter_context(browser.tab())
            browser.open(url)
            browser.until(LIVE)


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("count", [0, 1000])
def test_none_and_a_thousand_fit(
    browser: Chrome, tmp_path: Path, width: int, count: int
) -> None:
    """An empty host says so; of a big one nothing is wider than the window, and nothing
    but the page scrolls."""
    name = "a-photon-with-a-name-that-never-ends-" * 3
    photons = tuple(
        PhotonSnapshot(f"{name}{at}", "running", 1, 1.0, f"/photons/{name}{at}.py")
        for at in range(count)
    )
    events = tuple(
        Event(kind, photon.name, 1, at=float(at))
        for at, photon in enumerate(photons)
        for kind in EventKind
    )
    snapshot = HostSnapshot(1, name * 4, 1.0, photons, (), events, hooks=())
    file = tmp_path / "report.html"
    file.write_text(render_page(snapshot), encoding="utf-8")
    browser.look(width, "light")
    browser.open(file.as_uri())
    assert browser.run("return document.documentElement.scrollWidth") <= width
    assert browser.run(SCROLLING) == []
    assert browser.run(FAINT) == []


@pytest.mark.parametrize("width", [1280, 390])
def test_sixty_photons_are_rows_that_open(
    browser: Chrome, tmp_path: Path, width: int
) -> None:
    """Each that runs is one line, also on a phone; those that fail are open."""
    problem = Problem("LUM110", "start", "could not be started", "/p/p0.py", 3)
    photons = tuple(
        PhotonSnapshot(
            *(f"p{at}", "failed" if at < 2 else "running", 1, 1.0, f"/p/p{at}.py"),
            problem=problem if at < 2 else None,
            description=f"about {at}",
        )
        for at in range(60)
    )
    hooks = tuple(
        HookStatistics(photon.name, hook, 1, 7, 0, 0.1, 0, 0)
        for photon in photons
        for hook in ("locate", "report")
    )
    events = tuple(
        Event(EventKind.STARTED, photon.name, 1, at=float(at))
        for at, photon in enumerate(photons * 2)
    )
    failures = tuple(
        Failure(f"p{at}", problem, 1.0, is_current=at < 2) for at in range(9)
    )
    snapshot = HostSnapshot(1, "app", 1.0, photons, failures, events, hooks=hooks)
    file = tmp_path / "report.html"
    file.write_text(render_page(snapshot), encoding="utf-8")
    browser.look(width, "light")
    browser.open(f"{file.as_uri()}#photon-p30")
    opened = (
        "return [...document.querySelectorAll('#photons-part details[open]')]"
        ".map((each) => each.textContent)"
    )
    assert browser.run(opened) == ["p0", "p1", "p30"]
    low = (
        "return [...document.querySelectorAll('#photons-part tbody')]"
        ".filter((each) => each.offsetHeight < 45).length"
    )
    assert browser.run(low) == 57
    more = "return document.querySelector('#photon-p31 .more').checkVisibility()"
    assert not browser.run(more)
    browser.run("document.querySelector('#photon-p31 summary').click()")
    assert browser.run(more)
    assert browser.run("return document.documentElement.scrollHeight") < 8 * 900
    assert browser.run(SCROLLING) == []
    assert browser.run("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [1280, 390])
def test_an_endless_word_of_a_failure_is_broken(
    browser: Chrome, tmp_path: Path, width: int
) -> None:
    """An exception's text may be a digest, a path or a page without a blank."""
    word = "E" * 2000
    problem = Problem(word, word, word, word, 3, why=word, hint=word, consequence=word)
    failures = (Failure("geo", problem, 1.0, is_current=True),)
    snapshot = HostSnapshot(1, word, 1.0, (), failures, events=(), hooks=())
    file = tmp_path / "report.html"
    file.write_text(render_page(snapshot), encoding="utf-8")
    browser.look(width, "light")
    browser.open(file.as_uri())
    assert browser.run("return document.documentElement.scrollWidth") <= width


def test_it_has_the_same_content_without_script(browser: Chrome, url: str) -> None:
    """With scripts off, photons, failures and the journal are all there."""
    browser.devtools("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(url)
        source: str = browser.devtools(
            "DOM.getOuterHTML",
            nodeId=browser.devtools("DOM.getDocument")["root"]["nodeId"],
        )["outerHTML"]
    finally:
        browser.devtools("Emulation.setScriptExecutionDisabled", value=False)
    assert "reload the page to update it" in source
    assert "reason: could not be started [LUM110]" in source
    assert " UTC</time>" in source


def test_the_report_is_a_page_of_its_own(
    browser: Chrome, loader: Loader, tmp_path: Path
) -> None:
    """As a file it has its style and script, and loads nothing."""
    file = tmp_path / "report.html"
    file.write_text(render_page(snapshot_of(loader)), encoding="utf-8")
    browser.look(390, "dark")
    browser.open(file.as_uri())
    browser.until("return document.querySelector('time').title !== ''")
    assert browser.run("return getComputedStyle(document.body).margin") == "0px"
    assert browser.run("return performance.getEntriesByType('resource').length") == 0
    assert browser.complaints() == []


SCROLLING = """
return [...document.querySelectorAll("body *")].filter((each) =>
  ["auto", "scroll"].includes(getComputedStyle(each).overflowY) ||
  ["auto", "scroll"].includes(getComputedStyle(each).overflowX)
).map((each) => each.tagName);
"""
FAINT = """
const parse = (c) => (c.match(/[\\d.]+/g) || []).map(Number);
const light = (c) => c.slice(0, 3).map((v) => v / 255)
  .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const behind = (e) => {
  for (let at = e; at; at = at.parentElement) {
    const c = parse(getComputedStyle(at).backgroundColor);
    if (c.length === 3 || c[3] === 1) return c;
  }
  return [255, 255, 255];
};
const faint = [];
for (const e of document.querySelectorAll("body *")) {
  const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
  if (!own || e.closest("svg, script")) continue;
  const pair = [light(parse(getComputedStyle(e).color)), light(behind(e))];
  const ratio = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
  if (ratio < 4.5) faint.push(e.tagName + " " + e.textContent + " " + ratio);
}
return faint;
"""


def test_plots_follow_the_calls_and_say_what_the_json_says(
    browser: Chrome, url: str, host: Host
) -> None:
    """Each line has a text for those who do not see it, and the page its totals."""
    browser.open(url)
    browser.until("return document.getElementById('totals')")
    for _ in range(20):
        host.hook.locate(place="here")
    browser.until(
        "return document.querySelectorAll('#plots svg').length === 3 && "
        "document.getElementById('totals').textContent.startsWith('20 calls, 0 err')"
    )
    with urllib.request.urlopen(url + "plots.json") as answer:
        point = json.load(answer)["points"][-1]
    assert (point["calls"], point["errors"]) == (20, 0)
    labels = browser.run(
        "return [...document.querySelectorAll('#plots svg')]"
        ".map((svg) => svg.getAttribute('aria-label'))"
    )
    names = [label.partition(":")[0] for label in labels]
    assert names == ["Calls a second", "Errors a second", "Call time"]
    assert browser.complaints() == []
