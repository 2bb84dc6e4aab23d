"""A Loader in a pluggy host: its own hooks are in a manager of its own."""

from __future__ import annotations

import gc
import sys
import weakref
from typing import Any

import attrs
import pluggy
import pytest

import luminal
from luminal import Loader, PluginManager, hookimpl
from luminal.errors import PhotonStartError, PhotonStateError, PhotonValidationError

shop_spec = pluggy.HookspecMarker("shop")
shop_impl = pluggy.HookimplMarker("shop")

PHOTON = """
from luminal import IPhoton, hookimpl
class P(IPhoton):
    photon_name = "{name}"
    def start(self):
        self.context.logger.debug("started")
    @hookimpl
    def price(self, net):
        return {value}
"""

GUARD = """
from luminal import IPhoton, hookimpl
class Guard(IPhoton):
    photon_name = "guard"
    seen = []
    {code}
"""


class Specs:
    @shop_spec
    def price(self, net: int) -> Any: ...


class Plain:
    @shop_impl
    def price(self, net: int) -> Any:
        return net


def shop(*plugins: Any) -> PluginManager:
    manager = PluginManager("shop")
    manager.add_hookspecs(Specs)
    for plugin in plugins:
        manager.register(plugin)
    return manager


def state(manager: PluginManager) -> Any:
    return (
        manager.list_name_plugin(),
        {id(plugin) for plugin in manager.get_plugins()},
        sorted(vars(manager.hook)),
        sorted(vars(manager.ahook)),
        manager.list_plugin_distinfo(),
        [(row.hook, row.photon) for row in manager.statistics()],
    )


class Library:
    """Wraps every photon's life; also a plugin of the host."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    @shop_impl
    def price(self, net: int) -> Any:
        return "library"

    @hookimpl
    async def photon_start(self, handler: Any) -> None:
        if handler.name == "refused":
            raise PermissionError("not in this shop")
        self.seen.append(("start", handler.name, handler.number))

    @shop_impl(wrapper=True)
    def photon_finalize(self, handler: Any) -> Any:
        self.seen.append(("finalize", handler.name))
        return (yield)


async def test_a_loader_puts_nothing_into_the_hosts_manager(tmp_path: Any) -> None:
    """Neither plugins nor hooks, before, while and after photons are loaded."""
    (tmp_path / "p.py").write_text(PHOTON.format(name="p", value=1))
    manager = shop(Plain())
    before = state(manager)
    async with Loader(plugins=manager, cache=False) as loader:
        assert state(manager) == before
        await (await loader.load_photons(tmp_path)).start()
        names = {name for name, _ in manager.list_name_plugin()}
        assert names - {name for name, _ in before[0]} == {"p"}
        assert sorted(vars(manager.hook)) == ["price"]
        manager.check_pending()
        assert manager.hook.price(net=3) == [1, 3]
        instance = loader.photons["p"].instance
        assert manager.get_canonical_name(instance) == str(id(instance))
        assert [h.name for h in manager.get_hookcallers(instance)] == ["price"]
        assert not loader.lifecycle.is_registered(instance)
    assert state(manager)[:-1] == before[:-1]


@pytest.mark.parametrize("when", ["before", "after", "in the lifecycle"])
async def test_a_library_on_the_hosts_manager_wraps_lives(
    tmp_path: Any, when: str
) -> None:
    """Registered before the Loader was made, or later, or with ``lifecycle`` itself."""
    for name in ("fine", "refused"):
        (tmp_path / f"{name}.py").write_text(PHOTON.format(name=name, value=1))
    library = Library()
    manager = shop(library) if when == "before" else shop()
    async with Loader(plugins=manager, cache=False) as loader:
        if when == "after":
            manager.register(library, "library")
        elif when == "in the lifecycle":
            loader.lifecycle.register(library, "library")
        assert sorted(vars(manager.hook)) == ["price"]
        assert manager.is_registered(library) is (when != "in the lifecycle")
        assert loader.lifecycle.is_registered(library)
        handlers = await loader.load_photons(tmp_path)
        with pytest.raises(PhotonStartError, match="not in this shop"):
            await handlers.start()
        await loader.reload_photon("fine")
        assert library.seen == [
            ("start", "fine", 1),
            ("start", "fine", 2),
            ("finalize", "fine"),
        ]
        if when == "in the lifecycle":
            loader.lifecycle.unregister(library)
        else:
            manager.unregister(library)
        assert not loader.lifecycle.is_registered(library)
        await loader.reload_photon("fine")
        assert library.seen[-1] == ("finalize", "fine")
        assert len(library.seen) == 3


async def test_the_steps_of_luminal_itself_stay_registered(tmp_path: Any) -> None:
    """Whoever takes them away is told so at once, and photons go on starting."""
    (tmp_path / "p.py").write_text(PHOTON.format(name="p", value=1))
    async with Loader(plugins=shop(), cache=False) as loader:
        lifecycle = loader.lifecycle
        (own,) = lifecycle.get_plugins()
        name = lifecycle.get_name(own)
        for take_away in (
            lambda: lifecycle.unregister(own),
            lambda: lifecycle.unregister(name=name),
            lambda: lifecycle.set_blocked(name),
        ):
            with pytest.raises(PhotonStateError, match="cannot be unregistered"):
                take_away()
        await (await loader.load_photons(tmp_path)).start()
        assert loader.hook.price(net=1) == [1]


async def test_two_loaders_of_one_manager_have_a_lifecycle_each(tmp_path: Any) -> None:
    """A library of the host wraps both; one of a Loader its own."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "p.py").write_text(PHOTON.format(name=name, value=1))
    everywhere, only = Library(), Library()
    manager = shop(everywhere)
    async with (
        Loader(plugins=manager, cache=False) as one,
        Loader(plugins=manager, cache=False) as two,
    ):
        one.lifecycle.register(only)
        await (await one.load_photons(tmp_path / "one")).start()
        await (await two.load_photons(tmp_path / "two")).start()
        assert only.seen == [("start", "one", 1)]
        assert everywhere.seen == [("start", "one", 1), ("start", "two", 1)]
        gone = weakref.ref(two.lifecycle)
        assert two.lifecycle is not one.lifecycle
    del one, two
    gc.collect()
    assert gone() is None
    assert manager.is_registered(everywhere)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("start", "start"),
        ("start", ""),
        ("", "start"),
        ("", ""),
        ("start", "finalize"),
    ],
)
async def test_a_photon_that_wraps_lives_is_swapped(
    tmp_path: Any, first: str, second: str
) -> None:
    """The new generation's implementations are called, and only they."""
    code = """
    @hookimpl
    def photon_{step}(self, handler):
        if handler.name != "guard":
            self.seen.append(("{step}", {number}, handler.name))
    """

    def text(step: str, number: int) -> str:
        lines = code.format(step=step, number=number) if step else ""
        return GUARD.format(code=lines) + f"NUMBER = {number}\n"

    guard, other = tmp_path / "guard.py", tmp_path / "other.py"
    guard.write_text(text(first, 1))
    other.write_text(PHOTON.format(name="other", value=1))
    async with Loader(cache=False) as loader:
        await (await loader.load_photon(guard)).start()
        await (await loader.load_photon(other)).start()
        old = loader.photons["guard"].instance
        expected = [(first, 1, "other")] if first == "start" else []
        assert old.seen == expected
        guard.write_text(text(second, 2))
        await loader.reload_photon("guard")
        new = loader.photons["guard"].instance
        await loader.reload_photon("other")
        assert old.seen == expected
        assert new.seen == ([(second, 2, "other")] if second else [])
        assert loader.lifecycle.is_registered(new) is bool(second)
        assert not loader.lifecycle.is_registered(old)
        await loader.unload_photon("guard")
        assert len(loader.lifecycle.get_plugins()) == 1
        assert not hasattr(loader.hook, "photon_start")


async def test_a_guard_that_does_not_fit_is_refused(tmp_path: Any) -> None:
    """At registration and at a swap; nothing is changed."""

    class Wrong:
        @hookimpl
        def photon_start(self, handler: Any, nonsense: Any) -> None: ...

    guard = tmp_path / "guard.py"
    right = "    @hookimpl\n    def photon_start(self, handler): pass\n"
    guard.write_text(GUARD.format(code=right.strip()))
    async with Loader(cache=False) as loader:
        with pytest.raises(pluggy.PluginValidationError, match="nonsense"):
            loader.plugins.register(Wrong(), "wrong")
        assert not loader.plugins.has_plugin("wrong")
        assert not loader.lifecycle.has_plugin("wrong")
        await (await loader.load_photon(guard)).start()
        before = loader.photons["guard"].instance
        guard.write_text(guard.read_text().replace("handler)", "handler, nonsense)"))
        with pytest.raises(luminal.LuminalError, match="nonsense"):
            await loader.reload_photon("guard")
        assert loader.photons["guard"].instance is before
        assert loader.lifecycle.is_registered(before)


async def test_a_misspelt_lifecycle_hook_is_named(tmp_path: Any) -> None:
    """The hooks of the lifecycle are known, though they are not the host's."""
    code = "@hookimpl\n    def photon_strat(self, handler): pass"
    (tmp_path / "guard.py").write_text(GUARD.format(code=code))
    async with Loader(cache=False) as loader:
        with pytest.raises(PhotonValidationError, match="photon_start"):
            await (await loader.load_photons(tmp_path)).start()


async def test_an_attrs_class_is_a_photon_and_a_plugin(tmp_path: Any) -> None:
    """It has no hash, and two of them are equal."""
    (tmp_path / "a.py").write_text(
        "import attrs\n"
        + PHOTON.format(name="a", value=1).replace(
            "class P", "@attrs.define(slots=False)\nclass P"
        )
    )

    @attrs.define
    class Plugin:
        @shop_impl
        def price(self, net: int) -> Any:
            return "attrs"

    manager = shop(Plugin(), Plugin())
    async with Loader(plugins=manager, cache=False) as loader:
        await (await loader.load_photons(tmp_path)).start()
        assert manager.hook.price(net=1) == [1, "attrs", "attrs"]
        assert len(manager.get_plugins()) == 3
        await loader.reload_photon("a")
        assert len(manager.get_plugins()) == 3
        for plugin in manager.get_plugins():
            assert manager.get_name(plugin)
            assert [h.name for h in manager.get_hookcallers(plugin)] == ["price"]


async def test_a_host_may_have_a_manager_of_its_own_class(tmp_path: Any) -> None:
    """With pluggy's signatures, as pytest's has."""
    told: list[Any] = []

    class Manager(PluginManager):
        def register(self, plugin: object, name: str | None = None) -> Any:  # type: ignore[override]
            chosen = super().register(plugin, name)
            told.append(("registered", chosen))
            return chosen

        def unregister(
            self, plugin: object | None = None, name: str | None = None
        ) -> Any:
            told.append(("unregistered", name))
            return super().unregister(plugin, name)

    (tmp_path / "p.py").write_text(PHOTON.format(name="p", value="1 / net"))
    manager = Manager("shop")
    manager.add_hookspecs(Specs)
    async with Loader(plugins=manager, cache=False) as loader:
        await (await loader.load_photons(tmp_path)).start()
        assert manager.hook.price(net=1) == [1]
        for number in (1, 2):
            with pytest.raises(ZeroDivisionError) as caught:
                manager.hook.price(net=0)
            assert f"photon 'p' (generation {number})" in caught.value.__notes__[0]
            await loader.reload_photon("p")
    assert told == [("registered", "p"), ("unregistered", "p")]


INSTALLED = """
import pluggy
shop_impl = pluggy.HookimplMarker("shop")
@shop_impl
def price(net):
    return {value}
"""


def install(folder: Any, version: str) -> None:
    for old in folder.glob("*.dist-info"):
        for file in old.iterdir():
            file.unlink()
        old.rmdir()
    info = folder / f"shop_prices-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: shop-prices\nVersion: {version}\n"
    )
    (info / "entry_points.txt").write_text("[shop]\nprices = shop_prices\n")
    (info / "RECORD").write_text("")
    (folder / "shop_prices.py").write_text(INSTALLED.format(value=repr(version)))


async def test_what_a_loader_loaded_is_listed_as_pluggy_lists_it(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plugin, name and distribution, also after an upgrade; nothing after an unload."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    install(tmp_path, "1.0")
    theirs = pluggy.PluginManager("shop")
    theirs.load_setuptools_entrypoints("shop")
    expected = [
        (p.__name__, d.project_name, d.version)
        for p, d in theirs.list_plugin_distinfo()
    ]
    sys.modules.pop("shop_prices")

    def listed() -> Any:
        found = manager.list_plugin_distinfo()
        assert all(plugin in manager.get_plugins() for plugin, _ in found)
        assert dict(found)  # as datasette and llm do
        return [(p.__name__, d.project_name, d.version) for p, d in found]

    manager = shop()
    async with Loader(plugins=manager, group="shop", cache=False) as loader:
        await loader.load()
        await loader.start()
        assert manager.hook.price(net=1) == ["1.0"]
        assert listed() == expected == [("shop_prices", "shop-prices", "1.0")]
        (plugin,) = manager.get_plugins()
        assert manager.get_canonical_name(plugin) == "shop_prices"
        assert manager.get_name(plugin) == "prices"
        install(tmp_path, "2.0")
        await loader.reload_photon("prices")
        assert manager.hook.price(net=1) == ["2.0"]
        assert listed() == [("shop_prices", "shop-prices", "2.0")]
        await loader.unload_photon("prices")
        assert manager.list_plugin_distinfo() == []
