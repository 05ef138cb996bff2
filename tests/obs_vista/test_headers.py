"""Inheritance of header cards, and which extension is which detector."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.coordinates import FK4, FK5, SkyCoord
from astropy.io import fits

from obs_vista.headers import (
    POINTING_FRAME,
    UNKNOWN_FRAME,
    detector_extensions,
    detector_number,
    merged_header,
)
from obs_vista.translator import VircamTranslator
from obs_vista.wcs_cards import given_frame
from obs_vista.world_coordinates import icrs_wcs


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
    assert given_frame(merged) == "ICRS"
    assert merged[POINTING_FRAME] == "FK5"
    assert "EQUINOX" not in merged


def test_extension_without_frame_inherits_it(real_header):
    """A raw extension names no frame: it is that of its primary."""
    extension = real_header("v20120924_00525_raw_ext3")
    merged = merged_header(real_header("v20120924_00582_st_primary"), extension)
    assert given_frame(merged) == "FK5"
    assert given_frame(merged_header(None, extension)) is None


@pytest.mark.parametrize(
    ("cards", "frame", "offset"),
    [
        ({"RADECSYS": "GAPPT", "EQUINOX": 2012.7}, UNKNOWN_FRAME, None),
        ({"RADECSYS": "FK5", "EQUINOX": 2012.7}, "FK5 J2012.7", FK5(equinox="J2012.7")),
        ({"RADECSYS": "FK4", "EQUINOX": 1950.0}, "FK4", FK4(equinox="B1950")),
        ({"RADECSYS": None, "EQUINOX": "J2000.0"}, "FK5", FK5()),
        ({"RADECSYS": "FK5", "EQUINOX": "now"}, UNKNOWN_FRAME, None),
    ],
)
def test_frame_of_a_pointing_refuses_no_image(real_header, cards, frame, offset):
    """What RA and DEC of the primary are in is told, or said to be unknown; the ICRS pixels stay usable."""
    primary, extension = (real_header(f"v20120924_00582_st_{part}") for part in ("primary", "ext1"))
    expected = icrs_wcs(extension).all_pix2world(3, 4, 0)
    for keyword, value in cards.items():
        if value is None:
            del primary[keyword]
        else:
            primary[keyword] = value
    merged = merged_header(primary, extension)
    assert merged[POINTING_FRAME] == frame
    assert np.array_equal(icrs_wcs(merged).all_pix2world(3, 4, 0), expected)
    pointing = VircamTranslator(merged).to_tracking_radec()
    if offset is None:
        assert pointing is None
    else:
        assert pointing.separation(SkyCoord(primary["RA"], primary["DEC"], unit="deg", frame=offset).icrs).mas < 1e-3


def test_a_projection_is_not_mixed_from_two_headers(real_header):
    """A projection that some program left in the primary changes nothing of the extension's own."""
    primary, extension = (real_header(f"v20120924_00582_st_{part}") for part in ("primary", "ext1"))
    expected = icrs_wcs(extension).all_pix2world(3, 4, 0)
    primary.update(
        {"LONPOLE": 90.0, "PC1_1": 2.0, "CDELT1": 1e-4, "A_ORDER": 3, "A_2_1": 1e-5, "PV2_7": 1e6, "CROTA2": 3.0}
    )
    assert np.array_equal(icrs_wcs(merged_header(primary, extension)).all_pix2world(3, 4, 0), expected)


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
