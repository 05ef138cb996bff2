"""Signs, axes and units of what calibration says of a detector: offsets, patterns, slopes, errors, modes."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.wcs import WCS

from dmu4.detectors.astrometry import Positions, fit_astrometry, offsets, quadratic_amplitude, residual_pattern
from dmu4.detectors.background import mesh_levels
from dmu4.detectors.zero_point import aperture_corrections, fit_zero_point

SCALE = 0.339
SHAPE = (400, 640)


def projection(*, ra: float = 0.02, dec: float = -62.0) -> WCS:
    """TAN, north up and east left, close to 0 h and far from the equator."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [ra, dec], [320.5, 200.5]
    wcs.wcs.cd = [[-SCALE / 3600, 0.0], [0.0, SCALE / 3600]]
    wcs.wcs.set()
    return wcs


def test_offsets_are_mas_on_the_sky() -> None:
    """A pixel 1 px to the right is 339 mas west, one 2 px up 678 mas north, of where they were."""
    wcs = projection()
    x, y = np.array([100.0, 500.0, 321.0]), np.array([50.0, 380.0, 199.0])
    ra, dec = wcs.all_pix2world(x, y, 0)
    assert (ra > 359).any()
    assert (ra < 1).any()
    found = offsets(wcs, x + 1, y + 2, ra, dec)
    assert found == pytest.approx(np.tile([-339.0, 678.0], (3, 1)), abs=0.6)
    assert offsets(wcs, np.empty(0), np.empty(0), np.empty(0), np.empty(0)).shape == (0, 2)


def test_pattern_has_rows_first() -> None:
    """Residuals of the top left ninth of a wide detector are in row 2, column 0; a ninth of two stars is unknown."""
    x = np.array([10.0, 60, 150, 600, 610, 630, 320, 330])
    y = np.array([390.0, 380, 300, 20, 30, 50, 200, 210])
    residual = np.column_stack([np.arange(8.0), -10 * np.arange(8.0)])
    pattern = residual_pattern(x, y, residual, SHAPE)
    assert pattern[2, 0].tolist() == [1.0, -10.0]
    assert pattern[0, 2].tolist() == [4.0, -40.0]
    assert np.isnan(pattern[1, 1]).all()
    assert np.isnan(pattern[0, 0]).all()


def test_amplitude_of_a_curved_residual(rng: np.random.Generator) -> None:
    """20 mas times u squared, along x alone, has an rms of 20 sqrt(4/45) mas; the noise is 3 mas per star."""
    x, y = rng.uniform(0, SHAPE[1], 900), rng.uniform(0, SHAPE[0], 900)
    u = 2 * x / SHAPE[1] - 1
    residual = np.column_stack([20 * u**2, np.zeros(900)]) + rng.normal(0, 3, (900, 2))
    amplitude, noise = quadratic_amplitude(x, y, residual, SHAPE)
    assert amplitude == pytest.approx(20 * np.sqrt(4 / 45), rel=0.05)
    assert noise == pytest.approx(3 * np.sqrt(6 / 900), rel=0.1)


def test_errors_of_stars_are_in_pixels_and_count_in_mas(rng: np.random.Generator) -> None:
    """Faint stars that are off by 0.8 px with an error of 1 px are as they should be: they stay, and move nothing."""
    wcs = projection()
    x, y = rng.uniform(20, 620, 60), rng.uniform(20, 380, 60)
    ra, dec = wcs.all_pix2world(x, y, 0)
    faint = np.arange(60) < 15
    measured = x + np.where(faint, 0.8, 0.0)
    found = fit_astrometry(
        wcs,
        x=measured,
        y=y,
        error=np.where(faint, 1.0, 0.01),
        brightness=np.where(faint, 1.0, 100.0),
        references=Positions(ra, dec, np.full(60, 10.0)),
        shape=SHAPE,
        pixel_scale=SCALE,
    )
    assert found.state == "refined"
    used = np.zeros(60, bool)
    used[found.star[found.used]] = True
    assert used[faint].all()
    assert np.hypot(*found.offset) < 1.0


def zero_point_of(
    magnitude_change: np.ndarray, x: np.ndarray, y: np.ndarray, *, relative: float = 0.002, **options: object
):
    """Fit on stars that are brighter than their references by some magnitudes, zero point 28.4."""
    reference = 10 ** np.linspace(3.5, 5.5, len(x))
    flux = 10 ** (-0.4 * (31.4 - 28.4)) * reference * 10 ** (0.4 * magnitude_change)
    return fit_zero_point(
        flux=flux,
        flux_error=relative * flux,
        reference=reference,
        reference_error=0.01 * reference,
        x=x,
        y=y,
        shape=SHAPE,
        header=(28.0, 0.1),
        **options,
    )


def test_zero_point_residuals_are_measured_minus_reference(rng: np.random.Generator) -> None:
    """Stars measured 0.03 mag too bright to the right and 0.05 too faint at the top: slopes -0.03 in x, +0.05 in y."""
    x, y = rng.uniform(0, SHAPE[1] - 1, 200), rng.uniform(0, SHAPE[0] - 1, 200)
    u, v = (x + 0.5) / SHAPE[1] - 0.5, (y + 0.5) / SHAPE[0] - 0.5
    fit = zero_point_of(0.03 * u - 0.05 * v, x, y)
    assert fit.magnitude == pytest.approx(28.4, abs=0.003)
    assert fit.gradient == pytest.approx((-0.03, 0.05), abs=0.002)
    assert fit.residual == pytest.approx(-0.03 * u + 0.05 * v, abs=0.004)
    # One star of 1% intrinsic, 1% and 0.2% scatters by 1.0857 sqrt(2e-4 + 4e-6) mag, and 200 average.
    assert zero_point_of(np.zeros(200), x, y).error == pytest.approx(1.0857 * np.sqrt(2.04e-4 / 200), rel=0.03)
    # With errors of their own of 5%, where a count is 16 nJy, they scatter by 1.0857 sqrt(27e-4).
    poor = zero_point_of(np.zeros(200), x, y, relative=0.05)
    assert poor.error == pytest.approx(1.0857 * np.sqrt(27e-4 / 200), rel=0.03)
    assert fit.scaling == pytest.approx(10 ** (0.4 * (31.4 - fit.magnitude)))


def test_zero_point_of_the_header_stays_without_stars() -> None:
    """Four stars are too few: the header's value and error, and a reason with both numbers."""
    fit = zero_point_of(np.zeros(4), np.arange(4.0), np.arange(4.0))
    assert (fit.magnitude, fit.error, fit.state) == (28.0, 0.1, "header")
    assert "4 stars" in fit.reason


def test_light_beyond_the_stamp_is_added() -> None:
    """With 4% of the light beyond the PSF's stamp, PSF fluxes want 1 / 0.96, also where no star is bright enough."""
    image, sigma = np.zeros((60, 80)), np.ones((60, 80))
    nothing = np.empty(0)
    found = aperture_corrections(
        image,
        sigma,
        x=nothing,
        y=nothing,
        psf_flux=nothing,
        signal_to_noise=nothing,
        wing=0.04,
        pixel_scale=SCALE,
        fwhm=2.2,
    )
    assert found.psf == pytest.approx(1 / 0.96)


def test_sky_level_is_the_mode(rng: np.random.Generator) -> None:
    """Faint sources under the sky skew it: the level is nearer to the sky than the median, far nearer than the mean."""
    image = rng.normal(500, 4, (96, 160)) + np.where(rng.random((96, 160)) < 0.12, rng.exponential(6, (96, 160)), 0)
    x, y, level, weight = mesh_levels(image.astype(np.float32), np.ones(image.shape, bool), mesh=200)
    assert len(level) == 1
    assert (x[0], y[0]) == pytest.approx((79.5, 47.5), abs=0.6)
    assert weight[0] == image.size
    mean, median = image.mean() - 500, np.median(image) - 500
    print(f"mean {mean:+.3f}, median {median:+.3f}, level {level[0] - 500:+.3f}")
    assert level[0] - 500 < 0.75 * median
    # Half of the values spread evenly over 3 below the median, half over 1 above it: none is beyond 2.5 sigma, the mean
    # is half a count below the median, and 2.5 median - 1.5 mean is 0.75 above it (Bertin & Arnouts 1996).
    lopsided = 500 + np.concatenate([np.linspace(-3, 0, 1000), np.linspace(0, 1, 1000)])[None]
    [single] = mesh_levels(lopsided.astype(np.float32), np.ones(lopsided.shape, bool), mesh=4000)[2]
    assert single == pytest.approx(500.75, abs=0.01)
    # Outliers are clipped first.
    spoilt = np.where(np.arange(2000) % 100 == 7, 1e5, lopsided)
    [single] = mesh_levels(spoilt.astype(np.float32), np.ones(lopsided.shape, bool), mesh=4000)[2]
    assert single == pytest.approx(500.75, abs=0.1)
