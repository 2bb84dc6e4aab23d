"""What commands share: ``--json``, where to look for photons, settings, ``--host``."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from typing import TYPE_CHECKING, Any

import attrs
import click

from luminal._plain import may_be_secret
from luminal.cli._output import (
    Exit,
    discard_output,
    exit_for,
    print_error,
    print_json,
    print_message,
    short,
    show_all_frames,
)
from luminal.errors import (
    DirectoryNotFoundError,
    HostNotRunningError,
    LuminalError,
    PhotonNotFoundError,
    TrustSettingsError,
    did_you_mean,
    did_you_mean_path,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from click.core import ParameterSource
    from click.shell_completion import CompletionItem

    from luminal.model import Candidate
    from luminal.trust import TrustSettings

__all__ = [
    "KEYS",
    "DiscoveryOptions",
    "ask_cpu",
    "ask_host",
    "command",
    "complete_hook",
    "complete_host",
    "complete_photon",
    "complete_running",
    "deny_option",
    "discovery_options",
    "host_option",
    "lock_setting",
    "photon_settings",
    "setting_sources",
    "settings_file",
    "state_of",
    "statuses",
    "trust_settings",
    "unused_settings",
]

# --- Commands ------------------------------------------------------------------------


class _Command(click.Command):
    """A command that answers as text or as JSON, and turns errors into exit codes."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Make the context; settings of the file are defaults of the options."""
        is_completion = bool(extra.get("resilient_parsing"))
        if not is_completion and any(p.name == "paths" for p in self.params):
            defaults = _option_defaults()
            if defaults.get("host_key"):
                from luminal.trust import use_host_key

                use_host_key(defaults["host_key"])
            extra.setdefault("default_map", defaults)
        # The value of an option that may have none is given with "=" only: what follows
        # may be a path.
        alone = {
            name: f"{name}={option.flag_value}"
            for option in self.params
            if isinstance(option, click.Option)
            and (option.metavar or "").startswith("[=")
            for name in option.opts
        }
        args = [alone.get(word, word) for word in args]
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.BadParameter as error:
            kind = type(error)
            if kind is not click.BadParameter:
                raise
            message = error.message + _variable_of(error)
            raise kind(message, error.ctx, error.param, error.param_hint) from None

    def invoke(self, ctx: click.Context) -> int:
        """Run the command and return its exit code."""
        try:
            code: Exit = super().invoke(ctx)
            sys.stdout.flush()
        except LuminalError as error:
            code = exit_for(error)
            error.consequence = error.consequence or "nothing was changed"
            print_error(error)
            if ctx.params.get("as_json"):
                from luminal.model import Problem

                problem = Problem.of(error, "command")
                print_json(str(ctx.info_name), code, error=problem)
        except BrokenPipeError:  # the reader has closed the pipe, as `head` does
            discard_output()
            code = Exit.FINE
        return int(code)


def _variable_of(error: click.BadParameter) -> str:
    """Return a sentence with the environment variable that holds a bad value."""
    from click.core import ParameterSource

    parameter, ctx = error.param, error.ctx
    if parameter is None or ctx is None or parameter.name is None:
        return ""
    is_set = ctx.get_parameter_source(parameter.name) is ParameterSource.ENVIRONMENT
    return f" The value is that of ${parameter.envvar}." if is_set else ""


def command(name: str) -> Callable[[Callable[..., Exit]], click.Command]:
    """Make the decorated function the command *name*.

    It takes what its options say, and ``as_json``: whether it is to print one JSON
    document instead of text. It returns the exit code.
    """

    def decorate(function: Callable[..., Exit]) -> click.Command:
        json: Any = click.option(
            "--json", "as_json", is_flag=True, help="Print one JSON document."
        )
        verbose: Any = click.option(
            "-v",
            "--verbose",
            is_flag=True,
            expose_value=False,
            callback=lambda _ctx, _parameter, wanted: show_all_frames(wanted),
            help="Show Luminal's own calls in failures as well.",
        )
        made: click.Command = click.command(name, cls=_Command)(json(verbose(function)))
        return made

    return decorate


# --- Settings ------------------------------------------------------------------------

_FILE = "pyproject.toml"

KEYS: dict[str, type] = {
    "paths": list,
    "group": str,
    "no-installed": bool,
    "recursive": bool,
    "polling": bool,
    "roots": list,
    "only": list,
    "without": list,
    "api": str,
    "quarantine": int,
    "history": bool,
    "host-key": str,
    "lock": str,
    "trust": dict,
    "photons": dict,
}
"""Setting in ``[tool.luminal]`` → its type; ``photons`` has a table for each photon."""

_TABLES = ("trust", "photons")
"""Settings that no option or environment variable has."""

_TYPE_NAMES = {
    str: "string",
    bool: "boolean",
    int: "number",
    list: "list of strings",
    dict: "table",
}


def variable_of(key: str) -> str:
    """Return the environment variable that sets *key* of ``[tool.luminal]``."""
    return f"LUMINAL_{key.upper().replace('-', '_')}"


_ENVIRONMENT = (
    *(variable_of(key) for key in KEYS if key not in _TABLES),
    "LUMINAL_CACHE_DIR",
    "LUMINAL_EDITOR",
    "LUMINAL_FACTOR_KEY",
    "LUMINAL_KEY_PASSPHRASE",
    "LUMINAL_RUNTIME_DIR",
    "LUMINAL_STATE_DIR",
    "LUMINAL_TRACE",
)
"""Environment variables that Luminal reads."""


def _table() -> dict[str, Any]:
    """Return ``[tool.luminal]`` of the current directory; empty where there is none.

    Raises:
        click.UsageError: It cannot be read, or has an unknown key or a wrong type.
    """
    try:
        with open(_FILE, encoding="utf-8") as file:
            text = file.read()
        import tomllib

        table = tomllib.loads(text)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise click.UsageError(f"{_FILE} cannot be read: {error}") from None
    for key, where in (("tool", ""), ("luminal", " in [tool]")):
        table = table.get(key, {})
        if not isinstance(table, dict):
            line = _line_of(key, text)
            raise click.UsageError(f"{_FILE}{line}: {key!r}{where} must be a table.")
    for key, value in table.items():
        _check(key, value, f"{_FILE}{_line_of(key, text)}: [tool.luminal]")
    for photon, value in table.get("photons", {}).items():
        if not isinstance(value, dict):
            line = _line_of(photon, text) or _line_of("photons", text)
            raise click.UsageError(
                f"{_FILE}{line}: [tool.luminal.photons] {photon!r} must be a table."
            )
    return table


def _line_of(key: str, text: str) -> str:
    """Return ``:line`` of *key* in the file's *text*; empty where it is not found."""
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
        raise click.UsageError(
            f"{where} has no setting {key!r}{did_you_mean(key, KEYS, '; ')}"
        )
    kind = KEYS[key]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise click.UsageError(f"{where} {key!r} must be a {_TYPE_NAMES[kind]}.")
    if key == "trust" and isinstance(value, dict):
        from luminal.trust import TrustSettings

        try:
            TrustSettings.of_table(value)
        except TrustSettingsError as error:
            raise click.UsageError(
                f"{where.partition(': ')[0]}: {error.what}"
            ) from None
        return
    if isinstance(value, list) and not all(isinstance(each, str) for each in value):
        raise click.UsageError(f"{where} {key!r} must hold strings only.")


def _option_defaults() -> dict[str, Any]:
    """Return parameter → value, for the options that commands share."""
    table = _table()
    return {k.replace("-", "_"): v for k, v in table.items() if k not in _TABLES}


def trust_settings(deny: Collection[str] = ()) -> TrustSettings | None:
    """Return the settings of trust; None where there are none.

    Args:
        deny: Kinds of capabilities that the command line denies as well.
    """
    table = _table().get("trust")
    if table is None and not deny:
        return None
    from luminal.trust import TrustSettings

    settings = TrustSettings.of_table(table or {}, os.path.abspath(_FILE))
    return attrs.evolve(settings, deny=(*settings.deny, *deny))


def photon_settings() -> dict[str, dict[str, Any]]:
    """Return name of a photon → its settings."""
    table: dict[str, dict[str, Any]] = _table().get("photons", {})
    return table


def lock_setting() -> str | None:
    """Return the path or mode of the lock in ``[tool.luminal]``; None for none."""
    return _table().get("lock")


def settings_file() -> str | None:
    """Return the file with the photons' settings; None where there is none."""
    return _FILE if os.path.isfile(_FILE) else None


def unused_settings(photons: Collection[str]) -> Iterator[tuple[str, str, str]]:
    """Yield each setting that has no effect: what it is, the fix, and its file.

    Args:
        photons: Names of the photons that exist.
    """
    for name in sorted(os.environ):
        if name.startswith("LUMINAL_") and name not in _ENVIRONMENT:
            fix = f"unset it{did_you_mean(name, _ENVIRONMENT, '; ')}"
            yield f"unknown environment variable {name!r}", fix, ""
    if settings_file() is None:
        return
    from luminal.lifecycle import SettingsFile, unused_tables

    for error in unused_tables(SettingsFile(_FILE), photons):
        place = f"{_FILE}:{error.line}" if error.line else _FILE
        yield error.what, error.hint or "", place


def _other_setting(key: str, variable: str) -> tuple[Any, ParameterSource | None]:
    """Return a setting of commands that run a host, and where it was set."""
    from click.core import ParameterSource

    if text := os.environ.get(variable):
        kind = click.types.convert_type(KEYS[key])
        return kind.convert(text, None, None), ParameterSource.ENVIRONMENT
    table = _table()
    return table.get(key), ParameterSource.DEFAULT_MAP if key in table else None


def _not_secret(key: str, value: Any) -> Any:
    """Return *value* without what must not be in a text that is passed on."""
    if may_be_secret(key):
        return "(not shown)"
    if isinstance(value, dict):
        return {name: _not_secret(name, each) for name, each in value.items()}
    if isinstance(value, list):
        return [_not_secret(key, each) for each in value]
    return value


def setting_sources(ctx: click.Context) -> list[dict[str, Any]]:
    """Return ``setting``, ``value`` and ``source`` of each setting in *ctx*."""
    from click.core import ParameterSource

    rows = []
    options = {str(parameter.name) for parameter in ctx.command.params}
    for key in KEYS.keys() - {*_TABLES}:
        name, variable = key.replace("-", "_"), variable_of(key)
        if name in options:
            value, found = ctx.params[name], ctx.get_parameter_source(name)
        else:
            value, found = _other_setting(key, variable)
        sources = {
            ParameterSource.COMMANDLINE: "argument",
            ParameterSource.ENVIRONMENT: f"${variable}",
            ParameterSource.DEFAULT_MAP: _FILE,
        }
        source = sources.get(found, "default") if found else "default"
        rows.append({"setting": key, "value": value, "source": source})
    rows.sort(key=lambda row: list(KEYS).index(row["setting"]))
    rows += [
        {"setting": f"trust.{key}", "value": value, "source": _FILE}
        for key, value in _table().get("trust", {}).items()
    ]
    for photon, table in photon_settings().items():
        rows += [
            {
                "setting": f"photons.{photon}.{key}",
                "value": _not_secret(key, value),
                "source": _FILE,
            }
            for key, value in table.items()
        ]
    return rows


# --- Discovery -----------------------------------------------------------------------

_GROUP = "luminal.photons"


@attrs.frozen
class DiscoveryOptions:
    """Where to look for photons, and which ones to enable.

    Attributes:
        paths: Directories and files.
        group: Entry-point group of installed photons; None for no installed ones.
        recursive: Whether to look below sub-directories.
        only: Names of the only photons to enable; empty to enable all.
        without: Names of photons to disable.
        api: The host's version of its API, None not to check it.
        roots: Further directories whose modules are the photons' own.
    """

    paths: tuple[str, ...] = ()
    group: str | None = _GROUP
    recursive: bool = False
    only: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    api: str | None = None
    roots: tuple[str, ...] = ()

    def find(self, may_appear: bool = False) -> Sequence[Candidate]:
        """Return the photons that are found, in load order; none is imported.

        Args:
            may_appear: Whether a photon that is chosen by name may be added later.

        Raises:
            PhotonNotFoundError: A path, or a photon chosen by name, does not exist.
            DirectoryNotFoundError: A path does not exist.
        """
        try:
            found = self._find()
        except (PhotonNotFoundError, DirectoryNotFoundError) as error:
            hint = error.hint or "check the path"
            if "did you mean" not in hint:
                error.hint = f"{hint}{did_you_mean_path(error.file)}"
            raise
        names = [candidate.name for candidate in found]
        for path in self.paths if not found else ():
            if os.path.isfile(inside := os.path.join(path, "__init__.py")):
                print_message(f"{short(path)!r} is a package; pass {short(inside)!r}")
        for name in self.without:
            if name not in names and (nearest := did_you_mean(name, names, "; ")):
                print_message(f"--without: no photon {name!r}{nearest}")
        missing = [name for name in self.only if name not in names]
        if missing and not may_appear:
            nearest = did_you_mean(missing[0], names, "; ")
            raise PhotonNotFoundError(
                "was not found",
                photon=missing[0],
                why="--only or a setting names it",
                hint=f"luminal list shows the photons that exist{nearest}",
            )
        return found

    def _find(self) -> Sequence[Candidate]:
        from luminal.discovery import arrange_candidates, discover, discover_file

        files = [path for path in self.paths if _is_file(path)]
        found = discover(
            *(path for path in self.paths if path not in files),
            group=self.group,
            recursive=self.recursive,
            allow=self.only or None,
            block=self.without,
            api_version=self.api,
            roots=self.roots,
        )
        seen = {candidate.location for candidate in found}
        singles = [
            discover_file(path, api_version=self.api, roots=self.roots)
            for path in dict.fromkeys(map(os.path.abspath, files))
            if path not in seen
        ]
        for each in (found, *singles):
            for problem in each.warnings:
                print_message(str(problem.error("")))
        if not files:
            return found

        more = [self._switched(candidate) for each in singles for candidate in each]
        # A requirement that no directory meets may be met by a file: order all anew.
        unordered = [
            attrs.evolve(candidate, problem=None)
            if candidate.problem is not None and candidate.problem.phase == "order"
            else candidate
            for candidate in found
        ]
        return arrange_candidates([*unordered, *more], api_version=self.api)

    def _switched(self, candidate: Candidate) -> Candidate:
        is_wanted = not self.only or candidate.name in self.only
        if is_wanted and candidate.name not in self.without:
            return candidate
        return attrs.evolve(candidate, enabled=False, problem=None)


def _is_file(path: str) -> bool:
    """Whether *path* is read as a file; one that does not exist is, by its suffix."""
    if os.path.isdir(path):
        return False
    return path.endswith(".py") or os.path.exists(path)


def state_of(candidate: Candidate) -> str:
    """Return ``ok``, ``disabled``, or the code of the candidate's problem."""
    if not candidate.enabled:
        return "disabled"
    return candidate.problem.code if candidate.problem is not None else "ok"


def statuses(found: Iterable[Candidate]) -> dict[str, tuple[str, str]]:
    """Return photon → what the lock says of it, and why; empty without a lock."""
    setting = lock_setting()
    if setting is None and not os.path.lexists("luminal.lock"):
        return {}
    from luminal.managers import find_units
    from luminal.trust import open_judge

    judge = open_judge(setting)
    known: dict[str, tuple[str, str]] = {}
    for unit in find_units(judge, found) if judge is not None else ():
        status, why = "unreadable", unit.problem.what if unit.problem else ""
        if judge is not None and unit.unit is not None:
            verdict = judge.look(unit.unit)
            status, why = verdict.text, verdict.why
            if verdict.is_first:
                status, why = "unpinned", "not used yet"
        known |= dict.fromkeys(unit.photons, (status, why))
    return known


def _typed_paths() -> tuple[str, ...]:
    """Return the paths on the line that is being completed.

    While an option waits for its value, click has not parsed the arguments yet; the
    line is what click's completion scripts put into ``COMP_WORDS``.
    """
    from click.shell_completion import split_arg_string

    words = split_arg_string(os.environ.get("COMP_WORDS", ""))[2:]
    paths = words or os.environ.get("LUMINAL_PATHS", "").split(os.pathsep)
    full = [os.path.expanduser(path) for path in paths]
    return tuple(p for p in full if os.path.isdir(p) or p.endswith(".py"))


def complete_photon(
    ctx: click.Context,
    parameter: click.Parameter,  # noqa: ARG001 - click's
    incomplete: str,
) -> list[CompletionItem]:
    """Complete the name of a photon from what discovery finds on the typed paths."""
    from click.shell_completion import CompletionItem

    return [
        CompletionItem(candidate.name, help=candidate.description or None)
        for candidate in _completed(ctx)
        if candidate.name.startswith(incomplete)
    ]


def complete_hook(
    ctx: click.Context,
    parameter: click.Parameter,  # noqa: ARG001 - click's
    incomplete: str,
) -> list[str]:
    """Complete the name of a hook that photons on the typed paths implement."""
    from luminal.discovery.lint import declared_hooks

    return sorted(
        {
            hook.hook
            for candidate in _completed(ctx)
            for hook in declared_hooks(candidate)
            if hook.hook.startswith(incomplete)
        }
    )


def _completed(ctx: click.Context) -> Sequence[Candidate]:
    """Return the photons on the typed paths; none where that fails."""
    has_installed = not ctx.params.get("no_installed")
    options = DiscoveryOptions(
        paths=_typed_paths(),
        group=(ctx.params.get("group") or _GROUP) if has_installed else None,
        recursive=bool(ctx.params.get("recursive")),
    )
    try:
        return options.find(may_appear=True)
    except LuminalError:
        return ()


_DISCOVERY: tuple[Callable[[Any], Any], ...] = (
    click.argument(
        "paths",
        nargs=-1,
        metavar="[PATH]...",
        envvar="LUMINAL_PATHS",
        type=click.Path(),
    ),
    click.option(
        "--group",
        envvar="LUMINAL_GROUP",
        default=_GROUP,
        show_default=True,
        metavar="NAME",
        help="Entry-point group of installed photons.",
    ),
    click.option(
        "--no-installed",
        envvar="LUMINAL_NO_INSTALLED",
        is_flag=True,
        help="Leave installed photons out.",
    ),
    click.option(
        "-r",
        "--recursive",
        envvar="LUMINAL_RECURSIVE",
        is_flag=True,
        help="Look below sub-directories.",
    ),
    click.option(
        "--roots",
        envvar="LUMINAL_ROOTS",
        multiple=True,
        metavar="DIRECTORY",
        type=click.Path(),
        help="Reload photons with the modules of this directory; may be repeated.",
    ),
    click.option(
        "--only",
        envvar="LUMINAL_ONLY",
        multiple=True,
        metavar="PHOTON",
        shell_complete=complete_photon,
        help="Enable this photon and no other; may be repeated.",
    ),
    click.option(
        "--without",
        envvar="LUMINAL_WITHOUT",
        multiple=True,
        metavar="PHOTON",
        shell_complete=complete_photon,
        help="Disable this photon; may be repeated.",
    ),
    click.option(
        "--api",
        envvar="LUMINAL_API",
        metavar="VERSION",
        help="The host's version of its API, for photons that ask for one.",
    ),
)


def discovery_options(function: Callable[..., Exit]) -> Callable[..., Exit]:
    """Give a command ``[PATH]...`` and options, as one argument ``options``."""

    @functools.wraps(function)
    def gathered(
        paths: tuple[str, ...],
        group: str,
        no_installed: bool,
        recursive: bool,
        roots: tuple[str, ...],
        only: tuple[str, ...],
        without: tuple[str, ...],
        api: str | None,
        **others: Any,
    ) -> Exit:
        chosen = None if no_installed else group
        options = DiscoveryOptions(paths, chosen, recursive, only, without, api, roots)
        return function(options=options, **others)

    made: Callable[..., Exit] = gathered
    for option in reversed(_DISCOVERY):  # the last decorator is shown first
        made = option(made)
    return made


class _KindOfCapability(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """A kind of capability, alone or with ``:import``."""

    name = "kind"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        from luminal.trust import TrustSettings

        try:
            TrustSettings(deny=(value,))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return value

    def shell_complete(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's
        param: click.Parameter,  # noqa: ARG002 - click's
        incomplete: str,
    ) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        from luminal.trust import known_kinds

        return [CompletionItem(k) for k in known_kinds if k.startswith(incomplete)]


def deny_option(function: Callable[..., Exit]) -> Callable[..., Exit]:
    """Give a command the option ``--deny KIND``, as ``deny``."""
    option: Any = click.option(
        "--deny",
        multiple=True,
        type=_KindOfCapability(),
        metavar="KIND",
        help="Load no photon whose text says that it does this, such as network or "
        "processes:import; may be repeated.",
    )
    made: Callable[..., Exit] = option(function)
    return made


# --- Running hosts -------------------------------------------------------------------


def host_option(function: Callable[..., Exit]) -> Callable[..., Exit]:
    """Give a command the option ``--host PID``, as ``host``."""
    option: Any = click.option(
        "--host",
        type=int,
        metavar="PID",
        is_eager=True,
        shell_complete=complete_host,
        help="The process to ask, where several hosts run.",
    )
    made: Callable[..., Exit] = option(function)
    return made


def complete_host(
    ctx: click.Context,  # noqa: ARG001 - click's
    parameter: click.Parameter,  # noqa: ARG001 - click's
    incomplete: str,
) -> list[CompletionItem]:
    """Complete the process of a running host; its command line is the help."""
    from click.shell_completion import CompletionItem

    from luminal.managers import sockets, speak

    found = []
    for pid, path in sockets().items():
        if str(pid).startswith(incomplete):
            with contextlib.suppress(TimeoutError):
                if (status := speak(path, {"ask": "status"}, 1.0)) is not None:
                    words = " ".join(map(str, status.get("command", ())))
                    found.append(CompletionItem(str(pid), help=words or None))
    return found


def ask_host(
    host: int | None, request: dict[str, Any], deadline: float | None = 5.0
) -> dict[str, Any]:
    """Send a request to a running host, and return its answer.

    Args:
        host: Its process; None for the only one that runs.
        request: What to ask; a host of an earlier version may reject a ``report``.
        deadline: Seconds to wait, None without a limit.

    Raises:
        HostNotRunningError: None runs, or it does not answer.
        click.UsageError: Several run, and none was chosen.
    """
    from luminal.managers import socket_of, speak

    has_answered = host is None
    if host is None:
        host = _only_host()
    try:
        answer = speak(socket_of(host), request, deadline)
    except TimeoutError:
        raise HostNotRunningError(
            f"the host {host} does not answer",
            why=f"the request timed out after {deadline} s",
            hint="check whether its process is stopped",
        ) from None
    if answer is None and has_answered:
        raise HostNotRunningError(
            f"the host {host} ended before it had answered",
            hint="see its output; luminal doctor --bisect finds photons that end it",
        )
    if answer is None:
        raise HostNotRunningError(
            f"no host runs in process {host}",
            file=socket_of(host),
            hint=_START,
        )
    if "refused" in answer and request["ask"] != "report":
        raise HostNotRunningError(
            f"the host {host} rejected the request",
            why=str(answer["refused"]),
            hint="use the version of luminal that the host runs",
        )
    return answer


def ask_cpu(host: int | None, seconds: float) -> dict[str, Any]:
    """Let a host look at whose code its threads run, and return what it has seen.

    Args:
        host: Its process; None for the only one that runs.
        seconds: For how long.

    Raises:
        HostNotRunningError: None runs, or it does not answer.
    """
    return ask_host(host, {"ask": "cpu", "seconds": seconds}, seconds + 10)


_START = "start one with luminal run or luminal watch"


def _only_host() -> int:
    from luminal.managers import socket_directory, sockets

    running = [pid for pid, path in sockets().items() if _is_running(path)]
    if not running:
        raise HostNotRunningError(
            "no running host found",
            why=f"no control socket in {socket_directory()} answers",
            hint=_START,
        )
    if len(running) > 1:
        pids = ", ".join(map(str, running))
        raise click.UsageError(f"Several hosts run ({pids}); choose one with --host.")
    return running[0]


def _is_running(path: str) -> bool:
    """Whether a host listens at *path*; one that is too busy to answer does."""
    from luminal.managers import speak

    try:
        return speak(path, {"ask": "ping"}) is not None
    except TimeoutError:
        return True


def complete_running(
    ctx: click.Context,
    parameter: click.Parameter,  # noqa: ARG001 - click's
    incomplete: str,
) -> list[str]:
    """Complete the names of photons that run in the host."""
    try:
        answer = ask_host(ctx.params.get("host"), {"ask": "status"}, 1.0)
    except (HostNotRunningError, click.UsageError):
        return []
    names = [str(photon["name"]) for photon in answer.get("photons", ())]
    return [name for name in names if name.startswith(incomplete)]
