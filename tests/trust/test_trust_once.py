"""What a verdict does once: a bundle is opened, and its signatures are verified."""

from __future__ import annotations

import pytest

import luminal.trust
from luminal.discovery import pack
from luminal.model import OutcomeResult
from luminal.trust import SecretKey, sign
from tests.distributions import photon_text

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("mode", ["pin", "signed"])
async def test_a_signed_bundle_is_opened_and_verified_once_a_load(
    tmp_path, monkeypatch, mode
):
    from luminal.trust import _bundle, _signatures

    folder, plugins = tmp_path / "geo", tmp_path / "plugins"
    folder.mkdir()
    plugins.mkdir()
    (folder / "__init__.py").write_text(photon_text("geo", "1.0"))
    anna, ben = SecretKey.new(), SecretKey.new()
    bundle = sign(sign(pack(folder, version="1.0"), anna), ben)
    (plugins / "geo.photon").write_bytes(bundle.data())
    lock = tmp_path / "luminal.lock"
    lock.write_text(
        f'version = 1\nmode = "{mode}"\nthreshold = 2\n\n[keys]\n'
        f'anna = "{anna.public}"\nben = "{ben.public}"\n'
    )
    done = []

    opened = _bundle.open_bundle

    def counted(owner, name):
        inner = opened if name == "open_bundle" else getattr(owner, name)

        def call(*arguments):
            done.append(name)
            return inner(*arguments)

        monkeypatch.setattr(owner, name, call)

    counted(_signatures, "_is_signed")
    counted(_bundle, "open_bundle")
    counted(luminal.trust, "open_bundle")
    for _ in range(2):  # the first use is pinned
        done.clear()
        found = luminal.discover(plugins, group=None, index=False)
        before = done.count("open_bundle")
        async with luminal.Loader(lock=lock) as loader:
            report = await loader.load(found)
            assert report.outcomes[0].result is OutcomeResult.LOADED
            assert loader.photons["geo"].verdict.text == "signed 2/2"
    assert done.count("_is_signed") == 2
    assert done.count("open_bundle") == before + 1
