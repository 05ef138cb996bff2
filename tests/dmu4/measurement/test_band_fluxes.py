"""What one band says: depth, masks and errors by formula, in a patch where no two cells and no two axes are alike."""

from __future__ import annotations

import numpy as np
import pytest

from dmu4.measurement.apertures import ellipses
from dmu4.measurement.band_fluxes import blending_cost, measure_band
from dmu4.measurement.error_scale import ErrorInflation
from dmu4.measurement.forced import ForcedFluxes, find_overlaps
from dmu4.measurement.profiles import make_profiles
from dmu4.measurement.structure import Structure
from obs_vista.masks import BIT
from tests.scenes.tilted import SHAPE, light_in_circle, make_tilted, psf_at

RADII = np.array([3.0, 6.0])
SIGMA = 2.0
GAAP = 5.0
OTHER = 8.5
INFLATION = ErrorInflation(psf=1.3, gaap=np.array([1.7, 1.4]), radius=RADII, circle=np.array([1.1, 1.2]), samples=100)
PLACES = [(40.3, 30.8), (255.4, 150.1), (140.7, 95.2), (222.1, 31.4)]


def measured(cube, places=PLACES):
    """What the only band of a cube says of points at some places."""
    x, y = np.array(places).T
    profiles = make_profiles(x=x, y=y, covariance=None, psf_size=cube.psf_size)
    return measure_band(
        cube,
        0,
        profiles=profiles,
        radii=RADII,
        kron=ellipses(np.tile([4.0, 4.0, 0.0], (len(x), 1)), np.full(len(x), 3.0)),
        pairs=find_overlaps(profiles),
        inflation=INFLATION,
        structure=Structure.none(len(x)),
        gaap_sigma=np.array([GAAP, OTHER]),
        extended_limit=0.1,
    )[0]


def test_depth_is_that_of_five_sigma():
    """The depth is the AB magnitude of five times 1.3 times the error of a point source in the PSF of its cell.

    An AB magnitude of 31.4 is 1 nJy, that is 3631 Jy at magnitude zero.
    """
    depth = measured(make_tilted([(*place, 500.0) for place in PLACES], sigma=SIGMA)).centre.depth5
    for number, (x, y) in enumerate(PLACES):
        xx, yy, xy = psf_at(x=x, y=y)
        error = 1.3 * SIGMA * np.sqrt(4 * np.pi * np.sqrt(xx * yy - xy**2))
        assert depth[number] == pytest.approx(-2.5 * np.log10(5 * error * 1e-9 / 3631), abs=0.01)


def test_errors_of_point_sources_and_of_gaap():
    """Errors are inflated noise times the root of the area of the weight.

    That of a point source is 4 pi sqrt(det P). The weight of GAaP in a Gaussian PSF P is a Gaussian of moments
    B = A^2 1 - P and height A^2 / sqrt(det B), whose square sums to pi A^4 / sqrt(det B).
    """
    fluxes = np.array([500.0, 900.0, 300.0, 700.0])
    band = measured(make_tilted([(*place, flux) for place, flux in zip(PLACES, fluxes, strict=True)], sigma=SIGMA))
    for number, (x, y) in enumerate(PLACES):
        xx, yy, xy = psf_at(x=x, y=y)
        area = 4 * np.pi * np.sqrt(xx * yy - xy**2)
        assert band.psf.error[number] == pytest.approx(1.3 * SIGMA * np.sqrt(area), rel=3e-3)
        for k, (size, factor) in enumerate(((GAAP, 1.7), (OTHER, 1.4))):
            root = np.sqrt((size**2 - xx) * (size**2 - yy) - xy**2)
            assert band.gaap[k].error[number] == pytest.approx(
                factor * SIGMA * np.sqrt(np.pi * size**4 / root), rel=0.01
            )
    np.testing.assert_allclose(band.psf.value, fluxes, rtol=2e-3)
    for one in band.gaap:
        np.testing.assert_allclose(one.value, fluxes, rtol=4e-3)
    np.testing.assert_array_equal(band.extendedness, 0)


def test_gaap_of_a_galaxy_depends_on_its_tilt():
    """A Gaussian galaxy C has F A^2 / sqrt(det(A^2 1 + C)) in the aperture, whatever the PSF of its cell."""
    shapes = [(6.0, 2.0, 1.5), (2.0, 6.0, -1.5), (1.0, 1.0, 0.0), (3.0, 3.0, 2.0)]
    gaap = measured(make_tilted([(*place, 800.0) for place in PLACES], shapes=shapes)).gaap
    for number, (xx, yy, xy) in enumerate(shapes):
        for one, size in zip(gaap, (GAAP, OTHER), strict=True):
            expected = 800 * size**2 / np.sqrt((size**2 + xx) * (size**2 + yy) - xy**2)
            assert one.value[number] == pytest.approx(expected, rel=5e-3)


def test_unknown_neighbours_cost_what_they_overlap():
    """Two stars d apart have errors 1 / sqrt(1 - rho^2) larger than alone, rho = exp(-d P^-1 d / 4)."""
    pair = [(40.3, 30.8), (43.1, 29.2)]
    band = measured(make_tilted([(*place, 500.0) for place in pair], sigma=SIGMA), pair)
    xx, yy, xy = psf_at(x=40.3, y=30.8)
    dx, dy = 2.8, -1.6
    rho = np.exp(-0.25 * (yy * dx**2 + xx * dy**2 - 2 * xy * dx * dy) / (xx * yy - xy**2))
    alone = 1.3 * SIGMA * np.sqrt(4 * np.pi * np.sqrt(xx * yy - xy**2))
    assert rho > 0.5
    np.testing.assert_allclose(band.psf.error, alone / np.sqrt(1 - rho**2), rtol=0.01)
    np.testing.assert_allclose(band.psf.value, 500, rtol=3e-3)


def test_excess_is_in_square_arcsec():
    """A source widened by s^2 pixels^2 has an excess of s^2 times the area of a pixel, to 8%; a star has none."""
    shapes = [(0.15, 0.15, 0.0), (0.15, 0.15, 0.0), (0.0, 0.0, 0.0), (0.0, 0.0, 0.0)]
    cube = make_tilted([(*place, 500.0) for place in PLACES], shapes=shapes)
    band = measured(cube)
    np.testing.assert_allclose(band.excess[:2], 0.15 * cube.pixel_scale**2, rtol=0.08)
    np.testing.assert_allclose(band.excess[2:], 0, atol=0.004 * cube.pixel_scale**2)
    assert (band.excess_error > 0).all()


def test_the_cost_of_blending_is_one_where_nothing_is_known():
    """Errors over errors alone; a source without an error has no cost."""
    nan = np.array([2.0, np.nan])
    forced = ForcedFluxes(
        flux=nan,
        error=np.array([6.0, np.nan]),
        covered=nan,
        isolated_error=np.array([4.0, np.nan]),
        power=nan,
        signal=nan,
    )
    np.testing.assert_array_equal(blending_cost(forced), [1.5, 1])


def test_masks_and_counts_are_looked_up_at_the_object():
    """SAT counts within two pixels, INEXACT_PSF at the centre, other bits not at all; counts are those of the pixel."""
    mask = np.zeros(SHAPE, np.int32)
    mask[31 + 2, 40 - 2] |= BIT["SAT"]
    mask[150, 255 + 3] |= BIT["SAT"]
    mask[95, 141] |= BIT["BAD"] | BIT["INEXACT_PSF"] | BIT["SUSPECT"]
    mask[31, 222 + 1] |= BIT["INEXACT_PSF"] | BIT["REJECTED"] | BIT["CLIPPED"]
    count = np.add.outer(np.arange(SHAPE[0]), 2 * np.arange(SHAPE[1]))
    band = measured(make_tilted([(*place, 500.0) for place in PLACES], mask=mask, input_count=count))
    np.testing.assert_array_equal(band.centre.saturated, [True, False, False, False])
    np.testing.assert_array_equal(band.centre.inexact_psf, [False, False, True, False])
    np.testing.assert_array_equal(band.centre.input_count, [31 + 80, 150 + 510, 95 + 282, 31 + 444])
    np.testing.assert_array_equal(band.psf.flag, [True, False, False, False])
    np.testing.assert_array_equal(band.gaap[0].flag, [True, False, False, False])
    assert np.isfinite(band.psf.value).all()


def test_light_of_the_model_in_apertures():
    """A model of unit flux has in each circle the parts that lie in it of the pixels of a tilted Gaussian."""
    band = measured(make_tilted([(*place, 500.0) for place in PLACES]))
    for number, (x, y) in enumerate(PLACES):
        inside = [light_in_circle(x=x, y=y, radius=radius) for radius in RADII]
        np.testing.assert_allclose(band.in_circles[number], inside, rtol=0.003)
        assert band.in_kron[number, 0] == pytest.approx(inside[1], rel=0.01)
