"""What a host says of its hooks when it makes its Loader."""

from __future__ import annotations

import sys
import types
import warnings

import pluggy
import pytest

import luminal
from luminal.errors import LuminalError, LuminalWarning, PhotonValidationError

shop_spec = pluggy.HookspecMarker("shop")


class Specs:
    @luminal.hookspec
    def answer(self, question):
        """Answer."""


class ShopSpecs:
    @shop_spec
    def price(self, net):
        """Say what it costs."""


def write(folder, name, body, head="from luminal import IPhoton, hookimpl\n"):
    (folder / f"{name}.py").write_text(
        f"{head}class {name.title()}(IPhoton):\n{body}\n"
    )
    return folder / f"{name}.py"


async def test_the_specs_that_a_loader_is_given_are_its_hooks(tmp_path):
    write(
        tmp_path, "a", "    @hookimpl\n    def answer(self, question): return question"
    )
    async with luminal.Loader(hookspecs=[Specs], cache=False) as loader:
        await (await loader.load_photons(tmp_path)).start()
        assert loader.hook.answer(question=42) == [42]
        assert await loader.ahook.answer(question=42) == [42]


async def test_an_unknown_hook_is_an_error_that_names_the_nearest(tmp_path):
    """With its line; the others run, and a reload to it is refused."""
    good = "    @hookimpl\n    def answer(self, question): return 1"
    write(tmp_path, "bad", "    @hookimpl\n    def anwser(self, question): return 2")
    path = write(tmp_path, "good", good)
    async with luminal.Loader(hookspecs=[Specs], cache=False) as loader:
        handlers = await loader.load_photons(tmp_path)
        with pytest.raises(PhotonValidationError) as caught:
            await handlers.start()
        assert "did you mean 'answer'" in caught.value.hint
        assert caught.value.photon == "Bad"
        assert (caught.value.file, caught.value.line) == (str(tmp_path / "bad.py"), 3)
        assert loader.hook.answer(question=1) == [1]
        write(tmp_path, "good", "    @hookimpl\n    def nonsense(self): return 3")
        with pytest.raises(PhotonValidationError, match="nonsense"):
            await loader.reload_photon(path)
        assert loader.hook.answer(question=1) == [1]


async def test_a_near_miss_is_refused_also_where_specs_come_by_the_manager(tmp_path):
    """An unknown name may be specified later there; a misspelt one will not be."""
    write(tmp_path, "a", "    @hookimpl\n    def anwser(self, question): return 2")
    write(tmp_path, "b", "    @hookimpl\n    def another_thing(self): return 2")
    write(
        tmp_path,
        "c",
        "    @hookimpl(optionalhook=True)\n    def answers(self): return 2",
    )
    async with luminal.Loader(suppress_errors=True, cache=False) as loader:
        loader.plugins.add_hookspecs(Specs)
        await (await loader.load_photons(tmp_path)).start()
        states = {name: str(h.state) for name, h in loader.photons.items()}
    assert states == {"A": "failed", "B": "running", "C": "running"}


async def test_another_project_has_its_own_markers(tmp_path):
    """Photons may use them or ours; lifecycle hooks are the same."""
    head = "import pluggy\nfrom luminal import IPhoton, hookimpl\n"
    head += "shop_impl = pluggy.HookimplMarker('shop')\n"
    own = "    @shop_impl\n    def price(self, net): return net * 2\n"
    own += "    def start(self): self.started = True"
    write(tmp_path, "own", own, head)
    write(tmp_path, "ours", "    @hookimpl\n    def price(self, net): return net", head)
    seen = []

    class Observer:
        @pluggy.HookimplMarker("shop")
        async def photon_start(self, handler):
            seen.append(handler.name)

    async with luminal.Loader(
        hookspecs=[ShopSpecs], project="shop", cache=False
    ) as loader:
        loader.plugins.register(Observer())
        await (await loader.load_photons(tmp_path)).start()
        assert sorted(loader.hook.price(net=3)) == [3, 6]
        assert loader.photons["Own"].instance.started
        write(
            tmp_path, "ours", "    @hookimpl\n    def price(self, net): return 0", head
        )
        await loader.reload_photon("Ours")
        assert sorted(loader.hook.price(net=3)) == [0, 6]
    assert sorted(seen) == ["Ours", "Ours", "Own"]


async def test_a_module_can_be_a_plugin_of_the_hosts_project():
    module = types.ModuleType("a_shop_module")
    exec(
        "import pluggy\n@pluggy.HookimplMarker('shop')\ndef price(net): return -net",
        vars(module),
    )
    async with luminal.Loader(hookspecs=[ShopSpecs], project="shop") as loader:
        loader.plugins.register(module)
        assert loader.hook.price(net=3) == [-3]


async def test_load_without_candidates_takes_the_hosts_group(tmp_path, monkeypatch):
    """What is installed under it, and nothing of other groups."""
    info = tmp_path / "shop_photon-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: shop-photon\nVersion: 1.0\n"
    )
    (info / "entry_points.txt").write_text(
        "[shop.photons]\nmine = shop_photon:Photon\n"
        "[luminal.photons]\nother = shop_photon:Other\n"
    )
    (info / "RECORD").write_text("")
    (tmp_path / "shop_photon.py").write_text(
        "from luminal import IPhoton\nclass Photon(IPhoton): pass\n"
        "class Other(IPhoton): pass\n"
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    async with luminal.Loader(group="shop.photons", cache=False) as loader:
        report = await loader.load()
        assert [o.photon for o in report.loaded] == ["mine"]


def test_specs_without_hooks_are_refused():
    with pytest.raises(ValueError, match="did not find any"):
        luminal.Loader(hookspecs=[object])


async def test_a_host_that_specifies_nothing_takes_any_hook(tmp_path):
    write(tmp_path, "a", "    @hookimpl\n    def whatever(self): return 1")
    async with luminal.Loader(cache=False) as loader:
        await (await loader.load_photons(tmp_path)).start()
        assert loader.hook.whatever() == [1]
        assert not isinstance(loader.report, LuminalError)


@pytest.mark.parametrize("has_specs", [True, False])
@pytest.mark.parametrize("unknown", ["warn", "error", "ignore", None])
async def test_unknown_hooks_are_refused_warned_of_or_ignored(
    tmp_path, unknown, has_specs
):
    """By default, refused where the host has said which hooks it has."""
    write(tmp_path, "a", "    @hookimpl\n    def nonsense(self): return 1")
    options = {"hookspecs": [Specs]} if has_specs else {}
    if unknown is not None:
        options["unknown_hooks"] = unknown
    is_refused = unknown == "error" or (unknown is None and has_specs)
    async with luminal.Loader(cache=False, suppress_errors=True, **options) as loader:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            await (await loader.load_photons(tmp_path)).start()
        warned = [str(w.message) for w in caught if w.category is LuminalWarning]
        assert str(loader.photons["A"].state) == ("failed" if is_refused else "running")
        assert len(warned) == (unknown == "warn")
        assert all("'nonsense'" in text and "a.py:3" in text for text in warned)


@pytest.mark.parametrize(
    "name", ["on_reading", "on_start", "on_record", "on_reload", "finalize_it"]
)
async def test_hooks_of_a_host_without_specs_are_no_misspelt_ones(tmp_path, name):
    write(tmp_path, "a", f"    @hookimpl\n    def {name}(self): return 1")
    async with luminal.Loader(cache=False) as loader:
        await (await loader.load_photons(tmp_path)).start()
        assert getattr(loader.hook, name)() == [1]


async def test_a_misspelt_hook_of_the_life_cycle_is_told(tmp_path):
    write(tmp_path, "a", "    @hookimpl\n    def photon_strat(self, handler): ...")
    async with luminal.Loader(cache=False) as loader:
        with pytest.raises(PhotonValidationError, match="photon_start"):
            await (await loader.load_photons(tmp_path)).start()


def test_unknown_hooks_takes_three_words():
    with pytest.raises(ValueError, match="unknown_hooks='warning'"):
        luminal.Loader(unknown_hooks="warning")
