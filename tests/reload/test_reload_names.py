"""What staged code finds by name: its own generation, in every way to import."""

from __future__ import annotations

import asyncio
import base64
import gc
import hashlib
import importlib
import shutil
import sys
import threading
import weakref
from types import SimpleNamespace

import pytest

from luminal import discover
from luminal.errors import LuminalError
from luminal.model import EventKind

PHOTON = """
{head}
from luminal import IPhoton, hookimpl

class Photon(IPhoton):
    photon_name = "p"
{body}
    @hookimpl
    def who(self):
        return {answer}
"""


def lone(answer: object, head: str = "", body: str = "") -> str:
    return PHOTON.format(head=head, body=body, answer=answer)


START = """
    def start(self):
        {}
"""

# Ways to reach the submodule ``one`` of a package and read its V.
WAYS = {
    "import_module": (
        "import importlib\nV = importlib.import_module('.one', __name__).V",
        "",
        "V",
    ),
    "builtin": ("V = __import__(__name__ + '.one', fromlist=['one']).V", "", "V"),
    "builtin and sys.modules": (
        """
import sys
__import__(__name__ + '.one')
V = sys.modules[__name__ + '.one'].V
""",
        "",
        "V",
    ),
    "resolve_name": (
        "import pkgutil\nV = pkgutil.resolve_name(__name__ + '.one:V')",
        "",
        "V",
    ),
    "resolve_name without a colon": (
        "import pkgutil\nV = pkgutil.resolve_name(__name__ + '.one.V')",
        "",
        "V",
    ),
    "iter_modules": (
        """
import importlib, pkgutil
for found in pkgutil.iter_modules(__path__):
    if not found.ispkg:
        V = importlib.import_module(f"{__name__}.{found.name}").V
""",
        "",
        "V",
    ),
    "sys.modules if it is there": (
        """
import importlib, sys
M = sys.modules.get(__name__ + '.one') or importlib.import_module('.one', __name__)
V = M.V
""",
        "",
        "(V if V == M.V else (V, M.V))",
    ),
    "import_module of one below": (
        "import importlib\nV = importlib.import_module('.sub.deep', __name__).V",
        "",
        "V",
    ),
    "import_module of one in a folder without code": (
        "import importlib\nV = importlib.import_module('.plain.deep', __name__).V",
        "",
        "V",
    ),
    "a lazy attribute": (
        """
import importlib
def __getattr__(name):
    if name != "one":
        raise AttributeError(name)
    return importlib.import_module("." + name, __name__)
from . import one
V = one.V
""",
        "",
        "V",
    ),
    "patch": (
        """
from unittest import mock
with mock.patch(__name__ + ".one.V", 0):
    pass
from .one import V
""",
        "",
        "V",
    ),
    "a task of start": (
        "import asyncio, importlib\nNAME = __name__",
        """
    async def work(self):
        return importlib.import_module('.one', NAME).V
    async def start(self):
        self.V = await asyncio.create_task(self.work())
""",
        "self.V",
    ),
    "walk_packages": (
        """
import pkgutil, sys
for found in pkgutil.walk_packages(__path__, __name__ + "."):
    __import__(found.name)
V = sys.modules[__name__ + ".sub.deep"].V
""",
        "",
        "V",
    ),
    "import_module in start": (
        "import importlib\nNAME = __name__",
        START.format("self.V = importlib.import_module('.one', NAME).V"),
        "self.V",
    ),
    "a thread of start": (
        "import importlib, threading\nNAME = __name__",
        """
    def work(self):
        self.V = importlib.import_module('.one', NAME).V
    def start(self):
        thread = threading.Thread(target=self.work)
        thread.start()
        thread.join()
""",
        "self.V",
    ),
    "a pool's thread, which runs no code of the photon": (
        """
import importlib, pkgutil, sys
from concurrent.futures import ThreadPoolExecutor
from operator import attrgetter
NAME = __name__
""",
        """
    def start(self):
        with ThreadPoolExecutor(1) as pool:
            one = pool.submit(importlib.import_module, '.one', NAME).result()
            deep = pool.submit(pkgutil.resolve_name, NAME + '.sub.deep:V').result()
            this = pool.submit(attrgetter("NAME"), sys.modules[NAME]).result()
        self.V = one.V if (one.V, NAME) == (deep, this) else (one.V, deep, this)
""",
        "self.V",
    ),
    "a dotted name, as dictConfig resolves it": (
        """
import logging.config
resolve = logging.config.BaseConfigurator({}).resolve
V = resolve(__name__ + ".one.V")
""",
        START.format("self.W = resolve(__name__ + '.one.V')"),
        "(V if V == self.W == resolve(__name__ + '.one.V') else (V, self.W))",
    ),
    "its own dotted name": (
        """
import logging.config
resolve = logging.config.BaseConfigurator({}).resolve
from .one import V as VALUE
V = resolve(__name__ + ".VALUE")
""",
        START.format("self.W = resolve(__name__ + '.VALUE')"),
        "(V if V == self.W == resolve(__name__ + '.V') else (V, self.W))",
    ),
    "text that is executed with names of its own": (
        """
def read():
    names = {}
    exec(f"import {__name__}.one\\nimport {__name__}.one as o", names)
    exec(f"V = {__name__}.one.V", names)
    return names["V"] if names["V"] == names["o"].V else names
V = read()
""",
        "",
        "(V if V == read() else (V, read()))",
    ),
    "runpy": (
        "import runpy\nV = runpy.run_module(__name__ + '.one')['V']",
        "",
        "(V if V == runpy.run_module(__name__ + '.one')['V'] else V)",
    ),
    "find_spec": (
        """
from importlib.util import find_spec, module_from_spec
V = find_spec(__name__ + ".one").loader.get_source(__name__ + ".one")
""",
        "",
        "int(V.split()[2])",
    ),
    "reload": (
        """
import importlib
from importlib import reload
from . import one
V = importlib.reload(one).V
""",
        "",
        "(V if V == reload(one).V else (V, one.V))",
    ),
    "a folder that is added to __path__": (
        """
import importlib, os
__path__.append(os.path.join(__path__[0], "plain"))
__path__.append(os.path.join(__path__[0], "sub"))
from .deep import V
""",
        "",
        "(V if V == importlib.import_module('.deep', __name__).V else 0)",
    ),
    "a folder that comes first in __path__": (
        """
import os
__path__.insert(0, os.path.join(__path__[0], "folder"))
from .sub.deep import V
""",
        "",
        "V",
    ),
    "LazyLoader": (
        """
import importlib.util, sys
def lazy(name):
    spec = importlib.util.find_spec(name)
    spec.loader = loader = importlib.util.LazyLoader(spec.loader)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module
one = lazy(__name__ + ".one")
""",
        "",
        "(one.V if one.V == lazy(one.__name__).V else 0)",
    ),
    "its folder on sys.path": (
        """
import importlib, os, sys
sys.path.insert(0, os.path.dirname(__file__))
import one
from sub.deep import V
""",
        "",
        "(V if V == one.V == importlib.import_module('one').V else (V, one.V))",
    ),
    "a folder without code on sys.path": (
        """
import importlib, sys
from pathlib import Path
sys.path.append(str(Path(__file__).resolve().parent / "plain"))
V = importlib.import_module("deep").V
""",
        "",
        "(V if V == __import__('deep').V else 0)",
    ),
    "a module made by hand": (
        """
import sys, types
from .one import V
made = sys.modules[__name__ + ".made"] = types.ModuleType(__name__ + ".made")
made.V = V
def read():
    from .made import V
    return V
""",
        "",
        "(V if V == read() == sys.modules[made.__name__].V else (V, read()))",
    ),
    "a module made by hand in start": (
        "import sys, types\nfrom .one import V\nNAME = __name__ + '.made'",
        """
    def start(self):
        sys.modules[NAME] = types.ModuleType(NAME)
        sys.modules[NAME].V = V
    def read(self):
        from .made import V
        return V
""",
        "self.read()",
    ),
    "its own module under another name": (
        """
import sys
from .one import V
sys.modules["luminal_test_second_name"] = sys.modules[__name__]
import luminal_test_second_name as alias
def read():
    import luminal_test_second_name
    return luminal_test_second_name.V
""",
        "",
        "(V if V == alias.V == read() else (V, alias.V, read()))",
    ),
    "import_module in on_reload": (
        "import importlib\nNAME = __name__",
        """
    def __init__(self):
        super().__init__()
        self.V = importlib.import_module('.one', NAME).V
    def on_reload(self, previous):
        self.V = importlib.import_module('.one', NAME).V
""",
        "self.V",
    ),
}


@pytest.fixture(autouse=True)
def _path(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.mark.parametrize("way", WAYS)
async def test_a_package_finds_its_own_submodule(make_host, photons, way):
    head, body, answer = WAYS[way]
    photons.write("pk/__init__.py", lone(answer, head, body))

    def save(number):
        text = f"V = {number}\n" + "#" * number + "\n"
        photons.write("pk/one.py", text)
        photons.write("pk/sub/__init__.py", "")
        photons.write("pk/sub/deep.py", text)
        photons.write("pk/plain/deep.py", text)
        photons.write("pk/folder/sub/__init__.py", "")
        photons.write("pk/folder/sub/deep.py", text)

    save(1)
    async with make_host() as host:
        (p,) = await host.run(photons.path / "pk" / "__init__.py")
        seen = [host.answers()[0]]
        for number in range(2, 6):
            save(number)
            await host.reload_photon(p)
            seen.append(host.answers()[0])
        assert seen == [1, 2, 3, 4, 5]
        assert not [n for n, m in sys.modules.items() if "Proxy" in type(m).__name__]


async def test_the_watch_renews_a_package_that_loads_its_folder(make_host, photons):
    head, body, answer = WAYS["iter_modules"]
    photons.write("pk/__init__.py", lone(answer, head, body))
    photons.write("pk/one.py", "V = 1\n")
    async with make_host() as host:
        await host.run(photons.path / "pk" / "__init__.py")
        await host.watch_photons(photons.path)
        for number in (2, 3, 4):
            photons.write("pk/one.py", f"V = {number}\n")
            await host.until(lambda n=number: host.answers() == [n])


async def test_a_module_that_looks_itself_up(make_host, photons):
    """``this = sys.modules[__name__]`` stands for its own generation for ever."""
    head = "import sys, importlib\nthis = sys.modules[__name__]\n"
    head += "again = importlib.import_module(__name__)\nVALUE = {}"
    answer = "VALUE, this.VALUE, again.VALUE, sys.modules[__name__].VALUE"

    def save(number):
        return photons.write("p.py", lone(answer, head.format(number)))

    async with make_host() as host:
        (p,) = await host.run(save(1))
        old = []
        for number in range(2, 12):
            old.append(weakref.ref(p.generation.root))
            save(number)
            await host.reload_photon(p)
            assert host.answers() == [(number,) * 4]
        await host.until(lambda: gc.collect() < 0 or not [o for o in old if o()])


async def test_a_module_whose_class_hides_what_is_in_it(make_host, photons):
    """It is loaded for the first time by a swap, which commits nothing in part."""
    hidden = """
import sys, types
class Hidden(types.ModuleType):
    @property
    def __dict__(self):
        raise ValueError
sys.modules[__name__].__class__ = Hidden
V = {}
"""
    path = photons.write("p.py", lone(1))
    async with make_host() as host:
        (p,) = await host.run(path)
        for number in (2, 3):
            photons.write("hidden.py", hidden.format(number))
            photons.write("p.py", lone("V", "from hidden import V"))
            await host.reload_photon(p)
            assert host.answers() == [number]
        photons.write("p.py", lone("V", "from hidden import V\nV = None\n1 / 0"))
        photons.write("hidden.py", hidden.format(4))
        with pytest.raises(LuminalError):
            await host.reload_photon(p)
        assert host.answers() == [3]


@pytest.mark.parametrize("line", ["__spec__ = None", "del __spec__, __loader__"])
async def test_a_module_that_changes_its_own_attributes(make_host, photons, line):
    """As plain modules may, also when they are loaded for the first time."""
    path = photons.write("p.py", lone("V", "from odd import V"))
    photons.write("odd.py", f"{line}\nV = 1\n")
    async with make_host() as host:
        (p,) = await host.run(path)
        for number in (2, 3):
            photons.write("odd.py", f"{line}\nV = {number}\n")
            await host.reload_photon(p)
            assert host.answers() == [number]


async def test_a_module_that_puts_none_in_its_place(make_host, photons):
    """It cannot be imported then, and the photon can be unloaded."""
    head = "import contextlib\nwith contextlib.suppress(ImportError):\n    import gone"
    photons.write("gone.py", "import sys\nsys.modules[__name__] = None\n")
    async with make_host() as host:
        (p,) = await host.run(photons.write("p.py", lone(1, head)))
        await host.reload_photon(p)
        await host.unload_photon(p)
        assert host.answers() == []


MADE = """
import sys, types
sys.modules["luminal_test_second_name"] = sys.modules[__name__]
made = sys.modules[__name__ + ".made"] = types.ModuleType(__name__ + ".made")
made.V = V = {}
{}
"""


async def test_what_a_photon_puts_into_sys_modules_is_swapped_with_it(
    make_host, photons, monkeypatch
):
    """Others do not see it in `start`, but when it serves; it goes with the photon."""
    path = photons.write("pk/__init__.py", lone(0, MADE.format(1, "")))
    async with make_host() as host:
        (p,) = await host.run(path)
        names = "luminal_test_second_name", p.generation.unit + ".made"

        def seen():
            return [importlib.import_module(name).V for name in names]

        assert seen() == [1, 1]
        photons.write("pk/__init__.py", lone(0, MADE.format(2, "1 / 0")))
        with pytest.raises(LuminalError):
            await host.reload_photon(p)
        assert seen() == [1, 1]
        found = []

        def look():
            thread = threading.Thread(target=lambda: found.append(seen()))
            thread.start()
            thread.join()

        monkeypatch.setitem(sys.modules, "test_made", SimpleNamespace(look=look))
        start = START.format("from test_made import look; look()")
        photons.write("pk/__init__.py", lone(0, MADE.format(2, ""), start))
        await host.reload_photon(p)
        assert found == [[1, 1]]
        assert seen() == [2, 2]
        await host.unload_photon(p)
        assert not [name for name in names if name in sys.modules]


ONCE = """
import sys, types
NAME = __name__ + ".made"
if NAME not in sys.modules:
    sys.modules[NAME] = types.ModuleType(NAME)
sys.modules.setdefault("luminal_test_second_name", sys.modules[__name__])
V = {}
def read():
    from luminal_test_second_name import V
    return vars(sys.modules[NAME]).setdefault("V", 1), V
{}
"""


@pytest.mark.parametrize("use", ["", "read()"])
async def test_an_entry_that_is_made_where_there_is_none(make_host, photons, use):
    """The next generation finds it there; what is its own by another name is new."""

    def save(number):
        return photons.write("pk/__init__.py", lone("read()", ONCE.format(number, use)))

    async with make_host() as host:
        (p,) = await host.run(save(1))
        name = p.generation.unit + ".made"
        for number in (1, 2, 3):
            save(number)
            await host.reload_photon(p)
            assert host.answers() == [(1, number)]
            assert number == importlib.import_module("luminal_test_second_name").V
        await host.unload_photon(p)
        assert not {name, "luminal_test_second_name"} & sys.modules.keys()


async def test_weak_references_to_a_module_live_as_long_as_its_code(make_host, photons):
    """Also those that were made while it was staged."""
    head = """
import sys, weakref
THIS, ENDED = weakref.ref(sys.modules[__name__]), []
weakref.finalize(sys.modules[__name__], ENDED.append, 1).atexit = False
VALUE = {}
"""
    answer = "(THIS().VALUE if THIS() else 'ended', ENDED)"

    def save(number):
        return photons.write("p.py", lone(answer, head.format(number)))

    async with make_host() as host:
        (p,) = await host.run(save(1))
        for number in (2, 3):
            save(number)
            await host.reload_photon(p)
            await host.until(
                lambda n=number - 1: (
                    gc.collect() < 0 or len(host.happened(EventKind.RETIRED)) == n
                )
            )
            assert host.answers() == [(number, [])]


@pytest.mark.parametrize("way", WAYS)
async def test_old_generations_are_freed(make_host, photons, way):
    head, body, answer = WAYS[way]
    head += "\nimport sys\nthis = sys.modules[__name__]"
    photons.write("pk/__init__.py", lone(answer, head, body))
    photons.write("pk/sub/__init__.py", "")
    photons.write("pk/folder/sub/__init__.py", "")
    async with make_host() as host:
        p, old = None, []
        for number in range(1, 11):
            photons.write("pk/one.py", f"V = {number}\n")
            photons.write("pk/sub/deep.py", f"V = {number}\n")
            photons.write("pk/plain/deep.py", f"V = {number}\n")
            photons.write("pk/folder/sub/deep.py", f"V = {number}\n")
            if p is None:
                (p,) = await host.run(photons.path / "pk" / "__init__.py")
            else:
                await host.reload_photon(p)
            modules = p.generation.modules.values()
            old += [weakref.ref(module) for module in modules]
            count = len(modules)
        del modules
        await host.until(
            lambda: gc.collect() < 0 or len([o for o in old if o()]) <= count
        )


async def test_a_module_that_is_kept_before_it_is_executed(make_host, photons):
    """It is of the new generation all the same, and keeps no old one in memory."""
    head = """
import sys
KEPT = {n.rpartition(".")[2]: m for n, m in sys.modules.items() if __name__ + "." in n}
def late(name):
    if name not in KEPT:
        from . import one
        return one.V
    return getattr(KEPT[name], "V", None)
"""
    photons.write("pk/__init__.py", lone("late('one')", head))
    photons.write("pk/one.py", "V = 1\n")
    async with make_host() as host:
        (p,) = await host.run(photons.path / "pk" / "__init__.py")
        assert host.answers() == [1]
        old = []
        for number in range(2, 12):
            old.append(weakref.ref(p.generation.root))
            photons.write("pk/one.py", f"V = {number}\n")
            await host.reload_photon(p)
            assert host.answers() == [number]
        (photons.path / "pk" / "one.py").unlink()
        await host.reload_photon(p)
        assert host.answers() == [] or host.answers() == [None]
        await host.until(lambda: gc.collect() < 0 or not [o for o in old if o()])


async def test_an_old_submodule_is_not_there_any_more(make_host, photons):
    """A name that only the old generation had raises, whoever asks for it."""
    head = """
import importlib, pkgutil
SEEN = []
try:
    importlib.import_module('.two', __name__)
except ModuleNotFoundError as error:
    SEEN.append(error.name.rpartition('.')[2])
try:
    __import__(__name__ + '.two')
except ModuleNotFoundError as error:
    SEEN.append(error.name.rpartition('.')[2])
try:
    from . import two
except ImportError as error:
    SEEN.append(type(error).__name__)
try:
    from .two import V
except ImportError as error:
    SEEN.append(type(error).__name__)
import inspect, pickle
inspect.getmodule(lambda: 0)
"""
    photons.write("pk/__init__.py", lone("SEEN", head))
    two = photons.write("pk/two.py", "V = 1\n")
    async with make_host() as host:
        (p,) = await host.run(photons.path / "pk" / "__init__.py")
        assert host.answers() == [[]]
        two.unlink()
        await host.reload_photon(p)
        assert host.answers() == [["two", "two", "ImportError", "ModuleNotFoundError"]]
        assert not [name for name in sys.modules if name.endswith("pk.two")]
        photons.write("pk/two.py", "V = 1\n")
        await host.reload_photon(p)
        assert host.answers() == [[]]


async def test_from_dot_import_of_a_deleted_module(make_host, photons):
    """Rejected, as Python does; the old generation goes on, with its module."""
    photons.write("pk/__init__.py", lone("x.V", "from . import x"))
    path = photons.write("pk/x.py", "V = 1\n")
    async with make_host() as host:
        (p,) = await host.run(photons.path / "pk" / "__init__.py")
        module = p.generation.root.__name__ + ".x"
        path.unlink()
        photons.write("pk/__init__.py", lone("x.V, 2", "from . import x"))
        with pytest.raises(LuminalError, match="cannot import name 'x'"):
            await host.reload_photon(p)
        assert host.answers() == [1]
        assert sys.modules[module].V == 1


async def test_others_see_the_old_modules_while_the_new_ones_execute(
    make_host, photons, monkeypatch
):
    gate = SimpleNamespace(begun=threading.Event(), go_on=threading.Event())
    gate.go_on.set()
    monkeypatch.setitem(sys.modules, "luminal_test_gate", gate)
    head = "from . import one\nimport luminal_test_gate as g\ng.begun.set()\n"
    head += "g.go_on.wait(60)"
    photons.write("pk/__init__.py", lone("one.V", head))
    photons.write("pk/one.py", "V = 1\n")
    async with make_host() as host:
        (p,) = await host.run(photons.path / "pk" / "__init__.py")
        one = p.generation.root.__name__ + ".one"
        photons.write("pk/one.py", "V = 2\n")
        gate.begun.clear()
        gate.go_on.clear()
        reload = asyncio.ensure_future(host.reload_photon(p))
        await asyncio.to_thread(gate.begun.wait, 60)
        taken = sys.modules[one]
        assert importlib.import_module(one).V == taken.V == 1
        gate.go_on.set()
        await reload
        assert sys.modules[one].V == host.answers()[0] == 2
        assert type(sys.modules[one]) is type(sys)


async def test_an_edge_made_by_import_module_outlives_a_reload(make_host, photons):
    """A helper that was imported by name alone renews its user, also later."""
    head = "import importlib\nV = importlib.import_module('.h', __package__).V"
    photons.write("h.py", "V = 1\n")
    path = photons.write("p.py", lone("V", head))
    async with make_host() as host:
        (p,) = await host.run(path)
        photons.write("p.py", lone("V", head + "\n#"))
        await host.reload_photon(p)
        for number in (2, 3):
            photons.write("h.py", f"V = {number}\n")
            await host.reload_photon(p)
            assert host.answers() == [number]


MOVES = {
    "renamed": (
        {"alpha.py": "V = 1\n"},
        {"alpha.py": None, "beta.py": "V = 2\n"},
        "from .alpha import V",
        "from .beta import V",
    ),
    "removed": (
        {"alpha.py": "V = 1\n"},
        {"alpha.py": None},
        "from .alpha import V",
        "V = 2",
    ),
    "a package now": (
        {"alpha.py": "V = 1\n"},
        {
            "alpha.py": None,
            "alpha/__init__.py": "from .b import V\n",
            "alpha/b.py": "V = 2\n",
        },
        "from .alpha import V",
        "from .alpha import V\n#",
    ),
    "a file again": (
        {"alpha/__init__.py": "from .b import V\n", "alpha/b.py": "V = 1\n"},
        {"alpha/__init__.py": None, "alpha/b.py": None, "alpha.py": "V = 2\n"},
        "from .alpha import V",
        "from .alpha import V\n#",
    ),
    "broken and not imported": (
        {"alpha.py": "V = 1\n"},
        {"alpha.py": "V = (\n"},
        "from .alpha import V",
        "V = 2",
    ),
    "broken and its error caught": (
        {"alpha.py": "V = 1\n"},
        {"alpha.py": "raise ImportError\n"},
        "try:\n    from .alpha import V\nexcept ImportError:\n    V = 2",
        "try:\n    from .alpha import V\nexcept ImportError:\n    V = 2\n#",
    ),
    "the helper of a helper renamed": (
        {"alpha.py": "from .gamma import V\n", "gamma.py": "V = 1\n"},
        {"alpha.py": "from .delta import V\n", "gamma.py": None, "delta.py": "V = 2\n"},
        "from .alpha import V",
        "from .alpha import V",
    ),
}


@pytest.mark.parametrize("how", ["asked", "watched"])
@pytest.mark.parametrize("move", MOVES)
async def test_a_helper_that_moves_keeps_nobody_rejected(make_host, photons, move, how):
    before, after, old_head, new_head = MOVES[move]
    for name, text in before.items():
        photons.write(name, text)
    path = photons.write("p.py", lone("V", old_head))
    async with make_host() as host:
        (p,) = await host.run(path)
        if how == "watched":
            await host.watch_photons(photons.path)
        for name, text in after.items():
            if text is None:
                (photons.path / name).unlink()
            else:
                photons.write(name, text)
        if not list((photons.path / "alpha").glob("*.py")):
            shutil.rmtree(photons.path / "alpha", ignore_errors=True)
        photons.write("p.py", lone("V", new_head))
        if how == "asked":
            await host.reload_photon(p)
        await host.until(lambda: host.answers() == [2])
        photons.write("p.py", lone("3", new_head))
        if how == "asked":
            await host.reload_photon(p)
        await host.until(lambda: host.answers() == [3])


async def test_a_helper_that_start_alone_imports_is_renewed(make_host, photons):
    body = START.format("from .h import V; self.V = V")
    photons.write("h.py", "V = 1\n")
    path = photons.write("p.py", lone("self.V", "", body))
    async with make_host() as host:
        (p,) = await host.run(path)
        for number in (2, 3, 4):
            photons.write("h.py", f"V = {number}\n")
            await host.reload_photon(p)
            assert host.answers() == [number]


def install(site, name, version, **modules):
    """Write a distribution of one package, as pip does."""
    for old in (site / name, *site.glob(f"{name}-*.dist-info")):
        shutil.rmtree(old, ignore_errors=True)
    (site / name).mkdir(parents=True)
    info = site / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    )
    (info / "entry_points.txt").write_text(
        f"[luminal_test_names]\n{name} = {name}:Photon\n"
    )
    lines = []
    for module, text in modules.items():
        (site / name / f"{module}.py").write_text(text)
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest())
        hashed = f"sha256={digest.decode().rstrip('=')}"
        lines.append(f"{name}/{module}.py,{hashed},{len(text)}\n")
    (info / "RECORD").write_text("".join(lines))


UPGRADES = [
    "import importlib\nV = importlib.import_module('.one', __name__).V",
    "import importlib\nV = importlib.import_module('luminal_test_b.one').V",
    "from luminal_test_b.one import V",
    "from luminal_test_b import one; V = one.V",
    "import luminal_test_b.one; V = luminal_test_b.one.V",
    "import luminal_test_b; V = luminal_test_b.V",
]


@pytest.mark.parametrize("head", UPGRADES)
async def test_upgraded_distributions_see_the_new_modules(
    make_host, tmp_path, monkeypatch, head
):
    """Their own, and those of another one that is upgraded with them."""
    site = tmp_path / "site"
    monkeypatch.syspath_prepend(site)
    plain = "from luminal import IPhoton\nfrom .one import V\n"
    plain += "class Photon(IPhoton): pass\n"

    def save(version):
        one = f"V = {version}\n"
        for name, text in (("a", lone("V", head)), ("b", plain)):
            install(site, f"luminal_test_{name}", version, __init__=text, one=one)

    async with make_host() as host:
        save(1)
        await host.load(discover(group="luminal_test_names"))
        await host.start()
        assert host.answers() == [1]
        old = []
        for version in (2, 3, 4):
            old += [weakref.ref(h.generation.root) for h in host.photons.values()]
            save(version)
            await host.reload_photons(list(host.photons.values()))
            assert host.answers() == [version]
        await host.until(lambda: gc.collect() < 0 or not [o for o in old if o()])
