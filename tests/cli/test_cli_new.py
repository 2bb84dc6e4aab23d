"""``luminal new``, then everything else that an author does, as a newcomer would."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from threading import Timer

import attrs
import pytest

from tests.cli.terminal import Terminal
from tests.waiting import DEADLINE

ROOT = Path(__file__).resolve().parents[2]


def test_new_writes_over_nothing(terminal: Terminal) -> None:
    said = terminal.luminal("new", "geo", "--json")
    assert [Path(path).name for path in said.json()["files"]] == [
        "geo.py",
        "test_geo.py",
    ]
    (terminal.place / "geo.py").unlink()
    said = terminal.luminal("new", "geo", "--json")
    assert said.code == said.json()["exit"] == 4
    assert said.json()["error"]["code"] == "LUM402"
    assert not (terminal.place / "geo.py").exists()


@pytest.mark.parametrize("name", ["class", "json", "1st", "a b", "../up", "", "-x"])
def test_new_refuses_a_name_that_cannot_be_one(name: str, terminal: Terminal) -> None:
    said = terminal.luminal("new", "--", name)
    assert said.code == 2
    assert list(terminal.place.iterdir()) == []


@attrs.define
class Fresh:
    """A new machine's Python, with Luminal installed from its wheel and nothing else
    of this tree; and a directory to work in.
    """

    place: Path
    env: dict[str, str]

    def run(self, *command: str, where: str = ".") -> str:
        """Run a command as it would be typed; return what it says, if all is well."""
        done = subprocess.run(
            command,
            cwd=self.place / where,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=DEADLINE * 3,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}"
        return done.stdout

    @contextmanager
    def host(self, *words: str) -> Iterator[Lines]:
        """Run ``luminal watch`` meanwhile; it must end well on Ctrl-C."""
        with subprocess.Popen(
            ["luminal", "watch", *words],
            cwd=self.place,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            lines = Lines(process)
            try:
                lines.until("running; ")
                yield lines
                process.send_signal(signal.SIGINT)
                lines.until("^stopped")
                assert process.wait(DEADLINE) == 130  # that it was interrupted
            finally:
                process.kill()


@attrs.define
class Lines:
    """What a process says, line by line."""

    process: subprocess.Popen[str]
    said: list[str] = attrs.Factory(list)

    def until(self, pattern: str, deadline: float = DEADLINE) -> str:
        """Return the next line that *pattern* is found in."""
        assert self.process.stdout is not None
        timer = Timer(deadline, self.process.kill)
        timer.start()
        try:
            for line in self.process.stdout:
                self.said.append(line)
                if re.search(pattern, line):
                    return line
        finally:
            timer.cancel()
        raise AssertionError(f"never said {pattern!r}:\n{''.join(self.said)}")


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the programs are of an environment with what a photon's author installs."""
    place = tmp_path_factory.mktemp("machine")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", place]
    subprocess.run(
        build, cwd=ROOT, check=True, capture_output=True, timeout=DEADLINE * 3
    )
    (wheel,) = place.glob("*.whl")
    venv.create(place / "env", with_pip=True, symlinks=True)
    tools = place / "env" / "bin"
    install = [tools / "python", "-m", "pip", "install", "-q"]
    # The build backend is there, so that a project is built without a look outside.
    wanted = [f"{wheel}[cli,testing]", "hatchling"]
    subprocess.run([*install, *wanted], check=True, timeout=DEADLINE * 3)
    return tools


@pytest.fixture
def fresh(machine: Path, tmp_path: Path) -> Iterator[Fresh]:
    place = tmp_path / "empty"
    place.mkdir()
    with tempfile.TemporaryDirectory(prefix="lum-") as sockets:
        kept = {k: v for k, v in os.environ.items() if k.startswith(("PIP_", "LANG"))}
        env = {
            **kept,
            "PATH": f"{machine}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "LUMINAL_RUNTIME_DIR": sockets,
            "PYTHONUNBUFFERED": "1",
        }
        yield Fresh(place, env)


outside = [
    pytest.mark.slow,
    pytest.mark.skipif(
        os.name != "posix" or not (find_spec("hatchling") and find_spec("pip")),
        reason="needs hatchling, pip, and signals as Unix has them",
    ),
]


def both_pass(fresh: Fresh, photon: str, test: str) -> None:
    """What was written can be loaded and reloaded, and its own test passes."""
    (row,) = json.loads(fresh.run("luminal", "check", "--strict", "--json", photon))[
        "photons"
    ]
    assert row["name"] == "first-one"
    assert "2 passed" in fresh.run("python", "-m", "pytest", "-q", test)


class TestInAFreshEnvironment:
    """Wheel and pip, and no trace of this tree on any path."""

    pytestmark = outside

    @pytest.mark.parametrize(
        ("kind", "path", "edited"),
        [
            ("file", "first_one.py", "first_one.py"),
            ("folder", "first_one/__init__.py", "first_one/greeting.py"),
        ],
    )
    def test_from_nothing_to_a_photon_that_is_reloaded(
        self, fresh: Fresh, kind: str, path: str, edited: str
    ) -> None:
        """new, check, its test, run, edit: the new text is swapped in."""
        fresh.run("luminal", "new", "first-one", "--kind", kind)
        both_pass(fresh, path, "test_first_one.py")
        said = fresh.run("luminal", "run", "--once", "--no-installed", ".")
        assert "hello from first-one" in said
        with fresh.host("--no-installed", ".") as lines:
            file = fresh.place / edited
            text = file.read_text()
            file.write_text(text.replace("hello from", "once more from"))
            lines.until("once more from first-one")
            lines.until("first-one 1 -> 2 ")
            file.write_text("class (")
            lines.until("first-one 2 .*rejected: ")
            file.write_text(text)
            lines.until("first-one 2 -> ")

    def test_from_nothing_to_a_distribution_that_is_upgraded(
        self, fresh: Fresh
    ) -> None:
        """new, check, its test, pip install, found and run by a host that pip
        upgrades under way: one swap, and then the new version is listed."""
        fresh.run("luminal", "new", "first-one", "--kind", "distribution")
        both_pass(fresh, "first-one/src", "first-one/tests")
        pip = ("python", "-m", "pip", "-q")
        install = (*pip, "install", "--no-build-isolation")
        fresh.run(*install, "./first-one")
        try:
            (row,) = json.loads(fresh.run("luminal", "list", "--json"))["photons"]
            assert (row["name"], row["version"]) == ("first-one", "0.1.0")
            assert fresh.place not in Path(row["location"]).parents
            with fresh.host() as lines:
                assert any("hello from first-one" in line for line in lines.said)
                project = fresh.place / "first-one"
                for file, old, new in (
                    ("pyproject.toml", "0.1.0", "0.2.0"),
                    ("src/first_one/greeting.py", "hello from", "upgraded:"),
                ):
                    text = (project / file).read_text()
                    assert old in text
                    (project / file).write_text(text.replace(old, new))
                fresh.run(*install, "-U", "./first-one")
                lines.until("upgraded: first-one")
                lines.until("first-one 1 -> 2 ")
            (row,) = json.loads(fresh.run("luminal", "list", "--json"))["photons"]
            assert row["version"] == "0.2.0"
        finally:
            fresh.run(*pip, "uninstall", "-y", "first-one")
