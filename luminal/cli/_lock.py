"""The command ``lock``: which photons may run, and what has changed of them."""

from __future__ import annotations

import difflib
import os
from typing import TYPE_CHECKING, Any

import attrs
import click

from luminal.cli._options import (
    DiscoveryOptions,
    command,
    discovery_options,
    lock_setting,
)
from luminal.cli._output import (
    Exit,
    clean,
    print_json,
    print_message,
    print_problem,
    print_table,
    short,
)
from luminal.errors import (
    PhotonNotFoundError,
    PhotonVerificationError,
    did_you_mean,
)
from luminal.managers import FoundUnit, accept_units, ask_hosts, find_units
from luminal.model import Problem
from luminal.trust import (
    Judge,
    Mode,
    capabilities_between,
    changes_between,
    lock_asked_for,
    plain_name,
    tree_of,
    updating,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from luminal.trust import Unit

__all__ = ["lock_command"]

_MOST_LINES = 200
_UNITS = ("list", "check")
_CONTROLS = {*range(32)} - {*b"\t\n\r\f\x1b"}


@command("lock")
@click.option(
    "--mode",
    type=click.Choice([str(mode) for mode in Mode]),
    help="Write this mode into the lock; without a lock it is pin.",
)
@click.option("--frozen", is_flag=True, help="Check as a host in the mode frozen does.")
@discovery_options
def lock_command(
    options: DiscoveryOptions, mode: str | None, frozen: bool, as_json: bool
) -> Exit:
    """Write, check and change luminal.lock: which photons may run.

    They are known by the digests of their files. `luminal lock [DIR]...` adds the
    installed photons, and all modules of each DIR. What is there already stays as it
    is.

    `luminal lock list` shows what is pinned, `luminal lock check` what would be refused
    (exit code 4). `luminal lock diff NAME` shows what has changed of a photon,
    `luminal lock accept NAME` writes that it may run, and asks running hosts to swap.
    """
    context = click.get_current_context()
    is_typed = context.get_parameter_source("paths") is _COMMAND_LINE
    words = options.paths if is_typed else ()
    action, *names = words or ("",)
    if action not in _ACTIONS:
        nearest = did_you_mean(action, _ACTIONS)
        if nearest and not os.path.lexists(action):
            raise click.UsageError(f"There is no directory {action!r}; {nearest}")
        return _write(_Project.open(frozen), options, words, mode, as_json)
    if mode is not None:
        raise click.UsageError(f"--mode is not for 'lock {action}'")
    if bool(names) is (action in _UNITS):
        text = "takes no names" if names else "needs the name of a photon or unit"
        raise click.UsageError(f"'lock {action}' {text}")
    typed = attrs.evolve(options, paths=_configured(context))
    project = _Project.open(frozen, must_exist=True)
    project.found = find_units(
        project.judge, typed.find(), listed=project.judge.file.units.values()
    )
    return _ACTIONS[action](project, names, as_json)


_COMMAND_LINE = click.core.ParameterSource.COMMANDLINE


def _configured(context: click.Context) -> tuple[str, ...]:
    """Return the paths of the environment, or of the settings."""
    variable = os.environ.get("LUMINAL_PATHS")
    if variable:
        return tuple(variable.split(os.pathsep))
    return tuple((context.default_map or {}).get("paths", ()))


@attrs.define
class _Project:
    """A lock, and the units that are there."""

    judge: Judge
    found: list[FoundUnit] = attrs.Factory(list)

    @classmethod
    def open(cls, is_frozen: bool, *, must_exist: bool = False) -> _Project:
        asked = [str(Mode.FROZEN)] if is_frozen else []
        path, strictest = lock_asked_for(lock_setting(), *asked)
        if must_exist and not os.path.lexists(path):
            raise PhotonNotFoundError(
                "there is no lock", file=path, hint="write one with luminal lock"
            )
        return cls(Judge(path, strictest))

    def named(self, names: Iterable[str]) -> list[FoundUnit]:
        """Return the units that are called so, or whose photons are.

        Raises:
            PhotonNotFoundError: There is none.
        """
        chosen: list[FoundUnit] = []
        for name in dict.fromkeys(names):
            exact = [f for f in self.found if f.unit and self._is_called(f.unit, name)]
            matching = exact or [f for f in self.found if name in f.photons]
            if not matching:
                known = [f.unit.name for f in self.found if f.unit]
                known += [photon for f in self.found for photon in f.photons]
                nearest = did_you_mean(name, known, "; ")
                raise PhotonNotFoundError(
                    "is no unit and no photon that was found",
                    photon=name,
                    hint=f"luminal lock list shows them{nearest}",
                )
            chosen += [each for each in matching if each not in chosen]
        for found in chosen:
            if found.problem is not None:
                raise found.problem.error(", ".join(found.photons))
        return chosen

    def _is_called(self, unit: Unit, name: str) -> bool:
        """Whether *name* is that of a unit, or a path that leads to it."""
        if unit.source not in ("directory", "editable"):
            return unit.name == name
        place = os.path.join(os.path.dirname(self.judge.path), unit.name)
        return name == unit.name or os.path.abspath(name) == os.path.normpath(place)

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each unit that is there or listed."""
        rows: list[dict[str, Any]] = []
        listed = dict(self.judge.file.units)
        for found in self.found:
            row: dict[str, Any] = {"photons": list(found.photons)}
            if found.unit is None:
                problem = found.problem
                why = f"{problem.what}: {problem.why}" if problem else ""
                hint = (problem.hint if problem else "") or ""
                row |= {"unit": found.place, "status": "unreadable", "allowed": False}
                row |= {"why": why.removesuffix(": "), "version": "", "source": ""}
                row |= {"hint": hint}
            else:
                listed.pop(found.unit.name, None)
                verdict = self.judge.look(found.unit)
                status = "unpinned" if verdict.is_first else verdict.text
                why = "not used yet" if verdict.is_first else verdict.why
                row |= {"unit": found.unit.name, "status": status, "why": why}
                row |= {"version": found.unit.version, "source": found.unit.source}
                row |= {"allowed": verdict.is_allowed, "hint": verdict.hint}
            rows.append(row)
        for name, entry in listed.items():
            row = {"unit": name, "photons": [], "status": "missing", "allowed": True}
            row |= {"why": "the lock lists it, and it was not found", "hint": ""}
            rows.append({**row, "version": entry.version, "source": entry.source})
        return sorted(rows, key=lambda row: str(row["unit"]))


# --- lock ----------------------------------------------------------------------------


def _write(
    project: _Project,
    options: DiscoveryOptions,
    words: Sequence[str],
    mode: str | None,
    as_json: bool,
) -> Exit:
    judge = project.judge
    for word in words:
        if os.path.isfile(word) and not word.endswith((".py", ".photon")):
            raise click.UsageError(f"{short(word)} is no module and no bundle.")
    found = find_units(judge, attrs.evolve(options, paths=tuple(words)).find(), words)
    for each in found:  # nothing is written where one cannot be
        if each.unit is not None:
            judge.check_name(each.unit)
    with updating(judge.path) as update:
        update(lambda file: attrs.evolve(file, mode=Mode(mode)) if mode else file)
    rows = []
    for each in found:
        unit, result = each.unit, "added"
        entry = judge.file.units.get(unit.name) if unit else None
        if unit is None:
            result = "cannot be read"
        elif entry is not None:
            is_same = entry.tree == unit.tree.digest
            result = "unchanged" if is_same else "modified"
        elif unit.source == "editable":
            result = "left out: editable"
        else:
            accept_units(judge, [unit])
        name = unit.name if unit else each.place
        row = {"unit": name, "source": unit.source if unit else "", "result": result}
        rows.append({**row, "version": unit.version if unit else ""})
    rows.sort(key=lambda row: row["unit"])
    is_bad = any(row["result"] in ("modified", "cannot be read") for row in rows)
    code = Exit.REFUSED if is_bad else Exit.FINE
    file = judge.file
    if as_json:
        print_json("lock", code, lock=judge.path, mode=str(file.mode), units=rows)
        return code
    if rows:
        keys = ("unit", "source", "version", "result")
        cells = [[row[key] for key in keys] for row in rows]
        print_table([key.upper() for key in keys], cells)
    count = len(file.units)
    units = "1 unit" if count == 1 else f"{count} units"
    print_message(f"{short(judge.path)}: mode {file.mode}, {units}")
    for row in rows:
        if row["result"] == "modified":
            print_message(
                f"to run what is there now: luminal lock accept {row['unit']}"
            )
    for each in found:
        if each.problem is not None:
            print_problem(", ".join(each.photons), each.problem)
    return code


# --- list, check ---------------------------------------------------------------------


def _list(project: _Project, names: Sequence[str], as_json: bool) -> Exit:  # noqa: ARG001
    rows = project.rows()
    code = Exit.FINE if rows else Exit.NOTHING
    return _print_rows("list", project, rows, code, as_json)


def _check(project: _Project, names: Sequence[str], as_json: bool) -> Exit:  # noqa: ARG001
    rows = project.rows()
    code = Exit.FINE if all(row["allowed"] for row in rows) else Exit.REFUSED
    refused = [row for row in rows if not row["allowed"]]
    return _print_rows("check", project, rows if as_json else refused, code, as_json)


def _print_rows(
    action: str, project: _Project, rows: list[dict[str, Any]], code: Exit, json: bool
) -> Exit:
    judge = project.judge
    mode = str(judge.present_mode)
    if json:
        print_json("lock", code, action=action, lock=judge.path, mode=mode, units=rows)
        return code
    if rows:
        cells = [
            [row["unit"], row["version"], row["status"], row["why"]] for row in rows
        ]
        print_table(("UNIT", "VERSION", "STATUS", "WHY"), cells)
    if not rows:
        nothing = "nothing would be refused" if action == "check" else "no units"
        print_message(f"{short(judge.path)}: mode {mode}, {nothing}")
    for row in rows:
        if not row["allowed"] and row["hint"]:
            print_message(f"{clean(row['unit'])}: {row['hint']}")
    return code


# --- diff, accept --------------------------------------------------------------------


def _diff_of(judge: Judge, unit: Unit) -> dict[str, Any]:
    """Return what has changed of *unit* since it was accepted."""
    entry = judge.file.units.get(unit.name)
    row: dict[str, Any] = {
        "unit": unit.name,
        "version": unit.version,
        "accepted": entry.version if entry is not None else None,
        "capabilities": capabilities_between(entry, unit),
        **dict.fromkeys(("added", "changed", "removed"), ()),
        "text": [],
    }
    if entry is None:
        return {**row, "summary": "the lock does not list it", "added": [*unit.files]}
    if entry.tree == unit.tree.digest:
        return {**row, "summary": ""}
    row["summary"] = changes_between(judge.vault, entry, unit)
    try:
        kept = judge.vault.read(entry.tree)
    except PhotonVerificationError as error:
        return {**row, "summary": f"{row['summary']}; {error.file} {error.what}"}
    if kept is None:
        return row
    before, after = (
        {plain_name(path): data for path, data in files.items()}
        for files in (kept, unit.files)
    )
    added, changed, removed = tree_of(before).changes_to(tree_of(after))
    lines: list[str] = []
    for path in (*changed, *added):
        lines += difflib.unified_diff(
            _lines(before.get(path, b"")),
            _lines(after[path]),
            f"accepted/{path}",
            f"present/{path}",
            lineterm="",
        )
    row |= {"added": added, "changed": changed, "removed": removed}
    return {**row, "text": lines}


def _lines(data: bytes) -> list[str]:
    if not _CONTROLS.isdisjoint(data):
        return ["(not text)"]
    return data.decode(errors="replace").splitlines()


def _print_diff(row: dict[str, Any]) -> None:
    version = f"{row['accepted'] or 'none'} -> {row['version'] or 'none'}"
    is_other = row["accepted"] is not None and row["accepted"] != row["version"]
    print_message(clean(row["unit"]) + (f"  {version}" if is_other else ""), err=False)
    if not row["summary"]:
        click.echo("  as it was accepted")
    for each in row["capabilities"]:
        click.echo(f"  {clean(each)}")
    for verb in ("added", "changed", "removed"):
        for path in row[verb]:
            click.echo(f"  {verb:<8} {clean(path)}")
    if row["summary"] and not any(
        row[verb] for verb in ("added", "changed", "removed")
    ):
        click.echo(f"  {clean(row['summary'])}")
    for line in row["text"][:_MOST_LINES]:
        click.echo(f"  {clean(line)}")
    if len(row["text"]) > _MOST_LINES:
        click.echo(f"  ({len(row['text']) - _MOST_LINES} more lines)")


def _diff(project: _Project, names: Sequence[str], as_json: bool) -> Exit:
    chosen = [found.unit for found in project.named(names) if found.unit]
    rows = [_diff_of(project.judge, unit) for unit in chosen]
    if as_json:
        print_json("lock", Exit.FINE, action="diff", units=rows)
        return Exit.FINE
    for row in rows:
        _print_diff(row)
        if row["summary"]:
            print_message(f"to run it: luminal lock accept {row['unit']}")
    return Exit.FINE


def _accept(project: _Project, names: Sequence[str], as_json: bool) -> Exit:
    judge = project.judge
    chosen = project.named(names)
    units = [found.unit for found in chosen if found.unit]
    rows = [_diff_of(judge, unit) for unit in units]
    if not as_json:
        for row in rows:
            _print_diff(row)
    accept_units(judge, units)
    if not as_json:
        for row in rows:
            version = f" {row['version']}" if row["version"] else ""
            print_message(f"accepted {clean(row['unit'])}{version}")
    swapped = ask_hosts(judge, chosen, _approve)
    failed = [row for row in swapped if row["problem"]]
    code = Exit.REFUSED if failed else Exit.FINE
    if as_json:
        print_json("lock", code, action="accept", units=rows, photons=swapped)
        return code
    for row in swapped:
        verb = "rejected by" if row["problem"] else "reloaded in"
        number = row["generation"]
        print_message(
            f"{clean(row['photon'])}: {verb} host {row['host']}, generation {number}"
        )
    for row in failed:
        print_problem(row["photon"], Problem(**row["problem"]))
    return code


def _approve(challenge: dict[str, Any]) -> dict[str, Any]:
    from luminal.cli._factor import answer_challenge

    return answer_challenge(challenge)


_ACTIONS: dict[str, Callable[[_Project, Sequence[str], bool], Exit]] = {
    "list": _list,
    "check": _check,
    "diff": _diff,
    "accept": _accept,
}
