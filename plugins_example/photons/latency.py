"""A photon that reports the slowest paths, with percentiles."""

from __future__ import annotations

from array import array
from typing import Any

import luminal


def percentile(values: list[float], share: float) -> float:
    """Return a percentile of *values*, which are sorted and not empty.

    Args:
        values: The sorted values.
        share: From 0 to 1, such as 0.95 for the 95th percentile.
    """
    return values[min(len(values) - 1, int(share * len(values)))]


class Latency(luminal.IPhoton):
    """Keeps the seconds of every request by path, in 8 bytes each."""

    photon_name = "latency"
    photon_version = "1.0"
    photon_description = "slow endpoints with percentiles"
    photon_tags = ("aggregate", "report")

    def start(self) -> None:
        """Forget all measurements."""
        self.seconds: dict[str, array[float]] = {}

    @luminal.hookimpl
    def aggregate(self, record: dict[str, Any]) -> None:
        """Keep the record's seconds, if the log has them."""
        if record["seconds"] is not None:
            path = record["path"]
            self.seconds.setdefault(path, array("d")).append(record["seconds"])

    @luminal.hookimpl
    def report(self) -> dict[str, Any]:
        """Return the eight slowest paths by their 95th percentile."""
        rows: list[tuple[str, int, list[float]]] = []
        for path, unsorted in self.seconds.items():
            values = sorted(unsorted)
            points = [percentile(values, share) for share in (0.5, 0.95, 0.99, 1.0)]
            rows.append((path, len(values), points))
        rows.sort(key=lambda row: row[2][1], reverse=True)
        return {
            "rank": 40,
            "title": "Slow endpoints",
            "headings": ("path", "requests", "p50", "p95", "p99", "worst"),
            "rows": [
                (path, count, *(f"{1000 * value:.0f} ms" for value in points))
                for path, count, points in rows[:8]
            ],
        }
