"""Settings: the file is weaker than the environment, which is weaker than arguments."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.cli.running import running
from tests.cli.terminal import Said, Terminal

PROJECT = """\
[tool.luminal]
paths = ["photons"]
no-installed = true
without = ["off"]

[tool.luminal.photons.geo]
city = "Kyiv"
"""
GEO = """\
import attrs
import luminal


@attrs.frozen
class Settings:
    city: str


class Geo(luminal.IPhoton):
    photon_name = "geo"
    photon_settings = Settings

    def start(self):
        print("in", self.context.settings.city)
"""
OFF = "import luminal\n\n\nclass Off(luminal.IPhoton):\n    photon_name = 'off'\n"


@pytest.fixture
def project(terminal: Terminal) -> Terminal:
    files = {"photons/geo.py": GEO, "photons/off.py": OFF}
    terminal.write({"pyproject.toml": PROJECT, **files})
    return terminal


def states(said: Said) -> dict[str, str]:
    return {photon["name"]: photon["state"] for photon in said.json()["photons"]}


def test_the_file_is_weaker_than_the_environment_and_that_than_arguments(
    project: Terminal,
) -> None:
    assert states(project.luminal("list", "--json")) == {"geo": "ok", "off": "disabled"}
    project.env["LUMINAL_WITHOUT"] = "geo"
    assert states(project.luminal("list", "--json")) == {"geo": "disabled", "off": "ok"}
    said = project.luminal("list", "--json", "--without", "none")
    assert states(said) == {"geo": "ok", "off": "ok"}


def test_doctor_shows_each_setting_and_where_it_came_from(
    project: Terminal, golden: Callable[..., Said]
) -> None:
    project.env |= {"LUMINAL_API": "2", "LUMINAL_POLLING": "1"}
    text = PROJECT.replace("[tool.luminal]\n", "[tool.luminal]\nquarantine = 3\n")
    project.write({"pyproject.toml": text})
    arguments = ("doctor", "--config", "--group", "mine")
    golden("doctor-config", *arguments)
    rows = project.luminal(*arguments, "--json").json()["settings"]
    assert {row["setting"]: row["source"] for row in rows} == {
        "paths": "pyproject.toml",
        "group": "argument",
        "no-installed": "pyproject.toml",
        "recursive": "default",
        "polling": "$LUMINAL_POLLING",
        "roots": "default",
        "only": "default",
        "without": "pyproject.toml",
        "api": "$LUMINAL_API",
        "quarantine": "pyproject.toml",
        "history": "default",
        "host-key": "default",
        "lock": "default",
        "photons.geo.city": "pyproject.toml",
    }


def test_a_photon_finds_its_settings(project: Terminal) -> None:
    assert "in Kyiv" in project.luminal("run", "--once").out
    project.write({"pyproject.toml": PROJECT.replace("city", "ctiy")})
    said = project.luminal("run", "--once")
    assert said.code == 1
    assert "did you mean 'city'?" in said.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[tool.luminal]\nrecursiv = true\n", "did you mean 'recursive'?"),
        ("\n\n[tool.luminal]\nrecursiv = true\n", "pyproject.toml:4: "),
        ("[a]\nonly=1\n[tool.luminal]\n\n'only' = 1\n", "pyproject.toml:5: "),
        ("[tool.luminal.photon.geo]\na = 1\n", "pyproject.toml:1: "),
        ("[tool.luminal.photon.geo]\na = 1\n", "did you mean 'photons'?"),
        ("[tool]\nluminal.paths = 'a'\n", "'paths' must be a list"),
        ("[tool.luminal]\nonly = 'geo'\n", "'only' must be a list of strings"),
        ("[tool.luminal]\nonly = [1]\n", "'only' must hold strings only"),
        ("[tool.luminal]\nquarantine = true\n", "'quarantine' must be a number"),
        (
            "[tool.luminal]\nphotons = 5\n",
            ":2: [tool.luminal] 'photons' must be a table",
        ),
        (
            "[tool.luminal.photons]\n\ngeo = 1\n",
            ":3: [tool.luminal.photons] 'geo' must",
        ),
        ("[tool.luminal]\nphotons.geo = 1\n", ":2: [tool.luminal.photons] 'geo' must"),
        ("[tool]\nluminal = 1\n", ":2: 'luminal' in [tool] must be a table"),
        ("tool = 1\n", "'tool' must be a table"),
        ("[tool.luminal\n", "cannot be read"),
    ],
)
def test_what_is_wrong_in_the_file_is_a_usage_error(
    text: str, said: str, terminal: Terminal
) -> None:
    terminal.write({"pyproject.toml": text})
    answer = terminal.luminal("list")
    assert (answer.out, answer.code) == ("", 2)
    assert said in answer.err
    assert terminal.luminal("--help").code == 0


ROOTS = """\
[tool.luminal]
paths = ["cogs"]
roots = ["utils"]
no-installed = true
"""
GREET = """\
import luminal
from utils.text import WORD


class Greet(luminal.IPhoton):
    photon_name = "greet"

    def start(self):
        print("greet says", WORD, flush=True)
"""


@pytest.mark.parametrize("how", ["file", "environment", "argument"])
def test_a_folder_that_is_declared_is_reloaded_with_the_photons(
    terminal: Terminal, how: str
) -> None:
    files = {"cogs/greet.py": GREET, "utils/text.py": "WORD = 'one'\n"}
    terminal.write(files)
    arguments = ["watch"]
    if how == "file":
        terminal.write({"pyproject.toml": ROOTS})
    elif how == "environment":
        terminal.env["LUMINAL_ROOTS"] = "utils"
        arguments.append("cogs")
    else:
        arguments += ["cogs", "--roots", "utils"]
    with running(terminal, *arguments) as host:
        terminal.write({"utils/text.py": "WORD = 'two'\n"})
        host.until(event="swapped", photon="greet")


def test_a_root_that_does_not_exist_is_refused(terminal: Terminal) -> None:
    terminal.write({"cogs/greet.py": GREET})
    said = terminal.luminal("list", "cogs", "--roots", "util", "--no-installed")
    assert said.code == 3
    assert "is not a directory" in said.err


def test_check_and_doctor_validate_settings(project: Terminal) -> None:
    """And name the key, the file and the line; tables of no photon as well."""
    wrong = (
        PROJECT.replace('city = "Kyiv"', "city = 3") + "[tool.luminal.photons.goe]\n"
    )
    project.write({"pyproject.toml": wrong})
    said = project.luminal("check")
    assert said.code == 1
    assert "cannot take 3 for the setting 'city'" in said.err
    assert "pyproject.toml:7" in said.err
    said = project.luminal("doctor", "--import-time")
    assert "cannot take 3 for the setting 'city'" in said.out
    assert "at: pyproject.toml:7" in said.out
    assert "settings for 'goe', but no such photon" in said.out
    assert "at: pyproject.toml:8" in said.out
    assert "did you mean 'geo'?" in said.out


def test_an_edited_table_reloads_its_photon_under_watch(project: Terminal) -> None:
    with running(project, "watch") as host:
        project.write({"pyproject.toml": PROJECT.replace("Kyiv", "Lviv")})
        host.until(event="swapped", photon="geo")
        project.write({"pyproject.toml": PROJECT.replace('"Kyiv"', "")})
        told = host.until(event="rejected")
        assert told["problem"]["line"] == 7
        assert "all photons keep their settings" in told["problem"]["consequence"]
        project.write({"pyproject.toml": PROJECT.replace("Kyiv", "Odesa")})
        host.until(event="swapped", photon="geo")


def test_doctor_shows_no_secret_settings(terminal: Terminal) -> None:
    table = '[tool.luminal.photons.geo]\napi_token = "4711"\nport = 80\n'
    table += 'db = [{password = "4711", name = "x"}]\n'
    terminal.write({"pyproject.toml": table})
    for more in ((), ("--json",)):
        said = terminal.luminal("doctor", "--config", *more)
        assert "(not shown)" in said.out
        assert "photons.geo.port" in said.out
        assert "4711" not in said.out
