"""A call of an old generation finds its own modules by every way, also by name."""

from __future__ import annotations

import asyncio
import importlib
import sys
import threading
import types

import pytest

from luminal.loading._proxies import ModuleProxy
from tests.waiting import DEADLINE

PHOTON = """
import copy, importlib, pickle, pkgutil, sys
from luminal import IPhoton, hookimpl
from . import part

class Row:
    number = {number}

DATA = pickle.dumps(Row())
PART = part.__name__

class Photon(IPhoton):
    photon_name = "a"

    @hookimpl
    def visit(self, go):
        go()
        return {{
            "sys.modules": sys.modules[PART].NUMBER,
            "sys.modules of itself": sys.modules[__name__].Row.number,
            "import_module": importlib.import_module(PART).NUMBER,
            "import_module relative":
                importlib.import_module(".part", __name__).NUMBER,
            "resolve_name": pkgutil.resolve_name(PART + ":NUMBER"),
            "__import__": __import__(PART, {{}}, {{}}, ["NUMBER"]).NUMBER,
            "pickle.loads": pickle.loads(DATA).number,
            "pickle.dumps": pickle.loads(pickle.dumps(Row())).number,
            "deepcopy": copy.deepcopy(Row()).number,
        }}

    @hookimpl
    def who(self):
        return {number}
"""


def write(photons, number):
    photons.write("a/part.py", f"NUMBER = {number}\n")
    return photons.write("a/__init__.py", PHOTON.format(number=number))


@pytest.mark.parametrize("reloads", [1, 2])
async def test_a_call_under_way_finds_its_own_generation(make_host, photons, reloads):
    """By names as well; new calls, and the host, find the new one."""
    inside, leave = threading.Event(), threading.Event()
    found = []

    def go():
        inside.set()
        leave.wait(DEADLINE)

    async with make_host() as host:
        (a,) = await host.run(write(photons, 1))
        name = a.generation.unit
        thread = threading.Thread(target=lambda: found.extend(host.hook.visit(go=go)))
        thread.start()
        await asyncio.to_thread(inside.wait, DEADLINE)
        write(photons, 2)
        await host.reload_photon(a)
        assert sys.modules[name + ".part"].NUMBER == 2
        (new,) = host.hook.visit(go=int)
        assert set(new.values()) == {2}
        leave.set()
        await asyncio.to_thread(thread.join, DEADLINE)
        assert found[0] == dict.fromkeys(found[0], 1)
        await host.until(lambda: type(sys.modules[name]) is types.ModuleType)
        if reloads == 2:
            write(photons, 3)
            await host.reload_photon(a)
            assert sys.modules[name + ".part"].NUMBER == 3
            assert type(sys.modules[name]) is types.ModuleType
        name = a.generation.unit
        await host.unload_photon(a)
        assert name not in sys.modules
        assert name + ".part" not in sys.modules


async def test_a_third_generation_comes_while_a_call_of_the_first_runs(
    make_host, photons
):
    inside, leave = threading.Event(), threading.Event()

    def go():
        inside.set()
        leave.wait(DEADLINE)

    async with make_host() as host:
        (a,) = await host.run(write(photons, 1))
        thread = threading.Thread(target=lambda: host.hook.visit(go=go))
        thread.start()
        await asyncio.to_thread(inside.wait, DEADLINE)
        for number in (2, 3):
            write(photons, number)
            reload = asyncio.create_task(host.reload_photon(a))
            if number == 3:
                leave.set()
            await reload
            (new,) = host.hook.visit(go=int)
            assert set(new.values()) == {number}
        await asyncio.to_thread(thread.join, DEADLINE)
        name = a.generation.unit
        await host.until(lambda: type(sys.modules[name]) is types.ModuleType)
        await host.unload_photon(a)
        assert name not in sys.modules


LONE = """
import copy, importlib, pickle, pkgutil, sys
from luminal import IPhoton, hookimpl
from .helper import NUMBER, make

FAR = type(make()).__module__

class Photon(IPhoton):
    photon_name = "a"

    @hookimpl
    def visit(self, go):
        go()
        return {{
            "itself": {number},
            "pickle": pickle.loads(pickle.dumps(make())).number,
            "import_module": importlib.import_module(".helper", __package__).NUMBER,
            "import_module of a far one": importlib.import_module(FAR).Row.number,
            "resolve_name": pkgutil.resolve_name(FAR + ":Row").number,
            "sys.modules": sys.modules[FAR].Row.number,
            "deepcopy": copy.deepcopy(make()).number,
        }}
"""


def write_lone(photons, number):
    photons.write("far.py", f"class Row: number = {number}\n")
    text = f"from .far import Row as make\nNUMBER = {number}\n"
    photons.write("helper.py", text)
    return photons.write("a.py", LONE.format(number=number))


async def test_a_call_under_way_finds_the_helpers_of_its_own_generation(
    make_host, photons
):
    """Also those that only a helper imports from: `pickle` looks them up by name."""
    inside, leave, found = threading.Event(), threading.Event(), []

    def go():
        inside.set()
        leave.wait(DEADLINE)

    async with make_host() as host:
        (a,) = await host.run(write_lone(photons, 1))
        for number in (2, 3):
            thread = threading.Thread(
                target=lambda: found.extend(host.hook.visit(go=go))
            )
            thread.start()
            await asyncio.to_thread(inside.wait, DEADLINE)
            write_lone(photons, number)
            await host.reload_photon(a)
            (new,) = host.hook.visit(go=int)
            assert set(new.values()) == {number}
            leave.set()
            await asyncio.to_thread(thread.join, DEADLINE)
            assert found.pop() == dict.fromkeys(new, number - 1)
            inside.clear()
            leave.clear()


LATE = """
import importlib, pickle, sys
from luminal import IPhoton, hookimpl
{head}

class Photon(IPhoton):
    photon_name = "a"

    @hookimpl
    def visit(self, go):
        go()
        {body}
"""
IMPORT_MODULE = "return importlib.import_module('.part', __name__).Row.number"
FROM_MODULES = "return sys.modules[__name__ + '.part'].Row.number"
PICKLE = """
        return pickle.loads(pickle.dumps(part.Row())).number
"""


@pytest.mark.parametrize(
    ("old", "new", "body"),
    [
        # Nobody has imported it before; the new code alone has; both are late.
        ("", "", IMPORT_MODULE),
        ("", "from . import part", IMPORT_MODULE),
        ("", "from . import part", FROM_MODULES),
        ("", "from . import part", "from .part import Row; return Row.number"),
        # Only the old code has it: the new package is without the module.
        ("from . import part", "part = None", PICKLE),
        ("from . import part", "part = None", FROM_MODULES),
        ("from . import part", "part = None", IMPORT_MODULE),
    ],
)
async def test_a_module_that_one_generation_has_not_imported(
    make_host, photons, old, new, body
):
    """An old call finds the one of its own generation, whatever the new one did."""
    inside, leave, found = threading.Event(), threading.Event(), []

    def go():
        inside.set()
        leave.wait(DEADLINE)

    photons.write("a/part.py", "class Row: number = 1\n")
    path = photons.write("a/__init__.py", LATE.format(head=old, body=body))
    async with make_host() as host:
        (a,) = await host.run(path)
        part = a.generation.unit + ".part"
        thread = threading.Thread(target=lambda: found.extend(host.hook.visit(go=go)))
        thread.start()
        await asyncio.to_thread(inside.wait, DEADLINE)
        if new.startswith("part"):
            (photons.path / "a/part.py").unlink()
        else:
            photons.write("a/part.py", "class Row: number = 2\n")
        photons.write("a/__init__.py", LATE.format(head=new, body=body))
        await host.reload_photon(a)
        if new.startswith("part"):
            with pytest.raises(ModuleNotFoundError):
                importlib.import_module(part)
        else:
            assert host.hook.visit(go=int) == [2]
            assert importlib.import_module(part).Row.number == 2
        leave.set()
        await asyncio.to_thread(thread.join, DEADLINE)
        assert found == [1]
        await host.until(lambda: type(sys.modules.get(part)) is not ModuleProxy)
        assert (part in sys.modules) is not new.startswith("part")


HELPED = """
import pickle
from luminal import IPhoton, hookimpl
{head}

class Photon(IPhoton):
    photon_name = "a"

    @hookimpl
    def visit(self, go):
        go()
        return pickle.loads(pickle.dumps(Row())).number
"""


@pytest.mark.parametrize(
    ("head", "files"),
    [
        ("class Row: number = 2", {}),
        ("from .other import Row", {"other.py": "class Row: number = 2"}),
        ("from .helper import Row", {"helper/__init__.py": "class Row: number = 2"}),
    ],
    ids=["dropped", "renamed", "a package"],
)
async def test_a_helper_that_new_code_does_without(make_host, photons, head, files):
    """An old call finds it, nobody else does, and its name is free at the end."""
    inside, leave, found = threading.Event(), threading.Event(), []

    def go():
        inside.set()
        leave.wait(DEADLINE)

    helper = photons.write("helper.py", "class Row: number = 1\n")
    path = photons.write("a.py", HELPED.format(head="from .helper import Row"))
    async with make_host() as host:
        (a,) = await host.run(path)
        name = a.generation.unit.rpartition(".")[0] + ".helper"
        thread = threading.Thread(target=lambda: found.extend(host.hook.visit(go=go)))
        thread.start()
        await asyncio.to_thread(inside.wait, DEADLINE)
        helper.unlink()
        for file, text in files.items():
            photons.write(file, text)
        photons.write("a.py", HELPED.format(head=head))
        await host.reload_photon(a)
        assert host.hook.visit(go=int) == [2]
        is_there = "helper/__init__.py" in files
        if is_there:
            assert importlib.import_module(name).Row.number == 2
        else:
            with pytest.raises(ModuleNotFoundError):
                importlib.import_module(name)
        leave.set()
        await asyncio.to_thread(thread.join, DEADLINE)
        assert found == [1]
        await host.until(lambda: type(sys.modules.get(name)) is not ModuleProxy)
        assert (name in sys.modules) is is_there


async def test_a_late_module_of_a_folder_without_init(make_host, photons):
    """It is a part of the package, and is read with it."""
    inside, leave, found = threading.Event(), threading.Event(), []

    def go():
        inside.set()
        leave.wait(DEADLINE)

    body = "return importlib.import_module('.plain.part', __name__).NUMBER"
    photons.write("a/plain/part.py", "NUMBER = 1\n")
    path = photons.write("a/__init__.py", LATE.format(head="", body=body))
    async with make_host() as host:
        (a,) = await host.run(path)
        thread = threading.Thread(target=lambda: found.extend(host.hook.visit(go=go)))
        thread.start()
        await asyncio.to_thread(inside.wait, DEADLINE)
        photons.write("a/plain/part.py", "NUMBER = 2\n")
        photons.write("a/__init__.py", LATE.format(head="X = 2", body=body))
        await host.reload_photon(a)
        leave.set()
        await asyncio.to_thread(thread.join, DEADLINE)
        assert found == [1]
        assert host.hook.visit(go=int) == [2]


async def test_a_module_of_a_photon_can_be_run_by_name(make_host, photons):
    """As `runpy` does, which asks its loader for the code."""
    photons.write("a/part.py", "NUMBER = 1\n")
    body = "import runpy; return runpy.run_module(__name__ + '.part')['NUMBER']"
    text = LATE.format(head="", body=body)
    async with make_host() as host:
        await host.run(photons.write("a/__init__.py", text))
        assert host.hook.visit(go=int) == [1]


BESIDE = """
import importlib
from luminal import IPhoton, hookimpl

class Photon(IPhoton):
    photon_name = "a"

    @hookimpl
    def visit(self, go):
        go()
        from . import late
        named = importlib.import_module(late.__name__)
        return {number}, late.NUMBER, named.NUMBER
"""


@pytest.mark.parametrize("reloads", [1, 2])
@pytest.mark.parametrize("is_imported", [True, False])
async def test_new_calls_import_late_while_an_old_one_is_under_way(
    make_host, photons, is_imported, reloads
):
    """A module beside the photon, which the new code has not imported so far."""
    inside, leave = threading.Event(), threading.Event()
    found = []

    def go():
        inside.set()
        leave.wait(DEADLINE)

    def save(number):
        photons.write("late.py", f"NUMBER = {number}\n")
        return photons.write("a.py", BESIDE.format(number=number))

    async with make_host() as host:
        (a,) = await host.run(save(1))
        if is_imported:
            assert host.hook.visit(go=int) == [(1, 1, 1)]
        thread = threading.Thread(target=lambda: found.extend(host.hook.visit(go=go)))
        thread.start()
        await asyncio.to_thread(inside.wait, DEADLINE)
        for number in range(2, reloads + 2):
            save(number)
            await host.reload_photon(a)
            assert host.hook.visit(go=int) == [(number,) * 3]
        leave.set()
        await asyncio.to_thread(thread.join, DEADLINE)
        assert found == [(1, 1, 1)]
        assert host.hook.visit(go=int) == [(number,) * 3]
