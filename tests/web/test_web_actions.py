"""What the page may change: nothing, but with the token of an address of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pyotp
import pytest

from luminal.errors import LuminalError
from luminal.managers import Loader
from luminal.testing import Host
from luminal.trust import AuditLog, Factors, TrustSettings
from luminal.web import Server, create_app, render_page, serve, snapshot_of
from tests.web.chrome import CHROMIUM, DRIVER, WHY_NOT, chrome
from tests.web.conftest import GEO
from tests.web.test_web_page import ask


@pytest.fixture
def server(loader: Loader) -> Iterator[Server]:
    with serve(loader, port=0, actions=True) as server:
        yield server


def headers(server: Server, **more: str) -> dict[str, str]:
    origin = server.url.rstrip("/")
    return {"Origin": origin, "X_Luminal_Token": server.token, **more}


def test_a_photon_is_reloaded_and_rolled_back(host: Host, server: Server) -> None:
    """A failure is answered with its reason, and changes nothing."""

    def act(name: str, photon: str = "geo") -> tuple[int, str]:
        path = f"/actions/{name}?photon={photon}"
        status, _, text = ask(server.url, path, "POST", **headers(server))
        return status, text

    assert act("reload") == (200, "reloaded, generation 2")
    host.write("geo.py", GEO.replace("return place", "return [place]"))
    assert act("reload") == (200, "reloaded, generation 3")
    assert act("roll-back") == (200, "rolled back, generation 4")
    host.write("geo.py", "def = 1")
    status, text = act("reload")
    assert status == 409
    assert "is not valid Python" in text
    assert host.loader.photons["geo"].number == 4
    assert act("unload")[0] == act("reload", "nobody")[0] == 404


def test_a_second_factor_is_asked_for_by_the_page(
    loader: Loader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = pyotp.random_base32()
    path = str(tmp_path / "factor.json")
    Factors(path, totp={"phone": secret}).write()
    monkeypatch.setenv("LUMINAL_STATE_DIR", str(tmp_path))
    trust = TrustSettings(second_factor="totp", factor=path)
    monkeypatch.setattr(loader, "_trust", trust)
    with serve(loader, port=0, actions=True) as server:

        def act(**more: str) -> tuple[int, str]:
            where = "/actions/reload?photon=geo"
            status, _, text = ask(server.url, where, "POST", **headers(server, **more))
            return status, text

        status, text = act()
        assert status == 401
        nonce = json.loads(text)["nonce"]
        code = pyotp.TOTP(secret).now()
        assert act(X_Luminal_Nonce="0" * 32, X_Luminal_Code=code)[0] == 403
        assert act(X_Luminal_Nonce=nonce, X_Luminal_Code=code) == (
            200,
            "reloaded, generation 2",
        )
        assert act(X_Luminal_Nonce=nonce, X_Luminal_Code=code)[0] == 403
    [row] = AuditLog().rows()
    assert (row.operation, row.photons[0][0], row.by) == ("reload", "geo", "totp phone")
    monkeypatch.setattr(loader, "_trust", TrustSettings(second_factor="key"))
    with serve(loader, port=0, actions=True) as server:
        status, _, text = ask(
            server.url, "/actions/reload?photon=geo", "POST", **headers(server)
        )
        assert status == 403
        assert "no second factor of the kind 'key'" in text
        assert loader.photons["geo"].number == 2


def test_without_the_token_nothing_is_changed(loader: Loader, server: Server) -> None:
    """Nor by another site, another method, or a name that resolves to loopback."""
    path = "/actions/reload?photon=geo"
    good = headers(server)
    without_origin = {"X_Luminal_Token": server.token}
    for wrong in (
        headers(server, X_Luminal_Token="x" * 43),
        headers(server, X_Luminal_Token=""),
        headers(server, X_Luminal_Token=server.token[:-1]),
        headers(server, Origin="https://evil.example"),
        headers(server, Origin="null"),
        headers(server, Host="evil.example"),
        headers(server, Sec_Fetch_Site="cross-site"),
        without_origin,
        {"Origin": good["Origin"]},
    ):
        assert ask(server.url, path, "POST", **wrong)[0] == 403
    for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS"):
        assert ask(server.url, path, method, **good)[0] == 405
    assert ask(server.url, f"{path}&token={server.token}", "POST")[0] == 403
    assert loader.photons["geo"].number == 1


def test_by_default_there_are_no_actions(loader: Loader, url: str) -> None:
    """And the token is in no document, in no representation, and never short."""
    with serve(loader, port=0) as plain:
        assert (plain.token, plain.private_url) == ("", plain.url)
        origin = {"Origin": plain.url.rstrip("/"), "X_Luminal_Token": ""}
        path = "/actions/reload?photon=geo"
        assert ask(plain.url, path, "POST", **origin)[0] == 404
    with serve(loader, port=0, actions=True) as server:
        for path in ("/", "/report.json"):
            assert server.token not in ask(server.url, path)[2]
        assert server.token not in repr(server)
        assert server.private_url.endswith(f"#token={server.token}")
    with pytest.raises(ValueError, match="at least 16 characters"):
        create_app(loader, token="short")


def test_the_report_as_json_has_what_the_page_has(host: Host, url: str) -> None:
    host.write("geo.py", GEO + "    # two\n")
    host.reload("geo")
    status, found, text = ask(url, "/report.json")
    assert (status, found["content-type"]) == (200, "application/json")
    report = json.loads(text)
    assert {each["name"] for each in report["photons"]} == {"geo", "broken"}
    (change,) = report["changes"]
    assert change["generations"] == {"geo": 2}
    assert "+# two" in change["files"][0]["diff"]
    page = render_page(snapshot_of(host.loader))
    assert "# two</ins>" in page
    assert ask(url, "/report.json", Host="evil.example")[0] == 403


def test_a_line_opens_an_editor(
    loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = loader.photons["geo"].filepath
    assert f'href="vscode://file{path}:4"' in render_page(snapshot_of(loader))
    monkeypatch.setenv("LUMINAL_EDITOR", "idea://open?file={path}&line={line}")
    assert f'href="idea://open?file={path}&amp;line=4"' in (
        render_page(snapshot_of(loader))
    )
    monkeypatch.setenv("LUMINAL_EDITOR", "javascript:alert(1)")
    assert "javascript:" not in render_page(snapshot_of(loader))


@pytest.mark.slow
@pytest.mark.skipif(not (CHROMIUM and DRIVER), reason=WHY_NOT)
def test_buttons_search_sort_and_links_in_a_browser(
    host: Host, server: Server, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Buttons are there for who has the token, which is not kept in the address."""
    shown = (
        "return [...document.querySelectorAll('#photons-part tbody')]"
        ".filter((each) => !each.hidden).map((each) => each.dataset.name)"
    )
    with chrome(tmp_path_factory.mktemp("browser")) as browser:
        browser.look(1280, "light")
        browser.open(server.url)
        button = "document.querySelector('#photon-geo button[data-act=reload]')"
        browser.run("document.querySelector('#photon-geo details').open = true")
        assert browser.run(f"return {button}.offsetParent === null")
        assert browser.run(shown) == ["broken", "wrong", "geo"]
        browser.open("about:blank")
        browser.open(server.private_url)
        browser.until("return document.getElementById('live').textContent === 'live'")
        assert "token" not in browser.run("return location.href")
        browser.run("document.querySelector('#photon-geo details').open = true")
        browser.run(f"{button}.click()")
        browser.until(
            "return document.getElementById('message').textContent"
            " === 'geo: reloaded, generation 2'"
        )
        assert host.loader.photons["geo"].number == 2
        browser.until(
            "return document.querySelector('#photon-geo [data-of=generation]')"
            ".textContent === '2'"
        )
        assert browser.run("return document.querySelector('#photon-geo details').open")
        browser.run(
            "const filter = document.getElementById('filter');"
            "filter.elements.q.value = 'o';"
            "filter.elements.sort.value = 'name';"
            "filter.dispatchEvent(new Event('input'))"
        )
        assert browser.run(shown) == ["broken", "geo", "wrong"]
        host.reload("geo")
        browser.until(
            "return document.querySelector('#photon-geo [data-of=generation]')"
            ".textContent === '3'"
        )
        assert browser.run(shown) == ["broken", "geo", "wrong"]
        query = urlsplit(browser.run("return location.href")).query
        assert query == "q=o&sort=name"
        browser.open(f"{server.url}?state=running#photon-geo")
        assert browser.run(shown) == ["geo"]
        assert browser.run("return document.querySelector('#photon-geo details').open")
        # What is open stays so with its photon, also where another comes before it.
        browser.open(server.url)
        browser.until("return document.getElementById('live').textContent === 'live'")
        browser.run("document.querySelector('#photon-geo details').open = true")
        host.write("bad.py", BAD)
        with pytest.raises(LuminalError):
            host.run()
        browser.until("return document.getElementById('photon-bad')")
        opened = (
            "return [...document.querySelectorAll('#photons-part tbody')]"
            ".filter((each) => each.querySelector('details').open)"
            ".map((each) => each.dataset.name).sort()"
        )
        assert browser.run(opened) == ["bad", "broken", "geo", "wrong"]
        assert browser.complaints() == []


BAD = """
from luminal import IPhoton

class Photon(IPhoton):
    def start(self):
        raise KeyError("bad")
"""
