"""Whose code uses the CPU: a thread looks at what all threads run, many times a second.

At each tick, each thread that computes counts as one sample of the innermost photon on
its stack; one without a photon is the host's. A thread that waits does not count: one
whose innermost frame is a known wait of a library, and, where the system tells the CPU
time of a thread (Linux), one that has used little of it since the tick before. Of a
frame only its code, its line and the loader of its module are read, never a variable.

This is a statistic. The sampling thread has to wait for the interpreter as any other:
where ticks come late, the host's code is more often seen than it should be, so their
number stands beside the samples.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
import weakref
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import attrs

from luminal._forks import begin_anew_in_forks
from luminal._plain import name_of_class
from luminal.loading import PhotonLoader

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from luminal.managers import Loader

__all__ = ["CpuLine", "CpuSample", "cpu_totals", "sample_cpu"]

_LONGEST: Final = 3600.0
_FASTEST: Final = 100.0

_BUSY: Final = 0.1
"""Part of the time since the last tick that a thread must have used of a CPU."""

_MOST_LINES: Final = 20
"""Lines that a sample names: those that were seen most often."""

_MOST_COUNTED: Final = 10_000
"""Lines that are counted while sampling; further ones are not."""

_WAITS: Final = frozenset(
    {
        *(("threading.py", name) for name in ("wait", "acquire", "join", "wait_for")),
        ("threading.py", "_wait_for_tstate_lock"),
        ("selectors.py", "select"),
        ("queue.py", "get"),
        ("queue.py", "put"),
        ("thread.py", "_worker"),  # of concurrent.futures
        *(("socket.py", name) for name in ("accept", "readinto", "create_connection")),
        *(("ssl.py", name) for name in ("read", "recv", "recv_into", "do_handshake")),
        *(("subprocess.py", name) for name in ("_try_wait", "_communicate", "_wait")),
        *(("connection.py", name) for name in ("_recv", "accept", "wait")),
        ("popen_fork.py", "poll"),
        ("hub.py", "run"),  # of gevent
        ("_cpu.py", "sample_cpu"),
    }
)
"""(file, function) in which a thread waits, of the standard library and of gevent."""


@attrs.frozen
class CpuLine:
    """A line of a photon that threads were seen in.

    Attributes:
        photon: Name of the photon.
        where: ``file:line``.
        function: Name of the function.
        samples: How often.
    """

    photon: str
    where: str
    function: str
    samples: int


@attrs.frozen
class CpuSample:
    """What the threads of a process did while they were looked at.

    Attributes:
        seconds: How long they were looked at.
        hertz: How often in a second that was wanted.
        ticks: How often it was done.
        late: Ticks that came more than half an interval late, and those that were left
            out. Where they are many, the photons' share is too small.
        photons: Name of a photon → samples of threads that computed in its code, or
            in a library that it had called. The most first.
        host: Samples of threads that computed without a photon on their stacks.
        waiting: Samples of threads that waited; they count for nobody.
        lines: The innermost lines of photons that were seen most often.
    """

    seconds: float
    hertz: float
    ticks: int
    late: int
    photons: dict[str, int]
    host: int
    waiting: int
    lines: tuple[CpuLine, ...] = ()

    @property
    def late_share(self) -> float:
        """Part of the wanted ticks that came late or not at all, from 0 to 1."""
        return self.late / max(self.ticks, self.late, 1)


class CpuTotals:
    """The samples of one host since it began.

    Attributes:
        photons: Name of a photon → samples.
        host, ticks, late: As in `CpuSample`.
        latest: The latest sample; None if there was none.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.begin_anew()
        begin_anew_in_forks(self)

    def begin_anew(self) -> None:
        """Begin at zero, also in a process that was just forked."""
        self._lock = threading.Lock()
        self.photons: Counter[str] = Counter()
        self.host: int = 0
        self.ticks: int = 0
        self.late: int = 0
        self.latest: CpuSample | None = None

    def add(self, sample: CpuSample) -> None:
        """Add a sample that has ended."""
        with self._lock:
            self.photons.update(sample.photons)
            self.host += sample.host
            self.ticks += sample.ticks
            self.late += sample.late
            self.latest = sample


_totals: weakref.WeakKeyDictionary[Loader, CpuTotals] = weakref.WeakKeyDictionary()
_totals_lock = threading.Lock()


def cpu_totals(loader: Loader) -> CpuTotals | None:
    """Return what was sampled of *loader*'s host; None if that was never asked for."""
    return _totals.get(loader)


def sample_cpu(loader: Loader, seconds: float = 10.0, hertz: float = 50.0) -> CpuSample:
    """Look at what the threads of this process run, and return whose code it was.

    The calling thread waits meanwhile; the work is done by a thread of its own. In an
    event loop, call it with `asyncio.to_thread`.

    Args:
        loader: The host. Photons of other hosts in the process count as the host's.
        seconds: How long, at most an hour.
        hertz: How often in a second, at most 100.

    Raises:
        ValueError: A number is not within these limits.
    """
    if not 0 < seconds <= _LONGEST:
        raise ValueError(f"seconds={seconds!r} is not within 0 and {_LONGEST:g}")
    if not 0 < hertz <= _FASTEST:
        raise ValueError(f"hertz={hertz!r} is not within 0 and {_FASTEST:g}")
    with _totals_lock:
        totals = _totals.get(loader)
        if totals is None:
            totals = _totals[loader] = CpuTotals()
    sampler = _Sampler(loader, seconds, hertz)
    sampler.begin()
    try:
        # Not by a lock: where gevent has patched `time`, its other tasks run meanwhile.
        while not sampler.is_done:
            time.sleep(0.02)
    finally:
        sampler.is_stopped = True
    if sampler.error is not None:
        raise sampler.error
    sample = sampler.sample()
    totals.add(sample)
    return sample


def _real(module: Any, name: str) -> Callable[..., Any]:
    """Return a function of the interpreter, also where gevent has replaced it."""
    monkey: Any = sys.modules.get("gevent.monkey")
    if monkey is not None:
        found: Callable[..., Any] = monkey.get_original(module.__name__, name)
        return found
    function: Callable[..., Any] = getattr(module, name)
    return function


class _Sampler:
    """Counts what threads run, until its time is over.

    Attributes:
        is_done: Whether it has ended.
        is_stopped: Whether it shall end early.
        error: Why it could not go on.
    """

    def __init__(self, loader: Loader, seconds: float, hertz: float) -> None:
        self._loader = loader
        self._seconds = seconds
        self._hertz = hertz
        self._lines: Counter[tuple[str, str, int, str]] = Counter()
        self._photons: Counter[str] = Counter()
        self._host = self._waiting = self._ticks = self._late = 0
        self._clocks = _Clocks()
        self._took = 0.0
        self.is_done = self.is_stopped = False
        self.error: Exception | None = None

    def begin(self) -> None:
        """Start the thread. It is nobody's: `threading` does not know it."""
        import _thread

        _real(_thread, "start_new_thread")(self._run, ())

    def _run(self) -> None:
        try:
            self._sample()
        except Exception as error:  # noqa: BLE001 - it is raised to who has asked
            self.error = error
        finally:
            self._clocks.close()
            self.is_done = True

    def _sample(self) -> None:
        import _thread

        sleep, own = _real(time, "sleep"), _real(_thread, "get_ident")()
        period = 1 / self._hertz
        native = threading.get_native_id()
        self._clocks.look(native)
        began = time.perf_counter()
        wanted = max(int(self._seconds * self._hertz), 1)
        number = 0
        while number < wanted and not self.is_stopped:
            number += 1
            due = began + number * period
            sleep(max(due - time.perf_counter(), 0))
            behind = time.perf_counter() - due
            left_out = min(int(behind / period), wanted - number)
            self._late += left_out + (behind > period / 2)
            number += left_out
            self._ticks += 1
            self._look(own, native)
        self._took = time.perf_counter() - began

    def _look(self, own: int, native: int) -> None:
        frames = sys._current_frames()  # noqa: SLF001 - documented
        del frames[own]
        is_busy = self._clocks.look(native)
        for ident, frame in frames.items():
            if is_busy(ident) and not _is_wait(frame):
                self._count(frame)
            else:
                self._waiting += 1

    def _count(self, innermost: FrameType) -> None:
        frame: FrameType | None = innermost
        while frame is not None:
            loader = _loader_of(frame)
            if loader is not None:
                code = frame.f_code
                photon = self._photon_of(loader, code.co_qualname)
                if photon:
                    self._photons[photon] += 1
                    line = photon, loader.path, frame.f_lineno or 0, code.co_qualname
                    if line in self._lines or len(self._lines) < _MOST_COUNTED:
                        self._lines[line] += 1
                    return
            frame = frame.f_back
        self._host += 1

    def _photon_of(self, loader: PhotonLoader, function: str) -> str:
        """Return the photon of a module; of several, the one whose class it is in."""
        names = loader.generation.photons
        known = self._loader._registry  # noqa: SLF001 - `photons` is a copy
        names = tuple([name for name in names if known.get(name) is not None])
        if len(names) > 1:
            cls = function.partition(".")[0]
            for name in names:
                handler = known.get(name)
                factory: Any = handler.factory if handler is not None else None
                if issubclass(type(factory), type) and name_of_class(factory) == cls:
                    return name
        return names[0] if names else ""

    def sample(self) -> CpuSample:
        """Return what was counted."""
        lines = [
            CpuLine(photon, f"{path}:{line}", function, samples)
            for (photon, path, line, function), samples in self._lines.most_common(
                _MOST_LINES
            )
        ]
        return CpuSample(
            seconds=self._took,
            hertz=self._hertz,
            ticks=self._ticks,
            late=self._late,
            photons=dict(self._photons.most_common()),
            host=self._host,
            waiting=self._waiting,
            lines=tuple(lines),
        )


def _loader_of(frame: FrameType) -> PhotonLoader | None:
    """Return the loader of the photon's module whose code *frame* runs, or None."""
    # The namespace of a module may be of a class that somebody has derived.
    loader = dict.get(frame.f_globals, "__loader__")
    return loader if type(loader) is PhotonLoader else None


def _is_wait(frame: FrameType) -> bool:
    code = frame.f_code
    place = os.path.basename(code.co_filename), code.co_name
    return place in _WAITS and _loader_of(frame) is None


class _Clocks:
    """The CPU times of the threads of this process, where the system tells them."""

    def __init__(self) -> None:
        # The system's number of a thread → its file, and what the last look has found.
        self._known: dict[int, tuple[int, int]] = {}
        self._at = time.perf_counter_ns()

    def look(self, own: int) -> Callable[[int], bool]:
        """Look at all threads.

        Args:
            own: Number of the thread that looks.

        Returns:
            A function that returns whether the thread of an identifier has computed
            since the last look; true where that is not known.
        """
        now = time.perf_counter_ns()
        least = (now - self._at) * _BUSY
        self._at = now
        busy: dict[int, bool] = {}
        try:
            numbers = {int(name) for name in os.listdir(_TASKS)} - {own}
        except OSError:
            numbers = set()
        for gone in self._known.keys() - numbers:
            os.close(self._known.pop(gone)[0])
        for number in numbers:
            known = self._known.get(number)
            try:
                file = known[0] if known else _open(number)
                used = int(os.pread(file, 64, 0).split()[0])
            except (OSError, ValueError, IndexError):
                continue
            busy[number] = known is None or used - known[1] >= least
            self._known[number] = file, used
        threads = {}
        if "gevent.monkey" not in sys.modules:  # or `threading` may know greenlets
            threads = {t.ident: t.native_id for t in threading.enumerate()}
        # Of threads that `threading` does not know, one cannot tell which number is
        # whose: they count as busy if one of them is.
        others = busy.keys() - threads.values()
        is_other_busy = not busy or not others.isdisjoint(n for n in busy if busy[n])

        def is_busy(ident: int) -> bool:
            return busy.get(threads.get(ident) or 0, is_other_busy)

        return is_busy

    def close(self) -> None:
        """Close the files."""
        for file, _ in self._known.values():
            with contextlib.suppress(OSError):
                os.close(file)
        self._known.clear()


_TASKS: Final = "/proc/self/task"


def _open(number: int) -> int:
    flags = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0)
    return os.open(f"{_TASKS}/{number}/schedstat", flags)
