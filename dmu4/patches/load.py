"""Reading the coadds of a patch: everything needed for measurement, or only the images for display."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import astropy.units as u
import numpy as np
from lsst.daf.butler import DeferredDatasetHandle
from lsst.images import MaskedImage, SkyProjection
from lsst.images.cells import CellCoadd

from dmu0.published.lsst import PSF_CORRECTION
from dmu4.coadds.psf_zones import PsfZones
from dmu4.patches.cell_inputs import zones_of_cells
from dmu4.patches.cube import BandPlanes, CalibrationErrors, PatchCube, PatchImages
from dmu4.patches.filling import good_pixels, in_order, one_band
from obs_vista.masks import from_mask


def planes_of_coadd(coadd: CellCoadd, *, input_count: np.ndarray | None = None) -> BandPlanes:
    """The arrays of a coadd.

    Parameters
    ----------
    coadd
        A coadd in nJy.
    input_count
        Number of images in each pixel, if such a map exists; otherwise it is taken from the coadd's provenance,
        or is 1 if there is none.

    Raises
    ------
    ValueError
        If the unit of the coadd cannot be converted to nJy.
    """
    scale = _to_njy(coadd.unit, f"{coadd.band} of tract {coadd.tract}")
    start, stop = coadd.bounds.subgrid_start, coadd.bounds.subgrid_stop
    size = coadd.psf.kernel_bbox.shape
    psf = np.full((stop.i - start.i, stop.j - start.j, *size), np.nan, np.float32)
    for cell in coadd.bounds.cell_indices():
        if coadd.bounds.contains_cell(cell):
            psf[cell.i - start.i, cell.j - start.j] = coadd.psf[cell].array
    noise = coadd.noise_realizations[0].array * scale if coadd.noise_realizations else None
    return BandPlanes(
        image=coadd.image.array * scale,
        variance=coadd.variance.array * scale**2,
        mask=from_mask(coadd.mask),
        psf=psf,
        noise=noise,
        input_count=_count_inputs(coadd) if input_count is None else input_count,
        psf_light=_psf_light(coadd),
        zones=zones_of_cells(coadd),
        calibration=CalibrationErrors(
            scale=_number(coadd, "flux_scale_error", 0.0),
            zero_point=_number(coadd, "zero_point_error", np.nan),
            position=_number(coadd, "position_error", np.nan),
        ),
    )


def _number(coadd: CellCoadd, name: str, missing: float) -> float:
    """A number in the metadata of a coadd."""
    value = coadd.metadata.get(name, missing)
    return float(value) if isinstance(value, int | float) else missing


def _to_njy(unit: u.UnitBase, what: str) -> float:
    """Factor that converts the pixels of a coadd to nJy."""
    try:
        return (1 * unit).to_value(u.nJy)
    except u.UnitConversionError as error:
        raise ValueError(f"The coadd in {what} is in {unit}, which is not a unit of flux density like nJy.") from error


def _psf_light(coadd: CellCoadd) -> float | np.ndarray:
    """Fraction of a star's light on a PSF stamp: of our own coadds one number, of LSST's one per cell."""
    correction = coadd.aperture_corrections.get(PSF_CORRECTION)
    if correction is None:
        return 1 / _number(coadd, "psf_correction", 1.0)
    start, size = coadd.bounds.subgrid_start, coadd.bounds.subgrid_size
    light = np.full((size.i, size.j), np.nan)
    for cell in correction.bounds[coadd.bounds.bbox].cell_indices():
        light[cell.i - start.i, cell.j - start.j] = 1 / correction.value_in_cell(cell)
    known = np.isfinite(light)
    return np.where(known, light, np.median(light[known]) if known.any() else 1.0)


def _count_inputs(coadd: CellCoadd) -> np.ndarray:
    """Number of images in the cell of each pixel [y, x], from the provenance; 1 everywhere without provenance."""
    count = np.ones(coadd.bbox.shape, np.int16)
    try:
        contributions = coadd.provenance.contributions
    except AttributeError:
        return count
    count[:] = 0
    for cell in coadd.bounds.cell_indices():
        box = coadd.grid.bbox_of(cell).intersection(coadd.bbox)
        inside = (contributions["cell_i"] == cell.i) & (contributions["cell_j"] == cell.j)
        count[box.slice_within(coadd.bbox)] = np.count_nonzero(inside)
    return count


def pixel_scale_of(coadd: CellCoadd | MaskedImage) -> float:
    """Size of a pixel in arcsec at the centre of a coadd."""
    x, y = (coadd.bbox.x.start + coadd.bbox.x.stop) / 2, (coadd.bbox.y.start + coadd.bbox.y.stop) / 2
    sky = coadd.sky_projection.pixel_to_sky(x=np.array([x, x + 1]), y=np.array([y, y]))
    return float(sky[0].separation(sky[1]).arcsec)


class StoredPatch:
    """The coadds of a patch, read one band after another.

    Parameters
    ----------
    coadds
        Handles of coadds of any number of bands.
    counts
        Handles of maps of the number of images in each pixel, for some of the bands.
    zone_maps, zones
        Handles of the maps and tables of PSF zones, see `dmu4.coadds.psf_zones`, for some of the bands.

    Raises
    ------
    ValueError
        If there is no coadd.
    """

    def __init__(
        self,
        coadds: Iterable[DeferredDatasetHandle],
        counts: Iterable[DeferredDatasetHandle] = (),
        zone_maps: Iterable[DeferredDatasetHandle] = (),
        zones: Iterable[DeferredDatasetHandle] = (),
    ) -> None:
        self._coadds, self._counts, self._zone_maps, self._zones = (
            {handle.dataId["band"]: handle for handle in handles} for handles in (coadds, counts, zone_maps, zones)
        )
        self.bands = in_order(self._coadds)
        # The first coadd defines the pixels; it is kept until it is asked for.
        first = self._coadds[self.bands[0]].get()
        self.projection: SkyProjection = first.sky_projection
        self.pixel_scale, self._box, self._first = pixel_scale_of(first), first.bbox, first
        self.x0, self.y0 = first.bbox.x.start, first.bbox.y.start

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self._box.shape

    def prepare(self, one: PatchCube) -> PatchCube:
        """A band from `read`, as it is."""
        return one

    def read(self, number: int) -> PatchCube:
        """Read one band.

        Raises
        ------
        ValueError
            If its coadd has another box than that of the first band, or is not in a unit of flux.
        """
        band = self.bands[number]
        coadd, self._first = (self._first, None) if number == 0 else (None, self._first)
        if coadd is None:
            coadd = self._coadds[band].get()
        if coadd.bbox != self._box:
            raise ValueError(
                f"The {band} coadd covers {coadd.bbox}, that of {self.bands[0]} {self._box}: a patch has one box."
            )
        count = self._counts[band].get().array if band in self._counts else None
        planes = planes_of_coadd(coadd, input_count=count)
        if band in self._zone_maps and band in self._zones:
            zone_map = self._zone_maps[band].get().array
            planes = replace(planes, zones=PsfZones.from_table(self._zones[band].get(), zone_map))
        return one_band(band, planes, x0=self.x0, y0=self.y0, pixel_scale=self.pixel_scale)


def load_images(coadds: Iterable[DeferredDatasetHandle]) -> PatchImages:
    """Read only images, variances and masks of the coadds of a patch, for display.

    Parameters
    ----------
    coadds
        Handles of coadds of any number of bands.

    Raises
    ------
    ValueError
        If there is no coadd, or a coadd is not in a unit of flux.
    """
    handle_of = {handle.dataId["band"]: handle for handle in coadds}
    bands = in_order(handle_of)
    planes: dict[str, np.ndarray] = {}
    for number, band in enumerate(bands):
        read = handle_of[band].get(component="masked_image")
        scale, image, variance = _to_njy(read.unit, band), read.image.array, read.variance.array
        good = good_pixels(image, variance, from_mask(read.mask))
        if not planes:
            # Filled band by band, so that no more than one is in memory twice.
            kinds = {"image": "f4", "variance": "f4", "good": "?"}
            planes = {name: np.zeros((len(bands), *good.shape), kind) for name, kind in kinds.items()}
        planes["good"][number] = good
        np.multiply(image, np.float32(scale), out=planes["image"][number], where=good)
        np.multiply(variance, np.float32(scale**2), out=planes["variance"][number], where=good)
    return PatchImages(
        bands=bands,
        x0=read.bbox.x.start,
        y0=read.bbox.y.start,
        pixel_scale=pixel_scale_of(read),
        **{name: np.moveaxis(plane, 0, -1) for name, plane in planes.items()},
    )
