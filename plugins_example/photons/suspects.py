"""A photon that reports addresses that scan the server or guess passwords."""

from __future__ import annotations

from collections import Counter
from typing import Any

import luminal

PROBED_PATHS = ("/wp-", "/.env", "/.git/", "/phpmyadmin", "/admin.php")
MANY_FAILED_LOGINS = 20


class Suspects(luminal.IPhoton):
    """Counts probes for known vulnerabilities and failed logins by address."""

    photon_name = "suspects"
    photon_version = "1.0"
    photon_description = "addresses that scan or guess passwords"
    photon_tags = ("aggregate", "report")

    def start(self) -> None:
        """Reset the counters."""
        self.probes: Counter[str] = Counter()
        self.failed_logins: Counter[str] = Counter()

    @luminal.hookimpl
    def aggregate(self, record: dict[str, Any]) -> None:
        """Count *record* if it looks like an attack."""
        if record["path"].startswith(PROBED_PATHS):
            self.probes[record["address"]] += 1
        elif record["status"] in (401, 403):
            self.failed_logins[record["address"]] += 1

    @luminal.hookimpl
    def report(self) -> dict[str, Any]:
        """Return the section of suspicious addresses, by number of requests."""
        found = [
            (address, count, "probes for known vulnerabilities")
            for address, count in self.probes.items()
        ]
        found += [
            (address, count, "guesses passwords")
            for address, count in self.failed_logins.items()
            if count >= MANY_FAILED_LOGINS
        ]
        return {
            "rank": 60,
            "title": "Suspicious addresses",
            "headings": ("address", "requests", "why"),
            "rows": sorted(found, key=lambda row: -row[1])[:10],
        }
