"""A terminal for tests: runs ``luminal`` as a process, and compares what it says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from tests.waiting import DEADLINE


@attrs.frozen
class Said:
    """What a command printed, and how it ended."""

    out: str
    err: str
    code: int

    def json(self) -> Any:
        return json.loads(self.out)

    def as_text(self, *arguments: str) -> str:
        """Return all of it, as it is put on record."""
        return (
            f"$ luminal {' '.join(arguments)}\n{self.out}"
            f"--- standard error\n{self.err}--- exit {self.code}\n"
        )


@attrs.define
class Terminal:
    """Runs ``luminal`` in a directory of the test's own."""

    place: Path
    env: dict[str, str]

    def write(self, files: Mapping[str, str | bytes]) -> None:
        for name, text in files.items():
            path = self.place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(text, bytes):
                path.write_bytes(text)
            else:
                path.write_text(text, encoding="utf-8")

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "luminal", *arguments],
            cwd=self.place,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def luminal(
        self, *arguments: str, timeout: float = DEADLINE, **options: Any
    ) -> Said:
        with self.start(*arguments, **options) as process:
            try:
                out, err = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        return Said(out, err, process.returncode)

    def shell(self, command: str, timeout: float = DEADLINE) -> Said:
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-c", command],
            cwd=self.place,
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )
        return Said(done.stdout, done.stderr, done.returncode)

    def normal(self, text: str) -> str:
        """Return *text* without what differs from run to run and place to place."""
        text = text.replace(str(self.place), "<here>")
        for pattern, instead in _VARYING:
            text = re.sub(pattern, instead, text, flags=re.MULTILINE)
        return text


_VARYING = (
    # Of phases.
    (
        r'"(discover|read|hash|compile|execute|start|commit|drain|finalize)": [\d.e-]+',
        r'"\1": <n>',
    ),
    (r"/\S*/luminal-demo-\w+", "<demo>"),
    (r"\d+ (records fed|in Kelvin|in Fahrenheit)", r"<n> \1"),
    (r"\S*/lum-\w+", "<sockets>"),
    (r"^\d\d:\d\d:\d\d", "<time>"),
    (r"\d+\.\d ms", "<n> ms"),
    (r"\b[0-9a-f]{128}\b", "<sha512>"),
    (r"\bhost \d+\b", "host <pid>"),
    (
        r'"(pid|at|since|memory|fed|Kelvin|Fahrenheit|\w*seconds)": [\d.e-]+',
        r'"\1": <n>',
    ),
    # Those of the whole process; a photon's own are exact.
    (r'^  "threads": \d+', '  "threads": <n>'),
    (r"memory \d+ MiB  threads \d+", "memory <n> MiB  threads <n>"),
    (
        r"^([a-z]+(?:-[a-z]+)?)( +)(Linux-\S+|\d+\.\d+(?:\.\d+)?)$",
        r"\1\2<version>",
    ),
    (r'^    "([a-z-]+)": "(Linux-\S+|\d+\.\d+(\.\d+)?)"', r'    "\1": "<version>"'),
)
"""What differs from run to run and from place to place, and what stands for it."""
