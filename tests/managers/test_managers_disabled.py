"""Photons that a host has disabled: failures half-way, and several calls at once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import luminal
from luminal.errors import LuminalError, PhotonNotFoundError
from tests.distributions import put
from tests.waiting import async_wait_until

HEAD = "import asyncio, luminal\n\n\n"


def write(place: Path, *names: str) -> None:
    for name in names:
        text = f"{HEAD}class {name.title()}(luminal.IPhoton):\n"
        place.joinpath(f"{name}.py").write_text(f"{text}    photon_name = {name!r}\n")


async def running(loader: luminal.Loader, place: Path, *names: str) -> None:
    write(place, *names)
    await (await loader.load_photons(place)).start()


async def test_what_can_be_enabled_runs_and_what_is_gone_stays_disabled(
    tmp_path: Path,
) -> None:
    """Whether its file is broken, is deleted, or defines another photon by now."""
    async with luminal.Loader() as loader:
        await running(loader, tmp_path, "bad", "good", "gone", "other")
        await loader.disable_photons(["bad", "good", "gone", "other"])
        (tmp_path / "bad.py").write_text("def (")
        (tmp_path / "gone.py").unlink()
        write(tmp_path, "new")
        (tmp_path / "new.py").replace(tmp_path / "other.py")
        with pytest.raises(LuminalError, match="not valid Python"):
            await loader.enable_photons(["bad", "good", "gone", "other"])
        assert [str(each.state) for each in loader.photons.values()] == ["running"]
        assert set(loader.disabled) == {"bad", "gone", "other"}
        for name in ("gone", "other"):
            with pytest.raises(PhotonNotFoundError, match="not there any more"):
                await loader.enable_photons([name])
        write(tmp_path, "gone")
        assert [each.name for each in await loader.enable_photons(["gone"])] == ["gone"]


async def test_photons_are_enabled_once_by_two_calls(tmp_path: Path) -> None:
    async with luminal.Loader() as loader:
        await running(loader, tmp_path, "a", "b")
        await loader.disable_photons(["a", "b"])
        both = [loader.enable_photons(["a", "b"]) for _ in range(2)]
        found = [each.name for few in await asyncio.gather(*both) for each in few]
        assert (sorted(found), loader.disabled) == (["a", "b"], ())


async def test_a_photon_that_the_host_loads_is_not_disabled(tmp_path: Path) -> None:
    """And a candidate whose photon is loaded is unloaded."""
    async with luminal.Loader() as loader:
        await running(loader, tmp_path, "a")
        found = luminal.discover(tmp_path, group=None)
        assert await loader.disable_photons(found) == ["a"]
        assert (dict(loader.photons), loader.disabled) == ({}, ("a",))
        await loader.load_photon(tmp_path / "a.py")
        assert (list(loader.photons), loader.disabled) == (["a"], ())


async def test_what_a_cancelled_call_has_unloaded_is_disabled(tmp_path: Path) -> None:
    async with luminal.Loader() as loader:
        write(tmp_path, "a")
        with (tmp_path / "a.py").open("a") as file:
            file.write("    async def finalize(self):\n")
            file.write("        await asyncio.sleep(60)\n")
        await (await loader.load_photons(tmp_path)).start()
        handler = loader.photons["a"]
        call = asyncio.create_task(loader.disable_photons(["a"]))
        await async_wait_until(lambda: str(handler.state) != "running")
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert ("a" in loader.disabled) is ("a" not in loader.photons)


async def test_an_upgrade_brings_no_disabled_photon_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)

    def install(version: str) -> None:
        text = (
            f"import luminal\nclass Photon(luminal.IPhoton):\n    number = {version}\n"
        )
        files = {"pair/a.py": text, "pair/b.py": text, "pair/__init__.py": ""}
        entries = "a = pair.a:Photon\nb = pair.b:Photon"
        put(tmp_path, "pair", version, files=files, entries=entries, group="pairs")

    install("1")
    async with luminal.Loader(group="pairs") as loader:
        await loader.load()
        await loader.start()
        await loader.disable_photons(["a"])
        install("22")
        await loader.reload_photon("b")
        assert (list(loader.photons), loader.disabled) == (["b"], ("a",))
        (handler,) = await loader.enable_photons(["a"])
        assert handler.instance.number == 22
