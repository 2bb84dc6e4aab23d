"""The command line. Internal: `main` is the program ``luminal``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Words after the program's name; by default those of ``sys.argv``.

    Returns:
        The exit code.
    """
    try:
        from luminal.cli._main import run
    except ModuleNotFoundError as error:
        if error.name not in ("click", "rich"):
            raise
        return _print_missing(error.name)
    return run(arguments)


def _print_missing(library: str) -> int:
    """Print in one line that *library* is not installed."""
    import sys

    from luminal.errors import MissingExtraError

    error = MissingExtraError(
        f"the command line needs {library!r}",
        why=f"{library!r} is not installed",
        hint="pip install 'luminal-photons[cli]'",
    )
    sys.stderr.write(f"luminal: {error.what}: {error.hint} [{error.code}]\n")
    return 2
