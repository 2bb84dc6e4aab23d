"""The program itself: help, usage, the missing extra, completion, colour."""

from __future__ import annotations

import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
from fcntl import ioctl
from importlib import import_module
from pathlib import Path

import pytest

from luminal.cli.root import VERBS
from tests.cli.terminal import Terminal

PHOTONS = {
    f"photons/{name}.py": "import luminal\n\nopen('marker', 'w').close()\n\n\n"
    f"class {name.title()}(luminal.IPhoton):\n    photon_name = '{name}'\n"
    for name in ("geo", "gauge", "rain")
}


def test_help_names_every_verb_and_every_exit_code(terminal: Terminal) -> None:
    said = terminal.luminal("--help")
    assert said.code == 0
    for verb, line in VERBS.items():
        assert re.search(rf"^  {verb} +{re.escape(line)}$", said.out, re.MULTILINE)
    for code in ("0", "1", "2", "3", "4", "5", "130"):
        assert re.search(rf"\b{code} [a-z]", said.out)


@pytest.mark.parametrize("verb", VERBS)
def test_a_verbs_own_help_begins_with_the_line_in_the_list(verb: str) -> None:
    """The list is written by hand, so that help needs no verb's module."""
    command = import_module(f"luminal.cli.verbs.{verb}").command
    assert command.help is not None
    assert " ".join(command.help.split("\n\n")[0].split()) == VERBS[verb]
    assert command.name == verb


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_and_json(verb: str, terminal: Terminal) -> None:
    said = terminal.luminal(verb, "--help")
    assert said.code == 0
    assert "--json" in said.out


def test_help_imports_no_verb_and_nothing_heavy() -> None:
    code = (
        "import sys\nfrom luminal.cli import main\nmain(['--help'])\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    loaded = set(done.stderr.split())
    assert {"rich", "asyncio", "pluggy", "attr", "json", "logging"} & loaded == set()
    assert not [name for name in loaded if name.startswith("luminal.cli.verbs")]


def test_a_misspelt_verb_is_a_usage_error_with_the_nearest(terminal: Terminal) -> None:
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


def complete(terminal: Terminal, *words: str) -> list[str]:
    """Return what a real bash offers for the last of *words*."""
    line = " ".join(["luminal", *words])
    said = terminal.shell(
        'eval "$(luminal --completion bash)"\n'
        f"COMP_WORDS=(luminal {' '.join(repr(w) for w in words)})\n"
        f"COMP_CWORD={len(words)}\nCOMP_LINE={line!r}\n"
        "_luminal_completion luminal\n"
        "printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    assert said.code == 0, said.err
    return said.out.split()


def test_bash_completes_verbs_options_and_photons(terminal: Terminal) -> None:
    terminal.write(PHOTONS)
    assert complete(terminal, "l") == ["list"]
    assert "--only" in complete(terminal, "list", "--o")
    names = complete(terminal, "list", "photons", "--only", "g")
    assert sorted(names) == ["gauge", "geo"]
    assert not (terminal.place / "marker").exists()


def test_bash_completes_as_one_types(terminal: Terminal) -> None:
    """An interactive bash with its line editor, asked by the tab key."""
    terminal.write(PHOTONS)
    (terminal.place / ".inputrc").write_text("set bell-style none\n")
    # dumb: no escape sequences between the letters
    env = {**terminal.env, "TERM": "dumb", "PS1": "> ", "INPUTRC": ".inputrc"}
    child, fd = pty.fork()
    if child == 0:
        os.chdir(terminal.place)
        os.execvpe("bash", ["bash", "--noprofile", "--norc", "-i"], env)
    try:
        os.write(fd, b'eval "$(luminal --completion bash)"; echo re""ady\n')
        read_until(fd, b"ready")
        os.write(fd, b"luminal list photons --only ra\t")
        assert b"rain" in read_until(fd, b"rain")
    finally:
        os.close(fd)
        os.waitpid(child, 0)


def read_until(fd: int, wanted: bytes, seconds: float = 20) -> bytes:
    """Read from a terminal until *wanted* has come, or nothing more does."""
    text = b""
    while wanted not in text:
        if not select.select([fd], [], [], seconds)[0]:
            break
        try:
            more = os.read(fd, 4096)
        except OSError:  # the other end has been closed
            break
        text += more
    return text


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_a_script_of_theirs(shell: str, terminal: Terminal) -> None:
    said = terminal.luminal("--completion", shell)
    assert said.code == 0
    assert f"_LUMINAL_COMPLETE={shell}_complete" in said.out


def on_terminal(terminal: Terminal, columns: int, *arguments: str) -> str:
    """Return what *arguments* print on a terminal of so many columns."""
    child, fd = pty.fork()
    if child == 0:
        os.chdir(terminal.place)
        ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        env = {**terminal.env, "TERM": "xterm-256color"}
        words = [sys.executable, "-m", "luminal", *arguments]
        os.execve(sys.executable, words, env)
    text = read_until(fd, b"\0")  # which never comes: all there is
    os.close(fd)
    os.waitpid(child, 0)
    return text.decode()


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


@pytest.mark.parametrize("verb", VERBS)
def test_the_reference_has_each_verb(verb: str) -> None:
    """Its options and the exit codes are generated, and tested with the other pages."""
    text = REFERENCE.read_text(encoding="utf-8")
    assert re.search(rf"^\| `{verb}` \|", text, re.MULTILINE)
