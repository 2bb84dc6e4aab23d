"""What the rest of the program sees while a photon is imported, and after it failed."""

from __future__ import annotations

import asyncio
import base64
import builtins
import gettext
import hashlib
import importlib
import inspect
import sys
import threading
from types import SimpleNamespace
from unittest import mock

import pytest

from luminal import Loader, discover
from luminal.errors import LuminalError
from luminal.model import Deadlines
from tests.waiting import DEADLINE

GROUP = "luminal_test_imports"
SLOW = """
import luminal_test_gate as gate
from luminal import IPhoton
BEFORE = 1
gate.begun.set()
gate.go_on.wait(60)
{}
X = 2
class Photon(IPhoton):
    photon_name = "luminal_test_dist"
"""


def install(site, name: str, text: str) -> None:
    """Write a distribution of one package, as pip does."""
    (site / name).mkdir(parents=True)
    texts = {"__init__": text, "below": "from . import X\n"}
    info = site / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{name} = {name}:Photon\n")
    lines = ""
    for stem, written in texts.items():
        (site / name / f"{stem}.py").write_text(written)
        digest = base64.urlsafe_b64encode(hashlib.sha256(written.encode()).digest())
        known = f"sha256={digest.decode().rstrip('=')},{len(written)}"
        lines += f"{name}/{stem}.py,{known}\n"
    (info / "RECORD").write_text(lines)


@pytest.fixture
def gate(monkeypatch):
    gate = SimpleNamespace(begun=threading.Event(), go_on=threading.Event())
    monkeypatch.setitem(sys.modules, "luminal_test_gate", gate)
    yield gate
    gate.go_on.set()


@pytest.fixture
def dist(tmp_path, monkeypatch):
    """Return a function that installs the distribution above."""
    monkeypatch.syspath_prepend(tmp_path / "site")

    def write(end: str = "") -> None:
        install(tmp_path / "site", "luminal_test_dist", SLOW.format(end))

    yield write
    sys.modules.pop("luminal_test_dist", None)
    sys.modules.pop("luminal_test_dist.below", None)


class Asking(threading.Thread):
    """A thread that asks something once, and keeps what comes of it."""

    def __init__(self, ask):
        super().__init__(daemon=True)
        self.ask, self.result = ask, None
        self.start()

    def run(self):
        try:
            self.result = self.ask()
        except BaseException as error:
            self.result = error


def by_statement():
    from luminal_test_dist import X

    return X


def by_name():
    import luminal_test_dist

    return luminal_test_dist.X


ASK = {
    "from": by_statement,
    "import": by_name,
    "import_module": lambda: importlib.import_module("luminal_test_dist").X,
    "builtin": lambda: __import__("luminal_test_dist").X,
    "submodule": lambda: importlib.import_module("luminal_test_dist.below").X,
}


@pytest.mark.parametrize("ask", ASK)
async def test_other_threads_wait_for_a_first_load(gate, dist, ask):
    """They get the whole module, and the one that the photon has."""
    dist()
    async with Loader() as loader:
        loading = asyncio.ensure_future(loader.load(discover(group=GROUP)))
        assert await asyncio.to_thread(gate.begun.wait, DEADLINE)
        asking = Asking(ASK[ask])
        await asyncio.to_thread(asking.join, 0.1)
        assert asking.is_alive()
        # Who only looks at modules does not wait.
        assert inspect.getmodule(object()) is None
        assert not hasattr(sys.modules["luminal_test_dist"], "BEFORE")
        gate.go_on.set()
        await loading
        await asyncio.to_thread(asking.join, DEADLINE)
        assert asking.result == 2
        assert type(sys.modules["luminal_test_dist"]) is type(sys)


@pytest.mark.parametrize("ask", ASK)
async def test_other_threads_import_by_themselves_what_could_not_be_loaded(
    gate, dist, ask
):
    """As if the photon had never been there."""
    dist("if gate.fails: raise ValueError")
    gate.fails = True
    async with Loader() as loader:
        loading = asyncio.ensure_future(loader.load(discover(group=GROUP)))
        await asyncio.to_thread(gate.begun.wait, DEADLINE)
        asking = Asking(ASK[ask])
        await asyncio.to_thread(asking.join, 0.1)
        gate.go_on.set()
        assert (await loading).failed
        await asyncio.to_thread(asking.join, DEADLINE)
        assert isinstance(asking.result, ValueError)
        assert "luminal_test_dist" not in sys.modules


@pytest.mark.parametrize("ask", ASK)
async def test_other_threads_wait_no_longer_than_a_load_may_take(gate, dist, ask):
    dist()
    limits = Deadlines(load=0.3)
    async with Loader(deadlines=limits) as loader:
        loading = asyncio.ensure_future(loader.load(discover(group=GROUP)))
        assert await asyncio.to_thread(gate.begun.wait, DEADLINE)
        asking = Asking(ASK[ask])
        assert (await loading).failed
        gate.go_on.set()
        await asyncio.to_thread(asking.join, DEADLINE)
        # It was given up at the same moment: not there, or imported by the thread.
        assert asking.result == 2 or isinstance(asking.result, ImportError)


async def test_the_thread_that_commits_does_not_wait_for_itself(gate, dist):
    """The event loop's: it waits until the module has been executed, not longer."""
    dist()
    async with Loader() as loader:
        loading = asyncio.ensure_future(loader.load(discover(group=GROUP)))
        assert await asyncio.to_thread(gate.begun.wait, DEADLINE)
        threading.Timer(0.1, gate.go_on.set).start()
        assert by_statement() == by_name() == 2
        await loading


def test_a_first_load_sees_itself_also_in_threads_of_its_own(photons, start):
    head = """
import sys, threading, concurrent.futures, dataclasses, typing
from importlib import import_module

def work():
    @dataclasses.dataclass
    class Kind:
        number: "int"
    typing.get_type_hints(Kind)
    return sys.modules[__name__].VALUE, import_module(__name__).VALUE
VALUE = 1
with concurrent.futures.ThreadPoolExecutor(1) as pool:
    SEEN = pool.submit(work).result(20)
this = sys.modules[__name__]
"""
    path = photons.photon("own", "seen = SEEN, this\n", head)
    seen, this = start(path).seen
    assert seen == (this.VALUE, this.VALUE) == (1, 1)
    assert type(this) is type(sys)


@pytest.mark.parametrize("what", ["a first load", "a reload", "a reload that starts"])
async def test_a_failed_import_leaves_no_entries(photons, tmp_path, monkeypatch, what):
    """Entries of the photon's own are undone; libraries that are whole stay."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "luminal_test_library.py").write_text(
        "import sys\nsys.modules['luminal_test_alias'] = sys.modules[__name__]\n"
    )
    head = """
        import sys
        import luminal_test_library
        sys.modules["json"] = object()
        sys.modules["ghost"] = object()
        sys.modules["alias"] = sys.modules["fractions"] = sys.modules[__name__]
        sys.modules["luminal_test_alias.below"] = object()
        del sys.modules["colorsys"]
        """
    import colorsys
    import fractions
    import json

    head += "" if what == "a reload that starts" else "raise ValueError\n"
    body = "def start(self): raise ValueError"
    async with Loader() as loader:
        if what == "a first load":
            with pytest.raises(LuminalError):
                await loader.load_photon(photons.photon("p", "", head))
        else:
            (p,) = await loader.load_photon(photons.photon("p"))
            await loader.start()
            photons.photon("p", body, head)
            with pytest.raises(LuminalError):
                await loader.reload_photon(p)
        assert sys.modules["json"] is json
        assert sys.modules["colorsys"] is colorsys
        assert sys.modules["fractions"] is fractions
        assert "ghost" not in sys.modules
        assert "alias" not in sys.modules
        assert "luminal_test_library" in sys.modules
        assert "luminal_test_alias" in sys.modules
    for name in [n for n in sys.modules if n.startswith("luminal_test_")]:
        del sys.modules[name]


async def test_patches_of_builtins_reach_photons(photons, loader, monkeypatch):
    """Also those that are made after the load."""
    body = "def read(self): return open('nowhere'), _('word')\n"
    (handler,) = await loader.load_photon(photons.photon("p", body))
    await loader.start()
    monkeypatch.setattr(builtins, "_", None, raising=False)
    monkeypatch.delattr(builtins, "_")
    gettext.install("luminal_test")
    try:
        with mock.patch("builtins.open", return_value="patched"):
            assert handler.instance.read() == ("patched", "word")
    finally:
        del builtins._


@pytest.mark.parametrize("when", ["before", "after"])
async def test_an_import_hook_of_the_host_is_asked(photons, when):
    """It may be put there before the photons are loaded, or after."""
    seen, was = [], builtins.__import__

    def put():
        below = builtins.__import__

        def hook(name, *args, **more):
            seen.append(name)
            return below(name, *args, **more)

        builtins.__import__ = hook

    body = """
        def go(self):
            import colorsys
            from . import helper
            import helper as again
            return helper is again, colorsys.__name__
        """
    photons.write("helper.py", "")
    path = photons.photon("p", body)
    try:
        if when == "before":
            put()
        async with Loader() as loader:
            (handler,) = await loader.load_photon(path)
            await loader.start()
            if when == "after":
                put()
            assert handler.instance.go() == (True, "colorsys")
            assert "colorsys" in seen
            photons.photon("p", body + "    x = 1\n")
            await loader.reload_photon(handler)
            seen.clear()
            assert handler.instance.go() == (True, "colorsys")
            assert "colorsys" in seen
        seen.clear()
        import colorsys

        assert seen == ["colorsys"]
        assert sys.modules["colorsys"] is colorsys
    finally:
        builtins.__import__ = was
    assert importlib.import_module("json")


async def test_import_is_the_interpreters_again_after_the_last_unload(photons):
    was, reload = builtins.__import__, importlib.reload
    path = photons.photon("p")
    async with Loader() as first, Loader() as second:
        await first.load_photon(path)
        ours = builtins.__import__
        assert ours is not was
        await second.load_photon(path)
        assert builtins.__import__ is ours
        await first.unload_photon("p")
        assert builtins.__import__ is ours
        await second.unload_photon("p")
        assert builtins.__import__ is was
        assert importlib.reload is reload
    with pytest.raises(LuminalError):
        await Loader().load_photon(photons.photon("q", "", "1 / 0\n"))
    assert builtins.__import__ is was


def test_ways_to_call_import_itself(photons, start):
    """With its globals, without, by keywords; and what is wrong is said as always."""
    head = """
from luminal import IPhoton
def tried(*args, **more):
    try:
        return __import__(*args, **more).__name__.rpartition(".")[2]
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
SEEN = [
    tried("helper"),
    tried("helper", globals()),
    tried(name="helper", globals=globals(), level=1),
    tried("", globals(), None, ["helper"], 1),
    tried("colorsys", None, None, (), 0),
    tried("colorsys", {}),
    tried("colorsys", 5),
    tried("", globals()),
    tried("luminal_test_nowhere"),
]
"""
    photons.write("helper.py", "")
    seen = start(photons.photon("p", "seen = SEEN\n", head)).seen
    assert seen[:2] == ["helper", "helper"]
    assert seen[2] == "helper"
    assert seen[3].startswith("photons_")
    assert seen[4:] == [
        "colorsys",
        "colorsys",
        "colorsys",
        "ValueError: Empty module name",
        "ModuleNotFoundError: No module named 'luminal_test_nowhere'",
    ]
