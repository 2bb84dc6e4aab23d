"""Broken on purpose: it requires a photon that does not exist."""

import luminal


class Rain(luminal.IPhoton):
    photon_name = "rain"
    photon_version = "0.1"
    photon_requires = ("gauge",)
