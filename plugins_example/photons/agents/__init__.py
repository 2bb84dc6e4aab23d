"""Tells from the user agent which program asked, and whether it is a bot.

A package: the table is a file of its own, read by `table` in the next module.
"""

from __future__ import annotations

from typing import Any

import luminal

from .table import Table, read_table


class Agents(luminal.IPhoton):
    """Adds ``family`` and ``is_bot`` to each record."""

    photon_name = "agents"
    photon_version = "1.2"
    photon_description = "names the program behind a user agent"
    photon_tags = ("enrich",)

    def start(self) -> None:
        """Read the table; what it said about an agent once is remembered."""
        self.table: Table = read_table()
        self.known: dict[str, tuple[str, bool]] = {}

    @luminal.hookimpl(tryfirst=True)
    def enrich(self, record: dict[str, Any]) -> None:
        """Look the record's agent up; other photons' ``enrich`` may rely on it."""
        agent = record["agent"]
        found = self.known.get(agent)
        if found is None:
            if len(self.known) > 10_000:
                self.known.clear()  # agents are the client's words: keep it bounded
            found = self.known[agent] = self.table.look_up(agent)
        record["family"], record["is_bot"] = found
