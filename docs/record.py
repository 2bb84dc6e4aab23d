"""Record what the front page shows, from a real run, as ``docs/recording.svg``.

``python docs/record.py`` writes the files of ``docs/index.md`` into a new directory,
runs its host, saves its photon three times, and draws what there was to see, when.
"""

from __future__ import annotations

import queue
import re
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from html import escape
from pathlib import Path

HERE = Path(__file__).resolve().parent
FILE = re.compile(r"^```python\n# (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SAVES = (
    ("evening", "morning", "Good morning"),
    ('{name}."', '{name}.")', "still running"),
    ('Good morning, {name}.")', 'Hello, {name}."', "Hello"),
)
"""Text to replace, text to write, and what the terminal shows after this save."""

WAIT = 30.0
"""Seconds for the host to print what is expected."""

WIDTH, LINE, LETTER, EDGE = 66, 20, 8.4, 16
STYLE = """
  text { font: 14px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
         fill: #e6e6e6; white-space: pre; }
  .saved { fill: #7fd1ff; }
  .error { fill: #ffb454; }
  .typed { fill: #9ece6a; }
  @media (prefers-reduced-motion: no-preference) {
    .later { animation: show 1ms both; }
  }
  @keyframes show { from { opacity: 0; } to { opacity: 1; } }
"""

Line = tuple[float, str, str]
"""Seconds since the start, class in the drawing, text."""


def record() -> list[Line]:
    """Run the front page's host, save its photon, and return what there was to see."""
    with tempfile.TemporaryDirectory() as place:
        for name, text in FILE.findall((HERE / "index.md").read_text("utf-8")):
            file = Path(place, name)
            file.parent.mkdir(exist_ok=True)
            file.write_text(text.lstrip(), encoding="utf-8")
        host = subprocess.Popen(
            [sys.executable, "-u", "host.py"],
            cwd=place,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        printed: queue.Queue[tuple[float, str]] = queue.Queue()

        def read() -> None:
            for line in host.stdout or ():
                printed.put((time.monotonic(), line.rstrip()))

        reader = threading.Thread(target=read)
        reader.start()
        with host:
            try:
                return _record(printed, Path(place, "photons", "polite.py"))
            finally:
                host.terminate()
                reader.join(WAIT)


def _record(printed: queue.Queue[tuple[float, str]], photon: Path) -> list[Line]:
    begin = time.monotonic()
    seen: list[Line] = [(0.0, "typed", "$ python host.py")]

    def until(text: str) -> None:
        line, deadline = "", time.monotonic() + WAIT
        while text not in line:
            at, line = printed.get(timeout=max(0, deadline - time.monotonic()))
            kind = "error" if "still running" in line else "printed"
            seen.append((at - begin, kind, line))

    until("Good evening")
    for old, new, expected in SAVES:
        text = photon.read_text("utf-8")
        photon.write_text(text.replace(old, new), encoding="utf-8")
        line = next(each for each in text.splitlines() if old in each).strip()
        saved = f"# polite.py saved: {line.replace(old, new)}"
        seen.append((time.monotonic() - begin, "saved", saved))
        until(expected)
        until(", Ada.")
    return seen


def drawing(lines: list[Line]) -> str:
    """Return *lines* as an SVG in which each appears at its time."""
    rows: list[str] = []
    for seconds, kind, text in lines:
        for part in textwrap.wrap(text, WIDTH, subsequent_indent="  "):
            y = EDGE + LINE * len(rows) + LINE / 2
            delay = f"animation-delay: {seconds:.2f}s"
            rows.append(
                f'<text class="later {kind}" style="{delay}" x="{EDGE}" y="{y + 4:g}">'
                f"{escape(part)}</text>"
            )
    width = round(2 * EDGE + WIDTH * LETTER)
    height = 2 * EDGE + LINE * len(rows)
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size}>',
            f"<style>{STYLE}</style>",
            f'<rect width="{width}" height="{height}" rx="6" fill="#1b1f27"/>',
            *rows,
            "</svg>",
            "",
        ]
    )


if __name__ == "__main__":
    (HERE / "recording.svg").write_text(drawing(record()), encoding="utf-8")
