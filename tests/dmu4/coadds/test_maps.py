"""Maps of depth and seeing: rows of cells are rows of the map, and each cell has its own variance and PSF."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from lsst.images import YX, Box, Image, SkyProjection, TractFrame
from lsst.images.cells import CellCoadd, CellGrid, CellGridBounds, CellIJ, CellPointSpreadFunction, PatchDefinition

from dmu0.robust_statistics import SIGMA_TO_FWHM
from dmu0.sky.tract import tangent_wcs
from dmu4.coadds.maps import depth_map, seeing_map
from obs_vista.masks import BIT, to_mask
from tests.scenes.patches import add_gaussian

BOX = Box.factory[4000:4060, 600:690]
"""Two rows of three cells of 30 pixels."""


@pytest.fixture(scope="module")
def coadd() -> CellCoadd:
    """A coadd whose noise grows along x and whose seeing grows along y; a cell without data, and one without PSF."""
    variance, mask = np.empty(BOX.shape, np.float32), np.zeros(BOX.shape, np.int32)
    stamps = np.zeros((2, 3, 31, 31))
    for row in range(2):
        for column in range(3):
            variance[30 * row : 30 * row + 30, 30 * column : 30 * column + 30] = 4.0 ** (column + 1)
            width = (2.0 + row) ** 2
            add_gaussian(stamps[row, column], x=15, y=15, xx=width, yy=width, xy=0, flux=1.0)
    mask[30:, 60:] = BIT["NO_DATA"]
    mask[:10, :30] = BIT["NO_DATA"]
    variance[:10, :30] = 1e9
    stamps[1, 2] = np.nan
    grid = CellGrid(bbox=BOX, cell_shape=YX(y=30, x=30))
    made = CellCoadd(
        Image(np.ones(BOX.shape, np.float32), bbox=BOX, unit=u.nJy),
        mask=to_mask(mask, bbox=BOX),
        variance=Image(variance, bbox=BOX),
        noise_realizations=[],
        sky_projection=SkyProjection.from_fits_wcs(
            tangent_wcs(ra=53.0, dec=-28.0, pixel_scale=0.2, x=640.0, y=4030.0),
            TractFrame(skymap="test", tract=5063, bbox=BOX),
        ),
        band="vh",
        psf=CellPointSpreadFunction(stamps, CellGridBounds(grid=grid, bbox=BOX, missing=frozenset({CellIJ(i=1, j=2)}))),
        patch=PatchDefinition(id=14, index=YX(y=1, x=4), inner_bbox=BOX, cells=grid),
    )
    made.metadata["aperture_error_scale"] = 1.7
    return made


def test_depth_of_each_cell(coadd: CellCoadd) -> None:
    """Five times 1.7 sigma sqrt(pi) 1 / 0.2, sigma growing by 2 per column; pixels without data do not count."""
    depth = depth_map(coadd, pixel_scale=0.2)
    expected = 31.4 - 2.5 * np.log10(5 * 1.7 * 2.0 ** np.arange(1, 4) * np.sqrt(np.pi) / 0.2)
    assert depth.shape == (2, 3)
    np.testing.assert_allclose(depth[0], expected, atol=1e-5)
    np.testing.assert_allclose(depth[1, :2], expected[:2], atol=1e-5)
    assert np.isnan(depth[1, 2])


def test_seeing_of_each_cell(coadd: CellCoadd) -> None:
    """Sigmas of 2 and 3 pixels of 0.2 arcsec in the two rows, NaN without a PSF."""
    seeing = seeing_map(coadd, pixel_scale=0.2)
    np.testing.assert_allclose(seeing[:, :2], 0.2 * SIGMA_TO_FWHM * np.array([[2, 2], [3, 3]]), rtol=0.02)
    assert seeing[0, 2] == pytest.approx(0.4 * SIGMA_TO_FWHM, rel=0.02)
    assert np.isnan(seeing[1, 2])
