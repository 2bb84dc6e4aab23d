"""Built and installed by pip, as wheel and as editable: found, loaded, called."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
NEEDED = [
    "attrs",
    "importlib-metadata",
    "packaging",
    "pluggy",
    "hatchling",
    "editables",
]
NEEDED += ["inotify-simple"] if sys.platform == "linux" else ["watchfiles"]
EXTRAS = ROOT / "plugins_example" / "distribution"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (find_spec("hatchling") and find_spec("editables") and find_spec("pip")),
        reason="hatchling, editables or pip is missing",
    ),
]

PROGRAM = """
import asyncio, json, sys
import luminal

class Specs:
    @luminal.hookspec(firstresult=True)
    def parse(self, line): ...
    @luminal.hookspec
    def enrich(self, record): ...
    @luminal.hookspec
    def aggregate(self, record): ...
    @luminal.hookspec
    def report(self): ...

LINE = ('{"remote_addr": "198.18.0.200", "time": "2026-03-02T13:05:59+00:00", '
        '"request": "GET /a HTTP/2.0", "status": 200, "bytes": 5, "agent": "x"}')

async def main():
    found = luminal.discover()
    imported = [name for name in sys.modules if name.startswith("pipeline_extras")]
    async with luminal.Loader() as loader:
        loader.plugins.add_hookspecs(Specs)
        await loader.load(found)
        await loader.start()
        record = loader.hook.parse(line=LINE)
        loader.hook.enrich(record=record)
        return {
            "luminal": luminal.__file__,
            "imported": imported,
            "found": [[each.name, each.version, str(each.source)] for each in found],
            "files": sorted(each.filepath for each in loader.photons.values()),
            "network": record["network"],
        }

print(json.dumps(asyncio.run(main())))
"""


def build(project: Path, target: Path) -> Path:
    """Build the wheel of *project* into *target* and return its path."""
    before = set(target.glob("*.whl"))
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", target]
    subprocess.run(command, cwd=project, check=True, capture_output=True)
    (wheel,) = set(target.glob("*.whl")) - before
    return wheel


def needed_by(name: str, known: set[str]) -> None:
    """Add *name* to *known*, and all that it needs here."""
    known.add(name)
    for line in distribution(name).requires or ():
        need = Requirement(line)
        wanted = need.marker is None or need.marker.evaluate({"extra": ""})
        if wanted and need.name not in known:
            needed_by(need.name, known)


def copy_distribution(name: str, site: Path) -> None:
    """Copy an installed distribution's files, so that no network is needed."""
    for file in distribution(name).files or ():
        if ".." not in file.parts and file.suffix != ".pyc":
            target = site / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file.locate(), target)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    target = tmp_path_factory.mktemp("wheels")
    return [build(ROOT, target), build(EXTRAS, target)]


@pytest.mark.parametrize("kind", ["wheel", "editable"])
def test_photons_of_an_installed_distribution_work(
    kind: str, wheels: list[Path], tmp_path: Path
) -> None:
    """In a fresh environment, found without being imported, and with their data."""
    venv.create(tmp_path / "env", with_pip=False)
    (python,) = (tmp_path / "env").glob("bin/python")
    (site,) = (tmp_path / "env").glob("lib/python*/site-packages")
    needed: set[str] = set()
    for name in NEEDED:
        needed_by(name, needed)
    for name in needed:
        copy_distribution(name, site)
    luminal, extras = wheels
    sources = [luminal, *(["-e", EXTRAS] if kind == "editable" else [extras])]
    options = ["--no-deps", "--no-index", "--no-build-isolation", "-q"]
    pip = [sys.executable, "-m", "pip", "--python", python, "install", *options]
    subprocess.run([*pip, *sources], check=True, cwd=tmp_path)

    done = subprocess.run(
        [python, "-I", "-c", PROGRAM],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["luminal"].startswith(str(site))
    assert said["imported"] == []
    assert sorted(said["found"]) == [
        ["json-lines", "1.4.0", "distribution"],
        ["networks", "1.4.0", "distribution"],
    ]
    home = EXTRAS if kind == "editable" else site
    assert [Path(file).parent for file in said["files"]] == [
        home / "pipeline_extras"
    ] * 2
    assert said["network"] == "the mobile network"


def test_wheel_of_luminal_holds_the_package_and_nothing_else(
    wheels: list[Path],
) -> None:
    """Typed, licensed, pure Python, small; no tests, no examples, no documents."""
    with zipfile.ZipFile(wheels[0]) as wheel:
        names = wheel.namelist()
        metadata = next(name for name in names if name.endswith("/METADATA"))
        text = wheel.read(metadata).decode()
    assert wheels[0].name.endswith("-py3-none-any.whl")
    assert wheels[0].stat().st_size < 1_000_000
    tops = {name.split("/")[0] for name in names}
    assert tops == {"luminal", metadata.split("/")[0]}
    assert "luminal/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert [name for name in names if name.endswith((".pyc", ".so"))] == []
    needs = re.findall(r"^Requires-Dist: ([\w-]+)(?!.*extra ==)", text, re.MULTILINE)
    assert sorted(needs) == [
        "attrs",
        "cattrs",
        "importlib-metadata",
        "inotify-simple",
        "packaging",
        "pluggy",
        "watchfiles",
    ]
