"""A photon that parses lines that are JSON objects."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import luminal


class JsonLines(luminal.IPhoton):
    """Makes records of JSON lines, and ignores other lines."""

    photon_name = "json-lines"
    photon_description = "parses logs with one JSON object on each line"
    photon_tags = ("parse",)

    @luminal.hookimpl
    def parse(self, line: str) -> dict[str, Any] | None:
        """Return the record of *line*, or None if it has another format."""
        if not line.startswith("{"):
            return None
        try:
            entry = json.loads(line)
            method, target, _ = entry["request"].split(" ", 2)
            seconds = entry.get("seconds")
            return {
                "address": entry["remote_addr"],
                "time": datetime.fromisoformat(entry["time"]),
                "method": method,
                "path": target.partition("?")[0],
                "status": int(entry["status"]),
                "bytes": int(entry["bytes"]),
                "agent": entry["agent"],
                "seconds": None if seconds is None else float(seconds),
            }
        except (ValueError, KeyError, TypeError, AttributeError):
            return None
