"""The compiler process as the host sees it: started, kept, ended, replaced.

One thread owns the process, and asks it on behalf of all others. Both end together when
nothing has been asked for a while.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

import attrs

from luminal.compiling._serve import probe, receive, send
from luminal.supervise import unowned

if TYPE_CHECKING:
    from subprocess import Popen

__all__ = [
    "CompilerCrashedError",
    "NoCompilerError",
    "run_in_compiler",
]

KEPT = 30.0
"""Seconds without a request after which the process is ended."""

PATIENCE = 5.0, 10.0 / 1_000_000
"""Seconds for an answer, and more of them for each byte of the text: 30 times what is
usual. A process that takes longer is replaced."""

START = """\
import sys
sys.path += [path for path in {path!r} if path not in sys.path]
from luminal.compiling._serve import serve
serve()
"""
"""The standard library comes first: no file of the host's can stand in for it."""

_log = logging.getLogger("luminal.compiling")


class NoCompilerError(Exception):
    """There is no compiler process, or it has not answered; says why."""


class CompilerCrashedError(NoCompilerError):
    """A text has crashed the compiler process, and would crash this one as well."""


def run_in_compiler(function: str, data: bytes, *arguments: object) -> object:
    """Return what *function* of a text returns, called in the compiler process.

    Args:
        function: Its name, as ``module:name``. It returns what `marshal` can write.
        data: Its first argument, the text.
        arguments: Its other arguments.

    Raises:
        NoCompilerError: There is no such process, it has failed twice, or the function
            has raised something. It is logged, each reason once.
        CompilerCrashedError: The text has crashed it twice.
    """
    try:
        return _compiler.run(_Job(function, (data, *arguments), len(data)))
    except CompilerCrashedError:
        raise
    except NoCompilerError as error:
        _tell(str(error))
        raise


_told: set[str] = set()


def _tell(why: str) -> None:
    """Log *why* texts are compiled here, once."""
    if why not in _told:
        _told.add(why)
        _log.warning(
            "large files are compiled in this process, which stops its threads "
            "meanwhile: %s",
            why,
        )


@attrs.define(eq=False)
class _Job:
    """A function to be called in the process, and its outcome."""

    function: str
    arguments: tuple[object, ...]
    size: int
    answer: object = None
    error: BaseException | None = None
    done: threading.Event = attrs.Factory(threading.Event)


@attrs.define(eq=False)
class _Compiler:
    """The process, and the thread that owns it.

    Attributes:
        process: The process that lives now, if one does.
    """

    process: Popen[bytes] | None = None
    _thread: threading.Thread | None = None
    _jobs: SimpleQueue[_Job] = attrs.Factory(SimpleQueue)
    # Why there can be no process, empty while there can be one.
    _impossible: str = ""
    # Guards `_thread`: a job must not be put where nobody takes it any more.
    _lock: threading.Lock = attrs.Factory(threading.Lock)

    def run(self, job: _Job) -> object:
        """Return the answer to *job*; in any thread."""
        why = self._impossible or _why_impossible()
        if why:
            raise NoCompilerError(why)
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(
                    target=self._serve, name="luminal-compile", daemon=True
                )
                try:
                    with unowned():  # photons come and go
                        thread.start()
                except RuntimeError as error:  # the interpreter ends
                    raise NoCompilerError(str(error)) from error
                self._thread = thread
            self._jobs.put(job)
        job.done.wait()
        if job.error is not None:
            raise job.error
        return job.answer

    def _serve(self) -> None:
        """Own the process; in the thread."""
        while job := self._next():
            try:
                job.answer = self._answer(job)
            except BaseException as error:  # noqa: BLE001 - raised to the caller
                job.error = error
            job.done.set()
            del job  # with the text, and the code

    def _next(self) -> _Job | None:
        """Return the next job; end the process and return None after a while."""
        with suppress(Empty):
            return self._jobs.get(timeout=KEPT)
        with self._lock:
            if not self._jobs.empty():
                return self._jobs.get()
            self._end()
            self._thread = None
            return None

    def _answer(self, job: _Job) -> object:
        for is_last in (False, True):
            try:
                if self._impossible:
                    raise NoCompilerError(self._impossible)
                if self.process is None:
                    self._start()
                is_good, answer = self._ask(job.function, job.arguments, job.size)
            except (OSError, EOFError) as error:
                status = self._end()
                if is_last:
                    raise _failure(status, error) from error
                continue
            if not is_good:
                raise NoCompilerError(str(answer))
            return answer
        raise AssertionError  # the last round returns or raises

    def _start(self) -> None:
        """Start the process.

        Raises:
            NoCompilerError: It cannot be started, or compiles otherwise than this one.
        """
        from subprocess import DEVNULL, PIPE, Popen

        options: dict[str, bool | int] = {"start_new_session": True}  # no Ctrl-C
        if sys.platform == "win32":
            from subprocess import CREATE_NEW_PROCESS_GROUP, CREATE_NO_WINDOW

            options = {"creationflags": CREATE_NEW_PROCESS_GROUP | CREATE_NO_WINDOW}
        try:
            self.process = Popen(  # type: ignore[call-overload]  # noqa: S603
                [sys.executable, *_flags(), "-c", START.format(path=_search_path())],
                bufsize=0,
                cwd=os.path.abspath(os.sep),  # the host's may be removed or unmounted
                stdin=PIPE,
                stdout=PIPE,
                stderr=DEVNULL,
                **options,
            )
        except (OSError, ValueError) as error:
            raise NoCompilerError(f"no process can be started: {error}") from error
        try:
            _, answer = self._ask("luminal.compiling._serve:probe", (), 0)
        except (OSError, EOFError) as error:
            why = f"{sys.executable} does not start as a compiler: {error}"
        else:
            why = "" if _is_alike(answer) else f"{sys.executable} compiles otherwise"
        if why:
            self._end()
            self._impossible = why
            raise NoCompilerError(why)

    def _ask(
        self, function: str, arguments: tuple[object, ...], size: int
    ) -> tuple[bool, object]:
        """Return (whether it is good, the answer).

        Raises:
            OSError: The process has ended.
            EOFError: The process has ended, or was ended since it took too long.
        """
        process = self.process
        assert process is not None  # noqa: S101 - it was started
        assert process.stdin is not None  # noqa: S101 - a pipe
        assert process.stdout is not None  # noqa: S101 - a pipe
        base, each = PATIENCE
        timer = threading.Timer(base + each * size, process.kill)
        timer.daemon = True
        timer.start()
        try:
            limits = sys.getrecursionlimit(), sys.get_int_max_str_digits()
            send(process.stdin.fileno(), (function, arguments, *limits))
            answer: tuple[bool, object] = receive(process.stdout.fileno())  # type: ignore[assignment]
        finally:
            timer.cancel()
        _log.debug("process %d has run %s", process.pid, function)
        return answer

    def _end(self) -> int | None:
        """End the process; return its status, None where there was none."""
        process, self.process = self.process, None
        if process is None:
            return None
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        with suppress(OSError):
            process.kill()
        return process.wait()

    def close(self) -> None:
        """End the process, and let no other begin; where the interpreter ends."""
        self._impossible = "the interpreter ends"
        process = self.process
        if process is not None:
            with suppress(OSError):
                process.kill()

    def forget(self) -> None:
        """Leave the process to the one that has started it; after a fork."""
        process = self.process
        if process is not None:
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()  # else it would not see its host end
            process.returncode = 0  # nobody here may wait for it


def _why_impossible() -> str:
    """Return why this program can have no such process, or an empty string."""
    if getattr(sys, "frozen", False):
        return "the program is frozen"
    if "python" not in os.path.basename(sys.executable or "").lower():
        return f"sys.executable is no Python interpreter: {sys.executable!r}"
    return ""


def _flags() -> list[str]:
    """Return the options of an isolated interpreter that makes the same code."""
    flags = ["-I", "-S", "-B", *["-O"] * sys.flags.optimize]
    code = compile("a(b)", "", "eval")
    if all(column is None for *_, column in code.co_positions()):
        flags += ["-X", "no_debug_ranges"]
    return [*flags, "-X", f"utf8={sys.flags.utf8_mode}"]


def _search_path() -> list[str]:
    """Return where the process finds Luminal, and what Luminal needs."""
    # An installation for development may be on no path at all.
    own = os.path.abspath(__file__)
    for _ in __name__.split("."):
        own = os.path.dirname(own)
    return [*map(os.path.abspath, sys.path), own]


def _is_alike(answer: Any) -> bool:
    """Whether *answer* is that of an interpreter which makes the same code."""
    import marshal

    (version, theirs), (own_version, ours) = answer, probe()
    if version != own_version:
        return False
    # What is equal may be written in two ways, so it is not the bytes that count.
    one, other = (marshal.loads(data) for data in (theirs, ours))  # noqa: S302
    columns = [list(code.co_positions()) for code in (one, other)]
    return bool(one == other and columns[0] == columns[1])


def _failure(status: int | None, error: BaseException) -> NoCompilerError:
    """Return what to raise for a process that has failed twice."""
    import signal

    crashes = ("SIGSEGV", "SIGBUS", "SIGILL", "SIGABRT")
    for name in crashes:
        if status is not None and status == -getattr(signal, name, 0) != 0:
            return CompilerCrashedError(f"the compiler process ended with {name}")
    return NoCompilerError(f"the compiler process has failed twice: {error}")


_compiler = _Compiler()


def _renew() -> None:
    """Begin anew, without the parent's process and thread."""
    global _compiler
    _compiler.forget()
    _compiler = _Compiler()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
with unowned():  # whichever photon is the first that needs this
    atexit.register(lambda: _compiler.close())  # noqa: PLW0108 - of whichever is then
