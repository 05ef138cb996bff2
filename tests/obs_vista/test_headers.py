"""Inheritance of header cards, positions in ICRS, and which extension is which detector."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

from obs_vista.headers import (
    POINTING_FRAME,
    celestial_frame,
    detector_extensions,
    detector_number,
    icrs_wcs,
    merged_header,
)


def plain_wcs(header: fits.Header, frame: str) -> WCS:
    """The transformation of a header by astropy alone, in a given frame."""
    cards = fits.Header()
    for key in header:
        if key[:5] in ("CTYPE", "CRVAL", "CRPIX") or key[:2] in ("CD", "PV"):
            cards[key] = header[key]
    cards["RADESYS"] = frame
    if frame == "FK5":
        cards["EQUINOX"] = 2000.0
    return WCS(cards)


def grid(header: fits.Header) -> tuple[np.ndarray, np.ndarray]:
    """Pixels all over an image."""
    return np.meshgrid(np.linspace(0, header["NAXIS1"], 7), np.linspace(0, header["NAXIS2"], 7))


def test_extension_overrules_primary(real_header):
    """Cards of the extension win, those of the primary are inherited, structure is not."""
    primary, extension = (real_header(f"v20120924_00582_st_{part}") for part in ("primary", "ext1"))
    before = primary.tostring(), extension.tostring()
    merged = merged_header(primary, extension)
    assert merged["ESOGRADE"] == "A"
    assert merged["ESO TEL AMBI PRES START"] == 737.5
    assert merged["NICOMB"] == 9
    assert merged["NAXIS"] == 2
    assert merged["DATE"] == extension["DATE"] != primary["DATE"]
    assert (primary.tostring(), extension.tostring()) == before


def test_fk5_pointing_and_icrs_pixels_are_told_apart(real_header):
    """The primary's RA and DEC stay FK5 while the extension's pixels are ICRS."""
    merged = merged_header(*(real_header(f"v20120924_00582_st_{part}") for part in ("primary", "ext1")))
    assert celestial_frame(merged) == "ICRS"
    assert merged[POINTING_FRAME] == "FK5"
    assert "EQUINOX" not in merged


def test_extension_without_frame_inherits_it(real_header):
    """A raw extension names no frame: it is that of its primary."""
    extension = real_header("v20120924_00525_raw_ext3")
    merged = merged_header(real_header("v20120924_00582_st_primary"), extension)
    assert celestial_frame(merged) == "FK5"
    assert celestial_frame(merged_header(None, extension)) == "ICRS"


def test_icrs_header_is_taken_as_it_is(real_header):
    """Positions of an ICRS extension are those of astropy, to a microarcsecond."""
    header = real_header("v20120924_00582_st_ext1")
    x, y = grid(header)
    expected = plain_wcs(header, "ICRS").pixel_to_world(x, y)
    wcs = icrs_wcs(header)
    assert wcs.pixel_to_world(x, y).separation(expected).arcsec.max() < 1e-6
    assert wcs.pixel_shape == (2091, 2155)


@pytest.mark.parametrize("name", ["video_tile_tl_ext1", "v20120924_00525_raw_ext3"])
def test_fk5_header_is_converted(real_header, name):
    """FK5 pixels come out in ICRS to a microarcsecond; unconverted they would be wrong by some 20 mas."""
    header = real_header(name)
    header["RADECSYS"] = "FK5"
    header["EQUINOX"] = 2000.0
    x, y = grid(header)
    expected = plain_wcs(header, "FK5").pixel_to_world(x, y).icrs
    wcs = icrs_wcs(header)
    assert wcs.wcs.radesys == "ICRS"
    assert wcs.pixel_to_world(x, y).separation(expected).arcsec.max() < 1e-6
    unconverted = SkyCoord(*plain_wcs(header, "FK5").wcs_pix2world(x, y, 0), unit="deg")
    assert 0.01 < unconverted.separation(expected).arcsec.max() < 0.03


def test_pc_and_cdelt_are_converted_like_cd(real_header):
    """The conversion is the same whether the matrix is written as CD or as PC and CDELT."""
    header = real_header("video_tile_tl_ext1")
    x, y = grid(header)
    expected = icrs_wcs(header).pixel_to_world(x, y)
    scale = np.array([-2.0e-4, 1.0e-4])
    for row in (1, 2):
        header[f"CDELT{row}"] = scale[row - 1]
        for column in (1, 2):
            header[f"PC{row}_{column}"] = header[f"CD{row}_{column}"] / scale[row - 1]
            del header[f"CD{row}_{column}"]
    assert icrs_wcs(header).pixel_to_world(x, y).separation(expected).arcsec.max() < 1e-6


def test_old_projection_cards_stand_in_for_pv(real_header):
    """PROJPn alone give the same ZPN projection as PV2_n."""
    header = real_header("v20120924_00582_st_ext1")
    x, y = grid(header)
    expected = icrs_wcs(header).pixel_to_world(x, y)
    for key in [key for key in header if key.startswith("PV2_")]:
        del header[key]
    assert icrs_wcs(header).pixel_to_world(x, y).separation(expected).arcsec.max() < 1e-6


@pytest.mark.parametrize(("card", "value"), [("RADECSYS", "FK4"), ("RADECSYS", "GAPPT")])
def test_unsupported_frames_are_refused(real_header, card, value):
    """A frame that is neither ICRS nor FK5 is named in the error."""
    header = real_header("v20120924_00582_st_ext1")
    header[card] = value
    with pytest.raises(ValueError, match=value):
        icrs_wcs(header)


def test_missing_wcs_is_refused():
    """A header without CTYPE gives no positions."""
    with pytest.raises(ValueError, match="CTYPE1"):
        icrs_wcs(fits.Header({"NAXIS": 2}))
    with pytest.raises(ValueError, match="1950"):
        celestial_frame(fits.Header({"RADECSYS": "FK5", "EQUINOX": 1950.0}))


def test_extensions_are_found_by_detector_number(tmp_path, write_casu):
    """Any subset of detectors, in any order, is found by its numbers."""
    images = {detector: np.ones((8, 9), np.int32) for detector in (13, 2, 7)}
    with fits.open(write_casu(tmp_path / "v20091103_00354_st.fit", images)) as hdus:
        assert detector_extensions(hdus) == {13: 1, 2: 2, 7: 3}


def test_extname_and_order_stand_in_for_the_number():
    """Without ESO DET CHIP NO, EXTNAME tells; without both, sixteen images are the detectors in order."""
    assert detector_number(fits.Header({"EXTNAME": "DET1.CHIP3"})) == 3
    assert detector_number(fits.Header({"EXTNAME": "image_sky"})) is None
    images = [fits.ImageHDU(np.zeros((4, 4))) for _ in range(16)]
    assert detector_extensions(fits.HDUList([fits.PrimaryHDU(), *images]))[16] == 16
    with pytest.raises(ValueError, match="which detector"):
        detector_extensions(fits.HDUList([fits.PrimaryHDU(), *images[:3]]))


def test_one_detector_twice_is_refused(tmp_path, write_casu):
    """Two extensions of one detector are an error that names both."""
    path = write_casu(tmp_path / "v.fit", {2: np.ones((8, 9), np.int32), 3: np.ones((8, 9), np.int32)})
    with fits.open(path) as hdus:
        hdus[2].header["ESO DET CHIP NO"] = 2
        with pytest.raises(ValueError, match="HDUs 1 and 2 are both detector 2"):
            detector_extensions(hdus)


def test_real_single_extension_frames(realdata):
    """The four real H frames have one extension, of detector 13, no CASU primary, and positions in XMM-LSS."""
    for number in range(1, 5):
        with fits.open(realdata / "vista_video_h" / f"image_{number}.fits") as hdus:
            assert detector_extensions(hdus) == {13: 1}
            merged = merged_header(hdus[0].header, hdus[1].header)
            position = icrs_wcs(merged).pixel_to_world(900, 900)
        assert position.separation(SkyCoord(36.8975, -5.190, unit="deg")).arcsec < 15
        assert merged[POINTING_FRAME] == "ICRS"
