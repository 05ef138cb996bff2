"""The object table: the schema's columns, and numbers that say where an object is."""

from __future__ import annotations

import re

import numpy as np
import pytest

from dmu0.schema.columns import schema_columns
from dmu4.measurement.gaap import PSF_APERTURE
from dmu4.objects.columns import (
    APERTURES,
    COVERAGE_RADIUS,
    GAAP_NAMES,
    GAAP_SIGMAS,
    REFERENCE_PIXEL,
    flux_names,
    object_columns,
    object_id,
)
from obs_vista.bands import BAND_ORDER


def test_columns_are_those_of_the_schema() -> None:
    """The pipeline fills every column of the schema but the reddening, in the schema's order."""
    names = [column.name for column in schema_columns(BAND_ORDER)]
    for name in ("ebv", "brightStar_flag", "brightStar_distance"):
        names.remove(name)
    assert [column.name for column in object_columns(BAND_ORDER)] == names


def test_fluxes_are_those_of_the_schema() -> None:
    """The fluxes that the code makes are the schema's, in its order."""
    names = [column.name for column in schema_columns(("vj",)) if column.name.endswith("Flux")]
    assert flux_names("vj") == names


def test_the_schema_says_the_radii_that_are_measured() -> None:
    """Radii, sigma and coverage in the descriptions are those of the code, in arcsec."""
    text = {column.name: column.description for column in schema_columns(("g",))}
    for radius in APERTURES:
        said = re.search(r"circular aperture of ([\d.]+) arcsec radius", text[f"g_ap{radius:02d}Flux"])
        assert float(said[1]) == pytest.approx(radius * REFERENCE_PIXEL, abs=0.005)
    said = re.search(r"circular aperture of ([\d.]+) arcsec radius", text["g_coverage"])
    assert float(said[1]) == pytest.approx(COVERAGE_RADIUS, abs=0.005)
    for name, sigma in zip(GAAP_NAMES, GAAP_SIGMAS, strict=False):
        said = re.search(r"sigma ([\d.]+) arcsec", text[f"g_{name}"])
        assert float(said[1]) == sigma
    assert f"{PSF_APERTURE:.2f} times the sigma of the PSF" in text[f"g_{GAAP_NAMES[-1]}"]


def test_object_numbers() -> None:
    """Tract, patch and number can be read off, also from a float64; what does not fit is refused."""
    numbers = object_id(tract=8524, patch=41, number=np.array([7, 9_999_999]))
    assert list(numbers) == [852_400_410_000_007, 852_400_419_999_999]
    np.testing.assert_array_equal(numbers.astype(float).astype(np.int64), numbers)
    with pytest.raises(ValueError, match="below 10\\^7"):
        object_id(tract=1, patch=1, number=np.array([10**7]))
    for tract, patch in ((90_000, 0), (1, 10_000), (-1, 0)):
        with pytest.raises(ValueError, match="No object numbers"):
            object_id(tract=tract, patch=patch, number=np.array([1]))
