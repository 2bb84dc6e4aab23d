"""What a change affects is replaced together, in order, and nothing else is touched."""

from __future__ import annotations

import sys
import textwrap

import pytest

from luminal.errors import LuminalError
from luminal.model import EventKind, State


def photon(name, number, head="", body="", says=None):
    says = says or f"({name!r}, {number})"
    return (
        "from luminal import IPhoton, hookimpl\n"
        + textwrap.dedent(head)
        + f"\nclass Photon(IPhoton):\n    photon_name = {name!r}\n"
        + textwrap.indent(textwrap.dedent(body), "    ")
        + f"\n    @hookimpl\n    def who(self):\n        return {says}\n"
    )


async def test_a_helper_of_two_photons(make_host, photons):
    """A reload of one whose helper has changed replaces both users, and nobody else."""
    photons.write("shared.py", "VALUE = 1\n")
    paths = [
        photons.write(
            "a.py", photon("a", 1, "from .shared import VALUE", says="VALUE")
        ),
        photons.write(
            "b.py", photon("b", 1, "from . import shared", says="shared.VALUE")
        ),
        photons.write("c.py", photon("c", 1)),
    ]
    async with make_host() as host:
        a, b, c = await host.run(*paths)
        instance = c.instance
        photons.write("shared.py", "VALUE = 2\n")
        assert await host.reload_photon(a) is a
        assert host.answers() == [2, 2, ("c", 1)]
        assert [h.number for h in (a, b, c)] == [2, 2, 1]
        assert c.instance is instance
        assert list(host.photons) == ["a", "b", "c"]


async def test_only_the_one_that_was_asked_for(make_host, photons):
    """A helper that has not changed is neither executed again nor are its users."""
    photons.write("shared.py", "VALUE = object()\n")
    head = "from .shared import VALUE"
    paths = [photons.write(f"{n}.py", photon(n, 1, head, says="VALUE")) for n in "ab"]
    async with make_host() as host:
        a, b = await host.run(*paths)
        before = host.answers()
        await host.reload_photon(a)
        assert [h.number for h in (a, b)] == [2, 1]
        assert host.answers() == before


async def test_deep_relative_imports(make_host, photons):
    """A change four levels down in a package shows at its top, in every module."""
    photons.write(
        "deep/__init__.py",
        photon(
            "deep",
            1,
            "from .one.two.three import leaf\nfrom .one import two",
            says="(leaf.VALUE, leaf.up(), two.SEEN)",
        ),
    )
    photons.write("deep/top.py", "VALUE = 1\n")
    photons.write("deep/one/__init__.py", "")
    photons.write("deep/one/two/__init__.py", "from ...top import VALUE as SEEN\n")
    photons.write("deep/one/two/three/__init__.py", "")
    leaf = """
        from ....top import VALUE
        def up():
            from ....top import VALUE as late
            return late
    """
    photons.write("deep/one/two/three/leaf.py", leaf)
    async with make_host() as host:
        (handler,) = await host.run(photons.path / "deep/__init__.py")
        assert host.answers() == [(1, 1, 1)]
        old = handler.instance
        photons.write("deep/top.py", "VALUE = 2\n")
        assert old.who() == (1, 1, 1)
        await host.reload_photon(handler)
        assert host.answers() == [(2, 2, 2)]


async def test_a_late_import_of_the_old_finds_the_old(make_host, photons):
    """Old code that imports a helper it has used goes on with the old helper."""
    late = "__import__('late_helper', globals(), None, ['VALUE'], 1).VALUE"
    head = "from . import late_helper"
    photons.write("late_helper.py", "VALUE = 1\n")
    path = photons.write("a.py", photon("a", 1, head, says=late))
    async with make_host() as host:
        (a,) = await host.run(path)
        old = a.instance
        photons.write("late_helper.py", "VALUE = 2\n")
        await host.reload_photon(a)
        assert host.answers() == [2]
        assert old.who() == 1


@pytest.mark.fault(6)
async def test_photons_that_import_each_other(make_host, photons):
    """Units in a circle are one unit of change."""
    paths = [
        photons.write(
            f"{me}.py",
            photon(me, 1, f"from . import {you}\nN = 1", says=f"(N, {you}.N)"),
        )
        for me, you in (("a", "b"), ("b", "c"), ("c", "a"))
    ]
    async with make_host() as host:
        handlers = await host.run(*paths)
        assert host.answers() == [(1, 1)] * 3
        photons.write("b.py", photon("b", 2, "from . import c\nN = 2", says="(N, c.N)"))
        await host.reload_photon(handlers[2])
        assert host.answers() == [(1, 2), (2, 1), (1, 1)]
        assert [h.number for h in handlers] == [2] * 3


async def test_a_photon_that_imports_a_photon(make_host, photons):
    """The importer is replaced with what it imports, and meets the new class."""
    first = photons.write("first.py", photon("first", 1))
    head = "from .first import Photon as Above\nfrom . import first"
    says = "(first.Photon is Above, Above.N)"
    photons.write("first.py", photon("first", 1, body="N = 1\n"))
    second = photons.write("second.py", photon("second", 1, head, says=says))
    async with make_host() as host:
        one, two = await host.run(first, second)
        photons.write("first.py", photon("first", 2, body="N = 2\n"))
        await host.reload_photon(one)
        assert host.answers() == [("first", 2), (True, 2)]
        assert two.number == 2
        assert list(host.photons) == ["first", "second"]


async def test_photons_of_a_file_come_and_go(make_host, photons):
    """Renamed, added and removed classes become photons, hooks and Handlers."""
    both = "{}\n{}".format(
        photon("x", 1), photon("y", 1).partition("\n")[2].replace("Photon(", "Y(")
    )
    path = photons.write("many.py", both)
    async with make_host() as host:
        x, y = await host.run(path)
        assert host.answers() == [("x", 1), ("y", 1)]
        photons.write("many.py", both.replace("'y'", "'z'").replace(", 1)", ", 2)"))
        handlers = await host.reload_photon(x)
        assert list(host.photons) == ["x", "z"]
        assert host.answers() == [("x", 2), ("z", 2)]
        assert handlers == list(host.photons.values())
        assert handlers[0] is x
        await host.until(lambda: y.state is State.STOPPED)
        assert [e.photon for e in host.happened(EventKind.UNLOADED)] == ["y"]
        photons.write("many.py", photon("z", 3))
        z = await host.reload_photon(x)
        assert z is host.photons["z"]
        assert host.answers() == [("z", 3)]
        photons.write("many.py", both)
        await host.reload_photon(z)
        assert sorted(host.answers()) == [("x", 1), ("y", 1)]
    assert not [m for m in sys.modules if m.endswith(".many")]


async def test_components_fail_apart(make_host, photons):
    """`policy="component"`: unrelated ones go on, connected ones fail together."""
    photons.write("shared.py", "VALUE = 1\n")
    head = "from .shared import VALUE"
    paths = [photons.write(f"{n}.py", photon(n, 1, head)) for n in "ab"]
    paths += [photons.write(f"{n}.py", photon(n, 1)) for n in "cd"]
    async with make_host() as host:
        handlers = await host.run(*paths)
        photons.write("shared.py", "VALUE = 2\n")
        photons.write("a.py", photon("a", 2, head))
        photons.write("b.py", "this is no python")
        photons.write("c.py", photon("c", 2))
        photons.write("d.py", photon("d", 2, "1 / 0"))
        with pytest.raises(LuminalError):
            await host.reload_photons(handlers)
        assert host.answers() == [(n, 1) for n in "abcd"]
        with pytest.raises(LuminalError) as caught:
            await host.reload_photons(handlers, policy="component")
        assert host.answers() == [("a", 1), ("b", 1), ("c", 2), ("d", 1)]
        assert {o.photon for o in host.report.failed} == {"a", "b", "d"}
        assert {o.photon for o in host.report if o not in host.report.failed} == {"c"}
        assert caught.value.file


@pytest.mark.fault(21)
@pytest.mark.parametrize("is_broken", [False, True])
async def test_a_hundred_photons_with_dependencies(
    make_host, photons, picture, unchanged, is_broken
):
    """One transaction: staged in the order of imports, all of them or none."""

    def write(number, broken=-1):
        for at in range(100):
            needs = {at // 2, at // 3} - {at}
            head = "".join(f"from . import p{n}\n" for n in sorted(needs))
            says = "({}, [{}])".format(
                number, ", ".join(f"p{n}.NUMBER" for n in sorted(needs))
            )
            text = photon(f"p{at}", number, f"{head}NUMBER = {number}\n", says=says)
            if at == broken:
                text += "\nraise RuntimeError('broken')\n"
            photons.write(f"p{at}.py", text)

    write(1)
    async with make_host() as host:
        handlers = await host.load_photons(photons.path)
        await handlers.start()
        order = list(host.photons)
        before = picture(host)
        write(2, broken=99 if is_broken else -1)
        if is_broken:
            with pytest.raises(LuminalError, match="RuntimeError: broken"):
                await host.reload_photons(handlers)
            await unchanged(host, before)
        else:
            host.heard.clear()
            await host.reload_photons(handlers)
            for answer, others in host.answers():
                assert answer == 2
                assert set(others) <= {2}
            assert list(host.photons) == order
            swapped = [e.photon for e in host.happened(EventKind.SWAPPED)]
            started = [e.photon for e in host.happened(EventKind.STARTED)]
            assert sorted(swapped) == sorted(started) == sorted(order)
            first_swap = host.heard.index(host.happened(EventKind.SWAPPED)[0])
            last_start = host.heard.index(host.happened(EventKind.STARTED)[-1])
            assert last_start < first_swap
            staged = [e.photon for e in host.happened(EventKind.STAGED)]
            at = {name: i for i, name in enumerate(staged)}
            for n in range(2, 100):
                assert max(at[f"p{n // 2}"], at[f"p{n // 3}"]) < at[f"p{n}"]


async def test_the_place_in_the_order_is_kept(make_host, photons):
    """Whatever is reloaded, in whatever order: hooks and photons keep theirs."""
    paths = [photons.write(f"{n}.py", photon(n, 1)) for n in "abcde"]
    async with make_host() as host:
        handlers = await host.run(*paths)
        for at in (2, 0, 4, 2, 1):
            await host.reload_photon(handlers[at])
            assert host.answers() == [(n, 1) for n in "abcde"]
            assert list(host.photons) == list("abcde")


async def test_a_photon_that_is_not_running_stays_so(make_host, photons):
    """A loaded photon is reloaded without being started, a failed one tried again."""
    path = photons.write("a.py", photon("a", 1))
    async with make_host() as host:
        (a,) = await host.load_photon(path)
        await host.reload_photon(a)
        assert (a.state, a.number) == (State.STAGED, 2)
        assert host.answers() == []
        photons.write("a.py", photon("a", 1, body="def start(self): 1 / 0\n"))
        await host.reload_photon(a)
        with pytest.raises(LuminalError):
            await a.start()
        assert a.state is State.FAILED
        photons.write("a.py", photon("a", 4))
        await host.reload_photon(a)
        assert (a.state, a.number) == (State.RUNNING, 4)
        assert host.answers() == [("a", 4)]


async def test_the_module_of_the_new_generation_is_found_by_name(make_host, photons):
    """`sys.modules`, the parent's attribute, pickle and loggers meet the new one."""
    import importlib
    import pickle

    head = "class Value:\n    N = 1\n"
    path = photons.write("a.py", photon("a", 1, head, says="Value()"))
    async with make_host() as host:
        (a,) = await host.run(path)
        name = type(a.instance).__module__
        old = host.answers()[0]
        photons.write("a.py", photon("a", 2, head.replace("1", "2"), says="Value()"))
        await host.reload_photon(a)
        (new,) = host.answers()
        assert type(new).__module__ == name
        module = importlib.import_module(name)
        assert module.Value is type(new)
        above, _, leaf = name.rpartition(".")
        assert getattr(sys.modules[above], leaf) is module
        assert pickle.loads(pickle.dumps(new)).N == 2
        with pytest.raises(pickle.PicklingError):
            pickle.dumps(old)
