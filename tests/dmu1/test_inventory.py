"""The inventory: values from headers, errors as rows, and reading only what is new."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.time import Time

from dmu0.files.tables import read_table, write_table
from dmu1.describe import COLUMNS, describe_detector, is_wanted, pixels_to_icrs
from dmu1.inventory import StackFile, empty_inventory, read_stack, read_stacks, stack_files, update_inventory
from obs_vista.headers import merged_header
from obs_vista.world_coordinates import icrs_wcs


def stack(path: Path, **values: object) -> StackFile:
    """A stack to read."""
    return StackFile(recorded=path.name, path=path, **{"sha256": "0"} | values)


def test_one_row_a_detector(make_stack):
    """Every extension is a row with its own detector, size and place; values are those of the cards."""
    table = read_stacks([stack(make_stack(detectors=(3, 1, 16)))])
    assert list(table["detector"]) == [3, 1, 16]
    assert list(table["hdu"]) == [1, 2, 3]
    assert list(table["ny"]) == [32, 33, 34]
    assert set(table["nx"]) == {40}
    row = table[1]
    assert (row["exposure"], row["band"], row["physical_filter"]) == (12016, "vh", "VIRCAM-H")
    assert (row["exptime"], row["ndit"], row["nicomb"]) == (10.0, 6, 7)
    assert (row["magzpt"], row["sky_noise"], row["obstatus"], row["esograde"]) == (23.85, 8.8, "Completed", "A")
    assert row["mjd"] == pytest.approx(Time(55139.25, format="mjd", scale="utc").tai.mjd, abs=1e-9)
    assert row["state"] == "ok"


def test_corners_are_those_of_the_pixels(make_stack):
    """Corners are the outer corners of the corner pixels in ICRS, the scale is that on the sky at the centre."""
    path = make_stack(detectors=(6,), shape=(64, 50))
    row = read_stacks([stack(path)])[0]
    with fits.open(path) as hdus:
        wcs = icrs_wcs(merged_header(hdus[0].header, hdus[1].header))
    wanted = wcs.pixel_to_world([-0.5, 49.5, 49.5, -0.5], [-0.5, -0.5, 63.5, 63.5])
    found = SkyCoord([row[f"ra{k}"] for k in range(4)], [row[f"dec{k}"] for k in range(4)], unit="deg")
    assert found.separation(wanted).arcsec.max() < 1e-6
    centre = SkyCoord(row["ra"], row["dec"], unit="deg")
    assert centre.separation(wcs.pixel_to_world(24.5, 31.5)).arcsec < 1e-6
    beside = wcs.pixel_to_world(25.5, 31.5)
    assert row["pixel_scale"] == pytest.approx(centre.separation(beside).arcsec, rel=1e-3)
    assert row["seeing"] == pytest.approx(2.2 * row["pixel_scale"])


def test_real_headers(realdata):
    """The real Z stack of 2012 and its noise: 10 per cent above what its exposures predict."""
    primary, extension = (
        fits.Header.fromtextfile(realdata / "headers" / f"v20120924_00582_st_{which}.txt")
        for which in ("primary", "ext1")
    )
    row = describe_detector(merged_header(primary, extension), detector=1)
    assert (row["exposure"], row["band"], row["nicomb"], row["ndit"]) == (622538, "vz", 9, 1)
    assert row["pixel_scale"] == pytest.approx(0.339, abs=0.003)
    assert 1.0 < row["noise_ratio"] < 1.3
    assert set(row) <= {name for name, *_ in COLUMNS}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"CRVAL1": 200.0, "CRVAL2": -70.0, "CRPIX1": -3000.5, "CD1_1": 9.4e-5, "CD1_2": 3e-6},
        {"PV2_3": 0.0, "PV2_5": 0.0},
        {"RADECSYS": "FK5", "EQUINOX": 2000.0},
        {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "PV2_1": None, "PV2_3": None, "PV2_5": None},
        {"LONPOLE": 170.0},
        {"CUNIT1": "arcsec", "CUNIT2": "arcsec", "CRVAL1": 126000.0, "CRVAL2": -18000.0, "CD1_1": 0.34, "CD2_2": 0.33},
        {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 2, "B_ORDER": 2, "A_2_0": 3e-9, "B_1_1": -4e-9},
        {"CTYPE1": "DEC--TAN", "CTYPE2": "RA---TAN", "CRVAL1": -5.0, "CRVAL2": 34.5}
        | {f"PV2_{m}": None for m in range(1, 6)},
        {"PC001001": 1.0, "PC001002": 0.0},
        {"CRVAL2": 90.0},
        {"CRVAL2": -90.0},
        {"CTYPE1": "RA---CAR", "CTYPE2": "DEC--CAR", "PV2_1": None, "PV2_3": None, "PV2_5": None},
        {"CD1_1": 9e-5, "CD1_2": 2e-5, "CD2_1": -1e-5, "CD2_2": 8e-5, "CDELT1": 1e-4, "CDELT2": 2e-4}
        | {"PC1_1": 0.9, "PC1_2": 0.2, "PC2_1": -0.05, "PC2_2": 0.4},
    ],
)
def test_shared_projections_are_exact(realdata, changes):
    """Positions through a projection made for another detector are those of the header's own, to a nanoarcsec."""
    header = fits.Header.fromtextfile(realdata / "headers" / "v20120924_00582_st_ext1.txt")
    x, y = np.array([-0.5, 1000.0, 2090.5]), np.array([-0.5, 500.0, 2154.5])
    pixels_to_icrs(dict(header), x=x, y=y)  # so that there is an earlier projection to share
    for keyword, value in changes.items():
        if value is None:
            del header[keyword]
        else:
            header[keyword] = value
    wanted = icrs_wcs(header).all_pix2world(x, y, 0)
    assert np.allclose(pixels_to_icrs(dict(header), x=x, y=y), wanted, rtol=0, atol=1e-9 / 3600)


def test_cut_down_headers_say_the_same(realdata):
    """A header of nothing but the cards that are read for the inventory gives the same row as the whole."""
    whole = fits.Header.fromtextfile(realdata / "headers" / "v20120924_00582_st_ext1.txt")
    part = fits.Header([card for card in whole.cards if is_wanted(card.keyword)])
    assert len(part) < len(whole) / 3
    whole["ESO DET NDIT"] = part["ESO DET NDIT"] = 1
    assert describe_detector(part, detector=1) == describe_detector(whole, detector=1)


def test_real_images(realdata):
    """Four real H images without primary header: detector 13 is half as noisy again as its gain says."""
    paths = sorted((realdata / "vista_video_h").glob("image_*.fits"))
    table = read_stacks([stack(path) for path in paths])
    assert list(table["state"]) == ["ok"] * 4
    assert set(table["detector"]) == {13}
    assert list(table["exposure"]) == [11981, 32369, 43136, 12023]
    assert np.all((table["noise_ratio"] > 1.4) & (table["noise_ratio"] < 1.6))


@pytest.mark.parametrize(
    ("cards", "message"),
    [
        ({"ESO DET EXP NO": None}, "no ESO DET EXP NO"),
        ({"FILTER": "NB118"}, "NB118"),
        ({"CTYPE1": None, "CTYPE2": None}, "no CTYPE1"),
        ({"RADECSYS": "GAPPT"}, "GAPPT"),
        ({"MJD-OBS": 50000.25}, r"MJD-OBS is 50000.25, but DATE-OBS '2009-11-04T05:59:59.5' is MJD 55139.25"),
    ],
)
def test_wrong_cards_are_rows_with_reasons(make_stack, cards, message):
    """A detector whose header cannot be used is a failed row that says why, and the next file goes on."""
    cards = {"DATE-OBS": "2009-11-04T05:59:59.5"} | cards
    bad, good = make_stack("v1_st.fit", detectors=(1, 2), cards=cards), make_stack("v2_st.fit", detectors=(1, 2))
    table = read_stacks([stack(bad), stack(good)])
    assert list(table["state"]) == ["failed", "failed", "ok", "ok"]
    assert all(message in reason for reason in table["reason"][:2])
    assert list(table["detector"]) == [1, 2, 1, 2]


def test_unusable_files_are_rows_with_reasons(make_stack, tmp_path):
    """Missing, quarantined, HTML and truncated files are one failed row each; the states add up to the files."""
    html = tmp_path / "v2_st.fit"
    html.write_text("<html>Service down</html>")
    short = make_stack("v3_st.fit")
    short.write_bytes(short.read_bytes()[:-2880])
    files = [stack(tmp_path / "v1_st.fit"), stack(html), stack(short), stack(make_stack("v4_st.fit"))]
    files.append(stack(tmp_path / "v5_st.fit", problem="quarantined: bad checksum"))
    table = read_stacks(files)
    failed = {row["path"]: row["reason"] for row in table if row["state"] == "failed"}
    assert "No such file" in failed["v1_st.fit"]
    assert "not FITS" in failed["v2_st.fit"]
    assert "truncated" in failed["v3_st.fit"]
    assert failed["v5_st.fit"] == "quarantined: bad checksum"
    assert len(set(table["path"])) == 5
    assert list(table["hdu"][table["path"] == "v1_st.fit"]) == [-1]


def test_unknown_values_are_nan(make_stack):
    """Cards that are missing or -1 become NaN, not an error: the cuts deal with them."""
    cards = {"SEEING": -1.0, "MAGZPT": None, "SKYLEVEL": None, "ELLIPTIC": None}
    row = read_stacks([stack(make_stack(detectors=(1,), cards=cards))])[0]
    assert row["state"] == "ok"
    assert np.isnan([row[name] for name in ("seeing", "magzpt", "sky_level", "ellipticity", "noise_ratio")]).all()


def test_confidence_maps_are_matched(make_stack, make_manifest, tmp_path):
    """Each detector is matched with its own extension of the map; sizes that differ and missing maps are said."""
    stack_path = make_stack("vista/v1_st.fit", detectors=(1, 2, 3))
    make_stack("vista/v1_st_conf.fit", detectors=(2, 1, 3))  # sizes go with the order: 1 and 2 differ, 3 is right
    make_stack("vista/v2_st.fit", detectors=(1,))
    manifest = make_manifest(
        {"path": "vista/v1_st.fit"},
        {"path": "vista/v2_st.fit"},
        {"path": "vista/v1_st_conf.fit", "kind": "vista_confidence"},
        {"path": "elsewhere/v2_st_conf.fit", "kind": "vista_confidence"},
    )
    files = stack_files(manifest, confidence="_conf", resolve=lambda path: tmp_path / path)
    assert files[0].path == stack_path
    table = read_stacks(files)
    assert list(table["confidence_hdu"]) == [-1, -1, 3, -1]
    assert list(table["confidence_path"]) == ["", "", "vista/v1_st_conf.fit", ""]
    assert table["confidence_problem"][0] == "confidence map is 40 x 33, the image 40 x 32"
    assert table["confidence_problem"][3] == "no confidence map"
    manifest["state"][2], manifest["reason"][2] = "quarantined", "bad checksum"
    again = read_stacks(stack_files(manifest, confidence="_conf", resolve=lambda path: tmp_path / path))
    assert list(again["confidence_problem"][:3]) == ["confidence map quarantined: bad checksum"] * 3
    none_wanted = read_stacks(stack_files(manifest, confidence=None, resolve=lambda path: tmp_path / path))
    assert set(none_wanted["confidence_problem"]) == {""}


def test_only_new_files_are_read(make_stack, tmp_path):
    """A second inventory reads what is new, changed or had failed, keeps the rest, and drops what is gone."""
    files = [stack(make_stack(f"v{number}_st.fit", detectors=(1, 2))) for number in range(4)]
    files.append(stack(tmp_path / "missing_st.fit"))
    first = update_inventory(None, files[:3] + files[4:])
    assert (first.meta["read"], first.meta["kept"]) == (4, 0)
    first["seeing"][first["path"] == "v0_st.fit"] = 99.0  # to tell rows that were kept from rows that were read
    again = [files[0], files[1]._replace(sha256="other"), files[3], files[4]]
    second = update_inventory(read_table(write_table(first, tmp_path / "inventory.parquet")), again)
    assert (second.meta["read"], second.meta["kept"]) == (3, 1)
    assert list(second["path"]) == [
        "missing_st.fit",
        "v0_st.fit",
        "v0_st.fit",
        "v1_st.fit",
        "v1_st.fit",
        "v3_st.fit",
        "v3_st.fit",
    ]
    assert set(second["seeing"][second["path"] == "v0_st.fit"]) == {99.0}
    assert not (second["seeing"][second["path"] == "v1_st.fit"] == 99.0).any()


def test_rows_of_other_code_are_read_again(make_stack):
    """An inventory that other code made is not kept."""
    files = [stack(make_stack())]
    first = update_inventory(None, files)
    first.meta["reader"] = "older"
    assert update_inventory(first, files).meta["read"] == 1


def test_round_trip_with_units(make_stack, tmp_path):
    """Written and read back, all columns keep type, unit and description; so do those of an empty inventory."""
    for table in (read_stacks([stack(make_stack())]), empty_inventory()):
        back = read_table(write_table(table, tmp_path / "dmu1" / "data" / "x" / "inventory.parquet"))
        assert back.colnames == [name for name, *_ in COLUMNS]
        for name, dtype, unit, doc in COLUMNS:
            assert back[name].description == doc
            assert str(back[name].unit or "") == unit
            assert back[name].dtype.kind == ("U" if dtype == "str" else np.dtype(dtype).kind)
        assert len(back) == len(table)


def test_processes_give_the_same_rows(make_stack):
    """Read by two processes, many files give the rows that one process gives, in the same order."""
    files = [stack(make_stack(f"v{number:02d}_st.fit", detectors=(1,))) for number in range(50)]
    alone, together = read_stacks(files, workers=1), read_stacks(files, workers=2)
    assert list(alone["path"]) == list(together["path"])
    assert np.array_equal(alone["ra"], together["ra"])


def test_progress_sees_every_file(make_stack):
    """The progress bar is given one item a file."""
    seen = []
    read_stacks([stack(make_stack())] * 3, progress=lambda rows: (seen.append(1) or row for row in rows))
    assert len(seen) == 3


def test_inputs_are_not_touched(make_stack):
    """Reading leaves bytes and times of a file alone."""
    path = make_stack()
    before = path.read_bytes(), path.stat().st_mtime_ns
    read_stack(stack(path))
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


@pytest.mark.parametrize(
    ("mjd", "date", "expected"),
    [
        (55139.25, "2009-11-04", 55139.25),
        (55139.25, "04/11/09", 55139.25),
        (55139.25, "2009-02-30T01:00:00", 55139.25),
        (None, "2009-11-04T06:00:00.00", 55139.25),
        (None, "04/11/09", "no MJD-OBS: the time is unknown, for DATE-OBS is '04/11/09'"),
        (None, None, "no MJD-OBS: the time is unknown"),
        (2455139.75, None, "MJD-OBS is 2.45514e[+]06"),
    ],
)
def test_time_of_an_image(make_stack, mjd, date, expected):
    """MJD-OBS, or else DATE-OBS of the standard's form; one that cannot be read is no contradiction."""
    row = read_stacks([stack(make_stack(detectors=(1,), primary={"MJD-OBS": mjd, "DATE-OBS": date}))])[0]
    if isinstance(expected, str):
        assert re.fullmatch(f"{expected}.*", row["reason"])
    else:
        assert row["mjd"] == pytest.approx(Time(expected, format="mjd", scale="utc").tai.mjd, abs=1e-9)


def test_long_text_is_the_same_in_all_stages(make_stack):
    """Text that goes on in CONTINUE cards is whole: a filter is known, an aborted observation is told."""
    path = make_stack(detectors=(1,))
    content = path.read_bytes()
    for old, new in (
        (b"FILTER  = 'H       '", [b"FILTER  = 'K&'", b"CONTINUE  's' / name"]),
        (b"OBSTATUS= 'Completed'", [b"OBSTATUS= 'Abor&' / state", b"CONTINUE  'ted'"]),
    ):
        at = content.index(old)
        content = content[:at] + b"".join(card.ljust(80) for card in new) + content[at + 80 :]
    # The two headers have become a card longer each, at the expense of the blanks behind END.
    ends = [at for at in range(0, len(content), 80) if content[at : at + 8] == b"END     "][:2]
    assert all(content[at + 80 : at + 160].strip() == b"" for at in ends)
    content = content[: ends[0] + 80] + content[ends[0] + 160 : ends[1] + 80] + content[ends[1] + 160 :]
    path.write_bytes(content)
    row = read_stacks([stack(path)])[0]
    assert (row["state"], row["band"], row["obstatus"]) == ("ok", "vk", "Aborted")
    with fits.open(path) as hdus:
        merged = merged_header(hdus[0].header, hdus[1].header)
    assert (merged["FILTER"], merged["OBSTATUS"]) == ("Ks", "Aborted")
