"""``[tool.luminal]`` in the ``pyproject.toml`` of the current directory.

Comes in: that file. Goes out: defaults for the options that verbs share, and the
settings of photons. The environment is stronger, and stronger yet is what is typed.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["FILE", "KEYS", "options", "photon_settings", "sources"]

FILE = "pyproject.toml"

KEYS: dict[str, type] = {
    "paths": list,
    "group": str,
    "no-installed": bool,
    "recursive": bool,
    "only": list,
    "without": list,
    "api": str,
    "photons": dict,
}
"""Setting → its type; ``photons`` has a table for each photon's own."""


def _table() -> dict[str, Any]:
    """Return ``[tool.luminal]``, checked; empty where there is none.

    Raises:
        click.UsageError: It cannot be read, or holds what it should not.
    """
    try:
        with open(FILE, "rb") as file:
            import tomllib

            table = tomllib.load(file).get("tool", {}).get("luminal", {})
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError) as error:
        raise click.UsageError(f"{FILE} cannot be read: {error}") from None
    if not isinstance(table, dict):
        raise click.UsageError(f"{FILE}: 'luminal' in [tool] must be a table.")
    for key, value in table.items():
        _check(key, value)
    return table


def _check(key: str, value: object) -> None:
    where = f"{FILE}: [tool.luminal]"
    if key not in KEYS:
        near = difflib.get_close_matches(key, KEYS, 1)
        meant = f" Did you mean {near[0]!r}?" if near else ""
        raise click.UsageError(f"{where} has no setting {key!r}.{meant}")
    kind = KEYS[key]
    if not isinstance(value, kind):
        raise click.UsageError(f"{where} {key!r} must be a {_WORDS[kind]}.")
    inside: Iterable[object] = ()
    wanted: type = object
    if isinstance(value, list):
        inside, wanted = value, str
    elif isinstance(value, dict):
        inside, wanted = value.values(), dict
    if not all(isinstance(each, wanted) for each in inside):
        raise click.UsageError(f"{where} {key!r} must hold {_WORDS[wanted]}s only.")


_WORDS = {str: "string", bool: "boolean", list: "list of strings", dict: "table"}


def options() -> dict[str, Any]:
    """Return parameter → value, for the options that verbs share."""
    table = _table()
    return {k.replace("-", "_"): v for k, v in table.items() if k != "photons"}


def photon_settings() -> dict[str, dict[str, Any]]:
    """Return photon → its settings."""
    table: dict[str, dict[str, Any]] = _table().get("photons", {})
    return table


def sources(ctx: click.Context) -> list[dict[str, Any]]:
    """Return ``setting``, ``value`` and ``source`` of each, as *ctx* has them."""
    from click.core import ParameterSource

    rows = []
    for parameter in ctx.command.params:
        name = str(parameter.name)
        if name.replace("_", "-") not in KEYS:
            continue
        said = {
            ParameterSource.COMMANDLINE: "argument",
            ParameterSource.ENVIRONMENT: f"${parameter.envvar}",
            ParameterSource.DEFAULT_MAP: FILE,
        }
        source = ctx.get_parameter_source(name)
        rows.append(
            {
                "setting": name.replace("_", "-"),
                "value": ctx.params[name],
                "source": said.get(source, "default") if source else "default",
            }
        )
    rows.sort(key=lambda row: list(KEYS).index(row["setting"]))
    for photon, table in photon_settings().items():
        rows += [
            {"setting": f"photons.{photon}.{key}", "value": value, "source": FILE}
            for key, value in table.items()
        ]
    return rows
