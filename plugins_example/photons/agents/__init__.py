"""A photon that finds out from the user agent which program sent a request.

It is a package: the module `table` reads the table of user agents from a data file.
"""

from __future__ import annotations

from typing import Any

import luminal

from .table import Table, read_table


class Agents(luminal.IPhoton):
    """Adds ``family`` and ``is_bot`` to each record."""

    photon_name = "agents"
    photon_version = "1.2"
    photon_description = "finds the program of a user agent"
    photon_tags = ("enrich",)

    def start(self) -> None:
        """Read the table and make an empty cache of results."""
        self.table: Table = read_table()
        self.known: dict[str, tuple[str, bool]] = {}

    @luminal.hookimpl(tryfirst=True)
    def enrich(self, record: dict[str, Any]) -> None:
        """Look up the record's agent, before the ``enrich`` of other photons."""
        agent = record["agent"]
        found = self.known.get(agent)
        if found is None:
            if len(self.known) > 10_000:
                self.known.clear()  # clients choose the text: keep the cache bounded
            found = self.known[agent] = self.table.look_up(agent)
        record["family"], record["is_bot"] = found
