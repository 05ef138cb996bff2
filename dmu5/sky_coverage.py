"""The sky coverage of the catalogue and of each of its bands, as multi-order coverage maps (MOC)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import Table
from mocpy import MOC

from dmu0.files.provenance import Provenance
from dmu1.sky_maps import write_moc

MOC_ORDER = 14
"""HEALPix order at which objects are counted, cells of 13 arcsec; the maps are two orders coarser, 51 arcsec."""


def write_mocs(table: Table, folder: Path, bands: Sequence[str], *, provenance: Provenance) -> dict[str, float]:
    """Write the sky coverage of usable objects, one MOC per band and one for the whole catalogue.

    Parameters
    ----------
    table
        The catalogue, with ``coord_ra``, ``coord_dec`` and ``{band}_usable``.
    folder
        Folder of the maps, named ``<name>.moc.fits``.
    bands
        Labels of the bands.
    provenance
        Provenance to store in the cards of the maps (`dmu0.files.metadata.CARDS`).

    Returns
    -------
    areas
        Name (a band, or ``catalogue``) -> area in arcmin^2. Cells without an object are not counted.
    """
    areas = {}
    for name in ("catalogue", *bands):
        rows = table if name == "catalogue" else table[np.asarray(table[f"{name}_usable"])]
        if not len(rows):
            areas[name] = 0.0
            (folder / f"{name}.moc.fits").unlink(missing_ok=True)
            continue
        places = SkyCoord(np.asarray(rows["coord_ra"]), np.asarray(rows["coord_dec"]), unit="deg")
        moc = MOC.from_skycoords(places, max_norder=MOC_ORDER).degrade_to_order(MOC_ORDER - 2)
        write_moc(folder / f"{name}.moc.fits", moc, provenance.words())
        areas[name] = float(moc.sky_fraction * 4 * np.pi * (u.rad**2).to(u.arcmin**2))
    return areas
