"""What runs are the bytes that were read and hashed, and no others."""

from __future__ import annotations

import hashlib
import importlib.util
import marshal
import os
import py_compile
import struct
import subprocess
import sys
import textwrap
from importlib.machinery import BYTECODE_SUFFIXES
from pathlib import Path

import pytest

from luminal import Loader, discover
from luminal.errors import PhotonUnreadableError
from luminal.loading import CodeCache
from luminal.loading import _source as source
from tests.waiting import DEADLINE

ROOT = Path(__file__).parents[2]


def forge(path: Path, text: str, *, kind: str) -> Path:
    """Write a ``.pyc`` for *path* that runs *text*, and that CPython would trust."""
    code = compile(text, str(path), "exec")
    cached = Path(importlib.util.cache_from_source(str(path)))
    if kind == "sourceless":
        cached = path.with_suffix(BYTECODE_SUFFIXES[0])
    cached.parent.mkdir(exist_ok=True)
    flags, first, second = 0, 0, 0
    if path.exists():
        first, second = int(path.stat().st_mtime), path.stat().st_size
    if kind == "unchecked":
        flags, first, second = 0b01, 1, 2
    elif kind == "checked":
        digest = importlib.util.source_hash(path.read_bytes())
        flags, first, second = 0b11, *struct.unpack("<II", digest)
    head = importlib.util.MAGIC_NUMBER + struct.pack("<III", flags, first, second)
    cached.write_bytes(head + marshal.dumps(code))
    return cached


KINDS = ("timestamp", "unchecked", "checked")


@pytest.mark.fault(42)
@pytest.mark.parametrize("kind", KINDS)
def test_pyc_beside_the_source_is_never_executed(photons, start, tmp_path, kind):
    """Whoever can write ``__pycache__`` still cannot run code: stale or forged."""
    marker = tmp_path / "marker"
    evil = f"open({str(marker)!r}, 'w')\nfrom luminal import IPhoton\n"
    photons.write("pack/__init__.py", "from .part import Photon\n")
    photons.write(
        "pack/part.py",
        "from luminal import IPhoton\nclass Photon(IPhoton):\n    good = True\n",
    )
    photons.write("beside.py", "GOOD = True\n")
    lone = photons.photon(
        "lone",
        """
        def start(self):
            self.dynamic = importlib.import_module(".beside", __package__)
        """,
        "import importlib\nimport beside\n",
    )
    for path in photons.path.rglob("*.py"):
        forge(path, evil, kind=kind)
    assert start(photons.path / "pack" / "__init__.py").good
    assert start(lone).dynamic.GOOD
    assert not marker.exists()


@pytest.mark.fault(42)
@pytest.mark.parametrize("kind", KINDS)
def test_no_way_to_import_by_name_executes_a_pyc(photons, start, tmp_path, kind):
    """Modules that no import statement reached are found through us as well."""
    marker = tmp_path / "marker"
    photons.write("unseen.py", "GOOD = True\n")
    photons.write("folder/unseen.py", "GOOD = True\n")
    photons.write("folder/pack/__init__.py", "GOOD = True\n")
    for path in photons.path.rglob("*.py"):
        forge(path, f"open({str(marker)!r}, 'w')\nGOOD = False\n", kind=kind)
    photon = start(
        photons.photon(
            "lone",
            """
            early = early
            def start(self):
                find = importlib.import_module
                self.late = find(".folder.unseen", __package__)
                self.package = find(__package__ + ".folder.pack")
            """,
            """
            import importlib
            early = importlib.import_module(".unseen", __package__)
            """,
        )
    )
    assert photon.early.GOOD
    assert photon.late.GOOD
    assert photon.package.GOOD
    assert not marker.exists()
    # The host, too, gets there by name.
    host = importlib.import_module(photon.late.__name__)
    assert host is photon.late


@pytest.mark.fault(42)
def test_sourceless_pyc_is_no_module(photons, start, tmp_path):
    """Code without its source is not imported, by statement or by name."""
    marker = tmp_path / "marker"
    evil = f"open({str(marker)!r}, 'w')\n"
    forge(photons.path / "ghost.py", evil, kind="sourceless")
    (photons.path / "pack").mkdir()
    forge(photons.path / "pack" / "__init__.py", evil, kind="sourceless")
    (photons.path / "pack" / "sub").mkdir()
    forge(photons.path / "pack" / "inner.py", evil, kind="sourceless")
    photon = start(
        photons.photon(
            "lone",
            """
            def start(self):
                self.missing = []
                for name in (".ghost", ".pack.inner"):
                    try:
                        importlib.import_module(name, __package__)
                    except ModuleNotFoundError as error:
                        self.missing.append(error.name)
                try:
                    from . import ghost
                except ImportError as error:
                    self.missing.append(str(error))
                try:
                    import ghost
                except ImportError as error:
                    self.missing.append(str(error))
            """,
            "import importlib\n",
        )
    )
    assert len(photon.missing) == 4
    assert not marker.exists()


@pytest.mark.fault(42)
def test_no_pyc_is_written(photons, start, monkeypatch):
    """Loading leaves the directory as it was."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    photons.write("near.py", "VALUE = 1\n")
    photons.write("deep/__init__.py", "from . import inner\n")
    photons.write("deep/inner.py", "VALUE = 1\n")
    before = sorted(photons.path.rglob("*"))
    path = photons.photon("lone", head="import near, deep\n")
    start(path)
    assert sorted(photons.path.rglob("*")) == sorted([*before, path])


@pytest.mark.fault(28)
async def test_edit_of_the_same_second_and_size_is_seen(photons, tmp_path):
    """A reader keyed by whole seconds and size would run the old text."""
    seen = []
    for value in (1, 2, 3):
        path = photons.photon("quick", f"value = {value}\n")
        os.utime(path, (1_000_000_000, 1_000_000_000))

        async def go(path: Path = path):
            async with Loader() as loader:
                handlers = await loader.load_photon(path)
                await handlers.start()
                seen.append(handlers[0].instance.value)

        await go()
    assert seen == [1, 2, 3]


async def test_checksum_is_that_of_the_bytes_that_run(photons, loader):
    """SHA-512, whatever the index believed."""
    path = photons.photon("sum")
    await loader.load_photon(path)
    expected = hashlib.sha512(path.read_bytes()).hexdigest()
    assert loader.photons["sum"].checksum == expected


@pytest.mark.fault(43)
async def test_file_changed_between_discovery_and_load(photons, loader):
    """The checksum follows the bytes that are read last, and they run."""
    path = photons.photon("late", "value = 'old'\n")
    found = discover(photons.path, group=None)
    photons.photon("late", "value = 'new'\n")

    await loader.load(found)
    await loader.start()
    handler = loader.photons["late"]
    assert handler.instance.value == "new"
    assert handler.checksum == hashlib.sha512(path.read_bytes()).hexdigest()
    assert handler.checksum != found[0].checksum


@pytest.mark.fault(43)
async def test_file_changed_between_hashing_and_executing(photons, loader, monkeypatch):
    """The bytes that were hashed run, and the checksum is theirs."""
    path = photons.photon("swap", "value = 'old'\n")
    hashed = path.read_bytes()
    read = source.read_bytes

    def change_behind(name: str, **options):
        data = read(name, **options)
        if name == str(path):
            photons.photon("swap", "value = 'new'\n")
        return data

    monkeypatch.setattr(source, "read_bytes", change_behind)

    handlers = await loader.load_photon(path)
    await handlers.start()
    handler = handlers[0]
    assert path.read_bytes() != hashed
    assert handler.instance.value == "old"
    assert handler.checksum == hashlib.sha512(hashed).hexdigest()


def _run_once(photons, marker: str = "") -> str:
    script = f"""
        import asyncio, sys
        from luminal import Loader
        async def go():
            async with Loader() as loader:
                await (await loader.load_photons({str(photons.path)!r})).start()
                print(loader.photons["kept"].instance.value)
        asyncio.run(go())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        check=True, cwd=ROOT, timeout=DEADLINE, capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout.strip()


def test_code_is_kept_between_processes(photons, cache, start):
    """The second process gets the code from the sealed cache, not the compiler."""
    path = photons.photon("kept", "value = 1\n")
    assert _run_once(photons) == "1"
    (kept,) = cache.glob("code-*")
    codes = CodeCache(__import__("luminal.store", fromlist=["x"]).SealedStore())
    codes.compile(source.read_source(str(path)))
    assert not codes.has_changed
    before = kept.read_bytes()
    assert _run_once(photons) == "1"
    assert kept.read_bytes() == before
    photons.photon("kept", "value = 2\n")
    assert _run_once(photons) == "2"


@pytest.mark.parametrize("damage", ["flip", "truncate", "other", "pickle", "empty"])
def test_tampered_code_cache_is_ignored(photons, cache, tmp_path, damage):
    """Whatever lies in the cache, the bytes of the source run."""
    photons.photon("kept", "value = 'good'\n")
    assert _run_once(photons) == "good"
    (kept,) = cache.glob("code-*")
    data = kept.read_bytes()
    if damage == "flip":
        data = data.replace(b"good", b"evil")
    elif damage == "truncate":
        data = data[: len(data) // 2]
    elif damage == "other":
        head, _, payload = data.partition(b"\n")
        evil = compile("value = 'evil'", "x", "exec")
        data = head + b"\n" + payload[:32] + marshal.dumps({"x": evil})
    elif damage == "pickle":
        data = b"cos\nsystem\n(S'exit 1'\ntR."
    else:
        data = b""
    assert data != kept.read_bytes()
    kept.write_bytes(data)
    assert _run_once(photons) == "good"


def test_cache_of_another_file_is_ignored(photons, cache):
    """A sealed file moved to another name is not what was sealed there."""
    photons.photon("kept", "value = 'good'\n")
    assert _run_once(photons) == "good"
    (kept,) = cache.glob("code-*")
    other = photons.path.with_name("other")
    photons.path.rename(other)
    evil = photons
    evil.photon("kept", "value = 'evil'\n")
    assert _run_once(evil) == "evil"
    (stolen,) = set(cache.glob("code-*")) - {kept} or {kept}
    kept.write_bytes(stolen.read_bytes())
    photons.photon("kept", "value = 'good'\n")
    assert _run_once(photons) == "good"


async def test_nothing_of_the_cache_stays_in_memory(photons, cache):
    """What was read from the disk is freed once a load is over."""
    path = photons.photon("kept")

    for _ in range(2):
        async with Loader() as loader:
            await loader.load_photon(path)
            assert not loader._world.codes._kept
    assert list(cache.glob("code-*"))


async def test_collector_is_as_it_was_after_a_load(photons):
    """Rarer collections end with the load, also where it fails."""
    import gc

    for number in range(120):
        photons.photon(f"p{number}", head="1 / 0\n" if number == 7 else "")
    before = gc.get_threshold()

    async with Loader() as loader:
        await loader.load(discover(photons.path, group=None))
        assert len(loader.photons) == 119
    assert gc.get_threshold() == before


def test_readable_cache_directory_is_not_needed(photons, tmp_path, monkeypatch):
    """Without a place for the cache everything works, if slower."""
    blocked = tmp_path / "a file"
    blocked.write_text("")
    monkeypatch.setenv("LUMINAL_CACHE_DIR", str(blocked / "below"))
    photons.photon("kept", "value = 3\n")
    assert _run_once(photons) == "3"


@pytest.mark.fault(33)
@pytest.mark.parametrize(
    ("data", "value"),
    [
        ("# coding: latin-1\nVALUE = 'é'\n".encode("latin-1"), "é"),
        (b"\xef\xbb\xbfVALUE = '\xc3\xa9'\n", "é"),
        (b"VALUE = 'a'\r\nOTHER = 1\rLAST = 2\n", "a"),
        (b"# -*- coding: utf-16 -*-\nVALUE = 1\n", None),
        (b"VALUE = '\xe9'\n", None),
        (b"VALUE = '\x00'\n", None),
    ],
    ids=["cookie", "bom", "newlines", "wrong-cookie", "not-utf-8", "null"],
)
def test_encodings_follow_pep_263(photons, start, data, value):
    """Cookies and BOMs count; null bytes and wrong bytes are refused."""
    photons.write("near.py", data)
    path = photons.photon("user", "seen = near.VALUE\n", "import near\n")
    if value is None:
        with pytest.raises(SyntaxError) as caught:
            start(path)
        assert "near.py" in str(caught.value)
    else:
        assert start(path).seen == value


def test_file_that_grows_without_end_is_refused(photons, start):
    """Nothing larger than the limit is read into memory."""
    with photons.write("near.py", "").open("wb") as file:
        file.truncate(5 * 1024**3)
    with pytest.raises(PhotonUnreadableError, match="too large"):
        start(photons.photon("user", head="import near\n"))


def test_py_compile_of_the_author_is_harmless(photons, start):
    """An author's own byte-compilation changes nothing."""
    path = photons.photon("own", "value = 1\n")
    py_compile.compile(
        str(path), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
    )
    photons.photon("own", "value = 2\n")
    assert start(path).value == 2
