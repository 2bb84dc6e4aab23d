"""A file that is put into a judged package while a module of its name is looked for.

The attacker is a finder behind Luminal's: it is asked when Luminal has found nothing,
and writes the module before the interpreter's own finder looks at the disk.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import py_compile
import sys

import pytest

import luminal
from luminal.discovery import pack
from tests.distributions import photon_text, put

pytestmark = pytest.mark.anyio

LATE = """
    def late(self, name):
        from importlib import import_module
        return import_module("." + name, __package__)
"""


class Attacker:
    """Writes a module of the name that is looked for."""

    def __init__(self, folder, kind):
        self.folder, self.kind, self.asked = folder, kind, []

    def find_spec(self, fullname, path=None, target=None):
        leaf = fullname.rpartition(".")[2]
        if leaf.startswith("planted"):
            self.asked.append(fullname)
            text = "import sys\nsys.modules['planted_ran'] = sys\n"
            if self.kind == "package":
                (self.folder / leaf).mkdir(exist_ok=True)
                (self.folder / leaf / "__init__.py").write_text(text)
            elif self.kind == "compiled":
                source = self.folder.parent / "source.txt"
                source.write_text(text)
                py_compile.compile(str(source), str(self.folder / f"{leaf}.pyc"))
            else:
                (self.folder / f"{leaf}.py").write_text(text)
            importlib.invalidate_caches()


def statement(fullname):
    exec(f"import {fullname}", {"__name__": "host"})


WAYS = {
    "photon": lambda handler, name: handler.instance.late(name),
    "import_module": lambda _, name: importlib.import_module(f"geo.{name}"),
    "statement": lambda _, name: statement(f"geo.{name}"),
}


@pytest.mark.parametrize("kind", ["module", "package", "compiled"])
async def test_a_module_that_appears_while_it_is_looked_for_is_not_executed(
    tmp_path, monkeypatch, kind
):
    text = photon_text("geo", "1.0") + LATE
    put(tmp_path, "geo", "1.0", files={"geo/__init__.py": text, "geo/deep.py": ""})
    monkeypatch.syspath_prepend(tmp_path)
    lock = tmp_path / "luminal.lock"
    lock.write_text('version = 1\nmode = "pin"\n')
    attacker = Attacker(tmp_path / "geo", kind)
    async with luminal.Loader(lock=lock) as loader:
        await loader.load(luminal.discover(path=[tmp_path], index=False))
        await loader.start()
        monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
        sys.meta_path.insert(1, attacker)
        for number, way in enumerate(WAYS.values()):
            with pytest.raises(ModuleNotFoundError):
                way(loader.photons["geo"], f"planted{number}")
        assert "planted_ran" not in sys.modules
        assert len(attacker.asked) == len(WAYS)
        # Who only asks is told that there is none, and what is there is listed.
        assert importlib.util.find_spec("geo.planted_none") is None
        names = [
            each.name for each in pkgutil.iter_modules(sys.modules["geo"].__path__)
        ]
        assert "deep" in names
        assert importlib.import_module("geo.deep").__name__ == "geo.deep"
        sys.meta_path.remove(attacker)
    # Where no lock is in force any more, the directory is one as all others.
    for name in [n for n in sys.modules if n.partition(".")[0] == "geo"]:
        del sys.modules[name]
    put(tmp_path, "geo", "1.0", files={"geo/__init__.py": "", "geo/later.py": "A = 1"})
    importlib.invalidate_caches()
    assert importlib.import_module("geo.later").A == 1
    for name in ("geo", "geo.later"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("is_locked", [True, False])
async def test_a_module_of_an_exchanged_bundle_is_not_executed(tmp_path, is_locked):
    folder, plugins = tmp_path / "geo", tmp_path / "plugins"
    folder.mkdir()
    plugins.mkdir()
    (folder / "__init__.py").write_text(photon_text("geo", "1.0") + LATE)
    bundle, lock = plugins / "geo.photon", tmp_path / "luminal.lock"
    bundle.write_bytes(pack(folder, version="1.0").data())
    lock.write_text('version = 1\nmode = "pin"\n')
    async with luminal.Loader(lock=lock if is_locked else "off") as loader:
        await loader.load(luminal.discover(plugins, group=None, index=False))
        await loader.start()
        (folder / "planted.py").write_text(
            "import sys\nsys.modules['planted_ran'] = sys"
        )
        bundle.write_bytes(pack(folder, version="2.0").data())
        for way in WAYS.values():
            with pytest.raises(ModuleNotFoundError):
                way(loader.photons["geo"], "planted")
        assert "planted_ran" not in sys.modules
