"""The command ``doctor``: problems of an installation, each with its fix.

No photon is imported, except with ``--import-time`` and ``--bisect``. Nothing is
changed, except with ``--fix``.
"""

from __future__ import annotations

import contextlib
import os
import sys
from time import perf_counter
from typing import TYPE_CHECKING, Any

import attrs
import click
from click.core import ParameterSource

from luminal.cli._options import (
    DiscoveryOptions,
    command,
    discovery_options,
    lock_setting,
    setting_sources,
    settings_file,
    state_of,
    unused_settings,
)
from luminal.cli._output import (
    Exit,
    clean,
    exit_after_timeout,
    print_durations,
    print_json,
    print_message,
    print_table,
    run_async,
    short,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from luminal.model import Candidate

__all__ = ["doctor_command"]


@command("doctor")
@click.option(
    "--import-time",
    is_flag=True,
    help="Load the photons, which executes them; show how long each takes, and which "
    "settings do not fit.",
)
@click.option(
    "--fix", "wants_fix", is_flag=True, help="Remove sockets of hosts that ended."
)
@click.option(
    "--config", "wants_config", is_flag=True, help="Show each setting and its source."
)
@click.option(
    "--bisect",
    "wants_bisect",
    is_flag=True,
    help="Start the photons, fewer each time, to find those because of which it fails.",
)
@click.option(
    "--test",
    metavar="COMMAND",
    help="With --bisect: a command for the shell that fails, instead of a start. The "
    "photons to leave out are in $LUMINAL_WITHOUT.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.1),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="With --bisect: how long one try may take.",
)
@discovery_options
def doctor_command(
    options: DiscoveryOptions,
    import_time: bool,
    wants_fix: bool,
    wants_config: bool,
    wants_bisect: bool,
    test: str | None,
    timeout: float,
    as_json: bool,
) -> Exit:
    """Find problems of this installation, and print how to fix them.

    Checks the versions of what Luminal needs, the limits of watching, the cache,
    distributions that are installed twice, stale files, sockets, settings, and the
    problems of photons. Nothing is changed without --fix.

    With --bisect, the fewest photons are found with which a command fails: by default
    their start. Each try is a process of its own, so a crash or a hang counts too.
    """
    others = (("--import-time", import_time), ("--fix", wants_fix))
    for other, is_given in (("--bisect", wants_bisect), *others):
        if wants_config and is_given:
            raise click.UsageError(f"--config and {other} exclude each other")
    for other, is_given in others:
        if wants_bisect and is_given:
            raise click.UsageError(f"--bisect and {other} exclude each other")
    source = click.get_current_context().get_parameter_source("timeout")
    has_timeout = source is ParameterSource.COMMANDLINE
    for other, is_given in (("--test", test is not None), ("--timeout", has_timeout)):
        if is_given and not wants_bisect:
            raise click.UsageError(f"{other} needs --bisect")
    if wants_config:
        return _config(as_json)
    if wants_bisect:
        from luminal.cli._bisect import bisect

        return bisect(options, options.find(), test or "", timeout, as_json)
    for path in _remove_stale_sockets() if wants_fix else ():
        print_message(f"removed {short(path)}")
    began = perf_counter()
    found = options.find()
    seconds = perf_counter() - began
    findings = list(_findings(options.paths, found))
    times, phases, wrong = _import(found) if import_time else ({}, {}, [])
    findings += wrong
    code = Exit.FAILED if findings else Exit.FINE
    versions = _versions()
    if as_json:
        print_json(
            "doctor",
            code,
            versions=versions,
            discover_seconds=seconds,
            findings=findings,
            import_seconds=times,
            import_phases=phases,
        )
        return code
    print_table(("WHAT", "VERSION"), [*versions.items()])
    if times:
        click.echo()
        print_durations(phases, seconds)
    click.echo()
    click.echo(f"photons: {len(found)}, found in {seconds * 1000:.1f} ms")
    for finding in findings:
        click.echo()
        click.echo(f"problem: {clean(finding.what)}")
        if finding.file:
            click.echo(f"  at: {short(finding.file)}")
        click.echo(f"  try: {clean(finding.fix)}")
    print_message(f"problems: {len(findings)}" if findings else "no problems found")
    return code


def _config(as_json: bool) -> Exit:
    """Show each setting, its value, and where it was set."""
    rows = setting_sources(click.get_current_context())
    if as_json:
        print_json("doctor", Exit.FINE, settings=rows)
        return Exit.FINE
    cells = [(row["setting"], _as_text(row["value"]), row["source"]) for row in rows]
    print_table(("SETTING", "VALUE", "SOURCE"), cells)
    return Exit.FINE


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return "" if value is None else str(value)


def _import(
    found: Sequence[Candidate],
) -> tuple[dict[str, float], dict[str, Mapping[str, float]], list[_Finding]]:
    """Load one file after the other.

    Returns:
        Photon → seconds, its imports included; photon → seconds of each phase; and
        what is wrong with its settings.
    """
    from luminal.managers import Loader

    async def load() -> tuple[Any, Any, list[_Finding]]:
        times: dict[str, float] = {}
        phases: dict[str, Mapping[str, float]] = {}
        async with Loader(
            cache=False, settings=settings_file(), lock=lock_setting()
        ) as loader:
            for candidate in found:
                if state_of(candidate) == "ok" and candidate.name not in loader.photons:
                    began = perf_counter()
                    report = await loader.load([candidate])
                    times[candidate.name] = perf_counter() - began
                    phases |= {o.photon: o.phases for o in report}
            problems = [o.problem for o in await loader.check_settings() if o.problem]
            wrong = [
                _Finding(f"{p.what} [{p.code}]: {p.why}", p.hint, f"{p.file}:{p.line}")
                for p in problems
            ]
            return times, phases, wrong

    with contextlib.redirect_stdout(sys.stderr):
        result = run_async(load())
    exit_after_timeout(Exit.FAILED)
    return result


# --- Findings ------------------------------------------------------------------------

_MIN_WATCHES = 8192
"""How many directories the system should let one user watch."""

_MAX_ENTRIES = 100_000
"""How many directory entries are searched for stale files at most."""


@attrs.frozen
class _Finding:
    """A problem.

    Attributes:
        what: What it is.
        fix: What to do, as an imperative.
        file: Where, or an empty string.
    """

    what: str
    fix: str
    file: str = ""


def _versions() -> dict[str, str]:
    """Return name of a library → its version, empty where it is not installed."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    import luminal

    found = {
        "python": platform.python_version(),
        "luminal": luminal.__version__,
        "platform": platform.platform(terse=True),
    }
    watcher = "inotify-simple" if sys.platform == "linux" else "watchfiles"
    libraries = ("attrs", "packaging", "pluggy", watcher)
    for library in (*libraries, "click", "rich"):
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            found[library] = ""
    return found


def _findings(paths: Sequence[str], found: Sequence[Candidate]) -> Iterator[_Finding]:
    """Yield the problems of this machine, of *paths*, and of the photons *found*."""
    for library, version in _versions().items():
        if not version:
            yield _Finding(f"{library} is not installed", f"pip install {library}")
    yield from _watch_limit()
    yield from _cache()
    yield from _installed_twice()
    yield from _sockets()
    for what, fix, file in unused_settings([candidate.name for candidate in found]):
        yield _Finding(what, fix, file)
    for path in paths:
        if os.path.isdir(path):
            yield from _stale_files(os.path.abspath(path))
    for candidate in found:
        problem = candidate.problem
        if problem is not None:
            what = f"photon {candidate.name!r} {problem.what} [{problem.code}]"
            line = f":{problem.line}" if problem.line else ""
            place = f"{problem.file}{line}" if problem.file else ""
            yield _Finding(what, problem.hint or "see luminal list", place)


def _watch_limit() -> Iterator[_Finding]:
    limit = "/proc/sys/fs/inotify/max_user_watches"
    try:
        with open(limit, encoding="ascii") as file:
            allowed = int(file.read())
    except (OSError, ValueError):
        return
    if allowed < _MIN_WATCHES:
        yield _Finding(
            f"only {allowed} directories can be watched",
            f"sysctl fs.inotify.max_user_watches={_MIN_WATCHES}",
            limit,
        )


def _cache() -> Iterator[_Finding]:
    from luminal.store import cache_directory

    place = cache_directory()
    if place is None:
        yield _Finding(
            "no directory for the cache: start-up is slower",
            "set LUMINAL_CACHE_DIR to the absolute path of a directory",
        )
        return
    existing = place
    while not os.path.exists(existing) and os.path.dirname(existing) != existing:
        existing = os.path.dirname(existing)
    if not os.path.isdir(existing) or not os.access(existing, os.W_OK | os.X_OK):
        yield _Finding(
            "the cache cannot be written: start-up is slower",
            "make it writable, or set LUMINAL_CACHE_DIR to another directory",
            place,
        )


def _installed_twice() -> Iterator[_Finding]:
    """Distributions with metadata of two kinds, or of two versions, on one path."""
    for place in dict.fromkeys(path or os.curdir for path in sys.path):
        seen: dict[str, str] = {}
        try:
            names = sorted(os.listdir(place))
        except OSError:
            continue
        for name in names:
            stem, kind = os.path.splitext(name)
            if kind not in (".dist-info", ".egg-info"):
                continue
            distribution = stem.partition("-")[0].lower().replace("_", "-")
            if distribution in seen:
                yield _Finding(
                    f"distribution {distribution!r} is installed twice: "
                    f"{seen[distribution]} and {name}",
                    "remove the stale one",
                    os.path.join(place, name),
                )
            seen.setdefault(distribution, name)


def _sockets() -> Iterator[_Finding]:
    """Sockets of hosts that ended, and a directory that other users may enter."""
    from luminal.managers import socket_directory, sockets, speak

    place = socket_directory()
    try:
        mode = os.lstat(place).st_mode
    except OSError:
        return
    if mode & 0o077:
        yield _Finding(
            "the directory of control sockets is open to other users",
            f"chmod 700 {place}",
            place,
        )
    for path in sockets().values():
        try:
            is_stale = speak(path, {"ask": "ping"}) is None
        except TimeoutError:
            is_stale = False  # the host is busy
        if is_stale:
            yield _Finding("socket of a host that ended", "luminal doctor --fix", path)


def _remove_stale_sockets() -> list[str]:
    """Remove the sockets of hosts that ended; return the paths that were removed."""
    stale = [finding.file for finding in _sockets() if finding.file.endswith(".sock")]
    for path in stale:
        with contextlib.suppress(OSError):
            os.unlink(path)
    return [path for path in stale if not os.path.lexists(path)]


def _stale_files(place: str) -> Iterator[_Finding]:
    """Compiled files without their source. Luminal never runs them; Python may."""
    count = 0
    for folder, inside, files in os.walk(place):
        inside.sort()
        count += len(files) + len(inside)
        if count > _MAX_ENTRIES:
            yield _Finding(
                f"more than {_MAX_ENTRIES} files: the rest was not searched",
                "keep photons in a directory of their own",
                place,
            )
            return
        is_cache = os.path.basename(folder) == "__pycache__"
        home = os.path.dirname(folder) if is_cache else folder
        for file in sorted(files):
            source = os.path.join(home, f"{file.partition('.')[0]}.py")
            if file.endswith((".pyc", ".pyo")) and not os.path.exists(source):
                path = os.path.join(folder, file)
                yield _Finding("compiled file without its source", "remove it", path)
