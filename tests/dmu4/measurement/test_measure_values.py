"""Units and errors of a whole measurement, on pixels of 0.2 arcsec, where apertures are not whole numbers of pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dmu4.measurement import measure as module
from dmu4.measurement.error_scale import ErrorInflation
from dmu4.measurement.measure import MeasurementSettings, error_inflation, measure
from dmu4.objects.columns import APERTURES
from tests.scenes.tilted import SHAPE, light_in_circle, make_tilted, psf_at

PLACES = [(45.3, 30.8), (255.4, 140.1), (140.7, 95.2)]
FLUX = 800.0
SIGMA = 2.0
RADII = np.array([3, 6, 9, 12, 17, 25]) * 0.168 / 0.2
"""Radii of the apertures in pixels: they are defined in pixels of 0.168 arcsec."""

ONE = ErrorInflation(
    psf=1.2, gaap=np.array([1.1, 1.5, 1.6, 1.7, 1.0]), radius=RADII, circle=np.linspace(1, 2, 6), samples=100
)


@pytest.fixture
def cube():
    """Three stars whose PSFs differ, in white noise."""
    noise = np.random.default_rng(4).normal(0, SIGMA, SHAPE)
    return make_tilted([(*place, FLUX) for place in PLACES], sigma=SIGMA, noise=noise)


def measured(cube, monkeypatch, *, scaled: ErrorInflation = ONE):
    """What is measured in the only band if errors are inflated by `ONE`, then scaled; and what scaling was asked."""
    asked = {}

    def scale(inflations, *planes, **options):
        asked.update(options)
        assert inflations == [ONE]
        return [scaled]

    monkeypatch.setattr(module, "error_inflation", lambda one: ONE)
    monkeypatch.setattr(module, "scale_to_empty", scale)
    x, y = np.array(PLACES).T
    found = measure(cube, x=x, y=y, reference=np.zeros(3, int), settings=MeasurementSettings(threads=1))
    return found.bands["i"], asked


def test_apertures_are_in_arcsec(cube, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tilted Gaussian star has in a circle of 0.50 arcsec, 2.52 px, what of its pixels lies in it; Kron has all."""
    band, asked = measured(make_tilted([(*place, FLUX) for place in PLACES], sigma=SIGMA), monkeypatch)
    for number, (x, y) in enumerate(PLACES):
        for k in range(3):
            inside = light_in_circle(x=x, y=y, radius=RADII[k])
            assert band.circles[k].value[number] == pytest.approx(FLUX * inside, rel=0.005)
    assert band.kron.value == pytest.approx(FLUX, rel=0.012)
    assert asked["clear"] == pytest.approx(2.5 / 0.2)
    xx, yy, xy = psf_at(x=150, y=90)
    np.testing.assert_allclose(asked["gaap_sigma"][0][:4], np.array([0.7, 1.0, 1.5, 2.5]) / 0.2)
    assert asked["gaap_sigma"][0][4] == pytest.approx(np.sqrt(2) * (xx * yy - xy**2) ** 0.25, rel=0.3)
    np.testing.assert_allclose(asked["x"], np.array(PLACES)[:, 0], atol=0.02)
    np.testing.assert_allclose(asked["y"], np.array(PLACES)[:, 1], atol=0.02)


def test_what_is_bright_depends_on_the_band(cube, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object of more than 50 sigma is bright: at a noise of 2 these are not, at one of 1 they are."""
    quiet = make_tilted([(*place, FLUX) for place in PLACES], sigma=0.8)
    for one, bright in ((cube, False), (quiet, True)):
        asked = measured(one, monkeypatch)[1]
        np.testing.assert_array_equal(asked["bright"], np.full((3, 1), bright))


def test_scaling_to_empty_apertures_counts_once(cube, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three times as much for GAaP and twice as much for circles is just that; PSF fluxes keep their errors."""
    before, _ = measured(cube, monkeypatch)
    after, _ = measured(
        cube, monkeypatch, scaled=replace(ONE, gaap=ONE.gaap * np.array([3, 3, 3, 3, 2]), circle=2 * ONE.circle)
    )
    for k, factor in enumerate((3, 3, 3, 3, 2)):
        np.testing.assert_allclose(after.gaap[k].error, factor * before.gaap[k].error)
    np.testing.assert_allclose(after.kron.error, 2 * before.kron.error)
    for first, second in zip(before.circles, after.circles, strict=True):
        np.testing.assert_allclose(second.error, 2 * first.error)
    np.testing.assert_array_equal(after.psf.error, before.psf.error)
    for number, (x, y) in enumerate(PLACES):
        # As in `test_band_fluxes`: the weight is a Gaussian of moments A^2 - P and height A^2 / sqrt(det).
        xx, yy, xy = psf_at(x=x, y=y)
        root = np.sqrt((25 - xx) * (25 - yy) - xy**2)
        assert before.gaap[1].error[number] == pytest.approx(1.5 * SIGMA * np.sqrt(np.pi * 625 / root), rel=0.02)
    area = np.pi * RADII[5] ** 2
    np.testing.assert_allclose(before.circles[5].error, 2 * SIGMA * np.sqrt(area), rtol=2e-3)


def test_noise_is_measured_on_its_realization(cube, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a realization of the noise that is looked at, all of it; without, the image between its sources."""
    asked = []
    monkeypatch.setattr(module, "measure_inflation", lambda *planes, **options: asked.append((planes, options)))
    realization = np.random.default_rng(9).normal(0, SIGMA, (*SHAPE, 1)).astype(np.float32)
    error_inflation(replace(cube, noise=realization, has_noise=np.array([True])))
    error_inflation(cube)
    (with_noise, free), (without, between) = asked
    np.testing.assert_array_equal(with_noise[0], realization[..., 0])
    assert free["occupied"] is None
    np.testing.assert_array_equal(without[0], cube.image[..., 0])
    assert between["occupied"][31, 45]
    assert between["occupied"].mean() < 0.2
    np.testing.assert_allclose(free["radii"], RADII)
    np.testing.assert_allclose(free["gaap_sigma"][:4], [3.5, 5, 7.5, 12.5])
    assert len(RADII) == len(APERTURES)
