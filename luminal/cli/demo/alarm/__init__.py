"""A photon in a package: it imports a sibling module, and requires another photon."""

import luminal

from .limits import HOT


class Alarm(luminal.IPhoton):
    photon_name = "alarm"
    photon_version = "1.0"
    photon_description = "Warns when it is hot."
    photon_requires = ("mean>=2",)

    @luminal.hookimpl
    def on_reading(self, celsius: float) -> str | None:
        return "IT IS HOT" if celsius > HOT else None
