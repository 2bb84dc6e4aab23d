"""The packages and their layers, as a drawing.

The layers come from the import contract in ``setup.cfg``. What is said of a package is
the beginning of its docstring.
"""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from .drawing import arrow, box, figure, label

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["layers", "packages_drawing", "purpose"]

NAME = "packages"
LEFT = 34.0
WIDTH = 860.0
ROW = 30.0
GAP = 12.0


def layers(root: Path) -> list[list[str]]:
    """Return the packages of each layer, from the top; helper modules left out."""
    contract = (root / "setup.cfg").read_text(encoding="utf-8")
    found = re.search(r"^layers =\n((?: +.+\n?)+)", contract, re.MULTILINE)
    lines = found[1].splitlines() if found else []
    layers = [re.findall(r"\b[a-z]\w*", line) for line in lines]
    return [layer for layer in layers if layer]


def packages_drawing(root: Path) -> str:
    """Return the packages in the order of their layers, the highest at the top.

    Args:
        root: Root of the repository.

    Raises:
        LookupError: A package has no docstring.
    """
    parts = []
    top = 8.0
    for layer in layers(root):
        for package in layer:
            parts.append(
                box((LEFT, top), (124, ROW - 4), package, f"package-{package}")
            )
            text = purpose(root, package)
            parts.append(label((LEFT + 138, top + 17.5), text, "start"))
            top += ROW
        top += GAP
    parts.append(arrow(f"M16 10V{top - GAP - 6:g}", NAME))
    said = "a package imports only from the layers below its own"
    parts.append(label((LEFT, top + 6), said, "start"))
    title = "The packages of Luminal, layer by layer; each imports only from below"
    return figure(NAME, title, (WIDTH, top + 18), parts)


def purpose(root: Path, package: str) -> str:
    """Return what *package* is for: the beginning of its docstring.

    Args:
        root: Root of the repository.
        package: Name of a package or module directly below ``luminal``.

    Raises:
        LookupError: It has no docstring.
    """
    place = root / "luminal" / package
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    if not text:
        raise LookupError(f"{file} does not say what it is for")
    sentence = " ".join(text.split("\n\n")[0].split()).replace("`", "")
    return re.split(r"[.;](?: |$)", sentence)[0]
