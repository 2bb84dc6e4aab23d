"""What the command line says when something refuses: the system, or itself."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from tests.cli.running import geo, running
from tests.cli.terminal import Terminal

WHERE = ("--no-installed", "a")


@pytest.fixture
def sketch(terminal: Terminal) -> Terminal:
    """A terminal in a directory with a photon in it."""
    terminal.write({"a/geo.py": geo("one")})
    return terminal


@pytest.mark.parametrize(
    ("arguments", "code", "what"),
    [
        (("list", "--nonsense"), 2, "'--nonsense'"),
        (("lisst",), 2, "No such command 'lisst'"),
        (("new", "class"), 2, "is a keyword or a standard module"),
        (("run", *WHERE, "--once", "--watch"), 2, "exclude each other"),
        (("new", "geo", "--in", "a/geo.py/x"), 1, os.strerror(errno.ENOTDIR)),
        (("report", *WHERE, "--output", "nowhere/x"), 1, "nowhere/x"),
        (("run", *WHERE, "--page", "{port}"), 1, "{port}"),
        (("watch", "nowhere"), 3, "is not a directory"),
        (("run", "--no-installed", "--only", "gee", "a"), 3, "was not found"),
    ],
    ids=str,
)
def test_who_asks_for_json_gets_a_document_whatever_refuses(
    arguments: tuple[str, ...], code: int, what: str, sketch: Terminal
) -> None:
    """Of `run` and `watch` it takes one line, as all of theirs."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        arguments = tuple(word.format(port=port) for word in arguments)
        said = sketch.luminal(*arguments, "--json")
    assert said.code == code, said.err
    document = json.loads(said.out)
    command = arguments[0] if arguments[0] != "lisst" else ""
    assert (document["schema"], document["command"]) == (2, command)
    assert document["exit"] == code
    assert what.format(port=port) in document["error"]["what"]
    assert command not in ("run", "watch") or len(said.out.splitlines()) == 1
    assert "Traceback" not in said.err


def test_settings_that_cannot_be_read_are_refused_in_json_too(sketch: Terminal) -> None:
    sketch.write({"pyproject.toml": "[tool.luminal]\npath = ['a']\n"})
    said = sketch.luminal("list", "--json")
    assert said.code == said.json()["exit"] == 2
    assert "did you mean 'paths'" in said.json()["error"]["what"]


@pytest.mark.skipif(sys.platform == "win32", reason="a shell's own")
@pytest.mark.parametrize(
    "command",
    ["list", "list --json", "check", "run --once", "run --once --json", "demo"],
)
def test_a_closed_output_is_as_good_as_none(command: str, sketch: Terminal) -> None:
    """`luminal COMMAND >&- 2>&-`, as some supervisors start a service."""
    where = " ".join(WHERE) if command != "demo" else ""
    for closed in (">&-", "2>&-", ">&- 2>&-"):
        said = sketch.shell(f"luminal {command} {where} {closed}")
        assert "Traceback" not in said.err
        assert said.code == 0, said.err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("command", ["run --once", "run --once --json", "watch"])
def test_a_host_whose_output_is_lost_says_so_and_fails(
    command: str, sketch: Terminal
) -> None:
    said = sketch.shell(f"luminal {command} {' '.join(WHERE)} > /dev/full")
    assert said.code == 1
    assert f"luminal: {os.strerror(errno.ENOSPC)}" in said.err.splitlines()


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs SIGHUP")
def test_hang_ups_to_the_last_do_not_change_how_a_host_ends(sketch: Terminal) -> None:
    with running(sketch, "run", "a") as host:
        host.process.send_signal(signal.SIGINT)
        host.until(event="stopped")
        while host.process.poll() is None:
            host.process.send_signal(signal.SIGHUP)
        assert host.process.returncode == 130


@pytest.mark.parametrize("command", ["check", "list", "run"])
def test_who_names_a_package_instead_of_its_file_is_told(
    command: str, terminal: Terminal
) -> None:
    terminal.write({"geo/__init__.py": geo("one"), "geo/other.py": ""})
    said = terminal.luminal(command, "geo", "--no-installed")
    assert said.code == 3
    file = str(Path("geo", "__init__.py"))
    assert f"'geo' is a package; pass {file!r}" in said.err


@pytest.mark.parametrize("kind", ["file", "folder", "distribution"])
@pytest.mark.parametrize("name", ["luminal", "Pytest", "attrs", "conftest"])
def test_new_refuses_a_name_that_would_hide_what_its_test_needs(
    name: str, kind: str, terminal: Terminal
) -> None:
    said = terminal.luminal("new", name, "--kind", kind)
    assert said.code == 2
    assert "would hide a module" in " ".join(said.err.split())
    assert list(terminal.place.iterdir()) == []
