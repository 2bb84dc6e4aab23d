"""What the text of photons says that it does, on the command line and under a watch."""

from __future__ import annotations

from tests.cli.running import geo, running
from tests.cli.terminal import Terminal

ASKS = "import os\nos.system('true')\n"


def test_inspect_and_check_show_and_deny_what_a_text_says(terminal: Terminal) -> None:
    package = {
        "photons/geo/__init__.py": f"from . import net\n{geo('hello')}",
        "photons/geo/net.py": "import socket\nsocket.getaddrinfo('127.0.0.1', 1)\n",
    }
    terminal.write(package)
    words = "opens sockets at import, net.py:2 (socket.getaddrinfo)"
    assert words in terminal.luminal("inspect", "photons").out
    [photon] = terminal.luminal("inspect", "--json", "photons").json()["photons"]
    [capability] = photon["capabilities"]
    assert capability == {
        "kind": "network",
        "at_import": True,
        "file": "net.py",
        "line": 2,
        "name": "socket.getaddrinfo",
    }
    said = terminal.luminal("check", "photons")
    assert said.code == 0
    assert words in said.err
    said = terminal.luminal("check", "--deny", "network:import", "photons")
    assert said.code == 1
    assert "opens sockets, net.py:2" in said.err
    said = terminal.luminal("check", "--deny", "netwrk", "photons")
    assert said.code == 2
    assert "did you mean 'network'?" in said.err
    terminal.write({"pyproject.toml": "[tool.luminal.trust]\ndeny = ['network']\n"})
    assert terminal.luminal("check", "photons").code == 1
    terminal.write({"pyproject.toml": "[tool.luminal.trust]\ndeny = ['netwrk']\n"})
    said = terminal.luminal("check", "photons")
    assert said.code == 2
    assert "did you mean 'network'?" in said.err


def test_a_watch_tells_what_is_new_and_asks(terminal: Terminal) -> None:
    settings = "[tool.luminal.trust]\ndrift = true\nask = ['network']\n"
    terminal.write({"pyproject.toml": settings, "photons/geo.py": geo("one")})
    with running(terminal, "watch", "photons") as host:
        terminal.write({"photons/geo.py": f"{ASKS}{geo('two')}"})
        event = host.until(event="drifted", photon="geo")
        assert event["problem"]["what"] == "now starts processes at import, geo.py:2"
        asking = f"import socket\nsocket.socket()\n{ASKS}{geo('three')}"
        terminal.write({"photons/geo.py": asking})
        problem = host.until(event="rejected", photon="geo")["problem"]
        assert problem["code"] == "LUM134"
        assert problem["what"] == "now opens sockets at import, geo.py:2"
        accepted = f"{settings}[tool.luminal.trust.accept]\ngeo = ['network']\n"
        terminal.write({"pyproject.toml": accepted})
        terminal.write({"photons/geo.py": f"{asking}# accepted\n"})
        assert host.until(event="swapped", photon="geo")["generation"] >= 3
