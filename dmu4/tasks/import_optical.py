"""Task: convert a published coadd, optical or VISTA, to the format of our own coadds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from lsst.pex.config import RangeField
from lsst.pipe.base import (
    InputQuantizedConnection,
    NoWorkFound,
    OutputQuantizedConnection,
    PipelineTask,
    PipelineTaskConfig,
    PipelineTaskConnections,
    QuantumContext,
    Struct,
)
from lsst.pipe.base.connectionTypes import Input, Output, PrerequisiteInput

from dmu0.published.coadds import (
    OpticalCoadd,
    OpticalError,
    PsfStamp,
    PublishedCells,
    Source,
    is_on_grid,
    on_patch,
    read_geometry,
    read_psf,
    read_source,
)
from dmu0.robust_statistics import SIGMA_TO_FWHM
from dmu0.sky.skymap import make_sky_map
from dmu0.sky.tract import Patch
from dmu0.surveys import SkyMapConfig
from dmu2.bright_stars import BrightStars
from dmu4.coadds.cell_coadd import cell_size, has_data, make_cell_coadd
from dmu4.coadds.correlated_noise import correlated_noise, noise_kernel, sky_noise_correlation
from dmu4.coadds.mosaics import (
    COARSE,
    StampPsf,
    image_grid,
    image_pixels_per_pixel,
    image_psfs,
    light_on_stamps,
    mosaic_input,
    mosaic_settings,
    part_to_read,
    psf_source,
    resample_mosaic,
    stamp_psfs,
)
from dmu4.coadds.planes import CoaddInput, CoaddPlanes
from dmu4.coadds.psf import on_pixels
from dmu4.coadds.psf_from_stars import cell_stamps, in_words, psf_from_stars
from dmu4.coadds.psf_variation import cell_psfs, describe, measure_variation
from dmu4.patches.cube import psf_sigma
from obs_vista.bands import band_number
from obs_vista.masks import BIT

Metadata = dict[str, int | float | str | bool]
"""Metadata of a coadd."""


class ImportOpticalConnections(PipelineTaskConnections, dimensions=("skymap", "tract", "patch", "band")):
    """Inputs and outputs of the task."""

    source = Input(
        doc="Which file it is: kind (hsc, lsst, fits), path, zero_point or null, psf (stamps, stars), psf_path or null,"
        " and weight_path, variance_path, ab_offset, band, magnitudes as far as there are any; for lsst with a"
        " collection, path is the repository; others: a list of further tiles of a mosaic, each with the same keys.",
        name="optical_coadd_source",
        storageClass="StructuredDataDict",
        dimensions=("skymap", "tract", "patch", "band"),
    )
    sky_map = PrerequisiteInput(
        doc="Definition of the sky map, which gives the pixels of the patch.",
        name="sky_map",
        storageClass="StructuredDataDict",
        dimensions=("skymap",),
    )
    bright_stars = PrerequisiteInput(
        doc="Bright stars whose halos reach the tract, for the mask plane BRIGHT_OBJECT.",
        name="bright_stars",
        storageClass="ArrowAstropy",
        dimensions=("skymap", "tract"),
    )
    coadd = Output(
        doc="The coadd in nJy with its mask, variance, PSF and noise.",
        name="deep_coadd",
        storageClass="CellCoadd",
        dimensions=("skymap", "tract", "patch", "band"),
    )


class ImportOpticalConfig(PipelineTaskConfig, pipelineConnections=ImportOpticalConnections):
    """Settings of the import."""

    noisePlanes = RangeField[int](
        doc="Number of noise realizations made from the variance and the correlation of the sky.", default=1, min=0
    )
    psfStars = RangeField[int](
        doc="Largest number of stars used to measure how the PSF varies about a stamp.", default=150, min=5
    )
    fittedStars = RangeField[int](
        doc="Largest number of stars to which the PSF of an image is fitted.", default=400, min=5
    )
    threads = RangeField[int](doc="Number of threads that resample mosaics.", default=2, min=1)


class ImportOpticalTask(PipelineTask):
    """Import a published coadd.

    1. Pixels keep their values, in nJy, if they are on the grid of the patch according to their header. Other images,
       and mosaics of several tiles, are resampled like single images, with variance and noise.
    2. Mask planes keep their meaning; planes missing from the file are never set. BRIGHT_OBJECT alone is made anew,
       from the reference catalogue as in all other bands.
    3. Without a variance, that of the weight map or of the sky is used; without a PSF, it is fitted to stars. One PSF
       stamp for the whole patch is varied over its cells as the sizes and shapes of its stars vary.
    4. Noise realizations of the file are used; without any they are made, with the variance of the pixels and the
       correlation of the sky.
    5. Of a coadd of cells, each cell keeps its PSF, its aperture correction and its list of inputs.
    """

    ConfigClass = ImportOpticalConfig
    config: ImportOpticalConfig
    _DefaultName = "import_optical"

    def runQuantum(
        self, butlerQC: QuantumContext, inputRefs: InputQuantizedConnection, outputRefs: OutputQuantizedConnection
    ) -> None:
        """Read the file, import it, write."""
        data_id = butlerQC.quantum.dataId
        source = butlerQC.get(inputRefs.source)
        sky_map = make_sky_map(SkyMapConfig(**butlerQC.get(inputRefs.sky_map)))
        patch = sky_map.tract(data_id["tract"]).patch(data_id["patch"])
        where = {name: data_id[name] for name in ("skymap", "tract", "patch", "band")}
        name = Path(str(source["path"])).name
        stamp = read_psf(Path(source["psf_path"])) if source.get("psf_path") else None
        stars = BrightStars.from_table(butlerQC.get(inputRefs.bright_stars))
        names = {"skymap": str(data_id["skymap"]), "band": str(data_id["band"])}
        tiles = [source, *source.get("others", ())]
        in_butler = source["kind"] == "lsst" and source.get("collection") is not None
        if len(tiles) == 1 and (in_butler or is_on_grid(*read_geometry(Path(source["path"])), patch)):
            coadd = on_patch(read_source(source, where), patch, name=name)
            made = self.run(coadd, stamp, patch, **names, name=name, stars=stars)
        else:
            made = self.run_mosaic(self.open_tiles(tiles, where, patch), stamp, patch, **names, stars=stars)
        butlerQC.put(made, outputRefs)

    def open_tiles(self, tiles: Sequence[Source], where: dict[str, int | str], patch: Patch) -> list[CoaddInput]:
        """The images that overlap a patch, sorted by name; of each, only the part needed for the patch is read.

        Raises
        ------
        OpticalError
            If a file cannot be used or has no WCS.
        """
        opened = []
        for tile in sorted(tiles, key=lambda tile: str(tile["path"])):
            path = Path(str(tile["path"]))
            wcs, shape = read_geometry(path)
            if wcs is None:
                raise OpticalError(f"{path}: it has no world coordinates, as each tile of a mosaic must.")
            grid = image_grid(patch, wcs, shape)
            box = part_to_read(grid, shape)
            one = None
            if box is not None:
                if (ratio := image_pixels_per_pixel(grid, patch)) > COARSE:
                    self.log.warning(
                        "%s: pixels of the sky map are %.1f times as large as its own, which costs depth; set "
                        "sky_map.pixel_scale to that of the finest image.",
                        path.name,
                        ratio,
                    )
                one = mosaic_input(read_source(tile, where, box=box), grid, name=f"{where['band']} {path.name}")
            if one is None:
                self.log.info("%s has no data in %s.", path.name, patch)
            else:
                opened.append(one)
        return opened

    def run_mosaic(
        self,
        inputs: Sequence[CoaddInput],
        stamp: PsfStamp | None,
        patch: Patch,
        *,
        skymap: str,
        band: str,
        stars: BrightStars | None = None,
    ) -> Struct:
        """Make a coadd from images on other pixel grids.

        Parameters
        ----------
        inputs
            The images that overlap the patch, from `open_tiles`.
        stamp
            PSF of all images on their own pixels; None: that of each image is fitted to its stars.
        patch
            The patch.
        skymap, band
            Names.
        stars
            Bright stars whose halos are marked in the mask; None: none are known.

        Returns
        -------
        Struct
            ``coadd`` (`CellCoadd`).

        Raises
        ------
        NoWorkFound
            If there are no data in the patch.
        """
        settings = mosaic_settings(n_noise=self.config.noisePlanes, threads=self.config.threads)
        planes = resample_mosaic(inputs, patch, settings) if inputs else None
        good = None if planes is None else has_data(planes.mask)
        if planes is None or good is None or not good.any():
            raise NoWorkFound(f"no image of the {band} mosaic has data in {patch}")
        fitted = image_psfs(inputs, max_stars=self.config.fittedStars) if stamp is None else []
        psfs = fitted if stamp is None else [StampPsf(stamp.stamp) for _ in inputs]
        source = psf_source(fitted) if stamp is None else "stamps"
        light = light_on_stamps(fitted, inputs, planes) if stamp is None else 1.0
        stamps, cell = stamp_psfs(psfs, inputs, planes, patch, order=settings.order), cell_size(patch)
        filled = good.reshape(good.shape[0] // cell, cell, -1, cell).any(axis=(1, 3))
        files = [one.name.partition(" ")[2] for one in inputs]
        metadata: Metadata = {"source_file": " ".join(files), "psf_source": source, "psf_correction": 1 / light}
        metadata |= {"resampled": True, "tiles": len(files)} | self._note(stamp, files[0], band)
        self.log.info("%s: %.1f%% of the patch has data, PSF from %s.", files[0], 100 * good.mean(), source)
        stamps = np.where(filled[:, :, None, None], stamps, np.nan)
        return Struct(
            coadd=make_cell_coadd(planes, stamps, patch, skymap=skymap, band=band, stars=stars, metadata=metadata)
        )

    def run(
        self,
        coadd: OpticalCoadd,
        stamp: PsfStamp | None,
        patch: Patch,
        *,
        skymap: str,
        band: str,
        name: str,
        stars: BrightStars | None = None,
    ) -> Struct:
        """Convert a published coadd.

        Parameters
        ----------
        coadd
            The published coadd, on the pixels of the patch.
        stamp
            PSF of the whole patch; None: the PSFs of the cells of the coadd, or else a PSF from its stars.
        patch
            The patch.
        skymap, band
            Names of the sky map and the band.
        name
            Name of the file, for the metadata.
        stars
            Bright stars whose halos are marked in the mask, in place of those of the file; None: those of the file.

        Returns
        -------
        Struct
            ``coadd`` (`CellCoadd`).

        Raises
        ------
        NoWorkFound
            If the patch has no data.
        """
        good = has_data(coadd.mask)
        if not good.any():
            raise NoWorkFound(f"{name} has no data in {patch}")
        cells = None if coadd.cells is None or stamp is not None else coadd.cells.on(patch.image_bbox, cell_size(patch))
        if cells is not None and cells.missing.all():
            cells = None
        stamps, source, light = self._stamps(coadd, None if stamp is None else stamp.stamp, patch, good, cells)
        noise = [np.where(good, plane, np.nan) for plane in coadd.noise[: self.config.noisePlanes]]
        noise += self._made_noise(coadd, good, patch, band, first=len(noise))
        planes = _published_planes(coadd, good, noise, cells, cell=cell_size(patch))
        metadata: Metadata = {"source_file": name, "psf_source": source, "psf_correction": 1 / light}
        metadata |= {"planes_left_out": _left_out(coadd, stars)}
        metadata |= {"noise_source": "published" if coadd.noise and self.config.noisePlanes else "made here"}
        metadata |= self._note(stamp, name, band) | dict(coadd.notes)
        self.log.info("%s: %.1f%% of the patch has data, PSF from %s.", name, 100 * good.mean(), source)
        provenance, in_stamps = (None, None) if cells is None else (cells.provenance, cells.light)
        names = {"skymap": skymap, "band": band}
        made = make_cell_coadd(
            planes, stamps, patch, **names, provenance=provenance, light=in_stamps, stars=stars, metadata=metadata
        )
        return Struct(coadd=made)

    def _made_noise(
        self, coadd: OpticalCoadd, good: np.ndarray, patch: Patch, band: str, *, first: int
    ) -> list[np.ndarray]:
        """Noise realizations made from variance and sky, as many as are wanted beyond the ``first`` ones published."""
        if first >= self.config.noisePlanes:
            return []
        correlation = sky_noise_correlation(coadd.image, coadd.variance, coadd.mask, drop=int(BIT["NO_DATA"]))
        kernel = noise_kernel(correlation)
        seed, box = 100 * patch.tract.id + band_number(band), patch.image_bbox
        return [
            np.where(
                good,
                correlated_noise(coadd.variance, kernel, seed=seed + (n << 32), y0=box.y.start, x0=box.x.start),
                np.nan,
            )
            for n in range(first, self.config.noisePlanes)
        ]

    def _note(self, stamp: PsfStamp | None, name: str, band: str) -> Metadata:
        """What was changed in a PSF stamp, for the metadata."""
        if stamp is None or not stamp.note:
            return {}
        self.log.warning("%s, band %s: PSF stamp %s.", name, band, stamp.note)
        return {"psf_note": stamp.note}

    def _stamps(
        self,
        coadd: OpticalCoadd,
        stamp: np.ndarray | None,
        patch: Patch,
        good: np.ndarray,
        cells: PublishedCells | None,
    ) -> tuple[np.ndarray, str, float]:
        """PSF stamps of the cells with data [cell row, cell column, y, x], their origin, and the light on a stamp."""
        cell = cell_size(patch)
        filled = good.reshape(good.shape[0] // cell, cell, -1, cell).any(axis=(1, 3))
        if cells is not None:
            known = np.where(filled[:, :, None, None], cells.stamps, np.nan)
            return known, "cells" if cells.exact else "cells at the centres of ours", 1.0
        if stamp is None:
            fitted = psf_from_stars(coadd.image, coadd.variance, coadd.mask, max_stars=self.config.fittedStars)
            stamp, source, light = cell_stamps(fitted, filled.shape, cell=cell), in_words(fitted.n_stars), fitted.light
        else:
            planes = (coadd.image, coadd.variance, coadd.mask)
            fwhm = SIGMA_TO_FWHM * psf_sigma(stamp)
            variation = measure_variation(stamp, *planes, fwhm=fwhm, max_stars=self.config.psfStars)
            stamp, source = cell_psfs(stamp, variation, filled.shape, cell=cell), f"stamps, {describe(variation)}"
            light = 1.0
        return np.where(filled[:, :, None, None], stamp, np.nan), source, light


def _published_planes(
    coadd: OpticalCoadd, good: np.ndarray, noise: Sequence[np.ndarray], cells: PublishedCells | None, *, cell: int
) -> CoaddPlanes:
    """The pixels of a published coadd, with data where ``good``, with its noise realizations and cells of a side."""
    count = None if cells is None else cells.input_count()
    return CoaddPlanes(
        planes=np.stack([coadd.image, *noise]).astype(np.float32),
        variance=coadd.variance,
        mask=coadd.mask,
        count=np.where(good, 1 if count is None else on_pixels(count, cell), 0).astype(np.int16),
        rejected=np.zeros(good.shape, np.float32) if coadd.rejected is None else coadd.rejected,
        signature=good.astype(np.uint32),
        cell_counts=np.zeros((good.shape[0] // cell, good.shape[1] // cell, 1), np.int64),
        clipped=np.zeros(1, np.int64),
    )


def _left_out(coadd: OpticalCoadd, stars: BrightStars | None) -> str:
    """The mask planes of a published coadd that ours lacks; halos are replaced if bright stars are known."""
    replaced = stars is not None and (coadd.mask & BIT["BRIGHT_OBJECT"]).any()
    return " ".join([*coadd.left_out, *(["BRIGHT_OBJECT"] if replaced else [])])
