"""What the text of photons says that it does, on the command line and under a watch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from tests.cli.running import geo, running
from tests.cli.terminal import Said, Terminal
from tests.trust.hostile import HOSTILE

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
        words = "now starts or signals processes at import, geo.py:2"
        assert event["problem"]["what"] == words
        asking = f"import socket\nsocket.socket()\n{ASKS}{geo('three')}"
        terminal.write({"photons/geo.py": asking})
        problem = host.until(event="rejected", photon="geo")["problem"]
        assert problem["code"] == "LUM134"
        assert problem["what"] == "now opens sockets at import, geo.py:2"
        accepted = f"{settings}[tool.luminal.trust.accept]\ngeo = ['network']\n"
        terminal.write({"pyproject.toml": accepted})
        terminal.write({"photons/geo.py": f"{asking}# accepted\n"})
        assert host.until(event="swapped", photon="geo")["generation"] >= 3


def test_scan_names_high_scores_and_what_was_not_scanned(
    terminal: Terminal, golden: Callable[..., Said]
) -> None:
    terminal.env["PYTHONDONTWRITEBYTECODE"] = "1"
    terminal.write({"photons/geo.py": geo("one")})
    assert golden("scan", "scan", "photons", "--no-installed").code == 0
    assert golden("scan-json", "scan", "photons", "--no-installed", "--json").code == 0
    hostile = f"import os\n{geo('one')}\n{HOSTILE['shell pipe']}".replace(
        "os.system", "0 and os.system"
    )
    terminal.write({"photons/geo.py": hostile, "photons/bad.py": "x = ("})
    said = terminal.luminal("scan", "photons")
    assert said.code == 1, "not scanned is not clean"
    assert "bad.py: not scanned: SyntaxError" in said.err
    assert "geo.py: score 0." in said.err
    terminal.write({"photons/bad.py": ""})
    assert terminal.luminal("scan", "photons").code == 4
    for setting, code in (("warn", 0), ("accept", 4)):
        settings = f"[tool.luminal.trust]\nscan = '{setting}'\n"
        terminal.write({"pyproject.toml": settings})
        said = terminal.luminal("check", "photons")
        assert (said.code, "geo.py: score 0." in said.err) == (code, True)
    digest = hashlib.sha512(hostile.encode()).hexdigest()
    terminal.write({"pyproject.toml": f"{settings}scanned = ['{digest}']\n"})
    said = terminal.luminal("check", "photons")
    assert (said.code, "geo.py: score 0." in said.err) == (0, False)


def test_novelty_is_told_with_the_rate_of_false_alarms_on_the_own_photons(
    terminal: Terminal,
) -> None:
    terminal.env["LUMINAL_STATE_DIR"] = str(terminal.place / "state")
    text = (
        "import json\nfrom luminal import IPhoton\nclass {}(IPhoton):\n    A = json\n"
    )
    own = {f"photons/own{n}.py": text.format(f"Own{n}") for n in range(21)}
    terminal.write(own)
    scanned = "photons/own3.py", "photons/own4.py", "--no-installed", "--novelty"
    assert terminal.luminal("lock", "photons", "--no-installed").code == 0
    quiet = "def never():\n    " + HOSTILE["ssh keys"].replace("\n", "\n    ")
    terminal.write({"photons/own3.py": own["photons/own3.py"] + quiet + "\n"})
    said = terminal.luminal("scan", *scanned, "--json")
    rows = {row["name"]: row["novelty"] for row in said.json()["photons"]}
    assert rows["Own4"]["own"] == 20
    assert rows["Own4"]["rate"] == 1.0
    assert rows["Own3"]["score"] > rows["Own4"]["score"]
    assert (rows["Own3"]["as_new"], rows["Own3"]["rate"]) == (0, 0.0)
    said = terminal.luminal("check", scanned[0], *scanned[2:])
    words = "of 20 of your own photons would be called new by this"
    assert f"0 {words}: 0%, and with so few up to 14%" in said.err
    assert "Own3: novelty" in said.err
    assert "as 0 of 20 of your own" in said.err
