"""Completion in the shells themselves: commands, options, photons, running ones.

A photon's file that is read for completion is not executed.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest

from tests.cli.running import geo, running
from tests.cli.screen import on_screen
from tests.cli.terminal import Terminal

PHOTONS = {
    f"photons/{name}.py": "import luminal\n\nopen('marker', 'w').close()\n\n\n"
    f"class {name.title()}(luminal.IPhoton):\n    photon_name = '{name}'\n"
    f"    photon_description = 'Says {name}.'\n\n"
    "    @luminal.hookimpl\n    def locate(self): ...\n"
    for name in ("geo", "gauge", "rain")
}


def by_bash(terminal: Terminal, line: str) -> list[str]:
    """Return what bash's completion function offers for the end of *line*."""
    words = line.split(" ")
    said = terminal.shell(
        'eval "$(_LUMINAL_COMPLETE=bash_source luminal)"\n'
        f"COMP_WORDS=({' '.join(map(repr, words))})\n"
        f"COMP_CWORD={len(words) - 1}\nCOMP_LINE={line!r}\n"
        "_luminal_completion luminal\n"
        "printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    assert said.code == 0, said.err
    return said.out.split()


def by_fish(terminal: Terminal, line: str) -> list[str]:
    """Return what fish's completion engine offers for the end of *line*."""
    script = f"_LUMINAL_COMPLETE=fish_source luminal | source; complete -C {line!r}"
    said = terminal.shell(f"fish --no-config -c '{script.replace(chr(39), chr(34))}'")
    assert said.code == 0, said.err
    # A description follows after a tab.
    return [line.partition("\t")[0] for line in said.out.splitlines()]


def by_zsh(terminal: Terminal, line: str) -> list[str]:
    """Return what zsh's completion function hands to its engine for *line*."""
    words = line.split(" ")
    # The system's functions are left alone: what is asked for is what it is handed.
    said = terminal.shell(
        "zsh -f -c '"
        "compdef() { : }; _describe() { print -rl -- ${(P)3} }\n"
        "compadd() { print -rl -- ${(P)@[-1]} }\n"
        'eval "$(_LUMINAL_COMPLETE=zsh_source luminal)"\n'
        f'words=({" ".join(words[:-1])} "{words[-1]}"); CURRENT={len(words)}\n'
        "_luminal_completion'"
    )
    assert said.code == 0, said.err
    found = [line.partition(":")[0] for line in said.out.splitlines()]
    return list(dict.fromkeys(found))


ASKED = [
    pytest.param(by_bash, "bash", id="bash"),
    pytest.param(by_zsh, "zsh", id="zsh"),
    pytest.param(by_fish, "fish", id="fish"),
]


def need(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed here")


@pytest.mark.parametrize(("ask", "shell"), ASKED)
def test_a_shell_completes_commands_options_and_photons(
    ask: Callable[[Terminal, str], list[str]], shell: str, terminal: Terminal
) -> None:
    """Without importing any photon: each would leave a marker."""
    need(shell)
    terminal.write(PHOTONS)
    assert ask(terminal, "luminal li") == ["list"]
    assert "--only" in ask(terminal, "luminal list --o")
    names = ask(terminal, "luminal list photons --only g")
    assert sorted(names) == ["gauge", "geo"]
    assert sorted(ask(terminal, "luminal inspect photons -p ra")) == ["rain"]
    assert ask(terminal, "luminal order photons --hook loc") == ["locate"]
    assert not (terminal.place / "marker").exists()


@pytest.mark.parametrize(("ask", "shell"), ASKED)
def test_a_shell_completes_the_photons_that_run(
    ask: Callable[[Terminal, str], list[str]], shell: str, terminal: Terminal
) -> None:
    need(shell)
    terminal.write({"a/geo.py": geo("one")})
    with running(terminal, "run", "a") as host:
        assert ask(terminal, "luminal reload g") == ["geo"]
        pid = str(host.process.pid)
        assert ask(terminal, f"luminal top --host {pid[:1]}") == [pid]
        assert ask(terminal, f"luminal disable --host {pid} g") == ["geo"]
        host.end()
    assert ask(terminal, "luminal reload g") == []


INTERACTIVE = {
    "bash": (
        ["bash", "--noprofile", "--norc", "-i"],
        'eval "$(_LUMINAL_COMPLETE=bash_source luminal)"',
    ),
    "zsh": (
        ["zsh", "-f", "-i"],
        (
            "autoload -Uz compinit; compinit -u -D\n"
            'eval "$(_LUMINAL_COMPLETE=zsh_source luminal)"'
        ),
    ),
    "fish": (
        ["fish", "--no-config", "-i"],
        "_LUMINAL_COMPLETE=fish_source luminal | source",
    ),
}


@pytest.mark.parametrize("shell", INTERACTIVE)
def test_a_shell_completes_as_one_types(shell: str, terminal: Terminal) -> None:
    """An interactive shell with its line editor, asked by the tab key."""
    need(shell)
    terminal.write(PHOTONS)
    (terminal.place / ".inputrc").write_text("set bell-style none\n")
    words, script = INTERACTIVE[shell]
    # dumb: no escape sequences between the letters; fish draws on any terminal.
    term = "xterm" if shell == "fish" else "dumb"
    env = {**terminal.env, "TERM": term, "PS1": "> ", "INPUTRC": ".inputrc"}
    with on_screen(words, terminal.place, env) as screen:
        screen.type(f'{script}; echo re""ady\n')
        screen.until("ready")
        screen.type("luminal list photons --only ra\t")
        screen.until("rain")
    assert not (terminal.place / "marker").exists()
