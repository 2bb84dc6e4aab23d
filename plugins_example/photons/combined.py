"""A photon that parses the combined log format.

The seconds of the request may follow at the end of a line.
"""

from __future__ import annotations

import re
from datetime import datetime
from functools import lru_cache
from typing import Any

import luminal

LINE = re.compile(
    r"(?P<address>\S+) \S+ \S+ \[(?P<time>[^\]]+)\] "
    r'"(?P<method>[A-Z]+) (?P<path>[^ "?]+)[^"]*" '
    r"(?P<status>\d{3}) (?P<bytes>\d+|-) "
    r'"[^"]*" "(?P<agent>[^"]*)"(?: (?P<seconds>\d+(?:\.\d+)?))?$'
)


@lru_cache(maxsize=4)
def read_time(text: str) -> datetime:
    """Parse ``02/Mar/2026:13:05:59 +0000``; cached, since lines share their times."""
    return datetime.strptime(text, "%d/%b/%Y:%H:%M:%S %z")


class Combined(luminal.IPhoton):
    """Makes records of lines in the combined format, and ignores other lines."""

    photon_name = "combined"
    photon_version = "1.0"
    photon_description = "parses the combined log format"
    photon_tags = ("parse",)

    @luminal.hookimpl
    def parse(self, line: str) -> dict[str, Any] | None:
        """Return the record of *line*, or None if it has another format."""
        found = LINE.match(line)
        if found is None:
            return None
        record: dict[str, Any] = found.groupdict()
        try:
            record["time"] = read_time(record["time"])
        except ValueError:
            return None
        record["status"] = int(record["status"])
        record["bytes"] = 0 if record["bytes"] == "-" else int(record["bytes"])
        if record["seconds"] is not None:
            record["seconds"] = float(record["seconds"])
        return record
