"""How long photons took to load and start: ``run --durations`` and ``doctor``."""

from __future__ import annotations

import json

from tests.cli.terminal import Terminal

PHOTON = """\
import luminal


class {cls}(luminal.IPhoton):
    photon_name = "{name}"

    def start(self):
        {start}
"""


def test_start_up_is_broken_down_by_photon_and_phase(terminal: Terminal) -> None:
    """The slowest first, also one whose start fails; a path may follow the option."""
    slow = "import threading; threading.Event().wait(0.3); raise ValueError"
    for name, start in (("fast", "pass"), ("slow", slow), ("third", "pass")):
        text = PHOTON.format(cls=name.title(), name=name, start=start)
        terminal.write({f"photons/{name}.py": text})
    arguments = ("--no-installed", "photons", "--once")
    said = terminal.luminal("run", "--durations", *arguments).out
    table = said[said.index("PHOTON") :].splitlines()
    assert table[0].split()[:3] == ["PHOTON", "MS", "READ"]
    assert table[0].split()[-2:] == ["EXECUTE", "START"]
    assert table[1].startswith("slow ")
    assert float(table[1].split()[-1]) >= 300
    assert len(table) == 5
    assert table[4].startswith("discovery: ")
    said = terminal.luminal("run", "--durations=1", *arguments).out
    table = said[said.index("PHOTON") :].splitlines()
    assert [line.split()[0] for line in table] == ["PHOTON", "slow", "2", "discovery:"]
    said = terminal.luminal("run", *arguments, "--json").out
    photons = json.loads(said.splitlines()[0])["photons"]
    slowest = {row["photon"]: row["phases"]["start"] for row in photons}
    assert slowest["slow"] >= 0.3
    assert json.loads(said.splitlines()[0])["discover_seconds"] > 0
    doctor = ("doctor", "--no-installed", "photons", "--import-time")
    said = terminal.luminal(*doctor).out
    assert "PHOTON  MS" in said.replace("   ", "  ").replace("   ", "  ")
    assert "EXECUTE" in said
    known = terminal.luminal(*doctor, "--json").json()["import_phases"]
    assert known["slow"].keys() >= {"read", "hash", "execute"}
