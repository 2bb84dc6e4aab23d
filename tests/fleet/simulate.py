"""Simulates a fleet's swaps with all faults, 10,000 times: a command of its own.

``python -m tests.fleet.simulate [--runs N]`` tells how far it is, and at the end what
has happened how often. It fails with the shortest run that it finds.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from random import Random

from hypothesis import HealthCheck, Verbosity, given, settings
from hypothesis import strategies as st

from tests.fleet.world import simulate


def say(line: str) -> None:
    """Write a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Simulate, and print what has happened."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = int(os.environ.get("LUMINAL_SIMULATIONS", "10000"))
    parser.add_argument("--runs", type=int, default=default, help="how many runs")
    runs = parser.parse_args().runs
    counts: Counter[str] = Counter()
    start = time.monotonic()

    @given(
        seed=st.integers(0, 2**64 - 1),
        steps=st.integers(1, 400),
        members=st.integers(1, 5),
    )
    @settings(
        max_examples=runs,
        deadline=None,
        database=None,
        verbosity=Verbosity.normal,
        suppress_health_check=list(HealthCheck),
    )
    def run(seed: int, steps: int, members: int) -> None:
        counts.update(simulate(Random(seed), steps, members))
        counts["runs"] += 1
        if counts["runs"] % 500 == 0:
            seconds = time.monotonic() - start
            say(f"{counts['runs']:6} of {runs} runs, {seconds:.0f} s")

    run()
    for what, count in sorted(counts.items(), key=lambda item: item[0].lower()):
        say(f"{count:10,} {what}")
    say("no decision was split, and all members have converged")


if __name__ == "__main__":
    main()
