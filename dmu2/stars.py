"""Instrumental fluxes of reference stars from a few VISTA stacks and optical coadds, for fitting colour terms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Row, Table, vstack
from astropy.wcs import WCS

from dmu0.published import coadds as published
from dmu0.sky.matching import DAYS_PER_YEAR, propagate
from dmu2.photometry import star_fluxes, stellar_fwhm, without_neighbours
from obs_vista.camera import get_detector
from obs_vista.headers import merged_header
from obs_vista.image_planes import plane_pixels
from obs_vista.world_coordinates import icrs_wcs
from obs_vista.zero_points import header_zero_point

MEASUREMENT_COLUMNS = (
    ("star", "i8", "row of the star in matched.parquet"),
    ("image", "U96", "file, extension of the image"),
    ("band", "U8", "band"),
    ("flux", "f8", "total flux, nJy AB, by the zero point of the header"),
    ("fluxErr", "f8", "its standard error, nJy"),
)
"""Columns of the measurements, which have one row per star and image."""

IMAGE_COLUMNS = (
    ("image", "U96"), ("band", "U8"), ("stars", "i8"), ("aperture_correction", "f8"), ("correction_err", "f8"),
    ("state", "U8"), ("reason", "U160"),
)  # fmt: skip
"""Columns of the table of images: each is done, skipped or failed, with a reason."""


STACK_SATURATION = 2e4
"""Counts per DIT above which stars of a stack are not used: every detector is linear below 24,000."""

OPTICAL_SEEING = 0.7
"""Starting value for measuring the seeing of a coadd, arcsec."""


class ImageUnusable(ValueError):
    """No star fluxes can be measured on an image; the message gives the reason."""


@dataclass(frozen=True)
class StarImage:
    """The data of an image needed for photometry.

    Attributes
    ----------
    name
        File and extension, for the table of images.
    band
        Band of the image.
    pixels, mask
        Counts, and whether a pixel is bad [y, x].
    wcs
        Transformation between sky and pixels.
    fwhm
        Full width at half maximum of stars in pixels.
    gain
        Electrons per count; None if ``noise`` includes the photon noise of stars.
    saturation
        Counts above which stars are not used.
    nanojansky
        Flux density of one count in nJy.
    mjd
        Date of the observation (MJD TAI); if NaN, stars are expected at their catalogued positions.
    noise
        Standard deviation of each pixel [y, x], if the file has it.
    """

    name: str
    band: str
    pixels: np.ndarray
    mask: np.ndarray
    wcs: WCS
    fwhm: float
    gain: float | None
    saturation: float
    nanojansky: float
    mjd: float
    noise: np.ndarray | None = None


def choose_stacks(selected: Table, bands: Sequence[str], *, exposures: int) -> Table:
    """The detector images to measure: a number of accepted exposures per band, those of best seeing."""
    keep = np.zeros(len(selected), bool)
    accepted = np.asarray(selected["accepted"], bool)
    for band in bands:
        rows = np.flatnonzero(accepted & (np.asarray(selected["band"]) == band))
        numbers = np.unique(np.asarray(selected["exposure"])[rows])
        seeing = [np.median(selected["seeing"][rows][selected["exposure"][rows] == number]) for number in numbers]
        best = numbers[np.argsort(seeing)[:exposures]]
        keep[rows] = np.isin(np.asarray(selected["exposure"])[rows], best)
    return selected[keep]


def read_stacks(rows: Table, path: Path, *, system: str, confidence: Path | None = None) -> Iterator[StarImage | str]:
    """Detector images of one VISTA stack, from their rows in the selected images of dmu1.

    Parameters
    ----------
    rows
        Rows of one file, with detector, hdu, band, mjd, ndit, nicomb, seeing, pixel_scale, confidence_hdu.
    path
        Path of the file.
    system
        System of the zero points in the headers, ``Vega`` or ``AB``.
    confidence
        Path of the confidence map, if there is one: pixels of less than half the confidence are bad.

    Yields
    ------
    image
        One image per row, or the reason why it cannot be used.
    """
    with ExitStack() as files:
        try:
            hdus = files.enter_context(fits.open(path))
            maps = files.enter_context(fits.open(confidence)) if confidence is not None else None
        except OSError as error:
            yield from (f"{path.name}: {error}" for _ in rows)
            return
        for row in rows:
            try:
                yield _stack_image(row, hdus, maps, name=f"{path.name}[{row['hdu']}]", system=system)
            except (ImageUnusable, OSError, ValueError, KeyError, IndexError, TypeError) as error:
                yield f"{path.name}[{row['hdu']}]: {error}"


def _stack_image(row: Row, hdus: fits.HDUList, maps: fits.HDUList | None, *, name: str, system: str) -> StarImage:
    """One detector image of an open stack."""
    if not row["seeing"] > 0:
        raise ImageUnusable(f"seeing {row['seeing']}; a positive one is needed")
    number = int(row["hdu"])
    pixels = np.asarray(plane_pixels(hdus[number]), np.float32)
    header = merged_header(hdus[0].header if number > 0 else None, hdus[number].header)
    mask = ~np.isfinite(pixels)
    if maps is not None:
        mask |= plane_pixels(maps[int(row["confidence_hdu"])]) < 50
    zero_point = header_zero_point(header, band=str(row["band"]), magnitudes=system)
    frames = max(int(row["nicomb"]), 1) * max(int(row["ndit"]), 1)
    return StarImage(
        name=name,
        band=str(row["band"]),
        pixels=pixels,
        mask=mask,
        wcs=icrs_wcs(header),
        fwhm=float(row["seeing"] / row["pixel_scale"]),
        gain=get_detector(int(row["detector"])).gain * frames,
        saturation=STACK_SATURATION,
        nanojansky=zero_point.nanojansky,
        mjd=float(row["mjd"]),
    )


def read_coadd(
    path: Path, band: str, *, zero_point: float | None = None, file: published.PlainFile | None = None
) -> StarImage:
    """Read a published coadd with `dmu0.published`, in nJy.

    Parameters
    ----------
    path
        Path of the file.
    band
        Band of the coadd.
    zero_point
        AB magnitude of one count by the survey file; None: from the headers.
    file
        More of what the survey says of it; ``zero_point`` is then that of ``file``.

    Raises
    ------
    ImageUnusable
        If the file is unreadable, or has no zero point or projection.
    """
    try:
        coadd = published.read_coadd(path, zero_point=zero_point, file=file)
    except published.OpticalError as error:
        raise ImageUnusable(str(error)) from error
    if coadd.wcs is None:
        raise ImageUnusable(f"{path}: it has no world coordinates, so that no star can be found on it.")
    scale = 3600 * float(np.sqrt(abs(np.linalg.det(coadd.wcs.pixel_scale_matrix))))
    return StarImage(
        name=path.name,
        band=band,
        pixels=coadd.image,
        mask=coadd.unreliable,
        wcs=coadd.wcs,
        fwhm=OPTICAL_SEEING / scale,
        gain=None,
        saturation=np.inf,
        nanojansky=1.0,
        mjd=np.nan,
        noise=np.sqrt(coadd.variance),
    )


def measure(image: StarImage, stars: Table) -> tuple[Table, dict[str, object]]:
    """Fluxes of all stars on an image, and its row in the table of images.

    Parameters
    ----------
    image
        Image from `read_stacks` or `read_coadd`.
    stars
        Merged reference stars.
    """
    ra, dec = _positions_at(stars, image.mjd)
    rows = _on_image(image, ra, dec)
    account: dict[str, object] = {"image": image.name, "band": image.band, "stars": 0, "aperture_correction": np.nan}
    account |= {"correction_err": np.nan, "state": "skipped", "reason": "no reference star is on it"}
    if len(rows) == 0:
        return _measurements(), account
    x, y = image.wcs.all_world2pix(ra[rows], dec[rows], 0)
    scale = 3600 * float(np.sqrt(abs(np.linalg.det(image.wcs.pixel_scale_matrix))))
    point = ~np.asarray(stars["extended"])[rows]
    alone = without_neighbours(ra[rows], dec[rows], distance=5 * image.fwhm * scale) & point
    fwhm = image.fwhm
    if image.noise is not None:
        fwhm = stellar_fwhm(image.pixels, x=x[alone], y=y[alone], guess=fwhm, mask=image.mask)
    result = star_fluxes(
        image.pixels,
        x=x,
        y=y,
        fwhm=fwhm,
        saturation=image.saturation,
        alone=alone,
        gain=image.gain,
        noise=image.noise,
        mask=image.mask,
    )
    account |= {"aperture_correction": result.correction.factor, "correction_err": result.correction.error}
    good = np.isfinite(result.flux) & point
    account["stars"] = int(good.sum())
    if not good.any():
        account["reason"] = f"only {result.correction.stars} stars for the aperture correction"
        return _measurements(), account
    account |= {"state": "done", "reason": ""}
    count = int(good.sum())
    table = Table({"star": rows[good], "image": np.full(count, image.name), "band": np.full(count, image.band)})
    table["flux"], table["fluxErr"] = result.flux[good] * image.nanojansky, result.error[good] * image.nanojansky
    return table, account


def _positions_at(stars: Table, mjd: float) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the stars at a date; the catalogued ones if it is NaN."""
    years = np.nan_to_num((mjd - np.asarray(stars["epoch"], float)) / DAYS_PER_YEAR)
    motion = (np.asarray(stars["pm_ra"], float), np.asarray(stars["pm_dec"], float))
    return propagate(np.asarray(stars["ra"], float), np.asarray(stars["dec"], float), *motion, years=years)


def instrument_fluxes(measurements: Table, stars: Table, band: str, predicted: np.ndarray) -> tuple[Table, Table]:
    """One flux per star and band, from measurements on several images.

    Images differ by the errors of the zero points in their headers. The offset of each image from the predicted fluxes,
    relative to the median offset of all images, is subtracted, so that only the mean zero point of the instrument
    remains.

    Parameters
    ----------
    measurements
        Rows from `measure` for all images.
    stars
        Merged stars, to which the fluxes are added.
    band
        Label of the band.
    predicted
        Flux of each star in the band according to the published colour term, nJy; NaN if unknown.

    Returns
    -------
    stars
        Measured stars, with ``instrument_flux`` and ``instrument_fluxErr``.
    offsets
        Table with one row per image: image, offset (mag, measured minus predicted), stars.
    """
    rows = measurements[np.asarray(measurements["band"]) == band]
    images, image = np.unique(np.asarray(rows["image"]), return_inverse=True)
    star, flux = np.asarray(rows["star"]), np.asarray(rows["flux"], float)
    with np.errstate(invalid="ignore"):
        difference = -2.5 * np.log10(flux / predicted[star])
    offsets = Table({"image": images, "offset": np.full(len(images), np.nan), "stars": np.zeros(len(images), int)})
    for number in range(len(images)):
        values = difference[(image == number) & np.isfinite(difference)]
        offsets["stars"][number] = len(values)
        offsets["offset"][number] = np.median(values) if len(values) >= 5 else np.nan
    if not np.isfinite(offsets["offset"]).any():
        return _with_fluxes(stars[:0], np.empty(0), np.empty(0)), offsets
    change = np.nan_to_num(np.asarray(offsets["offset"]) - np.nanmedian(offsets["offset"]))[image]
    flux, error = flux * 10 ** (0.4 * change), np.asarray(rows["fluxErr"], float) * 10 ** (0.4 * change)
    weight = 1 / error**2
    number = len(stars)
    total = np.bincount(star, weight, number)
    seen = np.flatnonzero(total > 0)
    mean = np.bincount(star, weight * flux, number)[seen] / total[seen]
    return _with_fluxes(stars[seen], mean, 1 / np.sqrt(total[seen])), offsets


def _with_fluxes(stars: Table, flux: np.ndarray, error: np.ndarray) -> Table:
    out = stars.copy()
    out["instrument_flux"], out["instrument_fluxErr"] = flux, error
    return out


def _on_image(image: StarImage, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Rows of the stars that can be on an image: first those in the circle around it, then those inside it."""
    ny, nx = image.pixels.shape
    corners = image.wcs.all_pix2world([0, nx - 1, nx - 1, 0, (nx - 1) / 2], [0, 0, ny - 1, ny - 1, (ny - 1) / 2], 0)
    lon, lat = np.radians(corners)
    vectors = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    reach = (vectors[:, :4] * vectors[:, 4:]).sum(axis=0).min() - 1e-9
    lon, lat = np.radians(ra), np.radians(dec)
    stars = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    near = np.flatnonzero(vectors[:, 4] @ stars >= reach)
    if len(near) == 0:
        return near
    # A projection with high-order terms can map distant positions onto the image: hence the circle.
    x, y = image.wcs.all_world2pix(ra[near], dec[near], 0)
    return near[(x > 0) & (y > 0) & (x < nx - 1) & (y < ny - 1)]


def _measurements() -> Table:
    return Table(names=[name for name, *_ in MEASUREMENT_COLUMNS], dtype=[dtype for _, dtype, _ in MEASUREMENT_COLUMNS])


def collect(tables: Sequence[Table]) -> Table:
    """All measurements in one table, which has its columns even without rows."""
    filled = [table for table in tables if len(table)]
    return vstack(filled) if filled else _measurements()


def account_of(accounts: Sequence[dict[str, object]]) -> Table:
    """The table of images, with their states."""
    table = Table(names=[name for name, _ in IMAGE_COLUMNS], dtype=[dtype for _, dtype in IMAGE_COLUMNS])
    for account in accounts:
        table.add_row([account[name] for name, _ in IMAGE_COLUMNS])
    return table
