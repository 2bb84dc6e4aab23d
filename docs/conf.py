"""How Sphinx builds these pages; what is generated from code comes from `pages`."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import pages  # noqa: E402 - found only through the path above

import luminal  # noqa: E402 - as above

project = "Luminal"
author = "The Luminal authors"
copyright = author
version = release = luminal.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["deflist", "colon_fence"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # attributes are fields of the class, not second entries
html_theme = "furo"
html_title = f"Luminal {release}"
html_show_copyright = False

pages.write_all(HERE / "reference" / "generated", HERE.parent)
