"""``[tool.luminal]`` in the ``pyproject.toml`` of the current directory.

Comes in: that file. Goes out: defaults for the options that verbs share, and the
settings of photons. The environment is stronger, and stronger yet is what is typed.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from luminal.cli.nearness import near

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

__all__ = ["FILE", "KEYS", "options", "photon_settings", "sources", "unused"]

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


_ENVIRONMENT = (
    *(f"LUMINAL_{key.upper().replace('-', '_')}" for key in KEYS if key != "photons"),
    "LUMINAL_CACHE_DIR",
    "LUMINAL_RUNTIME_DIR",
)
"""What Luminal reads of the environment."""


def _table() -> dict[str, Any]:
    """Return ``[tool.luminal]``, checked; empty where there is none.

    Raises:
        click.UsageError: It cannot be read, or holds what it should not.
    """
    try:
        with open(FILE, encoding="utf-8") as file:
            text = file.read()
        import tomllib

        table = tomllib.loads(text).get("tool", {}).get("luminal", {})
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError) as error:
        raise click.UsageError(f"{FILE} cannot be read: {error}") from None
    if not isinstance(table, dict):
        line = _line_of("luminal", text)
        raise click.UsageError(f"{FILE}{line}: 'luminal' in [tool] must be a table.")
    for key, value in table.items():
        _check(key, value, f"{FILE}{_line_of(key, text)}: [tool.luminal]")
    return table


def _line_of(key: str, text: str) -> str:
    """Return ``:line`` of *key* in the file's *text*, as far as it is to be seen."""
    import re

    word = rf"[\"']?{re.escape(key)}[\"']?"
    wanted = re.compile(rf"\s*(\[tool\.luminal\.{word}[.\]]|{word}\s*[=.])")
    is_ours = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("["):
            is_ours = line.lstrip().startswith(("[tool.luminal", "[tool]"))
        if is_ours and wanted.match(line):
            return f":{number}"
    return ""


def _check(key: str, value: object, where: str) -> None:
    if key not in KEYS:
        raise click.UsageError(f"{where} has no setting {key!r}{near(key, KEYS)}")
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


def unused(photons: Collection[str]) -> Iterator[tuple[str, str, str]]:
    """Yield what is set and has no effect: what it is, its mend, and where.

    Args:
        photons: Names of the photons that are there.
    """
    for name in sorted(os.environ):
        if name.startswith("LUMINAL_") and name not in _ENVIRONMENT:
            mend = f"unset it{near(name, _ENVIRONMENT)}"
            yield f"the environment variable {name!r} means nothing", mend, ""
    for photon in photon_settings():
        if photon not in photons:
            what = f"there are settings for {photon!r}, and no such photon"
            yield (
                what,
                f"remove [tool.luminal.photons.{photon}]{near(photon, photons)}",
                FILE,
            )


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
