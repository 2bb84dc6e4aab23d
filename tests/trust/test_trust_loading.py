"""Photons are packed, found, loaded from memory, and swapped as bundles."""

from __future__ import annotations

import gc
import inspect
import io
import multiprocessing
import os
import pickle
import shutil
import sys
import tempfile
import threading
import traceback
import weakref
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luminal import discover
from luminal.discovery import pack
from luminal.errors import (
    LuminalError,
    LuminalWarning,
    PhotonConflictError,
    PhotonVerificationError,
)
from luminal.managers import Loader
from luminal.model import Source
from luminal.trust import host_key_path, open_bundle, seal
from tests.distributions import photon_text, put
from tests.waiting import async_wait_until

WEATHER = {
    "__init__.py": '''\
"""Weather."""
import weather.text
from importlib import resources
from luminal import IPhoton, hookimpl
from . import deep
from .deep.model import Model
VERSION = "@1"

class Weather(IPhoton):
    photon_version = "1.0"
    photon_author = "Anna"
    photon_description = "Says how the weather is"
    photon_tags = ["sky"]

    def start(self):
        self.context.data.setdefault("starts", []).append(VERSION)

    @hookimpl
    def who(self):
        return VERSION, weather.text.WORD, list(self.context.data["starts"])

    @hookimpl
    def late(self):
        from .deep.late import NAME
        from weather import later
        return NAME, later.__name__, __file__

    @hookimpl
    def data(self):
        import pkgutil
        folder = resources.files("weather")
        with resources.as_file(folder / "data" / "city.txt") as path:
            on_disk = path.read_text()
        return [
            folder.joinpath("data/city.txt").read_text(encoding="utf-8"),
            resources.files(__package__).joinpath("data", "city.txt").read_bytes(),
            sorted(each.name for each in folder.iterdir()),
            pkgutil.get_data("weather", "data/city.txt"),
            pkgutil.get_data(__name__, "data/city.txt"),
            resources.files(deep).joinpath("note.txt").open().read(),
            (folder / "none.txt").is_file(), (folder / "data").is_dir(),
            on_disk, resources.files("weather.data").joinpath("city.txt").read_text(),
        ]

    @hookimpl
    def fail(self):
        raise ValueError("@1")  # the line of @1

    @hookimpl
    def model(self):
        return Model(3)
''',
    "text.py": 'WORD = "sunny @1"\n',
    "later.py": "",
    "deep/__init__.py": "",
    "deep/model.py": "from .. import text\nclass Model:\n"
    "    def __init__(self, n): self.n = n\n",
    "deep/late.py": "NAME = __name__\n",
    "deep/note.txt": "note\n",
    "data/city.txt": "Bonn @1\n",
}


def write(folder: Path, files=WEATHER, version="1"):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            text.replace("@1", f"v{version}").replace("1.0", f"{version}.0")
        )
    return folder


def packed(place: Path, version="1", files=WEATHER, name="weather", **more) -> bytes:
    folder = place / f"source{version}" / name
    shutil.rmtree(folder, ignore_errors=True)
    return pack(write(folder, files, version), **more).data()


@pytest.fixture
def photons(tmp_path):
    folder = tmp_path / "photons"
    folder.mkdir()
    return folder


def call(loader, hook):
    [answer] = getattr(loader.hook, hook)()
    return answer


def test_packing_is_deterministic(tmp_path):
    one, other = packed(tmp_path / "a"), packed(tmp_path / "b")
    assert one == other


def test_discovery_reads_the_manifest(tmp_path, photons):
    path = photons / "weather.photon"
    path.write_bytes(packed(tmp_path))
    for _ in range(2):  # by the index the second time
        [found] = discover(photons, group=None)
        assert found.source is Source.BUNDLE
        assert (found.name, found.version, found.author) == ("Weather", "1.0", "Anna")
        assert found.description == "Says how the weather is"
        assert (found.tags, found.target) == (("sky",), "weather:Weather")
        assert found.location == str(path)
        assert found.origin == "weather 1.0"
        assert found.problem is None
    assert "weather" not in sys.modules
    path.write_bytes(packed(tmp_path, "2"))
    assert [c.version for c in discover(photons, group=None)] == ["2.0"]


def test_a_broken_bundle_is_a_candidate_with_its_problem(photons):
    (photons / "bad.photon").write_bytes(b"PK")
    (photons / "good.py").write_text(
        "from luminal import IPhoton\nclass Good(IPhoton): pass\n"
    )
    found = {c.name: c for c in discover(photons, group=None)}
    assert found["bad"].problem.code == "LUM109"
    assert found["Good"].problem is None


async def test_a_bundle_is_loaded_from_memory(tmp_path, photons):
    path = photons / "weather.photon"
    path.write_bytes(packed(tmp_path))
    before = sorted(os.listdir(photons))
    loader = Loader()
    try:
        handlers = await loader.load_photon(path)
        await handlers.start()
        [handler] = handlers
        assert handler.filepath == str(path)
        assert handler.checksum == discover(photons, group=None)[0].checksum
        assert call(loader, "who") == ("v1", "sunny v1", ["v1"])
        name, later, file = call(loader, "late")
        assert (name, later) == ("weather.deep.late", "weather.later")
        assert file == str(path / "weather" / "__init__.py")
        text, data, names, *rest = call(loader, "data")
        assert (text, data) == ("Bonn v1\n", b"Bonn v1\n")
        assert names == ["__init__.py", "data", "deep", "later.py", "text.py"]
        assert rest == [data, data, "note\n", False, True, text, text]
        # What shows code shows the code that runs.
        assert 'VERSION = "v1"' in inspect.getsource(sys.modules["weather"])
        assert "photon_author" in inspect.getsource(type(handler.instance))
        with pytest.raises(ValueError, match="v1") as raised:
            loader.hook.fail()
        shown = "".join(traceback.format_exception(raised.value))
        assert "# the line of v1" in shown
        # Names of modules are those of a wheel, so pickles last.
        model = pickle.loads(pickle.dumps(call(loader, "model")))
        assert (type(model).__module__, model.n) == ("weather.deep.model", 3)
        assert sorted(os.listdir(photons)) == before
        with pytest.warns(LuminalWarning):
            assert not await loader.load_photons(photons)
        assert await loader.unload_photon(path)
        assert "weather" not in sys.modules
    finally:
        await loader.close()


async def test_unloading_frees_the_memory(tmp_path, photons):
    path = photons / "weather.photon"
    path.write_bytes(packed(tmp_path))
    loader = Loader()
    [handler] = await loader.load_photon(path)
    bundle = weakref.ref(handler.generation.bundle)
    code = weakref.ref(handler.generation)
    del handler
    await loader.unload_photon(path)
    await loader.close()
    gc.collect()
    assert code() is None
    assert bundle() is None


def put_file(path: Path, data: bytes, how: str) -> None:
    """Replace a file as cp, as mv, or as an editor does."""
    if how == "cp":
        path.write_bytes(data)
        return
    other = path.with_name(f".{path.name}.new")
    other.write_bytes(data)
    if how == "editor":
        os.replace(path, path.with_name(f"{path.name}~"))
    os.replace(other, path)


async def test_a_watch_swaps_a_bundle_that_is_replaced(tmp_path, photons):
    path = photons / "weather.photon"
    path.write_bytes(packed(tmp_path))
    loader = Loader()
    try:
        await loader.watch_photons(photons)
        handler = loader.photons["Weather"]
        old = sys.modules["weather"]
        starts = ["v1"]
        for version, how in (("2", "cp"), ("3", "mv"), ("4", "editor")):
            put_file(path, packed(tmp_path, version), how)
            starts.append(f"v{version}")
            await async_wait_until(lambda v=version: call(loader, "who")[0] == f"v{v}")
            assert call(loader, "who") == (f"v{version}", f"sunny v{version}", starts)
            assert handler.candidate.version == f"{version}.0"
            assert handler.checksum == discover(photons, group=None)[0].checksum
        assert call(loader, "data")[0] == "Bonn v4\n"
        # Old code has old text.
        assert 'VERSION = "v1"' in old.__loader__.get_source("weather")
        assert old.__loader__.get_data(old.__file__).startswith(b'"""Weather')
        # A bundle that is not sound changes nothing.
        data = bytearray(packed(tmp_path, "5"))
        data[len(data) // 2] ^= 1
        put_file(path, bytes(data), "mv")
        await async_wait_until(lambda: handler.problem is not None)
        assert handler.problem.code == "LUM109"
        assert call(loader, "who")[0] == "v4"
        put_file(path, packed(tmp_path, "6"), "mv")
        await async_wait_until(lambda: call(loader, "who")[0] == "v6")
        assert handler.problem is None
        [back] = await loader.roll_back(handler)
        assert call(loader, "who")[0] == "v4"
        assert back.candidate.version == "4.0"
        # Another file with the next version, in the same moment.
        new = photons / "weather-7.photon"
        other = photons / ".new"
        other.write_bytes(packed(tmp_path, "7"))
        os.unlink(path)
        os.replace(other, new)
        await async_wait_until(lambda: call(loader, "who")[0] == "v7")
        assert len(call(loader, "who")[2]) > 2  # with its state
        assert handler.filepath == str(new)
        os.unlink(new)
        await async_wait_until(lambda: not loader.photons)
    finally:
        await loader.close()


WAITING = {
    "__init__.py": """\
import threading
from importlib import resources
from luminal import IPhoton, hookimpl
class Weather(IPhoton):
    photon_version = "1.0"
    @hookimpl
    def who(self):
        return "@1"
    @hookimpl
    def wait(self, here, go):
        here.set()
        go.wait(60)
        from .late import NAME
        import weather.later
        return NAME, weather.later.NAME, resources.files(__name__).joinpath(
            "data.txt"
        ).read_text()
""",
    "late.py": 'NAME = "@1"\n',
    "later.py": 'NAME = "@1"\n',
    "data.txt": "@1",
}


async def test_old_calls_keep_their_own_modules_and_data(tmp_path, photons):
    path = photons / "weather.photon"
    path.write_bytes(packed(tmp_path, files=WAITING))
    here, go, answers = threading.Event(), threading.Event(), []
    async with Loader() as loader:
        await loader.watch_photons(photons)
        thread = threading.Thread(
            target=lambda: answers.extend(loader.hook.wait(here=here, go=go))
        )
        thread.start()
        assert here.wait(60)
        put_file(path, packed(tmp_path, "2", WAITING), "mv")
        await async_wait_until(lambda: call(loader, "who") == "v2")
        go.set()
        thread.join(60)
        assert answers == [("v1", "v1", "v1")]
        go.set()
        assert call(loader, "who") == "v2"


async def test_a_sealed_bundle_is_swapped(tmp_path, photons, monkeypatch):
    from luminal.trust._seal import new_host_key

    monkeypatch.setenv("LUMINAL_STATE_DIR", str(tmp_path / "state"))
    recipient = new_host_key(host_key_path())
    path = photons / "weather.photon"

    def sealed(version):
        return seal(open_bundle(packed(tmp_path, version)), [recipient])

    path.write_bytes(sealed("1"))
    async with Loader() as loader:
        await loader.watch_photons(photons)
        assert call(loader, "who")[0] == "v1"
        put_file(path, sealed("2"), "mv")
        await async_wait_until(lambda: call(loader, "who")[0] == "v2")
        os.unlink(host_key_path())
        put_file(path, sealed("3"), "mv")
        handler = loader.photons["Weather"]
        await async_wait_until(lambda: handler.problem is not None)
        assert "no key to sealed bundles" in handler.problem.what
        assert call(loader, "who")[0] == "v2"


async def test_functions_of_a_bundle_run_in_other_processes(tmp_path, photons):
    files = {
        **WAITING,
        "work.py": "from .late import NAME\ndef work(n): return NAME, n + 1\n",
        "__init__.py": WAITING["__init__.py"] + "from .work import work\n",
    }
    (photons / "weather.photon").write_bytes(packed(tmp_path, files=files))
    async with Loader() as loader:
        await loader.load_photons(photons)
        work = sys.modules["weather"].work
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            assert pool.apply(work, (1,)) == ("v1", 2)


async def test_what_was_found_is_what_is_loaded(tmp_path, photons):
    path = photons / "weather.photon"
    path.write_bytes(packed(tmp_path))
    found = discover(photons, group=None)
    path.write_bytes(packed(tmp_path, "2"))
    async with Loader() as loader:
        report = await loader.load(found)
        [failed] = report.failed
        assert "has changed since it was found" in failed.problem.what
        assert "weather" not in sys.modules


async def test_a_namespace_package_is_a_bundle(tmp_path, photons):
    site = tmp_path / "site"
    site.mkdir()
    put(
        site,
        "geo",
        "2.1",
        files={
            "acme/geo/__init__.py": "from luminal import IPhoton, hookimpl\n"
            "import acme.geo.text\nclass Geo(IPhoton):\n"
            "    @hookimpl\n    def who(self): return __name__, acme.geo.text.W\n",
            "acme/geo/text.py": "W = 1\n",
        },
        entries="geo = acme.geo:Geo",
    )
    wheel = shutil.make_archive(str(tmp_path / "geo-2.1-py3-none-any"), "zip", site)
    os.rename(wheel, wheel[:-3] + "whl")
    bundle = pack(wheel[:-3] + "whl")
    assert bundle.manifest.root == "acme.geo"
    (photons / "geo.photon").write_bytes(bundle.data())
    async with Loader() as loader:
        await (await loader.load_photons(photons)).start()
        assert loader.hook.who() == [("acme.geo", 1)]
        await loader.reload_photon("geo")
        assert loader.hook.who() == [("acme.geo", 1)]
    assert not any(name.startswith("acme.geo") for name in sys.modules)


async def test_reload_reads_the_bundle_again(tmp_path, photons):
    path = photons / "weather.photon"
    path.write_bytes(packed(tmp_path))
    async with Loader() as loader:
        await (await loader.load_photons(photons)).start()
        path.write_bytes(packed(tmp_path, "2"))
        handler = await loader.reload_photon("Weather")
        assert handler.candidate.version == "2.0"
        assert call(loader, "who")[0] == "v2"
        path.write_bytes(b"")
        with pytest.raises(LuminalError):
            await loader.reload_photon("Weather")
        assert call(loader, "who")[0] == "v2"


SEVERAL = {
    "first.py": "from luminal import IPhoton, hookimpl\nimport helper\n"
    "class First(IPhoton):\n    photon_version = '1.0'\n"
    "    @hookimpl\n    def who(self): return __name__, helper.NAME\n",
    "second.py": "from luminal import IPhoton, hookimpl\n"
    "class Second(IPhoton):\n    photon_requires = ['First>=1']\n"
    "    @hookimpl\n    def who(self):\n        import helper\n"
    "        return __name__, helper.NAME\n",
    "plain.py": "from luminal import hookimpl\n"
    "@hookimpl\ndef who(): return __name__,\n",
    "pk/__init__.py": "from luminal import IPhoton\nfrom .inner import Inner\n",
    "pk/inner.py": "from luminal import IPhoton, hookimpl\nclass Inner(IPhoton):\n"
    "    @hookimpl\n    def who(self): return __name__,\n",
    "helper.py": "NAME = __name__\n",
    ".hidden.py": "",
    "__pycache__/first.cpython-311.pyc": "",
    "notes.txt~": "",
}


async def test_a_directory_of_photons_is_one_bundle(tmp_path, photons):
    data = packed(tmp_path, files=SEVERAL, name="several")
    (photons / "x.photon").write_bytes(data)
    found = discover(photons, group=None)
    assert [c.problem for c in found] == [None] * 4
    assert {c.name: c.target for c in found} == {
        "First": "several.first:First",
        "Second": "several.second:Second",
        "plain": "several.plain",
        "Inner": "several.pk:Inner",
    }
    assert {c.name: c.requirements for c in found}["Second"] == ("First>=1",)
    async with Loader() as loader:
        await (await loader.load_photons(photons)).start()
        assert sorted(loader.hook.who()) == [
            ("several.first", "several.helper"),
            ("several.pk.inner",),
            ("several.plain",),
            ("several.second", "several.helper"),
        ]
        await loader.unload_photon("First")  # the whole file
        assert not loader.photons


def test_a_distribution_is_packed_with_its_metadata(tmp_path, monkeypatch):
    site = tmp_path / "site"
    site.mkdir()
    put(site, "geo", "2.1", metadata="Summary: Where things are\nAuthor: Ben\n")
    monkeypatch.syspath_prepend(str(site))
    bundle = pack("geo")
    assert (bundle.manifest.name, bundle.manifest.version) == ("geo", "2.1")
    place = tmp_path / "photons"
    place.mkdir()
    (place / "geo.photon").write_bytes(bundle.data())
    [found] = discover(place, group=None)
    assert (found.name, found.version, found.author) == ("geo", "2.1", "Ben")
    assert found.description == "Where things are"
    wheel = shutil.make_archive(str(tmp_path / "geo-2.1-py3-none-any"), "zip", site)
    os.rename(wheel, wheel[:-3] + "whl")
    from_wheel = pack(wheel[:-3] + "whl")
    assert from_wheel.manifest.photons == bundle.manifest.photons


def a_wheel(files=()):
    """Return the bytes of a wheel with a photon, and with *files*."""
    info = "geo-1.0.dist-info"
    inside = {
        "geo/__init__.py": photon_text("geo", "1.0"),
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: geo\nVersion: 1.0\n",
        f"{info}/entry_points.txt": "[luminal.photons]\ngeo = geo:Photon\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\n",
        **dict(files),
    }
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, text in inside.items():
            archive.writestr(path, text)
    return data.getvalue()


@settings(max_examples=300, deadline=None)
@given(at=st.integers(0, len(a_wheel()) - 1), bit=st.integers(0, 7))
def test_a_wheel_with_a_flipped_bit_is_packed_or_refused(at, bit):
    data = bytearray(a_wheel())
    data[at] ^= 1 << bit
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "geo-1.0-py3-none-any.whl"
        path.write_bytes(data)
        with suppress(LuminalError):
            pack(path)


@pytest.mark.parametrize(
    ("files", "word"),
    [
        ({"geo": "", "geo/x.txt": ""}, "geo"),
        ({"../evil.py": ""}, r"'\.\.'"),
        ({"geo/zero.bin": bytes(17 * 2**20)}, "too large"),
        ({"geo-1.0.dist-info/entry_points.txt": b"\xff"}, r"whl.geo-1\.0\.dist-info"),
        ({"geo-1.0.dist-info/entry_points.txt": "[luminal.photons]\n= x\n"}, "entry"),
    ],
)
def test_a_hostile_wheel_is_named(tmp_path, files, word):
    path = tmp_path / "geo-1.0-py3-none-any.whl"
    path.write_bytes(a_wheel(files))
    with pytest.raises(LuminalError, match=word) as refused:
        pack(path)
    assert str(refused.value.file).startswith(str(path))
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("files", "word"),
    [
        ({"fast.so": ""}, "native"),
        ({"__init__.py": "x = 1\n"}, "no photon"),
        ({"__init__.py": "class"}, "not valid Python"),
        ({"site.pth": "import os"}, "pth"),
    ],
)
def test_what_cannot_be_packed_is_named(tmp_path, files, word):
    folder = write(tmp_path / "weather", {**WEATHER, **files})
    with pytest.raises(LuminalError, match=word):
        pack(folder)


def test_a_link_is_not_packed(tmp_path):
    folder = write(tmp_path / "weather")
    (folder / "secret.txt").symlink_to("/etc/hostname")
    with pytest.raises(PhotonVerificationError, match=r"secret\.txt"):
        pack(folder)


def test_a_bundle_needs_a_name_of_its_own(tmp_path):
    files = {"__init__.py": "from luminal import IPhoton\nclass A(IPhoton): pass\n"}
    with pytest.raises(PhotonVerificationError, match="json"):
        pack(write(tmp_path / "json", files), version="1")
    with pytest.raises(LuminalError, match="no version"):
        pack(write(tmp_path / "mine", files))


async def test_two_packages_of_one_name_are_a_conflict(tmp_path, photons):
    (photons / "weather.photon").write_bytes(packed(tmp_path))
    other = {
        **WEATHER,
        "__init__.py": WEATHER["__init__.py"].replace("Weather(", "Sky("),
    }
    (photons / "sky.photon").write_bytes(packed(tmp_path, "2", other, name="weather"))
    async with Loader() as loader:
        with pytest.raises(PhotonConflictError, match="weather"):
            await loader.load_photons(photons)
        assert len(loader.photons) == 1


async def test_the_hosts_module_is_not_replaced(tmp_path, photons, monkeypatch):
    monkeypatch.setitem(sys.modules, "weather", type(sys)("weather"))
    (photons / "weather.photon").write_bytes(packed(tmp_path))
    async with Loader() as loader:
        with pytest.raises(PhotonConflictError, match="imported already"):
            await loader.load_photons(photons)


@pytest.mark.parametrize(
    "facts",
    [
        {"name": "x", "target": "os:system"},
        {"name": "x", "target": ["weather"]},
        {"name": "x\x1b[31m", "target": "weather:Weather"},
        {"name": "x", "target": "weather:Weather", "tags": "abc"},
        {"name": "x", "target": "weather:Weather", "requirements": [1]},
        {"name": "x", "target": "weather:Nothing"},
        {"name": "x", "target": "weather:VERSION"},
        {"name": "x", "target": "weather:Weather", "version": "9"},
    ],
)
async def test_a_manifest_that_names_no_photon(tmp_path, photons, facts):
    from luminal.trust import build_bundle

    files = {f"weather/{name}": text.encode() for name, text in WEATHER.items()}
    bundle = build_bundle(
        files, name="weather", version="1.0", root="weather", photons=[facts]
    )
    (photons / "weather.photon").write_bytes(bundle.data())
    async with Loader() as loader:
        with pytest.raises(LuminalError):
            await loader.load_photons(photons)
        assert not loader.photons
    assert "weather" not in sys.modules


async def test_resources_of_a_folder_without_code_are_those_in_it(tmp_path, photons):
    """And not those of the package above it, in a bundle and without one."""
    text = """\
import luminal
from importlib import resources
class Geo(luminal.IPhoton):
    photon_name = "NAME"
    photon_version = "1.0"
    def read(self):
        from . import data
        return [resources.files(each).joinpath("text").read_text()
                for each in (data, data.__name__, __package__)]
"""
    files = {
        "__init__.py": text,
        "text": "above",
        "data/text": "inside",
        "data/m.py": "",
    }
    plain = {**files, "__init__.py": text.replace("NAME", "plain")}
    write(photons / "plain", plain)
    (photons / "packed.photon").write_bytes(packed(tmp_path, files=files, name="geo"))
    async with Loader() as loader:
        await loader.load(discover(photons, index=False))
        await loader.start()
        assert len(loader.photons) == 2
        for handler in loader.photons.values():
            assert handler.instance.read() == ["inside", "inside", "above"]
