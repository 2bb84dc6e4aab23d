"""A host with a lock: what runs is what was accepted, whatever the disk holds."""

from __future__ import annotations

import contextlib
import importlib
import sys
from pathlib import Path

import pytest

import luminal
from luminal.errors import LockFileError, LuminalError, PhotonVerificationError
from luminal.model import EventKind
from luminal.trust import LockFile
from tests.distributions import photon_text, put

pytestmark = pytest.mark.anyio


class Specs:
    @luminal.hookspec
    def who(self):
        """Return name and version."""


class Case:
    """A project with a site directory, a directory of photons and a lock."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.site = root / "site"
        self.photons = root / "plugins"
        self.lock = root / "luminal.lock"
        self.site.mkdir()
        self.photons.mkdir()
        self.write_lock("pin")

    def write_lock(self, mode: str) -> None:
        self.lock.write_text(f'version = 1\nmode = "{mode}"\n')

    def write(self, name: str, text: str) -> Path:
        path = self.photons / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    @contextlib.asynccontextmanager
    async def host(self, **options):
        options = {"lock": self.lock, "hookspecs": [Specs], **options}
        async with luminal.Loader(suppress_errors=True, **options) as loader:
            yield loader

    async def load(self, loader, *directories):
        found = luminal.discover(*directories, path=[self.site])
        report = await loader.load(found)
        await loader.start()
        return report

    @property
    def units(self):
        return LockFile.read(str(self.lock)).units


@pytest.fixture
def case(tmp_path, monkeypatch):
    case = Case(tmp_path)
    monkeypatch.syspath_prepend(case.site)
    return case


def who(loader):
    return sorted(loader.hook.who())


async def accept(loader, name):
    """Accept what is installed, as `luminal lock accept` does."""
    from luminal.managers._locking import accept_units, find_units

    found = find_units(loader.judge, luminal.discover(index=False))
    accept_units(loader.judge, [f.unit for f in found if f.unit.name == name])


async def test_the_first_use_is_pinned_and_a_change_is_refused_until_it_is_accepted(
    case,
):
    put(case.site, "geo", "1.0")
    async with case.host() as loader:
        await case.load(loader)
        assert who(loader) == [("geo", "1.0")]
        assert case.units["geo"].version == "1.0"
        assert [e.photon for e in loader.events.journal if e.kind is EventKind.PINNED]
        put(case.site, "geo", "2.0")
        before = case.lock.read_text()
        await loader.reload_photons(["geo"])
        assert who(loader) == [("geo", "1.0")]
        problem = loader.photons["geo"].problem
        assert (problem.code, problem.phase) == ("LUM109", "verify")
        assert "version 1.0 -> 2.0" in problem.why
        assert "geo/__init__.py" in problem.why
        assert "luminal lock accept geo" in problem.hint
        assert case.lock.read_text() == before
        await accept(loader, "geo")
        await loader.reload_photons(["geo"])
        assert who(loader) == [("geo", "2.0")]
        # What was accepted before may be returned to.
        await loader.roll_back("geo")
        assert who(loader) == [("geo", "1.0")]
        assert "before" in loader.photons["geo"].verdict.why
        assert loader.photons["geo"].candidate.version == "1.0"
        assert loader.photons["geo"].candidate.origin == "geo 1.0"


async def test_a_restart_after_an_upgrade_runs_the_accepted_version(case):
    put(case.site, "geo", "1.0", metadata="Summary: the first")
    async with case.host() as loader:
        await case.load(loader)
    sys.modules.pop("geo", None)
    put(case.site, "geo", "2.0", metadata="Summary: the second")
    async with case.host() as loader:
        report = await case.load(loader)
        assert who(loader) == [("geo", "1.0")]
        candidate = loader.photons["geo"].candidate
        assert (candidate.version, candidate.description) == ("1.0", "the first")
        [warning] = report.outcomes[0].warnings
        assert "luminal lock accept geo" in warning.hint
        ((_, of_plugin),) = loader.plugins.list_plugin_distinfo()
        assert of_plugin.version == "1.0"
        await loader.reload_photons(["geo"])
        assert who(loader) == [("geo", "1.0")]
        await accept(loader, "geo")
        await loader.reload_photons(["geo"])
        assert who(loader) == [("geo", "2.0")]
        assert loader.photons["geo"].candidate.version == "2.0"
    # The same where the installed one cannot be loaded at all.
    put(case.site, "geo", "3.0", entries="geo = geo.gone:Geo")
    (case.site / "geo" / "__init__.py").unlink()
    async with case.host() as loader:
        await case.load(loader)
        assert who(loader) == [("geo", "2.0")]
    # And where a file that is no module is missing.
    put(case.site, "geo", "2.0", files={"geo/__init__.py": "", "geo/data.txt": ""})
    (case.site / "geo" / "data.txt").unlink()
    async with case.host() as loader:
        await case.load(loader)
        assert who(loader) == [("geo", "2.0")]
    # A flipped bit in the vault is named, and nothing runs.
    kept = case.root / "state" / "vault" / case.units["geo"].tree
    file = kept / "files" / "geo" / "__init__.py"
    file.write_bytes(b"#" + file.read_bytes()[1:])
    async with case.host() as loader:
        report = await case.load(loader)
        assert report.failed[0].problem.file == str(file)
        assert not loader.photons


PACKAGE = """\
from importlib import resources
import pkgutil
from luminal import IPhoton, hookimpl

class Geo(IPhoton):
    photon_name = "geo"
    @hookimpl
    def who(self):
        folder = resources.files(__name__)
        with resources.as_file(folder / "data" / "more.txt") as path:
            more = path.read_text()
        names = sorted(each.name for each in folder.iterdir())
        return (
            folder.joinpath("text.txt").read_text(),
            pkgutil.get_data(__name__, "text.txt").decode(),
            more,
            names,
        )
    def late(self, name):
        import importlib
        return importlib.import_module(f"{__name__}.{name}").VALUE
"""


async def test_data_files_and_late_imports_are_those_that_were_judged(case):
    put(
        case.site,
        "geo",
        "1.0",
        files={
            "geo/__init__.py": PACKAGE,
            "geo/text.txt": "one",
            "geo/data/more.txt": "more",
            "geo/late.py": "VALUE = 1\n",
        },
    )
    async with case.host() as loader:
        await case.load(loader)
        for name in ("text.txt", "late.py", "data/more.txt"):
            (case.site / "geo" / name).write_text("raise SystemExit('unjudged')")
        (case.site / "geo" / "planted.py").write_text("raise SystemExit('unjudged')")
        (case.site / "geo" / "planted.txt").write_text("unjudged")
        expected = (
            "one",
            "one",
            "more",
            ["__init__.py", "data", "late.py", "text.txt"],
        )
        assert who(loader) == [expected]
        handler = loader.photons["geo"]
        assert handler.instance.late("late") == 1
        with pytest.raises(PhotonVerificationError, match=r"planted\.py"):
            handler.instance.late("planted")
        get_data = handler.generation.root.__loader__.get_data
        with pytest.raises(PhotonVerificationError, match=r"planted\.txt"):
            get_data(str(case.site / "geo" / "planted.txt"))
        with pytest.raises(FileNotFoundError):
            get_data(str(case.site / "geo" / "missing.txt"))
    # A changed data file is a change of the unit.
    (case.site / "geo" / "late.py").write_text("VALUE = 1\n")
    import shutil

    shutil.rmtree(case.root / "state")
    async with case.host() as loader:
        report = await case.load(loader)
        assert "was changed" not in str(report)
        assert not loader.photons


async def test_a_directory_is_unpinned_until_it_is_named(case):
    path = case.write("calc.py", photon_text("calc", "1"))
    async with case.host() as loader:
        await case.load(loader, case.photons)
        assert loader.photons["calc"].verdict.text == "unpinned"
        assert [e.photon for e in loader.events.journal if e.kind is EventKind.UNPINNED]
        path.write_text(photon_text("calc", "2"))
        await loader.reload_photons(["calc"])
        assert who(loader) == [("calc", "2")]
        found = luminal.discover(case.photons, group=None)
        from luminal.managers._locking import accept_units, find_units

        accept_units(loader.judge, [f.unit for f in find_units(loader.judge, found)])
        assert list(case.units) == ["plugins/calc.py"]
        path.write_text("# a comment\n" + photon_text("calc", "2"))
        await loader.reload_photons(["calc"])
        assert loader.photons["calc"].problem.code == "LUM109"
        assert who(loader) == [("calc", "2")]
        path.write_text(photon_text("calc", "2"))
        await loader.reload_photons(["calc"])
        assert loader.photons["calc"].verdict.text == "pinned"
    case.write_lock("frozen")
    async with case.host() as loader:
        report = await case.load(loader, case.photons)
        assert "does not list it" in report.failed[0].problem.why


async def test_a_package_is_judged_as_a_whole_before_its_first_line_runs(case):
    """Its second file is refused, and its first one has not run."""
    case.write("pack/__init__.py", "import sys\nsys.ran = True\nfrom .two import *\n")
    two = case.write("pack/two.py", photon_text("pack", "1"))
    found = luminal.discover(case.photons, group=None)
    from luminal.managers._locking import accept_units, find_units
    from luminal.trust import open_judge

    judge = open_judge(case.lock)
    accept_units(judge, [f.unit for f in find_units(judge, found)])
    assert list(case.units) == ["plugins/pack/"]
    async with case.host() as loader:
        await loader.load(found)
        assert sys.__dict__.pop("ran")
    two.write_text(photon_text("pack", "2"))
    async with case.host() as loader:
        report = await loader.load(luminal.discover(case.photons, group=None))
        assert "changed pack/two.py" in report.failed[0].problem.why
        assert not hasattr(sys, "ran")


async def test_helpers_are_pinned_by_themselves(case):
    case.write("helper.py", "VALUE = 1\n")
    head = "import helper\ntry:\n    import helper\nexcept ImportError:\n    pass\n"
    case.write("calc.py", head + photon_text("calc", "1"))
    from luminal.managers._locking import accept_units, find_units
    from luminal.trust import open_judge

    judge = open_judge(case.lock)
    found = luminal.discover(case.photons, group=None)
    accept_units(judge, [f.unit for f in find_units(judge, found, [str(case.photons)])])
    assert list(case.units) == ["plugins/calc.py", "plugins/helper.py"]
    case.write("helper.py", "VALUE = 2\n")
    async with case.host() as loader:
        report = await loader.load(luminal.discover(case.photons, group=None))
        assert "plugins/helper.py" in report.failed[0].problem.what


@pytest.mark.parametrize("mode", ["pin", "frozen"])
async def test_compiled_modules_are_refused_unless_they_are_pinned(case, mode):
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    case.write("calc/__init__.py", "from . import fast\n" + photon_text("calc", "1"))
    (case.photons / "calc" / f"fast{suffix}").write_bytes(b"\x7fELF")
    async with case.host(lock=case.lock) as loader:
        report = await loader.load(luminal.discover(case.photons, group=None))
        assert "compiled code that the lock does not list" in str(report)


async def test_modes_are_raised_and_never_lowered(case, monkeypatch):
    put(case.site, "geo", "1.0")
    monkeypatch.setenv("LUMINAL_LOCK", "frozen")
    async with case.host() as loader:
        report = await case.load(loader)
        assert "'frozen'" in report.failed[0].problem.why
    async with case.host(lock="off") as loader:
        assert (await case.load(loader)).failed
    monkeypatch.setenv("LUMINAL_LOCK", "off")
    case.write_lock("frozen")
    async with case.host() as loader:
        assert (await case.load(loader)).failed
    monkeypatch.setenv("LUMINAL_LOCK", "sealed")
    with pytest.raises(LockFileError, match="no such mode"):
        luminal.Loader(lock=case.lock)
    monkeypatch.delenv("LUMINAL_LOCK")
    with pytest.raises(LockFileError, match="there is no lock"):
        luminal.Loader(lock=case.root / "other.lock")
    # Without a file and without a word of it, nothing of this is there.
    monkeypatch.chdir(case.site)
    assert luminal.Loader().judge is None
    monkeypatch.chdir(case.root)
    assert luminal.Loader().judge is not None
    assert luminal.Loader(lock="off").judge is None


async def test_a_lock_that_cannot_be_read_lets_nothing_new_run(case):
    put(case.site, "geo", "1.0")
    async with case.host() as loader:
        await case.load(loader)
        case.lock.write_text("<<<<<<< ours\n" + case.lock.read_text())
        put(case.site, "geo", "2.0")
        await loader.reload_photons(["geo"])
        problem = loader.photons["geo"].problem
        assert (problem.code, problem.line) == ("LUM131", 1)
        assert who(loader) == [("geo", "1.0")]
    with pytest.raises(LuminalError, match="conflict"):
        luminal.Loader(lock=case.lock)


@pytest.mark.parametrize("name", ["helper.py", "helper/__init__.py"])
async def test_a_module_that_hides_one_that_is_listed_is_refused(
    case, monkeypatch, name
):
    from tests.trust.test_trust_ways import lock_all

    monkeypatch.delattr(sys, "planted", raising=False)
    case.write(name, "VALUE = 'judged'\n")
    text = photon_text("calc", "1").replace("'1'", "VALUE")
    case.write("calc.py", "from .helper import VALUE\n" + text)
    lock_all(case)
    other = {"helper.py": "helper/__init__.py"}.get(name, "helper.py")
    case.write(other, "import sys\nsys.planted = 'ran'\nVALUE = 'planted'\n")
    async with case.host() as loader:
        report = await case.load(loader, case.photons)
        if name == "helper.py":  # a package hides a module
            problem = report.failed[0].problem
            assert "hides 'plugins/helper.py', which the lock lists" in problem.why
            assert "luminal lock accept plugins/helper/" in problem.hint
        else:
            assert who(loader) == [("calc", "judged")]
    assert not hasattr(sys, "planted")
    lock_all(case)
    async with case.host() as loader:
        await case.load(loader, case.photons)
        value = "planted" if name == "helper.py" else "judged"
        assert who(loader) == [("calc", value)]
