"""Large files are read by another process, and all is as if this one had done it."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import warnings
from pathlib import Path

import pytest

from luminal import Loader, discover
from luminal.errors import PhotonSyntaxError
from tests.waiting import DEADLINE, async_wait_until, wait_until

PLAIN = "VALUE_{0} = [{0}, 'text', None]\n"
LARGE = "".join(PLAIN.format(number) for number in range(2000))
PHOTON = """
from luminal import IPhoton

class Big(IPhoton):
    photon_name = "big"
    photon_version = "{version}"

    def answer(self):
        return VALUE_1999, {version}
"""
TEXT = LARGE + PHOTON
BAD = {
    "syntax": LARGE + "\ndef f(:\n    pass\n",
    "indent": LARGE + "\ndef f():\npass\n",
    "tab": LARGE + "\nif 1:\n\tx = 1\n        y = 2\n",
    "late": LARGE + "\nreturn 1\n",
    "global": LARGE + "\ndef f():\n    x = 1\n    global x\n",
    "encoding": "# coding: nonsense\n" + LARGE,
    "digits": LARGE + f"\nx = {'9' * 5000}\n",
    "deep": LARGE + "x = " + "(" * 250 + ")" * 250 + "\n",
}
WARNED = LARGE + "\nassert (1, 'always')\nx = 1 is 1\ny = '\\d'\n"


@pytest.fixture
def processes(caplog) -> list[int]:
    """Return a function for the ids of the processes that have answered, in turn."""
    caplog.set_level(logging.DEBUG, "luminal.compiling")

    def ids(function: str = "answer_for") -> list[int]:
        found = [
            re.match(r"process (\d+) has run (.*)", record.getMessage())
            for record in caplog.records
            if record.name == "luminal.compiling"
        ]
        return [int(m[1]) for m in found if m and m[2].endswith(function)]

    return ids


def loaded(path: Path) -> object:
    """Load the photon at *path*, and return what it answers."""

    async def go() -> object:
        loader = Loader()
        try:
            handlers = await loader.load_photon(path)
            await handlers.start()
            return handlers[0].instance.answer()
        finally:
            await loader.close()

    return asyncio.run(go())


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python on *arguments*, which say what the compiler process does."""
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        check=False,
        text=True,
        timeout=DEADLINE,
        cwd=Path(__file__).parents[2],
    )


def test_large_file_is_read_in_one_other_process(photons, processes):
    """Discovery's facts, the load and each reload: nothing is compiled here."""
    path = photons.write("big.py", TEXT.format(version=1))

    async def go() -> list[object]:
        loader = Loader()
        handlers = await loader.load_photon(path)
        await handlers.start()
        answers = [handlers[0].instance.answer()]
        for version in (2, 3):
            path.write_text(TEXT.format(version=version))
            await loader.reload_photon("big")
            answers.append(handlers[0].instance.answer())
        await loader.close()
        return answers

    value = [1999, "text", None]
    assert asyncio.run(go()) == [(value, 1), (value, 2), (value, 3)]
    assert len(processes("answer_for")) >= 3
    assert processes("facts_row")
    used = {*processes("answer_for"), *processes("facts_row")}
    assert len(used) == 1
    assert os.getpid() not in used


def test_small_file_is_compiled_here(photons, processes):
    path = photons.write("small.py", PHOTON.format(version=1) + PLAIN.format(1999))
    assert loaded(path) == ([1999, "text", None], 1)
    assert not processes("")


def test_cached_code_needs_no_process(photons, processes):
    path = photons.write("big.py", TEXT.format(version=1))
    loaded(path)
    assert len(processes()) == 1
    assert loaded(path) == ([1999, "text", None], 1)
    assert len(processes()) == 1


@pytest.mark.parametrize("kind", BAD)
def test_error_is_that_of_a_compilation_here(photons, processes, monkeypatch, kind):
    """The same error, with file, line and the causing SyntaxError."""

    def error() -> tuple[object, ...]:
        with pytest.raises(PhotonSyntaxError) as caught:
            loaded(path)
        found = caught.value
        cause = found.__cause__
        fields = [getattr(cause, name, None) for name in ("args", "text", "lineno")]
        return str(found), type(cause), *fields

    path = photons.write("helped/__init__.py", "from .part import *\nanswer = int\n")
    photons.write("helped/part.py", BAD[kind])
    path.write_text(path.read_text() + PHOTON.format(version=1))
    elsewhere = error()
    assert processes("answer_for")
    monkeypatch.setattr(sys, "executable", "")
    assert error() == elsewhere
    assert discover(path.parent.parent, group=None) is not None


def test_warnings_are_those_of_a_compilation_here(photons, processes, monkeypatch):
    path = photons.write("big.py", WARNED + PHOTON.format(version=1))
    path.write_text(path.read_text().replace("VALUE_1999, ", ""))

    def warned(version: int, action: str) -> list[tuple[object, ...]]:
        path.write_text(path.read_text() + f"\n# {version}\n")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter(action)
            loaded(path)
        return [(w.category, str(w.message), w.filename, w.lineno) for w in caught]

    elsewhere = warned(1, "always")
    assert len(elsewhere) == 3
    assert processes("answer_for")
    with pytest.raises(PhotonSyntaxError) as error:
        warned(2, "error")
    monkeypatch.setattr(sys, "executable", "")
    assert warned(3, "always") == elsewhere
    with pytest.raises(PhotonSyntaxError) as error_here:
        warned(4, "error")
    assert str(error_here.value) == str(error.value)
    assert error_here.value.__cause__.args == error.value.__cause__.args


@pytest.mark.parametrize("executable", ["", "/no/such/python3", "/bin/sh", "{false}"])
def test_without_a_process_it_is_compiled_here_and_said_once(
    photons, processes, monkeypatch, caplog, tmp_path, executable
):
    """Frozen programs, embedded interpreters, systems that allow no process."""
    pretender = tmp_path / "python3"
    pretender.write_text("#!/bin/sh\nexit 3\n")
    pretender.chmod(0o755)
    monkeypatch.setattr(sys, "executable", executable.format(false=pretender))
    monkeypatch.setattr("luminal.compiling._process._compiler", _fresh())
    for version in (1, 2):
        path = photons.write("big.py", TEXT.format(version=version))
        assert loaded(path) == ([1999, "text", None], version)
    assert not processes("")
    said = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert len([r for r in said if r.name == "luminal.compiling"]) == 1


def _fresh() -> object:
    from luminal.compiling import _process

    _process._told.clear()
    return type(_process._compiler)()


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no SIGSTOP")
@pytest.mark.parametrize("how", ["SIGKILL", "SIGSTOP"])
def test_process_that_dies_or_hangs_is_replaced(photons, processes, monkeypatch, how):
    path = photons.write("big.py", TEXT.format(version=1))
    loaded(path)
    old = processes()[-1]
    if how == "SIGSTOP":
        monkeypatch.setattr("luminal.compiling._process.PATIENCE", (1.0, 1e-5))
    os.kill(old, getattr(signal, how))
    path.write_text(TEXT.format(version=2))
    assert loaded(path) == ([1999, "text", None], 2)
    assert processes()[-1] != old
    with pytest.raises(ProcessLookupError):
        os.kill(old, 0)


def test_process_that_nobody_needs_any_more_ends(photons, processes, monkeypatch):
    monkeypatch.setattr("luminal.compiling._process.KEPT", 0.01)
    monkeypatch.setattr("luminal.compiling._process._compiler", _fresh())
    before = set(threading.enumerate())  # also one of earlier tests
    for version in (1, 2):
        path = photons.write("big.py", TEXT.format(version=version))
        assert loaded(path) == ([1999, "text", None], version)
        wait_until(lambda: not _lives(processes()[-1]))
        wait_until(
            lambda: (
                not any(
                    each.name == "luminal-compile"
                    for each in set(threading.enumerate()) - before
                )
            )
        )


def test_process_belongs_to_no_photon(photons, processes):
    """A late import of a large file, in a photon's thread: the process outlives it."""
    photons.write("late/part.py", LARGE)
    path = photons.write(
        "late/__init__.py",
        """
        import threading
        from luminal import IPhoton

        class Late(IPhoton):
            photon_name = "late"

            def start(self):
                self.found = []
                threading.Thread(target=self.look).start()

            def look(self):
                from .part import VALUE_7
                self.found.append(VALUE_7)
        """,
    )
    other = photons.write("big.py", TEXT.format(version=1))

    async def go() -> None:
        loader = Loader()
        handlers = await loader.load_photon(path)
        await handlers.start()
        found = handlers[0].instance.found
        await async_wait_until(lambda: found)
        assert found == [[7, "text", None]]
        await loader.unload_photon("late")
        assert not handlers[0].leftovers
        await loader.load_photon(other)
        await loader.close()

    asyncio.run(go())
    assert len(set(processes(""))) == 1


def test_many_threads_and_a_forked_child_compile(photons, processes):
    """Each process of the host has its own compiler; the parent's goes on."""
    text = textwrap.dedent(
        """
        import asyncio, logging, os, sys, threading
        from pathlib import Path
        from luminal import Loader
        logging.basicConfig(level="DEBUG", format="%(message)s", stream=sys.stdout)
        logging.getLogger("asyncio").setLevel("WARNING")
        folder = Path(sys.argv[1])
        def load(path):
            async def go():
                loader = Loader()
                await loader.load_photon(path)
                await loader.close()
            asyncio.run(go())
        threads = [threading.Thread(target=load, args=[folder / f"p{n}.py"])
                   for n in range(4)]
        for each in threads: each.start()
        for each in threads: each.join()
        child = os.fork()
        load(folder / f"p{4 if child else 5}.py")
        if child:
            assert os.waitpid(child, 0)[1] == 0
            load(folder / "p6.py")
        print("end", "of", os.getpid(), flush=True)
        """
    )
    for number in range(7):
        photon = TEXT.replace('"big"', f'"p{number}"').format(version=number)
        photons.write(f"p{number}.py", photon)
    done = run("-c", text, str(photons.path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("end of") == 2
    used = re.findall(r"process (\d+) has run \S*answer_for", done.stdout)
    assert len(used) == 7
    assert len(set(used)) == 2


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_process_has_its_own_session_and_none_of_the_host_s_files(photons, processes):
    path = photons.write("big.py", TEXT.format(version=1))
    with open(path) as opened:
        os.set_inheritable(opened.fileno(), True)
        loaded(path)
    process = processes()[-1]
    assert os.getsid(process) == process
    names = {os.readlink(each) for each in Path(f"/proc/{process}/fd").iterdir()}
    assert {n for n in names if not n.startswith("pipe:")} == {os.devnull}


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL")
@pytest.mark.parametrize("end", ["return", "kill"])
def test_process_ends_with_its_host(photons, end):
    path = photons.write("big.py", TEXT.format(version=1))
    text = textwrap.dedent(
        f"""
        import asyncio, logging, os, sys
        from luminal import Loader
        logging.basicConfig(level="DEBUG", format="%(message)s", stream=sys.stdout)
        async def go():
            loader = Loader()
            await loader.load_photon({str(path)!r})
            await loader.close()
        asyncio.run(go())
        print("end", flush=True)
        if {end!r} == "kill":
            os.kill(os.getpid(), 9)
        """
    )
    done = run("-c", text)
    assert "end" in done.stdout, done.stderr
    (process,) = set(re.findall(r"process (\d+) has run", done.stdout))
    wait_until(lambda: not _lives(int(process)))


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    try:  # an orphan that nobody has waited for is not alive
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2][1] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("option", ["-O", "-OO", "-Xno_debug_ranges", "-Xutf8=1"])
def test_options_of_the_host_are_those_of_the_code(photons, option):
    """What an option changes is in the code, wherever it was compiled."""
    path = photons.write(
        "big.py",
        LARGE
        + textwrap.dedent(
            '''
            from luminal import IPhoton

            class Big(IPhoton):
                """A docstring."""

                def answer(self):
                    """A docstring."""
                    assert False, "an assertion"
            '''
        ),
    )
    text = textwrap.dedent(
        f"""
        import asyncio, logging, sys, warnings
        from luminal import Loader
        logging.basicConfig(level="DEBUG", format="%(message)s", stream=sys.stdout)
        logging.getLogger("asyncio").setLevel("WARNING")
        async def go():
            loader = Loader()
            (handler,) = handlers = await loader.load_photon({str(path)!r})
            await handlers.start()
            code = type(handler.instance).answer.__code__
            with open({str(path)!r}) as file:
                whole = compile(file.read(), {str(path)!r}, "exec", dont_inherit=True)
            here = [whole]
            for name in ("Big", "answer"):
                constants = here[0].co_consts
                here = [c for c in constants if getattr(c, "co_name", "") == name]
            if here != [code]:
                sys.exit('other code')
            if list(here[0].co_positions()) != list(code.co_positions()):
                sys.exit('other columns')
            await loader.close()
        asyncio.run(go())
        """
    )
    done = run(option, "-c", text)
    assert done.returncode == 0, done.stderr
    assert "answer_for" in done.stdout
