"""What ``luminal new`` writes: photons to begin with, and their tests."""

from __future__ import annotations

import re

import attrs

__all__ = ["KINDS", "Naming", "files_for"]

KINDS = ("file", "folder", "distribution")


@attrs.frozen
class Naming:
    """The names that follow from a photon's name.

    Attributes:
        name: Of the photon.
        module: Of its module.
        class_name: Of its class.
    """

    name: str
    module: str
    class_name: str

    @classmethod
    def of(cls, name: str) -> Naming:
        """Return the names for a photon called *name*."""
        words = [word for word in re.split(r"[\W_]+", name) if word]
        class_name = "".join(word[:1].upper() + word[1:] for word in words)
        return cls(name, "_".join(words).lower(), class_name)


_PHOTON = '''\
"""The photon {name!r}."""

from __future__ import annotations

import luminal
{neighbour}

class {class_name}(luminal.IPhoton):
    """Says hello.

    Mark a method with ``luminal.hookimpl`` to answer a hook of the host.
    """

    photon_name = "{name}"
{version}    photon_description = "Says hello."

    def start(self) -> None:
        """Take what the photon needs while it runs."""
        self.context.logger.info({greeting})

    def finalize(self) -> None:
        """Release what was taken in start."""
'''

_NEIGHBOUR = '''\
"""What the photon {name!r} says."""

from __future__ import annotations

GREETING = "hello from {name}"
'''

_TEST = '''\
"""The photon {name!r} loads, starts and stops."""

from __future__ import annotations

import asyncio
from pathlib import Path

import luminal

PHOTON = Path(__file__).parent / "{path}"


def test_it_starts_and_stops() -> None:
    async def live() -> str:
        async with luminal.Loader(cache=False) as loader:
            photons = await loader.load_photon(PHOTON)
            await photons.start()
            return str(loader.photons["{name}"].state)

    assert asyncio.run(live()) == "running"
'''

_PROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{name}"
version = "0.1.0"
description = "Says hello."
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["luminal-photons"]

[project.entry-points."luminal.photons"]
{name} = "{module}:{class_name}"

[tool.hatch.build.targets.wheel]
packages = ["src/{module}"]
"""

_README = """\
# {name}

A photon for hosts that are built with Luminal. `pip install .` beside such a host, and
it finds this one; `luminal list` shows it.
"""


def files_for(kind: str, naming: Naming) -> dict[str, str]:
    """Return path → text of what *kind* consists of.

    Args:
        kind: One of `KINDS`.
        naming: The photon's names.
    """
    names = attrs.asdict(naming)
    module = naming.module
    version = '    photon_version = "0.1.0"\n'
    if kind == "file":
        photon = _PHOTON.format(
            **names,
            neighbour="",
            version=version,
            greeting=f'"hello from {naming.name}"',
        )
        test = _TEST.format(**names, path=f"{module}.py")
        return {f"{module}.py": photon, f"test_{module}.py": test}
    is_shipped = kind == "distribution"
    package = {
        "__init__.py": _PHOTON.format(
            **names,
            neighbour="\nfrom .greeting import GREETING\n",
            # A distribution has a version already.
            version="" if is_shipped else version,
            greeting="GREETING",
        ),
        "greeting.py": _NEIGHBOUR.format(**names),
    }
    if not is_shipped:
        test = _TEST.format(**names, path=f"{module}/__init__.py")
        inside = {f"{module}/{file}": text for file, text in package.items()}
        return {**inside, f"test_{module}.py": test}
    root = naming.name
    test = _TEST.format(**names, path=f"../src/{module}/__init__.py")
    return {
        f"{root}/pyproject.toml": _PROJECT.format(**names),
        f"{root}/README.md": _README.format(**names),
        **{f"{root}/src/{module}/{file}": text for file, text in package.items()},
        f"{root}/tests/test_{module}.py": test,
    }
