"""Task: convert a published coadd, optical or VISTA, to the format of our own coadds."""

from __future__ import annotations

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

from dmu0.published.coadds import OpticalCoadd, PsfStamp, on_patch, read_psf, read_source
from dmu0.sky.skymap import make_sky_map
from dmu0.sky.tract import Patch
from dmu0.surveys import SkyMapConfig
from dmu4.coadds.cell_coadd import cell_size, has_data, make_cell_coadd
from dmu4.coadds.correlated_noise import correlated_noise, noise_kernel, sky_noise_correlation
from dmu4.coadds.psf_from_stars import psf_from_stars
from dmu4.coadds.stack import CoaddPlanes
from obs_vista.bands import BAND_ORDER
from obs_vista.masks import BIT


class ImportOpticalConnections(PipelineTaskConnections, dimensions=("skymap", "tract", "patch", "band")):
    """What the task reads and writes."""

    source = Input(
        doc="Which file it is: kind (hsc, lsst, fits), path, zero_point or null, psf (stamps, stars), psf_path or null;"
        " for lsst, path is the repository and collection is needed.",
        name="optical_coadd_source",
        storageClass="StructuredDataDict",
        dimensions=("skymap", "tract", "patch", "band"),
    )
    sky_map = PrerequisiteInput(
        doc="Definition of the sky map, for the patch's pixels.",
        name="sky_map",
        storageClass="StructuredDataDict",
        dimensions=("skymap",),
    )
    coadd = Output(
        doc="The coadd in nJy with its mask, variance, PSF and noise.",
        name="deep_coadd",
        storageClass="CellCoadd",
        dimensions=("skymap", "tract", "patch", "band"),
    )


class ImportOpticalConfig(PipelineTaskConfig, pipelineConnections=ImportOpticalConnections):
    """How to import."""

    noisePlanes = RangeField[int](doc="Noise realisations to make from variance and sky correlation.", default=1, min=0)
    psfSize = RangeField[int](doc="Side in pixels of a PSF measured on stars.", default=41, min=11, inclusiveMin=True)
    psfStars = RangeField[int](doc="Most stars to measure a PSF on.", default=150, min=5)


class ImportOpticalTask(PipelineTask):
    """Import a published coadd.

    1. Pixels keep their values, in nJy: they already are on the grid of the patch, which is checked with their header.
    2. Mask planes keep their meaning; planes missing from the file are never set.
    3. If the file has no variance it is measured on the sky; if it has no PSF it is measured on stars.
    4. Noise realizations have the variance of the pixels and the correlation of the sky.
    """

    ConfigClass = ImportOpticalConfig
    _DefaultName = "import_optical"

    def runQuantum(
        self, butlerQC: QuantumContext, inputRefs: InputQuantizedConnection, outputRefs: OutputQuantizedConnection
    ) -> None:
        """Read the file, import it, write."""
        data_id = butlerQC.quantum.dataId
        source = butlerQC.get(inputRefs.source)
        patch = make_sky_map(SkyMapConfig(**butlerQC.get(inputRefs.sky_map))).tract(data_id["tract"])
        patch = patch.patch(data_id["patch"])
        where = {name: data_id[name] for name in ("skymap", "tract", "patch", "band")}
        coadd, name = read_source(source, where), Path(str(source["path"])).name
        stamp = read_psf(Path(source["psf_path"])) if source.get("psf_path") else None
        coadd = on_patch(coadd, patch, name=name)
        butlerQC.put(self.run(coadd, stamp, patch, skymap=where["skymap"], band=where["band"], name=name), outputRefs)

    def run(
        self, coadd: OpticalCoadd, stamp: PsfStamp | None, patch: Patch, *, skymap: str, band: str, name: str
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
        stamps, source = self._stamps(coadd, None if stamp is None else stamp.stamp, patch, good)
        correlation = sky_noise_correlation(coadd.image, coadd.variance, coadd.mask, drop=int(BIT["NO_DATA"]))
        kernel = noise_kernel(correlation)
        seed, box = 100 * patch.tract.id + BAND_ORDER.index(band), patch.outer_bbox
        noise = [
            np.where(
                good,
                correlated_noise(coadd.variance, kernel, seed=seed + (n << 32), y0=box.y.start, x0=box.x.start),
                np.nan,
            )
            for n in range(self.config.noisePlanes)
        ]
        planes = CoaddPlanes(
            planes=np.stack([coadd.image, *noise]).astype(np.float32),
            variance=coadd.variance,
            mask=coadd.mask,
            count=good.astype(np.int16),
            rejected=np.zeros(good.shape, np.float32),
            signature=good.astype(np.uint32),
            cell_counts=np.zeros((*stamps.shape[:2], 1), np.int64),
            clipped=np.zeros(1, np.int64),
        )
        metadata = {"source_file": name, "psf_source": source, "planes_left_out": " ".join(coadd.left_out)}
        if stamp is not None and stamp.note:
            metadata["psf_note"] = stamp.note
            self.log.warning("%s, band %s: PSF stamp %s.", name, band, stamp.note)
        self.log.info("%s: %.1f%% of the patch has data, PSF from %s.", name, 100 * good.mean(), source)
        return Struct(coadd=make_cell_coadd(planes, stamps, patch, skymap=skymap, band=band, metadata=metadata))

    def _stamps(
        self, coadd: OpticalCoadd, stamp: np.ndarray | None, patch: Patch, good: np.ndarray
    ) -> tuple[np.ndarray, str]:
        """PSF stamps of the cells that have data [cell row, cell column, y, x], and their origin."""
        cell = cell_size(patch)
        filled = good.reshape(good.shape[0] // cell, cell, -1, cell).any(axis=(1, 3))
        source = "stamps"
        if stamp is None and coadd.psf is not None and coadd.psf.shape[:2] == filled.shape:
            return np.where(filled[:, :, None, None], coadd.psf, np.nan), "cells"
        if stamp is None:
            size = self.config.psfSize // 2 * 2 + 1
            stamp, stars = psf_from_stars(
                coadd.image, coadd.variance, coadd.mask, size=size, max_stars=self.config.psfStars
            )
            source = f"{stars} stars" if stars else "a Gaussian, because there are too few stars"
        return np.where(filled[:, :, None, None], stamp, np.nan), source
