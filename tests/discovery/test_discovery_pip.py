"""Real installations: built and installed by pip into a fresh virtual environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import venv
from pathlib import Path

import pytest

import luminal

pytestmark = pytest.mark.slow
ROOT = str(Path(luminal.__file__).parent.parent)

BACKENDS = {
    "setuptools": "[build-system]\nrequires = ['setuptools']\n"
    "build-backend = 'setuptools.build_meta'\n",
    "hatchling": "[build-system]\nrequires = ['hatchling']\n"
    "build-backend = 'hatchling.build'\n",
}
PROJECT = """
[project]
name = "sky-{name}"
version = "1.2"
description = "Photons of the sky"
authors = [{{ name = "Ann" }}]
keywords = ["sky", "test"]
dependencies = ["attrs>=21"]
[project.entry-points."luminal.photons"]
{name} = "sky_{name}.deep.rain:Rain"
"""
PHOTON = """
import sys
from luminal import IPhoton
sys.exit("a photon was imported")

class Rain(IPhoton):
    photon_tags = ["wet"]
"""
LOOK = """
import json, sys
from luminal.discovery import discover
found = discover(index=sys.argv[1])
assert found == discover(index=False)
assert found == discover(index=sys.argv[1])
print(json.dumps([
    [c.name, c.origin, c.location, c.version, c.author, c.description, c.tags,
     c.problem and str(c.problem.error(c.name))] for c in found
]))
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the build backends and what Luminal needs."""
    place = tmp_path_factory.mktemp("fresh") / "venv"
    venv.create(place, with_pip=True, symlinks=True)
    pip(place, "install", "setuptools>=69", "hatchling", "editables")
    pip(place, "install", "attrs", "packaging", "pluggy")
    return place


def python(environment: Path) -> str:
    folder = "Scripts" if sys.platform == "win32" else "bin"
    return str(environment / folder / "python")


def pip(environment: Path, *arguments: str) -> None:
    command = [python(environment), "-m", "pip", "-q", "--disable-pip-version-check"]
    subprocess.run([*command, *arguments], check=True, timeout=300)


def look(environment: Path, cache: Path) -> list[list[object]]:
    run = subprocess.run(
        [python(environment), "-c", LOOK, str(cache)],
        env={**os.environ, "PYTHONPATH": ROOT},
        capture_output=True,
        text=True,
        check=True,
    )
    found: list[list[object]] = json.loads(run.stdout)
    return found


@pytest.mark.fault(41)
@pytest.mark.parametrize("layout", ["src", "flat"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_wheel_then_editable_then_gone(
    environment: Path, tmp_path: Path, backend: str, layout: str
) -> None:
    """One record each time, in its file; the index follows each installation."""
    name = f"{backend}_{layout}"
    project = tmp_path / "project"
    package = project / ("src" if layout == "src" else "") / f"sky_{name}"
    (package / "deep").mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    (package / "deep" / "__init__.py").touch()
    (package / "deep" / "rain.py").write_text(textwrap.dedent(PHOTON))
    (project / "pyproject.toml").write_text(
        BACKENDS[backend] + PROJECT.format(name=name)
    )
    cache = tmp_path / "cache"
    assert look(environment, cache) == []
    options = ("install", "--no-build-isolation", "--no-deps", "--force-reinstall")
    for editable in (False, True):
        pip(environment, *options, *(["-e"] if editable else []), str(project))
        ((found, origin, location, *rest),) = look(environment, cache)
        assert found == name
        assert str(origin).replace("_", "-") == f"sky-{name} 1.2".replace("_", "-")
        inside = project if editable else environment
        assert Path(str(location)).is_relative_to(inside), location
        assert str(location).endswith(os.path.join("deep", "rain.py"))
        assert rest == ["1.2", "Ann", "Photons of the sky", ["wet"], None]
    pip(environment, "uninstall", "-y", f"sky-{name}")
    assert look(environment, cache) == []
