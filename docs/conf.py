"""The site of the documents: ``make docs``, from the Markdown that GitHub shows as well."""

import re
from importlib.metadata import version as installed

REPOSITORY = "https://github.com/focvs/focvs/blob/main"

project = "FOCVS"
author = "The FOCVS developers"
copyright = "The FOCVS developers, Apache-2.0"
version = release = installed("focvs")

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinxcontrib.mermaid"]
html_theme = "furo"
html_title = f"FOCVS {version}"
exclude_patterns = ["_build"]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
myst_fence_as_directive = ["mermaid"]
nb_execution_mode = "off"  # a test runs the notebook

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_numpy_docstring = False
napoleon_use_ivar = True


def link_to_repository(app, name, source):
    """Links out of docs/ lead to the repository."""
    source[0] = re.sub(r"\]\(\.\./([^)\s]*)\)", rf"]({REPOSITORY}/\1)", source[0])


def escape_bars(app, what, name, obj, options, lines):
    """|A| in a docstring is a norm, not a substitution."""
    lines[:] = [line.replace("|", "\\|") for line in lines]


def setup(app):
    app.connect("source-read", link_to_repository)
    app.connect("autodoc-process-docstring", escape_bars)
