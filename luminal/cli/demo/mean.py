"""A photon with state: it collects readings from its start to its end."""

import luminal


class Mean(luminal.IPhoton):
    photon_name = "mean"
    photon_version = "2.1"
    photon_description = "Keeps the mean of all readings."

    def start(self) -> None:
        self.readings: list[float] = []

    @luminal.hookimpl
    def on_reading(self, celsius: float) -> str:
        self.readings.append(celsius)
        return f"the mean is {sum(self.readings) / len(self.readings):.1f}"

    def finalize(self) -> None:
        self.context.logger.info("saw %d readings", len(self.readings))
