"""The table of user agents."""

from __future__ import annotations

import csv
from importlib.resources import files

import attrs


@attrs.frozen
class Table:
    """Rows of (text, family, whether it is a bot); the first that matches counts."""

    rows: tuple[tuple[str, str, bool], ...]

    def look_up(self, agent: str) -> tuple[str, bool]:
        """Return the family of *agent* and whether it is a bot."""
        for text, family, is_bot in self.rows:
            if text in agent:
                return family, is_bot
        return "unknown", False


def read_table() -> Table:
    """Read ``data/agents.csv`` of this package."""
    source = files(__package__).joinpath("data", "agents.csv")
    rows = csv.DictReader(source.read_text(encoding="utf-8").splitlines())
    return Table(
        tuple((row["text"], row["family"], row["bot"] == "yes") for row in rows)
    )
