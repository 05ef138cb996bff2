"""Fluxes of catalogues: every unit and system gives the same flux, and marks of missing values give none."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from astropy.table import Table

from dmu0.files.catalogue_files import CatalogueError
from dmu2.catalogue_fluxes import System, set_flux

VEGA_TO_AB = 0.8938
MAGNITUDES = np.array([15.0, 16.5, 18.0])
FLUXES = 10 ** (0.4 * (31.4 - MAGNITUDES - VEGA_TO_AB))
SYSTEM = System("Vega", (5.0, 30.0))


def read(
    values: object, unit: str | None = None, errors: object = 0.1, error_unit: str | None = None, **options: object
):
    """Flux and error of a column."""
    table = Table({"m": np.asarray(values, float)})
    table["e"] = np.broadcast_to(np.asarray(errors, float), len(table)).copy()
    for name, spelled in (("m", unit), ("e", error_unit)):
        table[name].unit = u.Unit(spelled, parse_strict="silent") if spelled else None
    out = Table({"id": np.arange(len(table))})
    set_flux(out, "j", table, ("m",), ("e",), **{"system": SYSTEM, "to_ab": VEGA_TO_AB} | options)
    return np.asarray(out["j_flux"]), np.asarray(out["j_fluxErr"])


@pytest.mark.parametrize(
    ("values", "unit", "errors", "error_unit"),
    [
        (MAGNITUDES, None, 0.1, None),
        (MAGNITUDES, "mag", 0.1, "mag"),
        (MAGNITUDES, "Vega", 0.1, None),
        (MAGNITUDES, "mag (Vega)", 0.1, "mag"),
        (MAGNITUDES + VEGA_TO_AB, "mag(AB)", 0.1, "mag"),
        (MAGNITUDES + VEGA_TO_AB, "ABmag", 0.1, "mag"),
        (MAGNITUDES + VEGA_TO_AB, "AB", 0.1, "mag"),
        (MAGNITUDES * 1000, "mmag", 100.0, "mmag"),
        (FLUXES, "nJy", FLUXES * 0.1 * np.log(10) / 2.5, "nJy"),
        (FLUXES * 1e-9, "Jy", FLUXES * 1e-9 * 0.1 * np.log(10) / 2.5, None),
        (FLUXES * 1e-3, "uJy", FLUXES * 1e-6 * 0.1 * np.log(10) / 2.5, "mJy"),
        (FLUXES * 1e-32, "erg / (s cm2 Hz)", FLUXES * 1e-32 * 0.1 * np.log(10) / 2.5, None),
    ],
)
def test_units_and_systems(values, unit, errors, error_unit):
    """Magnitudes in Vega and AB, millimagnitudes and flux densities of one star are one flux with one error."""
    flux, error = read(values, unit, errors, error_unit)
    assert flux == pytest.approx(FLUXES, rel=1e-9)
    assert error == pytest.approx(FLUXES * 0.1 * np.log(10) / 2.5, rel=1e-9)


@pytest.mark.parametrize(
    "mark", [-99.99, -99, -9.99, -999, 99, 99.999, 88.88, 0, np.nan, np.inf, 1e20, -9.999995e8, -1]
)
def test_marks_of_missing_values(mark):
    """What archives write for no magnitude is no flux, in single precision too, and where it is all there is."""
    flux, error = read([mark, 16.5], "mag")
    assert np.isnan(flux[0])
    assert np.isnan(error[0])
    assert flux[1] == pytest.approx(FLUXES[1])
    assert np.isnan(read(np.full(3, mark, np.float32))[0]).all()


@pytest.mark.parametrize("mark", [-999, -1, 0, 9.999, 8.888, 99, np.nan])
def test_marks_of_missing_errors(mark):
    """A flux whose error is unknown is not used."""
    assert np.isnan(read([15.0], "mag", mark)[0]).all()


@pytest.mark.parametrize(
    ("values", "unit", "options", "reason"),
    [
        ([15.0], "mag(ST)", {}, "no conversion to AB is known"),
        ([15.0], "Vega", {"to_ab": None}, "no conversion to AB is known"),
        ([15.0], "furlong", {}, "'furlong', which cannot be converted to nJy"),
        ([15.0], "K", {}, "cannot be converted to nJy"),
        (MAGNITUDES * 1000, "mag", {}, "Is the unit right"),
        (FLUXES * 1e-9, "nJy", {}, "Is the unit right"),
        (FLUXES, "Jy", {}, "Is the unit right"),
    ],
)
def test_wrong_units_are_refused(values, unit, options, reason):
    """Units that cannot be meant, systems without a conversion and values that no star has name the column."""
    with pytest.raises(CatalogueError, match=reason) as error:
        read(values, unit, np.abs(values) / 10, None, **options)
    assert "'m'" in str(error.value)


def test_bad_flags_and_default_errors():
    """What flags forbid has no flux; errors from elsewhere serve where the column has none."""
    flux, _ = read(MAGNITUDES, good=np.array([True, False, True]))
    assert np.isfinite(flux).tolist() == [True, False, True]
    flux, error = read(MAGNITUDES, "mag", [0.1, np.nan, 0.1], error=np.full(3, 0.2))
    assert error / flux == pytest.approx(np.array([0.1, 0.2, 0.1]) * np.log(10) / 2.5)
