"""A photon that counts traffic by hour, by status class and by path."""

from __future__ import annotations

from collections import Counter
from typing import Any

import luminal

MEANING = {2: "served", 3: "redirected", 4: "client errors", 5: "server errors"}


class Traffic(luminal.IPhoton):
    """Counts requests and bytes."""

    photon_name = "traffic"
    photon_version = "1.0"
    photon_description = "traffic by hour, status classes, top paths"
    photon_tags = ("aggregate", "report")

    def start(self) -> None:
        """Reset the counters."""
        self.hours: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.classes: Counter[int] = Counter()
        self.paths: Counter[str] = Counter()
        self.volume: Counter[str] = Counter()

    @luminal.hookimpl
    def aggregate(self, record: dict[str, Any]) -> None:
        """Count *record*."""
        hour = f"{record['time'].hour:02}:00"
        self.hours[hour] += 1
        self.classes[record["status"] // 100] += 1
        if record["status"] >= 500:
            self.failures[hour] += 1
        self.paths[record["path"]] += 1
        self.volume[record["path"]] += record["bytes"]

    @luminal.hookimpl
    def report(self) -> list[dict[str, Any]]:
        """Return three sections."""
        return [self.by_hour(), self.by_class(), self.by_path()]

    def by_hour(self) -> dict[str, Any]:
        """Return the section with a bar for each hour."""
        most = max(self.hours.values(), default=1)
        rows = [
            (hour, count, self.failures[hour], "#" * round(40 * count / most))
            for hour, count in sorted(self.hours.items())
        ]
        return {
            "rank": 10,
            "title": "Traffic by hour",
            "headings": ("hour", "requests", "5xx", ""),
            "rows": rows,
        }

    def by_class(self) -> dict[str, Any]:
        """Return the section of status classes."""
        total = sum(self.classes.values()) or 1
        rows = [
            (f"{kind}xx", MEANING.get(kind, "other"), count, f"{count / total:.1%}")
            for kind, count in sorted(self.classes.items())
        ]
        return {
            "rank": 20,
            "title": "Status classes",
            "headings": ("class", "meaning", "requests", "share"),
            "rows": rows,
        }

    def by_path(self) -> dict[str, Any]:
        """Return the section of the most requested paths."""
        rows = [
            (path, count, f"{self.volume[path] / 1e6:.1f} MB")
            for path, count in self.paths.most_common(10)
        ]
        return {
            "rank": 30,
            "title": "Top paths",
            "headings": ("path", "requests", "volume"),
            "rows": rows,
        }
