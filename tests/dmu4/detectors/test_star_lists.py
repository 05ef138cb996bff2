"""Stars of several detectors as one list."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table

from dmu4.detectors.common_stars import fit_common_zero_points
from dmu4.detectors.star_lists import list_stars, zero_point_table
from obs_vista.photometry import POGSON


def source_table(stars: np.ndarray, flux: np.ndarray, reference: np.ndarray, **changes: object) -> Table:
    """Sources of a detector, every one a good reference star of 1 per cent, measured to 0.1 per cent."""
    count = len(stars)
    table = Table({"ref_id": stars, "psf_flux": flux.astype("f4"), "psf_flux_err": (0.001 * flux).astype("f4")})
    table["psf_chi2"], table["point_like"], table["photometry_used"] = np.ones(count, "f4"), True, True
    table["ref_flux"], table["ref_flux_err"] = reference.astype("f4"), (0.01 * reference).astype("f4")
    for name, values in changes.items():
        table[name] = values
    return table


def summary(visit: int, detector: int, **changes: object) -> dict[str, object]:
    """What the visit summary says of a detector."""
    row = {"visit": visit, "detector": detector, "zero_point": 28.0 + 0.01 * detector, "zero_point_err": 0.02}
    return row | {"zero_point_state": "fitted", "aperture_correction_err": 0.002} | changes


@pytest.fixture
def flux() -> np.ndarray:
    """True fluxes of thirty stars."""
    return 10 ** np.linspace(4, 5.5, 30)


def test_which_sources_count(flux: np.ndarray) -> None:
    """Extended, unidentified, faint and ill-fitting sources are not in the list; those without a reference flux are."""
    point, identifier, chi2 = np.ones(30, bool), np.arange(30), np.ones(30)
    point[3], identifier[4], chi2[5] = False, -1, 1 + 0.1**2 / 0.001**2
    table = source_table(identifier, flux, flux, point_like=point, psf_chi2=chi2)
    table["psf_flux_err"][6], table["photometry_used"][7], table["ref_flux"][8] = 0.04 * flux[6], False, np.nan
    found = list_stars([table], [summary(1, 2)])
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(found.reference)) + 4, [7, 8])
    assert len(found.magnitude) == len(found.reference) == 26
    np.testing.assert_allclose(found.error, POGSON * 0.001, rtol=1e-5)
    assert np.isinf(found.header_error[0])
    nothing = list_stars([table[:0]], [summary(1, 2)])
    assert len(nothing.magnitude) == 0
    assert nothing.header_error[0] == 0.02
    unknown = list_stars(
        [table[:0], table[:0]], [summary(1, 2, zero_point_err=np.nan), summary(1, 3, zero_point_err=0)]
    )
    assert np.isinf(unknown.header_error).all()
    assert np.isfinite(fit_common_zero_points(unknown).error).all()


def test_same_star_and_numbers(flux: np.ndarray) -> None:
    """Sources of one reference are one star, in any order: a zero point that makes them 2% too bright shows."""
    two = [source_table(np.arange(30), flux, flux), source_table(np.arange(30)[::-1], 1.02 * flux[::-1], flux[::-1])]
    two[1]["photometry_used"] = False
    rows = [summary(7, 3), summary(9, 5, zero_point_state="header")]
    stars = list_stars(two, rows)
    np.testing.assert_array_equal(stars.detector, np.repeat([0, 1], 30))
    np.testing.assert_array_equal(stars.star, np.concatenate([np.arange(30), np.arange(30)[::-1]]))
    fit = fit_common_zero_points(stars)
    table = zero_point_table(fit, stars, rows)
    assert table["visit"].tolist() == [7, 9]
    assert table["detector"].tolist() == [3, 5]
    np.testing.assert_allclose(table["correction"], [0, 2.5 * np.log10(1.02)], atol=5e-4)
    np.testing.assert_allclose(table["zero_point"] - table["correction"], [28.03, 28.05], rtol=1e-12)
    np.testing.assert_allclose(table["zero_point_err"], np.hypot(fit.error, POGSON * 0.002), rtol=1e-6)
    np.testing.assert_allclose(table["psf_err"], POGSON * 0.002)
    np.testing.assert_allclose(table["relative_err"], fit.relative_error)
    assert table["n_shared"].tolist() == [30, 30]


def test_noise_of_references_does_not_bias() -> None:
    """References with errors of a tenth of the flux, quoted from their noisy fluxes, give an unbiased zero point."""
    rng = np.random.default_rng(2)
    flux = 10 ** rng.uniform(4, 4.3, 20000)
    reference = flux + rng.normal(0, 1000 + 0.03 * flux)
    table = source_table(np.arange(20000), flux, reference, ref_flux_err=(1000 + 0.03 * reference).astype("f4"))
    fit = fit_common_zero_points(list_stars([table], [summary(1, 1)]))
    assert fit.correction[0] == pytest.approx(0, abs=0.003)
