"""From sums in apertures to fluxes, coverage and what a band can be used for."""

from __future__ import annotations

import numpy as np
import pytest

from dmu4.measurement.apertures import ApertureSums, area_of, ellipses
from dmu4.measurement.band_fluxes import BandFluxes, CentralPixels, Flux
from dmu4.measurement.error_scale import ErrorInflation
from dmu4.measurement.measure import finish_band
from dmu4.objects.columns import APERTURES, COVERAGE_RADIUS, REFERENCE_PIXEL
from dmu4.patches.cube import CalibrationErrors

N, CIRCLES = 5, len(APERTURES)
RADII = np.array(APERTURES) * 1.5


@pytest.fixture
def finished():
    """Five objects: whole, a fifth of each aperture missing, hardly covered, saturated, without GAaP."""
    good = np.zeros(N, bool)
    gaap = Flux(value=np.array([50.0, 60, 70, 80, np.nan]), error=np.full(N, 2.0), flag=good)
    centre = CentralPixels(
        saturated=np.array([False, False, False, True, False]),
        inexact_psf=np.array([False, True, False, False, False]),
        depth5=np.array([25.0, 24, 23, 22, 21]),
        input_count=np.arange(N),
    )
    band = BandFluxes(
        psf=Flux(value=np.full(N, 40.0), error=np.full(N, 1.0), flag=good),
        cmodel=Flux(value=np.full(N, 45.0), error=np.full(N, 3.0), flag=good),
        gaap=(Flux(value=np.full(N, 30.0), error=np.full(N, 1.5), flag=good), gaap),
        model=np.array([100.0, 200, 300, 400, 500]),
        in_circles=np.linspace(0.4, 0.9, CIRCLES) * np.ones((N, 1)),
        in_kron=np.full((N, 1), 0.95),
        circle_fraction=np.linspace(0.45, 0.92, CIRCLES) * np.ones((N, 1)),
        extendedness=np.ones(N),
        excess=np.full(N, 0.02),
        excess_error=np.full(N, 0.003),
        neighbours=np.linspace(0, 0.4, N),
        chi2=np.linspace(1, 1.4, N),
        centre=centre,
    )
    filled = np.array([1.0, 0.8, 0.0, 1, 1])[:, None]
    flux, variance = np.arange(N * CIRCLES, dtype=float).reshape(N, CIRCLES), np.full((N, CIRCLES), 9.0)
    in_circles = ApertureSums(flux=flux, variance=variance, filled=filled * np.ones(CIRCLES))
    in_kron = ApertureSums(flux=np.full((N, 1), 7.0), variance=np.full((N, 1), 25.0), filled=filled)
    inflation = ErrorInflation(psf=1.0, gaap=np.ones(2), radius=RADII, circle=np.linspace(1, 2, CIRCLES), samples=100)
    kron_area = np.pi * np.array([RADII[0], RADII[5], 1.0, 100.0, 0.5 * (RADII[1] + RADII[2])]) ** 2
    given = {"kron_area": kron_area, "inflation": inflation, "is_point": np.ones(N, bool)}
    return finish_band(band, in_circles, in_kron, **given, floor=0.03, calibration=CalibrationErrors(0.04, 0.02))


def test_fluxes_are_the_residual_plus_the_own_model(finished):
    """A flux is what is left in the aperture plus the model's light there; its error is inflated by its own radius."""
    for k, (inside, factor) in enumerate(zip(np.linspace(0.4, 0.9, 6), np.linspace(1, 2, 6), strict=True)):
        flux = finished.circles[k]
        assert flux.value[0] == pytest.approx(k + 100 * inside)
        assert flux.value[4] == pytest.approx(4 * CIRCLES + k + 500 * inside)
        np.testing.assert_allclose(flux.error[[0, 1, 3, 4]], 3 * factor)
        assert np.isnan(flux.value[2])
        np.testing.assert_array_equal(flux.flag, [False, True, True, True, False])
    assert finished.kron.value[1] == pytest.approx(7 + 0.95 * 200)
    np.testing.assert_allclose(finished.kron.error[[0, 1, 3, 4]], 5 * np.array([1, 2, 2, 1.3]))


def test_coverage_and_use(finished):
    """Usable: covered to nine tenths, a PSF flux, a GAaP flux, no saturation; without coverage there is no floor."""
    np.testing.assert_array_equal(finished.coverage, [1, 0.8, 0, 1, 1])
    np.testing.assert_array_equal(finished.usable, [True, False, False, False, False])
    np.testing.assert_array_equal(finished.flux_floor, [0.05, 0.05, np.nan, 0.05, 0.05])
    np.testing.assert_allclose(finished.kron_fraction, [0.95, 0.95, np.nan, 0.95, 0.95])
    np.testing.assert_allclose(finished.circle_fraction[:, 2], np.array([1, 1, np.nan, 1, 1]) * (0.45 + 0.4 * 0.47))
    np.testing.assert_array_equal(finished.neighbours, np.linspace(0, 0.4, N))
    np.testing.assert_array_equal(finished.chi2, np.linspace(1, 1.4, N))
    np.testing.assert_array_equal(finished.cmodel.value, 45)
    # What is left in the circle of 12 reference pixels, the fourth, where it is covered.
    np.testing.assert_array_equal(finished.residual, [3, 9, np.nan, 21, 27])
    np.testing.assert_array_equal(finished.depth5, [25, 24, 23, 22, 21])
    np.testing.assert_array_equal(finished.input_count, np.arange(N))
    np.testing.assert_array_equal(finished.inexact_psf, [False, True, False, False, False])
    assert pytest.approx(2.016) == COVERAGE_RADIUS == APERTURES[3] * REFERENCE_PIXEL


def test_area_of_a_tilted_ellipse():
    """The ellipse at k sigma has the area pi k^2 sqrt(det)."""
    conics = ellipses(np.array([[9.0, 4.0, 3.0], [2.0, 2.0, 0.0]]), np.array([2.0, 3.0]))
    np.testing.assert_allclose(area_of(conics[:, 0]), np.pi * np.array([4 * np.sqrt(27), 9 * 2]))


def test_the_floor_is_that_of_objects_modelled_as_points(finished) -> None:
    """Twelve bright stars whose circles agree; as many that a saturated band made galaxies, with models too wide."""
    n = 24
    nothing, point = np.zeros(n, bool), np.arange(n) < 12
    total = 1e4 * np.linspace(1, 2, n)
    psf = Flux(value=total, error=np.full(n, 1.0), flag=nothing)
    centre = CentralPixels(nothing, nothing, np.full(n, 25.0), np.ones(n, int))
    share = np.linspace(0.4, 0.9, CIRCLES) * np.where(point, 1, np.linspace(0.7, 0.95, n))[:, None]
    band = BandFluxes(
        psf=psf,
        cmodel=psf,
        gaap=(psf,) * 2,
        model=np.zeros(n),
        in_circles=share,
        in_kron=np.ones((n, 1)),
        circle_fraction=share,
        extendedness=np.zeros(n),
        excess=np.zeros(n),
        excess_error=np.ones(n),
        neighbours=np.zeros(n),
        chi2=np.ones(n),
        centre=centre,
    )
    light = total[:, None] * np.linspace(0.4, 0.9, CIRCLES)
    in_circles = ApertureSums(flux=light, variance=np.ones((n, CIRCLES)), filled=np.ones((n, CIRCLES)))
    in_kron = ApertureSums(flux=total[:, None], variance=np.ones((n, 1)), filled=np.ones((n, 1)))
    inflation = ErrorInflation(psf=1.0, gaap=np.ones(2), radius=RADII, circle=np.ones(CIRCLES), samples=100)
    given = {"kron_area": np.ones(n), "inflation": inflation, "floor": 0.03, "calibration": CalibrationErrors()}
    assert finish_band(band, in_circles, in_kron, **given, is_point=point).flux_floor.max() < 1e-3
    assert finish_band(band, in_circles, in_kron, **given, is_point=~nothing).flux_floor.max() > 0.02
