"""The task that ties the zero points of a band together."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from astropy.table import Table
from lsst.pipe.base import NoWorkFound

from dmu4.tasks.tie_zero_points import TieZeroPointsConfig, TieZeroPointsTask
from tests.dmu4.detectors.test_star_lists import source_table, summary


def handle(visit: int, detector: int, table: Table) -> SimpleNamespace:
    """Stands for a source table in a Butler."""
    return SimpleNamespace(dataId={"visit": visit, "detector": detector}, get=lambda: table)


@pytest.fixture
def task() -> TieZeroPointsTask:
    """The task."""
    return TieZeroPointsTask(config=TieZeroPointsConfig())


def test_accepted_detectors_only(task) -> None:
    """Rows are in order; rejected detectors, and those without sources or zero point, are not among them."""
    flux = 10 ** np.linspace(4, 5, 40)
    table = source_table(np.arange(40), flux, flux)
    rows = [summary(4, 1, accepted=True), summary(4, 2, accepted=False), summary(2, 9, accepted=True)]
    rows += [summary(6, 1, accepted=True, zero_point=np.nan), summary(5, 5, accepted=True)]
    summaries = [Table(rows=[row]) for row in rows]
    sources = [handle(4, 1, table), handle(4, 2, table), handle(2, 9, table), handle(6, 1, table)]
    made = task.run(sources, summaries).zero_points
    assert list(zip(made["visit"].tolist(), made["detector"].tolist(), strict=True)) == [(2, 9), (4, 1)]
    assert np.abs(made["correction"]).max() < 1e-3
    assert task.metadata["detectors"] == 2
    assert all(column.description for column in made.columns.values())


def test_no_detector(task) -> None:
    """Without an accepted detector there is nothing to do, and the reason counts those that there are."""
    with pytest.raises(NoWorkFound, match="none of 1 detectors is accepted"):
        task.run([handle(1, 1, Table())], [Table(rows=[summary(1, 1, accepted=False)])])
