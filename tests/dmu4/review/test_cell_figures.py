"""Figures of the cells of published coadds."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np

from dmu0.published.coadds import from_lsst, on_patch
from dmu4.review.cell_figures import plot_cells
from dmu4.tasks.import_optical import ImportOpticalConfig, ImportOpticalTask
from tests.scenes.lsst_coadds import MISSING, cell_patch, inputs_of, make_lsst_coadd


def test_cells_of_a_coadd() -> None:
    """Counts are those of the cells, the missing cell is empty, and lines are drawn where visits begin or end."""
    patch = cell_patch()
    published = on_patch(from_lsst(make_lsst_coadd(np.random.default_rng(4)), "it"), patch, name="it")
    task = ImportOpticalTask(config=ImportOpticalConfig())
    coadd = task.run(published, None, patch, skymap="small_cells", band="i", name="it").coadd
    figure = plot_cells(coadd)
    counts = figure.axes[0].images[0].get_array()
    assert counts[7, 4] == len(inputs_of(7, 4))
    assert counts[6, 12] == len(inputs_of(6, 12))
    assert np.ma.getmaskarray(counts)[MISSING.i, MISSING.j] or np.isnan(counts[MISSING.i, MISSING.j])
    seeing = np.asarray(figure.axes[1].images[0].get_array())
    assert seeing[0, 21] > seeing[0, 0]
    vertical = [line for line in figure.axes[0].lines if line.get_xdata()[0] == line.get_xdata()[1]]
    assert {line.get_xdata()[0] for line in vertical} >= {11.5}
    assert len(vertical) == 22 + 2  # one line of 22 cells where a visit ends, and both sides of the missing cell
    assert len(figure.axes[3].images) == 1
    plt.close(figure)
