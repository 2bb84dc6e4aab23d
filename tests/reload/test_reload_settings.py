"""An edited table of the settings file reloads its photon, under a watch."""

from __future__ import annotations

import asyncio
import logging
import warnings
from pathlib import Path
from typing import Any

import pytest

from luminal import Loader, discover
from luminal.errors import LuminalWarning
from luminal.model import Deadlines, EventKind, State
from tests.waiting import DEADLINE, async_wait_until

PHOTON = """\
import attrs
import luminal


@attrs.frozen
class Settings:
    number: int


class Photon(luminal.IPhoton):
    photon_name = {name!r}
    photon_settings = Settings

    def start(self):
        self.context.data["starts"] = self.context.data.get("starts", 0) + 1

    def number(self):
        return self.context.settings.number
"""


HANGS = """\
    async def start(self):
        import asyncio, pathlib
        folder = pathlib.Path(__file__).parent.parent
        if (folder / "hangs").exists():
            (folder / "begun").touch()
            await asyncio.Event().wait()"""


def write(tmp_path: Path, **numbers: Any) -> Path:
    """Write the settings file, and replace it as editors do."""
    file, new = tmp_path / "settings.toml", tmp_path / "settings.toml~"
    new.write_text("".join(f"[{n}]\nnumber = {v}\n" for n, v in numbers.items()))
    new.replace(file)
    return file


async def test_only_the_photons_whose_tables_have_changed_are_reloaded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "luminal.watch")
    folder = tmp_path / "photons"
    folder.mkdir()
    for name in "ab":
        (folder / f"{name}.py").write_text(PHOTON.format(name=name))
    file = write(tmp_path, a=1, b=1)
    events: list[Any] = []

    def rejected() -> list[Any]:
        return [e for e in events if e.kind is EventKind.REJECTED]

    async with Loader(settings=file) as loader:
        loader.events.subscribe(events.append)
        await loader.load(discover(folder, group=None))
        await loader.start()
        await loader.watch_photons(folder)
        a, b = loader.photons["a"], loader.photons["b"]

        write(tmp_path, a=2, b=1)
        await async_wait_until(lambda: a.instance.number() == 2)
        assert (a.number, b.number) == (2, 1)
        assert a.context.data["starts"] == 2  # with the data of the one before
        await async_wait_until(
            lambda: "settings.toml:1: settings of 'a'" in caplog.text
        )

        # A file that is no TOML, and a table that does not fit, change nothing.
        write(tmp_path, a="", b=5)
        (told,) = await async_wait_until(rejected)
        assert (told.photon, told.file) == ("", str(file))
        assert told.problem.line == 2
        assert "keep their settings" in told.problem.consequence
        events.clear()
        write(tmp_path, a="'x'", b=2)
        await async_wait_until(lambda: b.instance.number() == 2)
        (told,) = await async_wait_until(rejected)
        assert told.photon == "a"
        assert (told.problem.file, told.problem.line) == (str(file), 2)
        assert (a.number, a.instance.number(), b.number) == (2, 2, 2)

        # What is correct again is applied, and code that changes sees it.
        write(tmp_path, a=3, b=2)
        await async_wait_until(lambda: a.instance.number() == 3)
        assert b.number == 2
        await loader.pause_watching()
        write(tmp_path, a=4, b=2)
        await loader.resume_watching()
        await async_wait_until(lambda: a.instance.number() == 4)


async def test_a_photon_that_failed_for_its_settings_starts_with_the_right_ones(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "photons"
    folder.mkdir()
    (folder / "a.py").write_text(PHOTON.format(name="a"))
    file = write(tmp_path, a="'x'", zed=1)
    async with Loader(settings=file) as loader:
        with warnings.catch_warnings(action="ignore", category=LuminalWarning):
            await loader.load(discover(folder, group=None))
            (failed,) = (await loader.start()).failed
        assert failed.problem is not None
        assert failed.problem.line == 2
        await loader.watch_photons(folder)
        write(tmp_path, a=1)
        a = loader.photons["a"]
        await async_wait_until(
            lambda: a.state is State.RUNNING and a.instance.number() == 1
        )


async def test_a_forced_stop_cancels_a_reload_for_new_settings(tmp_path: Path) -> None:
    folder = tmp_path / "photons"
    folder.mkdir()
    text = PHOTON.format(name="a").replace("    def start(self):", HANGS)
    (folder / "a.py").write_text(text)
    file = write(tmp_path, a=1)
    loader = Loader(settings=file, deadlines=Deadlines(start=3600))
    await loader.watch_photons(folder)
    with (tmp_path / "hangs").open("xb"):
        write(tmp_path, a=2)
    await async_wait_until((tmp_path / "begun").exists)
    async with asyncio.timeout(DEADLINE):
        await loader.close(force_stop=True)
    assert loader.photons == {}
