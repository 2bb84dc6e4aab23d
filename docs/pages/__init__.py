"""Pages that are made from the code, so that they cannot disagree with it.

Comes in: `luminal`'s public rooms, its declarations, the tests' marks and the result
of the last test run. Goes out: Markdown and SVG. Needs no Sphinx, so the tests can call
it; what it cannot say in full is an error of the build.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from .built import broken_links, missing_anchors, problems_of
from .command_line import commands, commands_page, exits_table, options_of
from .errors import errors_page
from .events import events_page
from .faults import LAST_RUN, faults_table, marked_tests
from .hooks import hooks_page
from .house import house_drawing
from .links import homes_of
from .rooms import api_page, floors, rooms, specifications
from .settings import attributes, settings_page, variables
from .states import states_drawing, states_page

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "LAST_RUN",
    "api_page",
    "attributes",
    "broken_links",
    "commands",
    "commands_page",
    "errors_page",
    "events_page",
    "exits_table",
    "faults_table",
    "floors",
    "homes_of",
    "hooks_page",
    "house_drawing",
    "marked_tests",
    "missing_anchors",
    "options_of",
    "problems_of",
    "rooms",
    "settings_page",
    "specifications",
    "states_drawing",
    "states_page",
    "variables",
    "write_all",
]


def write_all(target: Path, root: Path) -> None:
    """Write every generated page below *target*; forget pages of former rooms.

    Args:
        target: Directory of generated pages; made anew.
        root: Root of the repository.
    """
    pages = {
        "commands.md": commands_page(),
        "errors.md": errors_page(root),
        "events.md": events_page(root),
        "exits.txt": exits_table(),
        "faults-table.txt": faults_table(root),
        "hooks.md": hooks_page(root),
        "house.svg": house_drawing(root),
        "settings.md": settings_page(root),
        "states.md": states_page(),
        "states.svg": states_drawing(),
        **{f"api/{room}.md": api_page(room) for room in rooms(root)},
    }
    shutil.rmtree(target, ignore_errors=True)
    (target / "api").mkdir(parents=True)
    for name, text in pages.items():
        (target / name).write_text(text, encoding="utf-8")
