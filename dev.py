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
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent
DISTRIBUTION = ROOT / "plugins_example" / "distribution"
ENVIRONMENT = ROOT / ".dev" / "venv-{}.{}".format(*sys.version_info[:2])
PYTHON = ENVIRONMENT / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
STAMP = ENVIRONMENT / "luminal-stamp.json"
NEEDS = {"run": [], "bench": ["bench"], "docs": ["docs"]}

# Each of these would make the environment see another one's packages, or install
# into another one.
FOREIGN = (
    "CONDA_PREFIX",
    "PIP_PREFIX",
    "PIP_PYTHON",
    "PIP_TARGET",
    "PIP_USER",
    "PYTHONHOME",
    "PYTHONPATH",
    "PYTHONSAFEPATH",
    "UV_PROJECT_ENVIRONMENT",
    "UV_PYTHON",
    "UV_SYSTEM_PYTHON",
    "VIRTUAL_ENV",
)


def say(text: str) -> None:
    """Print a line of our own, before whatever a child process prints next."""
    print("dev.py: " + text, flush=True)


def clean_environ() -> dict[str, str]:
    """Return the environment variables without those that point elsewhere."""
    return {name: value for name, value in os.environ.items() if name not in FOREIGN}


def call(command: list[object], *, quiet: bool = False) -> int:
    """Run *command* in the repository's root and return its exit status.

    Args:
        command: The program and its arguments.
        quiet: Keep its output back unless it fails.
    """
    done = subprocess.run(
        [str(part) for part in command],
        cwd=ROOT,
        env=clean_environ(),
        stdout=subprocess.PIPE if quiet else None,
        stderr=subprocess.STDOUT if quiet else None,
        check=False,
    )
    if quiet and done.returncode:
        sys.stdout.write(done.stdout.decode(errors="replace"))
    return done.returncode


# --- the environment -------------------------------------------------------


def fingerprint() -> str:
    """Return a digest of everything that decides what has to be installed."""
    digest = hashlib.sha256(f"{sys.version} {ROOT}".encode())
    for project in (ROOT, DISTRIBUTION):
        digest.update((project / "pyproject.toml").read_bytes())
    return digest.hexdigest()


def stamp() -> tuple[str, set[str]]:
    """Return the fingerprint and the groups of the last finished installation."""
    try:
        read = json.loads(STAMP.read_text())
        return read["fingerprint"], set(read["groups"])
    except (OSError, ValueError, KeyError, TypeError):
        return "", set()


def requirements(groups: set[str]) -> list[object]:
    """Return what an installer is to install: both projects and *groups*."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    wanted = {entry for group in groups for entry in listed[group]}
    return ["-e", ".[cli]", "-e", DISTRIBUTION, *sorted(wanted)]


def install_with_uv(wanted: list[object]) -> bool:
    """Make the environment with uv; return whether that went well."""
    uv = shutil.which("uv")
    if uv is None:
        return False
    make = [uv, "venv", "-q", "--python", sys.executable, ENVIRONMENT]
    fill = [uv, "pip", "install", "-q", "--python", PYTHON, *wanted]
    if call(make) == 0 and call(fill) == 0:
        return True
    say("uv failed, see above; trying again with venv and pip")
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    return False


def install_with_pip(wanted: list[object]) -> None:
    """Make the environment with venv and pip; a failure ends the program."""
    if importlib.util.find_spec("ensurepip"):
        made = call([sys.executable, "-m", "venv", ENVIRONMENT], quiet=True)
        pip = [PYTHON, "-m", "pip"]
    elif importlib.util.find_spec("pip"):
        # Some systems ship pip but leave ensurepip out of their Python.
        bare = [sys.executable, "-m", "venv", "--without-pip", ENVIRONMENT]
        made = call(bare, quiet=True)
        pip = [sys.executable, "-m", "pip", "--python", PYTHON]
    else:
        sys.exit(
            "dev.py: this Python has neither ensurepip nor pip; install uv, or "
            "your system's package for venv (Debian and Ubuntu: python3-venv)"
        )
    if made:
        sys.exit(f"dev.py: cannot make an environment in {ENVIRONMENT}, see above")
    if call([*pip, "install", "-q", "--disable-pip-version-check", *wanted]):
        sys.exit("dev.py: pip could not install what is needed, see above")


def prepare(needs: list[str]) -> None:
    """Bring the environment up to date for *needs*; instant where it is already."""
    for name in FOREIGN:
        if name in os.environ:
            say(f"ignoring {name} of the surrounding shell")
    known, installed = stamp()
    now = fingerprint()
    if known == now and set(needs) <= installed and PYTHON.exists():
        return
    groups = set(needs) | installed
    began = time.perf_counter()
    say(f"installing into {ENVIRONMENT.relative_to(ROOT)} (the first time: a minute)")
    ENVIRONMENT.parent.mkdir(exist_ok=True)
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    wanted = requirements(groups)
    if not install_with_uv(wanted):
        install_with_pip(wanted)
    STAMP.write_text(json.dumps({"fingerprint": now, "groups": sorted(groups)}))
    say(f"installed in {time.perf_counter() - began:.1f} s")


# --- the verbs -------------------------------------------------------------


def run(arguments: list[str]) -> int:
    """Run the example host on a generated access log."""
    prepare(NEEDS["run"])
    return call([PYTHON, "-m", "plugins_example.pipeline", *arguments])


def docs(arguments: list[str]) -> int:
    """Build the documentation, warnings being errors."""
    prepare(NEEDS["docs"])
    return call([*sphinx(), *arguments])


def sphinx() -> list[object]:
    """Return the command that builds the documentation."""
    options = ["-q", "-E", "-W", "--keep-going"]
    return [PYTHON, "-m", "sphinx", *options, "docs", "docs/_build/html"]


def bench(arguments: list[str]) -> int:
    """Run one benchmark, or all."""
    prepare(NEEDS["bench"])
    return call([PYTHON, "-m", "benchmarks", *arguments])


def test(arguments: list[str], quick: bool) -> int:
    """Run every check, print each with its seconds, and sum up.

    Args:
        arguments: Further arguments for pytest.
        quick: Only pytest, and that without what is marked slow.
    """
    prepare(["bench", "docs", "test"])
    pytest = [PYTHON, "-m", "pytest", "-n", "2", *arguments]
    if quick:
        return call([*pytest, "-m", "not slow"])
    tools = PYTHON.parent
    steps = [
        ("ruff check", [tools / "ruff", "check", "."]),
        ("ruff format", [tools / "ruff", "format", "--check", "."]),
        ("mypy --strict", [PYTHON, "-m", "mypy", "--strict", "luminal"]),
        ("lint-imports", [tools / "lint-imports"]),
        ("docs", sphinx()),
        ("benchmarks, small", [PYTHON, "-m", "benchmarks", "--size", "small"]),
        ("pytest", [*pytest, "--junitxml", ENVIRONMENT.parent / "last-run.xml"]),
    ]
    results = []
    for name, command in steps:
        say(f"--- {name}")
        began = time.perf_counter()
        status = call(command)
        results.append((name, status, time.perf_counter() - began))
    say("--- summary")
    for name, status, seconds in results:
        say(
            "{:<18} {:<6} {:7.1f} s".format(name, "FAILED" if status else "ok", seconds)
        )
    failed = [name for name, status, _ in results if status]
    say("failed: " + ", ".join(failed) if failed else "all checks passed")
    return 1 if failed else 0


def main() -> int:
    """Read the command line and run its verb."""
    parser = argparse.ArgumentParser(prog="dev.py", description=__doc__.split("\n")[0])
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    verbs.add_parser(
        "run", help="the example host; -h shows its options", add_help=False
    )
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
