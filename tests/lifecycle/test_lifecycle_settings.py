"""What a host sets for a photon reaches it as the attrs class that it declares."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from luminal import Loader, discover
from luminal.errors import LuminalWarning, PhotonSettingsError
from luminal.model import State
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


@pytest.mark.parametrize("table", [3, None, [1], "x", {1}])
@pytest.mark.parametrize("text", ["", "photon_settings = Settings"])
async def test_what_is_no_table_fails_that_photon_alone(
    tmp_path: Path, table: Any, text: str
) -> None:
    for name in ("bad", "good"):
        body = TEXT.replace("photon_settings = Settings", text)
        (tmp_path / f"{name}.py").write_text(body.replace('"geo"', f'"{name}"'))
    good = {"city": "x"}
    async with Loader(settings={"bad": table, "good": good}) as loader:
        handlers = await loader.load_photons(tmp_path)
        with pytest.raises(PhotonSettingsError, match="not a table") as refused:
            await handlers.start()
        assert refused.value.photon == "bad"
        states = {name: str(one.state) for name, one in loader.photons.items()}
        assert states == {"bad": "failed", "good": "running"}


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


RICH = """\
from __future__ import annotations

import datetime
import enum
from pathlib import Path
from typing import Literal

import attrs
import luminal


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@attrs.frozen
class Server:
    host: str
    port: int = 80


@attrs.frozen
class Settings:
    first: Server
    root: Path
    more: list[Server] = attrs.Factory(list)
    day: datetime.date | None = None
    names: tuple[str, ...] = ()
    either: int | str | list[int] = 0
    limits: dict[str, float] = attrs.Factory(dict)
    colour: Colour = Colour.RED
    mode: Literal["fast", "slow"] = "fast"
    many: int = attrs.field(default=1, validator=attrs.validators.ge(0))


class Geo(luminal.IPhoton):
    photon_name = "geo"
    photon_settings = Settings

    def start(self):
        self.seen = self.context.settings
"""
TABLES = """\
# Of the photons

[geo]
root = "/srv"
day = 2026-11-28
names = ["a", "b"]
either = [
    1,
    2,
]
colour = "blue"
mode = "slow"

[geo.first]
host = "one"

[geo.limits]
high = 3

[[geo.more]]
host = "two"

[[geo.more]]
host = "three"
port = 8080

[other]
"""
OTHER = "import luminal\n\n\nclass Other(luminal.IPhoton):\n    photon_name = 'other'\n"


def test_a_table_of_a_file_becomes_nested_classes_paths_dates_and_unions(
    tmp_path: Path,
) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(TABLES)
    with Host(settings=file) as host:
        host.write("geo.py", RICH)
        host.write("other.py", OTHER)
        host.run()
        seen = host["geo"].seen
        assert seen.root == Path("/srv")
        assert seen.day == dt.date(2026, 11, 28)
        assert (seen.first.host, seen.first.port) == ("one", 80)
        assert [each.port for each in seen.more] == [80, 8080]
        assert (seen.names, seen.either) == (("a", "b"), [1, 2])
        assert (seen.limits, seen.colour.name) == ({"high": 3.0}, "BLUE")
        # The classes of a new generation are its own.
        host.edit("geo.py", RICH.replace("port: int = 80", "port: int = 81"))
        host.reload("geo")
        assert host["geo"].seen.first.port == 81
        assert type(host["geo"].seen.more[0]) is type(host["geo"].seen.first)


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ('root = "/srv"', "root = 3", 4, ["'root'", "'int', not 'Path'"]),
        ("2026-11-28", "2026-11-28T10:00:00", 5, ["'day'", "not 'date'"]),
        ('["a", "b"]', '"ab"', 6, ["'names'", "'str'"]),
        ('["a", "b"]', '["a", 3]', 6, ["'names[1]'", "'int', not 'str'"]),
        ("    2,", "    true,", 7, ["'either[1]'", "'bool', not 'int'"]),
        ('"blue"', '"blu"', 11, ["'colour'", "did you mean 'blue'"]),
        ('"slow"', '"slaw"', 12, ["'mode'", "did you mean 'slow'"]),
        ('"slow"', '"slow"\nmany = -1', 13, ["'many'", "must be >= 0"]),
        ("[geo.first]", "[geo.frist]", 14, ["'frist'", "did you mean 'first'"]),
        ('host = "one"', "", 14, ["needs the setting 'first.host'"]),
        ("high = 3", 'high = "3"', 18, ["'limits.high'", "'str', not 'float'"]),
        ("port = 8080", 'port = "8080"', 25, ["'more[1].port'", "'str', not 'int'"]),
        ("port = 8080", "prot = 8080", 25, ["'more[1].prot'", "mean 'port'"]),
    ],
)
def test_an_error_names_the_path_of_the_key_the_file_and_the_line(
    old: str, new: str, line: int, said: list[str], tmp_path: Path
) -> None:
    """And no other photon is concerned."""
    file = tmp_path / "settings.toml"
    assert old in TABLES
    file.write_text(TABLES.replace(old, new))
    with Host(settings=file) as host:
        host.write("geo.py", RICH)
        host.write("other.py", OTHER)
        with pytest.raises(PhotonSettingsError) as refused:
            host.run()
        assert host.loader.photons["other"].state is State.RUNNING
    for part in said:
        assert part in str(refused.value)
    assert (refused.value.file, refused.value.line) == (str(file), line)
    assert refused.value.photon == "geo"


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    wrong = TABLES.replace("8080", "true").replace("high = 3", "high = []")
    file.write_text(wrong)
    with Host(settings=file) as host:
        host.write("geo.py", RICH)
        with pytest.raises(PhotonSettingsError) as refused:
            host.run()
    assert "'more[1].port'" in str(refused.value)
    assert "'limits.high'" in str(refused.value)


def test_an_instance_that_a_program_passes_is_taken_as_it_is() -> None:
    text = TEXT.replace("degrees: float = 20.0", "lock: object = None")
    thing = object()
    assert started(text, {"city": "x", "lock": thing}).lock is thing


async def test_a_table_that_no_photon_has_is_warned_of_with_the_nearest_name(
    tmp_path: Path,
) -> None:
    (tmp_path / "geo.py").write_text(TEXT)
    async with Loader(settings={"geo": {"city": "Kyiv"}, "goe": {}}) as loader:
        await loader.load(discover(tmp_path, group=None))
        with pytest.warns(LuminalWarning, match="'goe'.*\n.*did you mean 'geo'"):
            await loader.start()
        await loader.start()  # once is enough


@pytest.mark.parametrize(
    ("text", "line"),
    [("[geo]\ncity = \n", 2), ("[geo]\n[geo]\n", None), ("geo = 1", 1)],
)
def test_a_file_that_cannot_be_read_is_refused_by_the_loader(
    text: str, line: int | None, tmp_path: Path
) -> None:
    file = tmp_path / "settings.toml"
    with pytest.raises(PhotonSettingsError, match="cannot be read"):
        Loader(settings=file)
    file.write_text(text)
    with pytest.raises(PhotonSettingsError, match="cannot be read") as refused:
        Loader(settings=file)
    assert refused.value.file == str(file)
    assert line is None or refused.value.line == line


def test_a_photon_may_name_the_class_in_its_base_as_well() -> None:
    """For type checkers; discovery and the life cycle see `IPhoton`."""
    text = TEXT.replace("(luminal.IPhoton)", "(luminal.IPhoton[Settings])")
    assert started(text, {"city": "Kyiv"}).city == "Kyiv"


@pytest.mark.parametrize("settings", [[], 5, {"geo"}])
def test_what_is_no_mapping_is_refused_at_once(settings: Any) -> None:
    with pytest.raises(TypeError, match="path of a TOML file"):
        Loader(settings=settings)


@pytest.mark.parametrize(
    ("text", "said", "line"),
    [
        ("[tool]\nluminal = 5\n", "'tool.luminal' is no table", 2),
        ("[tool.luminal]\nphotons = [1]\n", "'tool.luminal.photons' is no table", 2),
        ("[tool.luminal.photons]\n\ngeo = 1\n", "'tool.luminal.photons.geo'", 3),
    ],
)
def test_what_is_no_table_on_the_way_is_refused(
    tmp_path: Path, text: str, said: str, line: int
) -> None:
    """It would mean: no settings at all."""
    file = tmp_path / "pyproject.toml"
    file.write_text(text)
    with pytest.raises(PhotonSettingsError, match=said) as refused:
        Loader(settings=file)
    assert (refused.value.file, refused.value.line) == (str(file), line)


def test_a_number_in_a_path_is_no_line(tmp_path: Path) -> None:
    with pytest.raises(PhotonSettingsError) as refused:
        Loader(settings=tmp_path / "line 7" / "s.toml")
    assert refused.value.line is None
