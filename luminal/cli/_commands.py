"""The commands that answer and end: list, inspect, order, check.

`list`, `inspect` and `order` import no photon. What only some of them need is imported
when it is used, so that `luminal list` starts fast.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import click

from luminal.cli._options import (
    DiscoveryOptions,
    ask_host,
    command,
    complete_hook,
    complete_photon,
    deny_option,
    discovery_options,
    host_option,
    lock_setting,
    settings_file,
    state_of,
    statuses,
    trust_settings,
)
from luminal.cli._output import (
    Exit,
    clean,
    clock,
    count_states,
    exit_after_timeout,
    print_json,
    print_message,
    print_no_photons,
    print_problem,
    print_table,
    run_async,
    short,
)
from luminal.discovery import files_of, find_data_files
from luminal.discovery.lint import (
    DeclaredHook,
    ReloadIssue,
    call_order,
    declared_hooks,
    dependencies,
    dependents,
    reload_issues,
)
from luminal.errors import (
    LuminalError,
    did_you_mean,
)
from luminal.model import OutcomeResult, Source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from click.shell_completion import CompletionItem

    from luminal.model import Candidate, Outcome, Report
    from luminal.trust import TrustSettings

__all__ = [
    "check_command",
    "inspect_command",
    "list_command",
    "order_command",
]

# --- list ----------------------------------------------------------------------------


_FIELDS = (
    *("name", "version", "source", "origin", "state", "description", "author"),
    *("tags", "file", "requires", "required-by", "hooks", "lock"),
)
"""What ``list`` can show of photons that discovery finds."""

_RUNNING_FIELDS = (
    *("name", "version", "source", "origin", "state", "description", "generation"),
    *("since", "calls", "errors", "seconds", "threads", "tasks", "file"),
    *("requires", "hooks", "lock"),
)
"""What ``list --running`` can show."""

_SHOWN = ("name", "version", "source", "origin", "state", "description")
_SHOWN_RUNNING = ("name", "version", "state", "generation", "errors", "description")


class _Fields(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """Names of fields with commas between them; for ``--sort`` one, perhaps with -."""

    name = "fields"

    def __init__(self, *, is_one: bool = False) -> None:
        self.is_one = is_one

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        if not isinstance(value, str):
            return value
        words = [value] if self.is_one else [w.strip() for w in value.split(",")]
        known = dict.fromkeys((*_FIELDS, *_RUNNING_FIELDS))
        for word in words:
            bare = word.removeprefix("-") if self.is_one else word
            if bare not in known:
                nearest = did_you_mean(bare, known, "; ")
                fields = ", ".join(known)
                text = f"no field {bare!r}; the fields are {fields}{nearest}"
                self.fail(text, param, ctx)
        return value if self.is_one else tuple(words)

    def shell_complete(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's
        param: click.Parameter,  # noqa: ARG002 - click's
        incomplete: str,
    ) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        before, comma, last = incomplete.rpartition(",")
        known = dict.fromkeys((*_FIELDS, *_RUNNING_FIELDS))
        return [
            CompletionItem(before + comma + field)
            for field in known
            if field.startswith(last)
        ]


@command("list")
@click.option(
    "--fields",
    type=_Fields(),
    metavar="FIELD,...",
    help="Show these columns, for example name,state,hooks; a wrong one lists all.",
)
@click.option(
    "--sort",
    type=_Fields(is_one=True),
    metavar="FIELD",
    help="Sort by this column; -FIELD sorts the other way round.",
)
@click.option("--hooks", is_flag=True, help="Show which hooks each implements.")
@click.option("--running", is_flag=True, help="List the photons of a running host.")
@host_option
@discovery_options
def list_command(
    options: DiscoveryOptions,
    fields: tuple[str, ...] | None,
    sort: str | None,
    hooks: bool,
    running: bool,
    host: int | None,
    as_json: bool,
) -> Exit:
    """List photons, without importing them.

    They are listed in load order. PATH is a directory or a file; installed photons are
    listed as well. Without PATH, the directories in $LUMINAL_PATHS. With --running, the
    photons of a running host, in its order, and what they have done.
    """
    known = _RUNNING_FIELDS if running else _FIELDS
    shown = fields or (_SHOWN_RUNNING if running else _SHOWN)
    if hooks and "hooks" not in shown:
        shown = (*shown, "hooks")
    by = (sort or "").removeprefix("-")
    for field in filter(None, (*shown, by)):
        if field not in known:
            other = "without" if running else "with"
            raise click.UsageError(f"field {field!r} is known {other} --running only")
    if running:
        source = click.get_current_context().get_parameter_source("paths")
        if options.paths and source is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError("--running and PATH exclude each other")
        return _list_running(shown, sort, host, as_json)
    if host is not None:
        raise click.UsageError("--host needs --running")
    return _list_found(options, shown, sort, as_json)


def _list_found(
    options: DiscoveryOptions, shown: Sequence[str], sort: str | None, as_json: bool
) -> Exit:
    found = options.find()
    code = Exit.FINE if found else Exit.NOTHING
    if any(candidate.problem for candidate in found):
        code = Exit.FAILED
    needed = dependents(found)
    locked = statuses(found)
    if locked and shown is _SHOWN:
        shown = (*shown[:-1], "lock", shown[-1])
    with_hooks = "hooks" in (*shown, (sort or "").removeprefix("-"))
    hooks = {
        candidate.name: [hook.hook for hook in declared_hooks(candidate)]
        for candidate in (found if with_hooks else ())
    }
    cells = [
        (
            candidate,
            {
                **_cells(candidate, needed, hooks.get(candidate.name, ())),
                "lock": locked.get(candidate.name, ("", ""))[0],
            },
        )
        for candidate in found
    ]
    cells = _sorted(cells, sort)
    if as_json:
        photons = [
            {
                **attrs.asdict(candidate),
                "state": state_of(candidate),
                "required_by": needed.get(candidate.name, []),
                **({"hooks": hooks[candidate.name]} if with_hooks else {}),
                **({"lock": locked.get(candidate.name, ("",))[0]} if locked else {}),
            }
            for candidate, _ in cells
        ]
        print_json("list", code, photons=photons)
        return code
    if not found:
        print_no_photons()
        return code
    _print_fields(shown, [row for _, row in cells])
    for candidate, _ in cells:
        if candidate.problem is not None:
            print_message()
            names = needed.get(candidate.name, ())
            print_problem(candidate.name, candidate.problem, required_by=names)
    return code


def _cells(
    candidate: Candidate, needed: dict[str, list[str]], hooks: Sequence[str]
) -> dict[str, str]:
    """Return field → text, of a photon that discovery has found."""
    state = state_of(candidate)
    if candidate.problem is not None:
        state += f" {candidate.problem.what}"
    return {
        "name": candidate.name,
        "version": candidate.version,
        "source": str(candidate.source),
        "origin": short(candidate.origin),
        "state": state,
        "description": candidate.description,
        "author": candidate.author,
        "tags": ", ".join(candidate.tags),
        "file": short(candidate.location) if candidate.location else "",
        "requires": ", ".join(candidate.requirements),
        "required-by": ", ".join(needed.get(candidate.name, ())),
        "hooks": ", ".join(dict.fromkeys(hooks)),
    }


def _list_running(
    shown: Sequence[str], sort: str | None, host: int | None, as_json: bool
) -> Exit:
    with_hooks = "hooks" in (*shown, (sort or "").removeprefix("-"))
    status = ask_host(host, {"ask": "report" if with_hooks else "status"})
    hooks: dict[str, list[str]] = {}
    for row in status.get("hooks", ()):
        hooks.setdefault(row["photon"], []).append(row["hook"])
    rows = [
        (photon, _running_cells(photon, sorted(hooks.get(photon["name"], ()))))
        for photon in status["photons"]
    ]
    rows = _sorted(rows, sort)
    code = Exit.FINE if rows else Exit.NOTHING
    if any(photon["state"] == "failed" for photon, _ in rows):
        code = Exit.FAILED
    if as_json:
        photons = [
            {**photon, **({"hooks": hooks.get(photon["name"], [])} if hooks else {})}
            for photon, _ in rows
        ]
        print_json("list", code, pid=status["pid"], photons=photons)
    elif rows:
        _print_fields(shown, [cells for _, cells in rows])
    else:
        print_message(f"no photon is loaded in the host {status['pid']}")
    return code


def _running_cells(photon: dict[str, Any], hooks: Sequence[str]) -> dict[str, str]:
    """Return field → text, of a photon that a host has loaded."""
    return {
        **{field: str(photon.get(field, "")) for field in _RUNNING_FIELDS},
        "origin": short(photon.get("origin", "")),
        "file": short(photon["file"]),
        "since": clock(photon["since"]) if photon["since"] else "",
        "seconds": f"{photon['seconds']:.3f}",
        "requires": ", ".join(photon.get("requirements", ())),
        "hooks": ", ".join(hooks),
        "lock": str(photon.get("trust", "")),
    }


_T = TypeVar("_T")


def _sorted(
    rows: list[tuple[_T, dict[str, str]]], by: str | None
) -> list[tuple[_T, dict[str, str]]]:
    """Return *rows* sorted by a field: numbers by value, other texts by letters."""
    if by is None:
        return rows
    field = by.removeprefix("-")

    def key(row: tuple[_T, dict[str, str]]) -> tuple[float, str]:
        text = row[1][field]
        try:
            return float(text), ""
        except ValueError:
            return float("inf"), text.casefold()

    return sorted(rows, key=key, reverse=by.startswith("-"))


def _print_fields(shown: Sequence[str], rows: Sequence[dict[str, str]]) -> None:
    headings = [field.upper().replace("-", " ") for field in shown]
    print_table(headings, [[row[field] for field in shown] for row in rows])


# --- inspect -------------------------------------------------------------------------


@command("inspect")
@click.option(
    "--photon",
    "-p",
    "names",
    multiple=True,
    metavar="PHOTON",
    shell_complete=complete_photon,
    help="Show this photon only; may be repeated.",
)
@discovery_options
def inspect_command(
    options: DiscoveryOptions, names: tuple[str, ...], as_json: bool
) -> Exit:
    """Show everything known about photons, without importing them.

    Shows where each is found, its metadata, what it requires, which photons require
    it, and which hooks it implements. A PATH that does not exist and has no slash is
    taken for the name of a photon.
    """
    words = [p for p in options.paths if not os.path.lexists(p) and _is_name(p)]
    paths = tuple(p for p in options.paths if p not in words)
    everything = attrs.evolve(options, paths=paths).find()
    found = _chosen(everything, [*names, *words])
    code = Exit.FINE if found else Exit.NOTHING
    if any(candidate.problem for candidate in found):
        code = Exit.FAILED
    needed = dependents(everything)
    locked = statuses(found)
    if as_json:
        photons = [
            {
                **attrs.asdict(candidate),
                **({"lock": locked.get(candidate.name)} if locked else {}),
                "state": state_of(candidate),
                "hooks": [attrs.asdict(hook) for hook in declared_hooks(candidate)],
                "required_by": needed.get(candidate.name, []),
                **_says(candidate),
            }
            for candidate in found
        ]
        print_json("inspect", code, photons=photons)
        return code
    if not found:
        print_no_photons()
    for at, candidate in enumerate(found):
        if at:
            click.echo()
        status = ": ".join(locked.get(candidate.name, ()))
        _print_candidate(candidate, needed.get(candidate.name, ()), status)
    bundles = [c.location for c in found if c.source is Source.BUNDLE]
    for path in dict.fromkeys(bundles):
        from luminal.cli._bundles import print_bundle

        print_bundle(path)
    return code


def _is_name(text: str) -> bool:
    return (
        os.sep not in text and "/" not in text and not text.endswith((".py", ".photon"))
    )


def _chosen(everything: Sequence[Candidate], names: list[str]) -> Sequence[Candidate]:
    if not names:
        return everything
    from luminal.discovery import Discovered

    by_name = Discovered(everything).by_name
    wanted = [by_name(name).name for name in names]
    return [c for c in everything if c.name in wanted]


def _print_candidate(
    candidate: Candidate, required_by: Sequence[str], status: str
) -> None:
    line = f":{candidate.line}" if candidate.line else ""
    hooks = [
        " ".join([hook.hook, *_options_of(hook, "specname")])
        for hook in declared_hooks(candidate)
    ]
    facts = {
        "state": state_of(candidate),
        "version": candidate.version,
        "author": candidate.author,
        "about": candidate.description,
        "tags": ", ".join(candidate.tags),
        "source": f"{candidate.source} {short(candidate.origin)}",
        "file": f"{short(candidate.location)}{line}" if candidate.location else "",
        "object": candidate.target,
        "requires": ", ".join(candidate.requirements),
        "required by": ", ".join(required_by),
        "before": ", ".join(candidate.before),
        "after": ", ".join(candidate.after),
        "host's API": candidate.api,
        "hooks": ", ".join(hooks),
        "data files": ", ".join(_data_files(candidate)),
        "lock": status,
        "sha512": candidate.checksum[:16] + "..." if candidate.checksum else "",
    }
    print_message(clean(candidate.name), err=False, bold=True)
    for label, value in facts.items():
        if value:
            click.echo(f"  {label:<11}  {clean(value)}")
    for line in map(clean, _says_in_words(candidate)):
        click.echo(f"  {'text says':<11}  {line}")
    if candidate.problem is not None:
        print_problem(candidate.name, candidate.problem)


def _says(candidate: Candidate) -> dict[str, Any]:
    """Return what the text of a photon says that it does, for JSON."""
    from luminal.trust import profile_of

    profile = profile_of(files_of(candidate.location))
    rows = [{**attrs.asdict(c), "kind": str(c.kind)} for c in profile.capabilities]
    return {"capabilities": rows, "unread": dict(profile.unread)}


def _says_in_words(candidate: Candidate, *, at_import: bool = False) -> list[str]:
    """Return a line for each thing that the text of a photon says that it does."""
    from luminal.trust import profile_of

    profile = profile_of(files_of(candidate.location))
    said = [c for c in profile.capabilities if c.at_import or not at_import]
    unread = [f"(cannot be read: {path}, {why})" for path, why in profile.unread]
    return [*map(str, said), *(() if at_import else unread)]


def _data_files(candidate: Candidate) -> list[str]:
    """Return each pattern of data files, and how many files it matches."""
    if candidate.source is Source.BUNDLE:
        return list(candidate.files)
    return [
        f"{pattern} ({len(find_data_files(candidate.location, pattern))})"
        for pattern in candidate.files
    ]


def _options_of(hook: DeclaredHook, *but: str) -> list[str]:
    """Return the options of *hook* as text, *but* those left out."""
    return [f"{key}={value!r}" for key, value in hook.options.items() if key not in but]


# --- order ---------------------------------------------------------------------------


@command("order")
@click.option(
    "--hook",
    metavar="NAME",
    shell_complete=complete_hook,
    help="Show the call order of this hook.",
)
@discovery_options
def order_command(options: DiscoveryOptions, hook: str | None, as_json: bool) -> Exit:
    """Show the load order, or the call order of a hook.

    No photon is imported. With --hook, the photons that implement it; the one that is
    called first is at the top.
    """
    found = options.find()
    if hook is not None:
        return _hook_order(found, hook, as_json)
    code = Exit.FINE if found else Exit.NOTHING
    edges = dependencies(found)
    rows = []
    for at, candidate in enumerate(found, 1):
        reasons = [
            f"{edge.kind} {edge.text}"
            if edge.kind != "before"
            else f"{edge.text} comes before"
            for edge in edges
            if edge.later == candidate.name
        ]
        rows.append((str(at), candidate.name, state_of(candidate), "; ".join(reasons)))
    if as_json:
        keys = ("position", "name", "state", "because")
        order = [
            {**dict(zip(keys, row, strict=True)), "position": int(row[0])}
            for row in rows
        ]
        print_json("order", code, order=order)
    elif found:
        print_table(("#", "NAME", "STATE", "BECAUSE"), rows)
    else:
        print_no_photons()
    return code


def _hook_order(found: Sequence[Candidate], name: str, as_json: bool) -> Exit:
    known: set[str] = set()
    declared = []
    for candidate in found:
        for hook in declared_hooks(candidate):
            known.add(hook.hook)
            if hook.hook == name and state_of(candidate) == "ok":
                declared.append((candidate.name, hook))
    order = call_order(declared)
    code = Exit.FINE if order else Exit.NOTHING
    if as_json:
        calls = [
            {"position": at, "name": photon, **attrs.asdict(hook)}
            for at, (photon, hook) in enumerate(order, 1)
        ]
        print_json("order", code, hook=name, calls=calls)
    elif order:
        rows = [
            (
                str(at),
                photon,
                f"{short(hook.file)}:{hook.line}",
                " ".join(_options_of(hook)),
            )
            for at, (photon, hook) in enumerate(order, 1)
        ]
        print_table(("#", "NAME", "WHERE", "OPTIONS"), rows)
    else:
        nearest = did_you_mean(name, known, "; ")
        print_message(f"no photon implements the hook {name!r}{nearest}")
    return code


# --- check ---------------------------------------------------------------------------

_STATES = {
    OutcomeResult.LOADED: "ok",
    OutcomeResult.STARTED: "ok",
    OutcomeResult.SKIPPED: "disabled",
    OutcomeResult.FAILED: "failed",
}


@command("check")
@click.option(
    "--strict", is_flag=True, help="End with 4 where a photon is not reload-safe."
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.1),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How long a photon's import may take.",
)
@click.option(
    "--scan", is_flag=True, help="Show high scores of a scanner, see `luminal scan`."
)
@click.option(
    "--novelty",
    is_flag=True,
    help="Scan, and compare with the photons that luminal.lock lists.",
)
@deny_option
@discovery_options
def check_command(
    options: DiscoveryOptions,
    strict: bool,
    timeout: float,
    scan: bool,
    novelty: bool,
    deny: tuple[str, ...],
    as_json: bool,
) -> Exit:
    """Check whether photons can be loaded, and reloaded safely.

    Their modules are executed twice, as a reload would do, no photon is started, and
    all are unloaded again. The settings in pyproject.toml are checked as well. The
    photons of each PATH are checked; without PATH, the installed ones. What they
    require is loaded as well. With [tool.luminal.trust] scan = "warn" or "accept" they
    are scanned as with --scan; with "accept" the exit code is 4 where a file has a high
    score or was not scanned.
    """
    found = options.find()
    wanted = [
        c for c in found if not options.paths or c.source is not Source.DISTRIBUTION
    ]
    if not wanted:
        print_no_photons()
        if as_json:
            print_json("check", Exit.NOTHING, photons=[])
        return Exit.NOTHING
    with contextlib.redirect_stdout(sys.stderr):  # data of ours only goes to stdout
        settings = trust_settings(deny)
        scanned = None  # before anything of it runs
        if scan or novelty or (settings is not None and settings.scan):
            from luminal.cli._scan import Scan

            scanned = Scan.of(wanted, settings, novelty=novelty)
        report, repeated = _load(_with_required(wanted, found), timeout, settings)
    positions = {candidate.name: at for at, candidate in enumerate(wanted)}
    outcomes = [outcome for outcome in report if outcome.photon in positions]
    outcomes.sort(key=lambda outcome: positions[outcome.photon])
    issues = {
        candidate.name: reload_issues(candidate) + repeated.get(candidate.name, [])
        for candidate in wanted
    }
    needed = dependents(found)
    code = Exit.REFUSED if strict and any(issues.values()) else Exit.FINE
    if scanned is not None and scanned.settings.scan == "accept":
        code = Exit.REFUSED if scanned.has_reported else code
    if any(outcome.result is OutcomeResult.FAILED for outcome in outcomes):
        code = Exit.FAILED
    if as_json:
        photons = [
            {
                "name": outcome.photon,
                "file": outcome.file,
                "state": _STATES[outcome.result],
                "problem": outcome.problem,
                "required_by": needed.get(outcome.photon, []),
                "reload_safe": not issues[outcome.photon],
                "reload_issues": issues[outcome.photon],
                **_says(wanted[positions[outcome.photon]]),
                **({"scan": scanned.to_json(outcome.photon)} if scanned else {}),
                **(scanned.novelty_to_json(outcome.photon) if scanned else {}),
            }
            for outcome in outcomes
        ]
        print_json("check", code, photons=photons)
    else:
        _print_check(outcomes, issues, needed)
        for candidate in wanted:
            for line in _says_in_words(candidate, at_import=True):
                print_message(f"{short(candidate.name)}: its text {clean(line)}")
        if scanned is not None:
            scanned.print_reported()
            scanned.print_novelties()
    exit_after_timeout(code)
    return code


def _with_required(
    wanted: Sequence[Candidate], found: Sequence[Candidate]
) -> list[Candidate]:
    """Return *wanted* and what they require, in load order."""
    names = {candidate.name for candidate in wanted}
    edges = [edge for edge in dependencies(found) if edge.kind == "requires"]
    for candidate in reversed(found):
        if candidate.name in names:
            names |= {edge.earlier for edge in edges if edge.later == candidate.name}
    return [candidate for candidate in found if candidate.name in names]


def _load(
    candidates: Sequence[Candidate], timeout: float, trust: TrustSettings | None
) -> tuple[Report, dict[str, list[ReloadIssue]]]:
    """Load *candidates* twice, start none, and unload them.

    Returns:
        The report of the first load, and for each photon what failed the second time.
    """
    from luminal.managers import Loader
    from luminal.model import Deadlines, Report

    async def load() -> tuple[Report, dict[str, list[ReloadIssue]]]:
        deadlines = Deadlines(load=timeout, start=timeout)
        file = settings_file()
        async with Loader(
            cache=False,
            deadlines=deadlines,
            settings=file,
            lock=lock_setting(),
            trust=trust,
        ) as loader:
            loaded = await loader.load(candidates)
            wrong = {o.photon: o for o in await loader.check_settings()}
            report = Report(tuple(wrong.get(o.photon, o) for o in loaded))
            with contextlib.suppress(LuminalError):  # each is in the report
                await loader.reload_photons(list(loader.photons), "component")
            names = {outcome.photon for outcome in report.loaded}
            failed = [o for o in loader.report.failed if o.photon in names]
            return report, {o.photon: [_as_issue(o)] for o in failed}

    return run_async(load())


def _as_issue(outcome: Outcome) -> ReloadIssue:
    """Return why the import of a photon failed the second time."""
    problem = outcome.problem
    if problem is None:
        return ReloadIssue(outcome.file, 0, "its second import failed", "")
    why = f"a second import, as in a reload, fails: {problem.why or problem.what}"
    return ReloadIssue(problem.file, problem.line, why, problem.hint)


def _print_check(
    outcomes: Sequence[Outcome],
    issues: dict[str, list[ReloadIssue]],
    needed: dict[str, list[str]],
) -> None:
    rows = []
    for outcome in outcomes:
        found = issues[outcome.photon]
        safe = "yes" if outcome.result is not OutcomeResult.FAILED else ""
        if found:
            safe = f"no: line {found[0].line}"
        state = _STATES[outcome.result]
        rows.append((outcome.photon, short(outcome.file), safe, state))
    print_table(("NAME", "FILE", "RELOAD-SAFE", "STATE"), rows)
    for outcome in outcomes:
        if outcome.result is OutcomeResult.FAILED and outcome.problem is not None:
            print_message()
            names = needed.get(outcome.photon, ())
            print_problem(outcome.photon, outcome.problem, required_by=names)
        for issue in issues[outcome.photon]:
            print_message()
            print_message(f"{outcome.photon}: not reload-safe", fg="yellow")
            print_message(f"  at: {short(issue.file)}:{issue.line}")
            print_message(f"  because: {issue.why}")
            print_message(f"  try: {issue.hint}")
    if any(outcome.result is OutcomeResult.FAILED for outcome in outcomes):
        print_message(f"\n{count_states(_STATES[o.result] for o in outcomes)}")
