"""``inspect``, ``order`` and ``graph``: what can be known without running anything."""

from __future__ import annotations

from collections.abc import Callable

import pytest

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
        ("graph-json", ("graph", *WHERE, "--json")),
    ],
)
def test_what_is_printed(
    name: str, arguments: tuple[str, ...], golden: Callable[..., Said]
) -> None:
    said = golden(name, *arguments)
    if "--json" in arguments:
        document = said.json()
        assert (document["schema"], document["command"]) == (2, arguments[0])
        assert document["exit"] == said.code


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
    for form in ("text", "dot"):
        said = terminal.luminal("graph", "--no-installed", "circle", "--format", form)
        assert said.code == 0
        assert "sun" in said.out
        assert "self" in said.out


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
    said = terminal.luminal("graph", "--no-installed", "ladder")
    assert said.code == 0
    assert len(said.out.splitlines()) < 300
