"""The program itself: help, usage, the missing extra, completion, colour."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from luminal.cli._main import COMMANDS, root
from tests.cli.screen import on_screen
from tests.cli.terminal import Terminal

PHOTONS = {
    f"photons/{name}.py": "import luminal\n\nopen('marker', 'w').close()\n\n\n"
    f"class {name.title()}(luminal.IPhoton):\n    photon_name = '{name}'\n"
    for name in ("geo", "gauge", "rain")
}


def test_help_names_every_command_and_every_exit_code(terminal: Terminal) -> None:
    said = terminal.luminal("--help")
    assert said.code == 0
    for name, line in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(line)}$", said.out, re.MULTILINE)
    for code in ("0", "1", "2", "3", "4", "5", "130"):
        assert re.search(rf"\b{code}\s+[a-z]", said.out)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_commands_own_help_begins_with_the_line_in_the_list(name: str) -> None:
    """The list is written by hand, so that help needs no command's module."""
    command = root.get_command(click.Context(root), name)
    assert command is not None
    assert command.help is not None
    assert " ".join(command.help.split("\n\n")[0].split()) == COMMANDS[name]
    assert command.name == name


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_json(name: str, terminal: Terminal) -> None:
    said = terminal.luminal(name, "--help")
    assert said.code == 0
    assert "--json" in said.out


def test_help_imports_no_command_and_nothing_heavy() -> None:
    code = (
        "import sys\nfrom luminal.cli import main\nmain(['--help'])\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    loaded = set(done.stderr.split())
    assert {"rich", "asyncio", "pluggy", "attr", "json", "logging"} & loaded == set()
    ours = {name for name in loaded if name.startswith("luminal.cli")}
    assert ours == {"luminal.cli", "luminal.cli._main", "luminal.cli._output"}


def test_a_misspelt_command_is_a_usage_error_with_the_nearest(
    terminal: Terminal,
) -> None:
    said = terminal.luminal("lsit")
    assert (said.out, said.code) == ("", 2)
    assert "did you mean 'list'?" in said.err
    assert terminal.luminal("list", "--nonsense").code == 2


def test_without_the_extra_one_line_says_what_to_install(terminal: Terminal) -> None:
    """Whichever of the two libraries is missing."""
    terminal.write({"click.py": "raise ModuleNotFoundError('no', name='click')"})
    terminal.env["PYTHONPATH"] = f"{terminal.place}:{terminal.env['PYTHONPATH']}"
    said = terminal.luminal("list")
    assert (said.out, said.code) == ("", 2)
    assert said.err.count("\n") == 1
    assert "pip install 'luminal-photons[cli]'" in said.err


def on_terminal(terminal: Terminal, columns: int, *arguments: str) -> str:
    """Return what *arguments* print on a terminal of so many columns."""
    words = [sys.executable, "-m", "luminal", *arguments]
    with on_screen(words, terminal.place, terminal.env, columns) as screen:
        return screen.rest()


def test_a_table_folds_to_a_narrow_terminal(terminal: Terminal) -> None:
    long = "a" * 60
    terminal.write(
        {
            f"{long}/deep/geo.py": "import luminal\n\n\nclass Geo(luminal.IPhoton):\n"
            "    photon_name = '[bold]geo'\n    photon_requires = ('nowhere',)\n"
        }
    )
    arguments = ("list", "--no-installed", f"{long}/deep")
    text = on_terminal(terminal, 80, *arguments)
    assert "\x1b[" in text
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    table = plain.partition("photon '")[0].splitlines()
    assert max(map(len, table)) <= 80
    assert "[bold]geo" in plain


def test_no_color_is_respected(terminal: Terminal) -> None:
    terminal.write(PHOTONS)
    terminal.write({"photons/bad.py": "import luminal\nclass Bad(luminal.IPhoton: x\n"})
    terminal.env["NO_COLOR"] = "1"
    text = on_terminal(terminal, 80, "list", "--no-installed", "photons")
    assert "LUM104" in text
    assert not re.findall(r"\x1b\[(?:[0-9]+;)*[349][0-9]", text)


def test_output_that_is_no_terminal_has_no_colour(terminal: Terminal) -> None:
    terminal.write({"photons/bad.py": "class Bad(IPhoton: x\n"})
    said = terminal.luminal("list", "--no-installed", "photons")
    assert said.code == 1
    assert "\x1b" not in said.out + said.err


def test_version_is_the_packages(terminal: Terminal) -> None:
    import luminal

    assert luminal.__version__ in terminal.luminal("--version").out


def test_the_current_directory_may_be_gone(terminal: Terminal, tmp_path: Path) -> None:
    said = terminal.shell("mkdir gone && cd gone && rmdir ../gone && luminal --help")
    assert said.code == 0, said.err


REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "cli.md"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_reference_has_each_command(name: str) -> None:
    """Its options and the exit codes are generated, and tested with the other pages."""
    text = REFERENCE.read_text(encoding="utf-8")
    commands, _, keys = text.partition("## Where photons are looked for")
    row = re.compile(rf"^\|.*`{name}`.* \|", re.MULTILINE)
    assert re.search(rf"^\| `{name}` \|", commands, re.MULTILINE)
    assert row.search(keys)
