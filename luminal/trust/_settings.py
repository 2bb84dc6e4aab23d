"""The table ``[tool.luminal.trust]``: what a host looks at, asks about and refuses."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import attrs

from luminal.errors import TrustSettingsError, did_you_mean
from luminal.trust._kinds import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["TrustSettings", "known_kinds"]

known_kinds: tuple[str, ...] = tuple(str(kind) for kind in Kind)

_SCANS = ("", "warn", "accept")
_FACTORS = ("", "fido", "key", "totp")


def _texts(value: Iterable[str], what: str) -> tuple[str, ...]:
    is_list = isinstance(value, list | tuple | set | frozenset)
    if not is_list or not all(isinstance(each, str) for each in value):
        raise ValueError(f"is no list of {what}")
    return tuple(value)


def _kinds(value: Iterable[str]) -> tuple[str, ...]:
    """Check kinds of capabilities: each alone, or with ``:import``."""
    found = _texts(value, "kinds of capabilities")
    for each in found:
        kind, colon, when = each.partition(":")
        if kind not in known_kinds or (colon and when != "import"):
            nearest = did_you_mean(kind, known_kinds, "; ")
            raise ValueError(
                f"has no kind {each!r}; the kinds are {', '.join(known_kinds)}, "
                f"each alone or with ':import'{nearest}"
            )
    return found


def _accepted(value: Mapping[str, Iterable[str]]) -> dict[str, tuple[str, ...]]:
    if not hasattr(value, "items"):
        raise ValueError("is no table of photons")
    return {name: _kinds(kinds) for name, kinds in value.items()}


def _one_of(value: object, known: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"is none of {', '.join(map(repr, known[1:]))}")
    return value


def _digests(value: Iterable[str]) -> tuple[str, ...]:
    found = _texts(value, "SHA-512 digests in hexadecimal")
    for each in found:
        if not re.fullmatch("[0-9a-fA-F]{128}", each):
            raise ValueError(f"has {each[:40]!r}, which is no SHA-512 in hexadecimal")
    return tuple(map(str.lower, found))


def _score(value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("is no number")  # noqa: TRY004 - one error
    if not 0 <= value <= 1:
        raise ValueError(f"is {value}, and no score from 0 to 1")
    return value


def _path(value: str) -> str:
    if not isinstance(value, str):
        raise ValueError("is no path of a file")  # noqa: TRY004 - one error
    return value


def _scan(value: object) -> str:
    return _one_of(value, _SCANS)


def _factor(value: object) -> str:
    return _one_of(value, _FACTORS)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("is neither true nor false")  # noqa: TRY004 - one error
    return value


@attrs.frozen
class TrustSettings:
    """What a host looks at in what it loads, and what it asks or refuses.

    Kinds are those of `Kind`, such as ``network``; with ``:import`` only what is done
    at import counts.

    Attributes:
        drift: Whether each swap is compared with what ran before, and what its text
            newly says that it does is an event and in the report.
        ask: Kinds whose first appearance in a photon that runs makes its swap be
            rejected, until somebody accepts it.
        deny: Kinds that no photon may have; it is not loaded.
        accept: Name of a photon → kinds that it may have in spite of *ask* and *deny*.
        scan: Whether ``luminal check`` scans: ``warn`` prints high scores, ``accept``
            lets the check fail until the file is listed in *scanned*; empty for no
            scan.
        scan_threshold: Score, from 0 to 1, from which on a file is reported.
        scanned: SHA-512 digests of files whose scores somebody has looked at.
        second_factor: What else than the socket or the token is asked of who unloads,
            reloads, rolls back or accepts from outside: ``fido``, ``key`` or ``totp``;
            empty for nothing.
        factor: The file with what is registered for it: public keys, or the secret of
            TOTP. By default ``second-factor.json`` in the state directory.
        audit: Whether such operations are written down, see ``luminal audit``.
        file: The file that the settings come from; empty where a program gives them.
    """

    drift: bool = attrs.field(default=False, converter=_flag)
    ask: tuple[str, ...] = attrs.field(default=(), converter=_kinds)
    deny: tuple[str, ...] = attrs.field(default=(), converter=_kinds)
    accept: Mapping[str, tuple[str, ...]] = attrs.field(
        factory=dict, converter=_accepted
    )
    scan: str = attrs.field(default="", converter=_scan)
    scan_threshold: float = attrs.field(default=0.3, converter=_score)
    scanned: tuple[str, ...] = attrs.field(default=(), converter=_digests)
    second_factor: str = attrs.field(default="", converter=_factor)
    factor: str = attrs.field(default="", converter=_path)
    audit: bool = attrs.field(default=False, converter=_flag)
    file: str = ""

    @property
    def examines(self) -> bool:
        """Whether anything has to be looked at when a photon is loaded."""
        return bool(self.drift or self.ask or self.deny)

    @classmethod
    def of_table(cls, table: Mapping[str, Any], file: str = "") -> TrustSettings:
        """Return the settings of a table, whose keys may have dashes.

        Args:
            table: The table.
            file: The file that it is in, for errors.

        Raises:
            TrustSettingsError: It has an unknown key, or a value that does not fit.
        """
        names = [each.name for each in attrs.fields(cls) if each.name != "file"]
        known = [name.replace("_", "-") for name in names]
        values = {}
        for key, value in table.items():
            if key not in known:
                raise TrustSettingsError(
                    f"[tool.luminal.trust] has no setting {key!r}",
                    file=file,
                    hint=f"known are {', '.join(known)}"
                    + did_you_mean(key, known, "; "),
                )
            name = key.replace("-", "_")
            try:
                cls(**{name: value})
            except (TypeError, ValueError) as error:
                raise TrustSettingsError(
                    f"[tool.luminal.trust] {key!r} {error}",
                    file=file,
                    hint="correct it",
                ) from None
            values[name] = value
        return cls(**values, file=file)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> TrustSettings:
        """Return the settings of a ``pyproject.toml``, those of a host without it.

        Raises:
            TrustSettingsError: It cannot be read, or says what it must not.
        """
        import tomllib

        file = os.fspath(path)
        try:
            with open(file, "rb") as stream:
                table = tomllib.load(stream).get("tool", {}).get("luminal", {})
                found = table.get("trust", {})
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError, AttributeError) as error:
            raise TrustSettingsError(
                "the settings cannot be read", file=file, why=str(error)
            ) from None
        if not isinstance(found, dict):
            raise TrustSettingsError(
                "[tool.luminal] 'trust' must be a table", file=file
            )
        return cls.of_table(found, file)
