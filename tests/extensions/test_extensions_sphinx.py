"""The Sphinx extension, in real builds of a small project."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from html import unescape
from pathlib import Path

import pytest

from luminal.errors import ERROR_CODES
from tests.waiting import DEADLINE

ROOT = Path(__file__).resolve().parents[2]

CONF = """
    extensions = ["luminal.sphinx", "myst_parser", "sphinx.ext.napoleon"]
    exclude_patterns = ["_build"]
    html_theme = "basic"
"""
SPECS = """
    from __future__ import annotations

    from luminal import hookspec


    class Specs:
        '''The hooks of the shop.'''

        @hookspec
        def price(self, item: str, count: int = 1) -> float:
            '''Name a price.

            Args:
                item: What is sold.
            '''

        @hookspec(firstresult=True, isolate=True)
        async def ship(self, order: Order) -> str | None:
            '''Ship it.'''

        @hookspec(historic=True)
        def opened(self): ...

        def not_a_hook(self): ...


    @hookspec
    def of_a_module(word: str): ...
"""
PHOTONS = """
    raise SystemExit("a build must not import photons")

    from luminal import IPhoton, hookimpl


    class Cheap(IPhoton):
        photon_version = "1.2"
        photon_author = "A_uthor *with* `marks`|"
        photon_description = "Half_ the *price*, \\\\ or `less`"
        photon_tags = ["sale"]
        photon_requires = ["stock>=1"]

        @hookimpl
        def price(self, item): ...


    class Stock(IPhoton):
        photon_name = "stock"
        photon_version = "1.0"

        @hookimpl(tryfirst=True)
        def price(self, item): ...

        @hookimpl
        async def ship(self, order): ...
"""


class Project:
    """A Sphinx project of a few pages."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("conf.py", CONF)
        self.write("shop_specs.py", SPECS)
        self.write("photons/shop.py", PHOTONS)

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))

    def build(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", ".", "_build"],
            cwd=self.root,
            env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{self.root}"},
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE,
        )

    def page(self, name: str = "index") -> str:
        """Return a page that has been built, without its tags."""
        html = (self.root / "_build" / f"{name}.html").read_text(encoding="utf-8")
        return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())

    def built(self, name: str = "index") -> str:
        done = self.build()
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return self.page(name)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


RST = """
    Shop
    ====

    .. luminal-photons:: photons

    .. luminal-hooks:: shop_specs:Specs
       :photons: photons

    .. luminal-errors::

    See :luminal-photon:`stock` and :luminal-error:`LUM104`.
"""
MD = """
    # Shop

    ```{luminal-photons} photons
    ```

    ```{luminal-hooks} shop_specs:Specs
    :photons: photons
    ```

    ```{luminal-errors}
    ```

    See {luminal-photon}`stock` and {luminal-error}`LUM104`.
"""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "text"), [("index.rst", RST), ("index.md", MD)])
def test_page_says_what_photons_hooks_and_errors_are(
    project: Project, name: str, text: str
) -> None:
    """The same in both languages, without a warning, and without an import."""
    project.write(name, text)
    said = project.built()
    assert "Half_ the *price*, \\ or `less`" in said
    assert "A_uthor *with* `marks`|" in said
    assert re.search(r"Cheap .*Version : 1\.2 .*Tags : sale", said)
    assert re.search(r"Requires : stock>=1 .*Implements : price", said)
    assert "The hooks of the shop." in said
    assert "price ( item : str , count : int = 1 ) → float" in said
    assert re.search(r"Parameters : item \W+ What is sold\.", said)
    assert re.search(r"async ship \( order : Order \) → str \| None", said)
    answers = "the first result that is not None; a failure does not stop the others"
    assert f"Result : {answers} Implemented by : stock" in said
    assert "Implemented by : stock , Cheap" in said  # `tryfirst` comes first
    assert (
        "repeated for photons that are registered later Implemented by : no photon"
        in said
    )
    assert "not_a_hook" not in said
    html = (project.root / "_build" / "index.html").read_text(encoding="utf-8")
    for code, error in ERROR_CODES.items():
        if error.__module__ != "luminal.errors":
            continue  # an error of somebody else's, who has been imported here
        assert f'id="luminal-error-{code}"' in html
        assert error.__name__ in said
    assert 'href="#luminal-photon-stock"' in html
    assert html.count('href="#luminal-error-LUM104"') >= 2, "a reference, and itself"


@pytest.mark.slow
def test_specs_are_described_under_the_name_that_the_page_uses(
    project: Project,
) -> None:
    """A class that is exported elsewhere than it is made is found by both names."""
    project.write("shop.py", "from shop_specs import Specs\n")
    project.write(
        "index.rst",
        """
        Shop
        ====

        .. luminal-hooks:: shop:Specs

        :py:meth:`by its room <shop.Specs.price>`,
        :py:class:`by its home <shop_specs.Specs>`
        """,
    )
    assert "class shop. Specs" in project.built()
    html = (project.root / "_build" / "index.html").read_text(encoding="utf-8")
    assert html.count('href="#shop.Specs.price"') >= 2
    assert html.count('href="#shop.Specs"') >= 2


@pytest.mark.slow
def test_edited_photon_is_built_again(project: Project) -> None:
    """A page depends on the photons' files and on their directory."""
    project.write("index.rst", "Shop\n====\n\n.. luminal-photons:: photons\n")
    assert "1.2" in project.built()
    path = project.root / "photons" / "shop.py"
    path.write_text(path.read_text().replace('"1.2"', '"7.8"'))
    os.utime(path, (path.stat().st_atime, path.stat().st_mtime + 10))
    assert "7.8" in project.built()
    new = "from luminal import IPhoton\nclass Later(IPhoton): ...\n"
    project.write("photons/later.py", new)
    status = path.parent.stat()
    os.utime(path.parent, (status.st_atime, status.st_mtime + 10))
    assert "Later" in project.built()


@pytest.mark.slow
def test_group_broken_photon_and_module_of_specs(project: Project) -> None:
    project.write("photons/broken.py", "from luminal import IPhoton\nclass (\n")
    blank = "from luminal import IPhoton\nclass P(IPhoton):\n    photon_name = ' '\n"
    project.write("photons/blank.py", blank)
    info = project.root / "greeter-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: greeter\nVersion: 1.0\n"
    )
    (info / "entry_points.txt").write_text("[shop.kit]\nhi = shop_hi:Hi\n")
    (info / "RECORD").write_text("shop_hi.py,,\n")
    project.write("shop_hi.py", "from luminal import IPhoton\nclass Hi(IPhoton): ...\n")
    project.write(
        "index.rst",
        """
        Shop
        ====

        .. luminal-photons:: photons
           :group: shop.kit

        .. luminal-hooks:: shop_specs

        .. luminal-errors:: LUM2 LUM401
        """,
    )
    said = project.built()
    assert "From : greeter 1.0 , in the group shop.kit" in said
    assert re.search(r"broken .*Problem : LUM104 ?:", said)
    assert re.search(r"blank.py .*Problem : LUM107 ?:", said)
    assert "of_a_module ( word : str )" in said
    assert "Implemented by" not in said
    assert "MissingExtraError" in said
    assert "PhotonSyntaxError" not in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("directive", "complaint"),
    [
        ("luminal-photons:: nowhere", "does not exist"),
        ("luminal-photons::", "name a directory"),
        ("luminal-hooks:: shop_specs:Absent", "cannot import 'shop_specs:Absent'"),
        ("luminal-hooks:: os:PathLike", "specifies no hook"),
        ("luminal-hooks:: os:sep", "specifies no hook"),
        ("luminal-hooks:: shop_leaves", "SystemExit('not without a shop')"),
        ("luminal-errors:: NONE", "no code begins with NONE"),
    ],
)
def test_mistake_on_a_page_is_one_error_with_its_place(
    project: Project, directive: str, complaint: str
) -> None:
    project.write("index.rst", f"Shop\n====\n\n.. {directive}\n")
    project.write("shop_leaves.py", "raise SystemExit('not without a shop')\n")
    done = project.build()
    assert done.returncode != 0
    assert complaint in done.stderr
    assert "index.rst:4" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_sphinx_it_says_what_it_needs() -> None:
    code = "import sys; sys.modules['sphinx'] = None; import luminal.sphinx._directives"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE,
    )
    assert "the Sphinx extension needs 'sphinx' [LUM401]" in done.stderr
    assert "pip install 'luminal-photons[sphinx]'" in done.stderr
