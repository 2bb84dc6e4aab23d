"""The IPython extension, in a real IPython of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.waiting import DEADLINE

ROOT = Path(__file__).resolve().parents[2]
PHOTON = """
    from luminal import IPhoton, hookimpl


    class Hello(IPhoton):
        photon_name = "hello"
        photon_description = "greets <everybody>"

        @hookimpl
        def greet(self, name):
            return "hello " + name

        def finalize(self):
            open("finalized", "w").close()
"""
WAITING = """
import threading
def after(change, what):
    seen = threading.Event()
    stop = photon_loader.events.subscribe(lambda e: e.kind == what and seen.set())
    change()
    assert seen.wait(60), what
    stop()

"""


class Shell:
    """A directory with photons, and an IPython that is typed into."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.write("photons/hello.py", PHOTON)

    def write(self, name: str, text: str) -> None:
        path = self.place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))

    def type(self, *lines: str) -> str:
        """Type *lines* into a fresh IPython; return all that it says."""
        options = ["--simple-prompt", "--no-banner", "--no-confirm-exit"]
        done = subprocess.run(
            [sys.executable, "-m", "IPython", *options, "--colors=nocolor"],
            cwd=self.place,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "IPYTHONDIR": str(self.place / ".ipython"),
                "NO_COLOR": "1",
            },
            input="\n".join(["%load_ext luminal.ipython", *lines, ""]),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=DEADLINE,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def test_photons_are_loaded_listed_reloaded_and_unloaded(shell: Shell) -> None:
    said = shell.type(
        "%photon list photons",
        "%photon load photons/hello.py",
        "%photon list",
        "photon_loader.hook.greet(name='you')",
        "p = 'photons/hello.py'; text = open(p).read()",
        "open(p, 'w').write(text.replace('hello ', 'salut ')) and None",
        "%photon reload hello",
        "photon_loader.hook.greet(name='you')",
        "%photon unload",
        "print('then', photon_loader.photons)",
    )
    assert "greets <everybody>" in said
    assert "hello   started  1" in said
    assert "hello   running  1" in said
    assert "['hello you']" in said
    assert "hello   running  2" in said
    assert "['salut you']" in said
    assert "no photon is loaded" in said
    assert "then {}" in said
    assert "Traceback" not in said


def test_watch_reloads_what_is_saved_and_tells_with_the_next_cell(shell: Shell) -> None:
    shell.write("waiting.py", WAITING)
    said = shell.type(
        "%photon watch photons",
        "%run -i waiting.py",
        "from pathlib import Path; p = Path('photons/hello.py'); text = p.read_text()",
        "after(lambda: p.write_text(text.replace('hello ', 'salut ')), 'swapped')",
        "photon_loader.hook.greet(name='you')",
        "after(lambda: p.write_text('class ('), 'rejected')",
        "photon_loader.hook.greet(name='you')",
        "after(lambda: p.unlink(), 'unloaded')",
        "%photon watch --stop",
    )
    assert "photon 'hello' swapped, generation 2" in said
    assert said.count("['salut you']") == 2
    assert "photon 'hello' rejected" in said
    assert "LUM104" in said
    assert "photon 'hello' unloaded, generation 2" in said
    assert "Traceback" not in said


def test_mistake_is_one_error_without_a_traceback(shell: Shell) -> None:
    shell.write("photons/bad.py", "class (\n")
    said = shell.type(
        "%photon",
        "%photon fly",
        "%photon load nowhere",
        "%photon load",
        "%photon watch",
        "%photon reload nobody",
        "%photon load photons",
        "photon_loader.report",
    )
    assert said.count("%photon load PATH ...") >= 3
    assert "UsageError: no such command: 'fly'" in said
    assert "nowhere' is not a directory [LUM102]" in said
    assert "name one directory: %photon watch DIRECTORY" in said
    assert "LUM101" in said
    assert "1 loaded, 0 skipped, 1 failed" in said
    assert "because: " in said
    assert "Traceback" not in said


def test_values_look_like_tables_in_a_notebook(shell: Shell) -> None:
    """As HTML, with whatever a photon says of itself made harmless."""
    said = shell.type(
        "%photon load photons",
        "show = get_ipython().display_formatter.formatters['text/html']",
        "show.enabled = True",
        "print(show(photon_loader.photons['hello']))",
        "print(show(photon_loader.report))",
        "from luminal import discover",
        "print(show(discover('photons', group=None)))",
        "import asyncio",
        "print(show(asyncio.run(photon_loader.load_photons('photons'))))",
        "%unload_ext luminal.ipython",
        "print('after', show(discover('photons', group=None)))",
    )
    assert "<td>hello</td><td>running</td><td>1</td>" in said
    assert "<td>hello</td><td>loaded</td>" in said
    assert "greets &lt;everybody&gt;" in said
    assert "<p>no photon is loaded</p>" in said
    assert "after None" in said


def test_photons_are_finalized_when_the_shell_ends(shell: Shell) -> None:
    said = shell.type("%photon load photons")
    assert (shell.place / "finalized").exists()
    assert "Traceback" not in said


def test_nothing_is_left_of_an_extension_that_is_taken_away(shell: Shell) -> None:
    said = shell.type(
        "%photon watch photons",
        "%unload_ext luminal.ipython",
        "import os; print('finalized', os.path.exists('finalized'))",
        "print('name', 'photon_loader' in globals())",
        "%photon list",
        "%load_ext luminal.ipython",
        "%photon list",
    )
    assert "finalized True" in said
    assert "name False" in said
    assert "`%photon`" in said
    assert "no photon is loaded" in said


def test_cells_may_await_the_loader_themselves(shell: Shell) -> None:
    """Top-level ``await`` of the Loader's coroutines, before and after commands."""
    said = shell.type(
        "loaded = await photon_loader.load_photons('photons')",
        "await loaded.start()",
        "%photon list",
        "await photon_loader.ahook.greet(name='you')",
        "p = 'photons/hello.py'; text = open(p).read()",
        "open(p, 'w').write(text.replace('hello ', 'salut ')) and None",
        "%photon reload",
        "await photon_loader.reload_photon('hello')",
        "await photon_loader.ahook.greet(name='you')",
        "open(p, 'w').write('class (') and None",
        "%photon reload hello",
        "await photon_loader.reload_photon('hello')",
    )
    assert "hello   running  1" in said
    assert "['hello you']" in said
    assert "hello   running  2" in said
    assert "['salut you']" in said
    assert "UsageError: photon 'hello': " in said
    assert "PhotonSyntaxError" in said


def test_photon_that_fails_leaves_the_shell_usable(shell: Shell) -> None:
    shell.write(
        "photons/bad.py",
        """
        from luminal import IPhoton

        class Bad(IPhoton):
            def start(self):
                raise RuntimeError("no <b>luck</b>")
        """,
    )
    said = shell.type(
        "%photon load photons",
        "%photon list",
        "%photon reload Bad",
        "%photon load 'unclosed",
        "photon_loader.hook.greet(name='you')",
    )
    assert "no <b>luck</b>" in said
    assert "hello   running" in said
    assert "Bad     failed" in said
    assert "UsageError: cannot read" in said
    assert "['hello you']" in said
    assert "Traceback" not in said


def test_without_ipython_it_says_what_it_needs() -> None:
    code = "import sys; sys.modules['IPython'] = None; import luminal.ipython._magic"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE,
    )
    assert "'%photon' needs 'IPython' [LUM401]" in done.stderr
    assert "pip install 'luminal-photons[ipython]'" in done.stderr
