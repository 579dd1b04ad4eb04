"""The documentation site, `make docs`.

Its source is the whole repository, so that a page is written once and reads well on GitHub too.
"""

from docutils import nodes
from sphinx.application import Sphinx

project = "scoter"
author = "the authors of scoter"
copyright = "the authors of scoter, Apache-2.0"
root_doc = "docs/index"
include_patterns = [
    *("*.md", "docs/**", "theory/*.md", "benchmarks/recorded/README.md"),
    *("notebooks/*.md", "notebooks/*.ipynb"),
]

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
    "sphinx_copybutton",
    "sphinx_design",
]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # their committed outputs are shown; `make notebooks` checks every digit
nb_merge_streams = True

default_role = "code"  # docstrings mark code by single backticks
autodoc_member_order = "bysource"
python_maximum_signature_line_length = 90
nitpicky = True
nitpick_ignore_regex = [("py:class", ".*")]  # a type in a signature may have no page

html_theme = "pydata_sphinx_theme"
html_title = "scoter"
html_additional_pages = {"index": "to_start.html"}
templates_path = ["_templates"]
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_sidebars = {"README": [], "docs/index": []}
copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True
html_theme_options = {
    "navbar_align": "left",
    "header_links_before_dropdown": 7,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "navigation_with_keys": False,
    "search_as_you_type": True,
}


def setup(app: Sphinx) -> None:
    app.connect("doctree-read", without_mail)


def without_mail(app: Sphinx, page: nodes.document) -> None:
    """`NDCG@10` in a docstring is no address."""
    for link in list(page.findall(nodes.reference)):
        if link.get("refuri", "").startswith("mailto:"):
            link.replace_self(nodes.Text(link.astext()))
