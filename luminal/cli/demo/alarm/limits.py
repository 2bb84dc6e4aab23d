"""The limits of the photon 'alarm', in degrees Celsius."""

HOT = 30.0
