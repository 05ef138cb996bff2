"""How the quanta of the toy task (tests/dmu4/execution/toy_tasks.py) end, by their data ids."""

from __future__ import annotations

from astropy.table import Table

from dmu0.surveys import Survey
from dmu4.butler.repository import open_butler

STATES = {
    "exposure=100 detector=1 band=vj": ("done", ""),
    "exposure=100 detector=2 band=vj": ("skipped", "there are no stars on it"),
    "exposure=100 detector=3 band=vj": ("failed", "ValueError: the seeing is 9.9 arcsec"),
    "exposure=100 detector=4 band=vj": ("done", ""),
}
"""How the quanta of the toy task end, by their data ids: state and reason."""


def states_of(report: Table) -> dict[str, tuple[str, str]]:
    """State and reason of each quantum of a report, by its data id."""
    return {row["data_id"]: (row["state"], row["reason"]) for row in report}


def products_of(survey: Survey) -> dict[int, dict]:
    """What the toy task made, by detector."""
    with open_butler(survey) as butler:
        return {ref.dataId["detector"]: butler.get(ref) for ref in butler.query_datasets("toy_product")}


PRODUCTS = {1: {"detector": 1}, 4: {"detector": 4}}
"""What the toy task makes, by detector."""
