"""What is probably a mistake is told, with the name that was probably meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from luminal import Loader
from luminal.discovery import Discovered, discover, discover_file
from luminal.errors import LuminalWarning
from luminal.model import Problem
from tests.discovery.conftest import Write
from tests.distributions import put

HEAD = "from luminal import IPhoton, hookimpl\n"


def look(folder: Path, **options: object) -> Discovered:
    """Discover cold and warm; the warnings are the same."""
    found = discover(folder, group=None, **options)  # type: ignore[arg-type]
    again = discover(folder, group=None, **options)  # type: ignore[arg-type]
    assert found == again
    assert found.warnings == again.warnings
    return found


def the_one(folder: Path) -> Problem:
    (warning,) = look(folder).warnings
    return warning


@pytest.mark.parametrize(
    ("line", "what", "hint"),
    [
        ("photon_nmae = 'geo'", "sets photon_nmae, which means", "'photon_name'"),
        ("photon_require = ()", "sets photon_require,", "'photon_requires'"),
        ("photon_xyz = 3", "sets photon_xyz, which means nothing", ""),
        ("photon_version = 'abc'", "has the version 'abc'", "write it like '1.2.3'"),
        ("photon_version = '1..2'", "has the version '1..2'", "'1.2.3'"),
        ("photon_version = 1.0", "photon_version, which has a value of the wrong", ""),
        ("photon_tags = [3]", "photon_tags, which has a value of the wrong type", ""),
    ],
)
def test_attributes_that_nobody_reads(
    folder: Path, write: Write, line: str, what: str, hint: str
) -> None:
    """Misspelt, or of the wrong type or form; the photon is found all the same."""
    path = write("geo.py", HEAD + f"class Geo(IPhoton):\n    {line}\n")
    warning = the_one(folder)
    assert what in warning.what
    assert hint in warning.hint
    assert warning.file == str(path)
    assert warning.line in (2, 3)
    assert [c.problem for c in look(folder)] == [None]
    assert discover_file(path).warnings == (warning,)


@pytest.mark.parametrize(
    "line",
    [
        "photon_exclusive = True",
        "photon_settings = object",
        "photon_version = VERSION",
        "photon_version = '1.2.post3'",
        "photon_files = ['*.yaml']",
        "_photon_own = 1",
        "photons = 1",
    ],
)
def test_what_is_in_order(folder: Path, write: Write, line: str) -> None:
    """What only the class is asked for, and what is found out at run time."""
    write("geo.py", HEAD + f"class Geo(IPhoton):\n    {line}\n")
    assert look(folder).warnings == ()


HOOKS = "    @hookimpl(tryfirst=True)\n    def who(self): ...\n"


def test_a_class_with_hooks_and_no_base(folder: Path, write: Write) -> None:
    """Nobody would ever call it; a misspelt base is named."""
    write("geo.py", HEAD + "class Geo:\n" + HOOKS)
    warning = the_one(folder)
    assert "'Geo' has hook implementations and is no photon" in warning.what
    assert (warning.line, warning.hint) == (2, "derive it from IPhoton")
    write("geo.py", HEAD + "class Geo(IPhotn):\n" + HOOKS)
    assert "did you mean 'IPhoton' for 'IPhotn'" in the_one(folder).hint


def test_a_class_that_photons_derive_from_is_in_order(
    folder: Path, write: Write
) -> None:
    """It may be in a file of its own."""
    write("mixed.py", "from luminal import hookimpl\nclass Mixed:\n" + HOOKS)
    write("geo.py", HEAD + "import mixed\nclass Geo(mixed.Mixed, IPhoton): ...\n")
    assert look(folder).warnings == ()


def test_a_distribution_is_warned_of_as_well(tmp_path: Path) -> None:
    """By the file and line of the class."""
    text = HEAD + "class Geo(IPhoton):\n    photon_nmae = 'x'\n"
    put(tmp_path, "geo", "1.0", files={"geo.py": text})
    (warning,) = discover(path=[tmp_path]).warnings
    assert (warning.file, warning.line) == (str(tmp_path / "geo.py"), 3)


async def test_a_load_warns(folder: Path, write: Write) -> None:
    """As a warning of Python, with file and line."""
    write("geo.py", HEAD + "class Geo(IPhoton):\n    photon_nmae = 'x'\n")
    async with Loader() as loader:
        with pytest.warns(LuminalWarning, match=r"photon_nmae(.|\n)*geo\.py:3"):
            await loader.load_photons(folder)
        assert [*loader.photons] == ["Geo"]


STEP = "    def {}(self): ...\n"


@pytest.mark.parametrize(
    ("method", "meant"),
    [
        ("strat", "start"),
        ("sart", "start"),
        ("startt", "start"),
        ("finalise", "finalize"),
        ("finalze", "finalize"),
        ("on_relaod", "on_reload"),
        ("onreload", "on_reload"),
    ],
)
def test_a_method_that_is_spelt_almost_like_a_step(
    folder: Path, write: Write, method: str, meant: str
) -> None:
    """Nobody calls it. The photon is found all the same."""
    write("geo.py", HEAD + "class Geo(IPhoton):\n" + STEP.format(method))
    warning = the_one(folder)
    assert f"'Geo' has a method {method!r} that nobody calls" in warning.what
    assert (warning.line, warning.hint) == (3, f"did you mean {meant!r}?")
    assert [c.problem for c in look(folder)] == [None]


@pytest.mark.parametrize(
    "body",
    [
        "    @hookimpl\n" + STEP.format("strat"),
        "    @property\n" + STEP.format("strat"),
        STEP.format("strat") + "    def start(self):\n        self.strat()\n",
        STEP.format("strat") + "    start = strat\n",
        STEP.format("state") + STEP.format("stop") + STEP.format("restart"),
        STEP.format("start") + STEP.format("starts"),
        STEP.format("strat") + "    def who(self): getattr(self, 'strat')()\n",
    ],
)
def test_a_method_that_merely_resembles_a_step(
    folder: Path, write: Write, body: str
) -> None:
    """It is a hook or called, or the step itself is there too."""
    write("geo.py", HEAD + "class Geo(IPhoton):\n" + body)
    assert look(folder).warnings == ()


def test_a_method_that_a_base_of_another_module_may_call(
    folder: Path, write: Write
) -> None:
    """What that class does is not known."""
    write(
        "geo.py", HEAD + "import b\nclass Geo(b.B, IPhoton):\n" + STEP.format("strat")
    )
    assert look(folder).warnings == ()


@pytest.mark.parametrize(
    ("body", "is_warned"),
    [
        ("    def start(self):\n        yield 1\n", True),
        (
            "    async def finalize(self):\n        while True:\n            yield\n",
            True,
        ),
        ("    def start(self):\n        def numbers(): yield 1\n", False),
        ("    def other(self):\n        yield 1\n", False),
        ("    @decorated\n    def start(self):\n        yield 1\n", False),
    ],
)
def test_a_step_that_is_a_generator(
    folder: Path, write: Write, body: str, is_warned: bool
) -> None:
    """It is called, and nothing of it is executed."""
    write("geo.py", HEAD + "class Geo(IPhoton):\n" + body)
    warnings = look(folder).warnings
    assert [w.what.endswith("is a generator") for w in warnings] == [True] * is_warned


def test_a_class_with_a_name_and_no_base(folder: Path, write: Write) -> None:
    """A load refuses it; a base that is not known here may be the right one."""
    write("geo.py", "class Geo:\n    photon_name = 'geo'\n")
    warning = the_one(folder)
    assert "'Geo' sets photon_name and is no photon" in warning.what
    assert (warning.line, warning.hint) == (1, "derive it from IPhoton")
    write("geo.py", "class Geo(made()):\n    photon_name = 'geo'\n")
    assert look(folder).warnings == ()
