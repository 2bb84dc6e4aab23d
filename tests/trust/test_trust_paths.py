"""A photon with a folder of its own on ``sys.path``: what is imported was judged."""

from __future__ import annotations

import importlib
import os
import sys
import zipfile

import pytest

from tests.trust.test_trust_gate import Case, who
from tests.trust.test_trust_ways import lock_all

pytestmark = pytest.mark.anyio

PACK = """\
import os, sys
from luminal import IPhoton, hookimpl
PLACE = {place}
sys.path.insert(0, PLACE)
class Calc(IPhoton):
    photon_name = "calc"
    @hookimpl
    def who(self):
        import importlib, importlib.resources, vendored_one
        from vendored_two import inner
        from vendored_space.deep import VALUE
        data = importlib.resources.files("vendored_two").joinpath("data.txt")
        return vendored_one.VALUE, inner.VALUE, VALUE, data.read_text()
    def late(self, name):
        import importlib
        return importlib.import_module(name).VALUE
"""
HERE = "os.path.join(os.path.dirname(__file__), 'vendor')"
JUDGED = {
    "vendored_one.py": "VALUE = 'judged'\n",
    "vendored_two/__init__.py": "",
    "vendored_two/inner.py": "VALUE = 'judged'\n",
    "vendored_two/data.txt": "judged",
    "vendored_space/deep.py": "VALUE = 'judged'\n",
}
EVIL = "import sys\nsys.planted = 'ran'\nVALUE = 'unjudged'\n"


@pytest.fixture
def case(tmp_path, monkeypatch):
    case = Case(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "path_hooks", [*sys.path_hooks])
    monkeypatch.delattr(sys, "planted", raising=False)
    before = set(sys.modules)
    yield case
    for name in {*sys.modules} - before:
        if name.startswith(("vendored", "planted")):
            del sys.modules[name]


def write(case, place=HERE):
    case.write("pack/__init__.py", PACK.format(place=place))
    for name, text in JUDGED.items():
        case.write(f"pack/vendor/{name}", text)
    lock_all(case)


async def use(case, loader, exchange):
    await case.load(loader, case.photons)
    exchange()
    importlib.invalidate_caches()
    return loader.photons["calc"].instance.late


def overwrite(case):
    """Exchange every file that the photon is about to import, and add others."""
    for name in JUDGED:
        case.write(f"pack/vendor/{name}", EVIL)
    case.write("pack/vendor/planted_module.py", EVIL)
    case.write("pack/vendor/planted_package/__init__.py", EVIL)
    with zipfile.ZipFile(case.photons / "pack" / "vendor" / "a.zip", "w") as archive:
        archive.writestr("planted_zip.py", EVIL)


@pytest.mark.parametrize(
    "place",
    [
        HERE,
        "os.path.realpath(" + HERE + ")",
        "os.path.join(os.path.dirname(__file__), '..', 'pack', 'vendor')",
        "os.path.relpath(" + HERE + ")",
    ],
)
async def test_a_folder_on_the_path_has_the_files_that_were_judged(case, place):
    write(case, place)
    # The interpreter has looked into it before anything was judged.
    importlib.util.find_spec("vendored_missing")
    sys.path_importer_cache[str(case.photons / "pack" / "vendor")] = (
        importlib.machinery.FileFinder(
            str(case.photons / "pack" / "vendor"),
            (importlib.machinery.SourceFileLoader, [".py"]),
        )
    )
    async with case.host() as loader:
        late = await use(case, loader, lambda: overwrite(case))
        assert who(loader) == [("judged", "judged", "judged", "judged")]
        for name in ("planted_module", "planted_package"):
            with pytest.raises(ModuleNotFoundError):
                late(name)
        sys.path.insert(0, str(case.photons / "pack" / "vendor" / "a.zip"))
        with pytest.raises(ModuleNotFoundError):
            late("planted_zip")
    assert not hasattr(sys, "planted")
    # What is judged no more is imported as ever.
    assert importlib.import_module("planted_module").VALUE == "unjudged"


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege")
async def test_a_link_that_is_exchanged_leads_to_nothing_else(case):
    write(case)
    (case.photons / "pack").rename(case.root / "one")
    (case.photons / "pack").symlink_to(case.root / "one")
    lock_all(case)

    def exchange():
        other = case.root / "two" / "vendor"
        other.mkdir(parents=True)
        for name in ("vendored_one.py", "planted_module.py"):
            (other / name).write_text(EVIL)
        (case.photons / "pack").unlink()
        (case.photons / "pack").symlink_to(case.root / "two")

    async with case.host() as loader:
        late = await use(case, loader, exchange)
        assert late("vendored_one") == "judged"
        with pytest.raises(ModuleNotFoundError):
            late("planted_module")
    assert not hasattr(sys, "planted")


async def test_without_a_lock_nothing_stands_for_a_folder(case):
    write(case)
    async with case.host(lock="off") as loader:
        late = await use(case, loader, lambda: overwrite(case))
        assert late("planted_module") == "unjudged"
        assert not any("luminal" in str(hook) for hook in sys.path_hooks)
