"""How long commands take, beside a bare interpreter.

Measures help, completion of a command, and `list` of 100 photons, each in a process of
its own. For comparison, `pip --version` is a command that does nothing but import. Run
``python -m benchmarks.command --size full`` for 40 rounds.
"""

from __future__ import annotations

import argparse
import functools
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import banner, rounds, table

SIZES = {"small": 8, "full": 40}
PHOTONS = 100

_PHOTON = """\
import luminal


class Photon(luminal.IPhoton):
    photon_name = "photon-{at}"
"""

_COMPLETING = {
    "_LUMINAL_COMPLETE": "bash_complete",
    "COMP_WORDS": "luminal l",
    "COMP_CWORD": "1",
}


def _run(*words: str, **more: str) -> None:
    done = subprocess.run(
        [sys.executable, *words],
        env={**os.environ, **more},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"{words} ended {done.returncode}: {done.stderr}")


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="small")
    count = SIZES[parser.parse_args().size]
    with tempfile.TemporaryDirectory() as directory:
        for at in range(PHOTONS):
            (Path(directory) / f"p{at}.py").write_text(_PHOTON.format(at=at))
        command = functools.partial(
            _run, "-m", "luminal", LUMINAL_CACHE_DIR=f"{directory}/cache"
        )
        contestants = {
            "python -c pass": functools.partial(_run, "-c", "pass"),
            "luminal --help": functools.partial(command, "--help"),
            "luminal l<tab>": functools.partial(command, **_COMPLETING),
            f"luminal list, {PHOTONS}": functools.partial(
                command, "list", "--no-installed", directory
            ),
            "pip --version": functools.partial(_run, "-m", "pip", "--version"),
        }
        banner(f"the command line, {count} rounds")
        table(rounds(contestants, count), "python -c pass")


if __name__ == "__main__":
    main()
