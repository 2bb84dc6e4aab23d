"""A photon that is broken on purpose: it imports a library that is not installed.

Discovery lists it. Loading reports the error with file and line, and all other photons
of the pipeline still work.
"""

from __future__ import annotations

from typing import Any

import missing_on_purpose as geography  # type: ignore[import-not-found]

import luminal


class Country(luminal.IPhoton):
    """Would add the country of each address to its record."""

    photon_name = "country"
    photon_version = "0.1"
    photon_description = "broken on purpose: a missing library"
    photon_tags = ("enrich",)

    @luminal.hookimpl
    def enrich(self, record: dict[str, Any]) -> None:
        """Would add the country of the address."""
        record["country"] = geography.look_up(record["address"])
