"""Fusing: the pipeline's table becomes the schema's, and nothing else does."""

from __future__ import annotations

from pathlib import Path

import healsparse
import numpy as np
import pytest
from astropy.table import Table

from dmu0.schema.columns import SchemaError, schema_columns
from dmu5.fusing import fuse, look_up_ebv

BANDS = ("g", "i", "vj", "vk")
COLUMNS = schema_columns(BANDS)


def test_fused_columns(objects: Table) -> None:
    """The pipeline's table becomes the schema's, with a reddening that is NaN without a map."""
    table = fuse(objects, COLUMNS)
    assert table.colnames == [column.name for column in COLUMNS]
    assert np.isnan(table["ebv"]).all()
    np.testing.assert_array_equal(table["vk_psfFlux"], objects["vk_psfFlux"])


def test_a_missing_band_is_refused(objects: Table) -> None:
    """A table without the columns of one band does not become a catalogue."""
    with pytest.raises(SchemaError, match="vh_"):
        fuse(objects, schema_columns((*BANDS, "vh")))


def test_reddening_from_a_map(tmp_path: Path) -> None:
    """E(B-V) is that of the map's pixel, NaN outside; a map that is not there is an error."""
    sky = healsparse.HealSparseMap.make_empty(32, 256, np.float32)
    sky.update_values_pos(np.array([150.0]), np.array([0.0]), np.float32(0.031), lonlat=True)
    sky.write(str(tmp_path / "ebv.hsp"))
    values = look_up_ebv(np.array([150.0, 151.5]), np.array([0.0, 0.0]), tmp_path / "ebv.hsp")
    assert values[0] == pytest.approx(0.031)
    assert np.isnan(values[1])
    with pytest.raises(FileNotFoundError, match=r"none\.hsp"):
        look_up_ebv(np.zeros(1), np.zeros(1), tmp_path / "none.hsp")
