"""``luminal list``: what there is, without running any of it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.running import geo, running
from tests.cli.screen import on_screen
from tests.cli.terminal import Terminal
from tests.waiting import DEADLINE

PHOTONS = {
    "photons/geo.py": """\
import luminal


class Geo(luminal.IPhoton):
    photon_name = "geo"
    photon_version = "1.2"
    photon_tags = ("place",)
""",
    "photons/alarm/__init__.py": """\
import luminal

from .limits import HOT


class Alarm(luminal.IPhoton):
    photon_name = "alarm"
    photon_requires = ("geo>=1",)
""",
    "photons/alarm/limits.py": "HOT = 30\n",
    "photons/rain.py": """\
import luminal


class Rain(luminal.IPhoton):
    photon_name = "rain"
    photon_requires = ("gauge",)
""",
    "photons/old.py": """\
import luminal


class Old(luminal.IPhoton):
    photon_name = "old"
    photon_enabled = False
""",
}


def test_a_table_in_load_order_with_problems_explained(
    terminal: Terminal, golden: Any
) -> None:
    terminal.write(PHOTONS)
    golden("list", "list", "--no-installed", "photons")


def test_the_same_as_json(terminal: Terminal, golden: Any) -> None:
    terminal.write(PHOTONS)
    said = golden("list-json", "list", "--no-installed", "photons", "--json")
    document = said.json()
    assert document["schema"] == 2
    assert document["command"] == "list"
    assert document["exit"] == said.code == 1
    names = [photon["name"] for photon in document["photons"]]
    assert names.index("geo") < names.index("alarm")


def test_hostile_files_are_not_executed(terminal: Terminal) -> None:
    """Each would write a marker, exit, or hang; they are listed all the same."""
    head = "import luminal\n"
    tail = "\nclass {}(luminal.IPhoton): pass\n"
    marker = terminal.place / "marker"
    deeds = {
        "marks": f"open({str(marker)!r}, 'w').close()",
        "exits": "raise SystemExit(9)",
        "kills": "import os; os._exit(9)",
        "hangs": "while True: pass",
        "sleeps": "import time; time.sleep(1000)",
    }
    terminal.write(
        {
            f"photons/{name}.py": head + deed + tail.format(name.title())
            for name, deed in deeds.items()
        }
    )
    terminal.write(
        {
            "photons/pack/__init__.py": head + deeds["marks"] + tail.format("Pack"),
            "photons/default.py": head
            + f"class Default(luminal.IPhoton):\n    {deeds['marks']}\n",
        }
    )
    said = terminal.luminal("list", "--no-installed", "photons", "--json")
    assert said.code == 0
    assert len(said.json()["photons"]) == len(deeds) + 2
    assert not marker.exists()


def test_what_is_probably_a_mistake_is_told(terminal: Terminal) -> None:
    """With the name that was probably meant; it is no failure."""
    text = "import luminal\nclass Geo(luminal.IPhoton):\n    photon_nmae = 'geo'\n"
    terminal.write({"photons/geo.py": text})
    said = terminal.luminal("list", "--no-installed", "photons")
    assert said.code == 0
    assert "did you mean 'photon_name'?" in said.err
    assert "geo.py:3" in said.err


def test_nothing_found_is_an_exit_code_of_its_own(terminal: Terminal) -> None:
    (terminal.place / "empty").mkdir()
    said = terminal.luminal("list", "--no-installed", "empty")
    assert (said.out, said.code) == ("", 3)
    assert "no photons found" in said.err
    document = terminal.luminal("list", "--no-installed", "empty", "--json").json()
    assert (document["photons"], document["exit"]) == ([], 3)


def test_a_path_that_is_not_there_is_an_error_in_both_forms(terminal: Terminal) -> None:
    said = terminal.luminal("list", "nowhere", "--json")
    assert said.code == 3
    assert said.json()["error"]["code"] == "LUM102"
    assert "Traceback" not in said.err
    assert terminal.luminal("list", "nothing.py").code == 3


def test_a_file_can_be_named_and_joins_the_order(terminal: Terminal) -> None:
    """What a named file requires is looked for among all that was named."""
    terminal.write(PHOTONS)
    files = ["photons/alarm/__init__.py", "photons/geo.py"]
    photons = terminal.luminal("list", "--no-installed", "--json", *files).json()
    assert [(p["name"], p["state"]) for p in photons["photons"]] == [
        ("geo", "ok"),
        ("alarm", "ok"),
    ]


def test_only_and_without_disable_the_others(terminal: Terminal) -> None:
    terminal.write(PHOTONS)
    for arguments in (["photons"], ["photons/geo.py", "photons/rain.py"]):
        said = terminal.luminal(
            "list", "--no-installed", "--json", "--only", "geo", *arguments
        )
        states = {p["name"]: p["state"] for p in said.json()["photons"]}
        assert states.pop("geo") == "ok"
        assert set(states.values()) == {"disabled"}
    said = terminal.luminal("list", "--no-installed", "photons", "--without", "rain")
    assert said.code == 0


def test_installed_photons_are_listed_and_paths_come_from_the_environment(
    terminal: Terminal, tmp_path: Path
) -> None:
    terminal.write(PHOTONS)
    site = tmp_path / "site"
    info = site / "shipped-2.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: shipped\nVersion: 2.0\n"
    )
    (info / "entry_points.txt").write_text("[luminal.photons]\nshipped = shipped:It\n")
    (info / "RECORD").write_text("shipped.py,,\n")
    (site / "shipped.py").write_text(
        "import luminal\nclass It(luminal.IPhoton): pass\n"
    )
    terminal.env["PYTHONPATH"] += f":{site}"
    terminal.env["LUMINAL_PATHS"] = "photons"
    photons = {
        p["name"]: p for p in terminal.luminal("list", "--json").json()["photons"]
    }
    assert photons["shipped"]["version"] == "2.0"
    assert photons["shipped"]["source"] == "distribution"
    assert photons["geo"]["source"] == "directory"


def test_names_cannot_steer_the_terminal(terminal: Terminal) -> None:
    """A control character in a photon's metadata is shown, not obeyed."""
    terminal.write(
        {
            "photons/evil.py": "import luminal\n\n\nclass Evil(luminal.IPhoton):\n"
            '    photon_name = "evil"\n    photon_version = "1\\x1b[2J"\n'
        }
    )
    said = terminal.luminal("list", "--no-installed", "photons")
    assert "\x1b" not in said.out + said.err


def test_a_reader_that_leaves_early_is_no_error(terminal: Terminal) -> None:
    terminal.write(PHOTONS)
    reading, writing = os.pipe()
    os.close(reading)
    said = subprocess.run(
        [sys.executable, "-m", "luminal", "list", "--no-installed", "photons"],
        cwd=terminal.place,
        env=terminal.env,
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=DEADLINE,
    )
    os.close(writing)
    assert said.returncode == 0
    assert "Traceback" not in said.stderr
    assert "BrokenPipe" not in said.stderr


def test_columns_are_chosen_and_sorted(terminal: Terminal) -> None:
    """By name, in both directions; a wrong one is refused with the right ones."""
    described = PHOTONS["photons/geo.py"] + '    photon_description = "Where it is."\n'
    hooked = described + "\n    @luminal.hookimpl\n    def locate(self): ...\n"
    terminal.write({**PHOTONS, "photons/geo.py": hooked})
    where = ("--no-installed", "photons")

    def lines(*arguments: str) -> list[list[str]]:
        said = terminal.luminal("list", *where, *arguments)
        return [line.split() for line in said.out.splitlines()]

    assert lines()[0][-1] == "DESCRIPTION"
    assert lines()[1][-3:] == ["Where", "it", "is."]
    named = lines("--fields", "state,name", "--sort", "name")
    assert named[0] == ["STATE", "NAME"]
    assert [line[-1] for line in named[1:]] == ["alarm", "geo", "old", "rain"]
    assert lines("--fields=name", "--sort", "-name")[1:3] == [["rain"], ["old"]]
    assert lines("--fields", "name", "--hooks")[:2] == [
        ["NAME", "HOOKS"],
        ["geo", "locate"],
    ]
    wrong = terminal.luminal("list", *where, "--fields", "name,stat")
    assert wrong.code == 2
    assert "did you mean 'state'?" in wrong.err
    assert terminal.luminal("list", "--fields", "calls").code == 2
    found = terminal.luminal("list", *where, "--hooks", "--sort", "name", "--json")
    photons = found.json()["photons"]
    assert [photon["hooks"] for photon in photons] == [[], ["locate"], [], []]


def test_the_photons_of_a_running_host_are_listed(terminal: Terminal) -> None:
    text = geo("one").replace("    def", '    photon_version = "1.2"\n\n    def', 1)
    hook = "\n    @luminal.hookimpl\n    def locate(self): ...\n"
    terminal.write({"a/geo.py": text + hook, "b/rain.py": "x"})
    assert terminal.luminal("list", "--running").code == 5
    with running(terminal, "run", "a") as host:
        said = terminal.luminal("list", "--running", "--hooks")
        assert said.code == 0
        assert [line.split() for line in said.out.splitlines()] == [
            [
                "NAME",
                "VERSION",
                "STATE",
                "GENERATION",
                "ERRORS",
                "DESCRIPTION",
                "HOOKS",
            ],
            ["geo", "1.2", "running", "1", "0", "-", "locate"],
        ]
        found = terminal.luminal("list", "--running", "--json").json()
        assert found["pid"] == host.process.pid
        assert [photon["name"] for photon in found["photons"]] == ["geo"]
        assert terminal.luminal("list", "--running", "b").code == 2
        host.end()


@pytest.mark.parametrize("columns", [60, 80])
def test_a_photon_is_one_line_in_a_terminal(columns: int, terminal: Terminal) -> None:
    """Long descriptions are cut there; a pipe gets the whole text."""
    long = f'photon_description = "{"what it is for " * 9}"\n    photon_name'
    for name in ("geo", "rain", "sun"):
        text = geo("one").replace("geo", name).replace("photon_name", long)
        terminal.write({f"a/{name}.py": text})
    words = ["list", "a", "--no-installed", "--hooks"]
    with on_screen(
        [sys.executable, "-m", "luminal", *words],
        terminal.place,
        terminal.env,
        columns=columns,
    ) as screen:
        shown = re.sub(r"\x1b\[[0-9;?]*\w", "", screen.rest()).splitlines()
    assert [line.split()[0] for line in shown if line] == ["NAME", "geo", "rain", "sun"]
    assert max(map(len, shown)) <= columns
    assert "…" in shown[1]
    assert "what it is for " * 8 in terminal.luminal(*words).out
