"""Published coadds of the LSST pipelines, from a Butler."""

from __future__ import annotations

import astropy.units as u
import numpy as np
from lsst.daf.butler import Butler

from dmu0.published.masks import THEIR_NAMES
from dmu0.published.planes import OpticalCoadd, OpticalError, with_agreed_gaps
from obs_vista.bands import plain_band
from obs_vista.masks import BIT, from_mask


def read_lsst(butler: Butler, data_id: dict[str, int | str]) -> OpticalCoadd:
    """Read a ``deep_coadd`` of the LSST pipelines from a Butler.

    Parameters
    ----------
    butler
        Butler of the repository, with the collection to search.
    data_id
        Data id: skymap, tract, patch and band.

    Raises
    ------
    OpticalError
        If the unit of the coadd is not a flux density.
    """
    coadd = butler.get("deep_coadd", data_id | {"band": plain_band(str(data_id["band"]))})
    try:
        scale = (1 * coadd.unit).to_value(u.nJy)
    except (u.UnitConversionError, TypeError) as error:
        raise OpticalError(f"deep_coadd {data_id}: its unit is {coadd.unit}, not nJy.") from error
    known = from_mask(coadd.mask)
    for theirs, ours in THEIR_NAMES.items():
        if theirs in coadd.mask.schema.names:
            known[coadd.mask.get(theirs)] |= BIT[ours]
    left_out = tuple(name for name in coadd.mask.schema.names if THEIR_NAMES.get(name, name) not in BIT)
    values, variance = coadd.image.array * np.float32(scale), coadd.variance.array * np.float32(scale**2)
    origin, psf = (coadd.bbox.x.start, coadd.bbox.y.start), None
    if hasattr(coadd, "bounds"):
        start, size = coadd.bounds.subgrid_start, coadd.bounds.subgrid_size
        psf = np.full((size.i, size.j, *coadd.psf.kernel_bbox.shape), np.nan)
        for cell in coadd.bounds.cell_indices():
            psf[cell.i - start.i, cell.j - start.j] = coadd.psf[cell].array
    return with_agreed_gaps(values, variance, known, origin=origin, left_out=left_out, psf=psf)
