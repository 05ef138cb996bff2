"""Bands by the names that cameras, archives and people give their filters."""

from __future__ import annotations

from pathlib import Path

import pytest

from dmu0.draft.filter_names import band_of_filter, band_of_name


@pytest.mark.parametrize(
    ("name", "band"),
    [
        ("HSC-G", "g"),
        ("HSC-I2", "i"),
        ("i_SDSS", "i"),
        ("OCAM_r_SDSS", "r"),
        ("u.MP9301", "u"),
        ("z DECam SDSS c0004 9260.0 1520.0", "z"),
        ("Z", "vz"),
        ("z", "z"),
        ("Y", "vy"),
        ("y", "y"),
        ("J", "vj"),
        ("Ks", "vk"),
        ("VIRCAM-H", "vh"),
        ("vk", "vk"),
        ("NB118", None),
        ("clear", None),
    ],
)
def test_names_of_filters(name, band):
    """Upper and lower case tell infrared from optical where nothing else does; narrow bands are none of ours."""
    assert band_of_filter(name) == band


def test_the_camera_decides():
    """Of VISTA's camera a filter is never an optical one."""
    assert band_of_filter("VISTA_Z_2", vista=True) == "vz"
    assert band_of_filter("g", vista=True) is None


@pytest.mark.parametrize(
    ("name", "band"),
    [
        ("deep_field_r.fits", "r"),
        ("UVISTA_J_21_09_24.fits.gz", "vj"),
        ("calexp-HSC-Z-8524-22,23.fits", "z"),
        ("KiDS_DR4.0_135.0_0.5_u_sci.fits", "u"),
        ("image_1.fits", None),
        ("g.fits", "g"),
        ("Ks.fits.fz", "vk"),
    ],
)
def test_names_of_files(name, band):
    """The last word of a file name that is a band."""
    assert band_of_name(Path(name)) == band
