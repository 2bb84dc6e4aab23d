"""A photon that counts traffic by network, by the longest matching prefix."""

from __future__ import annotations

import csv
import ipaddress
from collections import Counter
from functools import lru_cache
from importlib.resources import files
from typing import Any

import luminal

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def read_prefixes() -> list[tuple[Network, str]]:
    """Read ``prefixes.csv`` of this package; the longest prefixes come first."""
    text = files(__package__).joinpath("prefixes.csv").read_text("utf-8")
    rows = [
        (ipaddress.ip_network(row["prefix"]), row["network"])
        for row in csv.DictReader(text.splitlines())
    ]
    return sorted(rows, key=lambda row: row[0].prefixlen, reverse=True)


class Networks(luminal.IPhoton):
    """Adds ``network`` to each record, and counts requests and bytes by it."""

    photon_name = "networks"
    photon_description = "traffic by network"
    photon_tags = ("enrich", "aggregate", "report")

    def start(self) -> None:
        """Read the table and reset the counters."""
        self.prefixes = read_prefixes()
        self.look_up = lru_cache(maxsize=50_000)(self.find)
        self.requests: Counter[str] = Counter()
        self.volume: Counter[str] = Counter()

    def find(self, address: str) -> str:
        """Return the name of the network of *address*."""
        try:
            number = ipaddress.ip_address(address)
        except ValueError:
            return "not an address"
        return next((name for net, name in self.prefixes if number in net), "other")

    @luminal.hookimpl
    def enrich(self, record: dict[str, Any]) -> None:
        """Add the network of the record's address."""
        record["network"] = self.look_up(record["address"])

    @luminal.hookimpl
    def aggregate(self, record: dict[str, Any]) -> None:
        """Count *record*."""
        self.requests[record["network"]] += 1
        self.volume[record["network"]] += record["bytes"]

    @luminal.hookimpl
    def report(self) -> dict[str, Any]:
        """Return the section of networks."""
        return {
            "rank": 55,
            "title": "Networks",
            "headings": ("network", "requests", "volume"),
            "rows": [
                (name, count, f"{self.volume[name] / 1e6:.1f} MB")
                for name, count in self.requests.most_common(10)
            ],
        }
