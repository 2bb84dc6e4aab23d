"""Photons that begin to depend on each other in one batch are swapped together."""

from __future__ import annotations

import asyncio
import builtins
import sys
import threading

import pytest

from luminal.errors import LuminalError, PhotonReloadError
from luminal.model import EventKind


def photon(name, says, head="", body="pass"):
    return f"""
        from luminal import IPhoton, hookimpl
        {head}
        VALUE = {says}

        class Photon(IPhoton):
            photon_name = {name!r}
            {body}

            @hookimpl
            def who(self):
                return {name!r}, VALUE
        """


IMPORTS = [
    "from .{} import VALUE as OTHER",
    "from . import {0}; OTHER = {0}.VALUE",
    "from .{} import VALUE as OTHER, NEW",
]
LATE = "from . import b; return 'a', b.VALUE"
BODY = """def start(self):
                global VALUE
                from .{} import VALUE as OTHER
                VALUE = 2, OTHER"""


def write(photons, **numbers):
    return [photons.write(f"{n}.py", photon(n, i)) for n, i in numbers.items()]


@pytest.mark.parametrize(("user", "used"), ["ab", "ba"])
@pytest.mark.parametrize("head", IMPORTS)
async def test_a_new_import_of_what_changes_as_well(
    make_host, photons, head, user, used
):
    """The new code sees the other's new generation, whichever comes first."""
    async with make_host() as host:
        handlers = await host.run(*write(photons, a=1, b=1, c=1))
        photons.write(f"{user}.py", photon(user, "2, OTHER", head.format(used)))
        photons.write(f"{used}.py", photon(used, 2, "NEW = 1"))
        photons.write("c.py", photon("c", 2))
        await host.reload_photons(handlers, policy="component")
        assert sorted(host.answers()) == sorted(
            [(user, (2, 2)), (used, 2), ("c", 2)], key=str
        )
        assert not host.happened(EventKind.REJECTED)
        assert [h.number for h in handlers] == [2, 2, 2]


async def test_an_import_that_is_made_by_start(make_host, photons):
    """It counts as well; what was started for nothing has been finalized."""
    async with make_host() as host:
        handlers = await host.run(*write(photons, a=1, b=1))
        photons.write("a.py", photon("a", 2, body=BODY.format("b")))
        photons.write("b.py", photon("b", 2))
        await host.reload_photons(handlers, policy="component")
        assert sorted(host.answers()) == [("a", (2, 2)), ("b", 2)]


@pytest.mark.parametrize(("user", "used"), ["ab", "ba"])
async def test_the_other_is_refused(make_host, photons, user, used):
    """Then both go on as they were, and a third one is swapped all the same."""
    async with make_host() as host:
        handlers = await host.run(*write(photons, a=1, b=1, c=1))
        head = IMPORTS[0].format(used)
        photons.write(f"{user}.py", photon(user, "2, OTHER", head))
        photons.write(f"{used}.py", photon(used, "1 / 0"))
        photons.write("c.py", photon("c", 2))
        with pytest.raises(LuminalError):
            await host.reload_photons(handlers, policy="component")
        assert host.answers() == [("a", 1), ("b", 1), ("c", 2)]
        assert {o.photon for o in host.report.failed} == {"a", "b"}
        if used < user:
            (problem,) = [o.problem for o in host.report if o.photon == user]
            assert problem.code == PhotonReloadError.code
            assert f"imports from {used!r}" in problem.why


@pytest.mark.fault(8)
@pytest.mark.parametrize("before", ["b", "b<2"])
async def test_what_is_required_changes_as_well(make_host, photons, before):
    """A version and the photon that asks for it, both new: one transaction."""

    def versions(number, required):
        photons.write(
            "a.py", photon("a", number, body=f"photon_requires = [{required!r}]")
        )
        body = f"photon_version = '{number}.0'"
        return [photons.write("b.py", photon("b", number, body=body))]

    async with make_host() as host:
        paths = [*versions(1, before), photons.path / "a.py"]
        handlers = await host.run(*paths)
        versions(2, "b>=2")
        await host.reload_photons(handlers, policy="component")
        assert sorted(host.answers()) == [("a", 2), ("b", 2)]
        assert not host.happened(EventKind.REJECTED)


@pytest.mark.fault(19)
async def test_a_photon_that_is_called_otherwise(make_host, photons):
    """Calls see it under its old name or under its new one, never both or none."""
    seen, is_over = set(), threading.Event()

    def call(host):
        while not is_over.is_set():
            seen.add(tuple(name for name, _ in host.hook.who()))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    async with make_host() as host:
        path = photons.write("a.py", photon("a", 0))
        await host.run(path)
        caller = threading.Thread(target=call, args=(host,))
        caller.start()
        try:
            for number in range(1, 60):
                photons.write("a.py", photon("ab"[number % 2], number))
                await host.reload_photon(path)
        finally:
            sys.setswitchinterval(interval)
            is_over.set()
            caller.join()
    assert seen == {("a",), ("b",)}


@pytest.mark.parametrize("policy", ["all", "component"])
async def test_a_late_import_while_its_target_is_being_replaced(
    make_host, photons, policy, monkeypatch
):
    """Running code that links itself to the old generation is replaced as well."""
    go = asyncio.Event()
    monkeypatch.setattr(builtins, "GO", go, raising=False)
    start = """async def start(self):
                if VALUE > 1:
                    import builtins
                    await builtins.GO.wait()"""
    async with make_host() as host:
        # By a computed name: what a statement names is known from the start.
        computed = LATE.replace("from . import b", "b = __import__('b'[:], globals())")
        late = photon("a", 1).replace("return 'a', VALUE", computed)
        user = photons.write("a.py", late)
        a, b = await host.run(user, photons.write("b.py", photon("b", 1, body=start)))
        photons.write("b.py", photon("b", 2, body=start))
        reloading = asyncio.create_task(host.reload_photons([b], policy))
        await host.until(lambda: len(host.happened(EventKind.STAGED)) == 1)
        assert host.answers() == [("a", 1), ("b", 1)]
        go.set()
        assert await reloading == [b]
        assert host.answers() == [("a", 2), ("b", 2)]
        assert [a.number, b.number] == [2, 2]


@pytest.mark.parametrize("name", ["a", "b"])
async def test_who_exchanged_their_files_are_rolled_back_together(
    make_host, photons, name
):
    """Neither could return alone; a third one that changed as well stays."""
    async with make_host() as host:
        handlers = await host.run(*write(photons, a=1, b=1, c=1))
        photons.write("a.py", photon("b", 2))
        photons.write("b.py", photon("a", 2))
        photons.write("c.py", photon("c", 2))
        await host.reload_photons(handlers)
        assert sorted(host.answers()) == [("a", 2), ("b", 2), ("c", 2)]
        await host.roll_back(name)
        assert sorted(host.answers()) == [("a", 1), ("b", 1), ("c", 2)]
        files = {n: h.filepath[-4:] for n, h in host.photons.items()}
        assert files == {"a": "a.py", "b": "b.py", "c": "c.py"}
