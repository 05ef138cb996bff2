"""Mean epochs of cells from the provenance of their coadd."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.time import Time

from dmu4.measurement.epochs import MIDNIGHT, cell_epochs, night_mjd
from tests.scenes.lsst_coadds import CELL, MISSING, cell_patch, inputs_of, make_lsst_coadd


def test_nights() -> None:
    """The night of 2025-05-20 has its middle in the early hours (UTC) of the 21st."""
    assert night_mjd(20250520) == Time("2025-05-21T04:00:00", scale="tai").mjd
    assert pytest.approx(1.1667, abs=1e-4) == MIDNIGHT


def test_epochs_of_cells() -> None:
    """A cell has the mean night of its inputs, here 20 May and the days after; a missing cell and the outside none."""
    patch = cell_patch()
    epochs = cell_epochs(make_lsst_coadd(np.random.default_rng(2)).provenance, patch)
    assert epochs.size == CELL
    box = patch.image_bbox
    for row, column in ((0, 0), (6, 12), (7, 11), (21, 21)):
        x, y = box.x.start + CELL * column + np.array([-0.4, 13.0]), box.y.start + CELL * row + np.array([29.4, 3.0])
        expected = np.mean([night_mjd(20250520 + visit - 11) for visit in inputs_of(row, column)])
        np.testing.assert_allclose(epochs.at(x=x, y=y), expected, rtol=0, atol=1e-6)
    assert np.isnan(epochs.mjd[MISSING.i, MISSING.j])
    assert np.isnan(epochs.at(x=np.array([box.x.start - 1.0]), y=np.array([box.y.start + 5.0]))).all()
    assert np.isfinite(epochs.mjd).sum() == 22 * 22 - 1


def test_inputs_count_by_their_weight() -> None:
    """Of two inputs the one with nine times the weight sets the epoch; without provenance there is none."""
    provenance = make_lsst_coadd(np.random.default_rng(2)).provenance
    table = provenance.contributions
    here = (table["cell_i"] == 2) & (table["cell_j"] == 15)
    assert sorted(table["visit"][here]) == [11, 12]
    table["weight"][here & (table["visit"] == 12)] *= 9
    epochs = cell_epochs(provenance, cell_patch())
    assert epochs.mjd[2, 15] == pytest.approx(night_mjd(20250520) + 0.9)
    assert cell_epochs(None, cell_patch()) is None
