"""What a photon's code may rely on: imports, names, resources, tracebacks."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import linecache
import os
import pickle
import subprocess
import sys
import textwrap
import traceback
from pathlib import Path

import pytest

from luminal import Loader
from tests.waiting import DEADLINE


def test_relative_imports_reach_any_number_of_levels(photons, start):
    """``from ....a.b import c`` works down and up a package."""
    photons.write("deep/__init__.py", "from .a.b.c import Photon\n")
    for package in ("a", "a/b"):
        photons.write(f"deep/{package}/__init__.py", "")
    photons.write("deep/top.py", "VALUE = 'top'\n")
    photons.write("deep/a/middle.py", "from ..top import VALUE\n")
    photons.write(
        "deep/a/b/c.py",
        """
        from luminal import IPhoton
        from ...top import VALUE
        from ..middle import VALUE as MIDDLE
        from ... import top
        from .. import middle
        from . import d
        class Photon(IPhoton):
            seen = (VALUE, MIDDLE, top.VALUE, middle.VALUE, d.VALUE)
            def late(self):
                from ...late import VALUE
                return VALUE
        """,
    )
    photons.write("deep/a/b/d.py", "from ...top import VALUE\n")
    photons.write("deep/late.py", "VALUE = 'late'\n")
    photon = start(photons.path / "deep" / "__init__.py")
    assert photon.seen == ("top",) * 5
    assert photon.late() == "late"


def test_a_relative_import_above_the_directory_is_refused_as_in_cpython(photons, start):
    """What lies above the directory of photons is nobody's parent package."""
    photons.write("outside.py", "VALUE = 1\n")
    path = photons.photon("alone", head="from .. import outside\n")
    with pytest.raises(ImportError, match="beyond top-level package"):
        start(path)


def test_package_reads_its_data_files(photons, start):
    """``importlib.resources`` and ``pkgutil.get_data`` find what lies in a package."""
    photons.write("box/data/words.txt", "one two")
    photons.write("box/words.txt", "three")
    photons.write("box/inner/__init__.py", "")
    photons.write("box/inner/deep.txt", "four")
    photons.write(
        "box/__init__.py",
        """
        import pkgutil
        from importlib import resources
        from luminal import IPhoton
        class Photon(IPhoton):
            def start(self):
                root = resources.files(__package__)
                self.nested = (root / "data" / "words.txt").read_text()
                self.direct = (resources.files(__name__) / "words.txt").read_text()
                inner = resources.files(__package__ + ".inner")
                self.inner = inner.joinpath("deep.txt").read_text()
                self.data = pkgutil.get_data(__name__, "words.txt")
                with resources.as_file(root / "words.txt") as path:
                    self.path = path
        """,
    )
    photon = start(photons.path / "box" / "__init__.py")
    assert (photon.nested, photon.direct, photon.inner) == ("one two", "three", "four")
    assert photon.data == b"three"
    assert photon.path == photons.path / "box" / "words.txt"


def test_lone_file_imports_its_neighbour_by_either_name(photons, start):
    """A file finds the file beside it, by bare name and relatively, as one module."""
    photons.write("helper.py", "VALUE = object()\n")
    path = photons.photon(
        "lone",
        """
        def start(self):
            import helper as late
            self.seen = {id(helper.VALUE), id(VALUE), id(late.VALUE)}
        """,
        "import helper\nfrom .helper import VALUE\n",
    )
    assert len(start(path).seen) == 1
    assert "helper" not in sys.modules


async def test_file_named_like_a_standard_module_shadows_nothing(photons, loader):
    """``json.py`` is a photon, and everybody's ``import json`` stays what it was."""
    photons.photon("json", "import json\nkind = json.dumps([1])\n")
    photons.photon("random", "import json, random\nkind = json.loads('[2]')\n")

    await (await loader.load_photons(photons.path)).start()
    assert {n: h.instance.kind for n, h in loader.photons.items()} == {
        "json": "[1]",
        "random": [2],
    }
    import json

    assert sys.modules["json"] is json
    assert hasattr(json, "dumps")


def test_file_named_like_an_installed_module_means_the_installed_one(photons, start):
    """A wrapper called like what it wraps imports the installed module."""
    path = photons.photon("pluggy", "version = pluggy.__version__\n", "import pluggy\n")
    import pluggy

    assert start(path).version == pluggy.__version__


async def test_two_files_of_one_stem_in_two_directories_are_two_modules(
    photons, loader, tmp_path
):
    """Directories are name spaces of their own."""
    for where in ("a", "b"):
        photons.write(
            f"{where}/tool.py",
            f"""
            from luminal import IPhoton
            import near
            class Tool{where.upper()}(IPhoton):
                where = near.WHERE
            """,
        )
        photons.write(f"{where}/near.py", f"WHERE = {where!r}\n")

    async def go():
        for where in ("a", "b"):
            await (await loader.load_photons(photons.path / where)).start()
        return {n: h.instance.where for n, h in loader.photons.items()}

    assert await go() == {"ToolA": "a", "ToolB": "b"}


def test_postponed_annotations_resolve(photons, start):
    """dataclasses, attrs, enums and ``get_type_hints`` find the module they are in."""
    path = photons.write(
        "typed.py",
        """
        from __future__ import annotations
        import dataclasses, enum, typing
        from typing import ClassVar
        import attrs
        from luminal import IPhoton

        class Colour(enum.Enum):
            RED = enum.auto()

        @dataclasses.dataclass
        class Point:
            kind: ClassVar[str] = "point"
            x: int = 0
            colour: Colour = Colour.RED
            _: dataclasses.KW_ONLY
            more: int = 0

        @attrs.define
        class Line:
            start: Point
            names: dict[str, Point] = attrs.Factory(dict)

        class Row(typing.NamedTuple):
            point: Point

        class Photon(IPhoton):
            Point, Line, Colour, Row = Point, Line, Colour, Row
            hints = typing.get_type_hints(Point), typing.get_type_hints(Line)
            fields = [f.name for f in dataclasses.fields(Point)]
            def start(self):
                self.resolved = attrs.resolve_types(Line)
                self.late = typing.get_type_hints(Row)
        """,
    )
    photon = start(path)
    assert photon.fields == ["x", "colour", "more"]
    assert photon.Point(1, more=2).more == 2
    assert photon.hints[0]["colour"] is photon.Colour
    assert photon.hints[1]["names"] == dict[str, photon.Point]
    assert photon.late == {"point": photon.Point}


def test_future_flags_of_our_own_do_not_leak(photons, start):
    """A photon's annotations are objects unless it postpones them itself."""
    path = photons.photon("eager", "x: int = 1\n")
    assert inspect.get_annotations(type(start(path)))["x"] is int


def test_instances_pickle_by_reference(photons, start):
    """Classes of photons pickle like any others, also those of submodules."""
    photons.write("shape/__init__.py", "from .point import *\n")
    photons.write(
        "shape/point.py",
        """
        import enum
        from luminal import IPhoton
        __all__ = ["Photon"]
        class Point:
            def __init__(self, x): self.x = x
            def __eq__(self, other): return type(other) is Point and other.x == self.x
        class Kind(enum.Enum):
            A = 1
        class Photon(IPhoton):
            photon_name = "shape"
            def value(self): return [Point(3), Kind.A]
        """,
    )
    photon = start(photons.path / "shape" / "__init__.py")
    value = photon.value()
    again = pickle.loads(pickle.dumps(value))
    assert again == value
    assert again[1] is value[1]


def test_module_names_are_the_same_in_another_process(photons, start, tmp_path):
    """What one process pickles, another one that loads the directory unpickles."""
    photons.photon("box", "def __reduce__(self): return (Photon, ())\n", "VALUE = 1\n")
    photon = start(photons.path / "box.py")
    pickled = tmp_path / "pickled"
    pickled.write_bytes(pickle.dumps([type(photon), photon]))
    script = f"""
        import asyncio, pickle, sys
        from luminal import Loader
        loader = Loader()
        asyncio.run(loader.load_photons({str(photons.path)!r}))
        cls, instance = pickle.loads(open({str(pickled)!r}, "rb").read())
        assert type(instance) is cls is loader.photons["box"].factory
    """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        check=True,
        cwd=Path(__file__).parents[2],
        timeout=DEADLINE,
    )


def test_multiprocessing_children_know_the_photons(photons, start):
    """A forked worker unpickles a function of a photon by its module's name."""
    import multiprocessing

    path = photons.photon(
        "worker",
        """
        def start(self): self.work = work
        """,
        "def work(n): return n * 2\n",
    )
    photon = start(path)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply_async(photon.work, (21,)).get(DEADLINE) == 42


def test_source_and_tracebacks_show_the_code_that_runs(photons, start):
    """Also after the file has changed, or has gone, on the disk."""
    path = photons.photon(
        "shown",
        """
        def fail(self):
            a = 1
            raise ValueError("the old text")  # the line that runs
        """,
    )
    photon = start(path)
    line = (
        path.read_text()
        .splitlines()
        .index('        raise ValueError("the old text")  # the line that runs')
        + 1
    )
    for change in (lambda: None, lambda: path.write_text("#\n" * 40), path.unlink):
        change()
        linecache.checkcache()
        assert "the line that runs" in inspect.getsource(type(photon))
        assert inspect.getsource(photon.fail).lstrip().startswith("def fail")
        assert inspect.getsourcelines(type(photon).fail)[1] == line - 2
        assert inspect.getsourcefile(type(photon)) == str(path)
        with pytest.raises(ValueError, match="the old text") as caught:
            photon.fail()
        text = "".join(traceback.format_exception(caught.value))
        assert f'shown.py", line {line}' in text
        assert "# the line that runs" in text
    module = sys.modules[type(photon).__module__]
    assert "the old text" in inspect.getsource(module)


def test_after_an_unload_linecache_reads_the_file_again(photons, loader, start):
    """Lines of code that no longer runs are not kept."""
    path = photons.photon("shown")
    start(path)
    assert linecache.getlines(str(path))
    asyncio.run(loader.unload_photon(path))
    path.write_text("new = 1\n")
    linecache.checkcache()
    assert linecache.getlines(str(path)) == ["new = 1\n"]


def test_import_module_finds_own_submodules(photons, start):
    """Dynamic imports get the generation's modules, early and late."""
    photons.write("plug/__init__.py", "from .body import Photon\n")
    photons.write("plug/one.py", "VALUE = 1\n")
    photons.write("plug/two.py", "from .one import VALUE\n")
    photons.write(
        "plug/body.py",
        """
        import importlib, sys
        from luminal import IPhoton
        early = importlib.import_module(".one", __package__)
        from . import one
        class Photon(IPhoton):
            photon_name = "plug"
            def start(self):
                self.late = importlib.import_module(__package__ + ".two")
                from . import two
                self.same = early is one and two is self.late
                self.found = importlib.util.find_spec(".one", __package__).origin
                self.listed = __import__("pkgutil")
        """,
    )
    photon = start(photons.path / "plug" / "__init__.py")
    assert photon.same
    assert photon.found == str(photons.path / "plug" / "one.py")
    assert sys.modules[photon.late.__name__] is photon.late
    assert importlib.import_module(photon.late.__name__) is photon.late


@pytest.mark.fault(6)
def test_circular_imports_inside_a_photon_work_as_in_cpython(photons, start):
    """Modules may import each other, if they use names late."""
    photons.write("ring/__init__.py", "from .left import Photon\n")
    photons.write(
        "ring/left.py",
        """
        from luminal import IPhoton
        from . import right
        VALUE = "left"
        class Photon(IPhoton):
            photon_name = "ring"
            def value(self): return right.value()
        """,
    )
    photons.write(
        "ring/right.py",
        """
        from . import left
        import sys
        half_made = not hasattr(left, "VALUE")
        def value(): return left.VALUE, half_made
        """,
    )
    photon = start(photons.path / "ring" / "__init__.py")
    assert photon.value() == ("left", True)


@pytest.mark.fault(6)
def test_circular_import_of_a_name_is_a_clear_error(photons, start):
    """``from .other import NAME`` in a circle says so, and leaves nothing."""
    photons.write("knot/__init__.py", "from .left import Photon\n")
    photons.write(
        "knot/left.py",
        "from .right import B\nfrom luminal import IPhoton\nA = 1\n"
        "class Photon(IPhoton):\n    pass\n",
    )
    photons.write("knot/right.py", "from .left import A\nB = 1\n")
    with pytest.raises(ImportError, match="'A'"):
        start(photons.path / "knot" / "__init__.py")
    assert not [n for n in sys.modules if ".knot" in n]


async def test_imports_of_files_beside_in_a_circle(photons, loader):
    """Two photon files may use each other."""
    photons.photon("one", "def other(self): return two.NAME\n", "import two\nNAME = 1")
    photons.photon("two", "def other(self): return one.NAME\n", "import one\nNAME = 2")

    await (await loader.load_photons(photons.path)).start()
    assert {n: h.instance.other() for n, h in loader.photons.items()} == {
        "one": 2,
        "two": 1,
    }


async def test_a_shared_helper_is_one_module(photons, loader):
    """Photons of one directory that import a helper share it."""
    photons.write("shared.py", "ITEMS = []\n")
    for name in "abc":
        body = "def start(self): ITEMS.append(1)\n"
        photons.photon(name, body, "from shared import ITEMS")

    async def go():
        await (await loader.load_photons(photons.path)).start()
        (name,) = (
            n for n in sys.modules if n.startswith("photons_") and n.endswith(".shared")
        )
        return sys.modules[name].ITEMS

    assert await go() == [1, 1, 1]


def test_star_imports_and_all_bring_submodules(photons, start):
    """``from .sub import *`` imports the modules that ``__all__`` names."""
    photons.write("star/sub/__init__.py", "__all__ = ['leaf', 'VALUE']\nVALUE = 1\n")
    photons.write("star/sub/leaf.py", "LEAF = 2\n")
    photons.write(
        "star/__init__.py",
        "from luminal import IPhoton\nfrom .sub import *\n"
        "class Photon(IPhoton):\n    seen = (VALUE, leaf.LEAF)\n",
    )
    assert start(photons.path / "star" / "__init__.py").seen == (1, 2)


def test_directory_without_init_is_a_namespace(photons, start):
    """A folder of helpers needs no ``__init__.py``."""
    photons.write("lib/inner/tool.py", "VALUE = 7\n")
    path = photons.photon(
        "user",
        "seen = (VALUE, tool.VALUE, full.inner.tool.VALUE)\n",
        "from .lib.inner.tool import VALUE\nfrom .lib.inner import tool\n"
        "from . import lib as full\n",
    )
    assert start(path).seen == (7, 7, 7)


def test_module_that_replaces_itself(photons, start):
    """A module may put another object into its own place in ``sys.modules``."""
    photons.write(
        "odd.py",
        "import sys, types\nnew = types.SimpleNamespace(VALUE=5)\n"
        "sys.modules[__name__] = new\n",
    )
    assert start(photons.photon("user", "seen = odd.VALUE\n", "import odd")).seen == 5


def test_module_getattr_serves_lazy_names(photons, start):
    """PEP 562 works in photons' packages."""
    photons.write(
        "lazy/__init__.py",
        """
        from luminal import IPhoton
        def __getattr__(name):
            if name == "heavy":
                from . import _heavy
                return _heavy.VALUE
            raise AttributeError(name)
        class Photon(IPhoton):
            def start(self):
                from . import heavy
                self.heavy = heavy
        """,
    )
    photons.write("lazy/_heavy.py", "VALUE = 'heavy'\n")
    assert start(photons.path / "lazy" / "__init__.py").heavy == "heavy"


@pytest.mark.parametrize("is_package", [False, True])
def test_source_wins_over_a_compiled_module_beside_it(photons, start, is_package):
    """In a directory: the source was hashed, and can be replaced."""
    from importlib.machinery import EXTENSION_SUFFIXES

    folder = "pack/" if is_package else ""
    for suffix in EXTENSION_SUFFIXES:
        photons.write(f"{folder}fast{suffix}", b"not an ELF file")
    photons.write(f"{folder}fast.py", "VALUE = 'source'")
    path = photons.write(
        "pack/__init__.py" if is_package else "user.py",
        """
        from luminal import IPhoton
        from .fast import VALUE
        class Photon(IPhoton):
            seen = VALUE
        """,
    )
    assert start(path).seen == "source"


def test_extension_that_is_none_is_refused(photons, start):
    """A file that only looks like a compiled extension is an import error."""
    from importlib.machinery import EXTENSION_SUFFIXES

    photons.write("fast" + EXTENSION_SUFFIXES[0], b"not an ELF file")
    path = photons.photon("user", head="import fast\n")
    with pytest.raises(ImportError) as caught:
        start(path)
    assert "fast" in str(caught.value)
    assert not [n for n in sys.modules if n.endswith(".fast")]


def test_main_guard_does_not_run(photons, start):
    """A photon is a module, not a script."""
    photons.photon("script", "ran = NAME\n", "NAME = __name__ == '__main__'\n")
    assert start(photons.path / "script.py").ran is False


def test_gettext_names_in_builtins_reach_photons(photons, start, monkeypatch):
    """What a host adds to the builtins is there for photons loaded later."""
    import builtins

    monkeypatch.setattr(builtins, "_luminal_probe", 3, raising=False)
    assert start(photons.photon("user", "seen = _luminal_probe\n")).seen == 3


async def test_loading_twice_warns_and_changes_nothing(photons, loader):
    """The second load of a file is a warning, and the photons stay the same."""
    path = photons.photon("once")

    first = await loader.load_photon(path)
    from luminal.errors import LuminalWarning

    with pytest.warns(LuminalWarning, match="loaded already"):
        second = await loader.load_photon(path)
    assert loader.photons == {"once": first[0]}
    assert not second


async def test_two_loaders_of_one_directory_do_not_share(photons):
    """Each has modules of its own; one that closes leaves the other's alone."""
    photons.photon("solo", "box = BOX\n", "BOX = []\n")

    async with Loader() as first:
        await (await first.load_photons(photons.path)).start()
        async with Loader() as second:
            await (await second.load_photons(photons.path)).start()
            a, b = first.photons["solo"], second.photons["solo"]
            assert a.instance.box is not b.instance.box
            assert type(a.instance) is not type(b.instance)
        module = type(a.instance).__module__
        assert sys.modules[module].BOX is a.instance.box
        assert pickle.loads(pickle.dumps(type(a.instance))) is type(a.instance)


def test_a_new_release_behind_a_link_has_its_own_files(tmp_path, loader):
    """Archives and package stores give all directories one modification time."""
    for number in (1, 2):
        release = tmp_path / f"release{number}" / "photons"
        release.mkdir(parents=True)
        helper = f"helper{number}"
        (release / f"{helper}.py").write_text(f"X = {number}\n")
        (release / "geo.py").write_text(
            f"from luminal import IPhoton\nfrom {helper} import X\n"
            "class Geo(IPhoton):\n    x = X\n"
        )
        os.utime(release, (1_000_000_000, 1_000_000_000))
    link = tmp_path / "current"
    link.symlink_to(tmp_path / "release1")

    async def go():
        [geo] = await loader.load_photon(link / "photons" / "geo.py")
        await geo.start()
        before = geo.instance.x
        new = tmp_path / "new"
        new.symlink_to(tmp_path / "release2")
        new.replace(link)
        await loader.reload_photon(geo)
        return before, geo.instance.x

    assert asyncio.run(go()) == (1, 2)
