"""What the page and the report never have: values of settings that may be secret."""

from __future__ import annotations

import json
from pathlib import Path

import luminal
from luminal.managers.status import report_of
from luminal.web import render_page, snapshot_of

PHOTON = """\
import attrs
import luminal


@attrs.define
class Settings:
    port: int
    password: int
    url: str = ""
    passphrase: str = attrs.field(default="", validator=attrs.validators.in_(["", "a"]))


class Geo(luminal.IPhoton):
    photon_name = "geo"
    photon_settings = Settings
"""


async def texts(place: Path, settings: str) -> list[str]:
    """Return the page, the report, and the log of a host with these settings."""
    place.joinpath("geo.py").write_text(PHOTON)
    place.joinpath("settings.toml").write_text(f"[geo]\n{settings}")
    file = place / "settings.toml"
    async with luminal.Loader(settings=file, suppress_errors=True) as loader:
        await loader.load_photon(place / "geo.py")
        report = await loader.start()
        page = render_page(snapshot_of(loader))
        return [page, json.dumps(report_of(loader), default=str), str(report)]


async def test_secret_settings_are_shown_nowhere(tmp_path: Path) -> None:
    """Neither those that fit, nor beside or in a line that is wrong."""
    for settings, told in (
        ('port = 1\npassword = 4711\nurl = "pg://me:4711@db/x"', "pg://(not shown)@db"),
        ('password = 4711\nport = "x"', "cannot take 'x' for the setting 'port'"),
        ('port = 1\npassword = "4711"', "cannot take the value of 'password'"),
        ('port = 1\npassword = 1\npassphrase = "4711"', "the value of 'passphrase'"),
        ("password = 1\nport = {password = 4711}", "cannot take a table for"),
    ):
        page, *others = await texts(tmp_path, settings)
        assert told in page.replace("&#39;", "'")
        for text in (page, *others):
            assert "4711" not in text
