"""One door for everybody who works on Luminal: run, test, bench, docs.

Needs a Python of 3.11 or later and nothing else. Makes an environment of its own
in ``.dev/``, installs there what the verb needs, and runs it. The second time it
installs nothing.

This file must stay readable for older Pythons (no ``from __future__ import
annotations``, no newer syntax), or they could not print what they are missing.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - the one place where it can be said
    sys.exit("dev.py: needs Python 3.11 or later, this is " + sys.version.split()[0])

import argparse
import contextlib
import hashlib
import importlib.util
import os
import shutil
import subprocess
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent
DISTRIBUTION = ROOT / "plugins_example" / "distribution"
PLACE = ROOT / ".dev"
TOOLS = "Scripts" if os.name == "nt" else "bin"
STAMP = "luminal-stamp.json"
TYPED = (
    "benchmarks/__main__.py",
    "dev.py",
    "docs/pages",
    *(f"plugins_example/{part}" for part in ("photons", "pipeline", "server")),
)

# Each of these would make the environment see another one's packages, or install
# into another one.
FOREIGN = (  # noqa: SIM905 - one name a line would take a dozen
    "CONDA_PREFIX PIP_PREFIX PIP_PYTHON PIP_TARGET PIP_USER PYTHONHOME PYTHONPATH "
    "PYTHONSAFEPATH UV_PROJECT_ENVIRONMENT UV_PYTHON UV_SYSTEM_PYTHON VIRTUAL_ENV"
).split()


def say(text: str) -> None:
    """Print a line of our own, before whatever a child process prints next."""
    print("dev.py: " + text, flush=True)


def clean_environ() -> dict[str, str]:
    """Return the environment variables without those that point elsewhere."""
    return {name: value for name, value in os.environ.items() if name not in FOREIGN}


def call(
    command: list[object],
    *,
    quiet: bool = False,
    place: Path | None = None,
    **more: str,
) -> int:
    """Run *command* and return its exit status.

    Args:
        command: The program and its arguments.
        quiet: Keep its output back unless it fails.
        place: Its working directory, by default the root.
        more: Environment variables that it gets besides.
    """
    done = subprocess.run(
        [str(part) for part in command],
        cwd=place or ROOT,
        env=clean_environ() | more,
        stdout=subprocess.PIPE if quiet else None,
        stderr=subprocess.STDOUT if quiet else None,
        check=False,
    )
    if quiet and done.returncode:
        sys.stdout.write(done.stdout.decode(errors="replace"))
    return done.returncode


# --- environments ----------------------------------------------------------


def python_of(environment: Path) -> Path:
    """Return the interpreter of *environment*, whether it is there or not."""
    return environment / TOOLS / ("python.exe" if os.name == "nt" else "python")


def fingerprint(wanted: object) -> str:
    """Return a digest of everything that decides what has to be installed."""
    digest = hashlib.sha256(f"{sys.version} {ROOT} {wanted}".encode())
    for project in (ROOT, DISTRIBUTION):
        digest.update((project / "pyproject.toml").read_bytes())
    return digest.hexdigest()


def last_fingerprint(environment: Path) -> str:
    """Return the fingerprint of the last installation that was finished."""
    try:
        return (environment / STAMP).read_text()
    except OSError:
        return ""


def with_uv(environment: Path, batches: list[list[object]]) -> bool:
    """Make *environment* with uv; return whether that went well."""
    uv = shutil.which("uv")
    if uv is None:
        return False
    python = python_of(environment)
    make = [uv, "venv", "-q", "--python", sys.executable, environment]
    fill = [uv, "pip", "install", "-q", "--python", python]
    if call(make) == 0 and all(call(fill + batch) == 0 for batch in batches):
        return True
    say("uv failed, see above; trying again with venv and pip")
    shutil.rmtree(environment, ignore_errors=True)
    return False


def with_pip(environment: Path, batches: list[list[object]]) -> None:
    """Make *environment* with venv and pip; a failure ends the program."""
    make = [sys.executable, "-m", "venv", environment]
    pip = [python_of(environment), "-m", "pip"]
    if importlib.util.find_spec("ensurepip") is None:
        # Some systems ship pip but leave ensurepip out of their Python.
        if importlib.util.find_spec("pip") is None:
            sys.exit(
                "dev.py: this Python has neither ensurepip nor pip; install uv, or "
                "your system's package for venv (Debian and Ubuntu: python3-venv)"
            )
        make.append("--without-pip")
        pip = [sys.executable, "-m", "pip", "--python", python_of(environment)]
    if call(make, quiet=True):
        sys.exit(f"dev.py: cannot make an environment in {environment}, see above")
    for batch in batches:
        install = [*pip, "install", "--disable-pip-version-check", *batch]
        if call(install, quiet=True):
            sys.exit("dev.py: pip could not install what is needed, see above")


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Keep another ``dev.py`` of this directory from installing at the same time."""
    try:
        PLACE.mkdir(exist_ok=True)
        lock = (PLACE / "lock").open("w")
    except OSError as error:
        sys.exit(f"dev.py: copy all to where you may write, here I cannot: {error}")
    with lock:
        with contextlib.suppress(ImportError, OSError):  # Windows has no such locks
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX)  # ends with its process, however it ends
        yield


def prepare(name: str, *batches: list[object]) -> Path:
    """Bring an environment up to date; instant where it is already.

    Args:
        name: Name of the environment, beside the version of Python.
        batches: What an installer is to install there, one after the other.

    Returns:
        The environment's interpreter.
    """
    for variable in sorted({*FOREIGN} & {*os.environ}):
        say(f"ignoring {variable} of the surrounding shell")
    environment = PLACE / "{}-{}.{}".format(name, *sys.version_info[:2])
    python = python_of(environment)
    now = fingerprint(batches)
    if last_fingerprint(environment) == now and python.exists():
        return python
    say(f"installing into {environment.relative_to(ROOT)} (may take a minute)")
    began = time.perf_counter()
    with alone():
        if last_fingerprint(environment) == now and python.exists():
            return python  # by the one that we have waited for
        # First, or what a kill leaves of the rest would pass for an environment.
        (environment / STAMP).unlink(missing_ok=True)
        shutil.rmtree(environment, ignore_errors=True)
        if not with_uv(environment, list(batches)):
            with_pip(environment, list(batches))
        (environment / STAMP).write_text(now)
    say(f"installed in {time.perf_counter() - began:.1f} s")
    return python


def user_environment() -> Path:
    """Return the Python of somebody who uses Luminal: it and the example, no more."""
    # One after the other: some versions of pip look for Luminal in an index when the
    # distribution that requires it stands beside it.
    return prepare("example", ["-e", ".[cli]"], [DISTRIBUTION])


def work_environment() -> Path:
    """Return the Python of somebody who works on Luminal.

    The example's distribution is not there: its photons would turn up in every test
    that looks for installed ones.
    """
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    groups = sorted({entry for group in listed.values() for entry in group})
    return prepare("venv", ["-e", ".[cli]", *groups])


# --- the verbs -------------------------------------------------------------


def run(arguments: list[str]) -> int:
    """Run the example host on the access log that is named, else on a generated one."""
    # The log's path counts from where the user is; nothing there is to be imported.
    command = [user_environment(), "-P", "-m", "plugins_example.pipeline", *arguments]
    return call(command, place=Path.cwd(), PYTHONPATH=str(ROOT))


def docs(arguments: list[str]) -> int:
    """Build the documentation, warnings being errors."""
    return call([*sphinx(work_environment()), *arguments])


def sphinx(python: Path) -> list[object]:
    """Return the command that builds the documentation."""
    options = ["-q", "-E", "-n", "-W", "--keep-going"]
    return [python, "-m", "sphinx", *options, "docs", "docs/_build/html"]


def bench(arguments: list[str]) -> int:
    """Run one benchmark, or all."""
    return call([work_environment(), "-m", "benchmarks", *arguments])


def test(arguments: list[str], quick: bool) -> int:
    """Run every check, print each with its seconds, and sum up.

    Args:
        arguments: Further arguments for pytest.
        quick: Only pytest, and that without what is marked slow.
    """
    python = work_environment()
    pytest = [python, "-m", "pytest", "-n", "2", *arguments]
    if quick:
        return call([*pytest, "-m", "not slow"])
    mypy = ["-m", "mypy", "--strict", "--explicit-package-bases"]
    steps: list[tuple[str, list[object]]] = [
        ("ruff check", [python, "-m", "ruff", "check", "."]),
        ("ruff format", [python, "-m", "ruff", "format", "--check", "."]),
        ("mypy --strict", [python, "-m", "mypy", "--strict", "luminal"]),
        ("mypy, the rest", [python, *mypy, *TYPED]),
        ("lint-imports", [python.with_name("lint-imports")]),
        ("benchmarks, small", [python, "-m", "benchmarks", "--size", "small"]),
        ("pytest", [*pytest, "--junitxml", PLACE / "last-run.xml"]),
        ("docs", sphinx(python)),  # the fault matrix shows the results of this run
    ]
    results = []
    for name, command in steps:
        say(f"--- {name}")
        began = time.perf_counter()
        status = call(command)
        if name == "pytest" and status == 1:
            # Two workers and their children share the cores: what fails then has to
            # pass alone, and both lines are there to be read.
            say("--- pytest, what has failed, alone")
            status = call([python, "-m", "pytest", "--last-failed", *arguments])
        results.append((name, status, time.perf_counter() - began))
    say("--- summary")
    for name, status, seconds in results:
        say(f"{name:<18} {'FAILED' if status else 'ok':<6} {seconds:7.1f} s")
    failed = [name for name, status, _ in results if status]
    say("failed: " + ", ".join(failed) if failed else "all checks passed")
    return 1 if failed else 0


def main() -> int:
    """Read the command line and run its verb."""
    parser = argparse.ArgumentParser(prog="dev.py", description=__doc__.split("\n")[0])
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    verbs.add_parser("run", help="the example host; see run -h", add_help=False)
    verb = verbs.add_parser("test", help="every check; further arguments go to pytest")
    verb.add_argument("--quick", action="store_true", help="only pytest, nothing slow")
    verbs.add_parser("bench", help="[TOPIC] [--size small|full]", add_help=False)
    verbs.add_parser("docs", help="build docs/_build/html; arguments go to Sphinx")
    options, rest = parser.parse_known_args()
    if options.verb == "test":
        return test(rest, options.quick)
    return {"run": run, "bench": bench, "docs": docs}[options.verb](rest)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
