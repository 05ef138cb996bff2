"""The PSF of a detector: accuracy, few stars, and the Piff object that is stored."""

from __future__ import annotations

import galsim
import numpy as np
import pytest
from lsst.images import Box

from dmu4.psf.fit import PsfFit, fit_psf, polynomial_order
from dmu4.psf.model import GridPsf, Moffat, to_piff
from dmu4.psf.moments import adaptive_moments
from dmu4.psf.profile import PixelErrors, measure
from dmu4.psf.stars import find_sources, select_stars
from tests.scenes.detectors import SyntheticDetector, make_detector_scene

SKY_VARIANCE = 4.5**2


def _fit(truth: SyntheticDetector) -> tuple[PsfFit, np.ndarray, PixelErrors]:
    image = (truth.given.image - truth.sky).astype(np.float32)
    sigma = np.full(image.shape, np.sqrt(SKY_VARIANCE), np.float32)
    sources = find_sources(image, sigma, np.zeros(image.shape, np.int32), fwhm=truth.given.seeing)
    stars = select_stars(sources, fwhm=truth.given.seeing)
    errors = PixelErrors(np.full(image.shape, SKY_VARIANCE, np.float32), 1 / (3.95 * truth.scene.frames))
    fit = fit_psf(
        image,
        errors,
        x=sources.x[stars],
        y=sources.y[stars],
        signal_to_noise=sources.signal_to_noise[stars],
        fwhm=truth.given.seeing,
    )
    return fit, image, errors


def _true_stamp(truth: SyntheticDetector, *, x: float, y: float, radius: int) -> np.ndarray:
    size = 2 * radius + 1
    return truth.psf(x=x, y=y).drawImage(nx=size, ny=size, scale=1.0, offset=(x - round(x), y - round(y))).array


@pytest.fixture(scope="module")
def scene() -> SyntheticDetector:
    """A detector with 150 stars and a PSF that varies by a tenth."""
    return make_detector_scene(np.random.default_rng(4), stars=150, shape=(512, 512), variation=0.1)


@pytest.fixture(scope="module")
def fitted(scene: SyntheticDetector) -> tuple[PsfFit, np.ndarray, PixelErrors]:
    """Its PSF."""
    return _fit(scene)


def test_size_and_shape_against_truth(scene: SyntheticDetector, fitted: tuple) -> None:
    """Over the detector the model's size is right to 0.002 and its ellipticity to 0.003 in the mean."""
    psf, sizes, shapes = fitted[0].psf, [], []
    for x in np.linspace(40.2, 470.7, 6):
        for y in np.linspace(35.4, 475.1, 6):
            true, model = _true_stamp(scene, x=x, y=y, radius=8), psf.star(x=x, y=y, radius=8)
            start = {"x": np.array([8 + x - round(x)]), "y": np.array([8 + y - round(y)]), "sigma": 1.0, "radius": 8}
            a, b = adaptive_moments(true, **start), adaptive_moments(model, **start)
            sizes.append(b.size[0] / a.size[0] - 1)
            shapes.append((b.e1[0] - a.e1[0], b.e2[0] - a.e2[0]))
    assert abs(np.mean(sizes)) < 0.002
    assert np.std(sizes) < 0.006
    assert np.abs(np.mean(shapes, axis=0)).max() < 0.003


def test_reserved_stars(fitted: tuple) -> None:
    """A fifth of the stars is held out, and their sizes agree with the model to 0.8%, with an error that says so."""
    fit = fitted[0]
    assert fit.state == "fitted"
    assert not (fit.used & fit.reserved).any()
    assert fit.reserved.mean() == pytest.approx(0.2, abs=0.03)
    assert abs(fit.size_residual) < 0.008
    assert 0.001 < fit.size_residual_error < 0.006
    assert abs(fit.e1_residual) < 0.005


def test_fluxes_of_stars(scene: SyntheticDetector, fitted: tuple) -> None:
    """PSF fluxes of bright stars are the true ones to 0.4 per cent, positions to 0.01 px."""
    fit, image, errors = fitted
    bright = scene.flux > np.sort(scene.flux)[-40]
    stars = measure(image, errors, fit.psf, x=scene.x[bright], y=scene.y[bright], fwhm=fit.fwhm)
    ratio = stars.flux / scene.flux[bright]
    assert np.median(ratio) == pytest.approx(1, abs=0.004)
    assert abs(np.median(stars.x - scene.x[bright])) < 0.01
    assert abs(np.median(stars.y - scene.y[bright])) < 0.01


def test_piff_draws_the_same(fitted: tuple) -> None:
    """The stored Piff object draws what we fitted, anywhere on the detector and within a pixel."""
    fit = fitted[0]
    none = np.empty(0)
    stored = to_piff(fit.psf, x=none, y=none, reserved=none, bbox=Box.factory[0:512, 0:512])
    for x, y in ((30.0, 40.0), (256.3, 480.8), (500.5, 100.25)):
        radius = fit.psf.stamp_size // 2
        ours = fit.psf.star(x=x, y=y, radius=radius)
        theirs = stored.compute_stellar_image(x=x, y=y).array
        np.testing.assert_allclose(theirs, ours / ours.sum(), atol=2e-5 * ours.max())


def test_stored_psf_sums_to_one(fitted: tuple) -> None:
    """The kernel image sums to 1 and has an odd side; its middle pixel is the brightest."""
    none = np.empty(0)
    stored = to_piff(fitted[0].psf, x=none, y=none, reserved=none, bbox=Box.factory[0:512, 0:512])
    kernel = stored.compute_kernel_image(x=100.0, y=200.0).array
    assert kernel.sum() == pytest.approx(1, abs=1e-7)
    assert kernel.shape[0] % 2 == 1
    assert np.unravel_index(kernel.argmax(), kernel.shape) == (kernel.shape[0] // 2,) * 2


@pytest.mark.parametrize(("stars", "state"), [(5, "moffat"), (0, "header")])
def test_few_stars(stars: int, state: str) -> None:
    """With few stars the PSF is one profile, with none the header's seeing; either is near the truth."""
    truth = make_detector_scene(np.random.default_rng(8), stars=stars, galaxies=0, magnitudes=(15.5, 17.0))
    fit, _, _ = _fit(truth)
    assert fit.state == state
    true = _true_stamp(truth, x=160.0, y=160.0, radius=10)
    model = fit.psf.star(x=160.0, y=160.0, radius=10)
    assert np.abs(model - true).max() < (0.06 if state == "moffat" else 0.15) * true.max()


@pytest.mark.parametrize(("fwhm", "limit"), [(1.8, 0.003), (4.3, 0.006)])
def test_good_and_bad_seeing(fwhm: float, limit: float) -> None:
    """In the best and in the worst seeing the median size of reserved stars agrees with the model."""
    truth = make_detector_scene(np.random.default_rng(9), fwhm=fwhm, stars=120, shape=(448, 448), magnitudes=(15, 19))
    fit, _, _ = _fit(truth)
    assert abs(fit.size_residual) < limit
    assert fit.size_residual_error < limit


def test_grid_of_a_known_profile() -> None:
    """A Moffat profile sampled on the grid is drawn with the size that GalSim gives it, to 0.001."""
    effective = galsim.Convolve(galsim.Moffat(beta=3.0, fwhm=2.2), galsim.Pixel(1.0))
    nodes = effective.drawImage(nx=61, ny=61, scale=0.4, method="no_pixel", dtype=float).array
    psf = GridPsf((nodes / nodes.sum())[:, :, None], (50.0, 50.0), (50.0, 50.0), 0, Moffat(2.4), scale=0.4)
    for x, y in ((50.0, 50.0), (50.31, 49.77), (50.5, 50.5)):
        true = galsim.Moffat(beta=3.0, fwhm=2.2).drawImage(nx=17, ny=17, scale=1, offset=(x - round(x), y - round(y)))
        start = {"x": np.array([8 + x - round(x)]), "y": np.array([8 + y - round(y)]), "sigma": 1.0, "radius": 8}
        drawn = adaptive_moments(psf.star(x=x, y=y, radius=8), **start)
        assert drawn.size[0] == pytest.approx(adaptive_moments(true.array, **start).size[0], rel=1e-3)


def test_order_follows_the_stars() -> None:
    """Few stars: constant; more: linear; many: quadratic."""
    assert [polynomial_order(count) for count in (8, 19, 20, 119, 120, 500)] == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("guess", [2.0, 3.0])
def test_broad_wings(rng: np.random.Generator, guess: float) -> None:
    """Of stars with a twelfth of their light in a halo, the light within 3 to 8 pixels is right to 0.8 per cent."""
    core, halo = galsim.Moffat(beta=3.2, fwhm=2.1, flux=0.92), galsim.Moffat(beta=3.0, fwhm=8.0, flux=0.08)
    star, shape = galsim.Add([core, halo]), (700, 700)
    image = galsim.ImageD(*shape, scale=1.0)
    x, y = (grid.ravel() + rng.uniform(-0.5, 0.5, 100) for grid in np.meshgrid(*[np.linspace(35, 665, 10)] * 2))
    flux = 10 ** rng.uniform(2.8, 4.3, len(x))
    for xs, ys, fs in zip(x, y, flux, strict=True):
        part = galsim.BoundsI(round(xs) - 29, round(xs) + 31, round(ys) - 29, round(ys) + 31) & image.bounds
        (fs * star).drawImage(image=image[part], center=(xs + 1, ys + 1), add_to_image=True)
    pixels = (image.array + rng.normal(size=shape)).astype(np.float32)
    errors = PixelErrors(np.ones(shape, np.float32), 0.0)
    fit = fit_psf(pixels, errors, x=x, y=y, signal_to_noise=flux / 3, fwhm=guess)
    true = star.drawImage(nx=61, ny=61, scale=1.0).array
    model = fit.psf.star(x=350.0, y=350.0, radius=30)
    distance = np.hypot(*np.meshgrid(np.arange(-30, 31), np.arange(-30, 31)))
    for radius in (3, 5, 8):
        assert model[distance < radius].sum() * (1 - fit.psf.wing) == pytest.approx(
            true[distance < radius].sum(), abs=0.008
        )
