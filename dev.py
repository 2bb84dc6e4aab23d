"""Run, test, check, measure and document Luminal. Give it one of these commands.

run [LOG] [--follow]    the example host
test [ARGUMENT ...]     every check; further arguments are pytest's
    --quick             only the tests that take no time
    --latest            with the newest packages instead of the pinned ones
    --peers             only the suites of other projects, which are downloaded
check [NAME ...]        ruff, format, mypy, imports: what runs none of the code
bench [TOPIC] [--size small|full]
docs                    build docs/_build/html
pins                    renew constraints.txt and [tool.uv] in pyproject.toml

Needs only Python 3.11; installs into .dev/. This file has to compile for Python 3.6.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - the one place where it can be said
    sys.exit("dev.py: needs Python 3.11 or later, this is " + sys.version.split()[0])

import functools
import importlib.util
import os
import shutil
import subprocess
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent
PINS = ROOT / "constraints.txt"
PROJECT = ROOT / "pyproject.toml"
EXAMPLE = ROOT / "plugins_example" / "distribution"
FOREIGN = {  # They would show an environment other packages, or install into another.
    *("CONDA_PREFIX", "PIP_PREFIX", "PIP_PYTHON", "PIP_TARGET", "PIP_USER"),
    *("PYTHONHOME", "PYTHONPATH", "PYTHONSAFEPATH", "UV_SYSTEM_PYTHON", "VIRTUAL_ENV"),
}
CHECKS = ("ruff", "format", "mypy", "imports")
say = functools.partial(print, "dev.py:", flush=True)


def call(*command: object, cwd: Path = ROOT, **more: str) -> int:
    """Run *command* with *more* environment variables; return its exit status."""
    words, environ = [str(word) for word in command], {**os.environ, **more}
    return subprocess.run(words, cwd=cwd, env=environ, check=False).returncode


def prepare(name: str, *batches: list[object]) -> Path:
    """Return the Python of an environment that holds *batches*; make it if need be."""
    environment = ROOT / ".dev" / "{}-{}.{}".format(name, *sys.version_info[:2])
    python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    files = (PINS, PROJECT, EXAMPLE / "pyproject.toml")
    wanted = "\n".join([sys.version, str(ROOT), *(f.read_text("utf-8") for f in files)])
    wanted += f"{batches} " + (time.strftime("%Y-%m-%d") if name == "latest" else "")
    stamp = environment / "installed.txt"
    if python.exists() and stamp.exists() and stamp.read_text("utf-8") == wanted:
        return python
    stamp.unlink(missing_ok=True)  # first, and written last: what broke off is redone
    for uv in dict.fromkeys([shutil.which("uv"), None]):  # None: pip, also if uv fails
        say(f"installing with {'uv' if uv else 'pip'} (takes a minute):", environment)
        shutil.rmtree(environment, ignore_errors=True)
        if uv:  # as if in another project: the pins in this one are for `uv run`
            make = [uv, "venv", "-q", "-p", sys.executable]
            pip = [uv, "--project", ROOT.anchor, "pip", "install", "-q", "-p", python]
            pip += ["-c", PINS, "-b", PINS] if name != "latest" else []
        else:
            make = [sys.executable, "-m", "venv"]
            pip = [python, "-m", "pip", "install", "-qq"]
            if not importlib.util.find_spec("ensurepip"):  # Debian ships it apart
                make.append("--without-pip")
                pip[:3] = [sys.executable, "-m", "pip", "--python", python]
        commands = ([*make, environment], *([*pip, *batch] for batch in batches))
        pins = os.environ["PIP_CONSTRAINT"]
        if not any(call(*command, PIP_BUILD_CONSTRAINT=pins) for command in commands):
            stamp.write_text(wanted, "utf-8")
            return python
    sys.exit("dev.py: could not install it, see above; without pip, install uv")


def group(name: str) -> list[object]:
    """Return the requirements of a dependency group and of those that it includes."""
    entries = tomllib.loads(PROJECT.read_text("utf-8"))["dependency-groups"][name]
    lists = (group(*e.values()) if isinstance(e, dict) else [e] for e in entries)
    return [requirement for requirements in lists for requirement in requirements]


def run_all(steps: dict[str, list[object]]) -> int:
    """Run all *steps*, whatever becomes of them, and sum up."""
    summary, failed = ["--- summary"], []
    for name, command in steps.items():
        say(f"--- {name}")
        began = time.perf_counter()
        status = "FAILED" if call(*command) else "ok"
        summary.append(f"{name:<12} {status:<6} {time.perf_counter() - began:7.1f} s")
        failed += [name] if status == "FAILED" else []
    say("\ndev.py: ".join(summary))
    say("failed: " + ", ".join(failed) if failed else "all passed")
    return 1 if failed else 0


def main() -> int:
    """Read the command line and do what it says."""
    task, *rest = sys.argv[1:] or [""]
    is_check = task == "check" and {*rest} <= {*CHECKS}
    if not is_check and task not in {"run", "test", "bench", "docs", "pins"}:
        print(__doc__)
        return 0 if task in {"-h", "--help"} else 2
    flags = {"--quick", "--latest", "--peers"} & {*rest} if task == "test" else set()
    rest = [word for word in rest if word not in flags]
    latest = "--latest" in flags
    for variable in sorted(FOREIGN & {*os.environ}):
        say(f"ignoring {variable} of the surrounding shell")
        del os.environ[variable]
    # For every pip, also those of tests; the old ones hand it on to what they build.
    os.environ["PIP_CONSTRAINT"] = os.devnull if latest else PINS.as_uri()
    if task == "run":  # in the user's directory, of which it imports nothing
        python = prepare("example", ["-e", ".[cli]"], [EXAMPLE])
        host = [python, "-P", "-m", "plugins_example.pipeline", *rest]
        return call(*host, cwd=Path.cwd(), PYTHONPATH=str(ROOT))
    if task == "pins":
        return call(prepare("pins", group("pins")), ".ci/pins.py")
    # Without the example's distribution, whose photons the tests would find.
    python = prepare("latest" if latest else "venv", ["-e", ".", *group("dev")])
    pytest = [python, "-m", "pytest", "-n", "2", *rest]
    steps: dict[str, list[object]] = {
        "ruff": [python, "-m", "ruff", "check"],
        "format": [python, "-m", "ruff", "format", "--check"],
        "mypy": [python, "-m", "mypy"],
        "imports": [python.with_name("lint-imports")],
        "docs": [python, "-m", "sphinx", "-qEnW", "docs", "docs/_build/html"],
        "pytest": pytest,
    }
    alone = {"docs": steps["docs"], "bench": [python, "-m", "benchmarks"]}
    if task in alone:
        return call(*alone[task], *rest)
    if is_check:
        return run_all({name: steps[name] for name in rest or CHECKS})
    if "--peers" in flags:  # they name the versions that they need
        return call(*pytest, "-m", "peers", PIP_CONSTRAINT=os.devnull)
    if "--quick" in flags:
        return call(*pytest, "-m", "not slow and not peers")
    return run_all(steps)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
