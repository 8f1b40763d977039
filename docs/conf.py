"""Sphinx settings: `make docs` runs the tutorial and builds docs/_build/index.html; the pages need no network."""

import os

from docutils.nodes import SkipNode
from latex2mathml.converter import convert
from sphinx.application import Sphinx

os.environ.setdefault("KERAS_BACKEND", "torch")

project = "dwindle"
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "myst_nb"]
html_theme = "furo"
html_math_renderer = "mathml"
autodoc_member_order = "bysource"
exclude_patterns = ["_build", "jupyter_execute"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_merge_streams = True
# what the README links to outside docs/ (tests look after links), and names that two modules share
suppress_warnings = ["myst.xref_missing", "ref.python"]


def setup(app: Sphinx) -> None:
    """Write formulas as MathML, which browsers draw themselves; MathJax would be fetched from elsewhere."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))


def _inline(self, node) -> None:
    self.body.append(convert(node.astext()))
    raise SkipNode


def _block(self, node) -> None:
    self.body.append(f'<div class="math">{convert(node.astext(), display="block")}</div>')
    raise SkipNode
