"""A Sphinx extension: docstrings in numpydoc form become fields, to which autodoc adds the types of the annotations."""

from __future__ import annotations

from sphinx.application import Sphinx
from sphinx.ext.napoleon import Config, NumpyDocstring

# Attributes are shown as parameters are: as fields of their own, "x" would link to whatever else is called x.
_CONFIG = Config(napoleon_use_rtype=False, napoleon_custom_sections=[("Attributes", "params_style")])
# The first line of an attribute's docstring is a sentence: napoleon would take what is before a colon for its type.
_PROSE = frozenset({"data", "attribute", "property"})


def parse_docstring(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Put the fields in the place of the sections, as the event ``autodoc-process-docstring`` wants it."""
    if what not in _PROSE:
        lines[:] = NumpyDocstring(list(lines), _CONFIG, app, what, name, obj, options).lines()


def setup(app: Sphinx) -> dict[str, object]:
    """Listen for docstrings."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-docstring", parse_docstring)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
