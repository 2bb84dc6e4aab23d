"""Run the pipeline: ``python -m plugins_example.pipeline [LOG]``."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from plugins_example.pipeline import generate, host, output, source

if TYPE_CHECKING:
    from collections.abc import Sequence

PHOTONS = Path(__file__).resolve().parent.parent / "photons"


def read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line; an invalid one ends the program with status 2."""
    parser = argparse.ArgumentParser(
        prog="pipeline", description="report on an access log, with photons"
    )
    parser.add_argument(
        "log",
        nargs="?",
        help="a file, or - for standard input; else a generated log",
    )
    parser.add_argument(
        "--follow", action="store_true", help="read on while the log grows"
    )
    parser.add_argument(
        "--records", type=int, default=60_000, help="how many to generate"
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of the generated log")
    parser.add_argument(
        "--photons",
        action="append",
        metavar="DIR",
        help="instead of the example's",
    )
    options = parser.parse_args(arguments)
    if options.follow and options.log in (None, "-"):
        parser.error("--follow needs the path of a log")
    if options.log not in (None, "-") and (why := why_unreadable(options.log)):
        parser.error(f"{why}: {options.log}")
    if options.records < 1:
        parser.error("--records must be at least 1")
    return options


def why_unreadable(log: str) -> str:
    """Return why the log at that path cannot be read, or an empty string."""
    if not os.path.exists(log):
        return "no such file"
    if os.path.isdir(log):
        return "a directory, not a log"
    return "" if os.access(log, os.R_OK) else "no permission to read"


def run(options: argparse.Namespace, log: str) -> None:
    """Process the file at *log* and print the report.

    The first Ctrl-C stops the reading, and the report covers what has been read. A
    second one ends the program.
    """
    over = threading.Event()

    def stop(_signal: int, _frame: object) -> None:
        over.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGINT, stop)
    if options.follow:
        lines = source.follow_lines(log, is_over=over.is_set)
    else:
        lines = source.read_lines(log)
    is_whole = not options.follow and os.path.isfile(log)
    with output.progress(os.path.getsize(log) if is_whole else None) as tick:
        result = asyncio.run(
            host.process(
                lines,
                options.photons or [str(PHOTONS)],
                tick=tick,
                is_over=over.is_set,
            )
        )
    output.print_result(result)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the pipeline as the command line says; return the exit status."""
    options = read_options(arguments)
    try:
        produce(options)
        sys.stdout.flush()
    except BrokenPipeError:  # `head`, say, has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def produce(options: argparse.Namespace) -> None:
    """Run the pipeline on the log that was named, or on a generated one."""
    if options.log is not None:
        run(options, options.log)
        return
    with tempfile.TemporaryDirectory(prefix="luminal-pipeline-") as directory:
        log = os.path.join(directory, "access.log")
        output.say(f"generating an access log of {options.records:,} records")
        with open(log, "w", encoding="utf-8", newline="\n") as file:
            lines = generate.generate(options.records, options.seed)
            file.writelines(line + "\n" for line in lines)
        run(options, log)


if __name__ == "__main__":
    sys.exit(main())
