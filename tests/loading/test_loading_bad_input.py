"""Bad input: the right error, the others unaffected, and nothing left behind."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import threading

import pytest

from luminal import IPhoton, Loader, discover
from luminal.errors import (
    DirectoryNotFoundError,
    LuminalError,
    PhotonBatchError,
    PhotonConflictError,
    PhotonDependencyError,
    PhotonImportError,
    PhotonNotFoundError,
    PhotonSyntaxError,
    PhotonUnreadableError,
    PhotonValidationError,
)

GOOD = """
from luminal import IPhoton
class Good(IPhoton):
    started = False
    def start(self): self.started = True
"""

HEAD = "from luminal import IPhoton\n"

# name of the file, text, error, line that is named (0: none), words of the message
BROKEN = {
    "syntax": (HEAD + "def f(:\n    pass\n", PhotonSyntaxError, 2, "syntax.py:2"),
    "null": (b"VALUE = '\x00'\n", PhotonUnreadableError, 1, "null bytes"),
    "encoding": (
        HEAD.encode() + b"class Photon(IPhoton):\n    x = '\xe9'\n",
        PhotonUnreadableError, 3, "encoding",
    ),
    "cookie": (b"# coding: nonsense\n", PhotonUnreadableError, 1, "nonsense"),
    "missing": (
        HEAD + "import no_such_module_anywhere\nclass Photon(IPhoton): pass\n",
        PhotonDependencyError, 2, "no_such_module_anywhere",
    ),
    "missing_name": (
        HEAD + "from json import no_such_name\nclass Photon(IPhoton): pass\n",
        PhotonImportError, 2, "no_such_name",
    ),
    "first_line": (
        "raise ValueError('at once')\n" + HEAD + "class Photon(IPhoton): pass\n",
        PhotonImportError, 1, "ValueError: at once",
    ),
    "last_line": (
        HEAD + "class Photon(IPhoton): pass\n1 / 0\n",
        PhotonImportError, 3, "ZeroDivisionError",
    ),
    "exit": (
        HEAD + "import sys\nclass Photon(IPhoton): pass\nsys.exit(3)\n",
        PhotonImportError, 4, "SystemExit",
    ),
    "interrupt": (
        HEAD + "class Photon(IPhoton): pass\nraise KeyboardInterrupt\n",
        PhotonImportError, 3, "KeyboardInterrupt",
    ),
    "generator_exit": (
        HEAD + "class Photon(IPhoton): pass\nraise GeneratorExit\n",
        PhotonImportError, 3, "GeneratorExit",
    ),
    "cancelled": (
        HEAD + "import asyncio\nclass Photon(IPhoton): pass\n"
        "raise asyncio.CancelledError\n",
        PhotonImportError, 4, "CancelledError",
    ),
    "stop_iteration": (
        HEAD + "class Photon(IPhoton): pass\nnext(iter(()))\n",
        PhotonImportError, 3, "StopIteration",
    ),
    "recursion": (
        HEAD + "class Photon(IPhoton): pass\ndef f(): f()\nf()\n",
        PhotonImportError, None, "RecursionError",
    ),
    "memory": (
        HEAD + "class Photon(IPhoton): pass\nraise MemoryError('all gone')\n",
        PhotonImportError, 3, "MemoryError: all gone",
    ),
    "str_raises": (
        HEAD + "class Photon(IPhoton): pass\n"
        "class E(Exception):\n    def __str__(self): raise ValueError\n"
        "raise E\n",
        PhotonImportError, 5, "E",
    ),
    "abstract": (
        "import abc\n" + HEAD + "class Photon(IPhoton, abc.ABC):\n"
        "    @abc.abstractmethod\n    def need(self): ...\n",
        PhotonValidationError, 3, "abstract",
    ),
    "bad_name": (
        HEAD + "class Photon(IPhoton):\n    photon_name = ''\n",
        PhotonValidationError, 2, "name",
    ),
    "computed_name": (
        HEAD + "class Photon(IPhoton):\n    photon_name = 'a' + str(1)\n",
        PhotonValidationError, 3, "literal",
    ),
    "metaclass": (
        HEAD + "class Meta(type):\n"
        "    def __subclasscheck__(cls, other): raise OSError('no')\n"
        "    def __getattribute__(cls, name): raise OSError('never')\n"
        "class Photon(IPhoton, metaclass=Meta): pass\n",
        LuminalError, None, "OSError",
    ),
    "init_subclass": (
        HEAD + "class _Base(IPhoton):\n"
        "    def __init_subclass__(cls): raise ValueError('no children')\n"
        "class Photon(_Base): pass\n",
        PhotonImportError, 3, "no children",
    ),
    "class": (
        HEAD + "import keyword\nclass Photon(IPhoton): pass\n", PhotonValidationError,
        None, "keyword",
    ),
    "two-words": (HEAD + "class Photon(IPhoton): pass\n", PhotonValidationError,
        None, "identifier"),
    "ﬁ": (HEAD + "class Photon(IPhoton): pass\n", PhotonValidationError, None, "reads"),
}  # fmt: skip


def left_over(photons) -> set[str]:
    """Names of modules that come from the directory of photons."""
    return {n for n in sys.modules if n.startswith("photons_")}


@pytest.mark.fault(1, 2, 3, 4, 25, 33, 34)
@pytest.mark.parametrize("name", BROKEN)
async def test_broken_file(photons, name):
    """Its error has class, photon, file, line, cause and mend; the others run."""
    text, kind, line, words = BROKEN[name]
    path = photons.write(f"{name}.py", text)
    photons.write("good.py", GOOD)
    finders, threads = list(sys.meta_path), set(threading.enumerate())

    loader = Loader()
    with pytest.raises(kind) as caught:
        await loader.load_photon(path)
    assert not left_over(photons)
    assert sys.meta_path == finders
    assert not loader.photons
    report = await loader.load(discover(photons.path, group=None))
    await loader.start()
    assert list(loader.photons) == ["Good"]
    assert loader.photons["Good"].instance.started
    assert not [
        n for n in left_over(photons) if not n.endswith((".good",)) and "." in n
    ]
    (failed,) = report.failed
    await loader.close()
    error = caught.value
    assert type(error) is not LuminalError
    assert error.file == str(path)
    assert error.photon
    assert error.hint
    assert words in str(error)
    if line is not None:
        assert error.line == line
    assert failed.problem.code == error.code
    assert failed.problem.file == str(path)
    assert not left_over(photons)
    assert sys.meta_path == finders
    assert set(threading.enumerate()) <= threads


async def test_a_helper_that_breaks_is_named(photons):
    """The line to blame is the helper's, the photon is the one that was asked for."""
    helper = photons.write("helper.py", "\n\n1 / 0\n")
    path = photons.photon("user", head="import helper\n")

    with pytest.raises(PhotonImportError) as caught:
        await Loader().load_photon(path)
    error = caught.value
    assert (error.photon, error.file, error.line) == ("user", str(helper), 3)
    assert not left_over(photons)


async def test_import_error_keeps_its_cause(photons):
    """The traceback that an author needs is that of the photon's own error."""
    path = photons.photon("bad", head="1 / 0\n")

    with pytest.raises(PhotonImportError) as caught:
        await Loader().load_photon(path)
    error = caught.value
    assert isinstance(error.__cause__, ZeroDivisionError)


async def test_file_with_two_photons_and_one_cause_gives_one_error(photons):
    """``except PhotonImportError`` works however many photons the file holds."""
    path = photons.write(
        "two.py",
        HEAD + "class One(IPhoton): pass\nclass Two(IPhoton): pass\nboom\n",
    )

    loader = Loader()
    with pytest.raises(PhotonImportError) as caught:
        await loader.load_photon(path)
    error, report = caught.value, loader.report
    assert "NameError" in str(error)
    assert [o.photon for o in report.failed] == ["One", "Two"]
    assert error.photon == "One"


@pytest.mark.fault(9)
async def test_name_collision_names_both(photons):
    """Neither of two files takes the other's name silently."""
    a = photons.write("a.py", HEAD + "class Same(IPhoton): pass\n")
    b = photons.write("b.py", HEAD + "class Same(IPhoton): pass\n")

    loader = Loader()
    await loader.load_photon(a)
    before = loader.photons
    with pytest.raises(PhotonConflictError) as caught:
        await loader.load_photon(b)
    assert loader.photons == before
    assert not [n for n in sys.modules if n.endswith(".b")]
    await loader.close()
    error = caught.value
    assert str(a) in str(error)
    assert str(b) in str(error)


@pytest.mark.fault(34)
async def test_names_that_differ_by_case_collide(photons):
    """One rule for names, whatever the file system thinks."""
    a = photons.write("a.py", HEAD + "class same(IPhoton): pass\n")
    b = photons.write("b.py", HEAD + "class SAME(IPhoton): pass\n")

    async with Loader() as loader:
        await loader.load_photon(a)
        with pytest.raises(PhotonConflictError):
            await loader.load_photon(b)


async def test_names_that_a_call_makes_collide_too(photons):
    """Also photons that discovery cannot see are checked before they are let in."""
    a = photons.write("a.py", HEAD + "class Same(IPhoton): pass\n")
    b = photons.write(
        "b.py",
        HEAD + "class Other(IPhoton): pass\n"
        "Same = type('Same', (IPhoton,), {'__module__': __name__})\n",
    )

    async with Loader() as loader:
        await loader.load_photon(a)
        with pytest.raises(PhotonConflictError):
            await loader.load_photon(b)
        assert list(loader.photons) == ["Same"]
        await loader.unload_photon("Same")
        assert len(await loader.load_photon(b)) == 2


@pytest.mark.parametrize("kind", ["missing", "directory", "dangling", "loop"])
@pytest.mark.fault(32)
async def test_path_that_is_no_file(photons, kind):
    """``load_photon`` says what is there instead."""
    path = photons.path / "x.py"
    expected: type[Exception] = PhotonNotFoundError
    if kind == "directory":
        path.mkdir()
    elif kind == "dangling":
        path.symlink_to("nowhere.py")
        expected = PhotonUnreadableError
    elif kind == "loop":
        path.symlink_to("x.py")
        expected = PhotonUnreadableError

    with pytest.raises(expected) as caught:
        await Loader().load_photon(path)
    error = caught.value
    assert isinstance(error, OSError)
    assert error.file == str(path)
    assert error.hint


@pytest.mark.parametrize("kind", ["missing", "file", "fifo", "dangling"])
async def test_path_that_is_no_directory(photons, kind):
    """``load_photons`` says what is there instead."""
    path = photons.path / "x"
    if kind == "file":
        path.write_text("")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "dangling":
        path.symlink_to("nowhere")

    with pytest.raises(DirectoryNotFoundError) as caught:
        await Loader().load_photons(path)
    assert caught.value.file == str(path)


@pytest.mark.fault(32)
@pytest.mark.parametrize("kind", ["fifo", "huge", "device", "unreadable"])
async def test_file_that_cannot_be_read(photons, kind):
    """Never opened, or not read: refused in bounded time, with the reason."""
    path = photons.path / "x.py"
    if kind == "fifo":
        os.mkfifo(path)
        words = "FIFO"
    elif kind == "huge":
        with path.open("wb") as file:
            file.truncate(5 * 1024**3)
        words = "5,368,709,120 bytes"
    elif kind == "device":
        path.symlink_to("/dev/zero")
        words = "device"
    else:
        path.write_text(GOOD)
        path.chmod(0)
        if os.access(path, os.R_OK):
            pytest.skip("this user reads everything")
        words = "ermission"
    photons.write("good.py", GOOD)

    loader = Loader()
    with pytest.raises(PhotonUnreadableError) as caught:
        await loader.load_photon(path)
    await loader.load(discover(photons.path, group=None))
    assert list(loader.photons) == ["Good"]
    await loader.close()
    error = caught.value
    assert words in str(error)
    assert error.hint


@pytest.mark.parametrize("text", ["", "# nothing\n", "x = 1\n", "class A: pass\n"])
async def test_file_without_a_photon(photons, text):
    """An empty file, a helper, a wrong base: said, with what to derive from."""
    path = photons.write("x.py", text)

    with pytest.raises(PhotonValidationError) as caught:
        await Loader().load_photon(path)
    error = caught.value
    assert error.file == str(path)
    assert "IPhoton" in str(error)


async def test_wrong_base_class(photons):
    """A host's own base class is asked for by name."""
    path = photons.photon("x")

    class HostBase(IPhoton):
        pass

    with pytest.raises(PhotonValidationError, match="HostBase"):
        await Loader().load_photon(path, photon_base=HostBase)


async def test_several_broken_files_are_one_batch_error(photons):
    """Each is in the group; what is sound is loaded."""
    photons.write("good.py", GOOD)
    photons.photon("bad", head="1 / 0\n")
    photons.write("worse.py", "def (:\n")

    async def go():
        async with Loader() as loader:
            with pytest.raises(PhotonBatchError) as caught:
                await loader.load_photons(photons.path)
            assert list(loader.photons) == ["Good"]
            return caught.value

    error = await go()
    assert {type(e) for e in error.exceptions} == {PhotonImportError, PhotonSyntaxError}
    assert "bad.py" in str(error)
    assert "worse.py" in str(error)


async def test_suppressed_errors_are_logged(photons, caplog):
    """``suppress_errors=True`` gives an empty list and a record a failure."""
    path = photons.photon("bad", head="1 / 0\n")

    loader = Loader(suppress_errors=True)
    first = await loader.load_photon(path)
    second = await loader.load_photon(photons.path / "none.py")
    third = await loader.load_photons(photons.path / "none")
    assert not await loader.unload_photon("nobody")
    assert [*first, *second, *third] == []
    text = caplog.text
    assert "bad.py:2" in text
    assert "none.py" in text
    assert "nobody" in text


@pytest.mark.fault(8)
async def test_requirement_that_failed_takes_its_dependents_along(photons):
    """Refused before anything of the dependent runs, the missing one named."""
    photons.photon("bottom", head="1 / 0\n")
    photons.photon(
        "top", "photon_requires = ('bottom',)\n", "import sys; sys.ran = 1\n"
    )

    async def go():
        async with Loader() as loader:
            report = await loader.load(discover(photons.path, group=None))
            return {o.photon: o.problem for o in report.failed}

    problems = await go()
    assert set(problems) == {"bottom", "top"}
    assert "bottom" in problems["top"].why
    assert not hasattr(sys, "ran")


async def test_failed_loads_leave_no_garbage(photons):
    """Loads that fail pin neither modules nor frames, once the error is dropped."""
    photons.photon("bad", head="class Big: pass\nBIG = Big()\n1 / 0\n")

    loader = Loader()
    for _ in range(20):
        with contextlib.suppress(PhotonImportError):
            await loader.load_photons(photons.path)
    gc.collect()
    assert not [o for o in gc.get_objects() if type(o).__name__ == "Big"]
    assert not loader.photons
