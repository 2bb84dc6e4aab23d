"""Syntax trees: what cannot be parsed is that photon's problem, never a crash."""

from __future__ import annotations

import ast
import builtins
import linecache
import sys
import traceback

import pytest

from luminal import LuminalError, discover

TEXT = """\
import warnings
from luminal import IPhoton, hookimpl
assert not hasattr(warnings, "odd") or warnings.odd != {number}
warnings.odd = {number}
class Odd(IPhoton):
    photon_name = "odd"
    photon_owns = []
    photon_description = "\\\\d"
    def start(self):
        TABLE["odd"] = self
    def finalize(self):
        del TABLE["odd"]
    @hookimpl
    def who(self):
        raise ValueError('of generation {number}')
TABLE = {{}}
"""


@pytest.fixture(params=["once", "SystemError", "MemoryError", "RecursionError"])
def is_broken(request, monkeypatch):
    """Let the interpreter fail to make trees: once for each text, or always."""
    usual, seen = builtins.compile, set()
    error = getattr(builtins, request.param, SystemError)

    def compile_(source, filename, mode, flags=0, *args, **options):
        text = source.decode() if isinstance(source, bytes) else str(source)
        callers = [sys._getframe(at).f_globals["__name__"] for at in (1, 2)]
        is_ours = any(name.startswith("luminal.") for name in callers)
        is_first = request.param != "once" or text not in seen
        if is_ours and flags & ast.PyCF_ONLY_AST and "photon_owns" in text and is_first:
            seen.add(text)
            raise error("AST constructor recursion depth mismatch")
        return usual(source, filename, mode, flags, *args, **options)

    compile_.__wrapped__ = usual
    monkeypatch.setattr(builtins, "compile", compile_)
    return request.param != "once"


async def test_the_interpreter_cannot_parse(
    make_host, tmp_path, is_broken, monkeypatch
):
    """Discovery, loading, lines of old code and what a reload reports do without."""
    monkeypatch.setattr(sys.modules["warnings"], "odd", 0, raising=False)
    (tmp_path / "fine.py").write_text(
        "import luminal\nclass Fine(luminal.IPhoton): ...\n"
    )
    path = tmp_path / "odd.py"
    path.write_text(TEXT.format(number=1))
    found = {c.name: c for c in discover(tmp_path, group=None, index=False)}
    assert found["Fine"].problem is None
    assert (found["odd"].problem is not None) is is_broken
    async with make_host() as host:
        with monkeypatch.context() as whole:
            whole.setattr(builtins, "compile", builtins.compile.__wrapped__)
            await host.run(path)
        with pytest.raises(ValueError, match="of generation 1") as raised:
            host.hook.who()
        path.write_text(TEXT.format(number=1) + "# repeated\n")
        with pytest.raises(LuminalError, match="AssertionError"):
            await host.reload_photon("odd")
        path.write_text("\n" + TEXT.format(number=2))
        await host.reload_photon("odd")
        linecache.checkcache()
        assert "ValueError" in "".join(traceback.format_exception(raised.value))
