"""The noise of a visit image, on its way from the pixels through the summaries to the coadd."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table
from lsst.daf.butler.formatters.parquet import arrow_to_astropy, astropy_to_arrow

from dmu4.coadds.correlated_noise import correlated_noise, noise_kernel
from dmu4.coadds.visit_quality import (
    OutdatedSummary,
    UnusableInput,
    VisitNoise,
    accepted_quality,
    add_visit_noise,
    measure_visit_noise,
)
from dmu4.detectors.acceptance import Limits, summarise
from obs_vista.masks import BIT

CORRELATION = np.array([[0.06, 0.2, 0.06], [0.3, 1.0, 0.3], [0.06, 0.2, 0.06]])
FIGURES = {
    "zero_point": 28.0, "zero_point_err": 0.005, "seeing": 0.8, "astrometric_scatter": 0.02,
    "psf_size_residual": 0.001, "psf_size_residual_err": 0.002, "psf_growth": 0.99, "psf_growth_err": 0.005,
    "noise_ratio": 0.95, "aperture_correction": 1.03, "astrometric_error": 0.0012,
}  # fmt: skip


@pytest.fixture(scope="module")
def noise() -> VisitNoise:
    """Measured on an image whose left third has nine times the variance, and a column of bad pixels far more."""
    variance = np.full((420, 510), 4.0, np.float32)
    variance[:, :170] = 36.0
    image, mask = correlated_noise(variance, noise_kernel(CORRELATION), seed=5), np.zeros(variance.shape, np.int32)
    variance[:, 300], image[:, 300], mask[:, 300] = 1e8, 1e6, BIT["BAD"]
    mask[:40], image[:40], variance[:40] = BIT["NO_DATA"], np.nan, np.inf
    return measure_visit_noise(image, variance, mask)


def detector(number: int, noise: VisitNoise) -> Table:
    """The summary of one detector."""
    table = Table({"visit": [3], "detector": [number]} | {name: [value] for name, value in FIGURES.items()})
    add_visit_noise(table, noise)
    return table


def test_measured(noise):
    """The median variance of the usable pixels, and the correlation in x and y within its error."""
    assert noise.variance == 4.0
    middle = noise.correlation.shape[0] // 2
    near = noise.correlation[middle - 1 : middle + 2, middle - 1 : middle + 2]
    np.testing.assert_allclose(near, CORRELATION, atol=0.02)
    far = np.delete(np.delete(noise.correlation, np.s_[middle - 1 : middle + 2], 0), np.s_[middle - 1 : middle + 2], 1)
    assert np.abs(far).max() < 0.02


def test_through_the_summaries(noise):
    """Every number comes back from the files of the summaries as it went in, for the detector that it belongs to."""
    other = VisitNoise(9.0, np.eye(7))
    stored = [arrow_to_astropy(astropy_to_arrow(detector(*one))) for one in ((16, other), (2, noise))]
    table = arrow_to_astropy(astropy_to_arrow(summarise(stored, Limits())))
    for row, expected in zip(table, (noise, other), strict=True):
        quality = accepted_quality(row)
        assert (quality.seeing, quality.psf_correction) == (0.8, 1.03)
        assert quality.zero_point_error == FIGURES["zero_point_err"]
        # The mean of a line that is fitted along each axis, too.
        assert quality.position_error == pytest.approx(np.sqrt(3) * FIGURES["astrometric_error"], rel=1e-12)
        assert quality.noise.variance == expected.variance
        np.testing.assert_array_equal(quality.noise.correlation, expected.correlation)


def test_common_zero_point(noise):
    """A common zero point 0.05 mag fainter makes fluxes 4.5 per cent smaller, with its own error."""
    row = summarise([detector(2, noise)], Limits())[0]
    common = Table({"zero_point": [28.05], "relative_err": [0.003], "zero_point_err": [0.006]})[0]
    quality = accepted_quality(row, common)
    assert quality.flux_factor == pytest.approx(10 ** (-0.4 * 0.05), rel=1e-12)
    assert quality.zero_point_error == 0.003
    assert quality.noise.variance == pytest.approx(4.0 * quality.flux_factor**2)
    assert accepted_quality(row).flux_factor == 1


def test_no_usable_pixel():
    """An image of bad pixels has no variance, and cannot go into a coadd."""
    bad = np.full((80, 90), BIT["BAD"])
    noise = measure_visit_noise(np.ones(bad.shape, np.float32), np.ones(bad.shape, np.float32), bad)
    assert np.isnan(noise.variance)
    with pytest.raises(UnusableInput, match="no usable pixel"):
        accepted_quality(summarise([detector(1, noise)], Limits())[0])


def test_old_summaries_say_what_to_do(noise):
    """A summary without the noise is no reason to leave the image out: the step that makes it has to be run again."""
    table = summarise([detector(1, noise)], Limits())
    table.remove_column("noise_correlation")
    with pytest.raises(OutdatedSummary, match=r"visit 3 has no noise_correlation.*Run dmu4/2_Single_frame.ipynb again"):
        accepted_quality(table[0])


@pytest.mark.parametrize("plane", BIT)
def test_planes_that_say_nothing_of_the_noise(plane: str) -> None:
    """Of pixels most of which are in a plane, the variance is that of the others only if the plane is a defect."""
    rng = np.random.default_rng(3)
    variance, mask = np.full((120, 150), 4, np.float32), np.zeros((120, 150), np.int32)
    variance[:, 50:], mask[:, 50:] = 100, BIT[plane]
    image = rng.normal(0, 1, variance.shape) * np.sqrt(variance)
    expected = 4 if plane in {"NO_DATA", "BAD", "CR", "STREAK"} else 100
    assert measure_visit_noise(image.astype(np.float32), variance, mask).variance == expected
