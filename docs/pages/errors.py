"""The page of errors: each code, its meaning, and the messages that the code raises."""

from __future__ import annotations

import ast
import inspect
from typing import TYPE_CHECKING

from luminal.errors import ERROR_CODES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["catalogue", "errors_page"]


def catalogue() -> dict[str, type[Exception]]:
    """Return code → class, ordered; classes of other projects left out."""
    ours = {c: e for c, e in ERROR_CODES.items() if e.__module__ == "luminal.errors"}
    return dict(sorted(ours.items()))


def errors_page(root: Path) -> str:
    """Return the page of errors.

    Args:
        root: Root of the repository, whose code is searched for what is raised.

    Raises:
        LookupError: A class does not say what it means.
    """
    if undescribed := [
        code for code, error in catalogue().items() if not error.__doc__
    ]:
        raise LookupError(f"errors without a docstring: {undescribed}")
    lines = [
        "# Errors",
        "",
        "Generated from `luminal.errors.ERROR_CODES`. A code keeps its meaning in",
        "later versions. Every error is a `luminal.LuminalError`. Where a built-in",
        "error fits, it is that too. Each error has `what`, `photon`, `file`, `line`,",
        "`why` and `hint`.",
        "",
        "| code | error | meaning |",
        "|---|---|---|",
    ]
    for code, error in catalogue().items():
        meaning = first_paragraph(error.__doc__)
        link = f"{{luminal-error}}`{code}`"
        lines.append(f"| {link} | `{error.__name__}` | {meaning} |")
    texts = messages(root)
    for code, error in catalogue().items():
        lines += [
            "",
            f"## {error.__name__}",
            "",
            f"```{{luminal-errors}} {code}",
            "```",
        ]
        rows = sorted(texts.get(error.__name__, ()))
        if rows:
            lines += ["", "| message | hint |", "|---|---|"]
            lines += [f"| {what} | {hint} |" for what, hint in rows]
    return "\n".join([*lines, ""])


def first_paragraph(docstring: str | None) -> str:
    """Return the first paragraph of *docstring* on one line, fit for a table."""
    paragraph = inspect.cleandoc(docstring or "").split("\n\n")[0]
    return _cell(" ".join(paragraph.split()).replace("``", "`"))


def messages(root: Path) -> dict[str, set[tuple[str, str]]]:
    """Return class → pairs of message and hint, as the code spells them.

    What the code fills in at run time is shown as ``…``. Messages that are made
    elsewhere are left out.
    """
    names = {error.__name__ for error in ERROR_CODES.values()}
    found: dict[str, set[tuple[str, str]]] = {}
    for file in sorted((root / "luminal").rglob("*.py")):
        for call in _calls(ast.parse(file.read_text(encoding="utf-8"))):
            name = ast.unparse(call.func).rpartition(".")[2]
            what = _text(call.args[0]) if name in names and call.args else ""
            if what.strip("… "):
                hints = [k.value for k in call.keywords if k.arg == "hint"]
                hint = _text(hints[0]) if hints else ""
                found.setdefault(name, set()).add((_cell(what), _cell(hint)))
    return found


def _calls(tree: ast.Module) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def _text(node: ast.expr) -> str:
    """Return the text of *node*, with ``…`` for what is known only at run time."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(
            _text(part) if isinstance(part, ast.Constant) else _quoted(part)
            for part in node.values
        )
    return "…"


def _quoted(part: ast.expr) -> str:
    is_repr = isinstance(part, ast.FormattedValue) and part.conversion == ord("r")
    return "'…'" if is_repr else "…"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
