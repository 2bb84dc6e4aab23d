"""Run all benchmarks or one: ``python -m benchmarks [TOPIC] [--size small|full]``.

A topic is a module of this package that has a ``main``. Each topic runs in a process of
its own, so that its imports and garbage do not slow down the next.
"""

from __future__ import annotations

import argparse
import ast
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def topics() -> list[str]:
    """Return the names of this package's modules that define ``main``, sorted."""
    return sorted(
        path.stem
        for path in HERE.glob("*.py")
        if path.stem != "__main__"
        and any(
            isinstance(node, ast.FunctionDef) and node.name == "main"
            for node in ast.parse(path.read_text(encoding="utf-8")).body
        )
    )


def main() -> int:
    """Run the topics of the command line; return 1 if one failed."""
    known = topics()
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("topic", nargs="?", help=f"one of: {', '.join(known)}")
    parser.add_argument("--size", choices=("small", "full"), default="small")
    options = parser.parse_args()
    if options.topic is not None and options.topic not in known:
        parser.error(
            f"no such topic: {options.topic!r}; topics are: {', '.join(known)}"
        )
    failed = []
    for topic in known if options.topic is None else [options.topic]:
        module = f"benchmarks.{topic}"
        command = [sys.executable, "-m", module, "--size", options.size]
        if subprocess.run(command, cwd=HERE.parent, check=False).returncode:
            failed.append(topic)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
