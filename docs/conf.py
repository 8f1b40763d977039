"""Sphinx settings: `make docs` builds docs/_build/index.html."""

project = "dwindle"
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "myst_parser"]
html_theme = "furo"
autodoc_member_order = "bysource"
exclude_patterns = ["_build"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
