"""Input images of the baseline: accepted VISTA detectors in nJy, and optical coadds on the grid of the patch.

The calibration of the pipeline is not used: fluxes are scaled by the zero points of the headers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.stats import mad_std
from astropy.table import Table
from astropy.wcs import WCS

from dmu0.published import coadds as published
from dmu3.swarp import Coadd, InputImage
from obs_vista.cards import card_number
from obs_vista.gaps import empty_pixels
from obs_vista.headers import merged_header
from obs_vista.image_planes import plane_pixels
from obs_vista.noise import measured_sky_noise
from obs_vista.world_coordinates import icrs_wcs
from obs_vista.zero_points import header_zero_point

NOISE_FACTOR = 2.0
"""By how much the scatter of the pixels may differ from SKYNOISE: crowding and gradients bring some 20 per cent."""

SCALE_FACTOR = 4.0
"""By how much the flux of a count may differ from the median of a band: DITs differ by a factor of two or three, a zero
point that is wrong by more than clouds makes brings more."""

BAND_NOISE_FACTOR = 8.0
"""By how much the noise in nJy may differ from the median of a band: stacks of 1 and of 60 exposures differ so."""


class InputError(ValueError):
    """An image cannot be used; the message gives the file, the card and the value."""


class OpenFiles:
    """FITS files that are kept open while several of their extensions are read; the oldest are closed.

    Parameters
    ----------
    limit
        Largest number of open files.
    """

    def __init__(self, limit: int = 64) -> None:
        self.limit = limit
        self._open: dict[Path, fits.HDUList] = {}

    def __enter__(self) -> OpenFiles:
        return self

    def __exit__(self, *_: object) -> None:
        while self._open:
            self._open.popitem()[1].close()

    def __getitem__(self, path: Path) -> fits.HDUList:
        """The HDUs of a file."""
        hdus = self._open.pop(path, None)
        if hdus is None:
            while len(self._open) >= self.limit:
                self._open.pop(next(iter(self._open))).close()
            hdus = fits.open(path, memmap=False)
        self._open[path] = hdus
        return hdus

    def pixels(self, path: Path, hdu: int) -> np.ndarray:
        """An image as float32, which is not kept in memory here."""
        item = self[path][hdu]
        pixels = np.array(plane_pixels(item), np.float32)
        del item.data
        return pixels


def read_detector(
    path: Path,
    hdu: int,
    band: str,
    *,
    confidence: tuple[Path, int] | None,
    magnitudes: str = "Vega",
    files: OpenFiles | None = None,
) -> InputImage:
    """One detector of a stack in nJy, with inverse variances from the confidence divided by SKYNOISE squared.

    Parameters
    ----------
    path, hdu
        File and HDU of the image.
    band
        Label of the band.
    confidence
        File and HDU of the confidence map; None if there is none, in which case the noise is measured.
    magnitudes
        System of MAGZPT.
    files
        Files that are already open.

    Raises
    ------
    InputError
        If the header has no zero point, or the confidence map has a different size.
    """
    if files is None:
        with OpenFiles() as opened:
            return read_detector(path, hdu, band, confidence=confidence, magnitudes=magnitudes, files=opened)
    image = files.pixels(path, hdu)
    name = f"{path.name}[{hdu}]"
    try:
        header = merged_header(files[path][0].header if hdu else None, files[path][hdu].header)
        scale = header_zero_point(header, band=band, magnitudes=magnitudes).nanojansky
        wcs = icrs_wcs(header)
        sky_noise = None if confidence is None else card_number(header, "SKYNOISE")
    except ValueError as error:
        raise InputError(f"{name}: {error}") from error
    good = np.isfinite(image) if confidence is not None else ~empty_pixels(image)
    if confidence is None:
        # The pixels may have been rescaled, SKYNOISE not.
        noise = mad_std(image[good][::7]) if good.any() else np.nan
        share = np.ones_like(image)
    else:
        share = files.pixels(*confidence) / 100
        noise = sky_noise
        if share.shape != image.shape:
            raise InputError(f"{name}: its confidence map {confidence[0].name} is {share.shape}, not {image.shape}.")
    if not noise > 0:
        raise InputError(f"{name}: the sky noise is {noise}; it must be positive.")
    _compare_noise(np.where(good & (share > 0), image, np.nan) * np.sqrt(np.maximum(share, 0)), float(noise), name)
    weight = np.where(good & (share > 0), share, 0) / (noise * scale) ** 2
    return InputImage(np.where(good, image, 0) * np.float32(scale), weight.astype(np.float32), wcs, name, scale)


def _compare_noise(image: np.ndarray, noise: float, name: str) -> None:
    """Compare the noise that an image is weighted with to that of its pixels, scaled to full confidence.

    Raises
    ------
    InputError
        If they differ by more than `NOISE_FACTOR`: an image whose noise is given too small would make the coadd alone.
    """
    try:
        measured = measured_sky_noise(image)
    except ValueError:  # too few pixels to tell, and to do harm
        return
    if measured > 0 and not 1 / NOISE_FACTOR < measured / noise < NOISE_FACTOR:
        raise InputError(
            f"{name}: its pixels scatter by {measured:.3g}, and SKYNOISE is {noise:.3g}; at most a factor of "
            f"{NOISE_FACTOR:g} is possible."
        )


def without_outliers(inputs: Sequence[InputImage]) -> tuple[list[InputImage], list[str]]:
    """Images of one band whose zero point and noise are like those of the others, and why the rest are not used.

    Parameters
    ----------
    inputs
        Images of single detectors; fewer than three are not compared.
    """
    if len(inputs) < 3:
        return list(inputs), []
    scales = np.array([item.nanojansky for item in inputs])
    weights = [item.weight[item.weight > 0] for item in inputs]
    noises = np.array([1 / np.sqrt(np.median(seen)) if len(seen) else np.nan for seen in weights])
    kept, problems = [], []
    for item, scale, noise in zip(inputs, scales / np.nanmedian(scales), noises / np.nanmedian(noises), strict=True):
        if not (np.isnan(scale) or 1 / SCALE_FACTOR < scale < SCALE_FACTOR):
            problems.append(f"{item.name}: its flux of a count is {scale:.3g} times the median of the band")
        elif not (np.isnan(noise) or 1 / BAND_NOISE_FACTOR < noise < BAND_NOISE_FACTOR):
            problems.append(f"{item.name}: its noise is {noise:.3g} times the median of the band")
        else:
            kept.append(item)
    return kept, problems


def patch_detectors(selected: Table, coverage: Table, *, tract: int, patch: int, band: str) -> Table:
    """The accepted rows of ``dmu1/selected`` that overlap a patch.

    Parameters
    ----------
    selected
        Table with one row per detector image, with ``accepted``.
    coverage
        Table with one row per overlapping image and patch.
    tract, patch, band
        Tract, patch and band of the coadd.
    """
    if not len(selected) or not len(coverage):
        return selected[:0]
    here = coverage[(coverage["tract"] == tract) & (coverage["patch"] == patch) & (coverage["band"] == band)]
    wanted = {(str(path), int(hdu)) for path, hdu in zip(here["path"], here["hdu"], strict=True)}
    keep = [
        bool(row["accepted"]) and (str(row["path"]), int(row["hdu"])) in wanted and row["band"] == band
        for row in selected
    ]
    return selected[np.array(keep, bool)]


@dataclass(frozen=True)
class OpticalPixels:
    """A published coadd in nJy on its own grid.

    Attributes
    ----------
    image, weight
        Pixels in nJy and inverse variance in nJy^-2 [y, x]; the weight is zero where there are no data.
    wcs
        Transformation from pixels to ICRS; None if the file has none.
    """

    image: np.ndarray
    weight: np.ndarray
    wcs: WCS | None


def read_coadd(
    path: Path, *, zero_point: float | None = None, file: published.PlainFile | None = None
) -> OpticalPixels:
    """Read a published coadd with `dmu0.published`: an HSC ``calexp``, or an image with fewer planes.

    Parameters
    ----------
    path
        FITS file.
    zero_point
        AB magnitude of a pixel value of one by the survey file; None: from the headers.
    file
        More of what the survey says of it; ``zero_point`` is then that of ``file``.

    Raises
    ------
    InputError
        If there is no image, or no usable zero point.
    """
    try:
        coadd = published.read_coadd(path, zero_point=zero_point, file=file)
    except published.OpticalError as error:
        raise InputError(str(error)) from error
    good = np.isfinite(coadd.image)
    weight = np.divide(1, coadd.variance, out=np.zeros_like(coadd.image), where=good)
    return OpticalPixels(np.where(good, coadd.image, 0), weight, coadd.wcs)


def place_on_grid(pixels: OpticalPixels, *, wcs: WCS, shape: tuple[int, int], name: str) -> Coadd | InputImage:
    """Place a coadd on the grid of a patch: copied if the grids differ only by a shift, else to be resampled.

    Parameters
    ----------
    pixels
        The coadd. Without a WCS it must have the shape of the grid.
    wcs, shape
        Grid of the patch.
    name
        Name of the coadd in messages.

    Raises
    ------
    InputError
        If the coadd has no WCS and its shape differs from the grid.
    """
    if pixels.wcs is None:
        if pixels.image.shape != shape:
            raise InputError(f"{name} has no WCS, and its shape {pixels.image.shape} is not that of the grid, {shape}.")
        return Coadd(pixels.image, pixels.weight)
    ny, nx = pixels.image.shape
    x, y = wcs.world_to_pixel(pixels.wcs.pixel_to_world([0, nx - 1, 0, nx - 1], [0, 0, ny - 1, ny - 1]))
    dx, dy = round(float(x[0])), round(float(y[0]))
    off = np.hypot(x - dx - [0, nx - 1, 0, nx - 1], y - dy - [0, 0, ny - 1, ny - 1]).max()
    if off > 0.01:
        return InputImage(pixels.image, pixels.weight, pixels.wcs, name)
    image, weight = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    rows = slice(max(dy, 0), min(dy + ny, shape[0]))
    columns = slice(max(dx, 0), min(dx + nx, shape[1]))
    if rows.start < rows.stop and columns.start < columns.stop:
        source = np.s_[rows.start - dy : rows.stop - dy, columns.start - dx : columns.stop - dx]
        image[rows, columns], weight[rows, columns] = pixels.image[source], pixels.weight[source]
    return Coadd(image, weight)


def read_detector_row(row: Table.Row, folder: Path, *, magnitudes: str, files: OpenFiles) -> InputImage:
    """`read_detector` for a row of ``dmu1/selected``, whose paths are absolute or relative to a folder."""
    confidence = None
    if str(row["confidence_path"]):
        confidence = (folder / str(row["confidence_path"]), int(row["confidence_hdu"]))
    where = (folder / str(row["path"]), int(row["hdu"]), str(row["band"]))
    return read_detector(*where, confidence=confidence, magnitudes=magnitudes, files=files)
