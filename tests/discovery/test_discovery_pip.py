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
    "flit": "[build-system]\nrequires = ['flit_core']\n"
    "build-backend = 'flit_core.buildapi'\n",
    "pdm": "[build-system]\nrequires = ['pdm-backend']\n"
    "build-backend = 'pdm.backend'\n",
    "meson": "[build-system]\nrequires = ['meson-python']\nbuild-backend = 'mesonpy'\n",
}
MESON = """
project('sky', version: '1.2')
py = import('python').find_installation()
py.install_sources('{package}/__init__.py', subdir: 'sky_{name}')
py.install_sources(
  '{package}/deep/__init__.py', '{package}/deep/rain.py', subdir: 'sky_{name}/deep')
"""
# Ways of an editable installation: back end, more of pyproject.toml, options of pip.
EDITABLE = {
    "setuptools, strict": ("setuptools", "", ["-C", "editable_mode=strict"]),
    "setuptools, compatible": ("setuptools", "", ["-C", "editable_mode=compat"]),
    "hatchling, exact": (
        "hatchling",
        "[tool.hatch.build]\ndev-mode-exact = true\n",
        [],
    ),
    "flit": ("flit", "", []),
    "pdm": ("pdm", "", []),
    "pdm, editables": ("pdm", "[tool.pdm.build]\neditable-backend='editables'\n", []),
    "meson-python": ("meson", "", []),
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
    # The pip that comes with Python 3.11.2 knows no `-C`.
    pip(place, "install", "pip>=23.1", "setuptools>=69", "hatchling", "editables")
    pip(place, "install", "flit_core", "pdm-backend", "meson-python", "ninja")
    pip(place, "install", "attrs", "importlib-metadata", "packaging", "pluggy")
    return place


def python(environment: Path) -> str:
    folder = "Scripts" if sys.platform == "win32" else "bin"
    return str(environment / folder / "python")


def pip(environment: Path, *arguments: str) -> None:
    command = [python(environment), "-m", "pip", "-q", "--disable-pip-version-check"]
    # meson-python runs what it finds on the path.
    path = os.pathsep.join([os.path.dirname(command[0]), os.environ.get("PATH", "")])
    environ = {**os.environ, "PATH": path}
    subprocess.run([*command, *arguments], check=True, timeout=300, env=environ)


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
@pytest.mark.parametrize("backend", ["setuptools", "hatchling"])
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


@pytest.mark.fault(41)
@pytest.mark.parametrize("way", EDITABLE)
def test_editable_installations_of_every_back_end(
    environment: Path, tmp_path: Path, way: str
) -> None:
    """The sources are found where they are edited, whatever leads there."""
    backend, more, options = EDITABLE[way]
    name = "".join(c if c.isalnum() else "_" for c in way)
    project = tmp_path / "project"
    package = project / "src" / f"sky_{name}"
    (package / "deep").mkdir(parents=True)
    (package / "__init__.py").write_text('"""Sky."""\n')
    (package / "deep" / "__init__.py").touch()
    (package / "deep" / "rain.py").write_text(textwrap.dedent(PHOTON))
    text = BACKENDS[backend] + PROJECT.format(name=name) + more
    text = text.replace(f"sky-{name}", f"sky_{name}")
    (project / "pyproject.toml").write_text(text)
    if backend == "meson":
        relative = package.relative_to(project)
        (project / "meson.build").write_text(MESON.format(package=relative, name=name))
    pip(
        environment,
        *("install", "--no-build-isolation", "--no-deps", "-e", str(project)),
        *options,
    )
    try:
        ((found, _, location, *rest),) = look(environment, tmp_path / "cache")
        assert found == name
        assert os.path.samefile(str(location), package / "deep" / "rain.py")
        assert rest[-1] is None
    finally:
        pip(environment, "uninstall", "-y", f"sky_{name}")
