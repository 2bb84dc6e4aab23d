"""What photons register with the standard library goes with their generation."""

from __future__ import annotations

import abc
import atexit
import codecs
import contextlib
import copyreg
import functools
import gc
import importlib
import logging
import mimetypes
import multiprocessing.util
import os
import sqlite3
import sys
import textwrap
import threading
import types
import unittest.case
import urllib.request
import warnings
import weakref
import webbrowser
from multiprocessing.reduction import ForkingPickler

import pytest

from luminal.errors import LuminalError
from luminal.model import EventKind
from luminal.supervise._registries import exit_functions
from tests.waiting import async_wait_until

HEAD = """
import registry_host as host
from luminal import IPhoton, hookimpl

class Thing: pass
class Finder:
    def find_spec(self, name, path=None, target=None): return None
    def __call__(self, *args): raise ImportError
class Quiet(UserWarning): pass
def function(*args): return None
"""
PHOTON = """
class Photon(IPhoton):
    photon_name = "a"
    def start(self):
        {start}
"""


@pytest.fixture(autouse=True)
def host_module(monkeypatch):
    """A module of the host that photons import; what was registered is put back."""
    module = types.ModuleType("registry_host")
    module.called = []

    @functools.singledispatch
    def render(thing):
        return "?"

    class Shop:
        @functools.singledispatchmethod
        def sell(self, thing):
            return "?"

    class Base(abc.ABC):  # noqa: B024 - others are registered with it
        pass

    module.render, module.Shop, module.Base = render, Shop, Base
    module.thing = Shop()
    monkeypatch.setitem(sys.modules, "registry_host", module)
    lists = [sys.meta_path, sys.path_hooks, gc.callbacks, warnings.filters]
    lists += [unittest.case._module_cleanups, logging.root.handlers]
    copies = [list(each) for each in lists]
    yield module
    for each, copy in zip(lists, copies, strict=True):
        each[:] = copy


def searchers():
    """Return how many search functions of photons look for a codec."""
    called = sys.modules["registry_host"].called
    called.clear()
    with contextlib.suppress(LookupError):
        codecs.lookup("luminal_no_such")
    return len(called)


def audited():
    called = sys.modules["registry_host"].called
    called.clear()
    sys.audit("luminal.test.registries")
    return len(called)


def forked():
    called = sys.modules["registry_host"].called
    called.clear()
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    return len(called)


HOOK = "lambda *a: host.called.append(a) if a[0] == 'luminal.test.registries' else None"
KINDS = {
    "meta_path": (
        "import sys; sys.meta_path.append(Finder())",
        lambda h: sum(type(f).__name__ == "Finder" for f in sys.meta_path),
    ),
    "path_hooks": (
        "import sys; sys.path_hooks.append(Finder())",
        lambda h: sum(type(f).__name__ == "Finder" for f in sys.path_hooks),
    ),
    "copyreg": (
        "import copyreg; copyreg.pickle(Thing, function)",
        lambda h: sum(c.__name__ == "Thing" for c in copyreg.dispatch_table),
    ),
    "codecs": (
        "import codecs; codecs.register(lambda n: host.called.append(n))",
        lambda h: searchers(),
    ),
    "singledispatch": (
        "host.render.register(Thing, function)",
        lambda h: len(h.render.registry) - 1,
    ),
    "singledispatch by annotation": (
        "@host.render.register\ndef _(thing: Thing): return 'thing'",
        lambda h: len(h.render.registry) - 1,
    ),
    "singledispatchmethod": (
        "host.Shop.sell.register(Thing, function)\n",
        lambda h: len(vars(h.Shop)["sell"].dispatcher.registry) - 1,
    ),
    "sqlite3 adapter": (
        "import sqlite3; sqlite3.register_adapter(Thing, function)",
        lambda h: sum(c.__name__ == "Thing" for c, _ in sqlite3.adapters),
    ),
    "sqlite3 converter": (
        "import sqlite3; sqlite3.register_converter('thing', function)",
        lambda h: "THING" in sqlite3.converters,
    ),
    "ForkingPickler": (
        (
            "from multiprocessing.reduction import ForkingPickler\n"
            "ForkingPickler.register(Thing, function)"
        ),
        lambda h: sum(c.__name__ == "Thing" for c in ForkingPickler._extra_reducers),
    ),
    "gc.callbacks": (
        "import gc; gc.callbacks.append(function)",
        lambda h: sum(getattr(f, "__name__", "") == "function" for f in gc.callbacks),
    ),
    "atexit": (
        "import atexit; atexit.register(function)",
        lambda h: sum(
            getattr(f, "__name__", "") == "function" for f in exit_functions()
        ),
    ),
    "atexit of the host's": (
        "import atexit; atexit.register(host.called.append, 1)",
        lambda h: exit_functions().count(h.called.append),
    ),
    "log handler": (
        "import logging; logging.getLogger('lu.t').addHandler(logging.NullHandler())",
        lambda h: len(logging.getLogger("lu.t").handlers),
    ),
    "log handler's filter": (
        (
            "import logging; h = logging.NullHandler(); h.addFilter(function)\n"
            "logging.getLogger('lu.u').addHandler(h)"
        ),
        lambda h: len(logging.getLogger("lu.u").handlers),
    ),
    "warnings": (
        "import warnings; warnings.simplefilter('ignore', Quiet)",
        lambda h: sum(f[2].__name__ == "Quiet" for f in warnings.filters),
    ),
    "excepthook": (
        "import sys; sys.excepthook = function",
        lambda h: sys.excepthook is not sys.__excepthook__,
    ),
    "threading.excepthook": (
        "import threading; threading.excepthook = function",
        lambda h: threading.excepthook is not threading.__excepthook__,
    ),
    "unittest": (
        "import unittest; unittest.addModuleCleanup(function)",
        lambda h: len(unittest.case._module_cleanups),
    ),
    "url opener": (
        (
            "import urllib.request as r\n"
            "class Own(r.OpenerDirector): pass\nr.install_opener(Own())"
        ),
        lambda h: type(urllib.request._opener).__name__ == "Own",
    ),
    "webbrowser": (
        "import webbrowser; webbrowser.register('thing', Thing)",
        lambda h: "thing" in webbrowser._browsers,
    ),
    "audit hook": (f"import sys; sys.addaudithook({HOOK})", lambda h: audited()),
    "fork": (
        "import os; os.register_at_fork(before=lambda: host.called.append(1))",
        lambda h: forked(),
    ),
    "abc": (
        "host.Base.register(Thing)",
        lambda h: gc.collect() * 0 + len(abc._get_dump(h.Base)[0]),
    ),
    "mimetypes": (
        "import mimetypes; mimetypes.add_type('x/thing', '.thing')",
        lambda h: len([k for k in mimetypes.types_map if k == ".thing"]),
    ),
}
KEPT_BY_THREADS = {"excepthook", "threading.excepthook"}
"""`threading.Thread` keeps what there was when the thread was made."""
GOES = set(KINDS) - {"mimetypes"}
"""What is not there any more after the unload."""


@pytest.mark.parametrize("where", ["import", "start"])
@pytest.mark.parametrize("kind", KINDS)
async def test_there_is_one_of_each_after_ten_reloads(
    make_host, photons, host_module, kind, where, monkeypatch
):
    """And none after the unload. Every old generation can be collected."""
    # pytest has hooks of its own there, which would come back.
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    monkeypatch.setattr(threading, "excepthook", threading.__excepthook__)
    code, count = KINDS[kind]
    if where == "start" and "\n" in code and "class" in code:
        code = code.replace("class Own", "global Own\nclass Own")
    start = textwrap.indent(code, " " * 8).strip() if where == "start" else "pass"
    text = HEAD + (code if where == "import" else "") + PHOTON.format(start=start)
    olds = []
    async with make_host() as host:
        (a,) = await host.run(photons.write("a.py", text))
        for number in range(10):
            olds.append(weakref.ref(a.generation))
            photons.write("a.py", f"{text}\nNUMBER = {number}\n")
            await host.reload_photon(a)
        assert count(host_module) == 1
        del a
        most = 2 if kind in KEPT_BY_THREADS else 0
        await async_wait_until(
            lambda: gc.collect() >= 0 and sum(bool(ref()) for ref in olds) <= most
        )
        await host.unload_photon(host.photons["a"])
        if kind in GOES:
            gc.collect()
            assert count(host_module) == 0


@pytest.mark.parametrize("kind", ["audit hook", "fork"])
async def test_what_cannot_be_unregistered_is_named_at_each_swap(
    make_host, photons, host_module, kind
):
    """In the report and by an event, with the file and the line of the function."""
    code, _ = KINDS[kind]
    text = HEAD + code + PHOTON.format(start="pass")
    line = text[: text.index(code)].count("\n") + 1
    async with make_host() as host:
        (a,) = await host.run(photons.write("a.py", text))
        for number in (2, 3):
            photons.write("a.py", f"{text}\nNUMBER = {number}\n")
            ((outcome,),) = [(await host._reloader.reload([a])).report]
            (warning,) = outcome.warnings
            assert (warning.file, warning.line) == (a.filepath, line)
        assert len(host.happened(EventKind.SIDE_EFFECT)) == 2


@pytest.mark.parametrize("kind", ["meta_path", "codecs", "copyreg", "log handler"])
async def test_code_that_was_rejected_leaves_no_registration(
    make_host, photons, host_module, kind
):
    """Neither where its import fails nor where its ``start`` does."""
    code, count = KINDS[kind]
    text = HEAD + code + PHOTON.format(start="pass")
    async with make_host() as host:
        (a,) = await host.run(photons.write("a.py", text))
        for bad in (text + "\n1 / 0\n", text.replace("pass\n", "1 / 0\n")):
            photons.write("a.py", bad)
            with pytest.raises(LuminalError):
                await host.reload_photon(a)
            assert count(host_module) == 1


HOOKS = {
    "excepthook": (sys, "import sys; sys.excepthook = function"),
    "showwarning": (warnings, "import warnings; warnings.showwarning = function"),
}


@pytest.mark.parametrize("name", HOOKS)
async def test_hooks_of_the_host_come_back(make_host, photons, monkeypatch, name):
    """With a rejected reload that of the old photon, after the unload the host's."""
    module, code = HOOKS[name]

    def of_host(*_args):
        return None

    monkeypatch.setattr(module, name, of_host)
    text = HEAD + code + PHOTON.format(start="pass")
    async with make_host() as host:
        (a,) = await host.run(photons.write("a.py", text))
        mine = getattr(module, name)
        assert mine is not of_host
        photons.write("a.py", text.replace("pass\n", "1 / 0\n"))
        with pytest.raises(LuminalError):
            await host.reload_photon(a)
        assert getattr(module, name) is mine
        del mine
        photons.write("a.py", HEAD + PHOTON.format(start="pass"))
        await host.reload_photon(a)
        assert getattr(module, name) is of_host


async def test_a_handler_of_codec_errors_comes_back(make_host, photons):
    """That of the old photon where the new one is rejected; after the end none."""
    code = "import codecs; codecs.register_error('lu.t', lambda e: ('{0}', e.end))\n"
    text = HEAD + PHOTON.format(start="pass")

    def replaced():
        return "\u20ac".encode("ascii", "lu.t")

    async with make_host() as host:
        (a,) = await host.run(photons.write("a.py", code.format(1) + text))
        bad = code.format(2) + text.replace("pass\n", "1 / 0\n")
        photons.write("a.py", bad)
        with pytest.raises(LuminalError):
            await host.reload_photon(a)
        assert replaced() == b"1"
        photons.write("a.py", code.format(3) + text)
        await host.reload_photon(a)
        assert replaced() == b"3"
        await host.unload_photon(a)
        del a
        gc.collect()
        with pytest.raises(LookupError):
            replaced()


@pytest.mark.parametrize("where", ["module", "start"])
async def test_what_the_standard_library_registers_is_its_own(
    make_host, photons, monkeypatch, host_module, where
):
    """Also where a photon is the first to import what does so."""
    names = ("random", "multiprocessing.util")
    code = f"import sys; [sys.modules.pop(n) for n in {names}]; "
    code += "import random; host.util = __import__('multiprocessing.util').util"
    for name in names:
        monkeypatch.setitem(sys.modules, name, importlib.import_module(name))
    monkeypatch.setattr(multiprocessing, "util", multiprocessing.util)
    start = code if where == "start" else "pass"
    head = HEAD + "# register" + ("" if where == "start" else "\n" + code)
    path = photons.write("a.py", head + PHOTON.format(start=start))
    async with make_host() as host:
        (a,) = await host.run(path)
        await host.reload_photon(a)
        await host.unload_photon(a)
        assert not host.happened(EventKind.SIDE_EFFECT)
    registered = host_module.util._exit_function
    assert registered in exit_functions()
    atexit.unregister(registered)


async def test_a_function_of_the_host_that_two_photons_have_called_at_exit(
    make_host, photons, host_module
):
    """Only that of the photon that goes is unregistered."""
    code = "import atexit; atexit.register(host.called.append, 1)"
    text = HEAD + code + PHOTON.format(start="pass")
    async with make_host() as host:
        a, _ = await host.run(
            photons.write("a.py", text),
            photons.write("b.py", text.replace('"a"', '"b"')),
        )
        assert exit_functions().count(host_module.called.append) == 2
        await host.unload_photon(a)
        assert exit_functions().count(host_module.called.append) == 1
        atexit.unregister(host_module.called.append)
        assert exit_functions().count(host_module.called.append) == 0


async def test_what_a_host_registers_is_left_alone(make_host, photons, host_module):
    """Nor is anything taken back that belongs to nobody's photon."""

    def search(name):
        return None

    codecs.register(search)
    sys.meta_path.append(finder := types.SimpleNamespace(find_spec=lambda *a: None))
    before = (list(sys.meta_path), dict(copyreg.dispatch_table), sys.excepthook)
    try:
        async with make_host() as host:
            (a,) = await host.run(
                photons.write("a.py", HEAD + PHOTON.format(start="pass"))
            )
            photons.write("a.py", HEAD + "N = 1" + PHOTON.format(start="pass"))
            await host.reload_photon(a)
        assert before == (
            list(sys.meta_path),
            dict(copyreg.dispatch_table),
            sys.excepthook,
        )
    finally:
        codecs.unregister(search)
        sys.meta_path.remove(finder)


async def test_functions_of_the_standard_library_are_its_own_again(make_host, photons):
    names = [
        (codecs, "register"),
        (sys, "addaudithook"),
        (atexit, "register"),
        (os, "register_at_fork"),
        (logging.Logger, "addHandler"),
    ]
    before = [getattr(*name) for name in names]
    async with make_host() as host:
        await host.run(photons.photon("a"))
        assert codecs.register is not before[0]
    assert [getattr(*name) for name in names] == before
