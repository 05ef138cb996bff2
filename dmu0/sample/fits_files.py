"""Writers of FITS files that are reproducible byte for byte."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.io import fits

from dmu0.files.atomic import written_whole


def write_fits(path: Path, hdus: list) -> None:
    """Write a FITS file, atomically."""
    with written_whole(path) as part:
        fits.HDUList(hdus).writeto(part, output_verify="exception")


def rice_hdu(data: np.ndarray, header: fits.Header, *, scale: float | None = None, when: str) -> fits.CompImageHDU:
    """An integer image compressed with RICE, row by row, with checksums.

    Parameters
    ----------
    data
        Integer pixels [y, x] as stored.
    header
        Cards of the header.
    scale
        BSCALE, the value of one step, if it is not 1.
    when
        Date written with the checksums.
    """
    hdu = fits.CompImageHDU(data, header, compression_type="RICE_1", tile_shape=(1, data.shape[1]))
    if scale is not None:
        # Set after the HDU was made, so that astropy stores the integers as they are.
        hdu.header["BSCALE"] = (scale, "physical = BZERO + BSCALE x stored")
        hdu.header["BZERO"] = 0.0
    hdu.add_checksum(when=f"updated {when}")
    return hdu
