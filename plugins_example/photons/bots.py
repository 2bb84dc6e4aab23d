"""A photon that counts requests by bots. It requires `agents`."""

from __future__ import annotations

from collections import Counter
from typing import Any

import luminal


class Bots(luminal.IPhoton):
    """Counts the requests of each program that is not a browser."""

    photon_name = "bots"
    photon_version = "1.0"
    photon_description = "requests by bots"
    photon_tags = ("aggregate", "report")
    photon_requires = ("agents>=1.0",)

    def start(self) -> None:
        """Reset the counters."""
        self.total = 0
        self.families: Counter[str] = Counter()

    @luminal.hookimpl
    def aggregate(self, record: dict[str, Any]) -> None:
        """Count *record* if a bot sent the request."""
        self.total += 1
        if record["is_bot"]:
            self.families[record["family"]] += 1

    @luminal.hookimpl
    def report(self) -> dict[str, Any]:
        """Return the section of bots."""
        total = self.total or 1
        return {
            "rank": 50,
            "title": "Bots",
            "headings": ("program", "requests", "share of all"),
            "rows": [
                (family, count, f"{count / total:.1%}")
                for family, count in self.families.most_common(10)
            ],
        }
