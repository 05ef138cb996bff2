"""Transformations written for SWarp: positions as before for every projection, and stars where they belong."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from dmu0.sky.tpv import ProjectionError
from dmu0.sky.tract import tangent_wcs
from dmu3.swarp import CoaddError, InputImage, coadd, find_swarp
from dmu3.swarp_projection import swarp_header, wcs_header
from obs_vista.world_coordinates import icrs_wcs

SHAPE = (700, 400)
BASE = {"NAXIS1": 400, "NAXIS2": 700, "CRVAL1": 36.9, "CRVAL2": -5.2, "CRPIX1": 180.5, "CRPIX2": 390.0}
BASE |= {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CD1_1": -9.4e-5, "CD1_2": 2e-6, "CD2_1": 3e-6, "CD2_2": 9.5e-5}
SIP = {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 3, "B_ORDER": 2}
SIP |= {"A_2_0": 3e-5, "A_0_3": -2e-8, "B_1_1": 4e-5, "B_0_2": -1e-5}
TPV = {"CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV", "PV1_1": 1.001, "PV1_4": 0.05, "PV2_1": 0.999, "PV2_7": -2.0}
KINDS = {
    "SIP": SIP,
    "TPV": TPV,
    "SIN": {"CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN"},
    "galactic CAR": {"CTYPE1": "GLON-CAR", "CTYPE2": "GLAT-CAR", "CRVAL1": 172.0, "CRVAL2": 0.0},
    "LONPOLE": {"LONPOLE": 150.0},
    "declination first": {"CTYPE1": "DEC--TAN", "CTYPE2": "RA---TAN", "CRVAL1": -5.2, "CRVAL2": 36.9},
    "RA 0": SIP | {"CRVAL1": 0.001},
    "pole": SIP | {"CRVAL2": -89.99},
}


def grid() -> tuple[np.ndarray, np.ndarray]:
    """Pixels all over the image, to its edges."""
    return np.meshgrid(np.linspace(-0.5, 399.5, 9), np.linspace(-0.5, 699.5, 11))


@pytest.mark.parametrize("kind", list(KINDS))
def test_positions_are_kept(kind):
    """Written for SWarp, and read by wcslib, positions are the same to 0.5 mas: 0.0015 pixels."""
    wcs = icrs_wcs(BASE | KINDS[kind])
    header = swarp_header(wcs, SHAPE)
    x, y = grid()
    assert wcs.pixel_to_world(x, y).separation(WCS(header).pixel_to_world(x, y)).mas.max() < 0.5
    assert header["CTYPE1"] in {"RA---TPV", "RA---TAN"}
    assert "A_ORDER" not in header
    assert "LONPOLE" not in header


@pytest.mark.parametrize("kind", [{}, {"CTYPE1": "RA---ZPN", "CTYPE2": "DEC--ZPN", "PV2_1": 1.0, "PV2_3": 44.0}])
def test_what_swarp_knows_is_not_changed(kind):
    """TAN and ZPN keep their cards."""
    wcs = icrs_wcs(BASE | kind)
    assert swarp_header(wcs, SHAPE).tostring() == wcs_header(wcs).tostring()
    assert swarp_header(wcs, SHAPE)["CTYPE1"] == wcs.wcs.ctype[0]


def test_what_polynomials_cannot_follow_is_refused():
    """A distortion that is too steep is an error that says by how much, and what to do."""
    wcs = icrs_wcs(BASE | SIP | {"A_ORDER": 9, "A_9_0": 2e-21, "A_8_1": 1e-21})
    with pytest.raises(ProjectionError, match=r"TAN-SIP.*off by .* px.*reproject"):
        swarp_header(wcs, SHAPE)


@pytest.mark.skipif(find_swarp() is None, reason="SWarp is not installed")
@pytest.mark.parametrize("kind", ["SIP", "TPV", "galactic CAR", "declination first"])
def test_swarp_puts_stars_where_they_belong(kind, rng):
    """Stars of a distorted image come out of SWarp at their positions, to 0.1 px, with their flux, to 2%."""
    wcs = icrs_wcs(BASE | KINDS[kind])
    x, y = (axis.ravel() for axis in np.meshgrid([40.3, 199.0, 361.7], [50.6, 340.1, 660.2]))
    yy, xx = np.mgrid[: SHAPE[0], : SHAPE[1]]
    image = sum(np.exp(-0.5 * ((xx - a) ** 2 + (yy - b) ** 2) / 1.7**2) for a, b in zip(x, y, strict=True))
    image = image * 10_000 / (2 * np.pi * 1.7**2) + rng.normal(0, 1, SHAPE)
    item = InputImage(image.astype(np.float32), np.ones(SHAPE, np.float32), wcs, "stars")
    ra, dec = wcs.all_pix2world(200, 350, 0)
    target = tangent_wcs(ra=float(ra), dec=float(dec), pixel_scale=0.3, x=450, y=500)
    result = coadd([item], wcs=target, shape=(1000, 900), engine="swarp").image
    expected = np.column_stack(target.all_world2pix(*wcs.all_pix2world(x, y, 0), 0))
    for a, b in expected:
        box = np.s_[int(b) - 12 : int(b) + 14, int(a) - 12 : int(a) + 14]
        v, u = np.mgrid[box]
        flux = result[box].sum()
        assert flux == pytest.approx(10_000, rel=0.02)
        assert ((u * result[box]).sum() / flux - a, (v * result[box]).sum() / flux - b) == pytest.approx(
            (0, 0), abs=0.1
        )


def test_swarp_refuses_by_name(rng):
    """An image that cannot be written for SWarp is named."""
    if find_swarp() is None:
        pytest.skip("SWarp is not installed")
    wcs = icrs_wcs(BASE | SIP | {"A_ORDER": 9, "A_9_0": 2e-21})
    item = InputImage(rng.normal(0, 1, SHAPE).astype(np.float32), np.ones(SHAPE, np.float32), wcs, "bent.fits")
    target = tangent_wcs(ra=36.9, dec=-5.2, pixel_scale=0.3, x=450, y=500)
    with pytest.raises(CoaddError, match=r"bent\.fits.*TAN-SIP"):
        coadd([item], wcs=target, shape=(1000, 900), engine="swarp")


def test_header_of_fits_types():
    """The cards are those of a FITS header."""
    assert isinstance(swarp_header(icrs_wcs(BASE | SIP), SHAPE), fits.Header)
