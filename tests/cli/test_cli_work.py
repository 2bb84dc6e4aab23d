"""``check``, ``new`` and ``doctor``: what authors and operators do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.terminal import Said, Terminal

GOOD = """\
import luminal


class Good(luminal.IPhoton):
    photon_name = "good"

    def start(self):
        open("started", "w").close()
"""
UNSAFE = """\
import os
import sys

import luminal

os.environ["LANGUAGE"] = "la"


class Unsafe(luminal.IPhoton):
    photon_name = "unsafe"

    def start(self):
        sys.addaudithook(print)
"""
BAD = """\
import luminal

print("on the way")
raise SystemExit(5)


class Bad(luminal.IPhoton):
    photon_name = "bad"
"""
WHERE = ("--no-installed", "photons")


@pytest.mark.parametrize("form", ["text", "json"])
def test_check_loads_and_starts_nothing(
    form: str, terminal: Terminal, golden: Callable[..., Said]
) -> None:
    terminal.write(
        {"photons/good.py": GOOD, "photons/unsafe.py": UNSAFE, "photons/bad.py": BAD}
    )
    flags = ("--json",) if form == "json" else ()
    said = golden(f"check-{form}", "check", *WHERE, *flags)
    assert said.code == 1
    assert not (terminal.place / "started").exists()
    assert "on the way" not in said.out


def test_check_strict_refuses_what_is_not_reload_safe(terminal: Terminal) -> None:
    terminal.write({"photons/unsafe.py": UNSAFE, "photons/good.py": GOOD})
    assert terminal.luminal("check", *WHERE).code == 0
    assert terminal.luminal("check", *WHERE, "--strict").code == 4
    assert terminal.luminal("check", "photons/good.py", "--strict").code == 0


def test_data_files_are_listed_and_patterns_without_any_are_named(
    terminal: Terminal,
) -> None:
    data = '    photon_files = ["*.yaml", "conf/**/*.json"]\n'
    terminal.write(
        {
            "photons/good.py": GOOD + data,
            "photons/a.yaml": "a: 1",
            "photons/b.yaml": "b: 1",
        }
    )
    shown = terminal.luminal("inspect", *WHERE)
    assert "*.yaml (2), conf/**/*.json (0)" in shown.out
    (photon,) = terminal.luminal("inspect", *WHERE, "--json").json()["photons"]
    assert photon["files"] == ["*.yaml", "conf/**/*.json"]
    (checked,) = terminal.luminal("check", *WHERE, "--json").json()["photons"]
    (issue,) = checked["reload_issues"]
    assert "'conf/**/*.json'" in issue["why"]
    assert issue["hint"]
    assert terminal.luminal("check", *WHERE, "--strict").code == 4
    terminal.write({"photons/conf/deep/a.json": "{}"})
    assert terminal.luminal("check", *WHERE, "--strict").code == 0


def test_check_takes_what_is_required_from_elsewhere(terminal: Terminal) -> None:
    needy = GOOD.replace("Good", "Needy").replace("good", "needy")
    needy += '    photon_requires = ("good",)\n'
    terminal.write({"photons/good.py": GOOD, "more/needy.py": needy})
    said = terminal.luminal("check", "more", "--json")
    assert said.json()["photons"][0]["problem"]["code"] == "LUM106"
    both = terminal.luminal(
        "check", "--no-installed", "more", "photons/good.py", "--json"
    )
    assert {p["name"]: p["state"] for p in both.json()["photons"]} == {
        "good": "ok",
        "needy": "ok",
    }


def test_check_gives_up_an_import_that_does_not_end(terminal: Terminal) -> None:
    terminal.write({"photons/slow.py": f"import time\ntime.sleep(1000)\n{GOOD}"})
    said = terminal.luminal("check", *WHERE, "--timeout", "0.3")
    assert said.code == 1
    assert "LUM111" in said.err


@pytest.mark.slow
def test_check_ends_though_an_import_left_a_thread(terminal: Terminal) -> None:
    text = "import threading\nwait = threading.Event().wait\n"
    text += "threading.Thread(target=wait, daemon=False).start()\n"
    terminal.write({"photons/good.py": text + GOOD})
    said = terminal.luminal("check", *WHERE)
    assert said.code == 0
    assert "no: line 3" in said.out


def test_doctor_finds_each_problem_and_names_its_fix(
    terminal: Terminal, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    (site / "two-1.0.dist-info").mkdir(parents=True)
    (site / "two.egg-info").mkdir()
    terminal.env["PYTHONPATH"] += f":{site}"
    terminal.env["LUMINAL_CACHE_DIR"] = f"{site}/two-1.0.dist-info/METADATA/cache"
    (site / "two-1.0.dist-info" / "METADATA").write_text("Name: two\nVersion: 1.0\n")
    terminal.write(
        {
            "photons/good.py": GOOD,
            "photons/needy.py": GOOD.replace("ood", "oody")
            + "    photon_requires = ('nobody',)\n",
            "photons/__pycache__/gone.cpython-311.pyc": b"",
            "photons/__pycache__/good.cpython-311.pyc": b"",
        }
    )
    said = terminal.luminal("doctor", "photons", "--json")
    document = said.json()
    whats = " | ".join(finding["what"] for finding in document["findings"])
    assert "'two' is installed twice" in whats
    assert "cache cannot be written" in whats
    assert "requires 'nobody'" in whats
    assert whats.count("compiled file without its source") == 1
    assert all(finding["fix"] for finding in document["findings"])
    assert said.code == document["exit"] == 1
    text = terminal.luminal("doctor", "photons").out
    assert text.count("  try: ") == len(document["findings"])


def test_doctor_is_content_with_a_good_place(terminal: Terminal) -> None:
    terminal.write({"photons/good.py": GOOD})
    said = terminal.luminal("doctor", *WHERE)
    assert said.code == 0, said.out
    assert "no problems found" in said.err


def test_doctor_times_imports_when_asked(terminal: Terminal) -> None:
    terminal.write({"photons/good.py": f"print('noise')\n{GOOD}"})
    plain = terminal.luminal("doctor", *WHERE, "--json")
    assert plain.json()["import_seconds"] == {}
    assert "noise" not in plain.err
    said = terminal.luminal("doctor", *WHERE, "--import-time", "--json")
    assert said.json()["import_seconds"]["good"] > 0
    assert "noise" in said.err
