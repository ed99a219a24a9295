"""Settings of Sphinx for the documentation, which `make docs` builds from the pages that tools/docs_site.py writes."""

import sys
from pathlib import Path

from valuegym import __version__

sys.path.insert(0, str(Path(__file__).parent))  # for mathml.py and accessible.py

project = "valuegym"
author = "valuegym developers"
version = release = __version__

extensions = ["myst_parser", "sphinx_copybutton", "mathml", "accessible"]
myst_enable_extensions = ["attrs_inline", "dollarmath"]
html_math_renderer = "mathml"
myst_heading_anchors = 3
# Tables of results have headings of the third level only; a type's name may be that of several classes.
suppress_warnings = ["myst.header", "ref.python"]
add_module_names = False
toc_object_entries_show_parents = "hide"
python_maximum_signature_line_length = 88

html_theme = "furo"
html_scaled_image_link = False  # a link needs a name, and a small picture is none
html_title = f"valuegym {__version__}"
html_static_path = ["assets"]
html_css_files = ["site.css"]
html_copy_source = html_show_sourcelink = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#1f4fb8", "color-brand-content": "#1f4fb8"},
    "dark_css_variables": {"color-brand-primary": "#8fb4ff", "color-brand-content": "#8fb4ff"},
}
