"""What a photon uses, and the host has imported before it changed on disk, is named."""

from __future__ import annotations

import asyncio
import importlib
import os
import shutil
import sys
from pathlib import Path

import pytest

from luminal.model import EventKind
from tests.reload.conftest import Host
from tests.reload.test_reload_roots import PHOTON, write


@pytest.fixture
def app(tmp_path, monkeypatch):
    """A directory on ``sys.path``, as that of a program is."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("utils", "bridgelib", "cogs"):
            del sys.modules[name]


def install(
    site: Path, name: str, version: str, package: str = "", **files: str
) -> None:
    """Install a library as pip does, in place of an earlier version."""
    for known in site.glob(f"{name}-*.dist-info"):
        for row in (known / "RECORD").read_text().splitlines():
            (site / row.partition(",")[0]).unlink(missing_ok=True)
        shutil.rmtree(known)
    package = package or name
    for leaf, text in files.items():
        write(site / package / f"{leaf}.py", text)
    info = site / f"{name}-{version}.dist-info"
    rows = [*(f"{package}/{leaf}.py,," for leaf in files), f"{info.name}/RECORD,,"]
    write(
        info / "METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    )
    write(info / "RECORD", "\n".join(rows) + "\n")
    importlib.invalidate_caches()


def warnings_after(photon: Path, change, **options) -> list[str]:
    """Run a photon, make a *change*, reload it; return the warnings of the report."""

    async def go():
        async with Host(suppress_errors=True, **options) as host:
            await host.run(photon)
            await host.reload_photon(photon)
            assert not [o.warnings for o in host.report if o.warnings]
            change()
            await host.reload_photon(photon)
            found = [w for outcome in host.report for w in outcome.warnings]
            events = host.happened(EventKind.OUTDATED)
            assert [e.problem for e in events] == found
            await host.reload_photon(photon)
            assert [w for o in host.report for w in o.warnings] == found
            return [f"{w.file}: {w.why}; {w.hint}" for w in found]

    return asyncio.run(go())


IN_CALL = """
from luminal import IPhoton, hookimpl
class Greet(IPhoton):
    @hookimpl
    def who(self):
        from utils import text
        return text.X
"""


def test_a_file_that_is_imported_inside_of_a_hook_is_named(app):
    file = write(app / "utils" / "text.py", "X = 1\n")
    photon = write(app / "cogs" / "greet.py", IN_CALL)

    async def go():
        async with Host() as host:
            await host.run(photon)
            assert host.answers() == [1]
            write(file, "X = 22\n")
            await host.reload_photon(photon)
            return [w.why for outcome in host.report for w in outcome.warnings]

    [why] = asyncio.run(go())
    assert "text.py has changed" in why


LINES = {
    "from": "from utils.text import X as x",
    "plain": "import utils.text\nx = utils.text.X",
    "package": "from utils import text\nx = text.X",
    "import_module": "import importlib\nx = importlib.import_module('utils.text').X",
    "helper": "from .helper import X as x",
}


@pytest.mark.parametrize("line", LINES.values(), ids=LINES.keys())
def test_a_changed_file_of_nobody_is_named_with_the_remedy(app, line):
    file = write(app / "utils" / "text.py", "X = 1\n")
    write(app / "cogs" / "helper.py", "from utils.text import X\n")
    photon = write(app / "cogs" / "greet.py", PHOTON.format(line))
    [warning] = warnings_after(photon, lambda: write(file, "X = 22\n"))
    assert warning.startswith(f"{file}: ")
    for word in ("text.py has changed", "belongs to no photon", "roots=", "restart"):
        assert word in warning


def test_a_file_that_was_only_touched_is_not_named(app):
    file = write(app / "utils" / "text.py", "X = 1\n")
    photon = write(app / "cogs" / "greet.py", PHOTON.format(LINES["from"]))
    assert warnings_after(photon, lambda: os.utime(file)) == []


def test_a_file_of_nobody_that_was_deleted_is_named(app):
    file = write(app / "utils" / "text.py", "X = 1\n")
    photon = write(app / "cogs" / "greet.py", PHOTON.format(LINES["from"]))
    [warning] = warnings_after(photon, file.unlink)
    assert "text.py is gone" in warning


def test_an_upgraded_library_is_named_with_both_versions(app):
    install(app, "bridgelib", "1.0", __init__="X = 1\n", core="Y = 1\n")
    photon = write(
        app / "cogs" / "greet.py",
        PHOTON.format("from bridgelib import X as x\nfrom bridgelib.core import Y"),
    )
    [warning] = warnings_after(
        photon,
        lambda: install(app, "bridgelib", "2.0", __init__="X = 22\n", core="Y = 22\n"),
    )
    assert "bridgelib 1.0 is imported, 2.0 is installed" in warning
    assert "restart the host" in warning
    assert "owns" in warning


def test_an_uninstalled_library_is_named(app):
    install(app, "bridgelib", "1.0", __init__="X = 1\n")
    photon = write(
        app / "cogs" / "greet.py", PHOTON.format("from bridgelib import X as x")
    )

    def uninstall():
        shutil.rmtree(app / "bridgelib")
        shutil.rmtree(app / "bridgelib-1.0.dist-info")

    [warning] = warnings_after(photon, uninstall)
    assert "bridgelib 1.0 is imported, and is not installed any more" in warning


def test_a_rejected_reload_names_the_library_as_well(app):
    install(app, "bridgelib", "1.0", __init__="X = 1\n")
    photon = write(
        app / "cogs" / "greet.py", PHOTON.format("from bridgelib import X as x")
    )

    def upgrade():
        install(app, "bridgelib", "2.0", __init__="X = 22\nNEW = 3\n")
        write(photon, PHOTON.format("from bridgelib import NEW as x"))

    [warning] = warnings_after(photon, upgrade)
    assert "bridgelib 1.0 is imported, 2.0 is installed" in warning


@pytest.mark.parametrize("module", ["cogs.text", "cogs.greet"])
def test_a_module_that_the_host_imported_too_gets_a_warning(app, module):
    write(app / "cogs" / "text.py", "X = 1\n")
    photon = write(app / "cogs" / "greet.py", PHOTON.format("from .text import X as x"))

    async def go():
        async with Host() as host:
            await host.run(photon)
            await host.reload_photon(photon)
            assert not [w for o in host.report for w in o.warnings]
            importlib.import_module(module)
            await host.reload_photon(photon)
            reloaded = [w for o in host.report for w in o.warnings]
        async with Host() as host:
            await host.run(photon)
            loaded = [w for o in host.report for w in o.warnings]
        return reloaded, loaded

    reloaded, loaded = asyncio.run(go())
    assert loaded == reloaded
    file = str(app / f"{module.replace('.', '/')}.py")
    [warning] = [w for w in loaded if w.file == file]
    assert repr(module) in warning.why


def test_the_watch_logs_what_is_outdated(app, caplog):
    file = write(app / "utils" / "text.py", "X = 1\n")
    photon = write(app / "cogs" / "greet.py", PHOTON.format(LINES["from"]))
    caplog.set_level("WARNING", "luminal.watch")

    async def go():
        async with Host() as host:
            await host.watch_photons(photon.parent)
            await host.until(lambda: host.answers() == [1])
            write(file, "X = 22\n")
            write(photon, PHOTON.format(LINES["plain"]))
            await host.until(lambda: host.happened(EventKind.OUTDATED))
            await host.until(lambda: "belongs to no photon" in caplog.text)

    asyncio.run(go())
