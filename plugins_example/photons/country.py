"""Broken on purpose: it needs a library that nobody has installed.

Discovery lists it, loading refuses it by name, file and line, and every other
photon of the pipeline works all the same.
"""

from __future__ import annotations

from typing import Any

import missing_on_purpose as geography  # type: ignore[import-not-found]

import luminal


class Country(luminal.IPhoton):
    """Would add the country of each address."""

    photon_name = "country"
    photon_version = "0.1"
    photon_description = "broken on purpose: a missing library"
    photon_tags = ("enrich",)

    @luminal.hookimpl
    def enrich(self, record: dict[str, Any]) -> None:
        """Would look the address up."""
        record["country"] = geography.look_up(record["address"])
