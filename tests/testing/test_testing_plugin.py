"""The fixtures as a user meets them: a real pytest on a test file of theirs."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.waiting import DEADLINE

ROOT = Path(__file__).resolve().parents[2]
ASKED = 'pytest_plugins = ["luminal.testing.pytest_plugin"]\n'
USERS_TEST = """
    import asyncio

    import pytest

    from luminal import hookspec
    from luminal.testing import Save

    class Specs:
        @hookspec
        def greet(self, name): ...

    @pytest.fixture
    def luminal_options():
        return {"hookspecs": [Specs]}

    def greeting(word):
        return (
            "from luminal import IPhoton, hookimpl\\n"
            "class Hello(IPhoton):\\n"
            "    @hookimpl\\n"
            f"    def greet(self, name): return '{word} ' + name\\n"
        )

    @pytest.mark.parametrize("how", Save)
    def test_reload(luminal_host, how):
        luminal_host.write("hello.py", greeting("hello"))
        luminal_host.watch()
        luminal_host.edit("hello.py", greeting("salut"), how)
        luminal_host.reloaded("Hello")
        assert luminal_host.hook.greet(name="you") == ["salut you"]
        luminal_host.assert_no_leaks()

    def test_coroutine(luminal_async_host):
        async def body():
            luminal_async_host.write("hello.py", greeting("hello"))
            await luminal_async_host.run("hello.py")
            assert luminal_async_host.hook.greet(name="you") == ["hello you"]
        asyncio.run(body())
"""


def run_pytest(
    folder: Path, *arguments: str, **environ: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-W",
            "error",
            "-p",
            "no:cacheprovider",
            *arguments,
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE,
    )


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(text))


@pytest.mark.slow
def test_users_tests_run_and_warn_of_nothing(tmp_path: Path) -> None:
    write(tmp_path, conftest=ASKED, test_users=USERS_TEST)
    done = run_pytest(tmp_path, "-q")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 passed" in done.stdout


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("xdist"), reason="pytest-xdist is missing")
def test_users_tests_run_side_by_side(tmp_path: Path) -> None:
    """In several processes, each host has its own directory, cache and watch."""
    write(tmp_path, conftest=ASKED, test_users=USERS_TEST, test_more=USERS_TEST)
    done = run_pytest(tmp_path, "-q", "-n", "4")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "12 passed" in done.stdout


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("anyio"), reason="anyio is missing")
def test_coroutines_are_run_by_whichever_plugin_the_user_has(tmp_path: Path) -> None:
    """With a plugin that takes ``async`` tests, the fixtures work in both kinds."""
    write(
        tmp_path,
        conftest=ASKED,
        test_users="""
        import pytest

        pytestmark = pytest.mark.anyio
        HELLO = "from luminal import IPhoton\\nclass Hello(IPhoton): pass\\n"

        @pytest.fixture(params=["asyncio"])
        def anyio_backend(request):
            return request.param

        async def test_async_host(luminal_async_host):
            luminal_async_host.write("hello.py", HELLO)
            await luminal_async_host.watch()
            luminal_async_host.edit("hello.py", HELLO + "NEXT = 1")
            assert (await luminal_async_host.reloaded("Hello")).number == 2
            await luminal_async_host.assert_no_leaks()

        async def test_plain_host_inside_of_a_coroutine(luminal_host):
            luminal_host.write("hello.py", HELLO)
            luminal_host.run()
            luminal_host.assert_no_leaks()
        """,
    )
    done = run_pytest(tmp_path, "-q")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_leak_fails_the_users_test_and_is_named(tmp_path: Path) -> None:
    write(
        tmp_path,
        conftest=ASKED,
        test_users="""
        import threading

        def test_leak(luminal_host):
            luminal_host.run()
            over = threading.Event()
            threading.Thread(target=over.wait, name="stray", daemon=True).start()
            try:
                luminal_host.assert_no_leaks(deadline=0.05)
            finally:
                over.set()
        """,
    )
    done = run_pytest(tmp_path, "-q")
    assert done.returncode == 1
    assert "leaked after 0.05 seconds" in done.stdout
    assert "thread 'stray'" in done.stdout


def test_nobody_has_the_fixtures_who_did_not_ask(tmp_path: Path) -> None:
    """Without a line of theirs, neither a fixture nor a module of Luminal is there."""
    write(
        tmp_path,
        test_users="""
        import sys

        def test_nothing():
            assert not [name for name in sys.modules if name.startswith("luminal")]
        """,
    )
    done = run_pytest(tmp_path, "-q")
    assert done.returncode == 0, done.stdout
    assert "luminal_host" not in run_pytest(tmp_path, "--fixtures").stdout
    write(tmp_path, conftest=ASKED)
    assert "luminal_host" in run_pytest(tmp_path, "--fixtures").stdout


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE,
    )


def test_without_pytest_the_hosts_work_and_the_fixtures_say_what_they_need() -> None:
    absent = "import sys; sys.modules['pytest'] = None\n"
    assert run_python(absent + "import luminal.testing").returncode == 0
    done = run_python(absent + "import luminal.testing.pytest_plugin")
    assert done.returncode == 1
    assert "the fixtures need 'pytest' [LUM401]" in done.stderr
    assert "pip install 'luminal-photons[testing]'" in done.stderr
