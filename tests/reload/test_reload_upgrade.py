"""Distributions: what pip does to a host is a swap of whole versions, or none."""

from __future__ import annotations

import json
import os
import subprocess
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.upgrades import INSTALLERS, build_wheel, make_environment, run
from tests.waiting import DEADLINE

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

_PIP = ["-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment of its own, where nothing is installed yet."""
    return make_environment(tmp_path_factory.mktemp("environment"))


def install(python: Path, wheel: Path) -> None:
    subprocess.run([python, *_PIP, "--force-reinstall", wheel], check=True)


def host(python: Path, script: str, cwd: Path, *arguments: object) -> Any:
    """Run *script* as a host; return what it prints, which is JSON."""
    done = subprocess.run(
        [python, "-c", textwrap.dedent(script), *map(str, arguments)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        cwd=cwd,
        timeout=DEADLINE,
        env={**os.environ, "LUMINAL_CACHE_DIR": str(cwd / "cache")},
    )
    return json.loads(done.stdout)


@pytest.mark.fault(39)
@pytest.mark.parametrize("installer", INSTALLERS)
def test_upgrades_under_load_lose_and_mix_nothing(installer: str) -> None:
    """Two distributions in one installation are one transaction: no call sees both."""
    counted = run(2, installer)
    if not counted:
        pytest.skip(f"{installer} is not installed")
    assert counted["failed"] == counted["mixed"] == 0
    assert counted["calls"] > 0
    assert counted["swaps"] == 2 * 2 * 2  # rounds, distributions, photons of each
    assert counted["rejected"] == []


def test_reload_takes_over_the_installed_version_with_its_metadata(
    python: Path, tmp_path: Path
) -> None:
    first, second = (build_wheel(tmp_path, v, files=2) for v in ("1.0", "2.0"))
    install(python, first)
    seen = host(
        python,
        """
        import asyncio, json, subprocess, sys, luminal
        async def main():
            async with luminal.Loader() as loader:
                await loader.load(luminal.discover())
                await loader.start()
                handler = loader.photons["shipped"]
                before = handler.candidate.version, handler.number
                subprocess.run([sys.executable, "-m", "pip", "install", "--quiet",
                    "--no-index", "--no-deps", "--upgrade", sys.argv[1]], check=True)
                again = await loader.reload_photon("shipped")
                assert again is handler
                after = handler.candidate.version, handler.number
                print(json.dumps([before, after, sorted(handler.instance.versions())]))
        asyncio.run(main())
        """,
        tmp_path,
        second,
    )
    assert seen == [["1.0", 1], ["2.0", 2], ["2.0"]]


def test_what_the_host_imported_itself_is_not_swapped(
    python: Path, tmp_path: Path
) -> None:
    install(python, build_wheel(tmp_path, "1.0", files=2))
    seen = host(
        python,
        """
        import asyncio, json, luminal, shipped
        async def main():
            async with luminal.Loader() as loader:
                await loader.load(luminal.discover())
                await loader.start()
                instance = loader.photons["shipped"].instance
                assert type(instance) is shipped.Shipped
                try:
                    await loader.reload_photon("shipped")
                except luminal.LuminalError as error:
                    same = loader.photons["shipped"].instance is instance
                    print(json.dumps([error.code, error.photon, error.why, same]))
        asyncio.run(main())
        """,
        tmp_path,
    )
    assert seen[0] == "LUM115"
    assert seen[1] == "shipped"
    assert "host had imported" in seen[2]
    assert seen[3] is True


@pytest.mark.fault(40)
def test_an_uninstalled_photon_stays_until_told_and_says_so(
    python: Path, tmp_path: Path
) -> None:
    install(python, build_wheel(tmp_path, "1.0", files=2))
    seen = host(
        python,
        """
        import asyncio, json, sys, luminal
        async def main():
            async with luminal.Loader() as loader:
                await loader.load(luminal.discover())
                await loader.start()
                orphaned = asyncio.Event()
                loop = asyncio.get_running_loop()
                def hear(event):
                    if event.kind == "orphaned":
                        loop.call_soon_threadsafe(orphaned.set)
                loader.events.subscribe(hear)
                await loader.watch_distributions()
                pip = await asyncio.create_subprocess_exec(sys.executable, "-m", "pip",
                    "uninstall", "--quiet", "--yes", "shipped")
                await pip.wait()
                await asyncio.wait_for(orphaned.wait(), 60)
                handler = loader.photons["shipped"]
                print(json.dumps([str(handler.state), handler.problem.what,
                    sorted(handler.instance.versions())]))
        asyncio.run(main())
        """,
        tmp_path,
    )
    assert seen == ["running", "is not installed", ["1.0"]]


@pytest.mark.fault(39, 41)
def test_a_torn_installation_is_never_executed(python: Path, tmp_path: Path) -> None:
    install(python, build_wheel(tmp_path, "1.0", files=2))
    seen = host(
        python,
        """
        import asyncio, json, pathlib, luminal
        async def main():
            async with luminal.Loader() as loader:
                await loader.load(luminal.discover())
                await loader.start()
                handler = loader.photons["shipped"]
                file = pathlib.Path(handler.filepath).with_name("part1.py")
                file.write_text("VERSION = 'torn'")
                try:
                    await loader.reload_photon("shipped")
                except luminal.LuminalError as error:
                    versions = sorted(handler.instance.versions())
                    print(json.dumps([error.code, error.what, versions]))
        asyncio.run(main())
        """,
        tmp_path,
    )
    assert seen == ["LUM121", "is not what its RECORD says", ["1.0"]]
