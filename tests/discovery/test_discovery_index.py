"""The index: never stale, safe between processes, and no more than a cache."""

from __future__ import annotations

import ast
import logging
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import luminal
from luminal.discovery import _files, _scan, discover
from luminal.discovery._draft import Draft, candidate_of, draft_of
from luminal.model import Candidate, Source
from luminal.store import _stamps
from tests.waiting import DEADLINE, wait_until

Write = Callable[..., Path]
ROOT = str(Path(luminal.__file__).parent.parent)
GOOD = "from luminal import IPhoton\nclass {}(IPhoton): pass\n"


@pytest.fixture
def surveys(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count how often the disk is really read."""
    counted: list[int] = []
    original = _scan.find_candidates

    def counting(*args: object) -> object:
        counted.append(1)
        return original(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(_scan, "find_candidates", counting)
    return counted


def test_a_second_discovery_reads_nothing(
    folder: Path, write: Write, surveys: list[int], grown_up: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Nothing changed: no file is opened, and the answer is equal."""
    write("a.py", GOOD.format("A"))
    write("helper.py", "x = 1")
    first = discover(folder, group=None)
    opened: list[object] = []
    monkeypatch.setattr("luminal.discovery._files.read_bytes", opened.append)
    assert discover(folder, group=None) == first
    assert (len(surveys), opened) == (1, [])


def test_one_edit_parses_one_file(
    folder: Path, write: Write, grown_up: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The facts of all other files are known by their digests."""
    for n in range(5):
        write(f"m{n}.py", GOOD.format(f"M{n}"))
    discover(folder, group=None)
    parsed: list[str] = []
    original = _scan.facts_of

    def parse(data: bytes, path: str, checksum: str) -> object:
        parsed.append(path)
        return original(data, path, checksum)

    monkeypatch.setattr(_scan, "facts_of", parse)
    path = write("m3.py", GOOD.format("Changed"))
    os.utime(folder / "m4.py", (1, 1))
    assert next(c.name for c in discover(folder, group=None)) == "Changed"
    assert parsed == [str(path)]


@pytest.mark.fault(28)
def test_an_edit_in_the_same_instant_is_seen(folder: Path, write: Write) -> None:
    """Same size, same mtime, and maybe the same ctime: the content decides."""
    for turn in range(200):
        path = write("a.py", GOOD.format("AB"[turn % 2]))
        os.utime(path, ns=(10**18, 10**18))
        assert [c.name for c in discover(folder, group=None)] == ["AB"[turn % 2]]


def test_an_old_file_is_trusted_by_its_stamp_only_when_it_is_old(
    folder: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The margin is counted from the later of mtime and ctime."""
    path = write("a.py", GOOD.format("A"))
    stamp = _stamps.stamp_of(path.stat())
    changed = max(stamp[4], stamp[5])
    assert not _stamps.settled(stamp, changed)
    assert not _stamps.settled(stamp, changed + _stamps.MARGIN - 1)
    assert _stamps.settled(stamp, changed + _stamps.MARGIN) == (os.name != "nt")


def test_young_evidence_is_refreshed_when_it_has_aged(
    folder: Path, write: Write, surveys: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that had to be read once more are trusted by stamp from then on."""
    write("a.py", GOOD.format("A"))
    discover(folder, group=None)
    reads: list[str] = []
    original = _files.read_bytes
    monkeypatch.setattr(
        _files, "read_bytes", lambda path: reads.append(path) or original(path)
    )
    discover(folder, group=None)
    assert len(reads) == 1
    now = time.time_ns() + 10 * _stamps.MARGIN
    monkeypatch.setattr(time, "time_ns", lambda: now)
    for _ in range(3):
        discover(folder, group=None)
    assert len(reads) == 2
    assert len(surveys) == 1


def test_what_was_not_there_is_looked_for_again(folder: Path, write: Write) -> None:
    """A neighbour, a manifest, an `__init__` that appears changes the answer."""
    write("b.py", "from base import Base\nclass B(Base): pass")
    write("p/__init__.py", GOOD.format("P"))
    write("q/r.py", GOOD.format("R"))
    assert [c.name for c in discover(folder, group=None)] == ["P"]
    write("base.py", GOOD.format("Base"))
    write("p/pyproject.toml", "[tool.luminal]\nname = 'Pp'")
    write("q/__init__.py", GOOD.format("Q"))
    names = [c.name for c in discover(folder, group=None)]
    assert names == ["B", "Base", "Pp", "Q"]


def test_a_refused_question_is_no_answer(
    folder: Path, write: Write, grown_up: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old sandboxes refuse a newer system call, and everything seems to be absent."""
    monkeypatch.setattr(_files, "_EXISTS", lambda path, dir_fd: False)
    write("p/helper.py", "")
    write("q.py", GOOD.format("Q"))
    for _ in range(2):
        assert [c.name for c in discover(folder, group=None)] == ["Q"]
    write("p/__init__.py", GOOD.format("P"))
    assert [c.name for c in discover(folder, group=None)] == ["P", "Q"]


def test_other_questions_have_other_answers(folder: Path, write: Write) -> None:
    """Each option is part of the key."""
    write("a.py", GOOD.format("A") + "class B(Other): pass\n")
    write("s/c.py", GOOD.format("C"))
    look = lambda **o: [(c.name, c.enabled) for c in discover(folder, group=None, **o)]  # noqa: E731
    for _ in range(2):
        assert look() == [("A", True)]
        assert look(recursive=True) == [("A", True), ("C", True)]
        assert look(photon_base="Other") == [("B", True)]
        assert look(block=["A"]) == [("A", False)]
        assert look(allow=[]) == [("A", False)]
        assert look(allow=["a"]) == [("A", True)]


def test_another_luminal_asks_again(
    folder: Path, write: Write, surveys: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer of other code is no answer, an upgrade's or an editor's."""
    write("a.py", GOOD.format("A"))
    discover(folder, group=None)
    discover(folder, group=None)
    monkeypatch.setattr("luminal.discovery._discover._own_code", lambda: ("other",))
    discover(folder, group=None)
    assert len(surveys) == 2


@pytest.mark.fault(36)
def test_a_damaged_index_costs_one_warning(
    folder: Path, write: Write, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Bytes that were changed are ignored, said once, and replaced."""
    write("a.py", GOOD.format("A"))
    first = discover(folder, group=None)
    for path in cache.glob("*.sealed"):
        data = bytearray(path.read_bytes())
        data[-10] ^= 255
        path.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        assert discover(folder, group=None) == first
        assert discover(folder, group=None) == first
    assert len(caplog.records) == 1


@pytest.mark.fault(35)
def test_without_a_place_for_it_all_works(
    folder: Path, write: Write, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A cache directory that cannot be made costs one warning."""
    write("a.py", GOOD.format("A"))
    (tmp_path / "file").touch()
    for _ in range(3):
        found = discover(folder, group=None, index=tmp_path / "file" / "cache")
        assert [c.name for c in found] == ["A"]
    assert len(caplog.records) == 1


def test_index_false_leaves_no_trace(folder: Path, write: Write, cache: Path) -> None:
    """Neither key nor file is made."""
    write("a.py", GOOD.format("A"))
    assert len(discover(folder, group=None, index=False)) == 1
    assert not cache.exists()


def test_many_requests_do_not_fill_the_disk(
    folder: Path, write: Write, cache: Path
) -> None:
    """Of the answers to many different requests the latest are kept."""
    write("a.py", GOOD.format("A"))
    for n in range(150):
        discover(folder, group=None, photon_base=f"Base{n}")
    assert len(list(cache.iterdir())) < 140


CONTENTS = [
    GOOD.format("Aaaa"),
    GOOD.format("Bbbb"),
    GOOD.format("Aaaa").replace("pass", "void"),
    "from m0 import Aaaa\nclass Cc(Aaaa): pass # pad\n",
    "from luminal import IPhoton\nclass Dddd(IPhoton: bad\n",
    "",
]
NAMES = ["m0.py", "m1.py", "m2.py", "pk/__init__.py", "pk/m0.py", "sub/m3.py"]
KINDS = ["write", "in place", "rename", "delete", "link", "touch", "swap", "mode"]
CHANGES = st.tuples(
    st.sampled_from(KINDS),
    st.sampled_from(NAMES),
    st.sampled_from(NAMES),
    st.sampled_from(CONTENTS),
    st.sampled_from([None, 10**18, 10**18 + 1]),
)


def change(folder: Path, step: tuple[str, str, str, str, int | None]) -> None:
    """Change one thing on disk, in one of the ways that editors and tools do."""
    kind, name, other, content, mtime = step
    path, second = folder / name, folder / other
    path.parent.mkdir(exist_ok=True)
    if kind == "write" or not path.is_file():
        path.unlink(missing_ok=True)
        path.write_text(content)
    elif kind == "in place":
        with open(path, "r+") as file:
            file.write(content)
            file.truncate()
    elif kind == "rename":
        temporary = folder / "new.tmp"
        temporary.write_text(content)
        os.replace(temporary, path)
    elif kind == "delete":
        path.unlink()
    elif kind == "link":
        if second.exists() and second != path and not second.is_symlink():
            path.unlink()
            path.symlink_to(second)
    elif kind == "swap":
        if second.exists():
            spare = folder / "spare.tmp"
            os.replace(path, spare)
            os.replace(second if second != path else spare, path)
            if spare.exists():
                os.replace(spare, second)
    elif kind == "mode":
        path.chmod(0o600 if path.stat().st_mode & 0o077 else 0o644)
    if mtime is not None and path.is_file():
        os.utime(path, ns=(mtime, mtime))


Step = tuple[str, str, str, str, int | None]


def check_never_stale(folder: Path, steps: Iterable[Step]) -> None:
    """After each change the answer with the index is that without it, twice."""
    for step in steps:
        change(folder, step)
        expected = discover(folder, group=None, recursive=True, index=False)
        for _ in range(2):
            assert discover(folder, group=None, recursive=True) == expected, step


def history(length: int, seed: int) -> Iterator[Step]:
    chance = random.Random(seed)
    for _ in range(length):
        yield (
            chance.choice(KINDS),
            chance.choice(NAMES),
            chance.choice(NAMES),
            chance.choice(CONTENTS),
            chance.choice([None, 10**18, 10**18 + 20_000_000]),
        )


@given(steps=st.lists(CHANGES, min_size=5, max_size=40))
@settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_the_index_is_never_stale(
    tmp_path_factory: pytest.TempPathFactory, coarse_times: None, steps: list[Step]
) -> None:
    """Any history of changes, on a file system with coarse times."""
    check_never_stale(tmp_path_factory.mktemp("photons"), steps)


def test_the_check_finds_an_index_that_trusts_young_files(
    folder: Path, coarse_times: None, grown_up: None
) -> None:
    """Without the margin the same check fails: it can see staleness."""
    with pytest.raises(AssertionError):
        check_never_stale(folder, history(20_000, 1))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_the_index_is_never_stale_over_thousands_of_changes(
    folder: Path, coarse_times: None, seed: int
) -> None:
    """Long histories, same size and same mtime included."""
    check_never_stale(folder, history(2_500, seed))


PROGRAM = textwrap.dedent(
    """
    import sys
    from luminal.discovery import discover
    found = discover(sys.argv[1], group=None, recursive=True, index=len(sys.argv) > 2)
    for candidate in found:
        print(ascii(candidate))
    """
)


def run(*arguments: str, **environment: str) -> str:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, *arguments],
        env={**os.environ, "PYTHONPATH": ROOT, **environment},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_the_hash_seed_does_not_matter(folder: Path, write: Write) -> None:
    """Processes with different seeds give the same answer, with index or without."""
    for n in range(20):
        text = GOOD.format(f"P{n}").replace(
            "pass", f"photon_requires = ['p{n + 1}', 'p{n + 2}']; photon_before = 'P7'"
        )
        write(f"m{n % 3}/f{n}.py", text)
    outputs = {run(str(folder), PYTHONHASHSEED=str(seed)) for seed in range(4)}
    outputs.add(run(str(folder), "index", PYTHONHASHSEED="5"))
    outputs.add(run(str(folder), "index", PYTHONHASHSEED="6"))
    assert len(outputs) == 1
    assert outputs.pop().count("\n") == 20


@pytest.mark.fault(37)
def test_several_processes_share_one_index(folder: Path, write: Write) -> None:
    """Eight at once, from a cold start, on one directory: all answers are equal."""
    for n in range(50):
        write(f"f{n}.py", GOOD.format(f"P{n}"))
    children = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", PROGRAM, str(folder), "index"],
            env={**os.environ, "PYTHONPATH": ROOT},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(8)
    ]
    outputs = {child.communicate(timeout=DEADLINE) for child in children}
    assert len(outputs) == 1
    (out, err) = outputs.pop()
    assert (out.count(b"\n"), err) == (50, b"")


@pytest.mark.fault(36)
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal")
def test_a_killed_writer_leaves_a_readable_index(
    folder: Path, write: Write, cache: Path
) -> None:
    """kill -9 while the index is written again and again: the next start reads it."""
    write("a.py", GOOD.format("A"))
    program = textwrap.dedent(
        """
        import sys
        from luminal.discovery import discover
        while True:
            for name in ("A", "B"):
                discover(sys.argv[1], group=None, block=[name])
                text = "from luminal import IPhoton\\nclass A(IPhoton): x = "
                open(sys.argv[1] + "/a.py", "w").write(text + repr(name))
            print(flush=True)
        """
    )
    for _ in range(5):
        child = subprocess.Popen(
            [sys.executable, "-c", program, str(folder)],
            env={**os.environ, "PYTHONPATH": ROOT},
            stdout=subprocess.PIPE,
        )
        assert child.stdout is not None
        child.stdout.readline()
        child.kill()
        child.communicate()
        write("a.py", GOOD.format("A"))
        for name in ("A", "B"):
            found = discover(folder, group=None, block=[name])
            assert found == discover(folder, group=None, block=[name], index=False)


_PARSING = {"ast", "hashlib"}


@pytest.mark.parametrize("is_warm", [True, False], ids=["warm", "cold"])
def test_a_discovery_imports_nothing_heavy(
    folder: Path, write: Write, is_warm: bool
) -> None:
    """Until a record is looked at, not even attrs is loaded."""
    path = write("a.py", GOOD.format("A"))
    program = """
import sys, typing
class Named(typing.NamedTuple):  # Python 3.14 imports ast for it
    value: "int"
before = set(sys.modules)
sys.path[:0] = {path!r}
from luminal.discovery import discover
found = discover({folder!r}, path={path_of_installed!r}, group={group!r})
assert len(found) == 1
heavy = "attr attrs ast json asyncio packaging pluggy inspect hashlib logging"
print([m for m in heavy.split() if m in sys.modules.keys() - before])
assert found[0].name == "A"
""".format(
        path=[*sys.path, ROOT],
        folder=str(folder),
        path_of_installed=[str(folder)] if is_warm else None,
        group="luminal.photons" if is_warm else None,
    )
    # Only files that are older than the margin are trusted by their stamps.
    wait_until(lambda: time.time_ns() >= path.stat().st_ctime_ns + _stamps.MARGIN)
    if is_warm:
        discover(folder, path=[folder])
    child = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program],
        capture_output=True,
        text=True,
        check=True,
    )
    imported = set(ast.literal_eval(child.stdout))
    assert imported <= (set() if is_warm else _PARSING)


def test_drafts_have_the_attributes_of_candidates() -> None:
    """A draft becomes a candidate by its values alone."""
    fields = {field.name: field.default for field in attrs.fields(Candidate)}
    assert Draft._fields == tuple(fields)
    assert Draft._field_defaults == {
        name: default
        for name, default in fields.items()
        if default is not attrs.NOTHING
    }
    made = Candidate("a", Source.BUNDLE, "b", "c", tags=("d",), enabled=False)
    assert candidate_of(draft_of(made)) == made
