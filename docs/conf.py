"""Sphinx's settings for the site: `python -m docs.generate` starts it."""

from __future__ import annotations

import logging
import re
from typing import Any

from docutils.nodes import SkipNode
from latex2mathml.commands import MATRICES
from latex2mathml.converter import convert
from sphinx.util.logging import getLogger

from docs.generate.docstrings import as_rst

logger = getLogger(__name__)

project = "tinytorch"
extensions = ["myst_nb", "sphinx.ext.autodoc"]
root_doc = "index"
exclude_patterns = ["tinytorch", "gpt", "lora"]
nitpicky = True

myst_enable_extensions = ["amsmath", "dollarmath"]
myst_heading_anchors = 4
nb_execution_mode = "force"
nb_execution_show_tb = True
nb_execution_timeout = 300
logging.getLogger("traitlets").setLevel(logging.WARNING)  # a11y_pygments, of furo, shows what is INFO
nb_ipywidgets_js: dict[str, Any] = {}  # which would come from another host

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # names and defaults, as PyTorch shows them; types are in the docstrings
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = "tinytorch"
html_static_path = ["generate/site.css"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
html_show_search_summary = False  # which a browser cannot fetch from the disk


def _block(translator: Any, node: Any) -> None:
    translator.body.append(f'<div class="math">{_mathml(node, "block")}</div>')
    raise SkipNode


def _inline(translator: Any, node: Any) -> None:
    translator.body.append(_mathml(node, "inline"))
    raise SkipNode


def _mathml(node: Any, display: str) -> str:
    """MathML, which browsers show by themselves; a warning, which fails the build, where it cannot be made."""
    formula: str = node.astext()
    known = re.sub(r"\\arg(?![a-z])", r"\\operatorname{arg}", formula.replace("{aligned}", "{align*}"))
    braces = re.sub(r"\\.", "", formula)
    found: str = ""
    try:
        found = convert(known, display=display)
        unknown = re.search(r"(\\|&#x0005C;)[A-Za-z]+", found)
        wrong = f"latex2mathml does not know {unknown[0].replace('&#x0005C;', chr(92))}" if unknown else ""
    except Exception as error:  # a class for each mistake, with nothing in common and nothing to say
        wrong = f"latex2mathml: {type(error).__name__} {error}".rstrip()
    strange = [name for name in re.findall(r"\\begin\{(.*?)\}", known) if f"\\{name}" not in MATRICES]
    if strange:  # latex2mathml leaves it out, and keeps what is in it
        wrong = f"latex2mathml does not know \\begin{{{strange[0]}}}"
    if braces.count("{") != braces.count("}"):  # of which latex2mathml makes something
        wrong = "as many { as } are needed"
    if wrong:
        logger.warning("%s, in the formula %s", wrong, formula, location=node)
    return found


def _docstring(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = as_rst("\n".join(lines)).splitlines()


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.add_html_math_renderer("mathml", inline_renderers=(_inline, None), block_renderers=(_block, None))
    app.connect("autodoc-process-docstring", _docstring)
