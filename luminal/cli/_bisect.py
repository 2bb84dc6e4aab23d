"""``luminal doctor --bisect``: find the photons because of which a command fails.

The command is run again and again with fewer photons, each time in a process of its
own, so that a crash, a hang or an exit of the interpreter is a failure like any other.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING

import attrs

from luminal.cli._options import state_of
from luminal.cli._output import (
    Exit,
    clean,
    print_json,
    print_message,
    short_names,
)
from luminal.discovery.lint import dependencies

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from luminal.cli._options import DiscoveryOptions
    from luminal.model import Candidate

__all__ = ["bisect"]

_LAST_LINES = 20
"""Lines of the output of a failed command that are shown."""

_MOST_GROUPS = 5
"""Culprits that are looked for one after the other."""


@attrs.define
class _Trial:
    """Runs a command with some photons, and remembers what came of it.

    Args:
        options: Where the photons are.
        found: All of them.
        shell: The command; empty for `luminal run --once` of the same photons.
        timeout: Seconds after which it counts as failed.
    """

    options: DiscoveryOptions
    found: Sequence[Candidate]
    shell: str
    timeout: float
    count: int = 0
    # Of the latest failure.
    code: int = 0
    output: str = ""

    @property
    def lines(self) -> list[str]:
        """The last lines of the output."""
        return [clean(line) for line in self.output.splitlines()[-_LAST_LINES:]]

    def whole(self, names: Sequence[str]) -> list[str]:
        """Return *names*, and what they require, in load order."""
        wanted = set(names)
        edges = [e for e in dependencies(self.found) if e.kind == "requires"]
        for candidate in reversed(self.found):
            if candidate.name in wanted:
                wanted |= {e.earlier for e in edges if e.later == candidate.name}
        return [c.name for c in self.found if c.name in wanted]

    def fails(self, names: Sequence[str]) -> bool:
        """Whether the command fails with *names* and what they require."""
        began = time.monotonic()
        kept = self.whole(names)
        without = [c.name for c in self.found if c.name not in kept]
        code, output = self._run(without)
        self.count += 1
        if code:
            self.code, self.output = code, output
        seconds = time.monotonic() - began
        text = short_names([*map(clean, kept)]) or "no photon"
        what = "timed out" if code == _TIMED_OUT else f"exit {code}"
        print_message(f"{what if code else 'ok'}  {seconds:.1f} s  with {text}")
        return bool(code)

    def _run(self, without: Sequence[str]) -> tuple[int, str]:
        environment = {**os.environ, "LUMINAL_WITHOUT": " ".join(without)}
        command: str | list[str] = self.shell or self._own_command(without)
        process: subprocess.Popen[bytes] | None = None
        # A file, as what the command leaves running would keep a pipe open.
        with tempfile.TemporaryFile() as output:
            try:
                with _uninterrupted():
                    process = subprocess.Popen(  # noqa: S603 - the user's own command
                        command,
                        shell=bool(self.shell),
                        env=environment,
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
                code = process.wait(self.timeout)
            except subprocess.TimeoutExpired:
                code = _TIMED_OUT
            finally:  # also at Ctrl-C, which does not reach another session
                if process is not None and process.poll() is None:
                    _end(process)  # with what a shell has started
                    process.wait()
            output.seek(0)
            return code, output.read().decode(errors="replace")

    def _own_command(self, without: Sequence[str]) -> list[str]:
        options = self.options
        words = [sys.executable, "-m", "luminal", "run", "--once"]
        words += ["--no-installed"] if options.group is None else []
        words += ["--group", options.group] if options.group else []
        words += ["--recursive"] if options.recursive else []
        words += ["--api", options.api] if options.api else []
        for option, values in (("--roots", options.roots), ("--without", without)):
            words += [word for value in values for word in (option, value)]
        return [*words, "--", *options.paths]


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C back: a process that begins in the block is known at its end."""
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    for number in came:
        signal.raise_signal(number)


def _end(process: subprocess.Popen[bytes]) -> None:
    if hasattr(os, "killpg"):
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()


_TIMED_OUT = 124
"""Exit code of a command that timed out, as ``timeout`` of GNU has it."""


def bisect(
    options: DiscoveryOptions,
    found: Sequence[Candidate],
    shell: str,
    timeout: float,
    as_json: bool,
) -> Exit:
    """Find the fewest photons with which a command fails, and print them.

    What is left without them is searched as well, until the command succeeds.

    Args:
        options: Where the photons are.
        found: What was found there; those with a problem, or disabled, are left out.
        shell: The command; empty for `luminal run --once`.
        timeout: Seconds that one run may take.
        as_json: Whether to print JSON.
    """
    sound = [candidate for candidate in found if state_of(candidate) == "ok"]
    names = [candidate.name for candidate in sound]
    # Those with a problem stay away, whichever others are tried.
    trial = _Trial(options, sound, shell, timeout)
    bad = [c.name for c in found if state_of(c) != "ok"]
    if bad:
        print_message(f"left out: {short_names([*map(clean, bad)])}")
        trial.found = [c for c in found if c.name in names or c.name in bad]
    groups: list[_Group] = []
    is_failing = trial.fails(names)
    has_more = is_failing and bool(names) and not trial.fails([])
    alone = is_failing and not has_more
    while has_more and len(groups) < _MOST_GROUPS:
        fewest = _fewest(names, trial.fails)
        trial.fails(fewest)  # its output is what is shown
        groups.append(_Group(fewest, trial.whole(fewest), trial.code, trial.lines))
        # What needs a culprit cannot run without it.
        names = [n for n in names if not {*fewest} & {*trial.whole([n])}]
        has_more = bool(names) and trial.fails(names)
    code = Exit.FAILED if is_failing else Exit.FINE
    if as_json:
        culprits = [attrs.asdict(each) for each in groups]
        for each in culprits:
            each["with"] = each.pop("needed")
        print_json("doctor", code, bisect={"culprits": culprits, "tries": trial.count})
    elif not is_failing:
        print_message("the command succeeds with all photons", err=False)
    elif alone:
        _print_lines(trial.lines)
        print_message("the command fails without any photon too", err=False)
    else:
        _print_groups(groups, has_more)
    return code


@attrs.frozen
class _Group:
    """Photons with which the command fails, and not with fewer of them.

    Attributes:
        photons: Their names.
        needed: These and what they require.
        code: How the command ended.
        output: The last lines that it printed.
    """

    photons: list[str]
    needed: list[str]
    code: int
    output: list[str]


def _print_lines(lines: Sequence[str]) -> None:
    for line in lines:
        print_message(f"  | {line}")


def _print_groups(groups: Sequence[_Group], has_more: bool) -> None:
    without: list[str] = []
    for group in groups:
        _print_lines(group.output)
        others = [name for name in group.needed if name not in group.photons]
        needed = f" (with {', '.join(others)}, which it requires)" if others else ""
        is_one = len(group.photons) == 1
        what = "photon" if is_one else "photons that fail only together:"
        text = ", ".join(repr(clean(name)) for name in group.photons)
        print_message(f"{what} {text}{needed}", err=False, bold=True)
        without += ["--without", clean(group.photons[-1])]
    if has_more:
        print_message("and there are more: leave these out, and search again")
    print_message(f"try: start with {' '.join(without)}")


def _fewest(names: Sequence[str], fails: Callable[[Sequence[str]], bool]) -> list[str]:
    """Return the fewest of *names* with which it still fails.

    By delta debugging (Zeller, "Yesterday, my program worked"): halves first, then
    smaller parts and what is left without one of them.
    """
    left, parts = list(names), 2
    while len(left) > 1:
        size = -(-len(left) // parts)
        chunks = [left[at : at + size] for at in range(0, len(left), size)]
        rests = [[n for n in left if n not in chunk] for chunk in chunks]
        tries = chunks if len(chunks) == 2 else [*chunks, *rests]
        smaller = next((names for names in tries if fails(names)), None)
        if smaller is not None:
            parts = 2 if len(smaller) == len(chunks[0]) else max(parts - 1, 2)
            left = smaller
        elif parts >= len(left):
            break
        else:
            parts = min(parts * 2, len(left))
    return left
