"""Headers read without pixels, against astropy, and files that are not what they say."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

from dmu1.header_scan import HeaderError, read_headers


def everything(_keyword: str) -> bool:
    """Keep every card."""
    return True


def test_same_as_astropy(make_stack):
    """Every card of every HDU comes out as astropy reads it, from a RICE-compressed stack."""
    path = make_stack()
    headers = read_headers(path, everything)
    with fits.open(path, disable_image_compression=True) as hdus:
        assert len(headers) == len(hdus) == 5
        for header, hdu in zip(headers, hdus, strict=True):
            wanted = {
                card.keyword: card.value for card in hdu.header.cards if card.keyword not in ("COMMENT", "HISTORY", "")
            }
            assert dict(header) == wanted
            assert "ESO DET CHIP NO" in header or header is headers[0]


def test_only_wanted_cards(make_stack):
    """Unwanted cards are left out, those of the structure are kept."""
    header = read_headers(make_stack(), lambda keyword: keyword == "ESO DET CHIP NO")[2]
    assert header["ESO DET CHIP NO"] == 2
    assert "NAXIS2" in header
    assert "CRVAL1" not in header


def test_tables_and_large_headers(tmp_path):
    """Tables with a heap and headers of several blocks are stepped over exactly."""
    heap = fits.BinTableHDU.from_columns([fits.Column("a", "PJ()", array=[np.arange(5), np.arange(700)])])
    image = fits.ImageHDU(np.zeros((3, 5), np.int16))
    for number in range(100):
        image.header[f"KEY{number}"] = number
    fits.HDUList([fits.PrimaryHDU(np.zeros((2, 2, 7))), heap, image]).writeto(tmp_path / "a.fits")
    headers = read_headers(tmp_path / "a.fits", everything)
    assert [header["NAXIS"] for header in headers] == [3, 2, 2]
    assert headers[2]["KEY99"] == 99


def test_padding_after_the_last_hdu(make_stack):
    """Blocks of zeros at the end, as tapes have them, are no error."""
    path = make_stack()
    path.write_bytes(path.read_bytes() + bytes(5760))
    assert len(read_headers(path, everything)) == 5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (
            b"<!DOCTYPE html><html><body>Service unavailable</body></html>",
            "not FITS: the file starts with '<!DOCTYPE html><html",
        ),
        (b"SIMPLE  =                    T" + b" " * 50, "truncated in the header of HDU 0"),
        (b"SIMPLE  =                    T".ljust(2880) * 500, "has no END"),
        (b"SIMPLE  =                    T".ljust(80) + b"END".ljust(2800), "does not say how large"),
    ],
)
def test_what_is_not_fits(tmp_path, content, message):
    """Error pages, empty files and headers without end are told apart."""
    path = tmp_path / "v20091103_00354_st.fit"
    path.write_bytes(content)
    with pytest.raises(HeaderError, match=message):
        read_headers(path, everything)


def test_truncated_data(make_stack):
    """A file that ends in the pixels of an extension is an error that names the extension and the bytes."""
    path = make_stack()
    path.write_bytes(path.read_bytes()[:-2880])
    with pytest.raises(HeaderError, match=r"truncated: HDU 4 should end at byte \d+, the file at \d+"):
        read_headers(path, everything)


def test_garbage_between_hdus(make_stack):
    """An extension that does not start as one is an error."""
    path = make_stack(detectors=(1,))
    path.write_bytes(path.read_bytes() + b"garbage".ljust(2880))
    with pytest.raises(HeaderError, match="HDU 2 starts with 'garbage"):
        read_headers(path, everything)
