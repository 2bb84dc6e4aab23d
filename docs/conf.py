"""How Sphinx builds these pages; what is generated from code comes from `pages`."""

import sys
from pathlib import Path

from sphinx.errors import ExtensionError

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import pages  # noqa: E402 - found only through the path above

import luminal  # noqa: E402 - as above

project = "Luminal"
author = "The Luminal authors"
copyright = author
version = release = luminal.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "luminal.sphinx",
]
myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
default_role = "py:obj"
smartquotes_action = "De"  # quotes stay straight: they are copied into shells
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
# `Loader` in an annotation is the one of `luminal.managers`; `luminal.blocking` has
# another, and Sphinx warns of that wherever it does not look at these aliases.
autodoc_type_aliases = {"Loader": "luminal.managers.Loader"}
suppress_warnings = ["ref.python"]
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # attributes are fields of the class, not second entries
html_theme = "furo"
html_title = f"Luminal {release}"
html_show_copyright = False
html_static_path = ["_static"]
html_css_files = ["luminal.css"]

# With `-n`, a reference to a name of Luminal's that is not there is an error. Names of
# others and of packages that are not for users have no pages here, and a docstring's
# arguments never have.
INTERNAL = r"luminal\.(cli|lifecycle|loading|reload|store|supervise)\b.*"
nitpick_ignore_regex = [("py:.*", rf"(?!luminal\b).*|{INTERNAL}|.*\.[TPR]")]


def keep_whole(_app, what, _name, _object, _options, lines):
    """Keep napoleon from reading ``type: text`` into the sentence of an attribute."""
    if what in ("attribute", "property") and lines:
        lines.insert(0, "")


def find_home(app, env, node, content):
    """Lead a reference by another of a name's names to where that is described."""
    target = node.get("reftarget", "")
    if node.get("refdomain") != "py" or not target.startswith("luminal."):
        return None
    domain = env.get_domain("py")
    for home in pages.homes_of(target):
        place = (env, node["refdoc"], app.builder, "obj", home, node, content)
        if found := domain.resolve_xref(*place):
            return found
    return None


def check_built(app, exception):
    """Fail where a page that has been built lacks an anchor, or a link its target."""
    found = pages.problems_of(Path(app.outdir)) if exception is None else []
    if found and app.builder.name == "html":
        raise ExtensionError("\n".join(found))


def setup(app):
    """Let `keep_whole` run before napoleon."""
    app.connect("autodoc-process-docstring", keep_whole, priority=400)
    app.connect("missing-reference", find_home)
    app.connect("build-finished", check_built)


pages.write_all(HERE / "reference" / "generated", HERE.parent)
