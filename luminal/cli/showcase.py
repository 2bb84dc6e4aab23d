"""What ``luminal demo`` shows: a host's hooks, and the texts of its photons.

A weather station: readings come in, photons say something about them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from luminal.interfaces import hookspec

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["BROKEN", "EDITED", "PHOTONS", "READINGS", "Station"]

READINGS = (12.0, 19.5, 31.0)
"""Temperatures in degrees Celsius."""


class Station:
    """What a photon of the weather station may implement."""

    @hookspec
    def on_reading(self, celsius: float) -> str | None:
        """Say something about a reading, or nothing."""

    @hookspec(firstresult=True)
    def on_record(self, number: int, celsius: float) -> tuple[int, str] | None:
        """Return the number of the record, and the scale that it was stored in."""


_FAHRENHEIT = '''\
"""A lone file: the same temperature on another scale."""

import luminal


class Fahrenheit(luminal.IPhoton):
    photon_name = "fahrenheit"
    photon_version = "1.0"
    photon_description = "Converts each reading."

    @luminal.hookimpl
    def on_reading(self, celsius):
        return f"that is {celsius * 9 / 5 + 32:.1f} degrees Fahrenheit"

    @luminal.hookimpl
    def on_record(self, number, celsius):
        return number, "Fahrenheit"
'''

EDITED = _FAHRENHEIT.replace("celsius * 9 / 5 + 32", "celsius + 273.15").replace(
    'Fahrenheit"', 'Kelvin"'
)
"""The photon `fahrenheit` after a change of mind."""

BROKEN = EDITED.replace("return number", "return number,")
"""And after a slip of the finger."""

_MEAN = '''\
"""A photon with a life: it gathers from its start to its end."""

import luminal


class Mean(luminal.IPhoton):
    photon_name = "mean"
    photon_version = "2.1"
    photon_description = "Keeps the mean of all readings."

    def start(self):
        self.readings = []

    @luminal.hookimpl
    def on_reading(self, celsius):
        self.readings.append(celsius)
        return f"the mean is {sum(self.readings) / len(self.readings):.1f}"

    def finalize(self):
        self.context.logger.info("saw %d readings", len(self.readings))
'''

_ALARM = '''\
"""A package: it imports its neighbour, and needs another photon."""

import luminal

from .limits import HOT


class Alarm(luminal.IPhoton):
    photon_name = "alarm"
    photon_version = "1.0"
    photon_description = "Warns when it is hot."
    photon_requires = ("mean>=2",)

    @luminal.hookimpl
    def on_reading(self, celsius):
        return "IT IS HOT" if celsius > HOT else None
'''

_HUMIDITY = '''\
"""Broken on purpose: nobody has this library."""

import luminal
import a_library_that_nobody_has


class Humidity(luminal.IPhoton):
    photon_name = "humidity"
    photon_version = "0.1"
'''

_RAIN = '''\
"""Broken on purpose: it needs a photon that is not there."""

import luminal


class Rain(luminal.IPhoton):
    photon_name = "rain"
    photon_version = "0.1"
    photon_requires = ("gauge",)
'''

PHOTONS: Mapping[str, str] = {
    "fahrenheit.py": _FAHRENHEIT,
    "mean.py": _MEAN,
    "alarm/__init__.py": _ALARM,
    "alarm/limits.py": "HOT = 30.0\n",
    "humidity.py": _HUMIDITY,
    "rain.py": _RAIN,
}
"""Path below the directory of photons → text."""
