"""Zero points and aperture corrections."""

from __future__ import annotations

import numpy as np
import pytest

from dmu0.robust_statistics import SIGMA_TO_FWHM
from dmu4.detectors.zero_point import aperture_corrections, fit_zero_point, relative_misfit, resembles_psf
from obs_vista.photometry import AB_ZERO_POINT

SHAPE = (400, 400)


def _fit(rng: np.random.Generator, *, stars: int = 60, error: float = 0.05, zero_point: float = 28.0, **changes):
    """A fit to stars whose references have an error (mag) that grows towards faint ones."""
    flux = 10 ** rng.uniform(3, 5, stars)
    true = flux * 10 ** (-0.4 * (zero_point - AB_ZERO_POINT))
    noise = np.hypot(error / 1.0857 * true, 0.02 * np.median(true))
    values = {
        "flux": flux * (1 + rng.normal(0, 0.003, stars)),
        "flux_error": 0.003 * flux,
        "reference": true + rng.normal(size=stars) * noise,
        "reference_error": noise,
        "x": rng.uniform(0, SHAPE[1], stars),
        "y": rng.uniform(0, SHAPE[0], stars),
        "shape": SHAPE,
        "header": (zero_point + 0.1, 0.03),
    } | changes
    return fit_zero_point(**values)


@pytest.mark.parametrize("scatter", [0.01, 0.03])
def test_unbiased_over_many_detectors(scatter: float) -> None:
    """Over 400 detectors with poor references the mean error is below 0.002 mag, and pulls are 1 within 0.1.

    Stars scatter by more than the errors of the references, as with colour terms; faint ones are more numerous.
    """
    fits = []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        flux = 10 ** (3 + 2 * rng.uniform(0, 1, 60) ** 1.5)
        true = flux * 10 ** (-0.4 * (28 - AB_ZERO_POINT))
        noise = np.hypot(0.04 * true, 0.02 * np.median(true))
        reference = true * (1 + rng.normal(0, scatter, 60)) + rng.normal(size=60) * noise
        changes = {"flux": flux, "flux_error": 0.003 * flux, "reference": reference, "reference_error": noise}
        fits.append(_fit(rng, stars=60, **changes))
    errors = np.array([fit.magnitude - 28 for fit in fits])
    assert abs(errors.mean()) < 0.002
    assert np.std(errors / [fit.error for fit in fits]) == pytest.approx(1, abs=0.1)


def test_errors_that_follow_the_noise() -> None:
    """Errors quoted in mag, so that those in flux are larger for references that fluctuated up, do not bias: 0.002 mag.

    Most stars are near the limits of the signal to noise, where such references would be dropped.
    """
    errors = []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        flux = 10 ** rng.uniform(4, 4.5, 60)
        true = flux * 10 ** (-0.4 * (28 - AB_ZERO_POINT))
        relative = 0.13 * (flux / 1e4) ** -1.0
        reference = true * (1 + rng.normal(0, relative))
        changes = {"flux": flux, "flux_error": 0.003 * flux, "reference": reference}
        errors.append(_fit(rng, stars=60, reference_error=relative * reference, **changes).magnitude - 28)
    assert abs(np.mean(errors)) < 0.002


def test_stars_unlike_the_psf(rng: np.random.Generator) -> None:
    """Pairs that are 8 per cent too bright hide in references of 6 per cent; their misfit with the PSF shows."""
    stars = 400
    flux, pair = 10 ** rng.uniform(4, 5, stars), np.arange(stars) % 8 == 3
    reference = flux * 10 ** (-0.4 * (28 - AB_ZERO_POINT)) * (1 + rng.normal(0, 0.06, stars))
    flux, error = np.where(pair, 1.08, 1) * flux, 0.003 * flux
    chi2 = np.where(pair, 1 + (0.05 * flux / error) ** 2, rng.normal(1, 0.2, stars))
    misfit = relative_misfit(chi2, flux, error)
    np.testing.assert_allclose(misfit[pair], 0.05, rtol=1e-6)
    changes = {"flux": flux, "flux_error": error, "reference": reference, "reference_error": 0.06 * reference}
    kept, dropped = (_fit(rng, stars=stars, misfit=one, **changes) for one in (None, misfit))
    assert kept.used[pair].mean() > 0.9
    assert not dropped.used[pair].any()
    assert dropped.used[~pair].mean() > 0.95
    assert abs(dropped.magnitude - 28) < 3 * dropped.error
    assert kept.magnitude - dropped.magnitude == pytest.approx(1.0857 * 0.08 / 8, rel=0.3)
    assert resembles_psf(np.array([0.04, 0.05, 0.06, 0.02, np.nan])).tolist() == [True, True, True, True, False]


def test_outliers(rng: np.random.Generator) -> None:
    """A tenth of the stars blended (40 per cent too bright) moves the zero point by less than 0.01 mag."""
    flux = 10 ** rng.uniform(3, 5, 100)
    reference = flux * 10 ** (-0.4 * (28 - AB_ZERO_POINT)) * (1 + rng.normal(0, 0.02, 100))
    blended = np.where(np.arange(100) % 10 == 0, 1.4, 1.0)
    fit = _fit(
        rng,
        stars=100,
        flux=flux * blended,
        flux_error=0.003 * flux,
        reference=reference,
        reference_error=0.02 * reference,
    )
    assert fit.magnitude == pytest.approx(28, abs=0.01)
    assert not fit.used[::10].any()


def test_few_stars_keep_the_header(rng: np.random.Generator) -> None:
    """With too few stars the header's zero point stays, with its error, and the reason has both numbers."""
    fit = _fit(rng, stars=7)
    assert (fit.state, fit.magnitude, fit.error) == ("header", 28.1, 0.03)
    assert "7 stars" in fit.reason
    assert "12 are needed" in fit.reason


def test_references_without_flux(rng: np.random.Generator) -> None:
    """References without a flux in the band (not-a-number) do not count as stars."""
    fit = _fit(rng, reference=np.full(60, np.nan))
    assert fit.state == "header"


def test_change_over_the_detector(rng: np.random.Generator) -> None:
    """A zero point that changes by 0.1 mag from left to right shows as a gradient in x, not in y."""
    stars = 150
    flux, x = 10 ** rng.uniform(4, 5, stars), rng.uniform(0, SHAPE[1], stars)
    reference = flux * 10 ** (-0.4 * (28 - AB_ZERO_POINT)) * 10 ** (-0.4 * 0.1 * (x / SHAPE[1] - 0.5))
    fit = _fit(
        rng, stars=stars, flux=flux, flux_error=0.001 * flux, reference=reference, x=x, reference_error=0.02 * reference
    )
    assert abs(fit.gradient[0]) == pytest.approx(0.1, abs=4 * fit.gradient_error)
    assert abs(fit.gradient[1]) < 4 * fit.gradient_error


def test_aperture_corrections_of_a_gaussian(rng: np.random.Generator) -> None:
    """For Gaussian stars the correction of each aperture is the one that the integral gives, to 1 per cent.

    A twentieth of the light is beyond the stamp of the PSF, so that total fluxes are larger by 1 / 0.95.
    """
    sigma, scale = 1.2, 0.34
    x, y = (grid.ravel() for grid in np.meshgrid(np.arange(40, 400, 60) + 0.3, np.arange(40, 400, 60) - 0.2))
    grid_y, grid_x = np.mgrid[0:440, 0:440]
    image = rng.normal(0, 1, (440, 440))
    for cx, cy in zip(x, y, strict=True):
        image += 1e5 / (2 * np.pi * sigma**2) * np.exp(-0.5 * ((grid_x - cx) ** 2 + (grid_y - cy) ** 2) / sigma**2)
    found = aperture_corrections(
        image,
        np.ones_like(image),
        x=x,
        y=y,
        psf_flux=np.full(len(x), 1e5),
        signal_to_noise=np.full(len(x), 1e4),
        wing=0.05,
        pixel_scale=scale,
        fwhm=SIGMA_TO_FWHM * sigma,
    )
    assert found.psf == pytest.approx(1 / 0.95)
    assert found.growth[0] == pytest.approx(1, abs=0.003)
    for radius, (value, error) in found.apertures.items():
        inside = 1 - np.exp(-0.5 * (radius / scale / sigma) ** 2)
        assert value == pytest.approx(1 / 0.95 / inside, rel=0.01)
        assert error < 0.003
