"""Whatever is in a directory, discovery ends, says what is wrong, and hides nothing."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import luminal
from luminal.discovery import discover
from luminal.discovery._files import LIMIT
from luminal.model import Candidate, Problem
from tests.waiting import DEADLINE

Write = Callable[..., Path]
ROOT = str(Path(luminal.__file__).parent.parent)
ENVIRONMENT = {**os.environ, "PYTHONPATH": ROOT}
GOOD = "from luminal import IPhoton\nclass Good(IPhoton): pass\n"


def only_bad(folder: Path) -> Candidate:
    """Return the one candidate with a problem; the good neighbour must be there."""
    (folder / "good.py").write_text(GOOD)
    found = discover(folder, group=None)
    assert found.by_name("Good").problem is None
    assert found == discover(folder, group=None)
    (bad,) = found.problems
    return bad


def problem(folder: Path) -> Problem:
    bad = only_bad(folder)
    assert bad.problem is not None
    assert bad.problem.hint
    assert bad.problem.file
    return bad.problem


@pytest.mark.fault(33)
@pytest.mark.parametrize(
    ("data", "code", "line", "why"),
    [
        (b"x = 1\nclass A(:\n", "LUM104", 2, ""),
        (b"x = 1\n  y = 2\n", "LUM104", 2, ""),
        (b"x = 1\ny = '\0'\n", "LUM103", 2, "null bytes"),
        ("x = 1\ny = 'é'\n".encode("latin-1"), "LUM103", 2, "decode"),
        (b"# coding: nonsense\nx = 1\n", "LUM103", 1, "encoding"),
        (b"\xef\xbb\xbf# coding: latin-1\nx = 1\n", "LUM103", 1, "encoding"),
        ("x = 1\n".encode("utf-16"), "LUM103", 1, "null bytes"),
        (b"# coding: ascii\nx = '\xe9'\n", "LUM103", 2, "decode"),
        (b"x = " + b"9" * 5000, "LUM104", 1, ""),
        (b"(" * 300 + b")" * 300, "LUM104", 1, ""),
    ],
)
def test_a_text_that_is_no_python(
    folder: Path, write: Write, data: bytes, code: str, line: int, why: str
) -> None:
    """Syntax, encoding and null bytes are told apart, with their line."""
    path = write("bad.py", data)
    found = problem(folder)
    assert (found.code, found.file, found.line) == (code, str(path), line)
    assert found.why
    assert why in found.why  # where the words are not those of Python's parser


@pytest.mark.fault(33)
@pytest.mark.parametrize(
    "data",
    [
        ("\ufeff" + GOOD.replace("Good", "Fine")).encode(),
        ("# coding: latin-1\nx = 'é'\n" + GOOD.replace("Good", "Fine")).encode(
            "latin-1"
        ),
        GOOD.replace("Good", "Fine").replace("\n", "\r\n").encode(),
        ("x = '\\d'\n" + GOOD.replace("Good", "Fine")).encode(),
    ],
    ids=["mark", "cookie", "crlf", "invalid escape"],
)
def test_encodings_and_line_ends_of_python(
    folder: Path, write: Write, data: bytes
) -> None:
    """What the interpreter reads, discovery reads, without a warning."""
    write("fine.py", data)
    found = discover(folder, group=None)
    assert found.by_name("Fine").problem is None


@pytest.mark.parametrize(
    "data",
    [
        b"x = " + b"-" * 200_000 + b"1",
        b"x = " + b"a." * 100_000 + b"a",
        b"x = " + b"1+" * 100_000 + b"1",
        b"".join(b" " * n + b"if 1:\n" for n in range(99)) + b" " * 99 + b"x=1",
        b"if x: pass\n" + b"elif x: pass\n" * 5000,
    ],
    ids=["unary", "attributes", "sum", "blocks", "elif"],
)
def test_deep_nesting_is_contained(folder: Path, write: Write, data: bytes) -> None:
    """Text that exhausts parser or stack is a problem at most, and not a crash."""
    write("deep.py", data + b"\n" + GOOD.replace("Good", "Deep").encode())
    (folder / "good.py").write_text(GOOD)
    found = discover(folder, group=None)
    assert found.by_name("Good").problem is None
    deep = [c for c in found if c.location.endswith("deep.py")]
    assert len(deep) == 1
    assert deep[0].problem is None or deep[0].problem.code == "LUM104"


@pytest.mark.fault(32)
def test_what_is_no_regular_file(folder: Path) -> None:
    """FIFO, socket, device, dangling and circular links: named, never opened."""
    os.mkfifo(folder / "fifo.py")
    (folder / "device.py").symlink_to("/dev/zero")
    (folder / "dangling.py").symlink_to("nowhere.py")
    (folder / "circle.py").symlink_to("circle.py")
    (folder / "package").mkdir()
    os.mkfifo(folder / "package" / "__init__.py")
    with socket.socket(socket.AF_UNIX) as server:
        old = os.getcwd()
        os.chdir(folder)  # a socket's path has at most 108 bytes
        try:
            server.bind("sock.py")
        finally:
            os.chdir(old)
        (folder / "good.py").write_text(GOOD)
        found = discover(folder, group=None)
    why = {c.name: c.problem.why for c in found.problems if c.problem}
    assert why == {
        "fifo": "it is a FIFO",
        "package": "it is a FIFO",
        "sock": "it is a socket",
        "device": "it is a character device",
        "dangling": os.strerror(errno.ENOENT),
        "circle": os.strerror(errno.ELOOP),
    }
    assert {c.problem.code for c in found.problems if c.problem} == {"LUM103"}
    assert found.by_name("Good").problem is None


@pytest.mark.fault(32)
def test_a_file_of_five_gigabytes_is_not_read(folder: Path) -> None:
    """A sparse 5 GB file is refused by its size."""
    with open(folder / "huge.py", "wb") as file:
        file.truncate(5 * 1024**3)
    found = problem(folder)
    assert (found.code, found.what) == ("LUM103", "is too large")
    assert f"{LIMIT:,}" in found.why


@pytest.mark.skipif(not hasattr(os, "setuid"), reason="needs users")
def test_an_unreadable_file_and_directory(folder: Path, tmp_path: Path) -> None:
    """Missing permission is said for a file and for a directory below."""
    (folder / "good.py").write_text(GOOD)
    (folder / "secret.py").write_text(GOOD)
    (folder / "secret.py").chmod(0)
    (folder / "closed").mkdir(mode=0)
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "good.py").write_text(GOOD)
    (bad / "dangling.py").symlink_to("nowhere.py")
    program = f"""
import os, sys
from luminal.discovery import discover
warm = discover({str(bad)!r}, group=None, index=False)  # imports all that it needs
assert len(warm) == 2
if os.geteuid() == 0:
    os.setuid(65534)
found = discover({str(folder)!r}, group=None, recursive=True, index=False)
print([(c.name, c.problem and (c.problem.code, c.problem.why)) for c in found])
"""
    parent = folder
    while os.geteuid() == 0 and parent != Path("/tmp"):
        parent.chmod(0o755)
        parent = parent.parent
    run = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env=ENVIRONMENT,
    )
    denied = ("LUM103", os.strerror(errno.EACCES))
    assert run.stdout.strip() == str(
        [("closed", denied), ("Good", None), ("secret", denied)]
    )


@pytest.mark.fault(32)
def test_link_loops_of_directories_end(folder: Path, write: Write) -> None:
    """A link to a directory above, and one to its neighbour, are read once."""
    write("sub/a.py", GOOD)
    (folder / "sub" / "up").symlink_to(folder)
    (folder / "sub" / "again").symlink_to(folder / "sub")
    (folder / "zlink").symlink_to(folder / "sub")
    found = discover(folder, group=None, recursive=True)
    assert [c.name for c in found] == ["Good"]
    assert not found.problems


@pytest.mark.fault(34)
@pytest.mark.parametrize(
    ("stem", "why"),
    [
        ("foo-bar", "not an identifier"),
        ("1st", "not an identifier"),
        ("class", "a keyword"),
        ("a b", "not an identifier"),
        ("ﬁne", "Python reads it as 'fine'"),
    ],
)
def test_a_module_name_that_no_import_could_write(
    folder: Path, write: Write, stem: str, why: str
) -> None:
    """One rule: an identifier in its NFKC form that is no keyword."""
    write(f"{stem}.py", GOOD.replace("Good", "Bad"))
    found = problem(folder)
    assert found.code == "LUM107"
    assert found.why
    assert why in found.why  # where the words are not those of Python's parser
    assert "rename" in found.hint


@pytest.mark.fault(34)
def test_a_non_ascii_name_is_fine(folder: Path, write: Write) -> None:
    """Identifiers of any script are modules, their photons too."""
    write("größe.py", GOOD.replace("Good", "Größe"))
    (candidate,) = discover(folder, group=None)
    assert (candidate.name, candidate.problem) == ("Größe", None)


def test_a_file_name_that_is_not_utf8(folder: Path) -> None:
    """Its record can be printed and kept."""
    path = os.fsencode(folder) + b"/b\xe9d.py"
    try:
        with open(path, "wb") as file:
            file.write(GOOD.replace("Good", "Photon").encode())
    except OSError:
        pytest.skip("this file system wants UTF-8")
    bad = only_bad(folder)
    assert bad.name.encode() == "b\ufffdd".encode()


@pytest.mark.parametrize(
    ("body", "code", "line", "text"),
    [
        ("photon_name = 'x' + str(1)", "LUM107", 3, "not a literal string"),
        ("photon_name = ''", "LUM107", 2, "not a name"),
        ("photon_name = 'a\\nb'", "LUM107", 2, "not a name"),
        ("photon_name = '\\ud800'", "LUM107", 2, "not a name"),
        ("photon_name = 7", "LUM107", 3, "not a literal string"),
        ("@abc.abstractmethod\n    def f(self): ...", "LUM107", 2, "is abstract"),
        ("photon_requires = 'x >> 1'", "LUM107", 2, "not a range"),
        ("photon_requires = ['nope']", "LUM106", 2, "requires 'nope'"),
    ],
)
def test_a_class_that_cannot_be_a_photon(
    folder: Path, write: Write, body: str, code: str, line: int, text: str
) -> None:
    """Names, abstract classes and requirements are refused with file and line."""
    path = write(
        "bad.py", f"from luminal import IPhoton\nclass Bad(IPhoton):\n    {body}"
    )
    found = problem(folder)
    assert (found.code, found.file, found.line) == (code, str(path), line)
    assert text in found.what


def test_an_abstract_base_of_its_own_file_is_no_photon(
    folder: Path, write: Write
) -> None:
    """It is what the others derive from."""
    write(
        "shapes.py",
        """
        from abc import abstractmethod
        from luminal import IPhoton
        class Shape(IPhoton):
            @abstractmethod
            def area(self): ...
        class Circle(Shape):
            def area(self): return 3
        """,
    )
    assert [c.name for c in discover(folder, group=None)] == ["Circle"]


def test_metadata_that_is_no_literal_is_left_out(folder: Path, write: Write) -> None:
    """Nothing is evaluated; the photon is loaded all the same."""
    write(
        "good.py",
        GOOD.replace("pass", "photon_version = v(); photon_tags = [1]; photon_api = 2"),
    )
    (good,) = discover(folder, group=None)
    assert (good.version, good.tags, good.api, good.problem) == ("", (), "", None)


HOSTILE = {
    "marker": "open({marker!r}, 'w').close()",
    "leave": "import os; os._exit(66)",
    "system_exit": "raise SystemExit",
    "hang": "while True: pass",
    "meta": "class M(type):\n def __new__(*a): open({marker!r}, 'w')\n"
    "class X(metaclass=M): pass",
    "value": "class Y:\n photon_name = open({marker!r}, 'w').name",
    "decorated": "@open({marker!r}, 'w').write\nclass Z: photon_name = 'z'",
    "base": "class B(open({marker!r}, 'w')): photon_name = 'b'",
    "coding": "# coding: idna\nopen({marker!r}, 'w')",
}


@pytest.mark.fault(25)
def test_hostile_files_are_not_executed(folder: Path, tmp_path: Path) -> None:
    """Each file would write a marker, exit or hang; all are listed, none runs."""
    marker = str(tmp_path / "marker")
    for name, text in HOSTILE.items():
        body = text.format(marker=marker)
        (folder / f"{name}.py").write_text(body + "\n" + GOOD.replace("Good", name))
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(body + "\nfrom .impl import *")
        (folder / name / "impl.py").write_text(body + "\n" + GOOD.replace("Good", name))
        (folder / name / "pyproject.toml").write_text("[tool.luminal]\ntags = ['t']")
    program = f"""
import sys
from luminal.discovery import discover
found = discover({str(folder)!r}, group=None, recursive=True)
print(len(found), [m for m in sys.modules if m in {list(HOSTILE)!r}])
"""
    for _ in range(2):
        run = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            cwd=folder,
            check=False,
            env=ENVIRONMENT,
        )
        assert (run.returncode, run.stderr) == (0, "")
        assert run.stdout == f"{2 * (len(HOSTILE) + 3)} []\n"
        assert not os.path.exists(marker)


@pytest.mark.fault(32)
@pytest.mark.slow
def test_thirty_thousand_files(folder: Path) -> None:
    """Each is looked at once; the one that is broken is named, the rest are fine."""
    count = 30_000
    for number in range(count):
        text = "def" if number == 7 else GOOD.replace("Good", f"P{number}")
        with open(folder / f"m{number}.py", "w") as file:
            file.write(text)
    for _ in range(2):
        found = discover(folder, group=None)
        assert len(found) == count
        assert found.by_name("P29999").problem is None
        assert [c.name for c in found.problems] == ["m7"]
