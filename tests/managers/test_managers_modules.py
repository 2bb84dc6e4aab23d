"""Modules of pluggy functions in a directory are plugins, as classes are."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pluggy
import pytest

import luminal
import luminal.blocking
from luminal.discovery.lint import declared_hooks
from luminal.errors import LuminalError
from tests.waiting import DEADLINE, async_wait_until

if TYPE_CHECKING:
    from pathlib import Path

spec = pluggy.HookspecMarker("webhost")


class Specs:
    """The hooks of a host that uses pluggy."""

    @spec
    def routes(self) -> Any: ...

    @spec
    def visit(self, go: Any) -> Any: ...


MODULE = """
import pluggy
from .helper import TEXT

hookimpl = pluggy.HookimplMarker("webhost")
number = {number}

@hookimpl
def routes():
    return (TEXT, number)

@hookimpl(tryfirst=True)
def visit(go):
    before = number
    go()
    return before, number
"""


def nothing() -> None:
    """Do nothing in a call."""


def write(folder: Path, number: int, *, is_package: bool = False) -> Path:
    place = folder / "web" if is_package else folder
    place.mkdir(exist_ok=True)
    text = MODULE.format(number=number)
    if not is_package:
        text = text.replace("from .helper import TEXT", 'TEXT = "text"')
    path = place / ("__init__.py" if is_package else "web.py")
    path.write_text(text)
    if is_package:
        (place / "helper.py").write_text("TEXT = 'text'\n")
    return path


@pytest.mark.parametrize("is_package", [False, True])
def test_a_module_is_found_loaded_and_swapped(tmp_path: Path, is_package: bool) -> None:
    path = write(tmp_path, 1, is_package=is_package)
    (found,) = luminal.discover(tmp_path, group=None)
    assert (found.name, found.problem) == ("web", None)
    assert found.line == 9
    assert [hook.hook for hook in declared_hooks(found)] == ["routes", "visit"]
    with luminal.blocking.Loader(project="webhost", hookspecs=[Specs]) as loader:
        loader.load_photons(tmp_path).start()
        assert list(loader.photons) == ["web"]
        assert loader.hook.routes() == [("text", 1)]

        def reload() -> None:
            write(tmp_path, 2, is_package=is_package)
            loader.reload_photon("web")

        assert loader.hook.visit(go=reload) == [(1, 1)]
        assert loader.hook.routes() == [("text", 2)]
        path.write_text(path.read_text().replace("def routes", "def ruotes"))
        with pytest.raises(LuminalError, match="did you mean 'routes'"):
            loader.reload_photon("web")
        assert loader.hook.routes() == [("text", 2)]
        loader.unload_photon("web")
        assert loader.hook.routes() == []


async def test_a_watch_loads_swaps_and_unloads_modules(tmp_path: Path) -> None:
    async with luminal.Loader(project="webhost", hookspecs=[Specs]) as loader:
        await loader.watch_photons(tmp_path)
        for number in (1, 2, 3):
            path = write(tmp_path, number)
            await async_wait_until(
                lambda number=number: loader.hook.routes() == [("text", number)]
            )
        path.unlink()
        await async_wait_until(lambda: loader.hook.routes() == [])


async def test_calls_keep_the_module_that_they_began_with(tmp_path: Path) -> None:
    write(tmp_path, 1)
    async with luminal.Loader(project="webhost", hookspecs=[Specs]) as loader:
        await (await loader.load_photons(tmp_path)).start()
        inside, leave, found = threading.Event(), threading.Event(), []

        def go() -> None:
            inside.set()
            assert leave.wait(DEADLINE)

        thread = threading.Thread(target=lambda: found.extend(loader.hook.visit(go=go)))
        thread.start()
        assert await asyncio.to_thread(inside.wait, DEADLINE)
        write(tmp_path, 2)
        await loader.reload_photon("web")
        assert loader.hook.visit(go=nothing) == [(2, 2)]
        leave.set()
        await asyncio.to_thread(thread.join, DEADLINE)
        assert found == [(1, 1)]


def test_helpers_and_classes_are_as_before(tmp_path: Path) -> None:
    """Without marked functions it is a helper; beside a class, only that counts."""
    (tmp_path / "helper.py").write_text("def routes(): return 1\n")
    (tmp_path / "imports.py").write_text("from web import routes\n")
    write(tmp_path, 1)
    (tmp_path / "geo.py").write_text(
        "import luminal\n\nclass Geo(luminal.IPhoton): pass\n\n"
        "@luminal.hookimpl\ndef routes(): return 2\n"
    )
    names = [candidate.name for candidate in luminal.discover(tmp_path, group=None)]
    assert names == ["Geo", "web"]


def test_modules_and_classes_of_one_name_are_in_conflict(tmp_path: Path) -> None:
    write(tmp_path, 1)
    (tmp_path / "other.py").write_text(
        "import luminal\n\nclass A(luminal.IPhoton): photon_name = 'web'\n"
    )
    found = luminal.discover(tmp_path, group=None)
    assert [c.problem is not None for c in found] == [True, True]


def test_a_module_that_is_marked_for_another_host_is_refused(tmp_path: Path) -> None:
    write(tmp_path, 1)
    with (
        luminal.blocking.Loader() as loader,
        pytest.raises(LuminalError, match="marked for another host"),
    ):
        loader.load_photons(tmp_path)
