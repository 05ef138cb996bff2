"""HEALPix maps of the number of images, the depth and the seeing, and coverage maps as MOC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import healsparse
import hpgeom
import numpy as np
from astropy.table import Table
from lsst.sphgeom import LonLat
from mocpy import MOC

from dmu0.files.atomic import written_whole
from dmu0.files.code_version import code_version
from dmu0.files.metadata import CARDS
from dmu0.robust_statistics import SIGMA_TO_FWHM
from dmu0.sky.skymap import Patch
from dmu1.coverage import image_corners
from obs_vista.bands import get_band
from obs_vista.zero_points import ab_zero_point

NSIDE_COVERAGE = 64
"""Resolution of the coverage map of the HealSparse maps."""

PIXELS_PER_IMAGE = 20
"""Smallest number of map pixels along the side of an image: edges are then accurate to about 2 per cent of a side."""


class BandMaps(NamedTuple):
    """Maps of one band.

    Attributes
    ----------
    exposures
        Number of images at each position, int32.
    depth
        5-sigma AB magnitude of a point source for all images combined, float32; NaN where there are images but their
        headers do not give the depth.
    seeing
        Mean seeing of the images in arcsec, float32.
    """

    exposures: healsparse.HealSparseMap
    depth: healsparse.HealSparseMap
    seeing: healsparse.HealSparseMap


def map_nside(images: Table) -> int:
    """The HEALPix resolution at which the typical image is at least `PIXELS_PER_IMAGE` pixels wide.

    Parameters
    ----------
    images
        Rows of the inventory; if there are none, the size of a full VIRCAM detector is used.
    """
    side = (
        694.0 if len(images) == 0 else float(np.median(np.minimum(images["nx"], images["ny"]) * images["pixel_scale"]))
    )
    nside = NSIDE_COVERAGE
    while np.degrees(hpgeom.nside_to_pixel_area(nside, degrees=False) ** 0.5) * 3600 > side / PIXELS_PER_IMAGE:
        nside *= 2
    return nside


def point_source_depth(images: Table, *, magnitudes: str) -> np.ndarray:
    """5-sigma AB magnitude of a point source in each image, from its header.

    The noise is SKYNOISE in the noise-equivalent area of a Gaussian star, 4 pi sigma^2 (King 1983, PASP 95, 163). The
    correlation of the noise in stacks is not included: true depths are a few tenths of a magnitude shallower.

    Parameters
    ----------
    images
        Rows of the inventory.
    magnitudes
        System of MAGZPT, Vega or AB.
    """
    sigma = np.asarray(images["seeing"] / images["pixel_scale"], float) / SIGMA_TO_FWHM
    limit = 5 * np.asarray(images["sky_noise"], float) * np.sqrt(4 * np.pi) * sigma
    return table_zero_points(images, magnitudes=magnitudes) - 2.5 * np.log10(limit)


def table_zero_points(images: Table, *, magnitudes: str) -> np.ndarray:
    """AB magnitude of one count of each image, computed by `obs_vista.zero_points`.

    Parameters
    ----------
    images
        Rows of the inventory.
    magnitudes
        System of MAGZPT, Vega or AB.
    """
    return ab_zero_point(
        magzpt=images["magzpt"],
        exposure_time=images["exptime"],
        extinction=images["extinction"],
        airmass=images["airmass"],
        vega_to_ab=np.array([get_band(str(band)).vega_to_ab for band in images["band"]], float),
        magnitudes=magnitudes,
    )


def band_maps(images: Table, depths: np.ndarray, *, nside: int) -> BandMaps:
    """Maps of the images of one band.

    Parameters
    ----------
    images
        Rows of the inventory.
    depths
        Depth of each image in AB mag; NaN if unknown.
    nside
        HEALPix resolution, a power of two.
    """
    pixels = [hpgeom.query_polygon(nside, c[:, 0], c[:, 1], inclusive=False) for c in image_corners(images)]
    places, where = np.unique(np.concatenate([*pixels, np.array([], int)]), return_inverse=True)
    lengths = [len(inside) for inside in pixels]

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(where, weights=np.repeat(values, lengths), minlength=len(places))

    count = total(np.ones(len(images)))
    seeing = total(np.asarray(images["seeing"], float)) / np.maximum(count, 1)
    weight = total(10 ** (0.8 * np.asarray(depths, float)))  # inverse variances add
    depth = 1.25 * np.log10(weight, out=np.full(len(places), np.nan), where=weight > 0)
    return BandMaps(
        _sparse(places, count.astype(np.int32), nside, sentinel=0),
        _sparse(places, depth.astype(np.float32), nside, sentinel=hpgeom.UNSEEN),
        _sparse(places, seeing.astype(np.float32), nside, sentinel=hpgeom.UNSEEN),
    )


def _sparse(places: np.ndarray, values: np.ndarray, nside: int, *, sentinel: float) -> healsparse.HealSparseMap:
    sparse = healsparse.HealSparseMap.make_empty(NSIDE_COVERAGE, nside, values.dtype, sentinel=sentinel)
    if len(places):
        sparse.update_values_pix(places, values)
    return sparse


def band_moc(maps: BandMaps) -> MOC:
    """The sky on which a band has at least one image."""
    order = int(np.log2(maps.exposures.nside_sparse))
    return MOC.from_healpix_cells(
        maps.exposures.valid_pixels, depth=np.full(maps.exposures.n_valid, order), max_depth=order
    )


def patches_moc(patches: Sequence[Patch], *, nside: int) -> MOC:
    """The sky inside the outer boxes of some patches."""
    inside = [np.array([], int)]
    for patch in patches:
        corners = [LonLat(vertex) for vertex in patch.outer_polygon.getVertices()]
        ra, dec = ([getattr(c, axis)().asDegrees() for c in corners] for axis in ("getLon", "getLat"))
        inside.append(hpgeom.query_polygon(nside, np.array(ra), np.array(dec), inclusive=False))
    places = np.unique(np.concatenate(inside))
    order = int(np.log2(nside))
    return MOC.from_healpix_cells(places, depth=np.full(len(places), order), max_depth=order)


def moc_area(moc: MOC) -> float:
    """Area in square degrees."""
    return float(moc.sky_fraction * 4 * np.pi * np.degrees(1) ** 2)


def write_maps(folder: Path, band: str, maps: BandMaps) -> list[Path]:
    """Write the maps of a band and its MOC to a folder; each file appears complete or not at all.

    Returns
    -------
    paths
        Paths of ``<band>_exposures.hsp``, ``<band>_depth.hsp``, ``<band>_seeing.hsp`` and ``<band>.moc.fits``.
    """
    written = []
    for name, sparse in maps._asdict().items():
        path = folder / f"{band}_{name}.hsp"
        with written_whole(path) as part:
            sparse.write(str(part))
        written.append(path)
    return [*written, write_moc(folder / f"{band}.moc.fits", band_moc(maps))]


def write_moc(path: Path, moc: MOC, words: Mapping[str, str] | None = None) -> Path:
    """Write a MOC as FITS; the file appears complete or not at all.

    Parameters
    ----------
    path
        Path of the file.
    moc
        The map.
    words
        Provenance of the map (`dmu0.files.provenance.Provenance.words`); the version of the code if None.
    """
    cards = {CARDS[name]: value for name, value in (code_version().words() if words is None else words).items()}
    with written_whole(path) as part:
        moc.save(str(part), format="fits", fits_keywords=cards)
    return path
