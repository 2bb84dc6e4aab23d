"""Write the newest versions that fit together into the two places that pin them.

``constraints.txt`` is what ``dev.py`` and pip read, ``[tool.uv]`` in ``pyproject.toml``
what uv reads. Both name all packages that are installed, for every Python that Luminal
supports, and no host.
"""

# ruff: noqa: S603, T201 - a program, which runs the uv beside it

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PINS = ROOT / "constraints.txt"
PROJECT = ROOT / "pyproject.toml"
NOTE = "# Written by `python3 dev.py pins`."
PIN = re.compile(r"[\w.-]+==\S+( ; .+)?")


def resolve(*what: str) -> list[str]:
    """Return one line ``name==version`` for each package that *what* needs.

    Args:
        what: Arguments of ``uv pip compile``.
    """
    # As if in another project, or the pins that this one has now would be kept.
    uv = [sys.executable, "-m", "uv", "--project", ROOT.anchor, "pip", "compile"]
    options = ["--universal", "--python-version", "3.11", "--quiet", "--no-annotate"]
    done = subprocess.run([*uv, *options, *what], stdout=subprocess.PIPE, check=True)
    return [line for line in done.stdout.decode().splitlines() if PIN.fullmatch(line)]


def group(name: str) -> str:
    """Return the argument that adds a dependency group."""
    return f"--group={PROJECT}:{name}"


def main() -> None:
    """Resolve what contributors install, and of that what builds need."""
    extras = (str(PROJECT), "--all-extras")
    everything = resolve(*extras, group("dev"), group("pins"))
    PINS.write_text("\n".join([NOTE, *everything, ""]), encoding="utf-8")
    builds = resolve(group("build"), "--constraint", str(PINS))
    table = ["[tool.uv]", NOTE]
    for key, pins in (
        ("constraint-dependencies", everything),
        ("build-constraint-dependencies", builds),
    ):
        table += [f"{key} = [", *(f'  "{pin}",' for pin in pins), "]"]
    text, *_ = PROJECT.read_text(encoding="utf-8").partition("[tool.uv]\n")
    PROJECT.write_text(text + "\n".join([*table, ""]), encoding="utf-8")
    print(f"{len(everything)} versions in {PINS.name}")


if __name__ == "__main__":
    main()
