"""Addresses that behave as no visitor does: scanning, or guessing passwords."""

from __future__ import annotations

from collections import Counter
from typing import Any

import luminal

BAIT = ("/wp-", "/.env", "/.git/", "/phpmyadmin", "/admin.php")
MANY_REFUSALS = 20


class Suspects(luminal.IPhoton):
    """Counts probes for well-known holes, and refused log-ins, by address."""

    photon_name = "suspects"
    photon_version = "1.0"
    photon_description = "addresses that scan or guess passwords"
    photon_tags = ("aggregate", "report")

    def start(self) -> None:
        """Begin with nobody under suspicion."""
        self.probes: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()

    @luminal.hookimpl
    def aggregate(self, record: dict[str, Any]) -> None:
        """Count *record* against its address where it looks bad."""
        if record["path"].startswith(BAIT):
            self.probes[record["address"]] += 1
        elif record["status"] in (401, 403):
            self.refusals[record["address"]] += 1

    @luminal.hookimpl
    def report(self) -> dict[str, Any]:
        """Return the section of suspicious addresses, the busiest first."""
        found = [
            (address, count, "asks for well-known holes")
            for address, count in self.probes.items()
        ]
        found += [
            (address, count, "guesses passwords")
            for address, count in self.refusals.items()
            if count >= MANY_REFUSALS
        ]
        return {
            "rank": 60,
            "title": "Suspicious addresses",
            "headings": ("address", "requests", "why"),
            "rows": sorted(found, key=lambda row: -row[1])[:10],
        }
