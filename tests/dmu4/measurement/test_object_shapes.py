"""What error inflation does to positions and to the classes of objects."""

from __future__ import annotations

import numpy as np
import pytest

from dmu4.measurement.error_scale import ErrorInflation
from dmu4.measurement.object_shapes import ShapeSettings, measure_objects
from tests.scenes.tilted import make_tilted, psf_at

PLACE = (140.7, 95.2)
SIGMA = 2.0


def measured(flux: float, inflation: float, *, shape: tuple[float, float, float] = (0.0, 0.0, 0.0), **settings):
    """Shapes of one noiseless object, whose variance is that of noise of 2 nJy per pixel."""
    cube = make_tilted([(*PLACE, flux)], shapes=[shape], sigma=SIGMA)
    x, y = np.array([PLACE]).T
    options = {"reference": np.zeros(1, int), "inflations": [inflated(inflation)]}
    return measure_objects(cube, x=x + 0.3, y=y - 0.2, **options, settings=ShapeSettings(**settings)).shapes


def inflated(psf: float) -> ErrorInflation:
    """Error inflation of point sources alone."""
    return ErrorInflation(psf=psf, gaap=np.ones(1), radius=np.array([3.0, 6.0]), circle=np.ones(2), samples=100)


def point_error() -> float:
    """Error of a point source: sigma sqrt(4 pi sqrt(det P))."""
    xx, yy, xy = psf_at(x=PLACE[0], y=PLACE[1])
    return SIGMA * np.sqrt(4 * np.pi * np.sqrt(xx * yy - xy**2))


def test_errors_of_positions_are_inflated() -> None:
    """Errors in x and y are those of white noise, sigma / F sqrt(8 pi sqrt(det P) P_xx), times the inflation."""
    xx, yy, xy = psf_at(x=PLACE[0], y=PLACE[1])
    flux, area = 60 * point_error(), np.sqrt(xx * yy - xy**2)
    found = measured(flux, 1.7)
    assert (found.x[0], found.y[0]) == pytest.approx(PLACE, abs=0.01)
    assert found.x_error[0] == pytest.approx(1.7 * SIGMA / flux * np.sqrt(8 * np.pi * area * xx), rel=0.02)
    assert found.y_error[0] == pytest.approx(1.7 * SIGMA / flux * np.sqrt(8 * np.pi * area * yy), rel=0.02)
    assert found.extendedness[0] == 0


def test_signal_to_noise_is_that_of_the_true_noise() -> None:
    """At 8 sigma of white noise a shape is measured; in twice the noise, at 4, neither shape nor class is told."""
    flux = 8 * point_error()
    clear, noisy = measured(flux, 1.0), measured(flux, 2.0)
    assert not clear.failed[0]
    assert clear.extendedness[0] == 0
    assert noisy.failed[0]
    assert np.isnan(noisy.extendedness[0])
    np.testing.assert_allclose(noisy.covariance[0], psf_at(x=PLACE[0], y=PLACE[1]), rtol=0.01)


def test_extended_is_what_noise_does_not_explain() -> None:
    """A galaxy 1.3 times as large as the limit at 20 sigma is extended, and is not said to be in noise of four times.

    The excess is known to about 2 / (S/N), so that twice its error is above the limit there.
    """
    flux = 24 * point_error()
    shape = (0.8, 1.4, 0.3)
    assert measured(flux, 1.0, shape=shape).extendedness[0] == 1
    assert measured(flux, 4.0, shape=shape).extendedness[0] == 0
    assert measured(100 * flux, 4.0, shape=shape).extendedness[0] == 1
    assert measured(100 * flux, 1.0, shape=shape, extended_limit=0.5).extendedness[0] == 0
    assert ShapeSettings().extended_limit == 0.1


def test_a_centre_may_move_by_arcsec() -> None:
    """0.4 arcsec are two pixels: a centre 1.5 px off is found, one that may move by 0.1 arcsec stays."""
    cube = make_tilted([(*PLACE, 5000.0)], sigma=SIGMA)
    start = {"x": np.array([PLACE[0] + 1.5]), "y": np.array([PLACE[1]])}
    options = {"reference": np.zeros(1, int), "inflations": [inflated(1.0)]}
    free = measure_objects(cube, **start, **options, settings=ShapeSettings(passes=1)).shapes
    held = measure_objects(cube, **start, **options, settings=ShapeSettings(passes=1, max_shift=0.1)).shapes
    assert free.x[0] == pytest.approx(PLACE[0], abs=0.05)
    assert held.x[0] == pytest.approx(PLACE[0] + 1.5)
