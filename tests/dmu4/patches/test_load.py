"""From coadds to arrays: units, counts, PSFs and the light on their stamps, of a coadd in microjansky."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from lsst.images import YX, Box, Image, Polygon, SkyProjection, TractFrame
from lsst.images.cells import (
    CellCoadd,
    CellGrid,
    CellGridBounds,
    CellIJ,
    CellPointSpreadFunction,
    CoaddProvenance,
    PatchDefinition,
)

from dmu0.sky.tract import tangent_wcs
from dmu4.patches.cube import CalibrationErrors
from dmu4.patches.load import load_images, pixel_scale_of, planes_of_coadd
from obs_vista.masks import BIT, to_mask
from tests.scenes.measured import load_cube

BOX = Box.factory[4000:4040, 700:760]
"""Two rows of three cells of 20 pixels."""


class Handle:
    """What a task gets for a dataset that is read later."""

    def __init__(self, value: object, band: str = "vh") -> None:
        self.value, self.dataId = value, {"band": band}

    def get(self, *, component: str | None = None) -> object:
        """The dataset; a coadd has all that its masked image has."""
        assert component in (None, "masked_image")
        return self.value


def provenance() -> CoaddProvenance:
    """Three images in the cell of row 1, column 0, one in that of row 0, column 2, and none elsewhere."""
    inputs = CoaddProvenance.make_empty_input_table(3)
    polygon = Polygon(x_vertices=np.array([0.0, 9, 9, 0]), y_vertices=np.array([0.0, 0, 9, 9]))
    for row in range(3):
        values = ("VIRCAM", 7 + row, 3, "VIRCAM-H", 20121019, polygon)
        for name, value in zip(inputs.colnames, values, strict=True):
            inputs[name][row] = value
    cells = [(1, 0, 7), (1, 0, 8), (1, 0, 9), (0, 2, 7)]
    table = CoaddProvenance.make_empty_contribution_table(len(cells))
    for row, (i, j, visit) in enumerate(cells):
        values = {"cell_i": i, "cell_j": j, "instrument": "VIRCAM", "visit": visit, "detector": 3}
        for name, value in values.items():
            table[name][row] = value
    return CoaddProvenance(inputs, table)


def make_coadd(*, with_provenance: bool = True, unit: u.UnitBase = u.uJy) -> CellCoadd:
    """A coadd of 3 with a variance of 2 and noise of 5; a gap, a saturated pixel, a cell without PSF."""
    mask, image = np.zeros(BOX.shape, np.int32), np.full(BOX.shape, 3, np.float32)
    mask[10, 50], mask[12, 3] = BIT["NO_DATA"], BIT["SAT"]
    grid = CellGrid(bbox=BOX, cell_shape=YX(y=20, x=20))
    stamps = np.ones((2, 3, 5, 5))
    stamps[..., 1, 3] += 10 + np.arange(6).reshape(2, 3)
    stamps[1, 1] = np.nan
    bounds = CellGridBounds(grid=grid, bbox=BOX, missing=frozenset({CellIJ(i=1, j=1)}))
    projection = SkyProjection.from_fits_wcs(
        tangent_wcs(ra=53.0, dec=-28.0, pixel_scale=0.21, x=730.0, y=4020.0),
        TractFrame(skymap="test", tract=5063, bbox=BOX),
    )
    coadd = CellCoadd(
        Image(image, bbox=BOX, unit=unit),
        mask=to_mask(mask, bbox=BOX),
        variance=Image(np.full(BOX.shape, 2, np.float32), bbox=BOX),
        noise_realizations=[Image(np.full(BOX.shape, 5, np.float32), bbox=BOX)],
        sky_projection=projection,
        band="vh",
        psf=CellPointSpreadFunction(stamps, bounds),
        patch=PatchDefinition(id=14, index=YX(y=1, x=4), inner_bbox=BOX, cells=grid),
        provenance=provenance() if with_provenance else None,
    )
    coadd.metadata["psf_correction"] = 1.25
    coadd.metadata |= {"flux_scale_error": 0.004, "zero_point_error": 0.011, "position_error": 0.002}
    return coadd


def test_arrays_are_in_nanojansky() -> None:
    """3 uJy are 3,000 nJy, their variance of 2 uJy^2 is 2e6 nJy^2, and noise goes with the image."""
    planes = planes_of_coadd(make_coadd())
    assert (planes.image[0, 0], planes.variance[0, 0], planes.noise[0, 0]) == pytest.approx((3000, 2e6, 5000))
    assert (planes.mask[10, 50], planes.mask[12, 3]) == (BIT["NO_DATA"], BIT["SAT"])
    assert (planes.psf_light, planes.calibration) == (0.8, CalibrationErrors(0.004, 0.011, 0.002))
    with pytest.raises(ValueError, match="vh of tract 5063 is in adu"):
        planes_of_coadd(make_coadd(unit=u.adu))


def test_images_are_counted_by_cell() -> None:
    """Three in the cell of the second row, one in that of the third column, 1 everywhere without provenance."""
    count = planes_of_coadd(make_coadd()).input_count
    expected = np.zeros(BOX.shape)
    expected[20:, :20], expected[:20, 40:] = 3, 1
    np.testing.assert_array_equal(count, expected)
    assert (planes_of_coadd(make_coadd(with_provenance=False)).input_count == 1).all()
    given = np.arange(2400).reshape(40, 60)
    np.testing.assert_array_equal(planes_of_coadd(make_coadd(), input_count=given).input_count, given)


def test_stamps_hold_what_is_not_corrected() -> None:
    """If total fluxes are 1.25 times those by the PSF, a stamp holds 0.8 of the light; cells keep their places."""
    planes = planes_of_coadd(make_coadd())
    assert planes.psf_light == pytest.approx(0.8)
    assert np.isnan(planes.psf[1, 1]).all()
    assert [planes.psf[i, j, 1, 3] for i, j in ((0, 0), (0, 2), (1, 0), (1, 2))] == [11, 13, 14, 16]
    cube, _ = load_cube([Handle(make_coadd())])
    np.testing.assert_allclose(cube.psfs[0].stamps.sum(axis=(1, 2)), 0.8, rtol=1e-6)


def test_a_cube_is_where_its_coadds_are() -> None:
    """First pixel (700, 4000), pixels of 0.21 arcsec, bands from blue to red, counts by their own maps."""
    count = Handle(Image(np.full(BOX.shape, 6, np.int16), bbox=BOX))
    optical = make_coadd(unit=u.nJy)
    cube, _ = load_cube([Handle(make_coadd()), Handle(optical, "i")], [count])
    assert cube.bands == ("i", "vh")
    assert (cube.x0, cube.y0) == (700, 4000)
    assert cube.pixel_scale == pytest.approx(0.21, rel=1e-4)
    assert cube.image[0, 0].tolist() == [3, 3000]
    assert cube.calibration == (CalibrationErrors(0.004, 0.011, 0.002),) * 2
    assert cube.input_count[30, 5].tolist() == [3, 6]
    assert not cube.good[10, 50].any()
    assert pixel_scale_of(optical) == pytest.approx(0.21, rel=1e-4)


def test_images_to_look_at_are_the_same() -> None:
    """What is there to look at has the units, places and gaps of what is measured on."""
    handles = [Handle(make_coadd()), Handle(make_coadd(unit=u.nJy), "i")]
    cube, images = load_cube(handles)[0], load_images(handles)
    assert (images.bands, images.x0, images.y0) == (cube.bands, cube.x0, cube.y0)
    for name in ("image", "variance", "good"):
        np.testing.assert_allclose(getattr(images, name), getattr(cube, name))
