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
"""The photon {name!r} starts, can be changed while it runs, and leaves nothing."""

from __future__ import annotations

from pathlib import Path

from luminal.testing import Host

PHOTON = Path(__file__).parent / "{path}"


def test_it_starts_and_leaves_nothing_behind() -> None:
    with Host() as host:
        host.copy(PHOTON)
        host.run()
        assert host["{name}"].photon_name == "{name}"
        host.assert_no_leaks()


def test_it_can_be_changed_while_it_runs() -> None:
    with Host() as host:
        host.copy(PHOTON)
        host.watch()
        host.edit("{file}", lambda text: text + "\\n# changed\\n")
        assert host.reloaded("{name}").number == 2
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

A photon for hosts that are built with Luminal. Install it beside such a host with
`pip install .`, and the host finds it; `luminal list` shows it. Give `pyproject.toml` a
new version, say `pip install --upgrade .`, and a host that watches goes on with that,
without a stop. `python -m pytest` runs the test.
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
        test = _TEST.format(**names, path=f"{module}.py", file=f"{module}.py")
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
        test = _TEST.format(**names, path=module, file=f"{module}/__init__.py")
        inside = {f"{module}/{file}": text for file, text in package.items()}
        return {**inside, f"test_{module}.py": test}
    root = naming.name
    file = f"{module}/__init__.py"
    test = _TEST.format(**names, path=f"../src/{module}", file=file)
    return {
        f"{root}/pyproject.toml": _PROJECT.format(**names),
        f"{root}/README.md": _README.format(**names),
        **{f"{root}/src/{module}/{file}": text for file, text in package.items()},
        f"{root}/tests/test_{module}.py": test,
    }
