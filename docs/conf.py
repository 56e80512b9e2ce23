"""Settings of the documentation site: ``make docs``. Nothing is fetched from the network."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))
sys.path.insert(0, str(Path(__file__).parents[1]))

from workflows import __version__

project = "SpinMultiNet workflows"
author = "The SpinMultiNet workflows developers"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton", "fields"]
exclude_patterns = ["_ext"]
source_suffix = {".md": "markdown"}
default_role = "code"
smartquotes = False

# Markdown is written for GitHub as well: its anchors, and links to files beside the docs.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "deflist"]

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_default_options = {"members": True, "exclude-members": "model_config"}
autodoc_preserve_defaults = True
autodoc_mock_imports = ["torch_sim"]  # wants Python 3.12

copybutton_prompt_text = r"\$ "
copybutton_prompt_is_regexp = True

html_theme = "pydata_sphinx_theme"
html_title = project
html_show_sourcelink = False
html_show_copyright = False
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_copy_source = False
html_sidebars = {"index": [], "troubleshooting": []}
html_theme_options = {
    "navigation_with_keys": False,
    "show_prev_next": True,
    "navbar_align": "left",
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": [],
    "footer_end": [],
}

LISTS = ("decisions/README", "results/README")
"""Pages that list all others in their folder."""


def with_toctree(app, name, source):
    """Add the other pages of the folder to the navigation; GitHub would show a toctree as code."""
    if name in LISTS:
        source[0] += "\n```{toctree}\n:hidden:\n:glob:\n\n*\n```\n"


def setup(app):
    """Called by Sphinx."""
    app.connect("source-read", with_toctree)
