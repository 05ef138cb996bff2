"""The cube of a patch: cells, PSFs of bands that differ, noise, masks that do not fit."""

from __future__ import annotations

from dataclasses import replace
from threading import get_ident
from typing import ClassVar

import numpy as np
import pytest

from dmu4.patches.cube import FLAG_BIT, BandPlanes, mean_psf, psf_sigma
from dmu4.patches.filling import gather, make_cube, map_bands, one_band
from obs_vista.masks import BIT
from tests.scenes.patches import add_gaussian, psf_stamp
from tests.scenes.tilted import CELLS, SHAPE, X0, Y0, cell_psf, make_tilted


def planes(**changes):
    """One band of 12 by 20 pixels without anything special."""
    shape = (12, 20)
    start = BandPlanes(
        image=np.arange(240.0).reshape(shape),
        variance=np.full(shape, 2.0),
        mask=np.zeros(shape, np.int32),
        psf=np.broadcast_to(psf_stamp(2.0, size=9), (2, 3, 9, 9)).copy(),
        noise=None,
        input_count=np.arange(240).reshape(shape),
    )
    return replace(start, **changes)


def test_cells_are_counted_along_rows():
    """A position is in the cell whose pixels it is on: 60 pixels each, three up and five across, numbered along x."""
    cube = make_tilted([])
    assert cube.shape == SHAPE
    assert (cube.x0, cube.y0) == (X0, Y0)
    x, y = np.array([0.0, 59.4, 59.6, 299.4, -3.0, 130.0]), np.array([0.0, 59.4, 10.0, 179.0, 400.0, 70.0])
    np.testing.assert_array_equal(cube.psfs[0].at(x=x, y=y), [0, 0, 1, 14, 10, 7])
    stamps = cube.psfs[0].stamps
    for number in (0, 1, 7, 14):
        row, column = divmod(number, CELLS[1])
        expected = cell_psf(row, column)
        np.testing.assert_allclose(stamps[number], expected / expected.sum(), atol=1e-7)
    every = [cell_psf(row, column) for row in range(CELLS[0]) for column in range(CELLS[1])]
    np.testing.assert_allclose(mean_psf(cube, 0), np.mean(every, axis=0), atol=1e-6)


def test_width_of_an_elliptical_psf():
    """The width is that of the circle of the same area: the fourth root of the determinant of the moments."""
    stamp = np.zeros((61, 61))
    add_gaussian(stamp, x=30, y=30, xx=16, yy=6, xy=4, flux=1)
    assert psf_sigma(stamp) == pytest.approx((16 * 6 - 16) ** 0.25, rel=1e-3)


def test_bands_keep_what_is_theirs():
    """Values stay with their band, whatever order bands are given in; what is not good is zero in all planes."""
    image = planes().image.copy()
    image[3, 17] = np.nan
    mask = np.zeros((12, 20), np.int32)
    mask[5, 2], mask[6, 11], mask[7, 11] = BIT["NO_DATA"], BIT["INEXACT_PSF"] | BIT["REJECTED"], BIT["SAT"]
    noise = np.full((12, 20), 7.0)
    noise[0, 0] = np.nan
    one, other = planes(image=image, mask=mask, noise=noise), planes(variance=np.full((12, 20), 5.0))
    cube = make_cube({"vk": one, "g": other}, x0=30, y0=40, pixel_scale=0.2)
    assert cube.bands == ("g", "vk")
    np.testing.assert_array_equal(cube.has_noise, [False, True])
    np.testing.assert_array_equal(np.argwhere(~cube.good[..., 1]), [[3, 17], [5, 2]])
    assert cube.good[..., 0].all()
    for name in ("image", "variance", "noise", "input_count"):
        assert not getattr(cube, name)[[3, 5], [17, 2], 1].any()
    assert cube.variance[4, 4].tolist() == [5, 2]
    assert cube.image[4, 5].tolist() == [85, 85]
    assert cube.noise[0, 0, 1] == 0
    assert cube.noise[4, 4].tolist() == [0, 7]
    assert cube.flags[6:8, 11].tolist() == [[0, FLAG_BIT["INEXACT_PSF"]], [0, FLAG_BIT["SAT"]]]
    assert np.count_nonzero(cube.flags) == 2
    assert cube.input_count[2, 3].tolist() == [43, 43]
    assert cube.plane("image", 1).flags.c_contiguous


def test_psfs_of_other_sizes_and_cells():
    """A band of fewer cells and smaller stamps keeps them, each with its light; a cell without one has the nearest."""
    fine = np.array([[np.full((9, 9), 10.0 * i + j + 1) for j in range(4)] for i in range(2)])
    coarse = np.full((1, 2, 5, 5), np.nan)
    coarse[0, 1] = psf_stamp(1.0, size=5)
    cube = make_cube({"i": planes(psf=fine), "vk": planes(psf=coarse, psf_light=0.9)}, x0=0, y0=0, pixel_scale=0.2)
    assert [psf.stamps.shape for psf in cube.psfs] == [(8, 9, 9), (2, 5, 5)]
    assert [psf.cells for psf in cube.psfs] == [(2, 4), (1, 2)]
    assert cube.psf_size == 9
    np.testing.assert_allclose(cube.psfs[0].stamps.sum(axis=(1, 2)), 1, rtol=1e-6)
    np.testing.assert_allclose(cube.psfs[1].stamps, np.stack([0.9 * psf_stamp(1.0, size=5)] * 2), rtol=1e-5)


def test_a_cell_without_a_psf_takes_the_nearest():
    """The hole in a grid of three by five takes the PSF of its neighbour along x when that is the nearer one."""
    psf = np.array([[cell_psf(row, column) for column in range(5)] for row in range(3)])
    psf[1, 1] = np.nan
    wide = planes(image=np.ones((90, 300)), variance=np.ones((90, 300)), mask=np.zeros((90, 300), int))
    wide = replace(wide, psf=psf, input_count=np.ones((90, 300)))
    filled = make_cube({"i": wide}, x0=0, y0=0, pixel_scale=0.2).psfs[0].stamps.reshape(3, 5, 41, 41)
    neighbours = [filled[1, 0], filled[1, 2]]
    assert min(np.abs(filled[1, 1] - one).max() for one in neighbours) == 0
    np.testing.assert_allclose(filled[2, 3], psf[2, 3] / psf[2, 3].sum(), atol=1e-7)
    without = make_cube({"i": replace(wide, psf=np.full((3, 5, 9, 9), np.nan))}, x0=0, y0=0, pixel_scale=0.2)
    assert not without.psfs[0].stamps.any()


def test_many_images_are_counted():
    """More images than a byte can count in one band change neither them nor the counts of bands before and after."""
    few, many = planes(), replace(planes(), input_count=np.full((12, 20), 700))
    cube = make_cube({"i": few, "y": many, "vk": few}, x0=0, y0=0, pixel_scale=0.2)
    assert cube.input_count[2, 3].tolist() == [43, 700, 43]


def test_unknown_bands_are_refused():
    """A band that no order is known for is not left out in silence."""
    with pytest.raises(ValueError, match="no band 'q'"):
        make_cube({"q": planes(), "i": planes()}, x0=0, y0=0, pixel_scale=0.2)
    with pytest.raises(ValueError, match="no coadd of any band"):
        make_cube({}, x0=0, y0=0, pixel_scale=0.2)


def test_bands_are_read_by_one_thread(rng: np.random.Generator) -> None:
    """Every band is read in order by the thread that asks, and used by others; results are in order."""

    class Watched:
        bands, shape, x0, y0, pixel_scale = ("g", "i", "vk"), (12, 20), 30, 40, 0.2
        readers: ClassVar[list[tuple[int, int]]] = []

        def read(self, number: int):
            self.readers.append((number, get_ident()))
            image = np.full((12, 20), 10.0 + number)
            return one_band(self.bands[number], planes(image=image), x0=30, y0=40, pixel_scale=0.2)

        def prepare(self, one):
            return replace(one, image=2 * one.image)

    patch = Watched()
    used = map_bands(patch, lambda number, one: (number, one.bands[0], one.image[3, 4, 0], get_ident()), threads=2)
    assert [row[:3] for row in used] == [(0, "g", 20.0), (1, "i", 22.0), (2, "vk", 24.0)]
    assert patch.readers == [(number, get_ident()) for number in range(3)]
    assert get_ident() not in [row[3] for row in used]
    cube, found = gather(patch, noise=False, each=lambda one: one.bands[0], threads=2)
    assert found == ["g", "i", "vk"]
    assert cube.noise is None
    assert cube.image[3, 4].tolist() == [20, 22, 24]
    assert (cube.x0, cube.y0, cube.pixel_scale) == (30, 40, 0.2)


def test_bands_without_data_do_not_set_the_size_of_stamps():
    """The largest stamps are those of a band with pixels, wherever they are; if no band has any, the largest of all."""
    wide = np.broadcast_to(psf_stamp(3.0, size=15), (2, 3, 15, 15)).copy()
    nothing = np.full((12, 20), np.nan)
    one_pixel = nothing.copy()
    one_pixel[11, 19] = 1.0

    def size(image: np.ndarray, other: np.ndarray | None = None) -> int:
        bands = {"i": planes() if other is None else planes(image=other), "vk": planes(image=image, psf=wide)}
        return make_cube(bands, x0=0, y0=0, pixel_scale=0.2).psf_size

    assert size(nothing) == 9
    assert size(one_pixel) == 15
    assert size(nothing, nothing) == 15
