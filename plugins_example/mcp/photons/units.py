"""Tools in one file. Edit them and save: the client gets the new list."""

from plugins_example.mcp.tools import ToolError, ToolPhoton, tool

ABSOLUTE_ZERO = -273.15


class Units(ToolPhoton):
    """Converts units."""

    photon_name = "units"

    @tool
    def celsius(self, fahrenheit: float) -> float:
        """Convert degrees Fahrenheit to degrees Celsius."""
        found = (fahrenheit - 32) * 5 / 9
        if found < ABSOLUTE_ZERO:
            raise ToolError(f"{fahrenheit} °F is below absolute zero")
        return round(found, 2)
