"""A photon in a single file: converts the temperature to another scale."""

import luminal


class Fahrenheit(luminal.IPhoton):
    photon_name = "fahrenheit"
    photon_version = "1.0"
    photon_description = "Converts each reading."

    @luminal.hookimpl
    def on_reading(self, celsius: float) -> str:
        return f"that is {celsius * 9 / 5 + 32:.1f} degrees Fahrenheit"

    @luminal.hookimpl
    def on_record(self, number: int) -> tuple[int, str]:
        return number, "Fahrenheit"
