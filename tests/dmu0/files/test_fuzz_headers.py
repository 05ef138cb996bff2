"""Headers at random: the check of inputs says ok or why not, for stacks, coadds and PSFs alike."""

from __future__ import annotations

import contextlib
import tempfile
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from dmu0.figures import first_focal_plane
from dmu0.files.integrity import check_file, observation_date
from dmu0.published.coadds import OpticalError, read_coadd
from tests.conftest import casu_headers

pytestmark = [pytest.mark.fuzz, pytest.mark.filterwarnings("ignore:.*:astropy.utils.exceptions.AstropyWarning")]

VALUES = ["", "10,0", "NaN", "'text'", "T", "1.0E400", "-1", "0", "99", "1D3", "2009-11-04", "(1,2)", "'RA---TAN'"]
VALUES += ["'FK4'", "'rad'", "-2147483648", "'DEC--SIP'", "'arcsec'", "1950.0", "0.0000", "'\u0001'"]
KEYWORDS = ["CTYPE1", "CTYPE2", "CRVAL1", "CRVAL2", "CRPIX1", "CD1_1", "CD2_2", "CD1_2", "PV2_1", "PV2_3", "EQUINOX"]
KEYWORDS += ["RADECSYS", "CUNIT1", "CDELT1", "CROTA2", "PC001001", "BSCALE", "BZERO", "BLANK", "LONPOLE", "A_ORDER"]
KEYWORDS += ["DATE-OBS", "EXTTYPE", "LTV1", "LTV2", "BUNIT", "MAGZERO", "FLUXMAG0", "SKYNOISE"]
KEYWORDS += ["MAGZPT", "EXTNAME", "WCSAXES", "NAXIS1", "NAXIS2", "BITPIX", "SIMPLE", "PCOUNT", "LATPOLE", "A_2_0"]
IMAGE = np.arange(40.0 * 50).reshape(40, 50)
STAR = np.exp(-0.5 * ((np.arange(50) - 24.5) ** 2 + (np.arange(40) - 19.5)[:, None] ** 2) / 1.6**2)


def cards(header: fits.Header, changes: list[tuple[str, str]]) -> bytes:
    """A header as text with cards put over those of its keywords, or after them; they may be no cards at all."""
    text = header.tostring(endcard=False, padding=False)
    lines = [text[start : start + 80] for start in range(0, len(text), 80)]
    for keyword, value in changes:
        start = f"HIERARCH {keyword} =" if " " in keyword else f"{keyword:8s}="
        line = f"{start} {value:>20s}"[:80].ljust(80)
        where = [number for number, text in enumerate(lines) if text.startswith(start)]
        if where:
            lines[where[0]] = line
        else:
            lines.append(line)
    text = "".join(lines) + "END".ljust(80)
    return text.ljust(-(-len(text) // 2880) * 2880).encode("ascii", "replace")


@cache
def detector_header() -> fits.Header:
    """The header of a stack of one detector in the primary HDU, which is made once."""
    primary, extension = casu_headers(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fits.verify.VerifyWarning)
        header = fits.PrimaryHDU(IMAGE).header
        for part in (primary, extension):
            header.extend(part.cards, update=True)
    return header


@given(
    changes=st.lists(st.tuples(st.sampled_from(KEYWORDS), st.sampled_from(VALUES)), max_size=5),
    kind=st.sampled_from(["vista_stack", "vista_confidence", "vista_coadd", "optical_coadd", "optical_psf"]),
)
def test_headers_at_random(changes, kind):
    """Cards that are empty, text, not numbers or not cards end neither the check nor a reader with an error."""
    header = detector_header()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "v20091103_00354_st.fit"
        pixels = {"optical_psf": STAR, "vista_confidence": IMAGE / 10}.get(kind, IMAGE)
        path.write_bytes(cards(header, changes) + pixels.astype(">f8").tobytes().ljust(17280, b"\0"))
        reason = check_file(path, kind)
        shown = first_focal_plane([path])
        assert shown is None or shown[0].size
        if not reason:
            assert isinstance(observation_date(path), str)
        if not reason and kind.endswith("_coadd"):
            with contextlib.suppress(OpticalError), np.errstate(all="ignore"):
                assert read_coadd(path).image.shape == IMAGE.shape
    assert isinstance(reason, str)
    if not changes:
        assert reason == ""
