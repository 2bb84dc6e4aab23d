"""`luminal.lock` as a file: what is written, what is refused, and who may write."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from luminal.errors import LockFileError, PhotonVerificationError
from luminal.trust import (
    Judge,
    LockEntry,
    LockFile,
    Mode,
    Status,
    Unit,
    Vault,
    Verified,
    tree_of,
    updating,
)

D1, D2 = "1" * 128, "2" * 128


def unit(
    files: dict[str, bytes],
    name: str = "geo",
    source: str = "distribution",
    **rest: object,
) -> Unit:
    return Unit(name, source, "1.0", files, tree_of(files), **rest)  # type: ignore[arg-type]


@pytest.fixture
def judge(tmp_path: Path) -> Judge:
    path = str(tmp_path / "luminal.lock")
    with updating(path) as update:
        update(lambda file: file)
    return Judge(path, vault=Vault(str(tmp_path / "vault")))


def test_what_was_written_is_read_and_sorted(tmp_path: Path) -> None:
    path = str(tmp_path / "luminal.lock")
    strange = 'plugins/"ä\\\t\x7f.py'
    entries = [
        LockEntry("zeta", "distribution", "1.0", D1, ("alice", "bob"), (), D2),
        LockEntry("alpha", "bundle", "", D2, (), ("opens sockets",)),
        LockEntry(strange, "directory", "", D1),
    ]
    with updating(path) as update:
        for entry in entries:
            update(lambda file, entry=entry: file.with_entry(entry))  # type: ignore[misc]
    found = LockFile.read(path)
    assert found.mode is Mode.PIN
    assert dict(found.units) == {entry.name: entry for entry in entries}
    text = Path(path).read_text()
    assert text.index("alpha") < text.index("plugins") < text.index("zeta")
    assert found.text() == text
    assert os.stat(path).st_mode & 0o777 == 0o644
    # Comments at its head are a person's, and stay.
    Path(path).write_text("# ours\n" + text)
    with updating(path) as update:
        update(lambda file: file.with_entry(LockEntry("new", "bundle", "", D1)))
    assert Path(path).read_text().startswith("# ours\n# Which")


GOOD = f'version = 1\nmode = "pin"\n\n[units."geo"]\nsource = "bundle"\ntree = "{D1}"\n'


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        (GOOD + "<<<<<<< ours\n", 7, "conflict"),
        (GOOD.replace("version = 1", "version = 2"), 1, "version 1"),
        (GOOD.replace('"pin"', '"pinn"'), 2, "did you mean 'pin'"),
        (GOOD.replace("[units", "[unit"), 4, "did you mean 'units'"),
        (GOOD.replace("\n", "\nthreshold = -1\n", 1), 2, "there are 0 keys"),
        (GOOD.replace("\n", "\nthreshold = 1\n", 1), 2, "there are 0 keys"),
        (GOOD.replace('"pin"', "3"), 2, "must be a string"),
        (GOOD.replace("tree", "tre"), 6, "'tree'"),
        (GOOD.replace(D1, "zz"), 6, "SHA-512"),
        (GOOD.replace(D1, D1.replace("1", "A")), 6, "SHA-512"),
        (GOOD.replace("bundle", "wheel"), 5, "'wheel'"),
        (GOOD + "keys = 3\n", 7, "must be a list"),
        (GOOD + "keys = [3]\n", 7, "list of strings"),
        (GOOD + '[units."geo"]\n', 7, "no TOML"),
        (GOOD + 'tree = "\n', 7, "no TOML"),
        (GOOD + "[units]\nx = 3\n", 8, "must be a table"),
        (GOOD.replace("mode", "made"), 2, "'made'"),
        ("units = 3\n" + GOOD[:25], 1, "must be a table"),
        (GOOD.replace('mode = "pin"\n', ""), 0, "is missing"),
    ],
)
def test_a_lock_that_is_no_lock_is_refused_with_its_line_and_stays(
    tmp_path: Path, text: str, line: int, why: str
) -> None:
    path = tmp_path / "luminal.lock"
    path.write_text(text)
    with pytest.raises(LockFileError) as caught:
        LockFile.read(str(path))
    assert (caught.value.line or 0) == line, str(caught.value)
    assert why in str(caught.value)
    with pytest.raises(LockFileError), updating(str(path)) as update:
        update(lambda file: file.with_entry(LockEntry("new", "bundle", "", D1)))
    assert path.read_text() == text
    assert os.listdir(tmp_path) == ["luminal.lock"]


def test_a_mark_and_line_ends_of_an_editor_change_nothing(tmp_path: Path) -> None:
    path = tmp_path / "luminal.lock"
    path.write_text(GOOD)
    good = LockFile.read(str(path))
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert LockFile.read(str(path)).units == good.units


def test_modes_and_first_use(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    first = unit({"geo/__init__.py": b"1"})
    assert judge.judge(first).is_first
    assert judge.judge(first).status is Status.PINNED
    assert judge.file.units["geo"].tree == first.tree.digest
    changed = unit({"geo/__init__.py": b"2", "geo/net.py": b""})
    with pytest.raises(PhotonVerificationError) as caught:
        judge.judge(changed)
    assert "changed geo/__init__.py" in str(caught.value)
    assert "added geo/net.py" in str(caught.value)
    assert "luminal lock accept geo" in str(caught.value)
    # A directory is pinned only when it was named.
    loose = unit({"a.py": b""}, "plugins/a.py", "directory")
    assert judge.judge(loose).status is Status.UNPINNED
    assert not judge.wants("plugins/a.py", "directory")
    assert judge.wants("geo", "distribution")
    judge.accept(loose)
    assert judge.judge(loose).status is Status.PINNED
    # What was accepted before may be returned to, but is not started anew.
    judge.accept(changed)
    assert judge.file.units["geo"].previous == first.tree.digest
    with pytest.raises(PhotonVerificationError):
        judge.judge(first)
    assert judge.judge(unit(dict(first.files), has_run=True)).status is Status.PINNED
    judge.mode = Mode.FROZEN
    with pytest.raises(PhotonVerificationError, match="does not list it"):
        judge.judge(unit({"x": b""}, "other"))
    judge.mode = Mode.SIGNED
    with pytest.raises(PhotonVerificationError, match="no signatures"):
        judge.judge(changed)
    verified = Verified(("alice",), 1, 1)
    monkeypatch.setattr("luminal.trust._judge._verified", lambda *_: verified)
    assert judge.judge(changed).text == "signed 1/0"


def test_a_first_use_is_refused_where_the_lock_cannot_be_written(
    judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: LockFile) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(LockFile, "write", refuse)
    with pytest.raises(PhotonVerificationError, match="cannot be written"):
        judge.judge(unit({"geo.py": b""}))
    assert "geo" not in judge.file.units


def test_a_lock_that_goes_while_it_is_in_force_lets_nothing_pass(judge: Judge) -> None:
    assert judge.present_mode is Mode.PIN
    os.unlink(judge.path)
    with pytest.raises(LockFileError, match="is gone"):
        judge.judge(unit({"geo.py": b""}))


def test_two_hosts_that_write_lose_nothing(tmp_path: Path) -> None:
    program = textwrap.dedent(
        """
        import sys
        from luminal.trust import LockEntry, updating
        for number in range(20):
            entry = LockEntry(f"{sys.argv[2]}-{number}", "bundle", "", "1" * 128)
            with updating(sys.argv[1]) as update:
                update(lambda file: file.with_entry(entry))
        """
    )
    path = str(tmp_path / "luminal.lock")
    hosts = [
        subprocess.Popen([sys.executable, "-c", program, path, name]) for name in "ab"
    ]
    assert [host.wait() for host in hosts] == [0, 0]
    assert len(LockFile.read(path).units) == 40
    assert os.listdir(tmp_path) == ["luminal.lock"]


def test_a_flipped_bit_in_the_vault_is_named(tmp_path: Path) -> None:
    vault = Vault(str(tmp_path / "vault"), most_trees=2)
    files = {"geo/__init__.py": b"1\n", "geo-1.dist-info/METADATA": b"Name: geo\n"}
    tree = tree_of(files)
    assert vault.keep(files, tree)
    assert vault.read(tree.digest) == files
    assert vault.tree(D1) is None
    for name in ("files/geo/__init__.py", "tree.json"):
        path = tmp_path / "vault" / tree.digest / name
        data = path.read_bytes()
        path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
        with pytest.raises(PhotonVerificationError, match=path.name):
            vault.read(tree.digest)
        assert vault.keep(files, tree)  # it is written anew
        assert vault.read(tree.digest) == files
    # Those that were used last stay.
    others = [{"a.py": bytes([number])} for number in range(3)]
    os.utime(tmp_path / "vault" / tree.digest, (1, 1))
    for number, other in enumerate(others):
        vault.keep(other, tree_of(other))
        os.utime(tmp_path / "vault" / tree_of(other).digest, (2 + number, 2 + number))
    assert len(os.listdir(tmp_path / "vault")) == 2
    assert vault.has(tree_of(others[2]).digest)


KILLED = textwrap.dedent(
    """
    import os, shutil, signal, sys
    from luminal.trust import Judge, LockFile, Unit, Vault, tree_of

    root = sys.argv[1]
    lock, vault = os.path.join(root, "luminal.lock"), Vault(os.path.join(root, "vault"))
    def unit(text):
        files = {"geo/__init__.py": text, "geo/data.txt": text * 2}
        return Unit("geo", "distribution", "1", files, tree_of(files))
    def judge():
        return Judge(lock, vault=vault)
    old, new = unit(b"1"), unit(b"2")
    open(lock, "w").write('version = 1\\nmode = "pin"\\n')
    judge().accept(old)
    kept = open(lock).read()
    steps = 0
    while True:
        steps += 1
        pid = os.fork()
        if not pid:
            count = 0
            def trace(frame, event, argument):
                global count
                if event == "c_call" and (
                    getattr(argument, "__module__", "") in ("posix", "fcntl", "_io")
                    or type(getattr(argument, "__self__", None)).__module__ == "_io"
                ):
                    count += 1
                    if count == steps:
                        os.kill(os.getpid(), signal.SIGKILL)
            sys.setprofile(trace)
            judge().accept(new)
            sys.setprofile(None)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        entry = LockFile.read(lock).units["geo"]
        is_new = entry.tree == new.tree.digest
        assert is_new or entry.tree == old.tree.digest
        assert vault.read(entry.tree) == (new if is_new else old).files
        assert vault.read(new.tree.digest) in (None, new.files)
        judge().accept(new)  # the next one finds no obstacle
        assert LockFile.read(lock).units["geo"].tree == new.tree.digest
        assert not [n for n in os.listdir(root) if n.endswith(".tmp")]
        if not status:
            break
        open(lock, "w").write(kept)
        shutil.rmtree(os.path.join(root, "vault", new.tree.digest))
    print(steps)
    """
)


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")
def test_an_accept_that_is_killed_at_any_step_happened_or_did_not(
    tmp_path: Path,
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20  # steps at which it was killed
