"""Pages that are generated from the code, so that they cannot disagree with it.

`write_all` writes them as Markdown and SVG before Sphinx reads the directory. Where the
code declares something and nothing explains it, the build fails.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from .api import MODULES, api_page, modules, specifications
from .built import broken_links, missing_anchors, problems_of
from .command_line import commands, commands_page, exits_table, options_of
from .errors import errors_page
from .events import events_page
from .faults import (
    STORED_RUN,
    faults_run,
    faults_table,
    faults_tests,
    marked_tests,
    results_of,
    stored_run,
)
from .hooks import hooks_page
from .links import description_of, exists
from .packages import layers, packages_drawing
from .settings import attributes, settings_page, variables
from .states import states_drawing, states_page

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "MODULES",
    "STORED_RUN",
    "api_page",
    "attributes",
    "broken_links",
    "commands",
    "commands_page",
    "description_of",
    "errors_page",
    "events_page",
    "exists",
    "exits_table",
    "faults_run",
    "faults_table",
    "faults_tests",
    "hooks_page",
    "layers",
    "marked_tests",
    "missing_anchors",
    "modules",
    "options_of",
    "packages_drawing",
    "problems_of",
    "results_of",
    "settings_page",
    "specifications",
    "states_drawing",
    "states_page",
    "stored_run",
    "variables",
    "write_all",
]


def write_all(target: Path, root: Path) -> None:
    """Write every generated page below *target*.

    Args:
        target: Directory of generated pages; what is in it is removed first.
        root: Root of the repository.
    """
    pages = {
        "commands.md": commands_page(),
        "errors.md": errors_page(root),
        "events.md": events_page(),
        "exits.txt": exits_table(),
        "faults-run.txt": faults_run(root),
        "faults-table.txt": faults_table(root),
        "faults-tests.txt": faults_tests(root),
        "hooks.md": hooks_page(),
        "packages.svg": packages_drawing(root),
        "settings.md": settings_page(root),
        "states.md": states_page(),
        "states.svg": states_drawing(),
        **{f"api/{module}.md": api_page(module) for module in modules()},
    }
    shutil.rmtree(target, ignore_errors=True)
    (target / "api").mkdir(parents=True)
    for name, text in pages.items():
        (target / name).write_text(text, encoding="utf-8")
