"""Names that lead into a directory of photons, or a declared root, are their own."""

from __future__ import annotations

import asyncio
import gc
import pickle
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from luminal import blocking, discover, testing
from luminal.errors import DirectoryNotFoundError, LuminalError
from luminal.model import EventKind
from tests.reload.conftest import Host, Specs
from tests.waiting import DEADLINE

FORMS = {
    "from": "from {0}.text import X as x\n",
    "from package": "from {0} import text\nx = text.X\n",
    "plain": "import {0}.text\nx = {0}.text.X\n",
    "as": "import {0}.text as t\nx = t.X\n",
    "import_module": "import importlib\nx = importlib.import_module('{0}.text').X\n",
    "relative import_module": (
        "import importlib\nx = importlib.import_module('.text', '{0}').X\n"
    ),
    "__import__": "x = __import__('{0}.text', fromlist=['X']).X\n",
    "resolve_name": "import pkgutil\nx = pkgutil.resolve_name('{0}.text:X')\n",
    "from above": "from {1} import {2}\nfrom {0}.text import X as x\n",
}
PHOTON = """
from luminal import IPhoton, hookimpl
{}
class Greet(IPhoton):
    @hookimpl
    def who(self):
        return x
"""
IN_CALL = """
from luminal import IPhoton, hookimpl
class Greet(IPhoton):
    @hookimpl
    def who(self):
        {}
        return x
"""


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def app(tmp_path, monkeypatch):
    """A directory on ``sys.path``, as that of a program is."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("cogs", "utils", "bot"):
            del sys.modules[name]


def answer_after_save(host: Host, photon: Path, helper: Path) -> list:
    """Run a photon, save its helper, reload it; return what it said each time."""

    async def go():
        async with host:
            await host.run(photon)
            answers = host.answers()
            write(helper, "X = 2\n")
            await host.reload_photon(photon)
            return answers + host.answers()

    return asyncio.run(go())


@pytest.mark.parametrize("has_init", [False, True])
@pytest.mark.parametrize("name", ["cogs", "bot.cogs"])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_a_helper_that_is_named_by_its_path_is_reloaded(app, form, name, has_init):
    cogs = app.joinpath(*name.split("."))
    if has_init:
        for package in {cogs, app / name.split(".")[0]}:
            write(package / "__init__.py", "")
    above, _, leaf = name.rpartition(".")
    line = form.format(name, above, leaf) if above else form.format(name, name, "text")
    helper = write(cogs / "text.py", "X = 1\n")
    photon = write(cogs / "greet.py", PHOTON.format(line))
    assert answer_after_save(Host(), photon, helper) == [1, 2]
    assert f"{name}.text" not in sys.modules


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_an_import_inside_of_a_hook_finds_the_own_generation(app, form):
    helper = write(app / "cogs" / "text.py", "X = 1\n")
    line = form.format("cogs", "cogs", "text").strip().replace("\n", "; ")
    photon = write(app / "cogs" / "greet.py", IN_CALL.format(line))
    assert answer_after_save(Host(), photon, helper) == [1, 2]


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
@pytest.mark.parametrize("has_init", [False, True])
def test_a_declared_folder_beside_the_photons_is_reloaded(app, form, has_init):
    if has_init:
        write(app / "utils" / "__init__.py", "")
    helper = write(app / "utils" / "text.py", "X = 1\n")
    line = form.format("utils", "utils", "text")
    photon = write(app / "cogs" / "greet.py", PHOTON.format(line))
    host = Host(roots=[app / "utils"])
    assert answer_after_save(host, photon, helper) == [1, 2]
    assert "utils.text" not in sys.modules


def test_a_declared_folder_needs_no_entry_of_sys_path(tmp_path):
    helper = write(tmp_path / "utils" / "text.py", "X = 1\n")
    photon = write(
        tmp_path / "cogs" / "greet.py", PHOTON.format("from utils.text import X as x")
    )
    host = Host(roots=[tmp_path / "utils"])
    assert answer_after_save(host, photon, helper) == [1, 2]


def test_a_declared_folder_on_sys_path_gives_names_without_a_prefix(
    tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(tmp_path / "lib")
    helper = write(tmp_path / "lib" / "luminal_test_text.py", "X = 1\n")
    line = "from luminal_test_text import X as x"
    photon = write(tmp_path / "cogs" / "greet.py", PHOTON.format(line))
    host = Host(roots=[tmp_path / "lib"])
    assert answer_after_save(host, photon, helper) == [1, 2]
    assert "luminal_test_text" not in sys.modules


def test_a_root_inside_of_the_photons_directory_is_one_copy(app):
    helper = write(app / "cogs" / "utils" / "text.py", "X = 1\nclass C: pass\n")
    line = (
        "from utils.text import X as x, C as a\n"
        "from .utils.text import C as b\n"
        "from cogs.utils.text import C as c\n"
        "assert a is b is c"
    )
    photon = write(app / "cogs" / "greet.py", PHOTON.format(line))

    async def go():
        async with Host(roots=[app / "cogs" / "utils"]) as host:
            await host.run(photon)
            helper.write_text("X = 2\nclass C: pass\n")
            await host.reload_photon(photon)
            return host.answers()

    assert asyncio.run(go()) == [2]


def test_what_a_root_imports_of_another_root_and_of_photons_is_reloaded(app):
    inner = write(app / "lib" / "inner.py", "X = 1\n")
    write(app / "utils" / "text.py", "from lib.inner import X\n")
    photon = write(
        app / "cogs" / "greet.py", PHOTON.format("from utils.text import X as x")
    )
    host = Host(roots=[app / "utils", app / "lib"])
    assert answer_after_save(host, photon, inner) == [1, 2]


def test_photons_of_two_directories_share_a_module_by_its_path(app):
    helper = write(app / "cogs" / "text.py", "X = 1\nclass C: pass\n")
    one = write(
        app / "cogs" / "one.py", PHOTON.format("from cogs.text import X as x, C")
    )
    two = write(
        app / "more" / "two.py",
        PHOTON.format("from cogs.text import X as x, C").replace("Greet", "Two"),
    )

    async def go():
        async with Host() as host:
            handlers = await host.run(one, two)
            classes = {sys.modules[type(h.instance).__module__].C for h in handlers}
            assert len(classes) == 1
            helper.write_text("X = 2\nclass C: pass\n")
            await host.reload_photon(two)
            return host.answers()

    assert asyncio.run(go()) == [2, 2]


def test_what_the_init_file_of_a_directory_defines_can_be_imported(app):
    helper = write(app / "cogs" / "__init__.py", "X = 1\nfrom .text import text\n")
    write(app / "cogs" / "text.py", "def text(): return 'function'\n")
    line = "from cogs import X as x, text\nassert text() == 'function'"
    photon = write(app / "cogs" / "greet.py", PHOTON.format(line))

    async def go():
        async with Host() as host:
            await host.run(photon)
            answers = host.answers()
            helper.write_text("X = 2\nfrom .text import text\n")
            await host.reload_photon(photon)
            return answers + host.answers()

    assert asyncio.run(go()) == [1, 2]


def test_relative_imports_above_the_directory_mean_the_programs_package(app):
    write(app / "bot" / "__init__.py", "")
    write(app / "bot" / "config.py", "Y = 7\n")
    helper = write(app / "bot" / "utils" / "text.py", "X = 1\n")
    line = (
        "from ..utils.text import X as x\nfrom ..config import Y\nfrom .. import config"
    )
    photon = write(app / "bot" / "cogs" / "greet.py", PHOTON.format(line))
    host = Host(roots=[app / "bot" / "utils"])
    assert answer_after_save(host, photon, helper) == [1, 2]


def test_a_deleted_module_is_not_taken_from_the_host(app):
    write(app / "cogs" / "__init__.py", "")
    helper = write(app / "cogs" / "text.py", "X = 1\n")
    photon = write(
        app / "cogs" / "greet.py", PHOTON.format("from cogs.text import X as x")
    )

    async def go():
        import cogs.text  # noqa: F401

        async with Host(suppress_errors=True) as host:
            await host.run(photon)
            helper.unlink()
            await host.reload_photon(photon)
            return host.answers(), str(host.report)

    answers, report = asyncio.run(go())
    assert answers == [1]
    assert "No module named" in report


def test_the_host_keeps_its_own_copy(app):
    write(app / "cogs" / "__init__.py", "")
    write(app / "cogs" / "text.py", "X = 1\n")
    photon = write(
        app / "cogs" / "greet.py", PHOTON.format("from cogs.text import X as x")
    )

    async def go():
        import cogs.text

        before = vars(cogs).copy()
        async with Host() as host:
            await host.run(photon)
            await host.reload_photon(photon)
            import cogs.text as again

            assert again is before["text"] is cogs.text
            assert sys.modules["cogs.text"] is again

    asyncio.run(go())


def test_a_library_of_another_place_keeps_its_name(app, tmp_path, monkeypatch):
    """The directory is called like a package that ``sys.path`` leads to before it."""
    other = tmp_path / "site"
    write(other / "cogs" / "__init__.py", "X = 'library'\n")
    monkeypatch.syspath_prepend(other)
    write(app / "cogs" / "text.py", "")
    photon = write(app / "cogs" / "greet.py", PHOTON.format("from cogs import X as x"))

    async def go():
        async with Host() as host:
            await host.run(photon)
            return host.answers()

    assert asyncio.run(go()) == ["library"]


def test_photons_that_derive_from_a_class_in_a_root_are_found(app):
    write(
        app / "utils" / "base.py",
        "from luminal import IPhoton\nclass Base(IPhoton): pass\n",
    )
    write(
        app / "cogs" / "greet.py",
        "from utils.base import Base\nclass Greet(Base): pass\n",
    )
    write(
        app / "cogs" / "other.py",
        "from cogs.kind import Kind\nclass Other(Kind): pass\n",
    )
    write(
        app / "cogs" / "kind.py",
        "from luminal import IPhoton as P\nclass _K(P): pass\nKind = _K\n",
    )
    write(
        app / "cogs" / "kind.py",
        "import luminal\nclass Kind(luminal.IPhoton): photon_enabled = False\n",
    )
    found = discover(app / "cogs", group=None, roots=[app / "utils"], index=False)
    assert {c.name for c in found} >= {"Greet", "Other"}
    assert {c.roots for c in found} == {(str(app / "utils"),)}

    async def go():
        async with Host() as host:
            report = await host.load(found)
            await host.start()
            assert "utils.base" not in sys.modules
            return {o.photon for o in report.loaded}

    assert "Greet" in asyncio.run(go())


@pytest.mark.parametrize(
    ("helper", "line"),
    [
        ("cogs/text.py", "from cogs.text import X as x"),
        ("utils/text.py", "from utils.text import X as x"),
        ("utils/__init__.py", "from utils import X as x"),
        ("utils/deep/text.py", "from utils.deep.text import X as x"),
        ("utils/pack/__init__.py", "from utils.pack import X as x"),
        ("utils/pack/text.py", "from utils.pack.text import X as x"),
    ],
)
def test_a_save_in_a_root_reloads_under_the_watch(app, helper, line):
    file = write(app / helper, "X = 1\n")
    if "pack/text" in helper:
        write(file.with_name("__init__.py"), "")
    write(app / "utils" / "other.py", "")
    write(app / "cogs" / "greet.py", PHOTON.format(line))

    async def go():
        async with Host(roots=[app / "utils"]) as host:
            await host.watch_photons(app / "cogs")
            await host.until(lambda: host.answers() == [1])
            write(file, "X = 2\n")
            await host.until(lambda: host.answers() == [2])
            write(file, "X = = 3\n")
            await host.until(lambda: host.happened(EventKind.REJECTED))
            assert host.answers() == [2]
            write(file, "X = 4\n")
            await host.until(lambda: host.answers() == [4])

    asyncio.run(go())


def test_a_running_call_keeps_the_helpers_of_its_generation(app):
    write(app / "utils" / "text.py", "X = 1\n")
    late = write(app / "utils" / "late.py", "Y = 1\n")
    photon = write(
        app / "cogs" / "greet.py",
        "from luminal import IPhoton, hookimpl\n"
        "from utils.text import X\n"
        "class Greet(IPhoton):\n"
        "    @hookimpl\n"
        "    def visit(self, go):\n"
        "        go()\n"
        "        from utils.late import Y\n"
        "        import utils.text\n"
        "        return X, utils.text.X, Y\n",
    )

    async def go():
        async with Host(roots=[app / "utils"]) as host:
            await host.run(photon)
            begun, end = threading.Event(), threading.Event()

            def wait():
                begun.set()
                end.wait(DEADLINE)

            with ThreadPoolExecutor() as pool:
                call = pool.submit(host.hook.visit, go=wait)
                await asyncio.to_thread(begun.wait, DEADLINE)
                write(app / "utils" / "text.py", "X = 2\n")
                write(late, "Y = 2\n")
                await host.reload_photon(photon)
                end.set()
                old = await asyncio.to_thread(call.result, DEADLINE)
            return old, host.hook.visit(go=lambda: None)

    assert asyncio.run(go()) == ([(1, 1, 1)], [(2, 2, 2)])


def test_pickles_outlive_the_reload(app):
    write(app / "utils" / "text.py", "class C: pass\n")
    line = "import pickle\nfrom utils.text import C\nx = pickle.dumps(C())"
    photon = write(app / "cogs" / "greet.py", PHOTON.format(line))

    async def go():
        async with Host(roots=[app / "utils"]) as host:
            await host.run(photon)
            [data] = host.answers()
            await host.reload_photon(photon)
            assert type(pickle.loads(data)).__module__.startswith("utils_")

    asyncio.run(go())


def test_a_star_import_has_what_the_init_file_defines(app):
    helper = write(app / "utils" / "__init__.py", "X = 1\nfrom .text import word\n")
    write(app / "utils" / "text.py", "def word(): pass\n")
    photon = write(
        app / "cogs" / "greet.py", PHOTON.format("from utils import *\nx = X\nword()")
    )

    async def go():
        async with Host(roots=[app / "utils"]) as host:
            await host.run(photon)
            write(helper, "X = 2\nfrom .text import word\n")
            await host.reload_photon(photon)
            return host.answers()

    assert asyncio.run(go()) == [2]


def test_a_photon_beside_the_program_does_not_take_the_programs_modules(app):
    """Its directory is that of the program; photons elsewhere share its modules."""
    write(app / "luminal_test_state.py", "class State: pass\n")
    beside = write(app / "plugin.py", PHOTON.format("x = 0").replace("Greet", "Beside"))
    photon = write(
        app / "cogs" / "greet.py",
        PHOTON.format("from luminal_test_state import State as x"),
    )
    import luminal_test_state

    async def go():
        async with Host() as host:
            await host.run(beside, photon)
            return host.answers()

    try:
        assert asyncio.run(go()) == [0, luminal_test_state.State]
    finally:
        del sys.modules["luminal_test_state"]


def test_an_init_file_that_lists_its_modules_can_be_imported(app):
    write(
        app / "cogs" / "__init__.py",
        "from pkgutil import iter_modules\n"
        "NAMES = sorted(module.name for module in iter_modules(__path__))\n",
    )
    write(app / "cogs" / "text.py", "")
    photon = write(
        app / "cogs" / "greet.py", PHOTON.format("from cogs import NAMES as x")
    )

    async def go():
        async with Host() as host:
            await host.run(photon)
            return host.answers()

    assert asyncio.run(go()) == [["greet", "text"]]


def test_rejected_code_in_a_root_keeps_every_photon_on_the_old_one(app):
    helper = write(app / "utils" / "text.py", "X = 1\n")
    line = "from utils.text import X as x"
    one = write(app / "cogs" / "one.py", PHOTON.format(line).replace("Greet", "One"))
    two = write(app / "more" / "two.py", PHOTON.format(line).replace("Greet", "Two"))

    async def go():
        async with Host(roots=[app / "utils"], suppress_errors=True) as host:
            await host.run(one, two)
            write(helper, "X = 2\n")
            write(two, PHOTON.format(line + "\n1 / 0").replace("Greet", "Two"))
            await host.reload_photons([one, two])
            before = host.answers()
            write(two, PHOTON.format(line).replace("Greet", "Two"))
            await host.reload_photons([one, two])
            after = host.answers()
            await host.roll_back(one)
            return before, after, host.answers()

    assert asyncio.run(go()) == ([1, 1], [2, 2], [1, 1])


def test_hosts_for_tests_and_without_a_loop_take_roots(app):
    helper = write(app / "utils" / "text.py", "X = 1\n")
    photon = write(
        app / "photons" / "greet.py", PHOTON.format("from utils.text import X as x")
    )
    with testing.Host(app, hookspecs=[Specs], roots=[app / "utils"]) as host:
        host.run()
        assert host.hook.who() == [1]
        write(helper, "X = 2\n")
        host.reload("Greet")
        assert host.hook.who() == [2]
    with blocking.Loader(hookspecs=[Specs], roots=[app / "utils"]) as loader:
        loader.load_photon(photon).start()
        write(helper, "X = 3\n")
        loader.reload_photon(photon)
        assert loader.hook.who() == [3]


@pytest.mark.parametrize("roots", ["utils", ["nowhere"], [b"utils"], [7]])
def test_roots_that_are_none_are_refused(app, roots):
    with pytest.raises((TypeError, DirectoryNotFoundError)):
        Host(roots=roots)
    with pytest.raises((TypeError, DirectoryNotFoundError)):
        discover(app, group=None, roots=roots, index=False)


def test_old_generations_of_a_root_are_freed(app):
    write(app / "utils" / "__init__.py", "Y = 1\n")
    helper = write(app / "utils" / "text.py", "class C: pass\n")
    line = "import utils\nfrom utils.text import C as x\nassert utils.Y"
    photon = write(app / "cogs" / "greet.py", PHOTON.format(line))

    async def go():
        kept = []
        async with Host(roots=[app / "utils"]) as host:
            await host.run(photon)
            for number in range(5):
                kept += map(weakref.ref, host.answers())
                write(helper, f"class C: pass\nX = {number}\n")
                await host.reload_photon(photon)
            await host.until(
                lambda: gc.collect() >= 0 and not any(ref() for ref in kept)
            )
            kept += map(weakref.ref, host.answers())
        gc.collect()
        assert not any(ref() for ref in kept)

    asyncio.run(go())
    assert not [n for n in sys.modules if n.startswith(("utils_", "cogs_"))]


def test_a_folder_that_nobody_declared_is_named_where_it_cannot_be_imported(tmp_path):
    write(tmp_path / "helpers" / "text.py", "X = 1\n")
    photon = write(
        tmp_path / "cogs" / "greet.py", PHOTON.format("from helpers.text import X as x")
    )

    async def go():
        async with Host() as host:
            await host.run(photon)

    with pytest.raises(LuminalError) as caught:
        asyncio.run(go())
    assert f"roots=[{str(tmp_path / 'helpers')!r}]" in str(caught.value)


def test_a_pickle_of_the_host_is_of_the_hosts_class_inside_of_a_photon(app):
    write(app / "cogs" / "text.py", "class C: pass\n")
    photon = write(
        app / "cogs" / "greet.py",
        "import pickle\n"
        "from luminal import IPhoton, hookimpl\n"
        "from cogs.text import C\n"
        "class Greet(IPhoton):\n"
        "    @hookimpl\n"
        "    def visit(self, go):\n"
        "        own = pickle.loads(pickle.dumps(C()))\n"
        "        return type(pickle.loads(go())), type(own)\n",
    )

    async def go():
        import cogs.text

        async with Host() as host:
            await host.run(photon)
            data = pickle.dumps(cogs.text.C())
            [(hosts, own)] = host.hook.visit(go=lambda: data)
            assert hosts is cogs.text.C
            assert own is not hosts
            del sys.modules["cogs.text"]
            [(again, _)] = host.hook.visit(go=lambda: data)
            assert again is sys.modules["cogs.text"].C

    asyncio.run(go())
