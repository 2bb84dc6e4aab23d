"""What is loaded is a photon, and the one that discovery has described."""

from __future__ import annotations

import pytest

from luminal import Loader, discover
from tests.distributions import photon_text, put

HEAD = "from luminal import IPhoton, hookimpl\n"


@pytest.fixture
def site(tmp_path, monkeypatch):
    path = tmp_path / "site"
    path.mkdir()
    monkeypatch.syspath_prepend(path)
    return path


async def load(*directories, names=()):
    """Load what is found; return name → problem, and the names of what is loaded."""
    async with Loader(suppress_errors=True) as loader:
        report = await loader.load(discover(*directories, index=False))
        problems = {o.photon: o.problem for o in report.outcomes if o.problem}
        return problems, sorted(loader.photons)


@pytest.mark.parametrize(
    ("entry", "kind"),
    [
        ("things:NUMBER", "an object of type 'int'"),
        ("things:TEXT", "an object of type 'str'"),
        ("things:os.system", "an object of type 'builtin_function_or_method'"),
        ("things:Bare", "the class 'Bare'"),
        ("things:make", "an object of type 'function'"),
        ("things", "the module 'things'"),
    ],
)
async def test_an_entry_point_to_no_photon_is_refused_by_name(site, entry, kind):
    """A number, a string, a function, a class without base or hooks."""
    put(
        site,
        "things",
        "1.0",
        files={
            "things.py": "import os\nNUMBER = 3\nTEXT = 'text'\n"
            "class Bare:\n    def start(self): ...\ndef make(): ...\n"
        },
        entries=f"thing = {entry}",
    )
    put(site, "blue", "1.0")
    problems, loaded = await load()
    assert loaded == ["blue"]
    assert problems["thing"].code == "LUM107"
    assert kind in problems["thing"].why


async def test_any_object_with_hook_implementations_is_a_photon(site):
    """A module, a class without base, an instance; as is what derives from the base."""
    put(
        site,
        "things",
        "1.0",
        files={
            "things.py": HEAD + "class Bare:\n    @hookimpl\n    def who(self): ...\n"
            "made = Bare()\n@hookimpl\ndef who(): ...\n"
            "class Plain(IPhoton): ...\n",
        },
        entries="bare = things:Bare\nmade = things:made\nwhole = things\n"
        "plain = things:Plain",
    )
    problems, loaded = await load()
    assert problems == {}
    assert loaded == ["bare", "made", "plain", "whole"]


STRANGE = "class Strange(str):\n    def __str__(self): return '<script>'\n"


@pytest.mark.parametrize(
    ("late", "what"),
    [
        ("Blue.photon_name = 'other'", "has another photon_name at run time"),
        ("Blue.photon_version = '3'", "has another photon_version at run time"),
        (STRANGE + "Blue.photon_name = Strange('blue')", "photon_name"),
        (STRANGE + "Blue.photon_version = Strange('1.0')", "photon_version"),
    ],
)
@pytest.mark.parametrize("is_installed", [False, True])
async def test_another_name_or_version_at_run_time_is_the_photons_error(
    site, tmp_path, late, what, is_installed
):
    """Host and user have decided by what discovery has read."""
    text = photon_text("blue", "1.0") + "    photon_version = '1.0'\n" + late
    folder = tmp_path / "photons"
    folder.mkdir()
    if is_installed:
        put(site, "blue", "1.0", files={"blue.py": text})
    else:
        (folder / "blue.py").write_text(text)
    (folder / "green.py").write_text(photon_text("green", "1.0"))
    problems, loaded = await load(folder)
    assert loaded == ["green"]
    (problem,) = problems.values()
    assert (problem.code, what in problem.what) == ("LUM107", True)


async def test_a_name_that_is_taken_at_run_time_is_refused_not_its_owner(tmp_path):
    """The owner is the one that discovery knows, whichever is loaded first."""
    (tmp_path / "a_thief.py").write_text(
        HEAD + "class Aa(IPhoton): ...\nBb = type('Bb', (IPhoton,), "
        "{'photon_name': 'owner', '__module__': __name__})\n"
    )
    (tmp_path / "owner.py").write_text(photon_text("owner", "1.0"))
    problems, loaded = await load(tmp_path)
    assert loaded == ["owner"]
    assert list(problems) == ["Aa"]


async def test_a_group_of_the_hosts_own_may_hold_any_class(site):
    """As those of a host that comes from stevedore; a number is none even there."""
    put(
        site,
        "things",
        "1.0",
        files={"things.py": "class Bare: ...\nNUMBER = 3\n"},
        entries="bare = things:Bare\nnumber = things:NUMBER",
        group="host.things",
    )
    async with Loader(suppress_errors=True) as loader:
        found = discover(group="host.things", index=False)
        await loader.load([found.by_name("bare")])
        assert sorted(loader.photons) == ["bare"]
    async with Loader(suppress_errors=True) as loader:
        report = await loader.load([found.by_name("number")])
        assert [o.problem.code for o in report.outcomes] == ["LUM107"]
