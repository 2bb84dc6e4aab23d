"""Broken on purpose: it imports a library that is not installed."""

import a_library_that_is_not_installed

import luminal


class Humidity(luminal.IPhoton):
    photon_name = "humidity"
    photon_version = "0.1"
    sensor = a_library_that_is_not_installed
