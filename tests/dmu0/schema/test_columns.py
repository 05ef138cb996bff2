"""The schema: valid Felis, the same columns for every band, and names, types and units as they were agreed."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
import yaml
from felis.datamodel import Schema

from dmu0.schema.columns import (
    NAME_LENGTH,
    TEMPLATE,
    SchemaColumn,
    SchemaError,
    expanded_schema,
    schema_columns,
    schema_version,
)
from obs_vista.bands import BAND_ORDER


def test_template_and_expansion_are_felis() -> None:
    """Both the template and what becomes of it for all bands are valid."""
    template = Schema.model_validate(yaml.safe_load(TEMPLATE.read_text()))
    assert template.version == schema_version()
    schema = Schema.model_validate(expanded_schema(BAND_ORDER))
    assert [column.name for column in schema.tables[0].columns] == [c.name for c in schema_columns(BAND_ORDER)]


def test_a_column_is_read_as_it_is_written() -> None:
    """One column of each kind, with the band's label in its name, its words and its UCD."""
    columns = {column.name: column for column in schema_columns(("g", "vk"))}
    assert columns["objectId"] == SchemaColumn(
        "objectId",
        "i8",
        "",
        "meta.id;meta.main",
        "Identifier of the object: tract x 10^11 + patch x 10^7 + running number",
        nullable=False,
    )
    assert columns["refBand"].dtype == "U8"
    assert columns["vk_psfFluxErr"] == SchemaColumn(
        "vk_psfFluxErr",
        "f4",
        "nJy",
        "stat.error;phot.flux;em.IR.K",
        "Statistical error of vk_psfFlux, correlated noise included",
        "vk",
    )
    assert columns["g_usable"].band == "g"


def test_dimensions() -> None:
    """Units have the dimensions of what they measure: positions are angles, fluxes flux densities, areas areas."""
    units = {column.name: u.Unit(column.unit) for column in schema_columns(("g",))}
    for name, example in {
        "coord_ra": u.deg,
        "coord_decErr": u.arcsec,
        "shape_xy": u.arcsec**2,
        "kronRad": u.arcsec,
        "footprintArea": u.pixel,
        "g_psfFlux": u.Jy,
        "g_gaap1p0FluxErr": u.Jy,
    }.items():
        assert units[name].is_equivalent(example), name
    assert units["g_psfFlux"] == 1e-9 * u.Jy
    for column in schema_columns(BAND_ORDER):
        if column.name.endswith(("Flux", "FluxErr")):
            assert column.unit == "nJy", column.name
        elif column.unit:
            assert np.dtype(column.dtype).kind in "fi", column.name


def test_names_survive_sql_and_fits() -> None:
    """Names are unique when case is ignored, short enough for FITS, and every column has a description and a UCD."""
    columns = schema_columns(BAND_ORDER)
    assert len({column.name.lower() for column in columns}) == len(columns)
    assert max(len(column.name) for column in columns) <= NAME_LENGTH
    assert all(column.description and column.ucd for column in columns)
    assert not [column.name for column in columns if "{" in column.description]


def test_every_band_has_the_same_columns() -> None:
    """The columns of two bands differ in the label alone."""
    columns = schema_columns(("g", "vk"))
    stems = [{c.name.removeprefix(f"{band}_") for c in columns if c.band == band} for band in ("g", "vk")]
    assert stems[0] == stems[1]
    assert len(stems[0]) > 20


def test_every_flux_has_its_error_and_flag() -> None:
    """Behind each flux come its error, of the same type and unit, and its flag."""
    columns = schema_columns(("vh",))
    fluxes = [number for number, column in enumerate(columns) if column.name.endswith("Flux")]
    assert len(fluxes) == 14
    for number in fluxes:
        flux, error, flag = columns[number : number + 3]
        assert (error.name, error.dtype, error.unit) == (f"{flux.name}Err", flux.dtype, flux.unit)
        assert (flag.name, flag.dtype) == (f"{flux.name}_flag", "?")


def test_bands_that_collide_are_refused() -> None:
    """A column twice, or in another case, is an error that names it."""
    with pytest.raises(SchemaError, match="g_detected"):
        expanded_schema(("g", "g"))
