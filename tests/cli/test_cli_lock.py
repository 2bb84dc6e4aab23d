"""`luminal lock` in a project, and a host that runs beside it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.running import Running
from tests.cli.terminal import Said, Terminal
from tests.distributions import put


@pytest.fixture
def project(terminal: Terminal, tmp_path: Path) -> Terminal:
    """A project with an installed photon, and a directory with another and a helper."""
    site = tmp_path / "site"
    site.mkdir()
    put(site, "geo", "1.0")
    terminal.env["PYTHONPATH"] += f":{site}"
    plugins = terminal.place / "plugins"
    plugins.mkdir()
    (plugins / "words.py").write_text("GREETING = 'hello'\n")
    (plugins / "calc.py").write_text(
        "import words\nfrom luminal import IPhoton\nclass Calc(IPhoton): pass\n"
    )
    return terminal


SETTINGS = '[tool.luminal]\npaths = ["plugins"]\nlock = "luminal.lock"\n'


def rows(terminal: Terminal, *arguments: str) -> tuple[int, dict[str, Any]]:
    said = terminal.luminal("lock", *arguments, "--json")
    answer = json.loads(said.out)
    return said.code, {row["unit"]: row for row in answer.get("units", ())}


def test_a_lock_is_written_and_checked(project: Terminal) -> None:
    assert project.luminal("lock", "check").code == 3
    code, added = rows(project, "plugins")
    assert code == 0
    names = ["geo", "plugins/calc.py", "plugins/words.py"]
    assert list(added) == names
    assert {row["result"] for row in added.values()} == {"added"}
    text = (project.place / "luminal.lock").read_text()
    assert rows(project, "plugins", "--mode", "frozen")[0] == 0
    now = (project.place / "luminal.lock").read_text()
    assert now == text.replace('mode = "pin"', 'mode = "frozen"')
    assert rows(project, "--mode", "pin")[0] == 0
    project.place.joinpath("pyproject.toml").write_text(SETTINGS)
    code, found = rows(project, "check")
    assert code == 0
    assert {row["status"] for row in found.values()} == {"pinned"}
    assert "pinned" in project.luminal("list").out
    assert "pinned: its files are" in project.luminal("inspect", "geo").out


def test_a_change_is_shown_and_accepted_beside_a_host(
    project: Terminal, tmp_path: Path
) -> None:
    site, plugins = tmp_path / "site", project.place / "plugins"
    project.place.joinpath("pyproject.toml").write_text(SETTINGS)
    assert rows(project, "plugins")[0] == 0
    with project.start("run", "--json") as process, contextlib.ExitStack() as stack:
        stack.callback(process.kill)
        host = Running(process)
        host.until(event="ready")
        put(site, "geo", "2.0")
        code, found = rows(project, "check")
        assert code == 4
        assert found["geo"]["status"] == "modified"
        assert "version 1.0 -> 2.0" in found["geo"]["why"]
        # The host keeps running what was accepted.
        said = project.luminal("reload", "geo")
        assert said.code == 4
        assert "luminal lock accept geo" in said.err
        said = project.luminal("lock", "diff", "geo")
        assert "+        return 'geo', '2.0'" in said.out
        assert "luminal lock accept geo" in said.err
        code, found = rows(project, "diff", "geo")
        assert "geo/__init__.py" in found["geo"]["changed"]
        said = project.luminal("lock", "accept", "geo")
        assert said.code == 0, said
        assert "accepted geo 2.0" in said.err
        assert "generation 2" in said.err
        status = json.loads(project.luminal("list", "--running", "--json").out)
        [geo] = [row for row in status["photons"] if row["name"] == "geo"]
        assert (geo["version"], geo["trust"]) == ("2.0", "pinned")
        # A helper that has changed is refused; accepted, its users are swapped.
        (plugins / "words.py").write_text("GREETING = 'bye'\n")
        assert project.luminal("reload", "Calc").code == 4
        code, found = rows(project, "plugins")
        assert (code, found["plugins/words.py"]["result"]) == (4, "modified")
        said = project.luminal("lock", "accept", "plugins/words.py")
        assert said.code == 0
        assert "Calc: reloaded in host" in said.err
        # What a host that hangs has not been asked is told.
        (plugins / "words.py").write_text("GREETING = 'hello'\n")
        os.kill(process.pid, signal.SIGSTOP)
        said = project.luminal("lock", "accept", "plugins/words.py")
        os.kill(process.pid, signal.SIGCONT)
        assert said.code == 4
        assert f"host {process.pid} does not answer" in said.err
        assert host.end() in (0, 130)
    assert 'previous = "' in (project.place / "luminal.lock").read_text()
    (plugins / "words.py").write_text("GREETING = 'again'\n")
    assert project.luminal("run", "--once", "plugins").code == 1
    assert rows(project, "accept", "plugins/words.py")[0] == 0
    assert project.luminal("run", "--once", "plugins", "--frozen").code == 0


def test_what_the_command_prints_is_on_record(
    project: Terminal, golden: Callable[..., Said]
) -> None:
    assert golden("lock", "lock", "plugins", "--no-installed").code == 0
    (project.place / "plugins" / "words.py").write_text("GREETING = 'bye'\n")
    assert golden("lock-check", "lock", "check", "--no-installed").code == 4
    golden("lock-diff", "lock", "diff", "plugins/words.py", "--no-installed")
    golden("lock-accept", "lock", "accept", "plugins/words.py", "--no-installed")
    assert (
        golden("lock-list-json", "lock", "list", "--no-installed", "--json").code == 0
    )


def test_mistakes_are_named(project: Terminal) -> None:
    assert rows(project)[0] == 0
    for words, code, text in (
        (("diff",), 2, "needs the name"),
        (("check", "geo"), 2, "takes no names"),
        (("accept", "goe"), 3, "did you mean 'geo'?"),
        (("accept", "geo", "--mode", "pin"), 2, "--mode"),
        (("list", "--mode", "pinn"), 2, "pinn"),
    ):
        said = project.luminal("lock", *words)
        assert said.code == code, (words, said)
        assert text in said.err
    lock = project.place / "luminal.lock"
    lock.write_text(lock.read_text() + "<<<<<<< ours\n")
    for words in (("check",), ("accept", "geo"), ()):
        said = project.luminal("lock", *words)
        assert said.code == 1
        assert "luminal.lock:" in said.err
        assert "conflict" in said.err
    assert lock.read_text().endswith("<<<<<<< ours\n")


@pytest.mark.parametrize("word", ["frozn", "Frozen", "frozen "])
def test_a_misspelt_mode_is_refused_and_never_less_strict(
    project: Terminal, word: str
) -> None:
    assert rows(project)[0] == 0
    before = sorted(project.place.iterdir())
    commands = (("lock", "check"), ("lock",), ("run", "--once", "plugins"))
    for name in ("$LUMINAL_LOCK", "the setting 'lock'"):
        if name[0] == "$":
            project.env["LUMINAL_LOCK"] = word
        else:
            del project.env["LUMINAL_LOCK"]
            project.write({"pyproject.toml": f"[tool.luminal]\nlock = '{word}'\n"})
            before = sorted(project.place.iterdir())
        for words in commands:
            said = project.luminal(*words)
            assert said.code in (1, 2), said
            assert f"{name} is {word!r}" in said.err
            assert "did you mean 'frozen'?" in said.err
    assert sorted(project.place.iterdir()) == before


@pytest.mark.skipif(sys.platform == "win32", reason="needs permissions")
def test_frozen_refuses_what_is_not_listed(project: Terminal) -> None:
    project.env["LUMINAL_LOCK"] = "frozen"
    said = project.luminal("run", "--once", "plugins", "--no-installed")
    assert said.code == 1
    assert "the lock does not list it" in said.err
    project.env["LUMINAL_LOCK"] = "locked"
    said = project.luminal("run", "--once", "plugins", "--no-installed")
    assert "no such mode" in said.err


def test_a_photon_of_a_listed_directory_is_known_by_its_name(
    project: Terminal,
) -> None:
    assert project.luminal("lock", "plugins", "--no-installed").code == 0
    said = project.luminal("lock", "diff", "Calc", "--no-installed")
    assert said.code == 0, said.err
    assert "plugins/calc.py" in said.out
    _, found = rows(project, "list", "--no-installed")
    assert found["plugins/calc.py"]["photons"] == ["Calc"]
    assert found["plugins/words.py"]["photons"] == []
    said = project.luminal("lock", "diff", "Cale", "--no-installed")
    assert said.code == 3
    assert "did you mean 'Calc'?" in said.err


def test_a_misspelt_verb_of_lock_is_answered_with_the_verb(project: Terminal) -> None:
    said = project.luminal("lock", "acept", "geo")
    assert said.code == 2
    assert "did you mean 'accept'?" in said.err
    (project.place / "acept").mkdir()
    assert project.luminal("lock", "acept", "--no-installed").code == 0
