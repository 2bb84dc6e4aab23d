"""Others replace ``builtins.__import__`` as well, for a while, before and after."""

from __future__ import annotations

import builtins
import contextlib
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import luminal.blocking
from tests.waiting import DEADLINE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PHOTON = """
import json
import luminal

class Importing(luminal.IPhoton):
    @luminal.hookimpl
    def late(self):
        from helper_of_it import VALUE
        import xml.sax.saxutils
        return VALUE
"""


class Temporary:
    """An ``__import__`` of the make that libraries use: save, put, restore."""

    def __init__(self, checks: bool) -> None:
        self.checks = checks
        self.calls = 0
        self.previous: Any = None

    def call(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        return self.previous(*args, **kwargs)

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        self.previous = builtins.__import__
        mine = builtins.__import__ = self.call
        try:
            yield
        finally:
            # Some put back what was there, some only if nobody came after them.
            if not self.checks or builtins.__import__ is mine:
                builtins.__import__ = self.previous


class Lazy:
    """The library that others use for this."""

    def __init__(self) -> None:
        self.active = pytest.importorskip("lazy_importer").lazy_importer


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "importing.py").write_text(PHOTON)
    (tmp_path / "helper_of_it.py").write_text("VALUE = 1\n")
    before = builtins.__import__
    yield tmp_path / "importing.py"
    builtins.__import__ = before


def check(loader: luminal.blocking.Loader, hook: Any) -> None:
    """All of them import, with the other hook and without it."""
    assert loader.hook.late() == [1]
    __import__("xml.sax.saxutils")
    with hook.active():
        __import__("xml.sax.saxutils")
        assert loader.hook.late() == [1]
    assert loader.hook.late() == [1]


def load(path: Path) -> luminal.blocking.Loader:
    loader = luminal.blocking.Loader()
    loader.load_photon(path).start()
    return loader


@pytest.mark.parametrize(
    "order", ["load within", "load before", "unload within", "reload within", "all"]
)
@pytest.mark.parametrize("kind", ["putting back", "checking", "lazy_importer"])
def test_a_temporary_hook_and_ours_never_call_each_other_for_ever(
    path: Path, kind: str, order: str
) -> None:
    hook: Any = Lazy() if kind == "lazy_importer" else Temporary(kind == "checking")
    if kind == "putting back" and order in ("load within", "all"):
        order = "load before"  # it would remove ours, until the next load or reload
    for _ in range(3):
        if order in ("load within", "all"):
            with hook.active():
                loader = load(path)
                assert loader.hook.late() == [1]
        else:
            loader = load(path)
        check(loader, hook)
        if order in ("reload within", "all"):
            with hook.active():
                path.write_text(path.read_text() + "\nMORE = 1\n")
                loader.reload_photon("Importing")
        check(loader, hook)
        if order in ("unload within", "all"):
            with hook.active():
                loader.close()
        else:
            loader.close()
        with hook.active():
            __import__("xml.sax.saxutils")
        __import__("xml.sax.saxutils")


def test_layers_do_not_grow(path: Path) -> None:
    hook = Temporary(True)
    for _ in range(3):
        with hook.active():
            load(path).close()
    with hook.active():
        hook.calls = 0
        __import__("json")
        assert hook.calls <= 2


HOST = """
import sys
from lazy_importer import lazy_importer
import luminal.blocking
with lazy_importer():
    loader = luminal.blocking.Loader()
    loader.load_photon(sys.argv[1]).start()
import anyio
import importlib_metadata
with lazy_importer():
    import xml.dom.minidom
assert loader.hook.late() == [1]
loader.close()
with lazy_importer():
    import wsgiref.util
import importlib_metadata.diagnose
"""


def test_the_library_that_uses_it_is_imported_after_the_first_photon(
    path: Path,
) -> None:
    pytest.importorskip("lazy_importer")
    command = [sys.executable, "-c", HOST, str(path)]
    subprocess.run(command, check=True, timeout=DEADLINE)


def test_hooks_that_come_and_go_add_no_layers(path: Path) -> None:
    """Each puts back one of ours; photons are loaded within and after."""
    path.with_name("deep.py").write_text(
        "import sys\ndepth, frame = 0, sys._getframe()\n"
        "while frame := frame.f_back: depth += 1\n"
    )
    depths = []
    with luminal.blocking.Loader() as loader:
        loader.load_photon(path).start()
        for number in range(5):
            within, after = (path.with_name(f"{name}{number}.py") for name in "wa")
            for file in (within, after):
                file.write_text(PHOTON.replace("Importing", file.stem))
            with Temporary(checks=False).active():
                loader.load_photon(within).start()
            loader.load_photon(after).start()
            sys.modules.pop("deep", None)
            sys.path.insert(0, str(path.parent))
            try:
                import deep  # type: ignore[import-not-found]
            finally:
                sys.path.remove(str(path.parent))
            depths.append(deep.depth)
    sys.modules.pop("deep", None)
    assert len({*depths[1:]}) == 1, depths
