"""Old generations of photons of every kind are freed, or named with file and line.

``LUMINAL_TEST_RELOADS=100`` makes as many reloads of each kind.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import types
import weakref

import pytest

from luminal.errors import LuminalError
from luminal.model import EventKind

RELOADS = int(os.environ.get("LUMINAL_TEST_RELOADS", "8"))

HEAD = """
import asyncio, copy, dataclasses, enum, importlib, pickle, pkgutil, sys, threading
import typing
from luminal import IPhoton, hookimpl, hookspec
import kinds_host as host
"""
BODY = """
class Photon(IPhoton):
    photon_name = "a"
    @hookimpl
    def who(self): return answer()
"""
PARTS = "VALUE = {number}\n"
# Kind → the files of a package or module, written for each number.
KINDS = {
    "import_module": {
        "a/__init__.py": HEAD
        + "part = importlib.import_module('.part', __name__)\n"
        + "def answer(): return part.VALUE\n"
        + BODY,
        "a/part.py": PARTS,
    },
    "iter_modules": {
        "a/__init__.py": HEAD
        + "parts = [importlib.import_module(f'{__name__}.{m.name}')\n"
        + "         for m in pkgutil.iter_modules(__path__)]\n"
        + "def answer(): return sum(part.VALUE for part in parts)\n"
        + BODY,
        "a/part.py": PARTS,
        "a/zero.py": "VALUE = 0  # {number}\n",
    },
    "resolve_name": {
        "a/__init__.py": HEAD
        + "def answer(): return pkgutil.resolve_name(__name__ + '.part:VALUE')\n"
        + "first = answer()\n"
        + BODY,
        "a/part.py": PARTS,
    },
    "late import": {
        "a/__init__.py": HEAD
        + "def answer():\n    from .late import VALUE\n    return VALUE\n"
        + BODY,
        "a/late.py": PARTS,
    },
    "late helper": {
        "a.py": HEAD
        + "NUMBER = {number}\n"
        + "def answer():\n    import _late\n    return _late.VALUE + 0 * NUMBER\n"
        + BODY,
        "_late.py": PARTS,
    },
    "own module": {
        "a.py": HEAD
        + "this = sys.modules[__name__]\nVALUE = {number}\n"
        + "def answer(): return this.VALUE\n"
        + BODY,
    },
    "copy of a proxy": {
        "a.py": HEAD
        + "this = sys.modules[__name__]\nhost.seen.add(this)\n"
        + "table = dict(sys.modules)\nVALUE = {number}\n"
        + "def answer(): return table[__name__].VALUE\n"
        + BODY,
    },
    "absolute self import": {
        "a/__init__.py": HEAD
        + "def answer(): return load().VALUE\n"
        + "def load(): return importlib.import_module(__name__ + '.part')\n"
        + "load()\n"
        + BODY,
        "a/part.py": PARTS + "import importlib, sys\nup = sys.modules[__package__]\n",
    },
    "overloads": {
        "a.py": HEAD
        + "{lines}@typing.overload\ndef f(a: int) -> int: ...\n"
        + "@typing.overload\ndef f(a: str) -> str: ...\n"
        + "def f(a): return a\n"
        + "def answer(): return f({number})\n"
        + BODY,
    },
    "typing caches": {
        "a.py": HEAD
        + "class Row: pass\nT = typing.TypeVar('T')\n"
        + "class Box(typing.Generic[T]): pass\n"
        + "kinds = typing.Optional[Row], typing.List[Row], Box[Row], Row | None\n"
        + "hints = typing.get_type_hints(Box.__init__)\n"
        + "def answer(): return {number}\n"
        + BODY,
    },
    "hookspecs": {
        "a.py": HEAD
        + "class Specs:\n    @hookspec\n    def own_hook(self): ...\n"
        + "def answer(): return {number}\n"
        + BODY
        + "    def __init__(self):\n        host.plugins.add_hookspecs(Specs)\n"
        + "    @hookimpl\n    def own_hook(self): return {number}\n",
    },
    "spawns": {
        "a.py": HEAD
        + "def answer(): return {number}\n"
        + BODY
        + "    async def start(self):\n"
        + "        self.context.spawn(self.work())\n"
        + "        self.task = asyncio.create_task(self.work())\n"
        + "    async def work(self): await asyncio.Event().wait()\n",
    },
    "repeats": {
        "a.py": HEAD
        + "def answer(): return {number}\n"
        + BODY
        + "    def start(self): self.context.every(0.01, self.work)\n"
        + "    def work(self): return self\n",
    },
    "threads": {
        "a.py": HEAD
        + "def answer(): return {number}\n"
        + BODY
        + "    def start(self):\n"
        + "        self.end = threading.Event()\n"
        + "        self.thread = threading.Thread(target=self.work)\n"
        + "        self.thread.start()\n"
        + "        self.context.thread(self.work)\n"
        + "    def work(self): self.end.wait()\n"
        + "    def finalize(self):\n        self.end.set()\n",
    },
    "data": {
        "a.py": HEAD
        + "@dataclasses.dataclass\nclass Row:\n    value: int\n"
        + "class Colour(enum.Enum):\n    RED = {number}\n"
        + "class Pair(typing.NamedTuple):\n    value: int\n"
        + "def answer():\n"
        + "    row = pickle.loads(pickle.dumps(Row(Colour.RED.value)))\n"
        + "    return copy.deepcopy(Pair(row.value)).value\n"
        + "first = answer()\n"
        + BODY,
    },
    "kept exception": {
        "a/__init__.py": HEAD
        + "try:\n    import kinds_of_nothing\nexcept ImportError as missing:\n"
        + "    error = missing\n"
        + "from . import part\n"
        + "def answer(): return part.frame.f_globals['VALUE']\n"
        + BODY,
        "a/part.py": PARTS + "import sys\nframe = sys._getframe()\n",
    },
    "deleted helper": {
        "a/__init__.py": HEAD
        + "from . import part{number} as part\n"
        + "def answer(): return part.VALUE\n"
        + BODY,
        "a/part{number}.py": PARTS,
    },
}


@pytest.fixture
def host_module(monkeypatch):
    """A module of the host that photons import."""
    module = types.ModuleType("kinds_host")
    module.seen = weakref.WeakSet()
    monkeypatch.setitem(sys.modules, "kinds_host", module)
    return module


def write(photons, files, number):
    def fill(text):
        return text.replace("{number}", str(number)).replace("{lines}", "\n" * number)

    for name, text in files.items():
        photons.write(fill(name), fill(text))
    earlier = photons.path / f"a/part{number - 1}.py"
    earlier.unlink(missing_ok=True)


@pytest.mark.parametrize("kind", KINDS)
async def test_old_generations_of_each_kind_are_freed(
    make_host, photons, host_module, kind
):
    """The answers are those of the text that was saved."""
    files, olds = KINDS[kind], []
    main = photons.path / ("a.py" if "a.py" in files else "a/__init__.py")
    async with make_host() as host:
        host_module.plugins = host.plugins
        write(photons, files, 0)
        (a,) = await host.run(main)
        assert host.answers() == [0]
        for number in range(1, RELOADS + 1):
            olds.append(weakref.ref(a.generation))
            write(photons, files, number)
            await host.reload_photon(a)
            assert host.answers() == [number]

        def alive():
            gc.collect()
            return sum(ref() is not None for ref in olds)

        del a
        try:
            await host.until(lambda: not alive())
        except AssertionError:
            named = host.happened(EventKind.LEAKED)
            pytest.fail(f"{alive()} old generations; {[str(e) for e in named]}")
        assert not host.happened(EventKind.LEAKED)
        assert len([r for r in asyncio.all_tasks() if "luminal" in r.get_name()]) < 2


async def test_rejected_code_that_is_kept_keeps_nothing_else(
    make_host, photons, host_module
):
    """What served when it was rejected is freed once it serves no more."""
    host_module.kept = []
    text = HEAD + "def answer(): return {}\n" + BODY
    async with make_host() as host:
        (a,) = await host.run(photons.write("a.py", text.format(1)))
        old = weakref.ref(a.generation)
        photons.write("a.py", text.format(2) + "host.kept.append(answer)\n1 / 0\n")
        with pytest.raises(LuminalError):
            await host.reload_photon(a)
        photons.write("a.py", text.format(3))
        await host.reload_photon(a)
        del a
        await host.until(lambda: gc.collect() < 0 or old() is None)
        assert [function() for function in host_module.kept] == [2]
