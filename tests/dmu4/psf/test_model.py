"""Profiles, nodes and residuals of the PSF: orientation, derivatives and signs."""

from __future__ import annotations

import galsim
import numpy as np
import pytest
from lsst.images import Box

from dmu4.psf.fit import fit_psf
from dmu4.psf.kernels import TAPS, empty_axis, fill_axis, interpolant_table
from dmu4.psf.model import Moffat, moffat_grid, to_piff
from dmu4.psf.profile import PixelErrors
from tests.scenes.patches import add_gaussian


@pytest.mark.parametrize(("e1", "e2"), [(0.15, 0.25), (-0.3, 0.1), (0.1, -0.2)])
def test_an_elliptical_moffat_is_that_of_galsim(e1: float, e2: float) -> None:
    """Values of a sheared Moffat profile are those of GalSim, which defines the reduced shear."""
    ours = Moffat(fwhm=3.2, beta=2.8, e1=e1, e2=e2)
    theirs = galsim.Moffat(beta=2.8, fwhm=3.2).shear(g1=e1, g2=e2)
    for dx, dy in ((0.0, 0.0), (2.0, 0.5), (-1.0, 3.0), (1.5, 1.5), (1.5, -1.5)):
        assert ours.at(dx=dx, dy=dy) == pytest.approx(theirs.xValue(dx, dy), rel=1e-6)
    assert ours.radius2(dx=3.0, dy=0.0) == pytest.approx(9 * ((1 - e1) ** 2 + e2**2) / (1 - e1**2 - e2**2))


def test_wings_are_factors_by_radius() -> None:
    """A factor of 2 at 1.5 FWHM and 1 at 1 and at 2 makes the profile 1.5 times as bright at 1.25 FWHM."""
    plain = Moffat(fwhm=4.0, beta=3.0)
    winged = Moffat(fwhm=4.0, beta=3.0, wings=(1.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0))
    for radius, factor in ((2.0, 1.0), (5.0, 1.5), (6.0, 2.0), (7.0, 1.5), (9.0, 1.0)):
        assert winged.at(dx=0.6 * radius, dy=-0.8 * radius) == pytest.approx(
            factor * plain.at(dx=0.6 * radius, dy=-0.8 * radius)
        )


def test_slopes_of_weights_are_their_derivatives() -> None:
    """The slope of a pixel's weights is what they gain as the star moves up the axis, and no pixel loses its nodes."""
    table, count = interpolant_table(), 9
    here, beside, before = (empty_axis(count) for _ in range(3))
    step = 1e-3
    for axis, centre in ((here, 23.37), (beside, 23.37 + step), (before, 23.37 - step)):
        fill_axis(centre, 19, 12, 0.6, table, axis)
    np.testing.assert_array_equal(here.start, beside.start)
    assert here.weight.shape == (count, TAPS)
    # Weights of a pixel sum to 1 / scale: the nodes sum to 1 over all pixels.
    np.testing.assert_allclose(here.weight.sum(axis=1), 1 / 0.6, rtol=1e-3)
    derivative = (beside.weight - before.weight) / (2 * step)
    np.testing.assert_allclose(here.slope, derivative, atol=0.02 * np.abs(derivative).max())


def test_residuals_are_stars_less_the_model(rng: np.random.Generator) -> None:
    """Stars held out that are wider along x and tilted upwards have positive residuals of size, e1 and e2."""
    shape = (260, 340)
    x, y = (values.ravel() for values in np.meshgrid(np.arange(25, 330, 42) + 0.3, np.arange(25, 250, 42) - 0.2))
    snr = np.linspace(900, 400, len(x))[rng.permutation(len(x))]
    reserved = np.zeros(len(x), bool)
    reserved[np.argsort(-snr)[2::5]] = True
    image = rng.normal(0, 1, shape)
    for a, b, flux, wide in zip(x, y, 12 * snr, reserved, strict=True):
        xx, yy, xy = (2.2, 1.6, 0.3) if wide else (1.6, 1.6, 0.0)
        add_gaussian(image, x=a, y=b, xx=xx, yy=yy, xy=xy, flux=flux)
    errors = PixelErrors(np.ones(shape, np.float32), 0.0)
    fit = fit_psf(image.astype(np.float32), errors, x=x, y=y, signal_to_noise=snr, fwhm=3.0)
    np.testing.assert_array_equal(fit.reserved, reserved)
    assert fit.size_residual == pytest.approx(3.8 / 3.2 - 1, abs=0.03)
    assert fit.e1_residual == pytest.approx(0.6 / 3.8, abs=0.02)
    assert fit.e2_residual == pytest.approx(0.6 / 3.8, abs=0.02)
    assert not fit.used[reserved].any()


def test_light_beyond_the_grid() -> None:
    """The light of a Moffat profile in a square around the grid, less that of the grid, over all of it."""
    moffat = Moffat(fwhm=3.0, beta=2.2, e1=0.1, e2=-0.15)
    psf = moffat_grid(moffat, (200, 400))
    half = psf.scale * (psf.size // 2)
    fine = np.linspace(-3 * half, 3 * half, 1201)
    light = moffat.at(dx=fine, dy=fine[:, None])
    inside = np.abs(fine) <= half
    assert psf.wing == pytest.approx(1 - light[np.ix_(inside, inside)].sum() / light.sum(), rel=0.08)
    assert psf.wing > 0.005


def test_stars_are_stored_where_they_are() -> None:
    """The stored PSF lists its stars, and which of them were held out."""
    psf, box = moffat_grid(Moffat(3.0), (200, 400)), Box.factory[0:200, 0:400]
    stored = to_piff(
        psf, x=np.array([350.5, 20.0]), y=np.array([12.25, 180.0]), reserved=np.array([False, True]), bbox=box
    )
    stars = [(star.image_pos.x, star.image_pos.y, star.is_reserve) for star in stored.piff_psf.stars]
    assert stars == [(350.5, 12.25, False), (20.0, 180.0, True)]


def test_polynomial_of_position() -> None:
    """Terms are powers of x outside and of y inside, over the half extent, about the middle of an oblong detector."""
    psf = moffat_grid(Moffat(3.0), (200, 400))
    assert psf.centre == (199.5, 99.5)
    quadratic = psf.__class__(**{**vars(psf), "order": 2})
    u, v = (299.5 - 199.5) / psf.half[0], (49.5 - 99.5) / psf.half[1]
    assert quadratic.basis(x=np.array([299.5]), y=np.array([49.5]))[0] == pytest.approx([1, v, v**2, u, u * v, u**2])
    assert psf.half[0] == pytest.approx(2 * psf.half[1], rel=0.01)
