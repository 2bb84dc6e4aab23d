"""The kit's hosts: isolated, and awaited by events."""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luminal.errors import (
    PhotonBatchError,
    PhotonNotFoundError,
    PhotonSyntaxError,
    PhotonTimeoutError,
)
from luminal.model import EventKind, State
from luminal.testing import AsyncHost, Host, Save


@pytest.fixture
def host(tmp_path: Path, specs: type):
    with Host(tmp_path / "host", hookspecs=[specs]) as host:
        yield host
        host.assert_no_leaks()


def test_photon_runs_answers_and_leaves(host: Host, hello: str, specs: type) -> None:
    host.write("hello.py", hello)
    (handler,) = host.run()
    assert handler.state is State.RUNNING
    assert host["hello"] is handler.instance
    assert host.hook.greet(name="you") == ["hello you"]
    assert host.hooks(specs).greet(name="you") == ["hello you"]
    host.unload("hello")
    assert host.hook.greet(name="you") == []
    assert [e.kind for e in host.events][-1] is EventKind.UNLOADED


@pytest.mark.parametrize("how", Save)
def test_each_way_of_saving_is_swapped_in(host: Host, hello: str, how: Save) -> None:
    """After `reloaded`, what answers is the text of the latest edit."""
    host.write("hello.py", hello)
    host.watch()
    for greeting in ("salut", "ahoj"):
        host.edit("hello.py", hello.replace("hello {", greeting + " {"), how)
        handler = host.reloaded("hello")
        assert host.hook.greet(name="you") == [f"{greeting} you"]
        assert handler.number > 1


def test_edit_by_a_function_changes_what_is_there(host: Host, hello: str) -> None:
    host.write("hello.py", hello)
    host.watch()
    host.edit("hello.py", lambda text: text.replace("hello {", "salut {"))
    host.reloaded("hello")
    assert host.hook.greet(name="you") == ["salut you"]


def test_edit_before_the_wait_counts_and_an_older_swap_does_not(
    host: Host, hello: str
) -> None:
    """`reloaded` means the latest edit, whenever its event comes."""
    host.write("helper.py", "GREETING = 'one'\n")
    body = hello.replace("from luminal", "import helper\n    from luminal")
    body = body.replace('f"hello {name}"', "helper.GREETING")
    host.write("hello.py", body)
    host.watch()
    for word in ("two", "three", "four"):
        host.edit("helper.py", f"GREETING = {word!r}\n", Save.RENAME)
        host.reloaded("hello")
        assert host.hook.greet(name="") == [word]


def test_refused_edit_is_raised_and_the_old_one_serves(host: Host, hello: str) -> None:
    host.write("hello.py", hello)
    host.watch()
    host.edit("hello.py", "class Hello(\n")
    with pytest.raises(PhotonSyntaxError, match="is not valid Python") as caught:
        host.reloaded("hello")
    assert caught.value.photon == "hello"
    assert host.hook.greet(name="you") == ["hello you"]
    host.edit("hello.py", hello)
    with pytest.raises(PhotonTimeoutError, match="'hello' was not swapped") as late:
        host.reloaded("hello", deadline=0.2)  # the text that serves has come back
    assert "since the latest edit" in str(late.value)


def test_photons_come_and_go_with_their_files(host: Host, hello: str) -> None:
    host.write("hello.py", hello)
    host.watch()
    host.write("other.py", hello.replace("hello", "other"))
    assert host.until("started").photon == "other"
    host.delete("hello.py")
    assert host.until(EventKind.UNLOADED).photon == "hello"
    assert list(host.loader.photons) == ["other"]


def test_event_that_never_comes_is_a_timeout_that_names_what_did(
    host: Host, hello: str
) -> None:
    host.write("hello.py", hello)
    host.run("hello.py")
    with pytest.raises(PhotonTimeoutError) as caught:
        host.until("unloaded", deadline=0.05)
    assert "'hello' started" in str(caught.value)


def test_run_takes_files_and_names_and_refuses_what_is_not_there(
    host: Host, hello: str
) -> None:
    host.write("hello.py", hello)
    host.write("other.py", hello.replace("hello", "other"))
    host.write("third.py", hello.replace("hello", "third"))
    assert [h.name for h in host.run("hello.py")] == ["hello"]
    assert [h.name for h in host.run("other")] == ["other"]
    with pytest.raises(PhotonNotFoundError, match="'nobody'"):
        host.run("nobody")
    assert [h.name for h in host.run()] == ["third"]
    with pytest.raises(PhotonNotFoundError, match="loaded are: hello, other, third"):
        host["nobody"]


def test_misspelt_photon_is_answered_with_the_nearest_name(
    host: Host, hello: str
) -> None:
    host.write("hello.py", hello)
    with pytest.raises(PhotonNotFoundError, match=r"; did you mean 'hello\.py'\?"):
        host.run("helo.py")
    host.run()
    with pytest.raises(PhotonNotFoundError, match=r"try: did you mean 'hello'\?"):
        host["helo"]
    with pytest.raises(PhotonNotFoundError) as caught:
        host["something else"]
    assert "did you mean" not in str(caught.value)


def test_every_method_of_the_async_host_is_there() -> None:
    """With the same arguments and docstring, and not as a coroutine function."""
    for name, method in inspect.getmembers(AsyncHost, inspect.iscoroutinefunction):
        if name.startswith("_"):
            continue
        ours = getattr(Host, name)
        assert inspect.signature(ours) == inspect.signature(method)
        assert not inspect.iscoroutinefunction(inspect.unwrap(ours))
        assert ours.__doc__


def test_run_raises_what_failed_and_runs_the_others(host: Host, hello: str) -> None:
    host.write("hello.py", hello)
    host.write("broken.py", hello.replace('"hello"', '"broken"') + "    1 / 0\n")
    with pytest.raises(PhotonNotFoundError):
        host.run("absent")
    with pytest.raises(ImportError, match="broken"):
        host.run()
    assert host["hello"] is not None
    host.write("stuck.py", hello.replace('"hello"', '"stuck"') + "    1 / 0\n")
    with pytest.raises(PhotonBatchError) as caught:
        host.run("broken", "stuck")
    assert len(caught.value.exceptions) == 2


def test_copy_takes_a_file_or_a_package(host: Host, hello: str, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    (mine / "pack" / "__pycache__").mkdir(parents=True)
    (mine / "pack" / "__init__.py").write_text("from .greeting import Hello\n")
    import textwrap

    (mine / "pack" / "greeting.py").write_text(textwrap.dedent(hello))
    (mine / "solo.py").write_text(textwrap.dedent(hello).replace("hello", "solo"))
    host.copy(mine / "solo.py")
    copied = host.copy(mine / "pack")
    assert not (copied / "__pycache__").exists()
    assert "solo" in [handler.name for handler in host.run()]


def test_installed_photons_are_left_alone_unless_asked_for(
    tmp_path: Path, hello: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A distribution on ``sys.path`` shows up with its group, and only then."""
    import textwrap

    site = tmp_path / "site"
    info = site / "greeter-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: greeter\nVersion: 1.0\n"
    )
    (info / "entry_points.txt").write_text("[test.kit]\nhello = greeter_kit:Hello\n")
    (info / "RECORD").write_text("greeter_kit.py,,\n")
    (site / "greeter_kit.py").write_text(textwrap.dedent(hello))
    monkeypatch.syspath_prepend(str(site))
    with Host(tmp_path / "without") as host:
        assert host.run() == []
    with Host(tmp_path / "with", group="test.kit") as host:
        assert [handler.name for handler in host.run()] == ["hello"]
        host.assert_no_leaks()


def test_host_is_isolated_and_leaves_nothing_on_the_disk(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, hello: str
) -> None:
    """Its cache is its own while it lives; its temporary directory goes with it."""
    monkeypatch.setenv("LUMINAL_CACHE_DIR", str(tmp_path / "users"))
    with Host() as host:
        own = os.environ["LUMINAL_CACHE_DIR"]
        host.write("hello.py", hello)
        host.run()
        assert own.startswith(str(host.path.parent))
        assert host.path.is_dir()
    assert os.environ["LUMINAL_CACHE_DIR"] == str(tmp_path / "users")
    assert not (tmp_path / "users").exists()
    assert not host.path.parent.exists()
    host.close()


@pytest.mark.parametrize("options", [{"nonsense": 1}, {"hookspecs": [object]}])
def test_host_that_cannot_be_made_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, object]
) -> None:
    monkeypatch.delenv("LUMINAL_CACHE_DIR")
    before = threading.enumerate()
    with pytest.raises((TypeError, ValueError)):
        Host(**options)
    assert "LUMINAL_CACHE_DIR" not in os.environ
    assert threading.enumerate() == before


@pytest.mark.slow
@settings(max_examples=8)
@given(
    steps=st.lists(
        st.one_of(st.sampled_from(Save), st.just("delete")), min_size=1, max_size=6
    )
)
def test_any_row_of_edits_and_deletions_ends_as_the_disk_is(
    specs: type, hello: str, steps: list[Save | str]
) -> None:
    """After each wait, what answers is what the directory holds."""
    with Host(hookspecs=[specs]) as host:
        host.write("always.py", hello.replace("hello", "always"))
        host.write("hello.py", hello)
        host.watch()
        for number, step in enumerate(steps):
            text = hello.replace("hello {", f"{number} {{")
            if step == "delete":
                host.delete("hello.py")
                host.until("unloaded", "hello")
                host.write("hello.py", text)
                host.until("started", "hello")
            else:
                host.edit("hello.py", text, Save(step))
                host.reloaded("hello")
            assert host.hook.greet(name="x") == [f"{number} x", "always x"]
        host.assert_no_leaks()


def test_everything_can_be_called_through_the_facade(host: Host, hello: str) -> None:
    host.write("hello.py", hello)
    host.run()
    host.edit("hello.py", hello.replace("hello {", "salut {"))
    host.reload("hello")
    assert host.hook.greet(name="you") == ["salut you"]
    host.call(host.loader.roll_back("hello"))
    assert host.hook.greet(name="you") == ["hello you"]


async def test_tests_that_are_coroutines_use_the_host_on_their_own_loop(
    tmp_path: Path, hello: str, specs: type
) -> None:
    async with AsyncHost(tmp_path / "host", hookspecs=[specs]) as host:
        bystander = asyncio.create_task(asyncio.Event().wait())
        host.write("hello.py", hello)
        await host.watch()
        host.edit("hello.py", hello.replace("hello {", "salut {"), Save.BACKUP)
        await host.reloaded("hello")
        assert await host.loader.ahook.greet(name="you") == ["salut you"]
        await host.assert_no_leaks()  # the test's own task is none of its business
        bystander.cancel()


async def test_async_host_starts_and_reloads_by_hand(
    tmp_path: Path, hello: str
) -> None:
    async with AsyncHost() as host:
        host.write("hello.py", hello)
        (handler,) = await host.run()
        host.edit("hello.py", hello + "\n    # another text\n")
        assert await host.reload("hello") == [handler]
        assert handler.number == 2
        event = await host.until("swapped", "hello")
        assert event.generation == 2
        await host.unload("hello")


def test_fixtures_give_fresh_hosts(luminal_host: Host, luminal_async_host: AsyncHost):
    assert luminal_host.path.is_dir()
    assert dict(luminal_async_host.loader.photons) == {}


def test_a_test_that_fails_leaves_nothing_behind(hello: str) -> None:
    """Its own error comes out of the block, whatever the photons say to the end."""
    threads = set(threading.enumerate())
    text = hello + "\n        def finalize(self):\n            raise ValueError\n"
    with pytest.raises(LookupError, match="mine"), Host() as host:  # noqa: PT012
        host.write("hello.py", text)
        host.watch()
        raise LookupError("mine")
    assert not host.path.exists()
    assert not [each for each in sys.modules if each.endswith(".hello")]
    assert set(threading.enumerate()) <= threads


def test_a_host_that_is_closed_says_so(hello: str) -> None:
    """It neither hangs, nor makes its directory anew."""
    with Host() as host:
        host.write("hello.py", hello)
    host.close()
    with pytest.raises(RuntimeError, match="closed"):
        host.run()
    with pytest.raises(RuntimeError, match="closed"):
        host.write("hello.py", hello)
    assert not host.path.exists()


def test_a_host_does_not_wait_for_itself(host: Host) -> None:
    """An order from its own loop is refused where it would wait for ever."""

    async def inside() -> None:
        host.run()

    with pytest.raises(RuntimeError, match="its own loop"):
        host.call(inside())
