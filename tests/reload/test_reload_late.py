"""A running call that imports for the first time after the swap gets its own text."""

from __future__ import annotations

import gc
import os
import shutil
import sys
import threading
import types
from concurrent.futures import ThreadPoolExecutor

import pytest

from luminal import discover
from luminal.model import EventKind
from tests.reload.conftest import call_across, grow_old
from tests.waiting import DEADLINE

HEAD = """
from luminal import IPhoton, hookimpl
TEXT = {number}

class Photon(IPhoton):
    photon_name = "p"

    @hookimpl
    def who(self):
        {body}

    @hookimpl
    def visit(self, go):
        go(self)
        {body}
"""
LATE = "from .late import L; return TEXT, L"


def photon(photons, number, body=LATE, name="pk/__init__.py"):
    return photons.write(name, HEAD.format(number=number, body=body))


async def assert_changes_across(make_host, save):
    """Assert that a call across a swap stays on 1, and new ones are of 2."""
    path = save(1)
    async with make_host() as host:
        (p,) = await host.run(path)
        assert host.answers() == [(1, 1)]

        async def change():
            save(2)
            await host.reload_photon(p)
            assert host.answers() == [(2, 2)]

        assert await call_across(host, change) == (1, 1)
        assert host.answers() == [(2, 2)]


async def test_a_module_of_the_package_is_the_one_that_was_staged(make_host, photons):
    """The old call gets the old text, the next call the new one."""
    path = photon(photons, 1)
    late = photons.write("pk/late.py", "L = 1\n")
    async with make_host() as host:
        (p,) = await host.run(path)

        async def change():
            photon(photons, 2)
            late.write_text("L = 2\n")
            await host.reload_photon(p)

        assert await call_across(host, change) == (1, 1)
        assert host.answers() == [(2, 2)]
        # What the old call imported is nowhere else.
        name = type(p.instance).__module__ + ".late"
        assert sys.modules[name].L == 2


# How code of others imports a module whose name it is given: → its L.
INDIRECTLY = {
    "exec": "names = {}; exec(f'from {NAME}.late import L', names); return names['L']",
    "exec, dotted": (
        "names = {}; exec(f'import {NAME}.late; L = {NAME}.late.L', names)"
        "; return names['L']"
    ),
    "pickle": "return pickle.loads(b'c' + NAME.encode() + b'.late\\nL\\n.')",
    "dictConfig": (
        "return logging.config.BaseConfigurator({}).resolve(NAME + '.late.L')"
    ),
    "pydoc": "return pydoc.locate(NAME + '.late.L')",
    "runpy": "return runpy.run_module(NAME + '.late')['L']",
    "find_spec": (
        "spec = importlib.util.find_spec(NAME + '.late')"
        "; return int(spec.loader.get_source(spec.name).split()[2])"
    ),
    "LazyLoader": (
        "spec = importlib.util.find_spec(NAME + '.late')"
        "; spec.loader = lazy = importlib.util.LazyLoader(spec.loader)"
        "; late = importlib.util.module_from_spec(spec)"
        "; lazy.exec_module(late); return late.L"
    ),
    "by hand": (
        "spec = importlib.util.find_spec(NAME + '.late')"
        "; return importlib.util.module_from_spec(spec).L"
    ),
}


@pytest.mark.parametrize("is_imported", [False, True])
@pytest.mark.parametrize("way", INDIRECTLY)
async def test_code_of_others_imports_for_an_old_call(
    make_host, photons, way, is_imported
):
    """Whether or not a new call has imported it already."""
    body = f"def late():\n            {INDIRECTLY[way]}\n        return TEXT, late()"
    head = (
        "import importlib.util, logging.config, pickle, pydoc, runpy\nNAME=__name__\n"
    )

    def save(number):
        photons.write("pk/late.py", f"L = {number}\n")
        text = HEAD.format(number=number, body=body)
        return photons.write("pk/__init__.py", head + text)

    path = save(1)
    async with make_host() as host:
        (p,) = await host.run(path)

        async def change():
            save(2)
            await host.reload_photon(p)
            if is_imported:
                assert host.answers() == [(2, 2)]

        assert await call_across(host, change) == (1, 1)
        assert host.answers() == [(2, 2)]
        await host.until(lambda: gc.collect() < 0 or host.happened(EventKind.RETIRED))
        assert host.answers() == [(2, 2)]
        names = [n for n, m in sys.modules.items() if "Proxy" in type(m).__name__]
        assert not names


POOLS = """
import functools, importlib, pkgutil, threading
from concurrent.futures import ThreadPoolExecutor
from luminal import IPhoton, hookimpl
NAME, TEXT = __name__, {number}

class Photon(IPhoton):
    photon_name = "p"

    def start(self):
        self.pool = ThreadPoolExecutor(1)
        self.pool.submit(int).result()
        if TEXT == 2:  # it is being staged, and the serving one has no such module
            fresh = self.pool.submit(importlib.import_module, ".fresh", NAME)
            assert fresh.result().F == 2

    @hookimpl
    def visit(self, go):
        host_pool = go(self)
        found = []
        for pool in (self.pool, host_pool):
            late = pool.submit(importlib.import_module, ".late", NAME)
            found.append(late.result().L)
            found.append(pool.submit(pkgutil.resolve_name, NAME + ":TEXT").result())
        target = functools.partial(importlib.import_module, NAME + ".later")
        thread = threading.Thread(target=target, name="imports")
        thread.start()
        thread.join()
        return found, importlib.import_module(".later", NAME).IN
"""


async def test_threads_of_old_code_that_run_none_of_it(make_host, photons):
    """A pool's thread is the generation's that made the pool, or submits to it."""
    path = photons.write("pk/__init__.py", POOLS.format(number=1))
    late = photons.write("pk/late.py", "L = 1\n")
    later = "import threading\nIN = {}, threading.current_thread().name\n"
    photons.write("pk/later.py", later.format(1))
    pool = ThreadPoolExecutor(1)
    pool.submit(int).result()
    async with make_host() as host:
        (p,) = await host.run(path)

        async def change():
            photons.write("pk/__init__.py", POOLS.format(number=2))
            photons.write("pk/later.py", later.format(2))
            photons.write("pk/fresh.py", "F = 2\n")
            late.write_text("L = 2\n")
            await host.reload_photon(p)

        assert await call_across(host, change, pool) == ([1, 1, 1, 1], (1, "imports"))
        found, (number, _) = host.hook.visit(go=lambda _: pool)[0]
        assert (found, number) == ([2, 2, 2, 2], 2)
    pool.shutdown()


REPLACES_ITSELF = "import sys\nclass Late:\n    L = {}\nsys.modules[__name__] = Late\n"


@pytest.mark.parametrize("is_imported", [False, True])
async def test_a_module_that_replaces_itself(make_host, photons, is_imported):
    """The old call finds its own object, and what serves stays in its place."""
    body = "from . import late; return TEXT, late.L, sys.modules[NAME].L"

    def save(number):
        photons.write("pk/late.py", REPLACES_ITSELF.format(number))
        text = HEAD.format(number=number, body=body)
        return photons.write(
            "pk/__init__.py", f"import sys\nNAME = __name__ + '.late'\n{text}"
        )

    path = save(1)
    async with make_host() as host:
        (p,) = await host.run(path)

        async def change():
            save(2)
            await host.reload_photon(p)
            if is_imported:
                assert host.answers() == [(2, 2, 2)]

        old = await call_across(host, change)
        if is_imported:
            assert old[:2] == (1, 1)
            name = type(p.instance).__module__ + ".late"
            assert sys.modules[name].L == 2
        else:
            assert isinstance(old, KeyError)  # it has not been put there for all
        assert host.answers() == [(2, 2, 2)]


async def test_a_new_call_imports_a_helper_that_old_code_had_imported(
    make_host, photons
):
    """Code of others looks it up by name while it executes, as `pydantic` does."""
    looks = "import sys\nL = {}\nassert vars(sys.modules[__name__])['L'] == L\n"
    body = "from .late import L; return TEXT, L"

    def save(number):
        photons.write("late.py", looks.format(number))
        return photon(photons, number, body, "p.py")

    await assert_changes_across(make_host, save)


@pytest.mark.parametrize("how", ["deleted", "package", "renamed"])
async def test_the_file_is_gone_with_the_new_version(make_host, photons, how):
    """The staged text is kept in memory, wherever the file has gone."""
    path = photon(photons, 1)
    late = photons.write("pk/late.py", "from .deep.er import L\n")
    photons.write("pk/deep/__init__.py", "")
    deep = photons.write("pk/deep/er.py", "L = 1\n")
    async with make_host() as host:
        (p,) = await host.run(path)

        async def change():
            deep.unlink()
            if how == "deleted":
                late.unlink()
            elif how == "renamed":
                late.rename(photons.path / "pk" / "later.py")
            else:
                late.unlink()
                photons.write("pk/late/__init__.py", "L = 2\n")
            photon(photons, 2, "return TEXT, 2")
            await host.reload_photon(p)

        assert await call_across(host, change) == (1, 1)
        assert host.answers() == [(2, 2)]


async def test_a_module_that_only_the_new_version_has_is_refused(make_host, photons):
    """By a computed name, as by a statement; the error says whose it would be."""
    path = photon(photons, 1, "from . import fresh; return TEXT, fresh.L")
    async with make_host() as host:
        (p,) = await host.run(path)

        async def change():
            photon(photons, 2, "from . import fresh; return TEXT, fresh.L")
            photons.write("pk/fresh.py", "L = 2\n")
            await host.reload_photon(p)

        error = await call_across(host, change)
        assert isinstance(error, ImportError)
        assert "'p'" in str(error)
        assert "generation 1" in str(error)
        assert str(photons.path / "pk" / "fresh.py") in str(error)
        assert host.answers() == [(2, 2)]


@pytest.mark.parametrize(
    ("statement", "files"),
    [
        ("from .late import L", {"late.py": "L = {}\n"}),
        ("from late import L", {"late.py": "L = {}\n"}),
        ("from . import late; L = late.L", {"late.py": "L = {}\n"}),
        ("import late; L = late.L", {"late.py": "L = {}\n"}),
        (
            "from late.inner import L",
            {"late/__init__.py": "", "late/inner.py": "L = {}\n"},
        ),
        (
            "from late import L",
            {"late.py": "from .deep import L\n", "deep.py": "L = {}\n"},
        ),
        (
            "def f():\n            from .ns.late import L; return L\n        L = f()",
            {"ns/late.py": "L = {}\n"},
        ),
    ],
)
async def test_a_helper_beside_a_lone_file(make_host, photons, statement, files):
    """A statement inside a function names it, so it is read with the photon."""
    body = statement + "\n        return TEXT, L"
    path = photon(photons, 1, body, "p.py")
    for name, text in files.items():
        photons.write(name, text.format(1))
    async with make_host() as host:
        (p,) = await host.run(path)

        async def change():
            photon(photons, 2, body, "p.py")
            for name, text in files.items():
                photons.write(name, text.format(2))
            await host.reload_photon(p)
            assert host.answers() == [(2, 2)]

        assert await call_across(host, change) == (1, 1)
        assert host.answers() == [(2, 2)]


BEYOND = "def f():\n            from .. import late; return late.L\n        L = f()"


@pytest.mark.parametrize(
    ("name", "body", "helper"),
    [
        ("pk/__init__.py", "from ..late import L", "late.py"),
        ("pk/__init__.py", "from late import L", "late/__init__.py"),
        ("sub/p.py", "from late import L", "late.py"),
        ("sub/p.py", BEYOND, "late.py"),
        ("sub/p.py", "from .late import L", "sub/late.py"),
    ],
)
async def test_a_helper_that_lies_elsewhere(make_host, photons, name, body, helper):
    """Beside a package, above a file, and below the directory."""
    body += "\n        return TEXT, L"
    path = photon(photons, 1, body, name)
    late = photons.write(helper, "from deep import L\n")
    deep = photons.write("deep.py", "L = 1\n")
    async with make_host() as host:
        handlers = await host.load_photons(photons.path, recursive=True)
        await handlers.start()

        async def change():
            photon(photons, 2, body, name)
            late.unlink()
            late.write_text("L = 2\n")
            deep.write_text("L = 3\n")
            await host.reload_photon(path)
            assert host.answers() == [(2, 2)]

        assert await call_across(host, change) == (1, 1)
        assert host.answers() == [(2, 2)]


async def test_the_helper_serves_another_photon_already(make_host, photons):
    """The old call gets the module that served, not a second one of the same text."""
    body = "from late import L, SEEN; SEEN.append(TEXT); return TEXT, L, SEEN"
    path = photon(photons, 1, body, "p.py")
    late = photons.write("late.py", "L = 1; SEEN = []\n")
    user = photons.photon("q", head="import late\n", body="late = late")
    async with make_host() as host:
        p, q = await host.run(path, user)
        old = q.instance.late

        async def change():
            photon(photons, 2, body, "p.py")
            late.write_text("L = 2; SEEN = []\n")
            await host.reload_photon(q)  # and with it what uses the helper
            assert p.number == 2

        text, value, seen = await call_across(host, change)
        assert (text, value) == (1, 1)
        assert seen is old.SEEN


COMPUTED = (
    "import importlib; n = 'la' + 'te'\n"
    "        late = __import__(n, globals()); return TEXT, late.L"
)


async def test_new_calls_import_what_only_old_ones_have_imported(make_host, photons):
    """A helper by a computed name, while an old call is under way."""
    body = "return TEXT, importlib.import_module(f'{__package__}.late').L"

    def save(number):
        photons.write("late.py", f"L = {number}\n")
        text = HEAD.format(number=number, body=body)
        return photons.write("p.py", "import importlib\n" + text)

    await assert_changes_across(make_host, save)


@pytest.mark.parametrize("is_changed", [False, True])
async def test_a_helper_by_a_computed_name(make_host, photons, is_changed):
    """Nothing has read it: as it is where nobody has touched it, else an error."""
    path = photon(photons, 1, COMPUTED, "p.py")
    late = photons.write("late.py", "L = 1\n")
    grow_old()
    async with make_host() as host:
        (p,) = await host.run(path)

        async def change():
            photon(photons, 2, COMPUTED, "p.py")
            if is_changed:
                late.write_text("L = 2\n")
            await host.reload_photon(p)

        found = await call_across(host, change)
        if is_changed:
            assert isinstance(found, ImportError)
            assert "'p'" in str(found)
            assert "generation 1" in str(found)
            assert str(late) in str(found)
        else:
            assert found == (1, 1)
        assert host.answers() == [(2, 2 if is_changed else 1)]


async def test_a_release_that_is_swapped_by_a_link(make_host, photons, tmp_path):
    """Files of the next release may be older than the generation that runs."""
    for number in (1, 2):
        photons.write(f"v{number}/late.py", f"L = {number}\n")
        photon(photons, number, COMPUTED, f"v{number}/p.py")
    link = tmp_path / "current"
    link.symlink_to(photons.path / "v1")
    grow_old()
    async with make_host() as host:
        (p,) = await host.run(link / "p.py")

        async def change():
            fresh = tmp_path / "fresh"
            fresh.symlink_to(photons.path / "v2")
            fresh.replace(link)
            await host.reload_photon(p)

        assert isinstance(await call_across(host, change), ImportError)
        assert host.answers() == [(2, 2)]


async def test_import_module_in_an_old_call_never_gets_the_new_text(make_host, photons):
    """It gets that of its own generation, and `sys.modules` keeps the new one."""
    body = (
        "import importlib\n        late = importlib.import_module"
        "('.late', __package__); return TEXT, late.L"
    )
    path = photon(photons, 1, body)
    late = photons.write("pk/late.py", "L = 1\n")
    async with make_host() as host:
        (p,) = await host.run(path)

        async def change():
            photon(photons, 2, body)
            late.write_text("L = 2\n")
            await host.reload_photon(p)

        assert await call_across(host, change) == (1, 1)
        assert host.answers() == [(2, 2)]
        assert sys.modules[p.generation.unit + ".late"].L == 2


async def test_a_call_that_outlives_its_photon(make_host, photons):
    """After an unload the rule is the same, while other photons are loaded."""
    path = photon(photons, 1)
    late = photons.write("pk/late.py", "L = 1\n")
    async with make_host() as host:
        p, _ = await host.run(path, photons.photon("other"))
        old = type(p.instance).who

        async def change():
            late.write_text("L = 2\n")
            await host.unload_photon(p)

        await change()
        assert old(None) == (1, 1)
        assert not [n for n in sys.modules if n.endswith("pk.late")]


async def test_after_a_roll_back_late_imports_are_the_old_ones_too(make_host, photons):
    """What a roll-back returns to is all that had been staged."""
    path = photon(photons, 1)
    late = photons.write("pk/late.py", "L = 1\n")
    async with make_host() as host:
        (p,) = await host.run(path)
        photon(photons, 2)
        late.write_text("L = 2\n")
        await host.reload_photon(p)
        await host.roll_back(p)
        assert host.answers() == [(1, 1)]


@pytest.mark.parametrize("name", ["pk/__init__.py", "p.py"])
async def test_a_file_that_is_imported_late_is_watched(make_host, photons, name):
    """It was read with the photon, so an edit replaces the photon."""
    path = photon(photons, 1, name=name)
    late = photons.write(os.path.join(os.path.dirname(name), "late.py"), "L = 1\n")
    async with make_host() as host:
        await host.watch_photons(photons.path)
        await host.until(lambda: host.happened(EventKind.STARTED, "p"))
        late.write_text("L = 2\n")
        await host.until(lambda: host.happened(EventKind.SWAPPED, "p"))
        assert host.answers() == [(1, 2)]
        late.write_text("L = 3\n")
        await host.until(lambda: host.answers() == [(1, 3)])
        await host.stop_watching_photons()
    assert path.exists()


async def test_a_helper_that_is_named_and_not_used_does_not_spoil_a_photon(
    make_host, photons
):
    """Its errors are told when it is imported, as ever."""
    path = photon(photons, 1, "return TEXT\n        from late import L\n", "p.py")
    photons.write("late.py", "this is no Python\n")
    photons.write("pk/__init__.py", "")
    async with make_host() as host:
        await host.run(path)
        assert host.answers() == [1]


async def test_a_package_beyond_the_bound_is_loaded(make_host, photons, monkeypatch):
    """What is not read at staging follows the rule for lone files."""
    monkeypatch.setattr("luminal.loading._late.MOST_FILES", 1)
    path = photon(photons, 1)
    late = photons.write("pk/late.py", "L = 1\n")
    async with make_host() as host:
        (p,) = await host.run(path)

        async def change():
            photon(photons, 2)
            late.write_text("L = 2\n")
            await host.reload_photon(p)

        error = await call_across(host, change)
        assert isinstance(error, ImportError)
        assert str(late) in str(error)
        assert host.answers() == [(2, 2)]


async def test_what_old_calls_import_is_freed_with_them(make_host, photons):
    """Neither side keeps the other."""
    path = photon(photons, 1, "from late import L; return TEXT, L", "p.py")
    late = photons.write("late.py", "L = 1\n")
    async with make_host() as host:
        (p,) = await host.run(path)
        for number in range(2, 6):

            async def change(number=number):
                photon(photons, number, "from late import L; return TEXT, L", "p.py")
                late.write_text(f"L = {number}\n")
                await host.reload_photon(p)

            assert await call_across(host, change) == (number - 1, number - 1)

        def are_freed():
            gc.collect()
            return len(host.happened(EventKind.RETIRED, "p")) == 4

        await host.until(are_freed)


def install(site, number, *, has_record):
    """Write version *number* of a distribution with a module that is imported late."""
    files = {
        "geo/__init__.py": HEAD.format(number=number, body=LATE),
        "geo/late.py": f"from .deep.er import L\nassert L == {number}\n",
        "geo/deep/__init__.py": "",
        "geo/deep/er.py": f"L = {number}\n",
    }
    for old in site.glob("geo-*"):
        shutil.rmtree(old)
    info = site / f"geo-{number}.0.dist-info"
    info.mkdir()
    for name, text in files.items():
        (site / name).parent.mkdir(exist_ok=True)
        (site / name).write_text(text)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: geo\nVersion: {number}.0\n"
    )
    (info / "entry_points.txt").write_text("[luminal.photons]\np = geo:Photon\n")
    if has_record:
        (info / "RECORD").write_text("".join(f"{name},,\n" for name in files))


@pytest.mark.parametrize("has_record", [True, False])
async def test_an_installed_distribution(make_host, tmp_path, monkeypatch, has_record):
    """Also one that keeps no list of its files, such as an editable installation."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    install(site, 1, has_record=has_record)
    async with make_host() as host:
        await host.load(discover())
        await host.start()

        async def change():
            install(site, 2, has_record=has_record)
            await host.reload_photon("p")

        assert await call_across(host, change) == (1, 1)
        assert host.answers() == [(2, 2)]


async def test_import_module_of_what_serves_has_the_staged_text(make_host, photons):
    """As an import statement of it has."""
    body = (
        "import importlib\n        late = importlib.import_module"
        "('.late', __package__); return TEXT, late.L"
    )
    path = photon(photons, 1, body)
    late = photons.write("pk/late.py", "L = 1\n")
    async with make_host() as host:
        (p,) = await host.run(path)
        late.write_text("L = 2\n")
        assert host.answers() == [(1, 1)]
        await host.reload_photon(p)
        assert host.answers() == [(1, 2)]


async def test_a_module_that_a_photon_writes_is_imported(make_host, photons):
    """While it serves, what is new on the disk is its own."""
    body = (
        "import pathlib\n"
        "        pathlib.Path(__file__).with_name('made.py').write_text('L = 5\\n')\n"
        "        from .made import L; return TEXT, L"
    )
    async with make_host() as host:
        await host.run(photon(photons, 1, body))
        assert host.answers() == [(1, 5)]


FIRST_USE = """
import late_gates as gates
from luminal import IPhoton, hookimpl
{body}

class Photon(IPhoton):
    photon_name = "a"

    @hookimpl
    def who(self):
        from ._late import VALUE
        return {number}, VALUE

    def start(self):
        {start}
"""


@pytest.mark.parametrize("moment", ["body", "start"])
async def test_a_call_imports_late_for_the_first_time_while_the_next_one_is_staged(
    make_host, photons, monkeypatch, moment
):
    """It gets the earlier text, and the next generation the text that was saved."""

    def write(number, **code):
        photons.write("_late.py", f"VALUE = {number}\n")
        texts = {"body": "", "start": "pass", **code}
        return photons.write("a.py", FIRST_USE.format(number=number, **texts))

    answers = []

    async with make_host() as host:

        def call():
            if not answers:
                thread = threading.Thread(target=lambda: answers.extend(host.answers()))
                thread.start()
                thread.join()

        gates = types.SimpleNamespace(call=call)
        monkeypatch.setitem(sys.modules, "late_gates", gates)
        (a,) = await host.run(write(1))
        write(2, **{moment: "gates.call()"})
        await host.reload_photon(a)
        assert answers == [(1, 1)]
        assert host.answers() == [(2, 2)]
        assert a.number == 2


async def test_a_helper_is_imported_for_the_first_time_during_the_swap(
    make_host, photons
):
    """The old call gets the old helper, and no later call does."""
    host_module = types.ModuleType("luminal_test_late_host")
    begun, go_on = threading.Event(), threading.Event()
    host_module.pause = lambda: (begun.set(), go_on.wait(DEADLINE))
    sys.modules[host_module.__name__] = host_module
    text = f"import {host_module.__name__}\n{{}}\nL = {{}}\n"
    path = photon(photons, 1, name="p.py")
    photons.write("late.py", text.format(f"{host_module.__name__}.pause()", 1))
    try:
        async with make_host() as host:
            (p,) = await host.run(path)
            with ThreadPoolExecutor(1) as pool:
                old = pool.submit(host.answers)
                try:
                    assert begun.wait(DEADLINE)
                    photon(photons, 2, name="p.py")
                    photons.write("late.py", text.format("", 2))
                    await host.reload_photon(p)
                finally:
                    go_on.set()
                assert old.result() == [(1, 1)]
            assert host.answers() == [(2, 2)]
            photon(photons, 3, name="p.py")
            photons.write("late.py", text.format("", 3))
            await host.reload_photon(p)
            assert host.answers() == [(3, 3)]
    finally:
        del sys.modules[host_module.__name__]
