"""Programs in one archive, or frozen, with their photons beside them or inside."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipapp
import zipfile
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path

import pytest

import luminal
from luminal import blocking
from luminal.errors import LuminalError
from tests.waiting import DEADLINE

MAIN = """
import asyncio, os, pathlib, sys
from luminal import Loader, discover, hookspec
from luminal.errors import LuminalError


class Specs:
    @hookspec
    def who(self): ...


async def until(loader, answers):
    while loader.hook.who() != answers:
        await asyncio.sleep(0.01)


async def main(directory):
    async with Loader(hookspecs=[Specs]) as loader:
        await loader.watch_photons(directory)
        await until(loader, [1])
        (directory / "text.py").write_text("X = 2\\n")
        await until(loader, [2])
        for leaf, find in (("photons", discover), ("photons/greet.py", None)):
            path = os.path.join(os.path.dirname(__file__), "inside", leaf)
            try:
                if find is not None:
                    find(path)
                else:
                    await loader.load_photon(path)
            except LuminalError as error:
                print(error)
        print(loader.hook.who(), os.path.dirname(__file__))


asyncio.run(main(pathlib.Path(sys.argv[1])))
"""
PHOTON = """
from luminal import IPhoton, hookimpl
from program_module import ONE
from photons.text import X
import text
assert ONE == 1 and text.X == X
class Greet(IPhoton):
    @hookimpl
    def who(self):
        return X
"""
NEEDED = ("attrs", "packaging", "pluggy", "inotify-simple", "typing-extensions")


@pytest.fixture
def photons(tmp_path: Path) -> Path:
    directory = tmp_path / "photons"
    directory.mkdir()
    (directory / "greet.py").write_text(PHOTON)
    (directory / "text.py").write_text("X = 1\n")
    return directory


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """The directory that an archive is made of: the host, and all that it needs."""
    directory = tmp_path / "program"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(
        Path(luminal.__file__).parent, directory / "luminal", ignore=ignored
    )
    for name in NEEDED:
        if sys.platform != "linux" and name == "inotify-simple":
            continue
        for file in distribution(name).files or ():
            if file.suffix in (".py", ".typed") or ".dist-info" in str(file):
                target = directory / str(file)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(str(file.locate()), target)
    (directory / "program_module.py").write_text("ONE = 1\n")
    (directory / "__main__.py").write_text(MAIN)
    (directory / "inside" / "photons").mkdir(parents=True)
    (directory / "inside" / "photons" / "greet.py").write_text(PHOTON)
    return directory


def said(tmp_path: Path, *command: str | Path) -> str:
    env = {**os.environ, "LUMINAL_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


@pytest.mark.skipif(
    sys.platform != "linux", reason="watchfiles is compiled: not in an archive"
)
def test_a_zipapp_runs_photons_beside_it_and_refuses_those_inside(
    tmp_path: Path, program: Path, photons: Path
) -> None:
    archive = tmp_path / "host.pyz"
    zipapp.create_archive(program, archive)
    # Without `site`: all that it needs is in the archive.
    out = said(tmp_path, sys.executable, "-I", "-S", archive, photons)
    assert out.endswith(f"[2] {archive}\n")
    refused = out.split("[2]")[0]
    for path in ("inside/photons'", "inside/photons/greet.py'"):
        assert path in refused
    assert refused.count(f"it lies inside of the archive {str(archive)!r}") == 2
    assert refused.count("beside the archive") == 2


def test_a_watch_refuses_what_lies_inside_of_an_archive(tmp_path: Path) -> None:
    archive = tmp_path / "host.pyz"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("photons/greet.py", "")
    with blocking.Loader() as loader, pytest.raises(LuminalError) as caught:
        loader.watch_photons(archive / "photons")
    assert f"it lies inside of the archive {str(archive)!r}" in str(caught.value)
    assert "beside the archive" in str(caught.value)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("PyInstaller") is None, reason="needs PyInstaller")
def test_a_frozen_program_runs_photons_beside_it(
    tmp_path: Path, program: Path, photons: Path
) -> None:
    for name in ("pluggy", "attr", "attrs", "packaging", "luminal", "inside"):
        shutil.rmtree(program / name)
    options = ("--onedir", "-y", "--log-level", "ERROR", "--name", "host")
    where = ("--distpath", tmp_path / "dist", "--workpath", tmp_path / "work")
    more = ("--specpath", tmp_path, "--hidden-import", "program_module")
    subprocess.run(
        [sys.executable, "-m", "PyInstaller", *options, *where, *more, "__main__.py"],
        cwd=program,
        check=True,
        timeout=5 * DEADLINE,
    )
    program.rename(tmp_path / "gone")
    out = said(tmp_path, tmp_path / "dist" / "host" / "host", photons)
    assert "[2] " in out
    assert "--add-data inside/photons:inside/photons" in out
