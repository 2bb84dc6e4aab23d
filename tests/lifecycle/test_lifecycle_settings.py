"""What a host sets for a photon reaches it as the attrs class that it declares."""

from __future__ import annotations

from typing import Any

import pytest

from luminal.errors import PhotonSettingsError
from luminal.testing import Host

TEXT = """\
import attrs
import luminal


@attrs.frozen
class Settings:
    city: str
    degrees: float = 20.0
    many: int = attrs.field(default=1, validator=attrs.validators.ge(0))
    path: str = attrs.field(default="", converter=str)


class Geo(luminal.IPhoton):
    photon_name = "geo"
    photon_settings = Settings

    def start(self):
        self.seen = self.context.settings
"""


def started(text: str, table: dict[str, Any]) -> Any:
    with Host(settings={"geo": table}) as host:
        host.write("geo.py", text)
        host.run()
        return host["geo"].seen


def test_a_table_becomes_the_declared_class() -> None:
    table = {"city": "Kyiv", "degrees": 21, "path": 5}
    seen = started(TEXT, table)
    assert type(seen).__name__ == "Settings"
    assert (seen.city, seen.degrees, seen.many, seen.path) == ("Kyiv", 21, 1, "5")


def test_without_a_class_it_is_a_read_only_mapping() -> None:
    text = TEXT.replace("    photon_settings = Settings\n", "")
    seen = started(text, {"anything": 1})
    assert dict(seen) == {"anything": 1}
    with pytest.raises(TypeError):
        seen["anything"] = 2


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({}, "needs the setting 'city'"),
        ({"city": "x", "degres": 1.0}, "did you mean 'degrees'"),
        ({"city": 3}, "'int', not 'str'"),
        ({"city": "x", "many": True}, "'bool', not 'int'"),
        ({"city": "x", "many": -1}, "must be >= 0"),
    ],
)
def test_what_does_not_fit_is_refused_and_said(
    table: dict[str, Any], said: str
) -> None:
    with pytest.raises(PhotonSettingsError) as refused:
        started(TEXT, table)
    assert said in str(refused.value)
    assert refused.value.photon == "geo"


def test_a_reload_that_asks_for_more_than_is_set_is_refused() -> None:
    """And the generation before goes on, with the settings that it has."""
    with Host(settings={"geo": {"city": "Kyiv"}}) as host:
        host.write("geo.py", TEXT)
        (handler,) = host.run()
        host.edit("geo.py", TEXT.replace("city: str\n", "city: str\n    a: int\n"))
        with pytest.raises(PhotonSettingsError, match="needs the setting 'a'"):
            host.reload("geo")
        assert handler.number == 1
        assert host["geo"].seen.city == "Kyiv"


def test_no_attrs_class_is_refused() -> None:
    text = TEXT.replace("photon_settings = Settings", "photon_settings = dict")
    with pytest.raises(PhotonSettingsError, match="is no attrs class"):
        started(text, {})
