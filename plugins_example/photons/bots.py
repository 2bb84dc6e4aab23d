"""How much of the traffic nobody looks at. Needs to be told who is a bot."""

from __future__ import annotations

from collections import Counter
from typing import Any

import luminal


class Bots(luminal.IPhoton):
    """Counts the requests of each program that is not a person's browser."""

    photon_name = "bots"
    photon_version = "1.0"
    photon_description = "requests by programs"
    photon_tags = ("aggregate", "report")
    photon_requires = ("agents>=1.0",)

    def start(self) -> None:
        """Begin to count at zero."""
        self.total = 0
        self.families: Counter[str] = Counter()

    @luminal.hookimpl
    def aggregate(self, record: dict[str, Any]) -> None:
        """Count *record* where a bot asked."""
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
