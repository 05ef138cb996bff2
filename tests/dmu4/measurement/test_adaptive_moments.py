"""Centres, moments and discs of tilted sources, with the errors that a formula gives."""

from __future__ import annotations

import numpy as np
import pytest

from dmu4.measurement.adaptive_moments import disc_covariance, measure_shapes, psf_moments
from dmu4.measurement.profiles import make_profiles, points
from dmu4.measurement.stamps import Kernels, render
from tests.scenes.patches import add_gaussian
from tests.scenes.tilted import cell_psf, psf_moments_of

SHAPE = (150, 210)


def measured(image, *, x, y, start, variance=1.0, adapt=True, max_shift=3.0, size=96):
    """Moments of one source on an image of its own: a model without light leaves the whole image as residual."""
    profiles = points(x=np.array([x]), y=np.array([y]), size=np.array([size]))
    stamps = render(profiles, Kernels(cell_psf(0, 0)[None]), np.zeros(1, int))
    return measure_shapes(
        stamps,
        np.zeros(1),
        residual=image,
        variance=np.full(image.shape, variance),
        members=np.array([0]),
        x=np.array([x]),
        y=np.array([y]),
        start=np.array([start]),
        adapt=np.array([adapt]),
        max_shift=max_shift,
    )


@pytest.mark.parametrize("moments", [(9.0, 4.0, 2.5), (4.0, 9.0, -2.5)])
def test_moments_and_errors_of_a_tilted_gaussian(moments):
    """A Gaussian has its own moments; its centre's error along x is s / F sqrt(8 pi sqrt(det) xx), in pixels, and the
    covariance of x and y is that of the Gaussian times the same factor squared.

    The centre under the weight w is 2 sum(w I dx) / sum(w I), and for w the Gaussian itself sum(w I) = F / 2 and
    sum(w^2 dx^2) = pi sqrt(det) xx / 2.
    """
    xx, yy, xy = moments
    image = np.zeros(SHAPE)
    add_gaussian(image, x=120.4, y=61.7, xx=xx, yy=yy, xy=xy, flux=500.0)
    found = measured(image, x=121.0, y=61.0, start=(5.0, 5.0, 0.0), variance=9.0)
    assert not found.failed[0]
    np.testing.assert_allclose([found.x[0], found.y[0]], [120.4, 61.7], atol=2e-3)
    np.testing.assert_allclose(found.covariance[0], moments, rtol=2e-3)
    area = np.sqrt(xx * yy - xy**2)
    assert found.x_error[0] == pytest.approx(3 / 500 * np.sqrt(8 * np.pi * area * xx), rel=0.01)
    assert found.y_error[0] == pytest.approx(3 / 500 * np.sqrt(8 * np.pi * area * yy), rel=0.01)
    assert found.xy_covariance[0] == pytest.approx((3 / 500) ** 2 * 8 * np.pi * area * xy, rel=0.01)


def test_position_errors_are_the_scatter(rng):
    """The scatter of the centres in white noise is the quoted error to 12%, along each axis of a tilted source, and
    their correlation is the quoted covariance over both errors, to 0.12."""
    truth, pulls = np.zeros((60, 80)), []
    add_gaussian(truth, x=41.3, y=28.6, xx=9.0, yy=4.0, xy=2.5, flux=800.0)
    for _ in range(250):
        image = truth + rng.normal(0, 1.0, truth.shape)
        found = measured(image, x=41.0, y=29.0, start=(9.0, 4.0, 2.5), adapt=False, size=48)
        pulls.append([(found.x[0] - 41.3) / found.x_error[0], (found.y[0] - 28.6) / found.y_error[0]])
    np.testing.assert_allclose(np.std(pulls, axis=0), 1, atol=0.12)
    np.testing.assert_allclose(np.mean(pulls, axis=0), 0, atol=0.2)
    correlation = found.xy_covariance[0] / (found.x_error[0] * found.y_error[0])
    assert correlation == pytest.approx(2.5 / 6, rel=0.03)
    assert np.corrcoef(pulls, rowvar=False)[0, 1] == pytest.approx(correlation, abs=0.12)


def test_a_faint_source_keeps_the_shape_it_is_given():
    """Without adaption the moments are those that were given, and the centre is still found."""
    image = np.zeros(SHAPE)
    add_gaussian(image, x=120.4, y=61.7, xx=9, yy=4, xy=2, flux=500.0)
    found = measured(image, x=121.0, y=61.0, start=(5.0, 6.0, 1.0), adapt=False)
    assert found.failed[0]
    np.testing.assert_array_equal(found.covariance[0], [5, 6, 1])
    np.testing.assert_allclose([found.x[0], found.y[0]], [120.4, 61.7], atol=5e-3)


def test_a_centre_that_strays_stays_where_it_was():
    """A source further away than a centre may move is not followed."""
    image = np.zeros(SHAPE)
    add_gaussian(image, x=126.0, y=61.0, xx=9, yy=9, xy=0, flux=500.0)
    found = measured(image, x=120.0, y=61.0, start=(9.0, 9.0, 0.0), max_shift=2.0)
    assert found.failed[0]
    np.testing.assert_array_equal([found.x[0], found.y[0]], [120.0, 61.0])


def test_moments_of_psfs_in_the_order_of_cells():
    """Each cell has the moments of its own PSF; one without light has none."""
    psf = np.array([cell_psf(0, 0), np.zeros((41, 41)), cell_psf(2, 4)])
    moments = psf_moments(psf)
    np.testing.assert_allclose(moments[0], psf_moments_of(0, 0), rtol=2e-3)
    np.testing.assert_allclose(moments[2], psf_moments_of(2, 4), rtol=2e-3)
    assert np.isnan(moments[1]).all()


@pytest.mark.parametrize("truth", [(120.0, 40.0, 30.0), (40.0, 120.0, -30.0), (60.0, 60.0, 0.0)])
def test_a_disc_is_recovered_with_its_size_and_its_tilt(truth):
    """A tilted disc, rendered, measured and taken back, has its area to 8%, its axis ratio to 0.06, its angle to 4 deg.

    It is large beside the PSF: the size of a flat one that is hardly larger comes out up to 20% too large, because
    the equation for the size takes both for round.
    """
    psf = cell_psf(0, 0)[None]
    profiles = make_profiles(x=np.array([151.4]), y=np.array([148.7]), covariance=np.array([truth]), psf_size=41)
    stamps = render(profiles, Kernels(psf), np.zeros(1, int))
    image = np.zeros((300, 310))
    x0, y0, side = stamps.x0[0], stamps.y0[0], stamps.size[0]
    image[y0 : y0 + side, x0 : x0 + side] = 1000 * stamps[0]
    start = psf_moments(psf)
    found = measured(image, x=151.0, y=149.0, start=start[0], size=side)
    assert not found.failed[0]
    xx, yy, xy = disc_covariance(found.covariance, start)[0]
    assert np.sqrt(xx * yy - xy**2) == pytest.approx(np.sqrt(truth[0] * truth[1] - truth[2] ** 2), rel=0.08)
    values, true_values = (np.linalg.eigvalsh([[a, c], [c, b]]) for a, b, c in ((xx, yy, xy), truth))
    assert np.sqrt(values[0] / values[1]) == pytest.approx(np.sqrt(true_values[0] / true_values[1]), abs=0.06)
    if truth[0] != truth[1]:
        angle, true_angle = (0.5 * np.degrees(np.arctan2(2 * c, a - b)) for a, b, c in ((xx, yy, xy), truth))
        assert angle == pytest.approx(true_angle, abs=4)
