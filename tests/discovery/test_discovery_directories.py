"""What a directory's candidates are: units, names, metadata, bases across files."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import luminal
from luminal.discovery import Discovered, discover, discover_file
from luminal.errors import DirectoryNotFoundError, PhotonNotFoundError
from luminal.model import Source

Write = Callable[..., Path]
PHOTON = "from luminal import IPhoton\nclass {}(IPhoton): pass\n"


def look(folder: Path, **options: object) -> Discovered:
    return discover(folder, group=None, **options)  # type: ignore[arg-type]


def names(found: Discovered) -> list[str]:
    return [candidate.name for candidate in found]


def test_a_record_says_all_that_the_class_body_says(folder: Path, write: Write) -> None:
    """Literals become the record's fields; location, line and checksum are exact."""
    path = write(
        "weather.py",
        """
        from luminal.interfaces import IPhoton
        class Weather(IPhoton):
            photon_name = "weather"
            photon_author: str = "Ann"
            photon_version = "1.2"
            photon_description = "Says " "it rains"
            photon_tags = ["sky", "water"]
            photon_before = "report"
            photon_after = ("clock",)
            photon_api = ">=1"
            photon_other = print("not run")
        """,
    )
    (candidate,) = look(folder)
    assert candidate.name == "weather"
    assert candidate.source is Source.DIRECTORY
    assert candidate.origin == str(folder)
    assert candidate.location == str(path)
    assert (candidate.target, candidate.line) == ("Weather", 3)
    assert (candidate.author, candidate.version) == ("Ann", "1.2")
    assert candidate.description == "Says it rains"
    assert candidate.tags == ("sky", "water")
    assert (candidate.before, candidate.after) == (("report",), ("clock",))
    assert candidate.api == ">=1"
    assert candidate.enabled
    assert candidate.problem is None
    assert candidate.checksum == hashlib.sha512(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    "text",
    [
        "from luminal import IPhoton\nclass A(IPhoton): pass",
        "from luminal.interfaces import IPhoton as P\nclass A(P): pass",
        "import luminal\nclass A(luminal.IPhoton): pass",
        "import luminal.interfaces\nclass A(luminal.interfaces.IPhoton): pass",
        "import luminal.interfaces as li\nclass A(li.IPhoton): pass",
        "from luminal import interfaces\nclass A(interfaces.IPhoton): pass",
        "from luminal import *\nclass A(IPhoton): pass",
        "from luminal import IPhoton\nclass A(object, IPhoton[int], metaclass=M): pass",
        "class A:\n    photon_name = 'A'",
        "if 1:\n from luminal import IPhoton\nif 1:\n class A(IPhoton): pass",
        "from luminal import IPhoton\nclass A: pass\nclass A(IPhoton): pass",
    ],
)
def test_what_makes_a_class_a_photon(folder: Path, write: Write, text: str) -> None:
    """A base that is the photon base through any import, or a name of its own."""
    write("some.py", text)
    assert names(look(folder)) == ["A"]


@pytest.mark.parametrize(
    "text",
    [
        "class A: pass",
        "class A(Base): pass",
        "from luminal import IPhoton\nclass _A(IPhoton): pass",
        "from luminal import IPhoton\nclass A(IPhoton): pass\nclass A: pass",
        "from luminal import IPhoton\ndef f():\n class A(IPhoton): pass",
        "class A(A): pass",
        "class A(B): pass\nclass B(A): pass",
        "",
        "\n# only a comment\n",
    ],
)
def test_what_is_a_helper(folder: Path, write: Write, text: str) -> None:
    """A file without a photon is no candidate."""
    write("some.py", text)
    assert names(look(folder)) == []


def test_another_base_and_its_name_do(folder: Path, write: Write) -> None:
    """`photon_base` may be a class or its name."""
    write("some.py", "from host import Plugin\nclass A(Plugin): pass")
    assert names(look(folder, photon_base="Plugin")) == ["A"]
    assert names(look(folder, photon_base=type("Plugin", (), {}))) == ["A"]
    assert names(look(folder)) == []


def test_a_base_is_followed_through_the_neighbours(folder: Path, write: Write) -> None:
    """Classes of the file, of neighbours and of relative modules are looked into."""
    write("common.py", PHOTON.format("Common"))
    write("chain.py", "from common import Common as C\nclass Middle(C): pass")
    write("far.py", "import chain\nclass Far(chain.Middle): pass")
    write("near.py", "from .common import Common\nclass Near(Common): pass")
    write("star.py", "from common import *\nclass Star(Common): pass")
    write("local.py", PHOTON.format("_Base") + "class Local(_Base): pass")
    assert names(look(folder)) == ["Common", "Far", "Local", "Middle", "Near", "Star"]


def test_a_circle_of_imports_ends(folder: Path, write: Write) -> None:
    """Neighbours that import each other are looked at once."""
    write("a.py", "from b import B\nclass A(B): pass")
    write("b.py", "from a import A\nfrom c import *\nclass B(A): pass")
    write("c.py", "from b import *\nfrom a import X as Y\nclass C(Y): pass")
    assert names(look(folder)) == []


def test_two_photons_of_one_file_are_two_records(folder: Path, write: Write) -> None:
    """One file, two classes, one checksum."""
    write("two.py", PHOTON.format("One") + "class Two(One): pass\n")
    one, two = look(folder)
    assert (one.target, two.target) == ("One", "Two")
    assert one.checksum == two.checksum


def test_a_class_called_photon_is_named_by_its_file(folder: Path, write: Write) -> None:
    """`Photon` takes the name of its file or package."""
    write("rain.py", PHOTON.format("Photon"))
    write("snow/__init__.py", PHOTON.format("Photon"))
    assert names(look(folder)) == ["rain", "snow"]


def test_a_package_is_one_unit(folder: Path, write: Write) -> None:
    """What `__init__` defines or imports from inside counts; the rest is inside."""
    init = write(
        "pack/__init__.py",
        """
        from luminal import IPhoton
        from .impl import Weather as Sky
        from .deep.er import *
        from pack.absolute import Abs
        from outside import Outside
        from .impl import Abstract
        """,
    )
    write("outside.py", PHOTON.format("Outside"))
    impl = PHOTON.format("Weather")
    impl += "class Hidden(IPhoton): pass\n"
    impl += "class Abstract(IPhoton):\n @abc.abstractmethod\n def f(self): ...\n"
    write("pack/impl.py", impl)
    write("pack/absolute.py", PHOTON.format("Abs"))
    write("pack/deep/__init__.py", "")
    write("pack/deep/er.py", PHOTON.format("Deeper"))
    found = look(folder, recursive=True)
    assert names(found) == ["Abs", "Deeper", "Outside", "Weather"]
    weather = found.by_name("weather")
    assert (weather.location, weather.target, weather.line) == (str(init), "Sky", 3)
    assert weather.checksum == hashlib.sha512(init.read_bytes()).hexdigest()


def test_a_table_beside_a_package_speaks_for_it(folder: Path, write: Write) -> None:
    """`[tool.luminal]` gives defaults; the class body wins."""
    text = PHOTON.format("Snow").replace("pass", "photon_version = '2'")
    write("snow/__init__.py", text)
    write(
        "snow/pyproject.toml",
        """
        [tool.luminal]
        name = "schnee"
        version = "1"
        tags = ["cold"]
        requires = ["sky>=1"]
        enabled = false
        """,
    )
    (snow,) = look(folder)
    assert (snow.name, snow.version, snow.tags) == ("schnee", "2", ("cold",))
    assert snow.requirements == ("sky>=1",)
    assert not snow.enabled


@pytest.mark.parametrize(
    "table",
    ["[tool.luminal]\nnmae = 'x'", "[tool.luminal]\ntags = 1", "[[[", "tool = 1"],
)
def test_a_wrong_table_is_a_problem(folder: Path, write: Write, table: str) -> None:
    """An unknown key, a wrong type and a broken file are said, with the file."""
    write("snow/__init__.py", PHOTON.format("Snow"))
    path = write("snow/pyproject.toml", table)
    (snow,) = look(folder)
    assert snow.problem is not None
    assert (snow.problem.code, snow.problem.file) == ("LUM107", str(path))


def test_the_top_and_what_is_below(folder: Path, write: Write) -> None:
    """Without recursion the top; with it plain sub-directories, hidden ones never."""
    for name in ("top.py", "sub/low.py", "sub/sub/lower.py", "pack/__init__.py"):
        write(name, PHOTON.format("X" + name.replace("/", "_")[:-3]))
    for name in ("_private.py", ".hidden.py", "__pycache__/c.py", ".git/g.py"):
        write(name, PHOTON.format("No"))
    write("x.dist-info/d.py", PHOTON.format("No"))
    write("sub/notes.txt", "text")
    assert names(look(folder)) == ["Xpack___init__", "Xtop"]
    below = ["Xpack___init__", "Xsub_low", "Xsub_sub_lower", "Xtop"]
    assert names(look(folder, recursive=True)) == below


def test_a_directory_of_directories_is_read_one_level_down(
    folder: Path, write: Write
) -> None:
    """Where the top has no module, those of its sub-directories count."""
    write("one/a.py", PHOTON.format("A"))
    write("two/__init__.py", PHOTON.format("B"))
    write("three/deep/c.py", PHOTON.format("C"))
    assert names(look(folder)) == ["A", "B"]


def test_a_directory_twice_counts_once(folder: Path, write: Write) -> None:
    """Overlapping directories do not make a photon conflict with itself."""
    write("sub/a.py", PHOTON.format("A"))
    found = discover(folder, folder / "sub", str(folder), group=None, recursive=True)
    assert names(found) == ["A"]
    assert not found.problems


@pytest.mark.parametrize("kind", ["missing", "file"])
def test_a_wrong_argument_raises(folder: Path, write: Write, kind: str) -> None:
    """A directory that is none is the caller's mistake, not a candidate's."""
    path = folder / "missing" if kind == "missing" else write("file", "")
    with pytest.raises(DirectoryNotFoundError, match=r"is not a directory \[LUM102\]"):
        discover(path, group=None)


def test_a_slip_in_a_path_is_answered_with_the_name_that_is_there(
    folder: Path, tmp_path: Path
) -> None:
    """A near name is named, a tilde is explained, and nothing is guessed."""
    with pytest.raises(DirectoryNotFoundError) as caught:
        discover(tmp_path / "photosn", group=None)
    assert f"did you mean {str(folder)!r}?" in str(caught.value.hint)
    with pytest.raises(DirectoryNotFoundError) as caught:
        discover("~/photons", group=None)
    assert "expanduser" in str(caught.value.hint)
    for name in ("a\0b", "nothing/like/this"):
        with pytest.raises(DirectoryNotFoundError) as caught:
            discover(tmp_path / name, group=None)
        assert caught.value.why == "it does not exist"
        assert "did you mean" not in str(caught.value.hint)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"allow": "geo"}, r"allow is one string; write allow=\['geo'\]"),
        ({"block": "geo"}, r"block is one string; write block=\['geo'\]"),
        ({"block": [b"geo"]}, "block holds b'geo', not only names"),
        ({"allow": [1, "a"]}, "allow holds 1, not only names"),
        ({"group": "g", "path": "/tmp"}, r"path is one string; write path=\['/tmp'\]"),
        ({"photon_base": 3}, "photon_base is 3, not a class or its name"),
    ],
)
def test_an_argument_of_a_wrong_type_is_refused(
    folder: Path, options: dict[str, Any], said: str
) -> None:
    """One string for several would be read letter by letter, and block nothing."""
    with pytest.raises(TypeError, match=said):
        discover(folder, **{"group": None, **options})


def test_a_path_of_bytes_is_refused(folder: Path) -> None:
    """The message says how to write it."""
    with pytest.raises(TypeError, match=r"is a path of bytes; write os\.fsdecode"):
        discover(bytes(folder), group=None)  # type: ignore[arg-type]


def test_a_base_may_be_named_with_its_module(folder: Path, write: Write) -> None:
    """The last part is compared: a file says ``IPhoton`` or ``luminal.IPhoton``."""
    write("a.py", "import luminal\nclass A(luminal.IPhoton): pass\n")
    for base in ("IPhoton", "luminal.IPhoton", luminal.IPhoton):
        assert [c.name for c in discover(folder, group=None, photon_base=base)] == ["A"]


def test_one_file(folder: Path, write: Write) -> None:
    """`discover_file` takes any name, and says when there is no photon."""
    text = PHOTON.format("A").replace("pass", "photon_requires = ['else']")
    path = write("_any.py", text)
    (candidate,) = discover_file(path)
    assert (candidate.name, candidate.problem) == ("A", None)
    (helper,) = discover_file(write("helper.py", "x = 1"))
    assert helper.problem is not None
    assert helper.problem.what == "holds no photon"
    assert helper.name == "helper"
    package = write("pack/__init__.py", PHOTON.format("Photon"))
    assert discover_file(package)[0].name == "pack"
    with pytest.raises(PhotonNotFoundError, match="is a directory"):
        discover_file(folder)
    with pytest.raises(PhotonNotFoundError, match="does not exist"):
        discover_file(folder / "none.py")


def test_the_sequence_is_immutable_and_says_what_it_holds(
    folder: Path, write: Write
) -> None:
    """Length, slices, equality, look-up by folded name, counts."""
    write(
        "a.py", PHOTON.format("Alpha") + "class Beta(IPhoton): photon_enabled = False"
    )
    write("b.py", "def")
    found = look(folder)
    assert repr(found) == "<Discovered photons=3 problems=1 disabled=1>"
    assert found[0].name == "Alpha"
    assert names(found[1:]) == ["b", "Beta"]
    assert found == look(folder)
    assert hash(found) == hash(look(folder))
    assert found != [1]
    assert found.by_name("ALPHA") is found[0]
    assert [c.name for c in found.problems] == ["b"]
    with pytest.raises(PhotonNotFoundError, match="did you mean 'Alpha'"):
        found.by_name("Alphq")
    with pytest.raises(TypeError):
        found[0] = found[1]  # type: ignore[index]


def test_allow_and_block(folder: Path, write: Write) -> None:
    """What is not wanted is listed as disabled, without a problem."""
    write("a.py", PHOTON.format("Alpha") + "class Beta(IPhoton): pass")
    write("bad.py", "def")
    found = look(folder, allow=["ALPHA", "bad"], block=["bad"])
    assert [(c.name, c.enabled) for c in found] == [
        ("Alpha", True),
        ("bad", False),
        ("Beta", False),
    ]
    assert not found.problems


def test_the_order_of_creation_does_not_matter(tmp_path: Path) -> None:
    """Two trees with the same content, made in opposite order, give one answer."""
    order = [f"m{n}.py" for n in range(30)]
    answers = []
    for turn in (order, order[::-1]):
        folder = tmp_path / "same"
        folder.mkdir()
        for name in turn:
            (folder / name).write_text(PHOTON.format(name[:-3].upper()))
        answers.append(look(folder, index=False))
        os.rename(folder, tmp_path / f"old{len(answers)}")
    assert answers[0] == answers[1]


def test_threads_leave_the_warning_filters_as_they_are(
    folder: Path, write: Write
) -> None:
    """Discoveries at once, with text that the parser warns of."""
    for number in range(20):
        write(f"m{number}.py", f"x = '\\d'\n{PHOTON.format(f'P{number}')}")
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: look(folder, index=False), range(40)))
    assert warnings.filters == before
    assert not any(answer.problems for answer in answers)
    assert {len(answer) for answer in answers} == {20}
