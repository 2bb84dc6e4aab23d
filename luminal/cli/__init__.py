"""The command line: `main` reads ``sys.argv`` and returns an exit code.

Comes in: what somebody typed. Goes out: data on standard output, talk on standard
error, and one of the codes of `luminal.cli.exits`. Must never hold logic that a
program would want as well, nor import more than the verb that is asked for needs.
"""

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
        The exit code, see `luminal.cli.exits`.
    """
    try:
        from luminal.cli.root import run_root
    except ModuleNotFoundError as error:
        if error.name not in ("click", "rich"):
            raise
        return _refuse(error.name)
    return run_root(arguments)


def _refuse(library: str) -> int:
    """Say that *library* is not there, in one line."""
    import sys

    from luminal.errors import MissingExtraError

    refusal = MissingExtraError(
        f"the command line needs {library!r}",
        why=f"{library!r} is not installed",
        hint="pip install 'luminal-photons[cli]'",
    )
    line = f"luminal: {refusal.what}: {refusal.hint} [{refusal.code}]\n"
    sys.stderr.write(line)
    return 2
