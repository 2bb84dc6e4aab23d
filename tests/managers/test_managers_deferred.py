"""A host that loads its plugins when it is imported hands them to a Loader."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pluggy
import pytest

import luminal.blocking
from luminal.hooks import DeferredPluginManager
from tests.distributions import put

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOST = """
import pluggy

spec = pluggy.HookspecMarker("webhost")

class Specs:
    @spec
    def routes(self): ...

class Own:
    @pluggy.HookimplMarker("webhost")
    def routes(self): return "own"

pm = pluggy.PluginManager("webhost")
pm.add_hookspecs(Specs)
pm.register(Own(), "taken")
pm.set_blocked("blocked")
pm.load_setuptools_entrypoints("webhost")
pm.load_setuptools_entrypoints("webhost")
"""

PLUGIN = """
import pluggy
NUMBER = {}

@pluggy.HookimplMarker("webhost")
def routes(): return __name__, NUMBER
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(pluggy, "PluginManager", DeferredPluginManager)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def install(site: Path, name: str, number: int) -> None:
    files = {f"{name}.py": PLUGIN.format(number)}
    put(
        site,
        name,
        str(number),
        files=files,
        entries=f"{name} = {name}",
        group="webhost",
    )


def import_host() -> Any:
    host = ModuleType("webhost")
    exec(HOST, vars(host))
    return host.pm


def test_what_a_host_asks_for_on_import_is_loaded_and_swapped(site: Path) -> None:
    for name in ("web", "more", "taken", "blocked"):
        install(site, name, 1)
    pm = import_host()
    assert pm.hook.routes() == ["own"]
    assert "web" not in sys.modules
    with luminal.blocking.Loader(plugins=pm, project="webhost") as loader:
        report = loader.load()
        assert not report.failed
        loader.start()
        assert sorted(loader.photons) == ["more", "web"]
        assert pm.hook.routes() == [("web", 1), ("more", 1), "own"]
        dists = {dist.project_name for _, dist in pm.list_plugin_distinfo()}
        assert dists == {"web", "more"}
        install(site, "web", 22)
        loader.reload_photon("web")
        assert pm.hook.routes() == [("web", 22), ("more", 1), "own"]
    assert pm.hook.routes() == ["own"]


@pytest.mark.parametrize(
    ("wanted", "loaded"),
    [
        (["web"], ["web"]),
        (["web", "more"], ["more", "web"]),
        (["web", None], ["fine", "more", "web"]),
    ],
)
def test_entries_of_a_group_are_asked_for_by_name(
    site: Path, wanted: list[str | None], loaded: list[str]
) -> None:
    for name in ("web", "more", "fine"):
        install(site, name, 1)
    pm = DeferredPluginManager("webhost")
    for each in wanted:
        assert pm.load_setuptools_entrypoints("webhost", each) == 0
    with luminal.blocking.Loader(plugins=pm, project="webhost") as loader:
        loader.load()
        assert sorted(loader.photons) == loaded


def test_the_group_of_the_loader_where_the_host_asks_for_nothing(site: Path) -> None:
    install(site, "web", 1)
    pm = DeferredPluginManager("webhost")
    with luminal.blocking.Loader(
        plugins=pm, project="webhost", group="webhost"
    ) as loader:
        loader.load()
        assert list(loader.photons) == ["web"]


def test_a_plugin_that_the_host_has_loaded_is_told(site: Path) -> None:
    install(site, "web", 1)
    pm = luminal.PluginManager("webhost")
    assert pm.load_setuptools_entrypoints("webhost") == 1
    with luminal.blocking.Loader(
        plugins=pm, project="webhost", group="webhost"
    ) as loader:
        loader.load()
        (outcome,) = loader.start().failed
        assert outcome.problem is not None
        assert "DeferredPluginManager" in outcome.problem.hint
        assert pm.hook.routes is not None
        assert pm.has_plugin("web")
