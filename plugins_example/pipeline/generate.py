"""Generate an access log of one day. The same seed gives the same bytes.

Most lines are in the combined format, with the seconds of the request at the end. Some
are JSON, and a few are damaged. The traffic has visitors, crawlers, a monitor, a
vulnerability scanner, an attacker who guesses passwords, three bursts, a slow search,
and fifteen minutes in which the checkout fails.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

DAY = datetime(2026, 3, 2, tzinfo=UTC)
BURSTS = (9 * 60 + 30, 13 * 60 + 5, 20 * 60)  # minutes of the day
OUTAGE = range(14 * 60 + 10, 14 * 60 + 25)
GUESSING = range(3 * 60, 5 * 60)
PAGES = {
    "/": (30, 0.02),
    "/products": (18, 0.04),
    "/products/17": (9, 0.03),
    "/products/42": (14, 0.03),
    "/cart": (8, 0.03),
    "/api/search": (12, 0.9),
    "/api/checkout": (4, 0.12),
    "/login": (5, 0.05),
    "/about": (3, 0.01),
    "/blog/hot-swap": (6, 0.02),
    "/static/app.js": (16, 0.004),
    "/static/site.css": (16, 0.003),
    "/favicon.ico": (6, 0.002),
    "/old-page": (2, 0.01),
}
"""path → weight among all requests, median seconds."""
PROBES = ("/wp-login.php", "/.env", "/phpmyadmin/", "/.git/config", "/admin.php")
BROWSERS = (
    (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 "
        "(KHTML, like Gecko) Chrome/133.0.0.0 Safari/537.36"
    ),
    "Mozilla/5.0 (X11; Linux x86_64; rv:135.0) Gecko/20100101 Firefox/135.0",
    (
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_3 like Mac OS X) AppleWebKit/605.1.15 "
        "(KHTML, like Gecko) Version/18.3 Mobile/15E148 Safari/604.1"
    ),
)
CRAWLERS = (
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
    "Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)",
    "python-requests/2.32.3",
    "curl/8.11.0",
)


def weight_of(minute: int) -> float:
    """Return the weight of *minute* of the day: a sine wave with three bursts."""
    wave = 1.2 - math.cos((minute - 240) / 1440 * 2 * math.pi)
    in_burst = any(start <= minute < start + 3 for start in BURSTS)
    return wave * (6 if in_burst else 1)


def seconds_of_day(records: int, dice: random.Random) -> list[int]:
    """Return the second of the day of each of *records* requests, sorted."""
    day = range(24 * 60)
    chosen = dice.choices(day, [weight_of(minute) for minute in day], k=records)
    return sorted(60 * minute + dice.randrange(60) for minute in chosen)


def request(minute: int, dice: random.Random) -> tuple[str, str, str, int, str, float]:
    """Return address, method, path, status, agent and seconds of one request."""
    kind = dice.random()
    if kind < 0.02:
        return "10.0.0.5", "GET", "/healthz", 200, "kube-probe/1.31", 0.001
    if kind < 0.03:
        return "192.0.2.66", "GET", dice.choice(PROBES), 404, "-", 0.002
    if kind < 0.1 and minute in GUESSING:
        return "192.0.2.99", "POST", "/login", 401, "curl/8.11.0", 0.05
    path = dice.choices(list(PAGES), [weight for weight, _ in PAGES.values()])[0]
    seconds = PAGES[path][1] * dice.lognormvariate(0, 0.6)
    if kind < 0.15:
        crawler = dice.randrange(len(CRAWLERS))
        address = f"203.0.113.{10 * crawler + dice.randrange(3)}"
        agent = CRAWLERS[crawler]
    else:
        visitor = int(dice.paretovariate(0.9)) % 20_000
        address = f"198.18.{visitor // 250}.{visitor % 250 + 1}"
        agent = BROWSERS[visitor % len(BROWSERS)]
    status = 404 if path == "/old-page" else 200
    if path == "/api/checkout" and minute in OUTAGE:
        status, seconds = 502, 30.0
    elif status == 200 and dice.random() < 0.003:
        status = 500
    method = "POST" if path in ("/api/checkout", "/login") else "GET"
    return address, method, path, status, agent, seconds


def generate(records: int, seed: int = 1) -> Iterator[str]:
    """Yield the lines of one day's log, without line ends.

    Args:
        records: Number of lines.
        seed: The same number gives the same lines.
    """
    dice = random.Random(seed)  # noqa: S311 - nothing secret
    for second in seconds_of_day(records, dice):
        address, method, path, status, agent, seconds = request(second // 60, dice)
        at = DAY + timedelta(seconds=second)
        size = 0 if status == 502 else dice.randrange(200, 40_000)
        kind = dice.random()
        if kind < 0.02:
            yield json.dumps(
                {
                    "remote_addr": address,
                    "time": at.isoformat(),
                    "request": f"{method} {path} HTTP/2.0",
                    "status": status,
                    "bytes": size,
                    "agent": agent,
                    "seconds": round(seconds, 3),
                }
            )
            continue
        query = f"?q={dice.randrange(1000)}" if path == "/api/search" else ""
        line = (
            f"{address} - - [{at:%d/%b/%Y:%H:%M:%S %z}] "
            f'"{method} {path}{query} HTTP/1.1" {status} {size} '
            f'"-" "{agent}" {seconds:.3f}'
        )
        yield line[: dice.randrange(5, 40)] if kind > 0.999 else line


def main() -> None:
    """Write a log to standard output or to a file."""
    parser = argparse.ArgumentParser(description="generate an access log of one day")
    parser.add_argument("--records", type=int, default=60_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-o", "--output", help="a file; by default standard output")
    options = parser.parse_args()
    lines = (line + "\n" for line in generate(options.records, options.seed))
    if options.output is None:
        sys.stdout.writelines(lines)
        return
    with open(options.output, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(lines)


if __name__ == "__main__":
    main()
