"""``inspect``, ``order`` and ``graph``: what can be known without running anything."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable

import pluggy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import luminal
from luminal.cli.declared import DeclaredHook, call_order
from tests.cli.terminal import Said, Terminal

HEAD = "import luminal\n\nopen('marker', 'w').close()\n\n\n"
PHOTONS = {
    "photons/geo.py": HEAD
    + """\
class Geo(luminal.IPhoton):
    photon_name = "geo"
    photon_version = "1.2"
    photon_author = "Ada"
    photon_tags = ("place", "map")

    @luminal.hookimpl(trylast=True)
    def locate(self, address):
        return address
""",
    "photons/alarm/__init__.py": "from .siren import Siren as Siren\n",
    "photons/alarm/siren.py": HEAD
    + """\
class Loud(luminal.IPhoton):
    @luminal.hookimpl(specname="warn")
    def shout(self): ...


class Siren(Loud):
    photon_name = "siren"
    photon_requires = ("geo>=1",)
    photon_before = ("rain",)

    @luminal.hookimpl
    async def locate(self, address): ...
""",
    "photons/rain.py": HEAD
    + """\
class Rain(luminal.IPhoton):
    photon_name = "rain"
    photon_requires = ("gauge",)
""",
}
WHERE = ("--no-installed", "photons")


@pytest.fixture(autouse=True)
def nothing_has_run(terminal: Terminal) -> object:
    terminal.write(PHOTONS)
    yield
    assert not (terminal.place / "marker").exists()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("inspect", ("inspect", *WHERE)),
        ("inspect-json", ("inspect", "siren", *WHERE, "--json")),
        ("order", ("order", *WHERE)),
        ("order-json", ("order", *WHERE, "--json")),
        ("order-hook", ("order", *WHERE, "--hook", "locate")),
        ("order-hook-json", ("order", *WHERE, "--hook", "locate", "--json")),
        ("graph", ("graph", *WHERE)),
        ("graph-dot", ("graph", *WHERE, "--format", "dot")),
        ("graph-svg", ("graph", *WHERE, "--format", "svg")),
        ("graph-json", ("graph", *WHERE, "--json")),
    ],
)
def test_what_is_printed(
    name: str, arguments: tuple[str, ...], golden: Callable[..., Said]
) -> None:
    said = golden(name, *arguments)
    if "--json" in arguments:
        document = said.json()
        assert (document["schema"], document["verb"]) == (1, arguments[0])
        assert document["exit"] == said.code
    if "svg" in arguments:
        assert ET.fromstring(said.out).tag.endswith("svg")


def test_an_unknown_photon_or_hook_gets_the_nearest(terminal: Terminal) -> None:
    said = terminal.luminal("inspect", "sirne", *WHERE)
    assert said.code == 3
    assert "did you mean 'siren'" in said.err
    said = terminal.luminal("order", *WHERE, "--hook", "locat")
    assert said.code == 3
    assert "did you mean 'locate'" in said.err


def test_a_circle_is_drawn_and_ends(terminal: Terminal) -> None:
    terminal.write(
        {
            f"circle/{a}.py": f"import luminal\nclass {a.title()}(luminal.IPhoton):\n"
            f"    photon_name = '{a}'\n    photon_requires = ('{b}',)\n"
            for a, b in (("sun", "moon"), ("moon", "sun"), ("self", "self"))
        }
    )
    for form in ("text", "dot", "svg"):
        said = terminal.luminal(
            "graph", "--no-installed", "circle", "--format", form, timeout=20
        )
        assert said.code == 0
        assert "sun" in said.out
        assert "self" in said.out


OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "tryfirst": st.just(True),
        "trylast": st.just(True),
    },
).filter(lambda options: len(options) < 2)


@settings(deadline=None, max_examples=60)
@given(st.lists(OPTIONS, max_size=6))
def test_call_order_is_that_of_a_real_call(drawn: list[dict[str, bool]]) -> None:
    """What ``order --hook`` foretells is what pluggy does with such photons."""
    manager = pluggy.PluginManager("luminal")

    class Specs:
        @luminal.hookspec
        def locate(self) -> list[str]: ...

    manager.add_hookspecs(Specs)
    for at, options in enumerate(drawn):

        def locate(at: int = at) -> str:
            return f"p{at}"

        plugin = type(f"P{at}", (), {})()
        plugin.locate = luminal.hookimpl(**options)(locate)
        manager.register(plugin, f"p{at}")
    declared = [
        (f"p{at}", DeclaredHook("locate", "", 0, dict(options)))
        for at, options in enumerate(drawn)
    ]
    assert [name for name, _ in call_order(declared)] == manager.hook.locate()


def test_a_graph_grows_with_its_edges_and_not_with_its_ways(terminal: Terminal) -> None:
    """A ladder of diamonds has 2**60 ways through it."""
    files = {}
    for at in range(60):
        for side in "ab":
            needs = f"('a{at - 1}', 'b{at - 1}')" if at else "()"
            files[f"ladder/{side}{at}.py"] = (
                f"import luminal\nclass P(luminal.IPhoton):\n"
                f"    photon_name = '{side}{at}'\n    photon_requires = {needs}\n"
            )
    terminal.write(files)
    said = terminal.luminal("graph", "--no-installed", "ladder", timeout=20)
    assert said.code == 0
    assert len(said.out.splitlines()) < 300
