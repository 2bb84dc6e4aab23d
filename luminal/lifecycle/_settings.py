"""What a host sets for its photons, and how it becomes an instance of a photon's class.

`SettingsFile` reads the tables of a TOML file, and knows the line of each key.
`settings_for` makes the attrs class that a photon declares of its table. `cattrs` does
the work; what is here makes it strict, as a person wrote the values and mistypes them:
a string is no list of letters, and ``true`` is no number.
"""

from __future__ import annotations

import datetime as dt
import enum
import os
import re
import types
from collections.abc import Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import is_dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

import attrs

from luminal._plain import may_be_secret
from luminal.discovery import fold
from luminal.errors import PhotonSettingsError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable

    from cattrs import Converter

__all__ = ["SettingsFile", "settings_for", "unused_tables"]

_Path = tuple[str | int, ...]


class SettingsFile(Mapping[str, Mapping[str, Any]]):
    """Photon name → its table in a TOML file.

    In a ``pyproject.toml`` these are the tables below ``[tool.luminal.photons]``, in
    any other file its tables at the top.

    Args:
        file: Its path.

    Raises:
        PhotonSettingsError: It cannot be read, or is no valid TOML.
    """

    def __init__(self, file: str | os.PathLike[str]) -> None:
        self.file: str = os.path.abspath(os.fspath(file))
        is_project = os.path.basename(self.file) == "pyproject.toml"
        self._prefix = ("tool", "luminal", "photons") if is_project else ()
        # The tables and the text that they were read from, replaced together.
        self._content: tuple[dict[str, dict[str, Any]], str] = ({}, "")
        self.read()

    def __getitem__(self, name: str) -> Mapping[str, Any]:
        return self._content[0][name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._content[0])

    def __len__(self) -> int:
        return len(self._content[0])

    def read(self) -> frozenset[str]:
        """Read the file again; return the photons whose tables have changed.

        Raises:
            PhotonSettingsError: As above; the tables stay as they were.
        """
        import tomllib

        try:
            with open(self.file, encoding="utf-8") as file:
                text = file.read()
            tables: Any = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            found = re.search(r"line (\d+)", str(error))
            line = int(found[1]) if found else None
            raise self._unreadable(str(error), line) from error
        except (OSError, ValueError) as error:
            raise self._unreadable(str(error), None) from error
        for number, key in enumerate(self._prefix, 1):
            tables = tables.get(key, {})
            self._require_table(tables, text, self._prefix[:number])
        for name, table in tables.items():
            self._require_table(table, text, (*self._prefix, name))
        before, self._content = self._content[0], (tables, text)
        names = before.keys() | tables.keys()
        return frozenset(n for n in names if before.get(n) != tables.get(n))

    def _require_table(self, table: object, text: str, path: _Path) -> None:
        if not isinstance(table, dict):
            what = f"{_written(path)!r} is no table"
            raise self._unreadable(what, _line_of(text, path))

    def _unreadable(self, why: str, line: int | None) -> PhotonSettingsError:
        return PhotonSettingsError(
            "the settings cannot be read",
            file=self.file,
            line=line,
            why=why,
            hint="correct the file",
        )

    def line_of(self, *path: str | int) -> int | None:
        """Return the line in which a key is set; None where it is not there.

        Args:
            path: The photon's name, then keys, and positions in lists.
        """
        return _line_of(self._content[1], (*self._prefix, *path))


def _line_of(text: str, path: _Path) -> int | None:
    """Return the line at which *path* begins in the TOML *text*.

    Python's parser keeps no positions. But the beginning of a TOML file up to the end
    of any statement is one too, so the first that has the path ends with it.
    """
    import tomllib

    lines = text.split("\n")
    ends: dict[int, Any] = {}

    def beginning(count: int) -> tuple[int, Any]:
        """Return the first end of a statement from *count* on, and what is before."""
        for end in range(count, len(lines) + 1):
            if end not in ends:
                try:
                    ends[end] = tomllib.loads("\n".join(lines[:end]))
                except tomllib.TOMLDecodeError:
                    ends[end] = None
            if ends[end] is not None:
                return end, ends[end]
        return len(lines), {}

    low, high = 0, len(lines)
    while low < high:
        middle = (low + high) // 2
        end, table = beginning(middle)
        if _has(table, path):
            high = middle
        else:
            low = max(end, middle) + 1
    if not _has(beginning(low)[1], path):
        return None
    # The statement begins after the end of the one before.
    first = low
    while first > 1 and ends.get(first - 1, ...) is None:
        first -= 1
    return first


def _has(table: Any, path: _Path) -> bool:
    for key in path:
        try:
            table = table[key]
        except (LookupError, TypeError):
            return False
    return True


# --- From a table to a class ---------------------------------------------------------


def settings_for(
    name: str, declared: Any, settings: Mapping[str, Mapping[str, Any]]
) -> Any:
    """Return the settings of the photon *name* as the class that it declares.

    Args:
        name: Name of the photon.
        declared: Its ``photon_settings``.
        settings: Photon name → what the host has set.

    Raises:
        PhotonSettingsError: A setting is unknown, missing, of another type, or refused
            by the class. All that is wrong is in it.
    """
    table = settings.get(name, {})
    if not (isinstance(declared, type) and attrs.has(declared)):
        raise PhotonSettingsError(
            "'photon_settings' is no attrs class",
            photon=name,
            hint="decorate it with attrs.frozen",
        )
    try:
        attrs.resolve_types(declared)
    except Exception:  # noqa: BLE001 - annotations may say anything
        converter = None  # what is set is not checked against them
    else:
        converter = _new_converter()
    try:
        if converter is None:
            _check_keys(declared, table)
            return declared(**table)
        return converter.structure(dict(table), declared)
    except Exception as error:
        raise _refusal(name, [*_failures(error, ())], settings) from error


class _Refused(Exception):  # noqa: N818 - it never leaves this module
    """A value does not fit.

    Args:
        what: What is wrong, with ``{}`` for the key's path.
        why, hint: As of errors.
        path: Below the value that is looked at.
        is_mismatch: Whether the value is of another type.
        is_told: Whether *what* has the value; without a mismatch, *why* may as well.
    """

    def __init__(
        self,
        what: str,
        why: str = "",
        hint: str = "",
        path: _Path = (),
        is_mismatch: bool = False,
        is_told: bool = False,
    ) -> None:
        super().__init__(what)
        self.is_told = is_told
        self.what, self.why, self.hint, self.path = what, why, hint, path
        self.is_mismatch = is_mismatch


def _failures(error: BaseException, path: _Path) -> Iterator[tuple[_Path, _Refused]]:
    """Yield each thing that is wrong: the path of the key, and what it is."""
    notes = getattr(error, "__notes__", ())
    for note in notes:  # `cattrs` says there which field or which item it was
        step = getattr(note, "name", getattr(note, "index", None))
        if step is not None:
            path = (*path, step)
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _failures(each, path)
    elif isinstance(error, _Refused):
        yield (*path, *error.path), error
    else:
        first = error.args[0] if error.args else error
        why = f"{type(error).__name__}: {first}"
        # The validators of attrs begin with the field's name.
        named = re.match(r"'(\w+)' must ", str(first))
        path = (*path, named[1]) if named else path
        what = "refuses {}" if path else "refuses its settings"
        yield path, _Refused(what, why, is_told=True)


def _refusal(
    name: str,
    failures: list[tuple[_Path, _Refused]],
    settings: Mapping[str, Mapping[str, Any]],
) -> PhotonSettingsError:
    """Return one error for all *failures* of a photon's settings."""
    file = settings.file if isinstance(settings, SettingsFile) else ""
    said = []
    for path, each in failures:
        refused = each
        if each.is_told and any(may_be_secret(str(step)) for step in path):
            reason = each.why if each.is_mismatch else ""
            refused = _Refused("cannot take the value of {}", reason, each.hint)
        what = refused.what.replace("{}", repr(_written(path)))
        line = None
        if isinstance(settings, SettingsFile):
            line = settings.line_of(name, *path)
            if line is None:  # a key that is missing: where its table begins
                line = settings.line_of(name, *path[:-1])
        said.append((what, line, refused))
    what, line, refused = said[0]
    why = refused.why
    for also, at, other in said[1:]:
        where = f"{os.path.basename(file)}:{at}: " if at else ""
        because = f" ({other.why})" if other.why else ""
        why += f"{'; ' if why else ''}{where}{also}{because}"
    return PhotonSettingsError(
        what,
        photon=name,
        file=file,
        line=line,
        why=why,
        hint=refused.hint or f"correct the host's settings of {name!r}",
    )


def _written(path: _Path) -> str:
    """Return *path* as one writes it: ``servers[1].port``."""
    text = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path)
    return text.lstrip(".")


def _check_keys(declared: type, table: Mapping[str, Any]) -> None:
    """Refuse keys of *table* that the attrs class does not have, or that it misses."""
    known = {field.alias: field for field in attrs.fields(declared) if field.init}
    wrong = []
    for key in table:
        if key not in known:
            has = ", ".join(map(repr, known)) or "none"
            hint = did_you_mean(str(key), list(known)) or "remove it"
            why = f"its settings are: {has}"
            wrong.append(_Refused("has no setting {}", why, hint, (key,)))
    for key, field in known.items():
        if key not in table and field.default is attrs.NOTHING:
            wrong.append(_Refused("needs the setting {}", "", f"set {key!r}", (key,)))
    if wrong:
        raise ExceptionGroup("settings", wrong)


_PLAIN = (str, bool, int, float, dt.datetime, dt.date, dt.time)


def _new_converter() -> Converter:
    """Return a converter; a new one each time, as it keeps the classes of a photon."""
    from cattrs import Converter

    def of_instances(kind: Any) -> Callable[[Any, Any], Any]:
        return lambda value, _: _as_instance(value, kind)

    # Keys are those of `__init__`, and a field with a converter of its own takes
    # anything, as it does where a program makes the instance.
    converter = Converter(
        prefer_attrib_converters=True,
        use_alias=True,
        structure_fallback_factory=of_instances,
    )
    for kind in _PLAIN:
        converter.register_structure_hook(kind, _as_plain)
    converter.register_structure_hook(Path, _path_hook(Path))

    guarded: set[Any] = set()

    def is_guarded(kind: Any) -> bool:
        return kind not in guarded and _shape_of(kind) is not None

    def guard(kind: Any) -> Callable[[Any, Any], Any]:
        """Return a hook that refuses values of another shape than *kind* has."""
        guarded.add(kind)
        inner = converter.get_structure_hook(kind, cache_result=False)
        guarded.discard(kind)
        shape = _shape_of(kind) or object

        def check(value: Any, target: Any) -> Any:
            if attrs.has(kind):
                if isinstance(value, kind):
                    return value  # a program has made it
                if isinstance(value, Mapping):
                    _check_keys(kind, value)
            if not isinstance(value, shape):
                raise _mismatch(value, kind)
            return inner(value, target)

        return check

    def of_union(kind: Any) -> Callable[[Any, Any], Any]:
        return lambda value, _: _as_one_of(converter, value, get_args(kind))

    def of_choices(kind: Any) -> Callable[[Any, Any], Any]:
        return lambda value, _: _as_choice(value, kind)

    for wants, factory in (
        (is_guarded, guard),
        (
            lambda kind: isinstance(kind, type) and issubclass(kind, PurePath),
            _path_hook,
        ),
        (lambda kind: _origin_of(kind) in (Union, types.UnionType), of_union),
        (lambda kind: _origin_of(kind) is Literal, of_choices),
        (lambda kind: isinstance(kind, enum.EnumType), of_choices),
    ):
        converter.register_structure_hook_factory(wants, factory)
    return converter


_origin_of: Callable[[Any], Any] = get_origin  # its types leave out the special forms


def _shape_of(kind: Any) -> Any:
    """Return what a value for the type *kind* must be; None for one value alone."""
    cls = get_origin(kind) or kind
    if not isinstance(cls, type) or issubclass(cls, str | bytes):
        return None
    if issubclass(cls, Mapping) or attrs.has(cls) or is_dataclass(cls):
        return Mapping
    if issubclass(cls, Sequence | AbstractSet):
        return list | tuple | set | frozenset
    return None


def _path_hook(kind: type[PurePath]) -> Callable[[Any, Any], Any]:
    def as_path(value: Any, _: Any) -> Any:
        if isinstance(value, str | os.PathLike):
            return kind(value)
        raise _mismatch(value, kind)

    return as_path


def _as_plain(value: Any, kind: type) -> Any:
    """Return *value*, where it is of the class *kind* as a person understands it."""
    if type(value) is kind:
        return value
    if kind is float and type(value) is int:
        return float(value)
    if isinstance(value, str) and issubclass(kind, dt.date | dt.time):
        try:
            return kind.fromisoformat(value)
        except ValueError:
            raise _mismatch(value, kind) from None
    # A truth value is a number, and a moment is a date, for Python only.
    is_misleading = isinstance(value, bool | dt.datetime)
    if is_misleading or not isinstance(value, kind):
        raise _mismatch(value, kind)
    return value


def _as_instance(value: Any, kind: Any) -> Any:
    """Return *value*, where it is of the class *kind*, which may be any."""
    if isinstance(kind, type) and not isinstance(value, kind):
        raise _mismatch(value, kind)
    return value


def _as_choice(value: Any, kind: Any) -> Any:
    """Return *value* as one of an enumeration, or where it is one of a `Literal`."""
    if isinstance(kind, type) and isinstance(value, kind):
        return value
    is_enum = isinstance(kind, enum.EnumType)
    choices = [each.value for each in kind] if is_enum else [*get_args(kind)]
    for choice in choices:
        if type(choice) is type(value) and choice == value:
            return kind(value) if is_enum else value
    raise _Refused(
        f"cannot take {_shown(value)} for the setting {{}}",
        f"it is none of: {', '.join(map(repr, choices))}",
        did_you_mean(str(value), [str(choice) for choice in choices]),
        is_told=True,
    )


def _as_one_of(converter: Converter, value: Any, kinds: tuple[Any, ...]) -> Any:
    """Return *value* as the first of *kinds* that it fits; its own class before all."""
    wrong = []
    for kind in sorted(kinds, key=lambda kind: kind is not type(value)):
        if kind is type(None):
            if value is None:
                return None
            continue
        try:
            return converter.structure(value, kind)
        except Exception as error:  # noqa: BLE001 - validators are the photon's code
            wrong.append(error)
    # What is wrong deep inside says more than that nothing fits.
    deep = [e for e in wrong if not isinstance(e, _Refused) or not e.is_mismatch]
    if len(deep) == 1:
        raise deep[0]
    raise _mismatch(value, *kinds)


def _mismatch(value: Any, *kinds: Any) -> _Refused:
    names = " or ".join(repr(_name_of(kind)) for kind in kinds)
    return _Refused(
        f"cannot take {_shown(value)} for the setting {{}}",
        f"it is of type {type(value).__name__!r}, not {names}",
        is_mismatch=True,
        is_told=True,
    )


def _shown(value: Any) -> str:
    """Return *value* as text; a table may have secrets inside."""
    return "a table" if isinstance(value, Mapping) else repr(value)


def _name_of(kind: Any) -> str:
    if kind is type(None):
        return "None"
    return kind.__name__ if type(kind) is type else str(kind).replace("typing.", "")


def unused_tables(
    settings: Mapping[str, Mapping[str, Any]], photons: Collection[str]
) -> Iterator[PhotonSettingsError]:
    """Yield a warning for each table of settings that no photon has.

    Args:
        settings: Photon name → its table.
        photons: Names of the photons that exist.
    """
    known = {fold(photon) for photon in photons}
    for name in settings:
        if fold(name) not in known:
            file = settings if isinstance(settings, SettingsFile) else None
            yield PhotonSettingsError(
                f"settings for {name!r}, but no such photon",
                file=file.file if file else "",
                line=file.line_of(name) if file else None,
                hint=did_you_mean(name, photons) or "remove them",
            )
