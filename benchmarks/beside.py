"""Run a benchmark of this tree with the code of another commit beside it.

``python -m benchmarks.beside DIRECTORY [BENCHMARK] [--rounds N] [ARGUMENT ...]``, where
DIRECTORY is a work tree of the other commit (``git worktree add --detach``). The two
take turns. Of each line that a benchmark prints with a ratio to a peer in its own run,
the median of all rounds is compared, as the speed of a machine drifts. Half of the
rounds are within the span beside it: a change that is smaller than that says nothing.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

_LINE = re.compile(r"^(.+?)  +[\d.]+ µs +([\d.]+) x ")
_HERE = Path(__file__).resolve().parents[1]


def measured(root: str, words: list[str]) -> dict[tuple[str, str], float]:
    """Run a benchmark; return (heading, line) → ratio to its peer."""
    env = {**os.environ, "PYTHONPATH": root}
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{words[0]}", *words[1:]],
        cwd=root,
        env=env,
        capture_output=True,
        check=True,
        text=True,
    )
    found, heading = {}, ""
    for line in done.stdout.splitlines():
        if line.startswith("## "):
            heading = line[3:]
        elif match := _LINE.match(line):
            found[heading, match[1].strip()] = float(match[2])
    return found


def run() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", help="work tree of the other commit")
    parser.add_argument("benchmark", nargs="?", default="hooks")
    parser.add_argument("--rounds", type=int, default=5)
    arguments, more = parser.parse_known_args()
    words = [arguments.benchmark, *more]
    with tempfile.TemporaryDirectory() as place:
        # The same benchmark for both: only the code that it measures differs.
        for name, target in (
            ("benchmarks", _HERE / "benchmarks"),
            ("luminal", Path(arguments.directory).resolve() / "luminal"),
        ):
            os.symlink(target, os.path.join(place, name))
        found: dict[str, dict[tuple[str, str], list[float]]] = {"before": {}, "now": {}}
        for _ in range(arguments.rounds):
            for name, root in (("before", place), ("now", str(_HERE))):
                for key, ratio in measured(root, words).items():
                    found[name].setdefault(key, []).append(ratio)
    heading = ""
    for key, ratios in found["now"].items():
        if key not in found["before"]:
            continue
        if key[0] != heading:
            heading = key[0]
            print(f"\n## {heading}")
        (low, before, high), now = spread(found["before"][key]), spread(ratios)[1]
        change = now / before - 1 if before else 0.0
        print(
            f"{key[1]:<30} {before:8.3f} ({low:.3f} to {high:.3f}) -> {now:8.3f} x its "
            f"peer  {change:+.1%}"
        )


def spread(ratios: list[float]) -> list[float]:
    """Return the first quartile, the median and the third, also of one ratio."""
    return statistics.quantiles(ratios * 2, n=4, method="inclusive")


if __name__ == "__main__":
    run()
