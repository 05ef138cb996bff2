"""Fluxes across a step of the PSF: a star on the end of an input is measured as well as any other."""

from __future__ import annotations

import numpy as np
import pytest

from dmu4.coadds.psf_zones import LEFT_OUT, PsfZones
from dmu4.measurement.band_fit import fit_band
from dmu4.measurement.band_fluxes import measure_band
from dmu4.measurement.error_scale import ErrorInflation
from dmu4.measurement.forced import find_overlaps
from dmu4.measurement.profiles import make_profiles
from dmu4.measurement.psf_steps import MIXED, NO_INPUTS, follow_pixels, input_blocks
from dmu4.measurement.stamps import Kernels, render
from dmu4.measurement.structure import Structure
from dmu4.patches.cube import BandPlanes, PatchCube
from dmu4.patches.filling import make_cube
from tests.scenes.patches import Scene, draw, psf_stamp

SHAPE = (180, 240)
VARIANCES = (3.0, 6.5)
EDGE = 137
SIGMA = 1.0


def stepped(rng: np.random.Generator, *, zones: bool) -> tuple[PatchCube, np.ndarray, np.ndarray, np.ndarray]:
    """A band of 3 x 4 cells in which the PSF changes inside the third column of cells; x, y and flux of its stars."""
    x, y = (values.ravel().astype(float) for values in np.meshgrid(np.arange(20, 230, 30), np.arange(25, 160, 33)))
    x, y = x + rng.uniform(-6, 6, len(x)), y + rng.uniform(-4, 4, len(y))
    x[3::7] = EDGE + rng.uniform(-5, 5, len(x[3::7]))
    flux = rng.uniform(2e4, 6e4, len(x))
    sky = Scene(x=x, y=y, covariance=np.zeros((len(x), 3)), flux=flux[:, None])
    left, right = (draw(sky, band=0, variance=variance, shape=SHAPE) for variance in VARIANCES)
    image = np.where(np.arange(SHAPE[1]) < EDGE, left, right) + SIGMA * rng.standard_normal(SHAPE)
    narrow, wide = (psf_stamp(variance) for variance in VARIANCES)
    stamps = np.broadcast_to(narrow, (3, 4, *narrow.shape)).copy()
    stamps[:, 3] = wide
    number, inputs = np.zeros(SHAPE, np.int16), np.array([[5, 5, 5, 9]] * 3, np.uint32)
    number[:, EDGE:180] = 1
    number[50:53, 60:64], image[50:53, 60:64] = LEFT_OUT, image[50:53, 60:64] * 1.3
    known = PsfZones(number=number, stamps=wide[None].astype("f4"), cell_inputs=inputs, zone_inputs=inputs[0, 3:])
    planes = BandPlanes(
        image=image.astype(np.float32),
        variance=np.full(SHAPE, SIGMA**2, np.float32),
        mask=np.zeros(SHAPE, np.int32),
        psf=stamps.astype(np.float32),
        noise=None,
        input_count=np.ones(SHAPE, np.int16),
        zones=known if zones else None,
    )
    return make_cube({"vk": planes}, x0=300, y0=700, pixel_scale=0.168), x, y, flux


def measured(cube: PatchCube, x: np.ndarray, y: np.ndarray):
    """All fluxes of the band at known positions."""
    profiles = make_profiles(x=x, y=y, covariance=None, psf_size=cube.psf_size)
    circle = np.broadcast_to([1 / 64, 1 / 64, 0.0], (len(x), 1, 3))
    one = ErrorInflation(psf=1.0, gaap=np.ones(1), radius=np.array([1.0, 9.0]), circle=np.ones(2), samples=0)
    return measure_band(
        cube,
        0,
        profiles=profiles,
        radii=np.array([8.0]),
        kron=circle,
        pairs=find_overlaps(profiles),
        inflation=one,
        structure=Structure.none(len(x)),
        gaap_sigma=np.array([9.0]),
        extended_limit=0.1,
    )


def test_stars_on_a_step_have_true_fluxes(rng) -> None:
    """PSF and GAaP fluxes of stars that a step of the PSF cuts are true to their errors; no star is called extended."""
    cube, x, y, flux = stepped(rng, zones=True)
    band, residual = measured(cube, x, y)
    cut = np.abs(x - EDGE) < 8
    assert cut.sum() >= 5
    for kind in (band.psf, *band.gaap):
        assert np.abs((kind.value - flux) / np.hypot(kind.error, 1e-3 * flux)).max() < 4
        assert not kind.flag[cut].any()
    np.testing.assert_array_equal(band.extendedness, 0)
    assert not band.centre.inexact_psf.any()
    kept = np.ones(SHAPE, bool)
    kept[50:53, 60:64] = False
    assert residual[kept].std() == pytest.approx(SIGMA, rel=0.05)


def test_without_zones_they_have_not(rng) -> None:
    """The same scene with the PSFs of cells alone: the test above can fail."""
    cube, x, y, flux = stepped(rng, zones=False)
    band, _ = measured(cube, x, y)
    assert np.abs(band.psf.value / flux - 1)[np.abs(x - EDGE) < 8].max() > 0.05


def test_pixels_without_a_psf_take_no_part(rng) -> None:
    """A star near pixels that are left out has its flux, although they are 30% too bright; they stay in the image."""
    cube, x, y, _ = stepped(rng, zones=True)
    x[0], y[0] = 61.3, 50.8
    profiles = make_profiles(x=x, y=y, covariance=None, psf_size=cube.psf_size)
    fit = fit_band(cube, 0, profiles, find_overlaps(profiles))
    assert not fit.usable[50:53, 60:64].any()
    assert fit.good.all()
    assert fit.usable.sum() == fit.usable.size - 12
    assert fit.forced.covered[0] < 0.9
    assert (fit.inexact == 0).all()


def test_bands_keep_the_cells_of_their_coadds(rng) -> None:
    """Beside a coadd of more cells, which is not a multiple, zones and cells of a band stay where they are."""
    alone, *_ = stepped(rng, zones=True)
    zones = PsfZones(
        number=alone.psfs[0].zone,
        stamps=alone.psfs[0].stamps[12:],
        cell_inputs=alone.psfs[0].inputs[:12].reshape(3, 4),
        zone_inputs=alone.psfs[0].inputs[12:],
    )
    cells = alone.psfs[0].of_cells.reshape(3, 4, 41, 41)
    common = {"variance": np.ones(SHAPE, "f4"), "mask": np.zeros(SHAPE, np.int32), "noise": None}
    common |= {"image": np.ones(SHAPE, "f4"), "input_count": np.ones(SHAPE, np.int16)}
    finer = np.broadcast_to(psf_stamp(5.0), (5, 7, 41, 41)).astype(np.float32)
    planes = {"i": BandPlanes(psf=finer, **common), "vk": BandPlanes(psf=cells, zones=zones, **common)}
    both = make_cube(planes, x0=0, y0=0, pixel_scale=0.168)
    x, y = np.array([0.0, 136.4, 136.6, 179.4, 180.6, 61.0]), np.array([0.0, 100.0, 100.0, 170.0, 61.0, 51.0])
    one, other = alone.psfs[0], both.psfs[both.bands.index("vk")]
    np.testing.assert_array_equal(other.at(x=x, y=y), one.at(x=x, y=y))
    np.testing.assert_array_equal(other.inputs, one.inputs)
    np.testing.assert_allclose(other.stamps, one.stamps, atol=1e-7)
    assert len(both.psfs[both.bands.index("i")].stamps) == 35


def test_psfs_follow_positions(rng) -> None:
    """Each position has the PSF of its zone, else that of its cell; unequal numbers of rows and columns."""
    cube, *_ = stepped(rng, zones=True)
    psf = cube.psfs[0]
    x, y = np.array([0.0, 136.4, 136.6, 179.4, 180.6, 61.0]), np.array([0.0, 100.0, 100.0, 170.0, 61.0, 51.0])
    np.testing.assert_array_equal(psf.at(x=x, y=y), [0, 6, 12, 12, 7, 1])
    np.testing.assert_array_equal(psf.inputs[psf.at(x=x, y=y)], [5, 5, 9, 9, 9, 5])
    assert len(psf.stamps) == 13


def test_blocks_are_of_one_set_of_inputs_or_mixed(rng) -> None:
    """Unequal sides, no multiples of a block: the step lies in column 8; pixels without a PSF do not count."""
    cube, *_ = stepped(rng, zones=True)
    psf = cube.psfs[0]
    zone = psf.zone.copy()
    zone[:16, :16], zone[170:, 230:] = LEFT_OUT, LEFT_OUT
    expected = np.full((12, 15), 5)
    expected[:, 8], expected[:, 9:] = MIXED, 9
    expected[0, 0] = NO_INPUTS
    np.testing.assert_array_equal(input_blocks(psf.inputs, zone, *psf.cells), expected)


def test_only_stamps_that_reach_other_inputs_change(rng) -> None:
    """Every pixel has the PSF of its inputs, whatever blocks its stamp reaches, also beyond the edges of the patch."""
    cube, *_ = stepped(rng, zones=True)
    psf = cube.psfs[0]
    x, y = np.array([2.0, 90.2, 112.7, 117.0, 150.3, 157.5, 160.9, 238.0]), np.full(8, 91.6)
    profiles = make_profiles(x=x, y=y, covariance=None, psf_size=41)
    one, other = (render(profiles, Kernels(psf.stamps), np.full(len(x), cell)) for cell in (0, 3))
    found = follow_pixels(render(profiles, Kernels(psf.stamps), psf.at(x=x, y=y)), profiles, psf)
    for number in range(len(x)):
        column = one.x0[number] + np.arange(one.size[number])
        expected = np.where(column < EDGE, one[number], other[number])
        np.testing.assert_allclose(found[number], expected, atol=1e-7)
