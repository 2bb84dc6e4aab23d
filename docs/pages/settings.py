"""What can be set: in ``pyproject.toml``, in the environment, in a photon's class.

The page is made from the settings and options that the command line declares, the
attributes of `luminal.IPhoton`, and every ``LUMINAL_*`` that the code reads. Each has
an anchor.
"""

from __future__ import annotations

import ast
import inspect
import re
from typing import TYPE_CHECKING

import attrs
import click

from luminal.cli._options import KEYS
from luminal.interfaces import IPhoton
from luminal.sphinx._directives import escaped
from luminal.trust import TrustSettings

from .command_line import commands
from .words import meanings

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["attributes", "settings_page", "variables"]

TYPES = {
    str: "string",
    bool: "boolean",
    int: "number",
    list: "list of strings",
    dict: "tables",
}


WITHOUT_OPTION = {"host-key": "LUMINAL_HOST_KEY", "lock": "LUMINAL_LOCK"}
"""Setting that no option has → its environment variable."""


def settings_page(root: Path) -> str:
    """Return the page of settings.

    Args:
        root: Root of the repository.
    """
    parameters = declared()
    read = [name for name in variables(root) if name not in _set_by_option(parameters)]
    lines = [
        "# Settings",
        "",
        "Generated from the declarations in the code. What commands share can be set,",
        "from weak to strong: in `[tool.luminal]` of the `pyproject.toml` in the",
        "current directory, in the environment, or as an option.",
        "`luminal doctor --config` shows what is set, and where.",
        "",
        "| `[tool.luminal]` | environment | option | type | default |",
        "|---|---|---|---|---|",
        *(_row(key, parameters.get(key)) for key in KEYS),
        "",
        "(settings-keys)=",
        "## In `[tool.luminal]`",
        "",
        "```{eval-rst}",
    ]
    lines += [line for key in KEYS for line in _key(key, parameters.get(key))]
    lines += ["```", "", *_trust_section()]
    lines += ["## In the environment", "", "```{eval-rst}"]
    for key, parameter in parameters.items():
        if parameter.envvar:
            said = f"Sets :confval:`{key}`.{_form(parameter)}"
            lines += [f".. envvar:: {parameter.envvar}", "", f"   {said}", ""]
    for name, said in meanings("environment", read).items():
        lines += [f".. envvar:: {name}", "", f"   {_rst(said)}", ""]
    lines += [
        "```",
        "",
        "Luminal also reads these variables, which other projects define:",
        "",
    ]
    lines += ["| variable | meaning |", "|---|---|"]
    foreign = meanings("foreign", FOREIGN)
    lines += [f"| `{name}` | {said} |" for name, said in foreign.items()]
    return "\n".join([*lines, "", *_attributes_section()])


FOREIGN = ("NO_COLOR", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME")


def declared() -> dict[str, click.Parameter]:
    """Return setting → the parameter of commands that it stands in for."""
    known = commands()
    both = [*known["watch"].params, *known["list"].params]  # of `list` where it has it
    parameters = {str(each.name): each for each in both}
    names = {key: key.replace("-", "_") for key in KEYS}
    return {k: parameters[name] for k, name in names.items() if name in parameters}


def _program(key: str) -> str:
    """Return where the option of a setting is described."""
    is_shared = any(p.name == key.replace("-", "_") for p in commands()["list"].params)
    return "luminal" if is_shared else "luminal run"


def variables(root: Path) -> list[str]:
    """Return each ``LUMINAL_*`` that a file of the package has as a whole string."""
    found = set()
    for file in sorted((root / "luminal").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.update(re.findall(r"\ALUMINAL_[A-Z_]+\Z", node.value))
    return sorted(found)


def _set_by_option(parameters: dict[str, click.Parameter]) -> set[str]:
    return {str(each.envvar) for each in parameters.values() if each.envvar}


def _words_of(key: str, parameter: click.Parameter | None) -> tuple[str, str, str]:
    """Return environment, option and default of a setting, empty where it has none."""
    if parameter is None:
        return WITHOUT_OPTION.get(key, ""), "", ""
    option = parameter.opts[-1] if isinstance(parameter, click.Option) else "PATH"
    default = parameter.default
    if not isinstance(default, str | int | float) or default is False:
        default = "false" if KEYS[key] is bool else ""
    return str(parameter.envvar or ""), option, str(default)


def _row(key: str, parameter: click.Parameter | None) -> str:
    environment, option, default = _words_of(key, parameter)
    link = option
    if option[:1] == "-":
        link = f"{{option}}`{option} <{_program(key)} {option}>`"
    cells = [
        f"{{confval}}`{key}`",
        f"{{envvar}}`{environment}`" if environment else "",
        link,
        TYPES[KEYS[key]],
        f"`{default}`" if default else "",
    ]
    return f"| {' | '.join(cells)} |"


def _key(key: str, parameter: click.Parameter | None) -> list[str]:
    environment, option, default = _words_of(key, parameter)
    said = meanings("settings", _without_help()).get(key)
    if said is None and isinstance(parameter, click.Option):
        said = escaped(parameter.help or "").replace("; may be repeated", "")
    form = f"A {TYPES[KEYS[key]]}" + (
        f", by default ``{default}``." if default else "."
    )
    words = [_rst(said or ""), form if KEYS[key] is not dict else ""]
    words += [f"Environment: :envvar:`{environment}`."] if environment else []
    if option[:1] == "-":
        words.append(f"Option: :option:`{_program(key)} {option}`.")
    return [f".. confval:: {key}", "", f"   {' '.join(words).rstrip()}", ""]


def _without_help() -> list[str]:
    """Return the settings that no option's help explains."""
    parameters = declared()
    return [k for k in KEYS if not isinstance(parameters.get(k), click.Option)]


def _form(parameter: click.Parameter) -> str:
    """Say how a variable holds several values."""
    if isinstance(parameter, click.Argument):
        return " With ``:`` between paths (``;`` on Windows)."
    if parameter.multiple:
        return " With blanks between names."
    return " ``1`` or ``0``." if getattr(parameter, "is_flag", False) else ""


def _rst(markdown: str) -> str:
    """Return reStructuredText of *markdown*: its code, and its links to pages."""
    text = re.sub(r"\\?`", "``", markdown)
    return re.sub(r"\{doc\}``(.*?)``", r":doc:`\1`", text)


# --- trust -------------------------------------------------------------------


def _trust_section() -> list[str]:
    """Return the keys of ``[tool.luminal.trust]``, as `TrustSettings` has them."""
    lines = [
        "(settings-trust)=",
        "## In `[tool.luminal.trust]`",
        "",
        "All are optional, and without them nothing is looked at or asked for. See",
        "{doc}`../../how-to/capabilities` and {doc}`../../how-to/second-factor`.",
        "",
        "| key | meaning |",
        "|---|---|",
    ]
    said = _documented(TrustSettings)
    for name in (each.name for each in attrs.fields(TrustSettings)):
        if name != "file":
            text = re.sub(r"\*(\w+)\*", r"`\1`", said[name].replace("``", "`"))
            lines.append(f"| `{name.replace('_', '-')}` | {text} |")
    return [*lines, ""]


# --- attributes of photons -------------------------------------------------


def attributes() -> dict[str, str]:
    """Return ``photon_*`` → meaning, as `luminal.IPhoton` documents them."""
    said = _documented(IPhoton)
    return {name: said[name] for name in IPhoton.__annotations__ if name in said}


def _documented(kind: type) -> dict[str, str]:
    """Return attribute → meaning, as the docstring of *kind* has them."""
    text = inspect.cleandoc(kind.__doc__ or "").split("Attributes:\n")[1]
    entries = re.findall(r"^    (\w+): (.+(?:\n {8}.+)*)", text, re.MULTILINE)
    return {name: " ".join(about.split()) for name, about in entries}


def _attributes_section() -> list[str]:
    lines = [
        "(photon-attributes)=",
        "## In a photon's class",
        "",
        "All are optional. All but the last have to be literals, because they are read",
        "without an import. A package can declare those in `[tool.luminal]` of a",
        "`pyproject.toml` beside its `__init__.py` instead, without `photon_`. The",
        "class has priority.",
        "",
        "| attribute | meaning |",
        "|---|---|",
    ]
    for name, said in attributes().items():
        if name.startswith("photon_"):
            text = said.replace("``", "`").replace("|", "\\|")
            lines.append(f"| [`{name}`]{{#{name.replace('_', '-')}}} | {text} |")
    return [*lines, ""]
