"""Transformations as SWarp reads them: those that it knows as they are, any other as TAN with polynomials (TPV)."""

from __future__ import annotations

from astropy.io import fits
from astropy.wcs import WCS

from dmu0.sky.tpv import is_linear, tpv_header


def wcs_header(wcs: WCS) -> fits.Header:
    """The cards of a transformation that is TAN or ZPN, with its CD matrix and PV coefficients."""
    header = wcs.to_header()
    cards = fits.Header()
    for key in ("CTYPE1", "CTYPE2", "CUNIT1", "CUNIT2", "CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2"):
        cards[key] = header[key]
    matrix = wcs.pixel_scale_matrix
    for row in (1, 2):
        for column in (1, 2):
            cards[f"CD{row}_{column}"] = matrix[row - 1, column - 1]
    for key in header:
        if key.startswith("PV"):
            cards[key] = header[key]
    cards["RADESYS"] = "ICRS"
    cards["EQUINOX"] = 2000.0
    return cards


def swarp_header(wcs: WCS, shape: tuple[int, int]) -> fits.Header:
    """The cards of a transformation for SWarp.

    SWarp reads TAN and ZPN with a CD matrix, without LONPOLE, and TPV. Others (SIP, SIN, galactic CAR ...) are fitted
    by TPV over the image.

    Parameters
    ----------
    wcs
        Transformation to ICRS, as `obs_vista.world_coordinates.icrs_wcs` gives.
    shape
        (ny, nx) of the image.

    Raises
    ------
    ProjectionError
        If the fit leaves more than `dmu0.sky.tpv.MAX_ERROR` pixels.
    """
    codes = {kind[5:] for kind in wcs.wcs.ctype}
    if codes in ({"TAN"}, {"ZPN"}) and abs(wcs.wcs.lonpole - 180) < 1e-9 and is_linear(wcs, shape):
        return wcs_header(wcs)
    return tpv_header(lambda x, y: wcs.all_pix2world(x, y, 0), shape, name=wcs.wcs.ctype[0])
