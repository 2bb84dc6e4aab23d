"""A name that an author misspelt is answered with the one that is there."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import luminal
from luminal.lifecycle._failures import suggestion

HEAD = "import luminal\n\n\ndef helper(): ...\n\n\n"


def hint(directory: Path, head: str, method: str) -> str:
    """Return the hint for the photon that these lines make."""
    text = f"{HEAD}{head}\n\n\nclass Geo(luminal.IPhoton):\n    photon_name = 'geo'\n"
    (directory / "geo.py").write_text(f"{text}\n    {method}\n")

    async def live() -> str:
        async with luminal.Loader(suppress_errors=True, cache=False) as loader:
            await loader.load(luminal.discover(directory, group=None))
            await loader.start()
            (failed,) = loader.report.failed
            assert failed.problem is not None
            return failed.problem.hint

    return asyncio.run(live())


@pytest.mark.parametrize(
    ("head", "method", "name"),
    [
        ("", "@luminal.hookimpl(tryfrist=True)\n    def locate(self): ...", "tryfirst"),
        ("", "@luminal.hookimpl(spcname='x')\n    def locate(self): ...", "specname"),
        ("", "@luminal.hookspec(firstresul=1)\n    def f(self): ...", "firstresult"),
        ("", "@luminal.hookimp\n    def locate(self): ...", "hookimpl"),
        ("", "def start(self):\n        helpr()", "helper"),
        ("", "async def start(self):\n        self.context.spwan(1)", "spawn"),
        ("import jsn", "pass", "json"),
        ("from json import lods", "pass", "loads"),
    ],
)
def test_the_nearest_name_is_in_the_hint(
    head: str, method: str, name: str, tmp_path: Path
) -> None:
    assert hint(tmp_path, head, method).endswith(f"; did you mean {name!r}?")


@pytest.mark.parametrize(
    ("head", "method"),
    [
        ("import a_library_that_nobody_has", "pass"),
        ("", "def start(self):\n        raise TypeError('f() got a surprise')"),
        ("", "def start(self):\n        raise NameError"),
        ("", "def start(self):\n        raise ImportError(name='json')"),
    ],
)
def test_what_has_no_near_name_gets_none(
    head: str, method: str, tmp_path: Path
) -> None:
    assert "did you mean" not in hint(tmp_path, head, method)


def test_an_object_that_does_not_want_to_be_asked_is_left_alone() -> None:
    class Shy:
        def __dir__(self) -> list[str]:
            raise OSError("no")

    class Odd(TypeError):
        def __str__(self) -> str:
            raise OSError("no")

    assert suggestion(AttributeError("no", name="x", obj=Shy())) == ""
    assert suggestion(Odd()) == ""
