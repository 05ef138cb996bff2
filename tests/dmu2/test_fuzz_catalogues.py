"""Catalogue files at random: the stars that are sound have their fluxes, or the file is refused with a reason."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from astropy.io import fits
from astropy.table import Table
from hypothesis import given
from hypothesis import strategies as st

from dmu0.files.integrity import check_file
from dmu2.catalogues import READERS, TWOMASS_VEGA_TO_AB, read_catalogue

pytestmark = [pytest.mark.fuzz, pytest.mark.filterwarnings("ignore:.*:astropy.utils.exceptions.AstropyWarning")]

COLUMNS = ("ra", "dec", "cntr", "j_m", "j_msigcom", "h_m", "h_msigcom", "ph_qual", "cc_flg", "jdate")
ROWS = (
    ("10.5", "-5.25", "7", "15.0", "0.05", "14.5", "0.05", "AAA", "000", "2451545.0"),
    ("10.75", "-5.5", "8", "15.5", "0.05", "14.75", "0.05", "AAA", "000", "2451545.0"),
    ("11.0", "-5.75", "9", "16.0", "0.05", "15.0", "0.05", "AAA", "000", "2451545.0"),
    ("11.25", "-6.0", "10", "16.5", "0.05", "15.25", "0.05", "AAA", "000", "2451545.0"),
)
ODD_CELLS = ["", "null", "--", "-999", "-99.99", "99", "0", "nan", "inf", "1e400", "02:18:09", "-00 30 00", "J1"]
ODD_CELLS += ["-9.999995e8", "1998-10-01", "12,5", '"', "é", "9223372036854775808", "360", "-90", "1_000", "0x1F"]
CELLS = st.sampled_from(ODD_CELLS) | st.text(max_size=8)
ODD_NUMBERS = [np.nan, np.inf, -np.inf, -999.0, -99.99, 99.0, 0.0, 1e300, -1e300, 1e-300, 2.0**63]
NUMBERS = st.sampled_from(ODD_NUMBERS) | st.floats()
ODD_UNITS = ["", "deg", "rad", "h", "mag", "Jy", "nJy", "mag(AB)", "Vega", "mas", "furlong", "K", "h:m:s", "10"]
UNITS = st.sampled_from(ODD_UNITS)


def assert_sound_or_reason(path: Path, kind: str = "twomass") -> Table:
    """The stars of a file, after the tests that every answer must pass."""
    reason = check_file(path, kind)
    assert isinstance(reason, str)
    stars, files = read_catalogue(kind, [path])
    assert len(files) == 1
    assert files["state"][0] in ("done", "failed")
    if files["state"][0] == "failed":
        assert path.name in files["reason"][0]
        assert len(str(files["reason"][0])) > len(str(path)) + 5
        assert len(stars) == 0
        return stars
    if len(stars) and not reason:  # files that do not pass the check of inputs are never read
        assert ((stars["ra"] >= 0) & (stars["ra"] < 360) & (np.abs(stars["dec"]) <= 90)).all()
        assert len(np.unique(stars["id"])) == len(stars)
        for name in stars.colnames:
            if name.endswith("_flux"):
                flux, error = np.asarray(stars[name]), np.asarray(stars[f"{name}Err"])
                assert (np.isnan(flux) == np.isnan(error)).all()
                assert (flux[np.isfinite(flux)] > 0).all()
                assert (error[np.isfinite(flux)] > 0).all()
                assert not np.isinf(flux).any()
    return stars


@given(data=st.data(), separator=st.sampled_from([",", ";", "\t", "|"]))
def test_cells_at_random(data, separator):
    """Odd cells of some stars cost those stars, or the file with a reason; the first star is right if it is there."""
    rows = [list(row) for row in ROWS]
    for _ in range(data.draw(st.integers(1, 4))):
        row, column = data.draw(st.integers(1, 3)), data.draw(st.integers(0, len(COLUMNS) - 1))
        rows[row][column] = data.draw(CELLS)
    text = "\n".join(separator.join(row) for row in (COLUMNS, *rows))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "twomass_1.csv"
        path.write_text(text, encoding="utf-8", errors="replace")
        stars = assert_sound_or_reason(path)
    first = stars[stars["id"] == 7] if len(stars) else stars
    if len(first):
        flux = 10 ** (0.4 * (31.4 - 15.0 - TWOMASS_VEGA_TO_AB["j"]))
        assert first["ra"][0] in (10.5, 157.5), "in degrees, or in hours where the others are"
        assert first["tmass_j_flux"][0] == pytest.approx(flux)


@given(data=st.data(), suffix=st.sampled_from([".fits", ".parquet", ".vot"]), kind=st.sampled_from(sorted(READERS)))
def test_numbers_and_units_at_random(data, suffix, kind):
    """Binary tables with odd numbers, types and units in any column give sound stars, or a reason."""
    pairs = {"ps1": ("gMeanPSFMag", "gMeanPSFMagErr"), "gaia": ("phot_g_mean_mag", "phot_g_mean_flux_over_error")}
    magnitude, error = pairs.get(kind, ("j_m", "j_msigcom") if kind == "twomass" else ("jAperMag3", "jAperMag3Err"))
    identifier = {"ps1": "objID", "gaia": "source_id", "twomass": "cntr"}.get(kind, "sourceID")
    table = Table(
        {"ra": [10.0, 11, 12], "dec": [1.0, 2, 3], identifier: [1, 2, 3], magnitude: [15.0, 16, 17], error: [0.1] * 3}
    )
    for name in data.draw(st.lists(st.sampled_from(table.colnames), min_size=1, max_size=3)):
        values = np.array(data.draw(st.lists(NUMBERS, min_size=3, max_size=3)))
        kinds = {"f8": values, "f4": np.clip(values, -3e38, 3e38).astype(np.float32), "text": values.astype(str)}
        kinds["i8"] = np.clip(np.nan_to_num(values), -(2**62), 2**62).astype(np.int64)
        table[name] = kinds[data.draw(st.sampled_from(sorted(kinds)))]
    units = {name: data.draw(UNITS) for name in data.draw(st.lists(st.sampled_from(table.colnames), max_size=3))}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"some_1{suffix}"
        write(path, table, units)
        assert_sound_or_reason(path, kind)


def write(path: Path, table: Table, units: dict[str, str]) -> None:
    """A binary table with units that Astropy would not write."""
    if path.suffix == ".fits":
        hdu = fits.table_to_hdu(table)
        for number, name in enumerate(table.colnames, start=1):
            if name in units:
                hdu.header[f"TUNIT{number}"] = units[name]
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)
    elif path.suffix == ".parquet":
        columns = pa.table({name: np.asarray(table[name]).tolist() for name in table.colnames})
        fields = [field.with_metadata({"unit": units.get(field.name, "")}) for field in columns.schema]
        pyarrow.parquet.write_table(columns.cast(pa.schema(fields)), path)
    else:
        table.write(path, format="votable")
        text = path.read_text()
        for name, unit in units.items():
            text = text.replace(f'name="{name}"', f'name="{name}" unit="{unit}"')
        path.write_text(text)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, bytes]:
    """A sound file of each format."""
    folder = tmp_path_factory.mktemp("whole")
    table = Table(
        {"ra": [10.0, 11, 12], "dec": [1.0, 2, 3], "cntr": [1, 2, 3], "j_m": [15.0, 16, 17], "j_msigcom": [0.1] * 3}
    )
    for suffix, form in ((".fits", "fits"), (".parquet", "parquet"), (".vot", "votable"), (".ecsv", "ascii.ecsv")):
        table.write(folder / f"t{suffix}", format=form)
    return {path.suffix: path.read_bytes() for path in folder.iterdir()}


@given(data=st.data(), suffix=st.sampled_from([".fits", ".parquet", ".vot", ".ecsv"]))
def test_bytes_at_random(whole, data, suffix):
    """Files that are cut, or have some bytes changed, give sound stars or a reason."""
    content = bytearray(whole[suffix])
    for _ in range(data.draw(st.integers(0, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"twomass_1{suffix}"
        path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))]))
        assert_sound_or_reason(path)
