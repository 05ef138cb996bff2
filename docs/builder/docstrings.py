"""A Sphinx extension that converts numpydoc docstrings to fields, to which autodoc adds the types of annotations."""

from __future__ import annotations

from sphinx.application import Sphinx
from sphinx.ext.napoleon import Config, NumpyDocstring

# Attributes are shown like parameters: as separate objects, "x" would link to anything else called x.
_CONFIG = Config(napoleon_use_rtype=False, napoleon_custom_sections=[("Attributes", "params_style")])
# The first line of an attribute's docstring is a sentence: napoleon would interpret text before a colon as its type.
_PROSE = frozenset({"data", "attribute", "property"})


def parse_docstring(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Replace the sections by fields, as a handler of the event ``autodoc-process-docstring``."""
    if what not in _PROSE:
        lines[:] = NumpyDocstring(list(lines), _CONFIG, app, what, name, obj, options).lines()


def setup(app: Sphinx) -> dict[str, object]:
    """Register the handler of docstrings."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-docstring", parse_docstring)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
