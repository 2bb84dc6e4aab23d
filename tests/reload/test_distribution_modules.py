"""A distribution of several top-level modules is one unit, and changes as one."""

from __future__ import annotations

import gc
import sys
import weakref

import pytest

from luminal import discover
from luminal.errors import LuminalError
from luminal.model import EventKind
from tests.distributions import put

ALPHA = """\
import importlib
from luminal import IPhoton, hookimpl
helper = importlib.import_module({helper!r})
import {beta} as beta
class Alpha(IPhoton):
    photon_name = "alpha"
    @hookimpl
    def who(self):
        return "alpha", helper.N, beta.N
"""
BETA = """\
from luminal import IPhoton, hookimpl
from {helper} import N
{end}
class Beta(IPhoton):
    photon_name = "beta"
    @hookimpl
    def who(self):
        return "beta", N
"""
KINDS = {
    "packages and modules": ("alpha", "beta", "shared_words"),
    "a namespace": ("kin.alpha", "kin.beta", "kin.beta"),
}


def ship(site, number, kind="packages and modules", end="", entries=None, **options):
    """Write version *number*: a package, and a lone module with what both use."""
    alpha, beta, helper = KINDS[kind]
    files = {
        f"{alpha.replace('.', '/')}/__init__.py": ALPHA.format(
            beta=beta, helper=helper
        ),
        f"{beta.replace('.', '/')}.py": f"N = {number}\n"
        + (
            BETA.format(helper=helper, end=end)
            if helper != beta
            else BETA.format(helper="luminal", end=end).replace(
                "import N", "import errors"
            )
        ),
    }
    if helper != beta:
        files[f"{helper}.py"] = f"N = {number}\n"
    entries = entries or f"one = {beta}:Beta\ntwo = {alpha}:Alpha"
    return put(site, "several", f"{number}.0", files=files, entries=entries, **options)


@pytest.fixture
def site(tmp_path, monkeypatch):
    path = tmp_path / "site"
    path.mkdir()
    monkeypatch.syspath_prepend(path)
    return path


async def load(host):
    await host.load()
    await host.start()


def answers(number):
    return [("alpha", number, number), ("beta", number)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["watch", "reload"])
async def test_all_its_modules_change_together(make_host, site, way, kind):
    """All serve under their names, and none stays after the end."""
    beta = KINDS[kind][1]
    async with make_host() as host:
        ship(site, 1, kind)
        await load(host)
        assert sorted(host.answers()) == answers(1)
        if way == "watch":
            await host.watch_distributions()
        for number in (2, 3):
            old = weakref.ref(sys.modules[beta])
            ship(site, number, kind)
            if way == "reload":
                await host.reload_photon("beta")
            await host.until(lambda n=number: sorted(host.answers()) == answers(n))
            assert number == sys.modules[beta].N
            await host.until(lambda ref=old: gc.collect() and ref() is None)
        ship(site, 4, kind, end="1 / 0")
        if way == "reload":
            with pytest.raises(LuminalError, match="division by zero"):
                await host.reload_photon("alpha")
        await host.until(lambda: host.happened(EventKind.REJECTED))
        assert sorted(host.answers()) == answers(3)
        assert sys.modules[beta].N == 3
        assert {h.number for h in host.photons.values()} == {3}
    assert not {name for kind in KINDS.values() for name in kind} & sys.modules.keys()


async def test_its_photons_may_be_loaded_one_after_the_other(make_host, site):
    """They are still one unit, and one generation."""
    ship(site, 1)
    first, second = discover(path=[site], index=False)
    async with make_host() as host:
        await host.load([first])
        await host.load([second])
        await host.start()
        assert len({h.generation for h in host.photons.values()}) == 1
        ship(site, 2)
        await host.reload_photon("beta")
        assert sorted(host.answers()) == answers(2)


async def test_the_module_that_was_loaded_first_may_lose_its_photon(make_host, site):
    """It is a helper then; the other photon still changes with it."""
    async with make_host() as host:
        ship(site, 1)
        await load(host)
        assert [*host.photons] == ["alpha", "beta"]
        for number in (2, 3):
            ship(site, number, entries="one = beta:Beta")
            await host.reload_photon("beta")
            assert host.answers() == [("beta", number)]


LEFT_OUT = {
    "blocked": {"block": ["beta"]},
    "not allowed": {"allow": ["alpha"]},
    "not selected": {},
}


@pytest.mark.parametrize("how", [*LEFT_OUT, "disabled", "unloaded"])
async def test_an_upgrade_brings_back_nothing_that_was_left_out(make_host, site, how):
    """What the new version has in addition comes with it."""
    gamma = BETA.replace("beta", "gamma").replace("Beta", "Gamma")

    def upgrade(number, names):
        files = {
            f"{name}.py": gamma.replace("gamma", name).format(helper="words", end="")
            for name in names
        }
        files["words.py"] = f"N = {number}\n"
        entries = "\n".join(f"{name} = {name}:Gamma" for name in names)
        put(site, "several", f"{number}.0", files=files, entries=entries)

    upgrade(1, ["alpha", "beta"])
    found = discover(path=[site], index=False, **LEFT_OUT.get(how, {}))
    if how == "not selected":
        found = [each for each in found if each.name == "alpha"]
    async with make_host() as host:
        await host.load(found)
        await host.start()
        if how == "disabled":
            await host.disable_photons(["beta"])
        if how == "unloaded":
            await host.unload_photon("beta")
        await host.watch_distributions()
        upgrade(2, ["alpha", "beta", "gamma"])
        wanted = [("alpha", 2), ("gamma", 2)]
        await host.until(lambda: sorted(host.answers()) == wanted)
        upgrade(3, ["alpha", "beta", "gamma"])
        wanted = [("alpha", 3), ("gamma", 3)]
        await host.until(lambda: sorted(host.answers()) == wanted)
        assert sorted(host.photons) == ["alpha", "gamma"]


async def test_what_could_not_be_loaded_comes_when_it_can(make_host, site):
    """And what cannot be loaded of a new version holds up none of the photons."""

    def upgrade(number, entries):
        files = {"words.py": f"N = {number}\n"}
        for name in ("alpha", "beta"):
            text = BETA.replace("beta", name).format(helper="words", end="")
            files[f"{name}.py"] = text
        put(site, "several", f"{number}.0", files=files, entries=entries)

    upgrade(1, "alpha = alpha:Beta\nbeta = beta:Nothing")
    async with make_host(suppress_errors=True) as host:
        await load(host)
        assert host.answers() == [("alpha", 1)]
        upgrade(2, "alpha = alpha:Beta\nbeta = beta:Beta\ndelta = delta:Delta")
        await host.reload_photon("alpha")
        assert sorted(host.answers()) == [("alpha", 2), ("beta", 2)]
        assert len(host.happened(EventKind.REJECTED, "delta")) == 1
        await host.roll_back("alpha")
        assert host.answers() == [("alpha", 1)]


@pytest.mark.parametrize("is_together", [True, False])
async def test_an_editable_installation_is_one_unit_as_well(
    make_host, site, tmp_path, is_together
):
    """It has no list of its modules: its entry points name them."""
    project = tmp_path / "project"
    project.mkdir()

    def edit(number):
        for name, other in (("alpha", "beta"), ("beta", "alpha")):
            text = BETA.replace("beta", name).replace("from {helper} import N", "")
            text = f"N = {number}\n{text.format(end='')}"
            (project / f"{name}.py").write_text(
                text.replace(", N", f", N, __import__({other!r}).N")
            )

    edit(1)
    (site / "project.pth").write_text(f"{project}\n")
    sys.path.insert(1, str(project))  # as `site` does at the start
    entries = "alpha = alpha:Beta\nbeta = beta:Beta"
    put(site, "several", "1.0", files={"project.pth": f"{project}\n"}, entries=entries)
    try:
        async with make_host() as host:
            found = discover(path=[site], index=False)
            for batch in [found] if is_together else [found[:1], found[1:]]:
                await host.load(batch)
            await host.start()
            assert len({h.generation for h in host.photons.values()}) == 1
            await host.watch_distributions()
            for number in (2, 3):
                edit(number)
                now = [("alpha", number, number), ("beta", number, number)]
                await host.until(lambda n=now: sorted(host.answers()) == n)
    finally:
        sys.path.remove(str(project))
