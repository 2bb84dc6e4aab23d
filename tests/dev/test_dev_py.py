"""``dev.py`` from outside: what it installs, what it runs, and what it says.

Each test runs a copy of it whose uv is a program of ours: that writes down its command,
and makes a Python that writes down its own.
"""

from __future__ import annotations

import ast
import itertools
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
FILES = (
    "dev.py",
    "constraints.txt",
    "pyproject.toml",
    "plugins_example/distribution/pyproject.toml",
)
PYTHON = """#!/bin/sh
echo "python $PWD: $*; PYTHONPATH=$PYTHONPATH VIRTUAL_ENV=$VIRTUAL_ENV \
PIP_CONSTRAINT=$PIP_CONSTRAINT" >> {log}
case "$*" in *mypy*) test ! -e {log}.mypy-fails;; esac
"""
UV = """#!/bin/sh
echo "uv $*" >> {log}
test ! -e {log}.uv-fails || exit 1
test "$1" = venv || exit 0
for environment; do :; done
mkdir -p "$environment/bin"
cp {python} "$environment/bin/python"
cp {python} "$environment/bin/lint-imports"
"""

pytestmark = pytest.mark.skipif(os.name != "posix", reason="its uv is a shell script")


class Door:
    """A copy of ``dev.py``, with what a shell shows it."""

    def __init__(self, place: Path) -> None:
        self.root = place / "a clone"
        for name in FILES:
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, self.root / name)
        self.log = place / "log"
        self.log.touch()
        programs = place / "programs"
        programs.mkdir()
        for name, text in (("python", PYTHON), ("uv", UV)):
            program = programs / name
            program.write_text(text.format(log=self.log, python=programs / "python"))
            program.chmod(0o755)
        path = os.pathsep.join([str(programs), "/usr/bin", "/bin"])
        self.environ = {"PATH": path, "HOME": str(place), "PIP_NO_INDEX": "1"}

    def run(self, *arguments: str, status: int = 0, **environ: str) -> str:
        """Run it, and return what it says."""
        done = subprocess.run(
            [sys.executable, str(self.root / "dev.py"), *arguments],
            env=self.environ | environ,
            cwd=self.root.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stdout
        return done.stdout

    def commands(self) -> list[str]:
        """Return what was run since the last call."""
        lines = self.log.read_text().splitlines()
        self.log.write_text("")
        return lines


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door(tmp_path)


@pytest.mark.parametrize("changed", FILES[1:])
def test_it_installs_once_and_again_when_something_changed(
    door: Door, changed: str
) -> None:
    """In versions that are written down, for those that build something as well."""
    door.run("test", "--quick")
    make, install, test = door.commands()
    assert make.startswith("uv venv ")
    pins = door.root / "constraints.txt"
    assert f" -c {pins} -b {pins} -e . " in install
    assert "-m pytest" in test
    door.run("test", "--quick")
    assert [command.split()[0] for command in door.commands()] == ["python"]
    with (door.root / changed).open("a") as file:
        file.write("\n# changed\n")
    door.run("test", "--quick")
    assert [command.split()[0] for command in door.commands()] == ["uv", "uv", "python"]


@pytest.mark.slow
def test_an_installation_that_failed_is_done_again(door: Door, tmp_path: Path) -> None:
    """uv that fails is followed by pip; when that fails too, nothing is run."""
    fails = tmp_path / "log.uv-fails"
    fails.touch()
    assert "could not install" in door.run("docs", status=1)
    assert [command.split()[:2] for command in door.commands()] == [["uv", "venv"]]
    fails.unlink()
    door.run("docs")
    assert "-m sphinx" in door.commands()[-1]


def test_latest_has_an_environment_of_its_own_without_pins(door: Door) -> None:
    door.run("test", "--quick")
    *_, pinned = door.commands()
    assert f"PIP_CONSTRAINT={(door.root / 'constraints.txt').as_uri()}" in pinned
    door.run("test", "--quick", "--latest")
    make, install, test = door.commands()
    assert "/latest-" in make
    assert "constraints.txt" not in install + test


def test_variables_that_point_elsewhere_are_named_and_left_out(door: Door) -> None:
    said = door.run("bench", PYTHONPATH="elsewhere", VIRTUAL_ENV="elsewhere")
    assert "ignoring PYTHONPATH" in said
    assert "ignoring VIRTUAL_ENV" in said
    assert "PYTHONPATH= VIRTUAL_ENV= " in door.commands()[-1]


def test_the_example_runs_where_the_user_is(door: Door) -> None:
    """With an environment of its own: its photons would turn up in the tests."""
    door.run("run", "my.log")
    *_, extras, host = door.commands()
    assert extras.endswith(str(door.root / "plugins_example" / "distribution"))
    assert f"{door.root.parent}: -P -m plugins_example.pipeline my.log;" in host
    assert f"PYTHONPATH={door.root} " in host


def test_a_check_that_fails_is_named_and_the_others_are_run(
    door: Door, tmp_path: Path
) -> None:
    (tmp_path / "log.mypy-fails").touch()
    said = door.run("test", "tests/one", "-x", status=1)
    assert said.endswith("failed: mypy\n")
    (pytest_,) = (line for line in door.commands() if "-m pytest" in line)
    assert "tests/one -x" in pytest_
    assert "sphinx" not in door.run("check", "ruff", "format")
    assert len(door.commands()) == 2


def test_what_it_cannot_do_is_answered_with_what_it_can(door: Door) -> None:
    """An older Python can read it, and so it can print what is missing."""
    for wrong in (["fly"], ["check", "spelling"], []):
        said = door.run(*wrong, status=2)
        for task in ("run", "test", "check", "bench", "docs", "pins"):
            assert re.search(rf"^{task}\b", said, re.MULTILINE)
    assert not door.commands()
    ast.parse((ROOT / "dev.py").read_text(), feature_version=(3, 6))


def test_pins_are_those_of_uv_and_fit_what_is_asked_for() -> None:
    """`dev.py pins` was run after the last change of a requirement."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    _, *lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert project["tool"]["uv"]["constraint-dependencies"] == lines
    pins = [Requirement(line) for line in lines]
    lists = [
        project["build-system"]["requires"],
        project["project"]["dependencies"],
        *project["project"]["optional-dependencies"].values(),
        *project["dependency-groups"].values(),
    ]
    for entry in itertools.chain(*lists):
        if not isinstance(entry, dict):
            wanted = Requirement(entry)
            versions = [str(p.specifier)[2:] for p in pins if p.name == wanted.name]
            assert versions, entry
            assert all(version in wanted.specifier for version in versions), entry


def test_every_benchmark_can_be_imported() -> None:
    """They use names of the package that no other test uses; to run them takes long."""
    topics = sorted(path.stem for path in (ROOT / "benchmarks").glob("[a-z]*.py"))
    lines = [f"import benchmarks.{topic}" for topic in topics]
    subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], check=True, cwd=ROOT, timeout=100
    )
