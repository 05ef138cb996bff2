"""Positions that were rounded by their type or by their decimals, and what that adds to their errors."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Column, Table

from dmu0.files.catalogue_files import CatalogueError
from dmu0.files.rounding import rounding_errors
from dmu2.catalogues import read_catalogue

MAS = 3.6e6 / np.sqrt(12)


@pytest.fixture
def exact(rng) -> Table:
    """Positions of 60 stars across 0 h, in double precision."""
    return Table({"ra": (rng.uniform(359, 361, 60)) % 360, "dec": rng.uniform(-6, -4, 60)})


def test_exact_positions(exact) -> None:
    """Double precision and many decimals add nothing."""
    assert rounding_errors(exact) == (0, 0)
    written = Table({name: [f"{value:.8f}" for value in exact[name]] for name in exact.colnames})
    assert rounding_errors(written) == (0, 0)


@pytest.mark.parametrize("again", [float, np.float32])
def test_single_precision(exact, again) -> None:
    """Positions that were in single precision, also where they are in double precision now: measured against the
    truth, the error is at most that of the largest number."""
    rounded = Table({name: exact[name].astype(np.float32).astype(again) for name in exact.colnames})
    ra_error, dec_error = rounding_errors(rounded)
    assert ra_error == pytest.approx(2.0**-15 * MAS)
    assert dec_error == pytest.approx(2.0**-21 * MAS)
    off = (np.asarray(rounded["ra"], float) - exact["ra"])[exact["ra"] > 300] * 3.6e6
    assert np.std(off) == pytest.approx(ra_error, rel=0.3)


@pytest.mark.parametrize(
    ("decimals", "unit", "step"), [(3, "deg", 1e-3), (4, None, 1e-4), (5, "deg", 1e-5), (6, "hourangle", 15e-6)]
)
def test_decimals(exact, decimals: int, unit: str | None, step: float) -> None:
    """Decimals are counted in the unit of the column, as numbers and as text."""
    for form in (float, str):
        factor = 15 if unit == "hourangle" else 1
        values = [form(f"{value / factor:.{decimals}f}") for value in exact["ra"]]
        table = Table({"ra": Column(values, unit=unit), "dec": exact["dec"]})
        assert rounding_errors(table) == (pytest.approx(step * MAS), 0)


def test_sexagesimal(exact) -> None:
    """Seconds of time are fifteen times seconds of arc."""
    hours, degrees = exact["ra"] / 15, np.abs(exact["dec"])
    words = {
        "ra": [f"{int(h):02d}:{int(h * 60) % 60:02d}:{h * 3600 % 60:05.2f}" for h in hours],
        "dec": [f"-{int(d):02d} {int(d * 60) % 60:02d} {d * 3600 % 60:04.1f}" for d in degrees],
    }
    ra_error, dec_error = rounding_errors(Table(words))
    assert ra_error == pytest.approx(0.15 / 3600 * MAS)
    assert dec_error == pytest.approx(0.1 / 3600 * MAS)
    words["ra"] = [word[:8] for word in words["ra"]]
    with pytest.raises(CatalogueError, match="gives 'ra' in steps of 15 arcsec"):
        rounding_errors(Table(words))


def test_coarse_positions(exact) -> None:
    """Half precision, and two decimals, are refused by column and step; a few round numbers prove nothing."""
    for column, steps in ((exact["dec"].astype(np.float16), "14"), (np.round(exact["dec"], 2), "36")):
        with pytest.raises(CatalogueError, match=f"gives 'dec' in steps of {steps} arcsec"):
            rounding_errors(Table({"ra": exact["ra"], "dec": column}))
    assert rounding_errors(Table({"ra": [34.5, 35.25], "dec": [-5.0, 0.0]})) == (0, 0)


def test_errors_of_a_catalogue(tmp_path, exact) -> None:
    """The errors of reference stars contain the rounding, times the cosine of the declination in right ascension."""
    exact["dec"] += 65
    table = Table({"source_id": np.arange(60) + 1, "ra": exact["ra"].astype(np.float32), "dec": exact["dec"]})
    table["ra_error"], table["dec_error"], table["phot_g_mean_mag"] = 3.0, 4.0, 17.0
    table.write(tmp_path / "gaia.fits")
    found, files = read_catalogue("gaia", [tmp_path / "gaia.fits"])
    assert files["state"][0] == "done"
    across = np.cos(np.radians(found["dec"])) * 2.0**-15 * MAS
    np.testing.assert_allclose(found["ra_err"], np.hypot(3, across), rtol=1e-6)
    np.testing.assert_allclose(found["dec_err"], 4)
