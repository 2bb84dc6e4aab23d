"""A library that a photon declares as its own is a part of it."""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import os
import pickle
import subprocess
import sys
import weakref
import zipfile
from pathlib import Path

import pytest

from benchmarks.upgrades import _digest, make_environment
from luminal import discover
from luminal.errors import LuminalError
from tests.reload.conftest import Host
from tests.reload.test_reload_outdated import app, install  # noqa: F401 - a fixture
from tests.reload.test_reload_roots import PHOTON, write
from tests.waiting import DEADLINE

OWNER = """
from luminal import IPhoton, hookimpl
{}
class {}(IPhoton):
    photon_owns = ["bridge-lib"]
    @hookimpl
    def who(self):
        return x
"""
FORMS = {
    "from": "from bridgelib import X as x",
    "from below": "from bridgelib.core import Y as x",
    "plain": "import bridgelib.core\nx = bridgelib.core.Y",
    "as": "import bridgelib.core as c\nx = c.Y",
    "import_module": "import importlib as i\nx = i.import_module('bridgelib.core').Y",
    "resources": (
        "import importlib.resources as r\n"
        "x = int(r.files('bridgelib').joinpath('core.py').read_text().split()[-1])"
    ),
}


def library(site, number: int) -> None:
    """Install ``bridge-lib``, whose modules import each other in all ways."""
    install(
        site,
        "bridge_lib",
        f"{number}.0",
        package="bridgelib",
        __init__=(
            "from .core import Y\nimport bridgelib.core\nimport importlib\n"
            "assert importlib.import_module('bridgelib.core') is bridgelib.core\n"
            "assert importlib.import_module('.core', __name__).Y == Y\n"
            "X = bridgelib.core.Y\n"
        ),
        core=f"class C: pass\nY = {number}\n",
        late=f"Z = {number}\n",
    )


@pytest.mark.parametrize("line", FORMS.values(), ids=FORMS.keys())
def test_it_is_renewed_with_the_photon_and_private_to_it(app, line):  # noqa: F811
    library(app, 1)
    host_copy = importlib.import_module("bridgelib")
    photon = write(app / "cogs" / "greet.py", OWNER.format(line, "Greet"))

    async def go():
        async with Host() as host:
            await host.run(photon)
            answers = host.answers()
            library(app, 2)
            await host.reload_photon(photon)
            assert not [w for o in host.report for w in o.warnings]
            assert sys.modules["bridgelib"] is host_copy
            assert host_copy.X == 1
            return answers + host.answers()

    assert asyncio.run(go()) == [1, 2]
    assert not [name for name in sys.modules if "._owned." in name]


def test_two_owners_have_a_copy_each_and_the_host_has_none(app):  # noqa: F811
    library(app, 1)
    line = "from bridgelib.core import C as x"
    one = write(app / "cogs" / "one.py", OWNER.format(line, "One"))
    two = write(app / "cogs" / "two.py", OWNER.format(line, "Two"))

    async def go():
        async with Host() as host:
            await host.run(one, two)
            first, second = host.answers()
            assert first is not second
            assert "bridgelib" not in sys.modules
            assert pickle.loads(pickle.dumps(first)) is first

    asyncio.run(go())


def test_old_code_keeps_the_old_library(app):  # noqa: F811
    library(app, 1)
    text = OWNER.format("import bridgelib", "Greet").replace(
        "return x", "return lambda: __import__('bridgelib.late', fromlist=['Z']).Z"
    )
    photon = write(app / "cogs" / "greet.py", text)

    async def go():
        async with Host() as host:
            await host.run(photon)
            [old] = host.answers()
            library(app, 2)
            await host.reload_photon(photon)
            [new] = host.answers()
            return old(), new()

    assert asyncio.run(go()) == (1, 2)


def test_it_is_freed_with_the_photon(app):  # noqa: F811
    library(app, 1)
    line = "from bridgelib.core import C as x"
    photon = write(app / "cogs" / "greet.py", OWNER.format(line, "Greet"))

    async def go():
        async with Host() as host:
            await host.run(photon)
            [kept] = map(weakref.ref, host.answers())
            await host.reload_photon(photon)
            await host.until(lambda: gc.collect() and kept() is None)
            [kept] = map(weakref.ref, host.answers())
            await host.unload_photon(photon)
        gc.collect()
        assert kept() is None

    asyncio.run(go())


def test_a_package_declares_it_in_its_pyproject(app):  # noqa: F811
    library(app, 1)
    package = app / "cogs" / "greet"
    write(package / "__init__.py", PHOTON.format("from bridgelib import X as x"))
    write(package / "pyproject.toml", '[tool.luminal]\nowns = ["bridge-lib"]\n')
    [found] = discover(app / "cogs", group=None, index=False)
    assert found.owns == ("bridge-lib",)

    async def go():
        async with Host() as host:
            await host.run(package / "__init__.py")
            library(app, 2)
            await host.reload_photon("Greet")
            return host.answers()

    assert asyncio.run(go()) == [2]
    assert "bridgelib" not in sys.modules


@pytest.mark.filterwarnings("ignore::luminal.errors.LuminalWarning")  # of a wrong type
@pytest.mark.parametrize(
    ("owns", "words"),
    [
        ("['nolib']", ["owns 'nolib'", "not installed"]),
        ("[1]", ["photon_owns is not a literal list"]),
        ("[name for name in ()]", ["photon_owns is not a literal list"]),
        ("['compiled']", ["owns 'compiled'", "compiled modules", "restart the host"]),
    ],
)
def test_what_cannot_be_owned_is_refused_by_name(app, owns, words):  # noqa: F811
    install(app, "compiled", "1.0", __init__="")
    record = app / "compiled-1.0.dist-info" / "RECORD"
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    record.write_text(record.read_text() + f"compiled/fast{suffix},,\n")
    text = OWNER.format("x = 1", "Greet").replace('["bridge-lib"]', owns)
    photon = write(app / "cogs" / "greet.py", text)

    async def go():
        async with Host() as host:
            await host.run(photon)

    with pytest.raises(LuminalError) as caught:
        asyncio.run(go())
    for word in words:
        assert word in str(caught.value)


GEO = """
from luminal import IPhoton
import bridgelib
class Geo(IPhoton):
    photon_name = "geo"
    photon_owns = {owns!r}
    def versions(self):
        return [{version!r}, bridgelib.VERSION]
"""
MAIN = """
import asyncio, json, subprocess, sys, luminal

def install(*wheels):
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-index",
        "--no-deps", "--upgrade", *wheels], check=True)

async def main(geo, bridgelib, last, watches):
    async with luminal.Loader() as loader:
        await loader.load(luminal.discover())
        await loader.start()
        handler = loader.photons["geo"]
        seen = [handler.instance.versions()]
        if watches:
            await loader.watch_distributions()
        await asyncio.to_thread(install, bridgelib, geo)
        if watches:
            while handler.instance.versions() != ["2.0", "2.0"]:
                await asyncio.sleep(0.01)
            await asyncio.to_thread(install, last)
            while handler.instance.versions() != ["2.0", "3.0"]:
                await asyncio.sleep(0.01)
        else:
            await loader.reload_photon("geo")
        seen.append(handler.instance.versions())
        seen.append([w.why for o in loader.report for w in o.warnings])
        seen.append("bridgelib" in sys.modules)
    print(json.dumps(seen))

asyncio.run(main(*sys.argv[1:4], watches=sys.argv[4] == "watch"))
"""


def build(directory: Path, name: str, version: str, text: str) -> Path:
    """Write a wheel of one package; return its path."""
    info = f"{name}-{version}.dist-info"
    texts = {
        f"{name}/__init__.py": text,
        f"{info}/METADATA": (
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        ),
        f"{info}/WHEEL": (
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\n"
            "Tag: py3-none-any\n"
        ),
    }
    if name == "geo":
        texts[f"{info}/entry_points.txt"] = "[luminal.photons]\ngeo = geo:Geo\n"
    rows = [f"{path},{_digest(each)}\n" for path, each in texts.items()]
    texts[f"{info}/RECORD"] = "".join([*rows, f"{info}/RECORD,,\n"])
    wheel = directory / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, each in texts.items():
            archive.writestr(path, each)
    return wheel


@pytest.mark.slow
@pytest.mark.parametrize("how", ["reload", "owned, reload", "owned, watch"])
def test_pip_upgrades_a_photon_and_its_library(tmp_path: Path, how: str) -> None:
    owns = ["bridgelib"] if how.startswith("owned") else []
    geo1, geo2 = (
        build(tmp_path, "geo", v, GEO.format(version=v, owns=owns))
        for v in ("1.0", "2.0")
    )
    one, two, three = (
        build(tmp_path, "bridgelib", v, f"VERSION = {v!r}\n")
        for v in ("1.0", "2.0", "3.0")
    )
    python = make_environment(tmp_path / "environment")
    pip = [python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*pip, geo1, one], check=True)
    done = subprocess.run(
        [python, "-c", MAIN, geo2, two, three, how.rpartition(" ")[2]],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        timeout=DEADLINE,
        env={**os.environ, "LUMINAL_CACHE_DIR": str(tmp_path / "cache")},
    )
    before, after, warnings, is_public = json.loads(done.stdout)
    assert before == ["1.0", "1.0"]
    if not owns:
        assert after == ["2.0", "1.0"]
        assert warnings == ["bridgelib 1.0 is imported, 2.0 is installed"]
    else:
        assert after == ["2.0", "3.0" if how.endswith("watch") else "2.0"]
        assert not warnings
        assert not is_public
