"""How Sphinx builds these pages; those generated from code are written by `pages`."""

import re
import sys
from pathlib import Path

from docutils import nodes
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
    "sphinx_copybutton",
    "luminal.sphinx",
]
myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
default_role = "py:obj"
smartquotes_action = "De"  # quotes stay straight: they are copied into shells
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
# `Loader` in an annotation is `luminal.Loader`, not the one of `luminal.blocking`. For
# annotations that bypass this alias, Sphinx warns of two targets.
autodoc_type_aliases = {"Loader": "luminal.Loader"}
suppress_warnings = ["ref.python"]
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # attributes are fields of the class, not second entries
html_theme = "furo"
html_title = f"Luminal {release}"
html_show_copyright = False
html_static_path = ["_static"]
copybutton_prompt_text = r"\$ |>>> |\.\.\. "  # not copied, nor is what is printed
copybutton_prompt_is_regexp = True
html_css_files = ["luminal.css"]

# With `-n`, a reference to a name of Luminal's that does not exist is an error. Names
# of other projects have no pages here, nor have a docstring's arguments.
nitpick_ignore_regex = [("py:.*", r"(?!luminal\b).*|.*\.[TPR]")]


def keep_whole(_app, what, _name, _object, _options, lines):
    """Keep napoleon from reading ``type: text`` into the sentence of an attribute.

    It only looks at the first line, which is now an empty comment.
    """
    if what in ("attribute", "property") and lines:
        lines[:0] = ["..", ""]


def shorten_defaults(_app, _what, _name, _object, _options, signature, returns):
    """Show a class by its name, and lambdas and attrs' placeholder as dots."""
    if signature is None:
        return None
    signature = re.sub(r"<class '[\w.]*?(\w+)'>", r"\1", signature)
    return re.sub(r"<function \S*<lambda>>|NOTHING", "...", signature), returns


def resolve_reference(app, env, node, content):
    """Link a public name to its description; show an internal one without a link."""
    target = node.get("reftarget", "")
    if node.get("refdomain") != "py":
        return None
    if name := pages.description_of(target):
        place = (env, node["refdoc"], app.builder, "obj", name, node, content)
        if found := env.get_domain("py").resolve_xref(*place):
            return found
    is_internal = target.startswith("luminal.") and pages.exists(target)
    return content if is_internal else None


def show_public_names(_app, doctree, _page):
    """Let the tooltip of a link say the name that people import."""
    for link in doctree.findall(nodes.reference):
        if name := pages.description_of(link.get("reftitle", "")):
            link["reftitle"] = name


def check_built(app, exception):
    """Fail if a page lacks an anchor, or a link leads nowhere."""
    found = pages.problems_of(Path(app.outdir)) if exception is None else []
    if found and app.builder.name == "html":
        raise ExtensionError("\n".join(found))


def setup(app):
    """Connect the functions above; `keep_whole` has to run before napoleon."""
    app.connect("autodoc-process-docstring", keep_whole, priority=400)
    app.connect("autodoc-process-signature", shorten_defaults)
    app.connect("missing-reference", resolve_reference)
    app.connect("doctree-resolved", show_public_names)
    app.connect("build-finished", check_built)


pages.write_all(HERE / "reference" / "generated", HERE.parent)
