"""Tools with a state: the notes are kept over reloads."""

import asyncio

from plugins_example.mcp.tools import ToolPhoton, tool


class Notes(ToolPhoton):
    """Keeps notes."""

    photon_name = "notes"

    @tool
    def add_note(self, text: str) -> int:
        """Add a note; returns how many there are."""
        notes = self.context.data.setdefault("notes", [])
        notes.append(text)
        return len(notes)

    @tool
    def read_notes(self) -> list[str]:
        """Read all notes."""
        return list(self.context.data.get("notes", ()))

    @tool
    async def remind(self, seconds: float, text: str) -> str:
        """Return *text* after some seconds."""
        await asyncio.sleep(seconds)
        return text
