"""Settings of the site (https://www.sphinx-doc.org); ``make docs`` builds it."""

from __future__ import annotations

from importlib.metadata import version as installed_version

project = "lsst-ir-fusion"
author = "the lsst-ir-fusion developers"
project_copyright = author
release = version = installed_version("lsst-ir-fusion")

extensions = ["sphinx.ext.autodoc", "myst_nb", "docs.builder.docstrings", "docs.builder.mathml"]

myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # the notebooks come executed
nb_ipywidgets_js = {}  # without widgets, and without what they fetch from other servers

default_role = "py:obj"
# A short name in backticks that several classes have is no mistake: it is shown, and links to the first.
suppress_warnings = ["ref.python"]
add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88

html_theme = "furo"
html_title = f"lsst-ir-fusion {version}"
html_math_renderer = "mathml"
html_show_sphinx = html_show_sourcelink = html_copy_source = False
html_static_path = ["static"]
html_css_files = ["site.css"]
