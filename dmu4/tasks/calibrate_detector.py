"""Task: calibrate one detector of a VISTA pawprint stack."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import astropy.units as u
import numpy as np
from astro_metadata_translator import ObservationInfo
from astropy.io import fits
from astropy.table import Table
from lsst.daf.butler import DataCoordinate
from lsst.images import Box, DetectorFrame, Image, SkyProjection, VisitImage
from lsst.images.fields import ChebyshevField
from lsst.pex.config import ChoiceField, RangeField
from lsst.pipe.base import (
    InputQuantizedConnection,
    OutputQuantizedConnection,
    PipelineTask,
    PipelineTaskConfig,
    PipelineTaskConnections,
    QuantumContext,
    Struct,
    UnprocessableDataError,
)
from lsst.pipe.base.connectionTypes import Input, Output, PrerequisiteInput

from dmu4.butler.dataset_cache import DatasetCache
from dmu4.coadds.inputs import pixels_of
from dmu4.coadds.visit_quality import add_visit_noise, measure_visit_noise
from dmu4.detectors.calibration import DetectorCalibration, DetectorError, DetectorImage, Settings, calibrate
from dmu4.detectors.mask import sky_pedestal
from dmu4.detectors.reference_stars import around_detector
from dmu4.detectors.tables import source_table, summary_table
from dmu4.psf.model import to_piff
from obs_vista.camera import get_detector, make_detector
from obs_vista.cards import optional_number
from obs_vista.masks import to_mask
from obs_vista.noise import measured_sky_noise, pawprint_variance, predicted_sky_noise, skynoise_variance
from obs_vista.world_coordinates import icrs_wcs
from obs_vista.zero_points import header_zero_point

_KEYWORD = re.compile(r"[A-Z0-9_-]{1,8}")

SHARDS = DatasetCache(128_000_000, lambda table: sum(column.nbytes for column in table.columns.values()))
"""Cache of reference shards, which the detectors of a field have in common."""


class CalibrateDetectorConnections(PipelineTaskConnections, dimensions=("instrument", "visit", "detector")):
    """Inputs and outputs of the task."""

    pawprint = Input(
        doc="One detector of a CASU stack, in counts, with its header cards as metadata.",
        name="vircam_pawprint",
        storageClass="ImageV2",
        dimensions=("instrument", "exposure", "detector"),
    )
    confidence = Input(
        doc="Confidence map of the detector, in per cent.",
        name="vircam_confidence",
        storageClass="ImageV2",
        dimensions=("instrument", "exposure", "detector"),
        minimum=0,
    )
    references = PrerequisiteInput(
        doc="Shards of the reference catalogue that the detector overlaps.",
        name="refcat",
        storageClass="ArrowAstropy",
        dimensions=("htm7",),
        multiple=True,
        deferLoad=True,
        minimum=0,
    )
    visit_image = Output(
        doc="The calibrated detector: image in nJy, variance, mask, PSF, WCS.",
        name="visit_image",
        storageClass="VisitImage",
        dimensions=("instrument", "visit", "detector"),
    )
    source = Output(
        doc="Sources detected on the detector, and the matched references.",
        name="source",
        storageClass="ArrowAstropy",
        dimensions=("instrument", "visit", "detector"),
    )
    summary = Output(
        doc="One row with all statistics of the calibration and their errors, and the noise for the coadds.",
        name="visit_image_summary",
        storageClass="ArrowAstropy",
        dimensions=("instrument", "visit", "detector"),
    )


class CalibrateDetectorConfig(PipelineTaskConfig, pipelineConnections=CalibrateDetectorConnections):
    """Settings of the calibration."""

    noise = ChoiceField[str](
        doc="Source of the variance.",
        default="confidence",
        allowed={
            "confidence": "the confidence map, gain and read noise; an image without a map is rejected",
            "skynoise": "the scatter of the sky: for images without confidence maps",
        },
    )
    magnitudes = ChoiceField[str](
        doc="Photometric system of MAGZPT in the header.",
        default="Vega",
        allowed={
            "Vega": "CASU: Vega magnitude of one count per second at airmass 1",
            "AB": "AB magnitude of one count: pixels that an archive has rescaled",
        },
    )
    minStars = RangeField[int](
        doc="Smallest number of reference stars; with fewer the WCS and zero point of the header are kept.",
        default=12,
        min=3,
    )
    minPsfStars = RangeField[int](
        doc="Smallest number of PSF stars for a full model; with fewer the PSF is a single profile.", default=8, min=3
    )
    psfSignalToNoise = RangeField[float](doc="Smallest signal-to-noise ratio of PSF stars.", default=25.0, min=5.0)
    detectionThreshold = RangeField[float](
        doc="Detection threshold in units of the noise of a pixel.", default=3.0, min=1.0
    )
    backgroundMesh = RangeField[int](doc="Side of a cell of the background mesh, in pixels.", default=64, min=16)


class CalibrateDetectorTask(PipelineTask):
    """Make a calibrated image of one detector of a stack, with correct PSF, noise, astrometry and photometry.

    The steps are:

    1. Pixels of zero confidence have no data, those below 20 per cent are bad; saturated cores are filled and grown.
    2. The sky is a low-order surface fitted to a mesh, after masking sources and their halos.
    3. The variance is computed from the confidence map and scaled to the scatter of empty pixels.
    4. PSF stars have a common size on the detector; a fifth of them is reserved to check the PSF.
    5. The PSF is a Piff pixel grid; with few stars it is a constant profile, with none a profile with the header's
       seeing.
    6. The linear terms of the header's ZPN transformation are fitted to the references at the epoch of the exposure.
    7. The zero point is obtained by comparing total PSF fluxes with reference fluxes in the survey's own system.
    8. If there are too few stars for a step, the values of the header are kept and the status is ``header_solution``.
    """

    ConfigClass = CalibrateDetectorConfig
    _DefaultName = "calibrate_detector"
    config: CalibrateDetectorConfig

    def runQuantum(
        self, butlerQC: QuantumContext, inputRefs: InputQuantizedConnection, outputRefs: OutputQuantizedConnection
    ) -> None:
        """Read the inputs of a detector, calibrate it, write the outputs."""
        data_id = butlerQC.quantum.dataId
        pawprint = butlerQC.get(inputRefs.pawprint)
        confidence = butlerQC.get(inputRefs.confidence) if hasattr(inputRefs, "confidence") else None
        shards = [SHARDS.get(handle) for handle in butlerQC.get(inputRefs.references)]
        outputs = self.run(pawprint=pawprint, confidence=confidence, shards=shards, data_id=data_id)
        butlerQC.put(outputs, outputRefs)

    def run(
        self, *, pawprint: Image, confidence: Image | None, shards: Iterable[Table], data_id: DataCoordinate
    ) -> Struct:
        """Calibrate one detector.

        Parameters
        ----------
        pawprint, confidence
            Counts, with the header cards as metadata, and the confidence map.
        shards
            Tables of the reference catalogue around the detector.
        data_id
            Expanded data id with the record of the visit.

        Raises
        ------
        lsst.pipe.base.UnprocessableDataError
            If the detector cannot be calibrated: the confidence map is missing or has a different size, cards are
            missing, or there are too few pixels with data.
        """
        header = _header(pawprint.metadata)
        band, number = data_id["band"], int(data_id["detector"])
        timespan = data_id.records["visit"].timespan
        mjd = 0.5 * (timespan.begin.tai.mjd + timespan.end.tai.mjd)
        try:
            given = self._given(pawprint.array, None if confidence is None else confidence.array, header, number, band)
            references = around_detector(list(shards), band=band, mjd=mjd, wcs=given.wcs, shape=given.image.shape)
            result = calibrate(given, references, self._settings())
        except (DetectorError, ValueError) as error:
            raise UnprocessableDataError(f"visit {data_id['visit']} detector {number}: {error}") from error
        visit_image = make_visit_image(result, data_id=data_id, header=header)
        key = {"visit": int(data_id["visit"]), "detector": number, "band": band, "mjd": mjd}
        sources = source_table(result, references)
        summary = summary_table(result, given, header, key)
        pixels = pixels_of(visit_image.image, visit_image.variance, visit_image.mask)
        add_visit_noise(summary, measure_visit_noise(*pixels))
        self.metadata["status"] = result.status
        self.metadata["reason"] = result.reason
        self.log.info("%s, seeing %.2f arcsec, %s", result.status, result.seeing, result.reason or "all from stars")
        return Struct(visit_image=visit_image, source=sources, summary=summary)

    def _settings(self) -> Settings:
        return Settings(
            mesh=self.config.backgroundMesh,
            detection_threshold=self.config.detectionThreshold,
            min_psf_stars=self.config.minPsfStars,
            min_reference_stars=self.config.minStars,
            psf_signal_to_noise=self.config.psfSignalToNoise,
        )

    def _given(
        self, image: np.ndarray, confidence: np.ndarray | None, header: fits.Header, detector: int, band: str
    ) -> DetectorImage:
        """Pixels, predicted variance and values of the header."""
        units = 1.0
        if self.config.noise == "confidence":
            noise = pawprint_variance(image, confidence, header, detector)
        else:
            noise = skynoise_variance(image, header, detector)
            units = measured_sky_noise(np.where(noise.no_data, np.nan, image)) / predicted_sky_noise(header, detector)
        pedestal = sky_pedestal(image, sky_level=optional_number(header, "SKYLEVEL"))
        zero_point = header_zero_point(header, band=band, magnitudes=self.config.magnitudes)
        return DetectorImage(
            image=image,
            variance=noise.variance,
            confidence=confidence,
            wcs=icrs_wcs(header),
            seeing=optional_number(header, "SEEING"),
            saturation=(get_detector(detector).saturation - pedestal) * units,
            zero_point=(zero_point.magnitude, zero_point.error),
        )


def make_visit_image(result: DetectorCalibration, *, data_id: DataCoordinate, header: Mapping) -> VisitImage:
    """The calibrated detector as an LSST image, in nJy."""
    box = Box.from_shape(result.image.shape)
    number, visit, instrument = int(data_id["detector"]), int(data_id["visit"]), data_id["instrument"]
    frame = DetectorFrame(instrument=instrument, detector=number, visit=visit, bbox=box)
    scale = np.float32(result.zero_point.scaling)
    record = data_id.records["visit"]
    stars = result.psf_stars
    corrections = {"psf": result.apertures.psf}
    corrections |= {f"ap{10 * radius:.0f}": value for radius, (value, _) in result.apertures.apertures.items()}
    return VisitImage(
        Image(
            result.image * scale,
            bbox=box,
            unit=u.nJy,
            sky_projection=SkyProjection.from_fits_wcs(result.astrometry.wcs, frame, pixel_bounds=box),
        ),
        mask=to_mask(result.mask, bbox=box),
        variance=Image(result.variance * scale**2, bbox=box, unit=u.nJy**2),
        psf=to_piff(
            result.psf.psf,
            x=result.fits.x[stars],
            y=result.fits.y[stars],
            reserved=result.psf.reserved,
            bbox=box,
        ),
        detector=make_detector(number, box.x.size, box.y.size, visit),
        obs_info=ObservationInfo(
            instrument=instrument,
            telescope="VISTA",
            physical_filter=data_id["physical_filter"],
            visit_id=visit,
            exposure_id=visit,
            detector_num=number,
            datetime_begin=record.timespan.begin,
            datetime_end=record.timespan.end,
        ),
        band=data_id["band"],
        photometric_scaling=_constant(box, float(scale), u.nJy / u.adu),
        aperture_corrections={name: _constant(box, value) for name, value in corrections.items() if np.isfinite(value)},
        metadata=_kept_cards(header)
        | {
            "STATUS": result.status,
            "REASON": result.reason,
            "NOISERAT": result.noise.ratio,
            "SKYADU": result.background.level,
        },
    )


def _constant(box: Box, value: float, unit: u.UnitBase | None = None) -> ChebyshevField:
    return ChebyshevField(box, np.array([[value]]), unit=unit)


def _header(metadata: Mapping) -> fits.Header:
    """The metadata of an image as a FITS header, as required by the functions that read cards.

    Of the hundreds of hierarchical cards of the telescope, only those that are used are included; text that no header
    can have, with a tab in it, is left out.
    """
    header = fits.Header()
    for keyword, value in metadata.items():
        if isinstance(value, str) and not (value.isascii() and value.isprintable()):
            continue
        if _KEYWORD.fullmatch(keyword) and not keyword.startswith("PROV"):
            header[keyword] = value
        elif keyword.startswith(("ESO DET DIT", "ESO DET NDIT", "ESO DET CHIP NO", "ESO TEL AIRM")):
            header[f"HIERARCH {keyword}"] = value
    return header


def _kept_cards(header: Mapping) -> dict[str, str | int | float | bool]:
    """Cards of the stack that are kept with the calibrated image."""
    names = ("NICOMB", "EXPTIME", "MAGZPT", "SKYLEVEL", "SKYNOISE", "SEEING", "ESO DET NDIT", "OBSTATUS", "ESOGRADE")
    return {name: header[name] for name in names if name in header}
