"""Ways by which code of a pinned unit is reached later, or elsewhere."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import threading

import pytest

import luminal
from luminal.errors import PhotonVerificationError
from luminal.managers import accept_units, find_units
from luminal.model import EventKind
from tests.distributions import photon_text, put
from tests.trust.test_trust_gate import Case, Specs, who
from tests.waiting import DEADLINE, async_wait_until

pytestmark = pytest.mark.anyio


@pytest.fixture
def case(tmp_path, monkeypatch):
    case = Case(tmp_path)
    monkeypatch.syspath_prepend(case.site)
    return case


def lock_all(case):
    from luminal.trust import open_judge

    judge = open_judge(case.lock)
    found = luminal.discover(case.photons, group=None, index=False)
    units = find_units(judge, found, [str(case.photons)])
    accept_units(judge, [each.unit for each in units])


WORK = """\
import threading
from luminal import IPhoton, hookimpl
GO, READY = threading.Event(), threading.Event()
def work():
    from .late import VALUE
    return VALUE
class Calc(IPhoton):
    photon_name = "calc"
    @hookimpl
    def who(self):
        READY.set()
        GO.wait(60)
        return work()
"""


async def test_old_calls_and_other_processes_import_what_was_judged(case):
    root = case.write("pack/__init__.py", WORK)
    late = case.write("pack/late.py", "VALUE = 1\n")
    lock_all(case)
    async with case.host() as loader:
        await case.load(loader, case.photons)
        module = loader.photons["calc"].generation.root
        late.write_text("VALUE = 'unjudged'\n")
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
            assert pool.submit(module.work).result(DEADLINE) == 1
        found = []
        call = threading.Thread(target=lambda: found.extend(loader.hook.who()))
        call.start()
        module.READY.wait(DEADLINE)
        # The next generation is swapped in while the old call is under way.
        late.write_text("VALUE = 2\n")
        root.write_text(WORK + "GO.set()\n")
        lock_all(case)
        await loader.reload_photon("calc")
        assert loader.photons["calc"].number == 2
        late.write_text("VALUE = 'unjudged'\n")
        module.GO.set()
        call.join(DEADLINE)
        assert found == [1]
        assert who(loader) == [2]


async def test_watches_refuse_what_was_not_accepted_and_go_on(case):
    put(case.site, "geo", "1.0")
    path = case.write("calc.py", photon_text("calc", "1"))
    case.write("free.py", photon_text("free", "1"))
    from luminal.trust import open_judge

    judge = open_judge(case.lock)
    found = luminal.discover(case.photons, group=None, index=False)
    units = [f.unit for f in find_units(judge, found) if "calc" in f.photons]
    accept_units(judge, units)
    async with luminal.Loader(lock=case.lock, hookspecs=[Specs]) as loader:
        await loader.load(luminal.discover(path=[case.site]))
        await loader.start()
        await loader.watch_photons(case.photons)
        await loader.watch_distributions()

        def rejected(name):
            events = [e for e in loader.events.journal if e.photon == name]
            return [e for e in events if e.kind is EventKind.REJECTED]

        put(case.site, "geo", "2.0")
        path.write_text(photon_text("calc", "2"))
        case.write("free.py", photon_text("free", "2"))
        await async_wait_until(lambda: rejected("geo") and rejected("calc"))
        await async_wait_until(lambda: ("free", "2") in who(loader))
        assert who(loader) == [("calc", "1"), ("free", "2"), ("geo", "1.0")]
        assert "luminal lock accept geo" in rejected("geo")[0].problem.hint
        # Undone, it is as it was accepted.
        path.write_text(photon_text("calc", "1"))
        await async_wait_until(lambda: loader.photons["calc"].problem is None)


async def test_owned_libraries_are_a_part_of_the_unit(case):
    put(
        case.site,
        "bridgelib",
        "1.0",
        files={"bridgelib/__init__.py": "N = 1\n"},
        entries="",
    )
    text = photon_text("geo", "1.0") + "    photon_owns = ['bridgelib']\n"
    text = "import bridgelib\n" + text.replace("'1.0'", "bridgelib.N")
    put(case.site, "geo", "1.0", files={"geo/__init__.py": text})
    async with case.host() as loader:
        await case.load(loader)
        assert who(loader) == [("geo", 1)]
    put(
        case.site,
        "bridgelib",
        "2.0",
        files={"bridgelib/__init__.py": "N = 2\n"},
        entries="",
    )
    async with case.host() as loader:
        report = await case.load(loader)
        assert "_owned/bridgelib/__init__.py" in str(report)
        assert not loader.photons


async def test_a_compiled_module_runs_where_the_lock_lists_its_unit(case):
    """One of Python's own stands for it."""
    import _bisect
    import shutil
    from importlib.machinery import EXTENSION_SUFFIXES

    file = getattr(_bisect, "__file__", None)
    if file is None:
        pytest.skip("it is built in here")
    text = photon_text("calc", "1") + "from ._bisect import bisect_left\n"
    case.write("calc/__init__.py", text)
    native = case.photons / "calc" / f"_bisect{EXTENSION_SUFFIXES[0]}"
    shutil.copy(file, native)
    lock_all(case)
    async with case.host() as loader:
        await case.load(loader, case.photons)
        assert loader.photons["calc"].generation.root.bisect_left([1, 2], 2) == 1
    changed = native.read_bytes() + b"\0"
    native.unlink()  # the process has the file mapped
    native.write_bytes(changed)
    async with case.host() as loader:
        report = await case.load(loader, case.photons)
        assert native.name in report.failed[0].problem.why


async def test_the_status_is_shown_of_a_running_host(case):
    from luminal.managers.status import status_of
    from luminal.web import snapshot_of

    case.write("calc.py", photon_text("calc", "1"))
    async with case.host() as loader:
        await case.load(loader, case.photons)
        status = status_of(loader)
        assert status["lock"] == {"path": str(case.lock.resolve()), "mode": "pin"}
        assert status["photons"][0]["trust"] == "unpinned"
        [photon] = snapshot_of(loader).photons
        assert (photon.trust, photon.trust_why) == (
            "unpinned",
            "the lock does not list it",
        )


async def test_a_directory_with_an_init_of_its_own_is_no_package(case):
    case.write("__init__.py", "VALUE = 1\n")
    case.write("pack/__init__.py", photon_text("pack", "1"))
    case.write("calc.py", "from . import VALUE\n" + photon_text("calc", "1"))
    lock_all(case)
    names = ["plugins/__init__.py", "plugins/calc.py", "plugins/pack/"]
    assert list(case.units) == names
    async with case.host(lock=case.lock) as loader:
        from luminal.trust import Mode

        loader.judge.mode = Mode.FROZEN
        await case.load(loader, case.photons)
        assert who(loader) == [("calc", "1"), ("pack", "1")]
    case.write("__init__.py", "VALUE = 2\n")
    async with case.host() as loader:
        report = await case.load(loader, case.photons)
        assert "plugins/__init__.py" in str(report)


INWARD = """\
import importlib
from importlib import resources
from luminal import IPhoton
from . import late
class Calc(IPhoton):
    photon_name = "calc"
    def again(self):
        return importlib.reload(late).VALUE
    def code(self):
        names = {}
        exec(late.__loader__.get_code(late.__name__), names)
        return names["VALUE"]
    def spec(self):
        spec = importlib.util.find_spec(late.__name__)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.VALUE
    def data(self):
        return resources.files(f"{__package__}.folder").joinpath("text").read_text()
    def deep(self, name):
        return importlib.import_module(f".folder.{name}", __package__).VALUE
"""


async def test_folders_without_code_are_a_part_of_their_package(case):
    """What is planted in one does not run, under ``pin`` either."""
    files = {"late.py": "VALUE = 1\n", "folder/mod.py": "VALUE = 1\n"}
    case.write("pack/__init__.py", INWARD)
    for name, text in {**files, "folder/text": "1"}.items():
        case.write(f"pack/{name}", text)
    lock_all(case)
    async with case.host() as loader:
        await case.load(loader, case.photons)
        for name in (*files, "folder/planted.py", "folder/more/planted.py"):
            case.write(f"pack/{name}", "VALUE = 'unjudged'\n")
        case.write("pack/folder/text", "unjudged")
        calc = loader.photons["calc"].instance
        assert (calc.again(), calc.code(), calc.spec(), calc.deep("mod")) == (1,) * 4
        assert calc.data() == "1"
        for name in ("planted", "more.planted"):
            with pytest.raises(PhotonVerificationError):
                calc.deep(name)
