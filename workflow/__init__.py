"""Running the notebooks of a release: dependencies, stale steps, execution, status and pages."""

import sys

# nbformat's schema checker builds a grammar of international addresses as soon as this package can be imported. That
# takes seconds at every start, and notebooks have no use for it.
sys.modules.setdefault("rfc3987_syntax", None)
