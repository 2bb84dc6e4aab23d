"""The sealed store: what was saved comes back, anything else is ignored, once said."""

from __future__ import annotations

import logging
import os
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from luminal.store import SealedStore, cache_directory, state_directory
from luminal.store import _sealed as sealed_module
from tests.waiting import DEADLINE

VALUE = {"a": (1, 2.5, "text", b"bytes", None), "code": compile("1 + 1", "x", "eval")}


@pytest.fixture
def store(tmp_path: Path) -> SealedStore:
    return SealedStore(str(tmp_path / "deep" / "cache"))


def the_file(store: SealedStore) -> Path:
    (path,) = Path(store.directory).glob("*.sealed")
    return path


def test_a_value_comes_back_from_another_instance(store: SealedStore) -> None:
    """What one instance saves, another one of the same directory loads."""
    assert store.load("index") is None
    assert store.save("index", VALUE)
    assert SealedStore(store.directory).load("index") == VALUE


def test_bytes_come_back(store: SealedStore) -> None:
    """Blobs are kept as they are."""
    assert store.put("blob", b"\x00\x01")
    blob = SealedStore(store.directory).get("blob")
    assert blob is not None
    assert bytes(blob) == b"\x00\x01"


def the_path(store: SealedStore, name: str) -> Path:
    (path,) = Path(store.directory).glob(f"{name}.*.sealed")
    return path


@pytest.mark.skipif(os.name == "nt", reason="no permission bits")
def test_directory_key_and_file_are_private(store: SealedStore) -> None:
    """The directory is 0700, key and files 0600, and no temporary file stays."""
    store.save("index", VALUE)
    directory = Path(store.directory)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(p.stat().st_mode) for p in directory.iterdir()} == {0o600}
    assert len(list(directory.iterdir())) == 2


@pytest.mark.parametrize("where", ["payload", "code", "cut", "other key", "other name"])
def test_a_tampered_file_is_ignored_with_one_warning(
    store: SealedStore, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A change of any byte, a cut, another key or a swapped file is not believed."""
    store.save("index", VALUE)
    path = the_file(store)
    data = bytearray(path.read_bytes())
    name = "index"
    if where == "payload":
        data[-1] ^= 1
    elif where == "code":
        data[data.index(b"\n") + 5] ^= 1
    elif where == "cut":
        del data[-3:]
    elif where == "other key":
        Path(store.directory, "key").write_bytes(b"k" * 32)
    else:
        path = path.with_name(path.name.replace("index", "codes"))
        name = "codes"
    path.write_bytes(data)
    with caplog.at_level(logging.WARNING, "luminal.store"):
        assert SealedStore(store.directory).load(name) is None
        assert SealedStore(store.directory).load(name) is None
    assert len(caplog.records) == 1
    assert store.directory in caplog.text
    assert SealedStore(store.directory).save(name, VALUE)
    assert SealedStore(store.directory).load(name) == VALUE


def test_a_payload_from_elsewhere_never_reaches_marshal(
    store: SealedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`marshal` is called only after the authentication."""
    store.save("index", VALUE)
    path = the_file(store)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    calls: list[object] = []
    monkeypatch.setattr(sealed_module.marshal, "loads", calls.append)
    assert SealedStore(store.directory).load("index") is None
    assert calls == []


def test_a_file_of_another_interpreter_is_passed_over_silently(
    store: SealedStore, caplog: pytest.LogCaptureFixture
) -> None:
    """Another format or interpreter is not damage."""
    store.save("index", VALUE)
    path = the_file(store)
    path.write_bytes(b"luminal sealed 0 python 2\n" + path.read_bytes())
    assert SealedStore(store.directory).load("index") is None
    assert caplog.records == []


@pytest.mark.skipif(os.name == "nt", reason="no permission bits")
@pytest.mark.parametrize("name", ["key", "", "index"])
def test_what_others_can_write_is_not_trusted(
    store: SealedStore, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What others may write, or a key that they may read, is refused."""
    store.save("index", VALUE)
    path = the_file(store) if name == "index" else Path(store.directory, name)
    path.chmod(0o640 if name == "key" else 0o777)
    assert SealedStore(store.directory).load("index") is None
    assert len(caplog.records) == 1


@pytest.mark.skipif(
    getattr(os, "geteuid", int)() != 0 or os.name == "nt", reason="not root"
)
@pytest.mark.parametrize("name", ["key", "", "index"])
def test_what_belongs_to_another_user_is_not_trusted(
    store: SealedStore, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor is it for root: another user's key could seal anything."""
    store.save("index", VALUE)
    os.chown(
        the_file(store) if name == "index" else f"{store.directory}/{name}", 65534, -1
    )
    assert SealedStore(store.directory).load("index") is None
    assert "another user" in caplog.text


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFO here")
def test_a_fifo_in_the_place_of_a_file_does_not_hang(store: SealedStore) -> None:
    """Neither file nor key may be a FIFO, and neither blocks."""
    store.save("index", VALUE)
    for path in (the_file(store), Path(store.directory, "key")):
        path.unlink()
        os.mkfifo(path, 0o600)
        assert SealedStore(store.directory).load("index") is None


def test_a_directory_that_cannot_be_made_costs_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Saving where nothing can be written returns False and never raises."""
    (tmp_path / "file").write_text("in the way")
    store = SealedStore(str(tmp_path / "file" / "cache"))
    assert not store.save("index", VALUE)
    assert not store.save("index", VALUE)
    assert store.load("index") is None
    assert len(caplog.records) == 1


@pytest.mark.fault(35)
def test_a_full_disk_keeps_the_old_value(
    store: SealedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that fails midway leaves the file before it, and no litter."""
    store.save("index", VALUE)

    def full(descriptor: int, data: memoryview) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        assert not store.save("index", "new")
    assert store.load("index") == VALUE
    assert len(list(Path(store.directory).iterdir())) == 2


@pytest.mark.fault(36)
def test_litter_of_killed_writers_is_swept(store: SealedStore) -> None:
    """An old temporary file goes at the next write, a young one stays."""
    store.save("index", VALUE)
    old, young = (Path(store.directory, f"{n}.1-ab.tmp") for n in ("old", "young"))
    old.touch()
    young.touch()
    os.utime(old, (1, 1))
    store.save("index", VALUE)
    assert not old.exists()
    assert young.exists()


def test_without_a_directory_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without a home has no cache, and no error."""
    monkeypatch.setattr("luminal.store._directories.cache_directory", lambda: None)
    store = SealedStore()
    assert not store.save("index", VALUE)
    assert store.load("index") is None


@pytest.mark.fault(37)
def test_many_processes_write_and_every_reader_sees_a_whole_value(
    store: SealedStore,
) -> None:
    """Eight writers, from before the key exists; each read gives one of the values."""
    program = textwrap.dedent(
        """
        import sys
        from luminal.store import SealedStore
        store = SealedStore(sys.argv[1])
        for turn in range(50):
            assert store.save("index", (sys.argv[2], "x" * 50_000))
            value = store.load("index")
            assert len(value[1]) == 50_000, value
        """
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", program, store.directory, str(n)],
            stderr=subprocess.PIPE,
        )
        for n in range(8)
    ]
    for child in children:
        _, stderr = child.communicate(timeout=DEADLINE)
        assert (child.returncode, stderr) == (0, b"")
    assert isinstance(store.load("index"), tuple)
    assert len(list(Path(store.directory).iterdir())) == 2


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"LUMINAL_CACHE_DIR": "/own", "XDG_CACHE_HOME": "/xdg"}, "/own"),
        ({"LUMINAL_CACHE_DIR": "relative", "XDG_CACHE_HOME": "/xdg"}, "/xdg/luminal"),
        ({"LUMINAL_CACHE_DIR": "", "HOME": "/home/me"}, "/home/me/.cache/luminal"),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="paths of one platform")
def test_the_place_follows_the_environment(
    environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variables are looked at in order; empty and relative ones do not count."""
    for name in ("LUMINAL_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.replace("CACHE", "STATE"), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
        monkeypatch.setenv(name.replace("CACHE", "STATE"), value)
    assert cache_directory() == expected
    assert state_directory() == expected.replace(".cache", ".local/state")


def test_pruning_keeps_the_latest_of_a_kind(store: SealedStore) -> None:
    """Others and the key stay."""
    for number in range(5):
        store.save(f"answer-{number}", number)
        os.utime(the_path(store, f"answer-{number}"), (number, number))
    store.save("other", 1)
    store.prune("answer-", 2)
    kept = [store.load(f"answer-{number}") for number in range(5)]
    assert kept == [None, None, None, 3, 4]
    assert store.load("other") == 1


def test_what_is_too_large_is_not_written(
    store: SealedStore,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What could not be read again is refused, with the old value kept."""
    store.save("index", 1)
    monkeypatch.setattr(sealed_module, "_LIMIT", 2000)
    assert not store.put("index", b"x" * 1000)
    assert store.load("index") == 1
    assert "more than" in caplog.text
