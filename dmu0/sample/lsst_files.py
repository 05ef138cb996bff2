"""LSST files of the sample: coadds of cells of one band and patch, as DP2 delivers them, written by lsst.images."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

import astropy.units as u
import numpy as np
from astropy.time import Time
from lsst.images import (
    YX,
    Image,
    Mask,
    MaskSchema,
    Polygon,
    SkyProjection,
    TractFrame,
    get_legacy_deep_coadd_mask_planes,
)
from lsst.images.cells import (
    CellCoadd,
    CellField,
    CellGrid,
    CellGridBounds,
    CellIJ,
    CellPointSpreadFunction,
    CoaddProvenance,
)
from scipy.ndimage import gaussian_filter

from dmu0.sample.lsst_coadds import LsstField
from dmu0.sample.scene import OPTICAL_MJD
from dmu0.sky.tract import Patch

FILTERS = MappingProxyType({"u": "u_24", "g": "g_6", "r": "r_57", "i": "i_39", "z": "z_20", "y": "y_10"})
"""Names of LSSTCam's filters."""

DETECTOR = 94
"""Number of the detector of all visits."""


def lsst_coadd(field: LsstField, patch: Patch, *, skymap: str) -> CellCoadd:
    """The coadd of a patch, with all that coadds of DP2 have."""
    box, cell = patch.image_bbox, field.cell
    cut, grid = box.slice_within(field.box), CellGrid(bbox=box, cell_shape=YX(y=cell, x=cell))
    cells = tuple(slice(part.start // cell, part.stop // cell) for part in (cut.y, cut.x))
    stamps, light, cover = field.stamps[cells], field.light[cells], field.cover[(slice(None), *cells)]
    missing = frozenset(CellIJ(i=int(i), j=int(j)) for i, j in np.argwhere(~cover.any(axis=0)))
    bounds = CellGridBounds(grid=grid, bbox=box, missing=missing)
    frame = TractFrame(skymap=skymap, tract=patch.tract.id, bbox=box)
    rejected = (field.saturated[cut.y, cut.x] | field.empty[cut.y, cut.x]).astype(np.float32)
    return CellCoadd(
        Image(field.image[cut.y, cut.x].copy(), bbox=box, unit=u.nJy),
        mask=_mask(field, cut, patch),
        variance=Image(field.variance[cut.y, cut.x].copy(), bbox=box, unit=u.nJy**2),
        mask_fractions={"rejected": Image(rejected, bbox=box)},
        noise_realizations=[Image(field.noise[cut.y, cut.x].copy(), bbox=box)],
        sky_projection=SkyProjection.from_fits_wcs(patch.tract.wcs, frame, pixel_bounds=box),
        band=field.band,
        psf=CellPointSpreadFunction(stamps.copy(), bounds),
        aperture_corrections={"base_PsfFlux_instFlux": CellField(bounds, 1 / light)},
        patch=patch.definition(grid),
        provenance=_provenance(field.band, cover, patch),
    )


def write_lsst(path: Path, field: LsstField, patch: Patch, *, skymap: str) -> None:
    """Write the coadd of a patch."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lsst_coadd(field, patch, skymap=skymap).write(str(path))


def _mask(field: LsstField, cut: YX[slice], patch: Patch) -> Mask:
    """The planes of DP2."""
    saturated, empty = field.saturated[cut.y, cut.x], field.empty[cut.y, cut.x]
    mask = Mask(0, schema=MaskSchema(list(get_legacy_deep_coadd_mask_planes().values())), bbox=patch.image_bbox)
    smooth = gaussian_filter(field.image[cut.y, cut.x], 2)
    sigma = np.sqrt(np.median(field.variance[cut.y, cut.x]))
    edge = np.ones(saturated.shape, bool)
    edge[5:-5, 5:-5] = False
    planes = {"NO_DATA": empty, "DETECTED": smooth > 5 * sigma / 7, "DETECTION_EDGE": edge}
    planes |= dict.fromkeys(("SATURATED", "REJECTED", "INEXACT_PSF", "INTERPOLATED"), saturated)
    for name, plane in planes.items():
        mask.set(name, plane)
    return mask


def _provenance(band: str, cover: np.ndarray, patch: Patch) -> CoaddProvenance:
    """The visits, and those of each cell."""
    box = patch.image_bbox
    x, y = (np.array([axis.start, axis.stop]) - 0.5 for axis in (box.x, box.y))
    outline = Polygon(x_vertices=x[[0, 1, 1, 0]], y_vertices=y[[0, 0, 1, 1]])
    nights = Time(OPTICAL_MJD + 3.0 * (np.arange(len(cover)) - (len(cover) - 1) / 2), format="mjd")
    days = [int(night.strftime("%Y%m%d")) for night in nights]
    visits = [day * 100_000 + 177 for day in days]
    used = np.flatnonzero(cover.any(axis=(1, 2)))
    inputs = CoaddProvenance.make_empty_input_table(len(used))
    for row, n in enumerate(used):
        values = ("LSSTCam", visits[n], DETECTOR, FILTERS[band], days[n], outline)
        for name, value in zip(inputs.colnames, values, strict=True):
            inputs[name][row] = value
    places = np.argwhere(cover)
    table = CoaddProvenance.make_empty_contribution_table(len(places))
    table["instrument"], table["detector"] = "LSSTCam", DETECTOR
    table["visit"] = [visits[n] for n in places[:, 0]]
    table["cell_i"], table["cell_j"] = places[:, 1].astype(np.uint16), places[:, 2].astype(np.uint16)
    table["overlaps_center"], table["overlap_fraction"], table["unmasked_fraction"] = True, 1.0, 1.0
    table["weight"] = 1.0
    return CoaddProvenance(inputs, table)
