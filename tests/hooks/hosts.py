"""The suites of pluggy's hosts, run with pluggy's manager and with ours.

``python -m tests.hooks.hosts NAME …`` downloads a host and its suite, runs the suite
with both managers, compares them test by test and prints a row of the table in
``docs/explanation/hook-engine.md``. Environments and results are in ``.dev/peers``.
"""

# ruff: noqa: T201 - it prints a table

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import attrs

ROOT = Path(__file__).parents[2]
KEPT = ROOT / ".dev" / "peers"

IN_PLACE = """
import os, sys
if os.environ.get("LUMINAL_IN_PLACE"):
    sys.path.append({root!r})
    import pluggy, pluggy._manager
    from luminal.hooks import PluginManager
    pluggy.PluginManager = pluggy._manager.PluginManager = PluginManager
"""

OUTCOMES = """
import json, os, pluggy
found = {}

def pytest_configure(config):
    wanted = "luminal" if os.environ.get("LUMINAL_IN_PLACE") else "pluggy"
    assert type(config.pluginmanager).__mro__[1].__module__.startswith(wanted)

def pytest_runtest_logreport(report):
    if report.when == "call" or report.outcome != "passed":
        kind = "x" if hasattr(report, "wasxfail") else ""
        found.setdefault(report.nodeid, []).append(kind + report.outcome)

def pytest_sessionfinish(session):
    if not hasattr(session.config, "workerinput"):
        with open(os.environ["LUMINAL_OUTCOMES"], "w") as file:
            json.dump(found, file)
"""


@attrs.frozen
class Host:
    """A host and its suite.

    Attributes:
        name: Its name.
        version: Its version.
        packages: What is installed besides it.
        extra: Extra of the host to install, in brackets.
        git: Address of a repository whose tag *version* has the suite; empty where the
            source distribution has it.
        arguments: Arguments of pytest, in the folder of the sources.
    """

    name: str
    version: str
    packages: tuple[str, ...] = ()
    extra: str = ""
    git: str = ""
    arguments: tuple[str, ...] = ("tests",)

    @property
    def folder(self) -> Path:
        """Where it is kept."""
        return KEPT / f"{self.name}-{self.version}"

    @property
    def python(self) -> str:
        """The interpreter of its environment."""
        return str(self.folder / "env" / "bin" / "python")


HOSTS = [
    Host(
        "pytest",
        "9.2.0",
        ("pytest-xdist", "pexpect", "numpy", "PyYAML"),
        extra="[dev]",
        arguments=("testing",),
    ),
    Host(
        "datasette",
        "0.65.2",
        ("httpx<0.29", "setuptools<81"),
        extra="[test]",
        git="https://github.com/simonw/datasette",
        arguments=("tests", "--ignore=tests/test_black.py"),
    ),
    Host(
        "datasette",
        "1.0a37",
        (
            *("pytest>=9", "pytest-xdist", "pytest-asyncio", "beautifulsoup4"),
            *("pytest-timeout", "trustme", "cogapp", "psutil", "ruamel.yaml"),
            *("multipart-form-data-conformance==0.1a0", "blacken-docs"),
        ),
        git="https://github.com/simonw/datasette",
        arguments=("tests", "--ignore=tests/test_playwright.py"),
    ),
    Host(
        "tox",
        "4.58.0",
        (
            *("build[virtualenv]", "distlib", "flaky", "hatch-vcs", "hatchling"),
            *("psutil", "pytest", "pytest-mock", "pytest-timeout", "pytest-xdist"),
            *("re-assert", "setuptools<82", "time-machine", "wheel", "pytest-cov"),
            *("devpi-process", "docutils", "pdm-backend", "argcomplete"),
        ),
        git="https://github.com/tox-dev/tox",
        arguments=("tests", "-p", "no:cov"),
    ),
    Host(
        "pytest-xdist",
        "3.8.0",
        ("filelock", "psutil", "setproctitle"),
        arguments=("testing",),
    ),
    Host(
        "llm",
        "0.32",
        (
            *("pytest", "pytest-xdist", "numpy", "pytest-httpx", "pytest-asyncio"),
            *("cogapp", "pytest-recording", "syrupy", "llm-echo==0.3a3", "openai<3"),
        ),
        git="https://github.com/simonw/llm",
    ),
    Host(
        "sqlite-utils",
        "4.2.1",
        ("pytest", "pytest-xdist", "hypothesis", "tabulate", "cogapp", "anyio"),
    ),
    Host(
        "kedro",
        "1.5.0",
        (
            *("pytest", "pytest-xdist", "pytest-mock", "pandas", "pytest-cov"),
            *("kedro-datasets", "fastapi", "ipython", "requests-mock", "pydantic"),
        ),
        git="https://github.com/kedro-org/kedro",
        arguments=(
            *("tests/framework", "tests/runner", "--no-cov"),
            "--ignore=tests/framework/cli/test_jupyter.py",  # needs Jupyter
        ),
    ),
]


_MOST_ROUNDS = 3


def _run(*command: str, cwd: Path | None = None, **environment: str) -> None:
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{command}: {done.stdout[-3000:]}{done.stderr[-3000:]}")


def sources(host: Host) -> Path:
    """Return the folder with the suite of *host*, downloaded if it is not there."""
    there = host.folder / "source"
    if there.exists():
        return there
    host.folder.mkdir(parents=True, exist_ok=True)
    if host.git:
        kept = str(there.with_name("clone"))
        tag = ("--depth", "1", "--branch", host.version)
        _run("git", "clone", "-q", "--no-checkout", *tag, host.git, kept)
        # Suites need no moving pictures; kedro has many.
        _run("git", "-C", kept, "checkout", "-q", "HEAD", "--", ".", ":(exclude)*.gif")
        Path(kept).rename(there)
        return there
    download = (sys.executable, "-m", "pip", "download", "-q", "--no-deps")
    wanted = f"{host.name}=={host.version}"
    _run(*download, "--no-binary", ":all:", "-d", str(host.folder), wanted)
    (archive,) = host.folder.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(host.folder, filter="data")
    (host.folder / archive.name.removesuffix(".tar.gz")).rename(there)
    return there


def environment(host: Host) -> None:
    """Make the virtual environment of *host*, if it is not there."""
    if (host.folder / "ready").exists():
        return
    folder = host.folder / "env"
    _run(sys.executable, "-m", "venv", "--clear", str(folder))
    wanted = f"{host.name}{host.extra}=={host.version}"
    install = (host.python, "-m", "pip", "install", "-q")
    _run(*install, wanted, *host.packages, "attrs", "packaging", "importlib-metadata")
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "luminal_in_place.py").write_text(IN_PLACE.format(root=str(ROOT)))
    (site / "luminal_in_place.pth").write_text("import luminal_in_place\n")
    (site / "luminal_outcomes.py").write_text(OUTCOMES)
    (host.folder / "ready").touch()


def outcomes(
    host: Host, *, ours: bool, only: tuple[str, ...] = (), jobs: int = 2
) -> dict[str, Any]:
    """Run the suite of *host*, and return the outcomes of each test.

    Args:
        host: The host.
        ours: Whether ``PluginManager`` is Luminal's.
        only: Node ids; by default all tests run.
        jobs: Number of processes.
    """
    file = host.folder / f"{'luminal' if ours else 'pluggy'}.json"
    file.unlink(missing_ok=True)
    env = {**os.environ, "LUMINAL_OUTCOMES": str(file)}
    env.pop("LUMINAL_IN_PLACE", None)
    env.pop("PYTHONPATH", None)
    env["PATH"] = str(Path(host.python).parent) + os.pathsep + env["PATH"]
    if ours:
        env["LUMINAL_IN_PLACE"] = "1"
    distribution = ("-n", str(jobs)) if jobs > 1 else ()
    options = ("-q", "-p", "luminal_outcomes", "-p", "no:cacheprovider")
    with (host.folder / f"{file.stem}.log").open("w") as log:
        subprocess.run(
            [
                *(host.python, "-m", "pytest", *options, *distribution),
                *(only or host.arguments),
            ],
            cwd=sources(host),
            env=env,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def compare(host: Host, jobs: int = 2) -> dict[str, Any]:
    """Run the suite with both managers and return a row of the table.

    Tests that differ are run again, alone, with both, at most three times: the machine
    may be busy, and suites have tests that fail now and then.
    """
    environment(host)
    before = host.folder / "pluggy.kept.json"
    if before.exists():
        theirs = json.loads(before.read_text())
    else:
        theirs = outcomes(host, ours=False, jobs=jobs)
        before.write_text(json.dumps(theirs))
    ours = outcomes(host, ours=True, jobs=jobs)
    again = first = tuple(sorted(_differing(theirs, ours)))
    for _ in range(_MOST_ROUNDS if first else 0):
        theirs |= outcomes(host, ours=False, only=again, jobs=1)
        ours |= outcomes(host, ours=True, only=again, jobs=1)
        again = tuple(sorted(_differing(theirs, ours)))
        if not again:
            break
    row = {
        "host": host.name,
        "version": host.version,
        "python": ".".join(map(str, sys.version_info[:3])),
        "date": time.strftime("%Y-%m-%d"),
        "tests": len(theirs),
        "pluggy": _passed(theirs),
        "luminal": _passed(ours),
        "again": len(first),
        "differences": _differing(theirs, ours),
    }
    (host.folder / "result.json").write_text(json.dumps(row, indent=1))
    return row


def _passed(found: dict[str, Any]) -> int:
    return sum(outcome == ["passed"] for outcome in found.values())


def _differing(theirs: dict[str, Any], ours: dict[str, Any]) -> dict[str, Any]:
    return {
        name: (theirs.get(name), ours.get(name))
        for name in theirs | ours
        if theirs.get(name) != ours.get(name)
    }


def main(names: list[str]) -> None:
    """Print a row for each of the hosts *names*; for all if there are none."""
    for host in HOSTS:
        if not names or host.name in names or f"{host.name}-{host.version}" in names:
            row = compare(host)
            columns = ("host", "version", "tests", "pluggy", "luminal")
            cells = [str(row[column]) for column in columns]
            print(f"| {' | '.join(cells)} | {len(row['differences'])} |", flush=True)
            for name, (theirs, ours) in row["differences"].items():
                print(f"    {name}: {theirs} with pluggy, {ours} with Luminal")


if __name__ == "__main__":
    main(sys.argv[1:])
