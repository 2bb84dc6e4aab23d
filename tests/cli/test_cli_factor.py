"""A second factor for what commands ask of a running host, and the audit log."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyotp

from luminal.managers import speak
from tests.cli.running import geo, running
from tests.cli.terminal import Said, Terminal


def setting(kind: str) -> dict[str, str | bytes]:
    text = f"[tool.luminal.trust]\nsecond-factor = '{kind}'\n"
    return {"pyproject.toml": text, "photons/geo.py": geo("one")}


def socket(terminal: Terminal) -> str:
    [path] = Path(terminal.env["LUMINAL_RUNTIME_DIR"]).glob("*.sock")
    return str(path)


def test_a_key_approves_what_is_asked_of_a_host(terminal: Terminal) -> None:
    terminal.write(setting("key"))
    said = terminal.luminal("factor", "add", "key", "ann", "--json")
    assert said.code == 0
    assert os.stat(terminal.place / "ann.pem").st_mode & 0o777 == 0o600
    assert terminal.luminal("factor", "add", "key", "bob").code == 0
    assert terminal.luminal("factor", "remove", "bob").code == 0
    listed = terminal.luminal("factor", "list", "--json").json()["factors"]
    assert listed == [{"name": "ann", "kind": "key"}]
    with running(terminal, "run", "photons"):
        terminal.write({"photons/geo.py": geo("two")})
        terminal.env["LUMINAL_FACTOR_KEY"] = "bob.pem"
        said = terminal.luminal("reload", "geo")
        assert said.code == 1
        assert "no registered key has made the signature" in said.err
        terminal.env["LUMINAL_FACTOR_KEY"] = "none.pem"
        assert "the key cannot be used" in terminal.luminal("reload", "geo").err
        terminal.env["LUMINAL_FACTOR_KEY"] = "pyproject.toml"
        assert "is no PEM file" in terminal.luminal("reload", "geo").err
        del terminal.env["LUMINAL_FACTOR_KEY"]
        said = terminal.luminal("reload", "geo", stdin=subprocess.DEVNULL)
        assert (said.code, "LUMINAL_FACTOR_KEY" in said.err) == (1, True), said
        # Whoever can write to the socket alone cannot do anything.
        for ask in ("reload", "unload", "disable", "enable"):
            answer: Any = speak(socket(terminal), {"ask": ask, "photons": ["geo"]})
            assert answer["challenge"]["operation"] == ask
        terminal.env["LUMINAL_FACTOR_KEY"] = "ann.pem"
        said = terminal.luminal("reload", "geo")
        assert said.code == 0
        assert "reload geo, running generation 1, files" in said.err
        assert "reloaded" in said.out
        assert terminal.luminal("top", "--once").code == 0, "reading needs none"
        assert terminal.luminal("disable", "geo").code == 0
        assert terminal.luminal("enable", "geo").code == 0
        assert terminal.luminal("unload", "geo").code == 0
    rows = terminal.luminal("audit", "--json").json()["rows"]
    assert [(row["operation"], row["by"]) for row in rows] == [
        ("reload", "key ann"),
        ("disable", "key ann"),
        ("enable", "key ann"),
        ("unload", "key ann"),
    ]
    assert rows[0]["photons"][0]["photon"] == "geo"
    assert terminal.luminal("audit", "--verify").code == 0
    file = Path(terminal.luminal("audit", "--json").json()["path"])
    file.write_bytes(file.read_bytes().replace(b"ann", b"bob", 1))
    said = terminal.luminal("audit", "--verify")
    assert said.code == 1
    assert "audit.jsonl:1" in said.err


def test_a_code_is_asked_for_once_and_a_host_without_factor_says_so(
    terminal: Terminal,
) -> None:
    terminal.write(setting("totp"))
    with running(terminal, "run", "photons"):
        said = terminal.luminal("unload", "geo")
        assert said.code == 1
        assert "luminal factor add totp" in said.err
        uri = terminal.luminal("factor", "add", "totp").out.strip()
        code = pyotp.parse_uri(uri)
        assert isinstance(code, pyotp.TOTP)
        wrong = terminal.shell("echo 000000 | luminal unload geo")
        assert "the code is wrong; 4 more may be tried" in wrong.err
        right = terminal.shell(f"echo {code.now()} | luminal unload geo")
        assert right.code == 0


def test_without_a_factor_there_is_nothing_to_list(
    terminal: Terminal, golden: Callable[..., Said]
) -> None:
    terminal.env["LUMINAL_STATE_DIR"] = str(terminal.place / "state")
    assert golden("factor", "factor", "list").code == 3
    assert golden("factor-json", "factor", "list", "--json").code == 3
    assert golden("audit", "audit").code == 3
    assert golden("audit-json", "audit", "--json").code == 3


def test_an_accepted_lock_asks_a_host_that_asks_for_a_second_factor(
    terminal: Terminal,
) -> None:
    """The challenge names the photons that use the accepted files."""
    settings = setting("key")
    paths = '[tool.luminal]\npaths = ["photons"]\n'
    terminal.write(
        {**settings, "pyproject.toml": f"{paths}{settings['pyproject.toml']}"}
    )
    assert terminal.luminal("factor", "add", "key", "ann").code == 0
    assert terminal.luminal("lock", "photons").code == 0
    with running(terminal, "run", "photons") as host:
        terminal.write({"photons/geo.py": geo("two")})
        terminal.env["LUMINAL_FACTOR_KEY"] = "ann.pem"
        said = terminal.luminal("lock", "accept", "geo")
        assert said.code == 0, said.err
        assert "reload geo, running generation 1" in said.err
        assert "reloaded in host" in said.err + said.out
        host.end()
    rows = terminal.luminal("audit", "--json").json()["rows"]
    assert [(row["operation"], row["by"]) for row in rows] == [("reload", "key ann")]
