"""Coadds of the LSST pipelines: units, masks, places and the PSF of each cell, on a part of a patch."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from lsst.images import YX, Box, Image, Mask, MaskPlane, MaskSchema, SkyProjection, TractFrame
from lsst.images.cells import CellCoadd, CellGrid, CellGridBounds, CellPointSpreadFunction, PatchDefinition

from dmu0.published.coadds import OpticalError, read_lsst
from dmu0.sky.tract import tangent_wcs
from obs_vista.masks import BIT

BOX = Box.factory[4000:4040, 700:760]
"""Two rows of three cells of 20 pixels."""


class Repository:
    """A Butler that has one coadd."""

    def __init__(self, coadd: object) -> None:
        self.coadd = coadd

    def get(self, dataset: str, data_id: dict[str, object]) -> object:
        """The coadd, for the right question only."""
        assert (dataset, data_id) == ("deep_coadd", {"band": "i"})
        return self.coadd


def stamp(row: int, column: int) -> np.ndarray:
    """A PSF stamp [y, x] of 5 pixels, different in each cell and along each axis."""
    values = np.ones((5, 5))
    values[1, 3] = 10 + 3 * row + column
    return values / values.sum()


def make_coadd(unit: u.UnitBase) -> CellCoadd:
    """A coadd of 3 units with a variance of 2, a gap, and a pixel in each of three mask planes."""
    schema = MaskSchema([MaskPlane(name, "") for name in ("SAT", "SENSOR_EDGE", "CROSSTALK", "VIGNETTED")])
    mask = Mask(0, schema=schema, bbox=BOX)
    for number, name in enumerate(("SAT", "SENSOR_EDGE", "CROSSTALK", "VIGNETTED")):
        plane = np.zeros(BOX.shape, bool)
        plane[number, 7] = True
        mask.set(name, plane)
    image, variance = np.full(BOX.shape, 3, np.float32), np.full(BOX.shape, 2, np.float32)
    image[10, 50] = np.nan
    grid = CellGrid(bbox=BOX, cell_shape=YX(y=20, x=20))
    stamps = np.array([[stamp(row, column) for column in range(3)] for row in range(2)])
    projection = SkyProjection.from_fits_wcs(
        tangent_wcs(ra=53.0, dec=-28.0, pixel_scale=0.2, x=730.0, y=4020.0),
        TractFrame(skymap="test", tract=5063, bbox=BOX),
    )
    return CellCoadd(
        Image(image, bbox=BOX, unit=unit),
        mask=mask,
        variance=Image(variance, bbox=BOX),
        noise_realizations=[],
        sky_projection=projection,
        band="i",
        psf=CellPointSpreadFunction(stamps, CellGridBounds(grid=grid, bbox=BOX)),
        patch=PatchDefinition(id=14, index=YX(y=1, x=4), inner_bbox=BOX, cells=grid),
    )


def test_values_in_nanojansky_and_where_they_are() -> None:
    """3 uJy are 3,000 nJy, their variance of 2 uJy^2 is 2e6 nJy^2; the first pixel is (700, 4000); gaps are gaps."""
    coadd = read_lsst(Repository(make_coadd(u.uJy)), {"band": "i"})
    assert coadd.image[0, 0] == pytest.approx(3000)
    assert coadd.variance[0, 0] == pytest.approx(2e6)
    assert coadd.origin == (700, 4000)
    gaps = np.argwhere((coadd.mask & BIT["NO_DATA"]) != 0)
    assert gaps.tolist() == [[10, 50]]


def test_planes_by_their_meaning() -> None:
    """SAT stays, a sensor's edge is EDGE, crosstalk SUSPECT; a plane that we do not have is named and left out."""
    coadd = read_lsst(Repository(make_coadd(u.nJy)), {"band": "i"})
    assert [int(coadd.mask[row, 7]) for row in range(4)] == [BIT["SAT"], BIT["EDGE"], BIT["SUSPECT"], 0]
    assert coadd.left_out == ("VIGNETTED",)
    assert coadd.image[0, 0] == 3


def test_each_cell_has_its_psf() -> None:
    """Stamps are numbered by rows of cells, and stand upright."""
    psf = read_lsst(Repository(make_coadd(u.nJy)), {"band": "i"}).psf
    assert psf.shape == (2, 3, 5, 5)
    for row in range(2):
        for column in range(3):
            np.testing.assert_allclose(psf[row, column], stamp(row, column))


def test_other_units_are_refused() -> None:
    """Counts are no flux density."""
    with pytest.raises(OpticalError, match=r"its unit is adu, not nJy"):
        read_lsst(Repository(make_coadd(u.adu)), {"band": "i"})
