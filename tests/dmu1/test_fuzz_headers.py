"""Headers at random through all that reads them: a row, a number, a transformation, or an error that names the card."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import example, given
from hypothesis import strategies as st

from dmu1.inventory import StackFile, read_stacks
from obs_vista.cards import card_values
from obs_vista.headers import detector_number, merged_header
from obs_vista.noise import pawprint_variance, predicted_sky_noise
from obs_vista.translator import VircamTranslator
from obs_vista.world_coordinates import icrs_wcs
from obs_vista.zero_points import header_zero_point
from tests.dmu0.files.test_fuzz_headers import IMAGE, KEYWORDS, VALUES, cards, detector_header

pytestmark = pytest.mark.fuzz

OTHERS = ["MAGZRR", "EXTINCT", "EXPTIME", "NICOMB", "SEEING", "ELLIPTIC", "SKYLEVEL", "SKYNOISE", "MJD-OBS", "FILTER"]
OTHERS += ["PC1_1", "PC2_1", "PV1_1", "PV1_5", "B_ORDER", "B_0_2", "CUNIT2", "RADESYS", "EPOCH", "CTYPE3", "BSOFTEN"]
OTHERS += ["BUNIT", "PERCORR", "OBSTATUS", "WAT1_001", "PROJP3", "CROTA1", "DATE-OBS", "BOFFSET", "CDELT2", "MADEUP"]
HIERARCH = ["ESO DET CHIP NO", "ESO DET EXP NO", "ESO DET NDIT", "ESO DET DIT", "ESO TEL AIRM START"]
MORE = ["'DEC--TAN'", "'RA---TPV'", "'RA---TAN-SIP'", "'DEC--TAN-SIP'", "'GLON-CAR'", "2", "1E300", "-1E-300", "1E9"]
MORE += ["'GAPPT'", "'J2000.0'", "2.5", "17", "'mag'", "F", "99999999999999999999", "T / yes", "'5'"]
CHANGES = st.lists(st.tuples(st.sampled_from(KEYWORDS + OTHERS + HIERARCH), st.sampled_from(VALUES + MORE)), max_size=5)


def attempt(read: Callable[[], Any]) -> tuple[Any, str]:
    """What a reader gives, or None and what it says; any error that is not meant for people goes on."""
    try:
        with np.errstate(all="ignore"):
            return read(), ""
    except (ValueError, KeyError) as error:
        return None, str(error)


def stack_of(changes: list[tuple[str, str]]) -> bytes:
    """A stack of one detector in the primary HDU, with changed cards."""
    return cards(detector_header(), changes) + IMAGE.astype(">f8").tobytes().ljust(17280, b"\0")


@given(changes=CHANGES)
@example(changes=[])
@example(changes=[("CDELT1", "99999999999999999999"), ("PC001001", "1E300")])
@example(changes=[("CD1_1", "1E300")])
@example(changes=[("CD2_2", "")])
def test_inventory_rows(changes):
    """A file is a row for its detector, or one that says why not; another file beside it keeps its row."""
    with tempfile.TemporaryDirectory() as folder:
        path, good = Path(folder) / "v20091103_00354_st.fit", Path(folder) / "v20091103_00361_st.fit"
        path.write_bytes(stack_of(changes))
        good.write_bytes(stack_of([]))
        table = read_stacks([StackFile(path.name, path), StackFile(good.name, good)])
    rows = table[table["path"] == path.name]
    assert len(rows) == 1
    assert set(table["state"][table["path"] == good.name]) == {"ok"}
    assert (rows["state"][0] == "ok") == (rows["reason"][0] == "")
    assert rows["state"][0] in {"ok", "failed"}
    if rows["state"][0] == "ok":
        assert all(np.isfinite(rows[name][0]) for name in ("ra", "dec", "ra3", "dec3", "mjd", "pixel_scale"))
    else:
        assert any(word in rows["reason"][0] for word in _words(changes))


def _words(changes: list[tuple[str, str]]) -> list[str]:
    """What a reason may name: a changed card or its value, or what cards of structure make impossible."""
    named = [keyword for keyword, _ in changes] + [value.strip("' ") for _, value in changes if value.strip("' ")]
    return [*named, "truncated", "HDU", "FITS", "detector", "no position", "CTYPE", "filter", "CD1_1", "EXP NO"]


@given(changes=CHANGES)
@example(changes=[("SKYLEVEL", "1E300")])
def test_numbers_and_transformations(changes):
    """World coordinates, zero point, noise, detector and pointing: a finite result or a named error, from any cards."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fits.verify.VerifyWarning)
        text = stack_of(changes)[: -len(IMAGE.tobytes().ljust(17280, b"\0"))].decode("ascii")
        header = fits.Header.fromstring(text)
        merged, error = attempt(lambda: merged_header(None, header))
        if merged is None:
            assert any(keyword in error for keyword, _ in changes)
            return
        values = card_values(merged)
    readers = {
        "world coordinates": lambda: icrs_wcs(merged).all_pix2world(3.0, 4.0, 0),
        "of a dictionary": lambda: icrs_wcs(values).all_pix2world(3.0, 4.0, 0),
        "zero point": lambda: header_zero_point(values, band="vh").magnitude,
        "noise": lambda: predicted_sky_noise(values, 1),
        "variance": lambda: np.median(pawprint_variance(IMAGE, np.full(IMAGE.shape, 100), values, 1).variance),
        "detector": lambda: detector_number(merged) or 0,
        "filter": lambda: len(VircamTranslator(values).to_physical_filter()),
    }
    for name, read in readers.items():
        value, error = attempt(read)
        if value is None:
            assert error, name
        else:
            assert np.isfinite(value).all() or name in {"world coordinates", "of a dictionary"}, name
