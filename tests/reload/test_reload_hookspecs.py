"""Photons that bring hooks of their own: reloads, rejections, unloads."""

from __future__ import annotations

import sys
import types
import weakref

import pytest

from luminal import hookspec
from luminal.errors import LuminalError
from luminal.model import Probation
from tests.reload.test_reload_memory import until_gone
from tests.waiting import async_wait_until

OWN = """
import collector, weakref
from luminal import IPhoton, hookimpl, hookspec

class Photon(IPhoton):
    photon_name = "a"

    @hookspec(firstresult={first})
    def price(self, {arguments}): ...

    @hookimpl(specname="price")
    def own_price(self, item): return "{answer}"

    def start(self): collector.plugins.add_hookspecs({namespace})

    def is_healthy(self): return collector.is_healthy or "{answer}" == "1"

collector.classes.append(weakref.ref(Photon))
"""

OTHER = """
from luminal import IPhoton, hookimpl
class Other(IPhoton):
    @hookimpl
    def price(self, item): return "other"
"""


def own(answer, arguments="item", first=False, namespace="Photon"):
    return OWN.format(
        answer=answer, arguments=arguments, first=first, namespace=namespace
    )


@pytest.fixture
def collector(monkeypatch):
    """A module through which photons find the host's plugin manager."""
    module = types.ModuleType("collector")
    module.classes, module.is_healthy = [], True
    monkeypatch.setitem(sys.modules, "collector", module)
    return module


async def start(make_host, photons, collector, **options):
    host = make_host(**options)
    collector.plugins = host.plugins
    handlers = await host.run(
        photons.write("b.py", OTHER), photons.write("a.py", own("1"))
    )
    return host, handlers[1], handlers[0]


@pytest.mark.parametrize("namespace", ["Photon", "self"])
async def test_a_photon_with_its_own_hook_is_reloaded_and_freed(
    make_host, photons, collector, namespace
):
    """Implementations of others keep their place, the options are the new ones."""
    host, a, b = await start(make_host, photons, collector)
    async with host:
        assert host.hook.price(item=1) == ["1", "other"]
        for number in range(2, 6):
            text = own(number, first=number > 3, namespace=namespace)
            photons.write("a.py", text)
            await host.reload_photon(a)
            answer = host.hook.price(item=1)
            assert answer == (str(number) if number > 3 else [str(number), "other"])
        await until_gone(*[ref for ref in collector.classes if ref() is not a.factory])
        await host.unload_photon(a)
        await until_gone(*collector.classes)
        # What others implement keeps its options.
        assert host.hook.price(item=1) == "other"
        assert host.hook.price.has_spec()
        await host.unload_photon(b)
        assert not host.hook.price.has_spec()


async def test_a_new_signature_is_checked_against_the_others(
    make_host, photons, collector
):
    """The photon is rejected, and the hook is as it was."""
    host, a, b = await start(make_host, photons, collector)
    async with host:
        text = own("2", arguments="thing").replace("(self, item)", "(self)")
        photons.write("a.py", text)
        with pytest.raises(LuminalError, match="item"):
            await host.reload_photon(a)
        assert host.hook.price(item=1) == ["1", "other"]
        photons.write("a.py", own("2", arguments="thing, item", first=True))
        await host.reload_photon(a)
        assert host.hook.price(item=1, thing=2) == "2"
        await until_gone(*[ref for ref in collector.classes if ref() is not a.factory])
        photons.write("b.py", OTHER.replace("item", "thing"))
        await host.reload_photon(b)
        assert host.hook.price(item=1, thing=2) == "2"


async def test_an_implementation_and_its_hook_change_together(
    make_host, photons, collector
):
    """The new implementation fits the new specification only."""
    host, a, b = await start(make_host, photons, collector)
    async with host:
        await host.unload_photon(b)
        text = own("2", arguments="thing").replace("(self, item)", "(self, thing)")
        photons.write("a.py", text)
        await host.reload_photon(a)
        assert host.hook.price(thing=1) == ["2"]


async def test_a_failed_start_leaves_the_hook_as_it_was(make_host, photons, collector):
    """Also where the new generation brings a second hook, and at the first start."""
    host, a, _ = await start(make_host, photons, collector)
    async with host:
        text = own("2", first=True).replace("(Photon)\n", "(Photon); 1 / 0\n")
        text = text.replace(
            "    def start", "    @hookspec\n    def second(self): ...\n\n    def start"
        )
        text = text.replace("IPhoton); 1 / 0", "IPhoton)")
        photons.write("a.py", text)
        with pytest.raises(LuminalError, match="ZeroDivisionError"):
            await host.reload_photon(a)
        assert host.hook.price(item=1) == ["1", "other"]
        assert not host.hook.second.has_spec()
        photons.write("a.py", own("3"))
        await host.reload_photon(a)
        assert host.hook.price(item=1) == ["3", "other"]


async def test_a_start_is_tried_again(make_host, photons, collector):
    """The hook was specified by the first try."""
    async with make_host() as host:
        collector.plugins, collector.tries = host.plugins, []
        text = own("1").replace(
            "(Photon)\n\n    def is", "(Photon); collector.start()\n\n    def is"
        )
        collector.start = lambda: (
            collector.tries.append(1) or 1 / (len(collector.tries) - 1)
        )
        handlers = await host.load_photon(photons.write("a.py", text))
        with pytest.raises(LuminalError, match="ZeroDivisionError"):
            await handlers.start()
        await handlers.start()
        assert host.hook.price(item=1) == ["1"]


async def test_a_hook_returns_with_the_generation_that_is_rolled_back_to(
    make_host, photons, collector
):
    """Probation fails: the earlier generation's specification is in force again."""
    probation = Probation(seconds=60, interval=0.01)
    host, a, _ = await start(make_host, photons, collector, probation=probation)
    async with host:
        photons.write("a.py", own("2", first=True))
        await host.reload_photon(a)
        assert host.hook.price(item=1) == "2"
        collector.is_healthy = False
        await async_wait_until(lambda: host.hook.price(item=1) == ["1", "other"])
        await until_gone(collector.classes[1])


class Hooks:
    """Hooks of a host that lets plugins add more, as pytest does."""

    @hookspec(historic=True)
    def add_hooks(self, manager): ...


PLUGIN = """
import collector, weakref
from luminal import IPhoton, hookimpl, hookspec
from . import _specs

class Photon(IPhoton):
    photon_name = "a"
    @hookimpl
    def add_hooks(self, manager): manager.add_hookspecs(_specs)

    @hookimpl
    def price(self, item{more}): return "{answer}"
"""


async def test_a_plugin_that_adds_hooks_when_it_is_registered(
    make_host, photons, collector
):
    """The hooks are in a helper file, and the call of the host is repeated."""
    async with make_host() as host:
        host.plugins.add_hookspecs(Hooks)
        host.hook.add_hooks.call_historic(kwargs={"manager": host.plugins})
        specs = "from luminal import hookspec\n@hookspec\ndef price(item{}): ...\n"
        photons.write("_specs.py", specs.format(""))
        (a,) = await host.run(photons.write("a.py", PLUGIN.format(answer=1, more="")))
        old = weakref.ref(sys.modules[a.generation.unit.rpartition(".")[0] + "._specs"])
        assert host.hook.price(item=1) == ["1"]
        photons.write("_specs.py", specs.format(", more"))
        photons.write("a.py", PLUGIN.format(answer=2, more=", more"))
        await host.reload_photon(a)
        assert host.hook.price(item=1, more=2) == ["2"]
        await until_gone(old)


async def test_the_hook_of_a_host_stays_the_hosts(make_host, photons, collector):
    """A photon that specifies it again is refused, as pluggy does."""
    host, a, _ = await start(make_host, photons, collector)
    async with host:
        photons.write("a.py", own("2").replace("def price", "def visit"))
        with pytest.raises(LuminalError, match="already registered"):
            await host.reload_photon(a)
        assert host.hook.price(item=1) == ["1", "other"]
        specs = type("Specs", (), {"price": hookspec(lambda item: None)})
        with pytest.raises(ValueError, match="already registered"):
            host.plugins.add_hookspecs(specs)
