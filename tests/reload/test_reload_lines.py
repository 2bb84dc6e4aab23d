"""Tracebacks and `inspect` show of old code its own lines, or none."""

from __future__ import annotations

import gc
import inspect
import linecache
import sys
import traceback

import pytest

from luminal.errors import LuminalError
from luminal.managers.excerpt import lines_of
from luminal.model import EventKind

TEXT = """from luminal import IPhoton, hookimpl


def before():
    return "before"


class Photon(IPhoton):
    photon_name = "p"
{extra}
    @hookimpl
    def who(self):
        return "old {number}"

    @hookimpl
    def visit(self, go):
        go(self)
        raise ValueError("raised {number}")  # line {number}


    def finalize(self):
        raise ValueError("finalized {number}")


def after():
    # after {number}
    return "after"
"""


def write(photons, number, extra="", name="p.py"):
    return photons.write(name, TEXT.format(number=number, extra=extra))


def raised(function, *arguments):
    with pytest.raises(ValueError, match="raised") as caught:
        function(*arguments)
    return caught.value


def source_of(thing):
    try:
        return inspect.getsource(thing)
    except OSError:
        return None


def shown(error):
    return "".join(traceback.format_exception(error))


BEFORE = 'def before():\n    return "before"\n'
# What the second version has more, and so where its lines lie.
SHIFTS = ["", "    A = 1\n    B = 2\n"]


@pytest.mark.parametrize("extra", SHIFTS)
async def test_old_code_never_shows_a_line_of_the_new(make_host, photons, extra):
    """While it is alive; the path stays the real one."""
    path = write(photons, 1)
    async with make_host() as host:
        (p,) = await host.run(path)
        old = p.instance
        module = sys.modules[type(old).__module__]
        mine = {
            thing: inspect.getsource(thing)
            for thing in (type(old), type(old).visit, type(old).who, module.after)
        }
        write(photons, 2, extra)
        await host.reload_photon(p)
        linecache.checkcache()
        for thing, text in mine.items():
            assert source_of(thing) in (None, text)
        error = raised(old.visit, lambda photon: None)
        assert "# line 2" not in shown(error)
        assert f'File "{path}", line' in shown(error)
        for frame in traceback.extract_tb(error.__traceback__)[1:]:
            assert frame.line in ("", None) or frame.line in path.read_text()
            assert "2" not in (frame.line or "")
        # What is the same in both is shown of both.
        assert inspect.getsource(module.before) == BEFORE
        assert type(old).visit.__code__.co_filename == str(path)
        new = raised(p.instance.visit, lambda photon: None)
        assert "# line 1" not in shown(new)
        del old, mine, error, thing, module, frame
        gc.collect()
        assert "# line 2" in shown(new)
        assert '"old 2"' in inspect.getsource(type(p.instance))
        assert "# after 2" in inspect.getsource(
            sys.modules[type(p.instance).__module__]
        )


REJECTED = """
import inspect, sys, traceback
def fail(_self=None):
    raise ValueError("raised")  # the new line
try:
    fail()
except ValueError:
    sys.seen = inspect.getsource(fail), traceback.format_exc()
{end}
"""


@pytest.mark.parametrize("end", ["fail()", "class Photon(Photon): start = fail"])
async def test_code_that_is_rejected_shows_no_line_of_what_runs(
    make_host, photons, end, monkeypatch
):
    """While it is staged it finds its own lines."""
    path = write(photons, 1)
    monkeypatch.setattr(sys, "seen", (), raising=False)
    async with make_host() as host:
        (p,) = await host.run(path)
        path.write_text("\n\n" + path.read_text() + REJECTED.format(end=end))
        new = path.read_text().splitlines()
        with pytest.raises(LuminalError) as caught:
            await host.reload_photon(p)
        assert all("# the new line" in seen for seen in sys.seen)
        error, frames = caught.value, []
        while error is not None:
            frames += traceback.extract_tb(error.__traceback__)
            error = error.__cause__
        mine = [frame for frame in frames if frame.filename == str(path)]
        assert mine
        for frame in mine:
            assert frame.line in ("", None, new[frame.lineno - 1].strip())
        caught.value.__cause__ = None
        del caught, error, frames, mine, frame
        await host.until(lambda: gc.collect() < 0 or source_of(type(p.instance)))


async def test_new_code_shows_its_lines_after_an_ordinary_swap(make_host, photons):
    """The old generation is garbage, whether or not it has been collected."""
    path = write(photons, 1)
    async with make_host() as host:
        (p,) = await host.run(path)
        for number in (2, 3, 4):
            write(photons, number, "    X = 0\n" * number)
            await host.reload_photon(p)
            await host.until(lambda: host.happened(EventKind.FINALIZED, "p"))
            assert f'"old {number}"' in inspect.getsource(type(p.instance).who)
            text = shown(raised(p.instance.visit, lambda photon: None))
            assert f"# line {number}" in text


async def test_text_that_is_added_at_the_end(make_host, photons):
    """The last function of the old text may have grown by it."""
    path = write(photons, 1)
    async with make_host() as host:
        (p,) = await host.run(path)
        old = p.instance
        after = sys.modules[type(old).__module__].after
        text = inspect.getsource(after)
        path.write_text(path.read_text() + "\n    # more\n\n\ndef last():\n    pass\n")
        await host.reload_photon(p)
        assert source_of(after) in (None, text)
        assert inspect.getsource(type(old).visit).count("\n") == 4


async def test_the_report_shows_the_old_line_of_an_old_call(make_host, photons):
    """Also where the new text has another line of that number."""
    path = write(photons, 1)
    async with make_host() as host:
        (p,) = await host.run(path)

        write(photons, 2, "    A = 1\n    B = 2\n")
        await host.reload_photon(p)
        problems = await host.until(
            lambda: [e.problem for e in list(host.heard) if e.problem is not None]
        )
        (frame,) = [f for f in problems[0].frames if f.file == str(path)]
        assert frame.text == 'raise ValueError("finalized 1")'
        # The file has another line there by now.
        assert lines_of(problems[0]) == [(frame.line, frame.text)]


async def test_late_modules_of_old_code(make_host, photons):
    """What an old call imports shows its own lines, though another one serves."""
    photons.write(
        "p/__init__.py",
        TEXT.format(number=1, extra="").replace(
            "go(self)", "from .late import fail; fail()"
        ),
    )
    late = photons.write("p/late.py", "def fail():\n    raise ValueError('raised 1')\n")
    async with make_host() as host:
        (p,) = await host.run(photons.path / "p" / "__init__.py")
        old = p.instance
        late.write_text("def fail():\n    raise ValueError('raised 2')  # new\n")
        await host.reload_photon(p)
        new = raised(p.instance.visit, None)
        error = raised(old.visit, None)
        assert "raised 2" not in shown(error)
        assert "# new" not in shown(error)
        assert source_of(sys.modules[type(old).__module__ + ".late"].fail) is None
        del old, error
        gc.collect()
        assert "# new" in shown(new)


async def test_code_that_outlives_its_photon(make_host, photons):
    """After an unload the file is nobody's, and may hold anything."""
    path = write(photons, 1)
    async with make_host() as host:
        (p,) = await host.run(path)
        old = p.instance
        text = inspect.getsource(type(old).visit)
        await host.unload_photon(p)
        assert inspect.getsource(type(old).visit) == text
        write(photons, 2, "    A = 1\n")
        assert source_of(type(old).visit) is None
        assert "# line 2" not in shown(raised(old.visit, lambda photon: None))
        del old, p
        gc.collect()
        assert "".join(linecache.getlines(str(path))) == path.read_text()


async def test_form_feeds_and_separators_count_as_python_counts(make_host, photons):
    """`str.splitlines` ends lines where Python does not."""
    text = TEXT.format(number=1, extra="\x0c\n    S = '\x1c \x85 \u2028'\n")
    path = photons.write("p.py", text)
    async with make_host() as host:
        (p,) = await host.run(path)
        assert "# line 1" in shown(raised(p.instance.visit, lambda photon: None))
        assert inspect.getsource(type(p.instance).who).endswith('return "old 1"\n')
