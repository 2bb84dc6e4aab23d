"""``check``, ``new`` and ``doctor``: what authors and operators do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from luminal.cli.safety import AT_IMPORT, FOR_EVER, obstacles_of
from luminal.model import Candidate, Source
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
    said = terminal.luminal("check", *WHERE, "--timeout", "0.3", timeout=30)
    assert said.code == 1
    assert "LUM111" in said.err


@pytest.mark.slow
def test_check_ends_though_an_import_left_a_thread(terminal: Terminal) -> None:
    text = "import threading\nwait = threading.Event().wait\n"
    text += "threading.Thread(target=wait, daemon=False).start()\n"
    terminal.write({"photons/good.py": text + GOOD})
    said = terminal.luminal("check", *WHERE, timeout=30)
    assert said.code == 0
    assert "no because line 3" in said.out


def judged(tmp_path: Path, text: str) -> list[int]:
    path = tmp_path / "judged.py"
    path.write_text(text)
    candidate = Candidate("judged", Source.DIRECTORY, str(tmp_path), str(path))
    return [obstacle.line for obstacle in obstacles_of(candidate)]


@pytest.mark.parametrize("call", sorted({**AT_IMPORT, **FOR_EVER}))
def test_each_listed_call_is_found_under_any_name(call: str, tmp_path: Path) -> None:
    """As ``module.call``, renamed, and imported from its module."""
    module, _, name = call.rpartition(".")
    head = module.partition(".")[0]
    assert judged(tmp_path, f"import {head}\n\n{call}()\n") == [3]
    renamed = call.replace(head, "other", 1)
    assert judged(tmp_path, f"import {head} as other\n\n{renamed}()\n") == [3]
    if head == module:
        assert judged(tmp_path, f"from {head} import {name}\n\n{name}()\n") == [3]


def test_what_runs_later_or_as_a_script_is_no_obstacle(tmp_path: Path) -> None:
    text = (
        "import os\nimport threading\n\n\ndef start():\n    os.chdir('/')\n\n\n"
        "class P:\n    def start(self):\n        threading.Timer(1, print).start()\n"
        "\n\nchdir = lambda: os.chdir('/')\n"
        "if __name__ == '__main__':\n    os.chdir('/')\n"
    )
    assert judged(tmp_path, text) == []


def test_a_class_body_and_a_default_run_at_import(tmp_path: Path) -> None:
    text = "import os\n\n\nclass P:\n    os.chdir('/')\n    os.environ['A'] = ''\n"
    assert judged(tmp_path, text) == [5, 6]
    assert judged(tmp_path, "import os\n\n\ndef f(x=os.chdir('/')): ...\n") == [4]


def test_registering_with_an_imported_function_is_for_ever(tmp_path: Path) -> None:
    text = "from host import show\n\n\n@show.register(int)\ndef _(x): ...\n"
    assert judged(tmp_path, text) == [4]


def test_doctor_finds_each_ill_and_names_its_mend(
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
    assert "'two' is there twice" in whats
    assert "cache cannot be written" in whats
    assert "requires 'nobody'" in whats
    assert whats.count("compiled file without its source") == 1
    assert all(finding["mend"] for finding in document["findings"])
    assert said.code == document["exit"] == 1
    text = terminal.luminal("doctor", "photons").out
    assert text.count("  try: ") == len(document["findings"])


def test_doctor_is_content_with_a_good_place(terminal: Terminal) -> None:
    terminal.write({"photons/good.py": GOOD})
    said = terminal.luminal("doctor", *WHERE)
    assert said.code == 0, said.out
    assert "nothing amiss" in said.err


def test_doctor_times_imports_when_asked(terminal: Terminal) -> None:
    terminal.write({"photons/good.py": f"print('noise')\n{GOOD}"})
    plain = terminal.luminal("doctor", *WHERE, "--json")
    assert plain.json()["import_seconds"] == {}
    assert "noise" not in plain.err
    said = terminal.luminal("doctor", *WHERE, "--import-time", "--json")
    assert said.json()["import_seconds"]["good"] > 0
    assert "noise" in said.err
