"""What a swap leaves behind in memory does not grow with their number."""

from __future__ import annotations

import gc
import sys
import textwrap
import time
import types
import typing
import weakref

import pytest

import luminal.blocking
from luminal.errors import PhotonImportError
from luminal.lifecycle._survivors import PATIENCE
from luminal.model import EventKind
from tests.waiting import async_wait_until, wait_until


async def test_compiled_code_does_not_pile_up(make_host, photons):
    """Code of the latest versions is kept, whatever the number of reloads."""
    async with make_host() as host:
        body = "N = {}\n"
        (a,) = await host.run(photons.photon("a", body.format(0)))
        for number in range(1, 30):
            photons.photon("a", body.format(number))
            await host.reload_photon(a)
        assert len(host._world.codes._codes) < 10
        await host.roll_back(a)
        assert a.instance.N == 28


async def test_types_made_of_a_photons_class_do_not_keep_it(make_host, photons):
    """`typing` remembers what it was asked for; a generation ends all the same."""
    text = textwrap.dedent("""
        from typing import Generic, List, Optional, TypeVar
        from luminal import IPhoton

        class Row: ...
        T = TypeVar("T")
        class Box(Generic[T]): ...
        KINDS = Optional[Row], List[Row], Box[Row]

        class Photon(IPhoton):
            photon_name = "a"
        """)
    async with make_host() as host:
        (a,) = await host.run(photons.write("a.py", text))
        row = weakref.ref(vars(a.generation.root)["Row"])
        photons.write("a.py", text + "\n# two\n")
        await host.reload_photon(a)
        gc.collect()
        assert row() is None


@pytest.fixture(autouse=True)
def quick_collections():
    """Leave what other tests have made out of collections, which take long else."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


async def until_gone(*references):
    """Wait until nothing refers to the objects any more."""
    await async_wait_until(
        lambda: gc.collect() >= 0 and not any(ref() for ref in references)
    )


LIVES = {
    "idle": """
async def start(self): pass
""",
    "plain": """
def start(self): pass
def finalize(self): pass
""",
    "spawns": """
async def start(self): self.context.spawn(self.work())
async def work(self): await asyncio.sleep(1000)
""",
    "spawns from thread": """
def start(self): self.context.spawn(self.work())
async def work(self): await asyncio.sleep(1000)
""",
    "schedules": """
async def start(self): asyncio.get_running_loop().call_later(1000, print)
""",
    "repeats": """
def start(self): self.context.every(0.01, self.work)
def work(self): pass
""",
    "takes over": """
async def start(self): pass
async def on_reload(self, previous): return previous
""",
    "returns previous": """
async def start(self): pass
async def on_reload(self, previous): self.context.spawn(self.work(previous))
async def work(self, previous): return previous
""",
    "finalize raises": """
async def start(self): self.context.on_close(self.fail)
async def fail(self): raise ValueError(self)
async def finalize(self): raise ValueError(self)
""",
}


@pytest.mark.parametrize("methods", LIVES.values(), ids=LIVES.keys())
async def test_the_generation_before_is_free_after_the_swap(
    make_host, photons, methods
):
    """It is not kept until the next swap by what the new one has started."""
    text = "import asyncio\nfrom luminal import IPhoton\nclass Photon(IPhoton):\n"
    text += textwrap.indent("photon_name = 'a'" + methods, "    ")
    async with make_host() as host:
        (a,) = await host.run(photons.write("a.py", text))
        for number in range(2):
            old = weakref.ref(a.generation)
            photons.write("a.py", f"# {number}\n{text}")
            await host.reload_photon(a)
            await until_gone(old)


OVERLOADED = """
import collector, functools, typing, weakref
from luminal import IPhoton

def quiet(f):
    @functools.wraps(f)
    def quietly(*args): return f(*args)
    return quietly

class Photon(IPhoton):
    photon_name = "{name}"
    @typing.overload
    def f(self, a: int) -> int: ...
    @typing.overload
    @staticmethod
    def f(a: str) -> str: ...
    @typing.overload
    @quiet
    def f(self, a: bytes) -> bytes: ...
    def f(self, a): return a

collector.classes.append(weakref.ref(Photon))
"""


@pytest.fixture
def classes(monkeypatch):
    """Weak references to the classes of photons that tell the module `collector`."""
    collector = types.ModuleType("collector")
    collector.classes = []
    monkeypatch.setitem(sys.modules, "collector", collector)
    return collector.classes


async def test_overloads_of_earlier_generations_are_forgotten(
    make_host, photons, classes
):
    """Those of the generation that serves stay, whatever its lines are."""
    text = OVERLOADED.format(name="a")
    other = OVERLOADED.format(name="b")
    async with make_host() as host:
        a, b = await host.run(photons.write("a.py", text), photons.write("b.py", other))
        for number in range(1, 11):
            photons.write("a.py", "\n" * number + text)
            await host.reload_photon(a)
        await until_gone(
            *[ref for ref in classes if ref() not in (a.factory, b.factory)]
        )
        for handler in (a, b):
            assert len(typing.get_overloads(handler.factory.f)) == 3
        await host.unload_photon(a)
        del handler
        await until_gone(classes[-1])
        assert len(typing.get_overloads(b.factory.f)) == 3


async def test_overloads_of_a_helper_and_of_rejected_code_are_forgotten(
    make_host, photons, classes
):
    """The helper has no photon; the rejected code never served."""
    helper = OVERLOADED.replace("Photon(IPhoton)", "Helper").replace(
        "ref(Photon)", "ref(Helper)"
    )
    user = textwrap.dedent("""
        from . import _helper
        from luminal import IPhoton
        class Photon(IPhoton):
            photon_name = "a"
        """)
    async with make_host() as host:
        photons.write("_helper.py", helper)
        (a,) = await host.run(photons.write("a.py", user))
        photons.write("_helper.py", "\n" + helper)
        await host.reload_photon(a)
        assert len(classes) == 2
        await until_gone(classes[0])
        photons.write("_helper.py", "\n\n" + helper + "1 / 0\n")
        with pytest.raises(PhotonImportError, match="ZeroDivisionError"):
            await host.reload_photon(a)
        await until_gone(classes[2])
        assert len(typing.get_overloads(classes[1]().f)) == 3


def test_what_still_lets_go_is_not_reported_as_kept(tmp_path):
    """A generation that ended a moment ago is garbage soon: ended tasks hold it."""
    text = textwrap.dedent("""
        import asyncio
        from luminal import IPhoton

        class Photon(IPhoton):
            photon_name = "a"

            def start(self):
                self.context.spawn(self.beat())

            async def beat(self):
                while True:
                    await asyncio.sleep(0.001)
        """)
    file = tmp_path / "a.py"
    file.write_text(text)
    events = []
    with luminal.blocking.Loader() as loader:
        (a,) = loader.load_photon(file)
        loader.start()
        loader.events.subscribe(events.append)
        number, ends = 0, time.monotonic() + 2 * PATIENCE
        while time.monotonic() < ends:  # some end just before others are looked at
            number += 1
            file.write_text(f"{text}\nNUMBER = {number}\n")
            loader.reload_photon(a)

        def retired():
            gc.collect()
            return [event for event in events if event.kind is EventKind.RETIRED]

        wait_until(lambda: len(retired()) == number)
        assert [event for event in events if event.kind is EventKind.LEAKED] == []
