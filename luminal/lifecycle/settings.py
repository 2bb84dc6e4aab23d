"""A photon's settings: what its host has set, as the photon's own attrs class.

Comes in: a table of values, and the class that the photon declares in
``photon_settings``. Goes out: an instance of it, or an error that names the setting.
"""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any

import attrs

from luminal.errors import PhotonSettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["settings_for"]


def settings_for(name: str, factory: Any, table: Mapping[str, Any]) -> Any:
    """Return the settings of the photon *name*.

    Args:
        name: Name of the photon.
        factory: Its class, or None.
        table: What the host has set.

    Returns:
        An instance of ``factory.photon_settings``; without one, *table*, read-only.

    Raises:
        PhotonSettingsError: A setting is unknown, missing, or refused by the class.
    """
    declared = _declared(factory)
    if declared is None:
        return types.MappingProxyType(dict(table))
    if not (isinstance(declared, type) and attrs.has(declared)):
        raise PhotonSettingsError(
            "'photon_settings' is no attrs class",
            photon=name,
            hint="decorate it with attrs.frozen",
        )
    known = {field.alias: field for field in attrs.fields(declared) if field.init}
    for key in table:
        if key not in known:
            raise _unknown(name, key, list(known))
    for key, field in known.items():
        if key not in table and field.default is attrs.NOTHING:
            raise PhotonSettingsError(
                f"needs the setting {key!r}",
                photon=name,
                hint=f"set it in the host's settings of {name!r}",
            )
    _check_types(name, declared, known, table)
    try:
        return declared(**table)
    except Exception as error:
        raise PhotonSettingsError(
            "refuses its settings",
            photon=name,
            why=f"{type(error).__name__}: {error.args[0] if error.args else error}",
            hint=f"correct the host's settings of {name!r}",
        ) from error


def _declared(factory: Any) -> Any:
    """Look ``photon_settings`` up without running what classes define for look-ups."""
    if isinstance(factory, type):
        for cls in type.__getattribute__(factory, "__mro__"):
            values = type.__getattribute__(cls, "__dict__")
            if "photon_settings" in values:
                return values["photon_settings"]
    return None


def _unknown(name: str, key: str, known: list[str]) -> PhotonSettingsError:
    import difflib

    near = difflib.get_close_matches(key, known, 1)
    has = ", ".join(map(repr, known)) or "none"
    return PhotonSettingsError(
        f"has no setting {key!r}",
        photon=name,
        why=f"its settings are: {has}",
        hint=f"did you mean {near[0]!r}?" if near else "remove it",
    )


def _check_types(
    name: str,
    declared: type,
    known: Mapping[str, attrs.Attribute[Any]],
    table: Mapping[str, Any],
) -> None:
    """Hold values to annotations that are plain classes; converters come first."""
    import typing

    try:
        hints = typing.get_type_hints(declared)
    except Exception:  # noqa: BLE001 - annotations may say anything
        return
    for key, value in table.items():
        field = known[key]
        kind = hints.get(field.name)
        if field.converter is not None or type(kind) is not type:
            continue
        is_whole = kind is float and type(value) is int
        is_truth = isinstance(value, bool) and kind in (int, float)
        if not is_whole and (is_truth or not isinstance(value, kind)):
            raise PhotonSettingsError(
                f"cannot take {value!r} for the setting {key!r}",
                photon=name,
                why=f"it is of type {type(value).__name__!r}, not {kind.__name__!r}",
                hint=f"correct the host's settings of {name!r}",
            )
