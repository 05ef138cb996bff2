"""Archives: planning the download of a survey's input files, and downloading them."""

from dmu0.archives.fetch import STATES, download, fetch_inputs
from dmu0.archives.plan import Plan, Step, make_plan
from dmu0.archives.session import AbsentError, ArchiveError, LoginError, Patience
from dmu0.archives.wanted import Archives, Request

__all__ = (
    "STATES",
    "AbsentError",
    "ArchiveError",
    "Archives",
    "LoginError",
    "Patience",
    "Plan",
    "Request",
    "Step",
    "download",
    "fetch_inputs",
    "make_plan",
)
