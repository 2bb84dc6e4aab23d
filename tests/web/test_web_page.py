"""The page at its public interface: its content, and the requests that it refuses."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import subprocess
import sys
import threading
from html.parser import HTMLParser
from pathlib import Path
from textwrap import dedent
from typing import Any
from urllib.parse import urlsplit

import pytest

from luminal.errors import FleetError, MissingExtraError
from luminal.fleet.local import LocalFleet
from luminal.managers import Loader
from luminal.managers.status import status_of
from luminal.testing import Host
from luminal.web import (
    create_app,
    render_page,
    serve,
    snapshot_of,
    snapshot_of_status,
)
from tests.waiting import DEADLINE, async_wait_until
from tests.web.conftest import GEO, Specification


def ask(
    url: str, path: str = "/", method: str = "GET", **headers: str
) -> tuple[int, dict[str, str], str]:
    place = urlsplit(url)
    connection = http.client.HTTPConnection(
        str(place.hostname), place.port, timeout=DEADLINE
    )
    try:
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        connection.request(method, path, headers=named)
        answer = connection.getresponse()
        text = answer.read().decode()
        found = {key.lower(): value for key, value in answer.getheaders()}
        return answer.status, found, text
    finally:
        connection.close()


class Outline(HTMLParser):
    """Notes tags, and fails where one is closed that is not open."""

    VOID = {"meta", "link", "input"}

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_it_shows_states_and_reasons(loader: Loader, url: str) -> None:
    """Photons, states, reasons, source lines and hooks stand in the page itself."""
    loader.hook.locate(place="here")
    status, _, page = ask(url)
    assert status == 200
    assert re.search(
        r'geo</summary></details></th>\s*<td class="tag good">running', page
    )
    assert "reason: could not be started [LUM110]" in page
    assert "reason: is not valid Python [LUM104]" in page
    assert "<b>2 │ class Wrong(IPhoton:</b>" in page
    assert re.search(r'class="all">locate</th>\s*<td class="all">geo<', page)


def test_what_photons_say_is_text(url: str) -> None:
    """Nothing that an error or a file says becomes a tag."""
    page = ask(url)[2]
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_it_is_one_well_formed_document_that_needs_nothing(loader: Loader) -> None:
    """Each tag is closed, each id is there once, and nothing outside is referred to."""
    outline = Outline(render_page(snapshot_of(loader)))
    assert outline.open == []
    ids = [attrs["id"] for _, attrs in outline.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    for tag, attrs in outline.tags:
        assert "src" not in attrs
        assert "style" not in attrs
        target = attrs.get("href") or "#"
        is_editor = target.startswith("vscode://file/")
        assert target == "data:," or is_editor or target[1:] in {"", *ids}, tag


def test_a_running_hosts_answer_makes_a_page_too(loader: Loader) -> None:
    """A status that went through JSON makes a page; it says what the status lacks."""
    status = json.loads(json.dumps(status_of(loader)))
    page = render_page(snapshot_of_status(status))
    assert "reason: could not be started [LUM110]" in page
    assert "sent no journal" in page


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "localhost:8421"}, 200),
        ({"Host": "[::1]:8421"}, 200),
        ({"Host": "127.0.0.1"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example:8421"}, 403),
        ({"Host": "localhost:1@evil.example"}, 403),
        ({"Host": "192.168.1.4:8421"}, 403),
        ({"Host": ""}, 403),
        ({"Host": "localhost:1", "Origin": "http://localhost:1"}, 200),
        ({"Host": "localhost:1", "Origin": "http://localhost:2"}, 403),
        ({"Host": "localhost:1", "Origin": "null"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors"}, 403),
        ({"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"}, 200),
    ],
)
def test_only_loopback_and_its_own_origin_are_answered(
    url: str, headers: dict[str, str], status: int
) -> None:
    """Only loopback names are answered, and no page of another origin."""
    found, protecting, page = ask(url, **headers)
    assert found == status
    assert ("geo" in page) is (status == 200)
    assert "frame-ancestors 'none'" in protecting["content-security-policy"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_it_is_read_only(url: str, method: str) -> None:
    """No method that could change something is answered."""
    assert ask(url, method=method)[0] == 405


def asked(app: Any, path: str, client: str = "127.0.0.1") -> list[dict[str, Any]]:
    """Return what *app* sends to a *client* that asks for *path*."""
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"localhost:1")],
        "client": (client, 40000),
        "server": ("127.0.0.1", 1),
    }
    asyncio.run(app(scope, receive, send))
    return sent


@pytest.mark.parametrize(
    ("client", "status"),
    [
        ("203.0.113.9", 403),
        ("::ffff:203.0.113.9", 403),
        ("2001:db8::1", 403),
        ("127.0.0.1", 200),
        ("::ffff:127.0.0.1", 200),
        ("::1", 200),
    ],
)
def test_another_machine_is_refused(loader: Loader, client: str, status: int) -> None:
    """Mounted in a server that listens to the world, it still answers loopback only."""
    assert asked(create_app(loader), "/", client)[0]["status"] == status


def test_it_can_be_mounted(loader: Loader) -> None:
    """Below a path of a host's own application, the page finds its events."""
    from starlette.applications import Starlette
    from starlette.routing import Mount

    app = Starlette(routes=[Mount("/luminal", create_app(loader))])
    answer = asked(app, "/luminal/")
    assert b'data-events="/luminal/events"' in answer[1]["body"]


def test_a_swap_is_sent(host: Host, url: str) -> None:
    """The stream begins with all parts, and sends the changed ones after a swap."""
    place = urlsplit(url)
    connection = http.client.HTTPConnection(
        str(place.hostname), place.port, timeout=DEADLINE
    )
    connection.request("GET", "/events")
    answer = connection.getresponse()

    def parts() -> dict[str, str]:
        while True:
            line = answer.readline()
            assert line, "the stream ended"
            if line.startswith(b"data: "):
                found: dict[str, str] = json.loads(line[6:])
                return found

    assert "summary-part" in parts()
    host.reload("geo")
    while 'data-of="generation">2<' not in parts().get("photons-part", ""):
        pass
    connection.close()


def test_stop_lets_listeners_go(loader: Loader) -> None:
    """After the block nobody listens, no thread is left, and no subscriber."""
    with serve(loader, port=0) as served:
        place = urlsplit(served.url)
        address = (str(place.hostname), place.port)
        connection = http.client.HTTPConnection(*address, timeout=DEADLINE)
        connection.request("GET", "/events")
        answer = connection.getresponse()
        assert answer.readline() == b"event: parts\n"
    answer.read()
    connection.close()
    assert "luminal-web" not in {thread.name for thread in threading.enumerate()}
    with pytest.raises(ConnectionRefusedError):
        ask(served.url)


def test_only_loopback_can_be_served(loader: Loader) -> None:
    """An address that others reach is refused before anything listens."""
    with pytest.raises(ValueError, match="not a loopback address"):
        serve(loader, host="0.0.0.0", port=0)


def test_a_second_page_and_a_taken_port(loader: Loader) -> None:
    """Two pages of one host live side by side; a port that is taken is named."""
    with serve(loader, port=0) as one, serve(loader, port=0) as two:
        assert one.url != two.url
        assert ask(one.url)[0] == ask(two.url)[0] == 200
        port = int(one.url.rstrip("/").rpartition(":")[2])
        with pytest.raises(OSError, match=f"port {port} of 127.0.0.1; port 0 takes"):
            serve(loader, port=port)
        assert ask(one.url)[0] == 200


@pytest.mark.parametrize("absent", ["jinja2", "starlette", "uvicorn"])
def test_what_is_missing_is_named_with_its_extra(
    loader: Loader, monkeypatch: pytest.MonkeyPatch, absent: str
) -> None:
    """Without the extra there is one error with the line to type, and no thread."""
    for name in [n for n in sys.modules if n.partition(".")[0] == absent]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, absent, None)
    with pytest.raises(MissingExtraError) as caught:
        serve(loader, port=0)
    assert absent in str(caught.value).lower()
    assert "pip install 'luminal-photons[web]'" in str(caught.value)
    assert "luminal-web" not in {thread.name for thread in threading.enumerate()}


def test_the_libraries_of_the_extra_are_imported_when_they_are_needed() -> None:
    """The package imports none of them; a page without jinja2 names the extra."""
    code = """
import sys
import luminal.errors
import luminal.web
assert not {"jinja2", "starlette", "uvicorn"} & set(sys.modules)
sys.modules["jinja2"] = None
try:
    luminal.web.render_page(luminal.web.HostSnapshot(1, "host", 1.0, (), ()))
except luminal.errors.MissingExtraError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True
    )
    assert "pip install 'luminal-photons[web]'" in done.stdout


async def test_it_shows_the_fleet_of_a_member(tmp_path: Path) -> None:
    """Members, what they run, and how they have voted on the latest swap."""
    photons = tmp_path / "photons"
    photons.mkdir()
    (photons / "geo.py").write_text(dedent(GEO))
    async with Loader(hookspecs=[Specification]) as loader:
        assert 'id="fleet"' not in render_page(snapshot_of(loader))
        fleet = LocalFleet(
            loader, "shop", photons, journal=tmp_path / "journal", member="<one>"
        )
        await fleet.join(DEADLINE)
        (photons / "geo.py").write_text("class Broken(\n")
        with pytest.raises(FleetError):
            await fleet.swap(photons)
        (photons / "geo.py").write_text("raise ValueError('no')\n" + dedent(GEO))
        assert not (await fleet.swap(photons)).is_committed
        await async_wait_until(
            lambda: (
                not any(m["is_behind"] for m in status_of(loader)["fleet"]["members"])
            )
        )
        page = render_page(snapshot_of(loader))
        await fleet.close()
    section = page[page.index('<section id="fleet"') : page.index('id="changes"')]
    text = " ".join(re.sub("<[^>]+>", " ", section).split())
    assert "shop, coordinated by &lt;one&gt;; decision 2" in text
    assert "&lt;one&gt; photons #1 current no: photon" in text
    assert "rejected:" in text
    assert "ValueError: no" in text
