"""Dual-image photometry: objects detected on one image are measured at the same positions on others.

SExtractor is used if it is installed, otherwise sep (its algorithms as a library); the columns are the same.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Literal

import numpy as np
import sep
from astropy.io import fits
from astropy.stats import mad_std
from astropy.table import Table

from dmu3.swarp import Coadd
from obs_vista.photometry import AB_ZERO_POINT

Engine = Literal["sextractor", "sep"]

DETECTION_COLUMNS = ("x", "y", "a", "b", "theta", "kron_radius")
MEASUREMENT_COLUMNS = ("x_win", "y_win", "kronFlux", "kronFluxErr", "flags")
BACK_SIZE = 128
"""Mesh size of the sky estimate on the measured image in pixels."""
MIN_AREA = 5
KRON_FACTOR, KRON_MIN = 2.5, 3.5


class SExtractorError(RuntimeError):
    """SExtractor is not installed, or failed."""


def find_sextractor() -> str | None:
    """The name of the SExtractor program: ``source-extractor`` (Debian) or ``sex``; None if it is not installed."""
    return next((name for name in ("source-extractor", "sex", "sextractor") if shutil.which(name)), None)


def choose_engine(engine: str = "auto") -> Engine:
    """The engine to use: the given one or, for ``auto``, SExtractor if it is installed.

    Raises
    ------
    SExtractorError
        If the engine is unknown, or SExtractor is requested but not installed.
    """
    if engine == "auto":
        return "sextractor" if find_sextractor() else "sep"
    if engine not in ("sextractor", "sep"):
        raise SExtractorError(f"There is no photometry engine {engine!r}; choose auto, sextractor or sep.")
    if engine == "sextractor" and find_sextractor() is None:
        raise SExtractorError(
            "SExtractor is not installed (no source-extractor or sex on PATH); choose the engine sep."
        )
    return engine


def measure_bands(
    detection: np.ndarray,
    bands: np.ndarray,
    coadds: dict[str, Coadd],
    *,
    threshold: float,
    diameters: tuple[float, ...],
    engine: str = "auto",
) -> tuple[Table, dict[str, Table]]:
    """Detect on one image and measure every band at the same positions.

    Parameters
    ----------
    detection
        Detection image [y, x], in units of its own noise.
    bands
        Number of bands with data [y, x]; zero where nothing can be detected.
    coadds
        Band -> image on the same grid.
    threshold
        Detection threshold in units of the noise.
    diameters
        Diameters of the circular apertures in pixels.
    engine
        Engine, ``auto``, ``sextractor`` or ``sep``.

    Returns
    -------
    detections
        Columns `DETECTION_COLUMNS`; x and y in pixels from the centre of the first pixel, a and b the rms axes, theta
        in rad.
    measurements
        Band -> columns `MEASUREMENT_COLUMNS`, with ``apFlux`` and ``apFluxErr`` [object, diameter] in nJy.

    Raises
    ------
    SExtractorError
        If SExtractor fails, or the objects differ between bands.
    """
    if choose_engine(engine) == "sextractor":
        with tempfile.TemporaryDirectory(prefix="sextractor_") as work:
            return _by_sextractor(detection, bands, coadds, threshold, diameters, Path(work))
    return _by_sep(detection, bands, coadds, threshold, diameters)


_PARAMETERS = (
    "X_IMAGE Y_IMAGE A_IMAGE B_IMAGE THETA_IMAGE KRON_RADIUS XWIN_IMAGE YWIN_IMAGE FLUX_AUTO FLUXERR_AUTO FLAGS"
)


def _by_sextractor(
    detection: np.ndarray,
    bands: np.ndarray,
    coadds: dict[str, Coadd],
    threshold: float,
    diameters: tuple[float, ...],
    work: Path,
) -> tuple[Table, dict[str, Table]]:
    count = len(diameters)
    parameters = [*_PARAMETERS.split(), f"FLUX_APER({count})", f"FLUXERR_APER({count})"]
    (work / "columns.param").write_text("\n".join(parameters) + "\n")
    (work / "empty.sex").write_text("")
    fits.writeto(work / "detection.fits", detection)
    fits.writeto(work / "detection.rms.fits", np.where(bands > 0, 1, 1e30).astype(np.float32))
    detections, measurements = Table(), {}
    for band, coadd in coadds.items():
        fits.writeto(work / "band.fits", coadd.image, overwrite=True)
        fits.writeto(work / "band.weight.fits", coadd.weight, overwrite=True)
        rows = _run_sextractor(work, threshold, diameters)
        if measurements and len(rows) != len(detections):
            raise SExtractorError(f"SExtractor found {len(rows)} objects with band {band}, {len(detections)} before.")
        names = ("X_IMAGE", "Y_IMAGE", "A_IMAGE", "B_IMAGE", "THETA_IMAGE", "KRON_RADIUS")
        found = {new: np.asarray(rows[old], float) for new, old in zip(DETECTION_COLUMNS, names, strict=True)}
        detections = Table(found | {"x": found["x"] - 1, "y": found["y"] - 1, "theta": np.radians(found["theta"])})
        measurements[band] = Table(
            {
                "x_win": np.asarray(rows["XWIN_IMAGE"], float) - 1,
                "y_win": np.asarray(rows["YWIN_IMAGE"], float) - 1,
                "kronFlux": np.asarray(rows["FLUX_AUTO"], float),
                "kronFluxErr": np.asarray(rows["FLUXERR_AUTO"], float),
                "flags": np.asarray(rows["FLAGS"], np.int32),
                "apFlux": np.asarray(rows["FLUX_APER"], float).reshape(len(rows), count),
                "apFluxErr": np.asarray(rows["FLUXERR_APER"], float).reshape(len(rows), count),
            }
        )
    return detections, measurements


def _run_sextractor(work: Path, threshold: float, diameters: tuple[float, ...]) -> np.ndarray:
    """Rows of SExtractor's catalogue of the images in a folder."""
    settings = {
        "CATALOG_NAME": "catalogue.fits",
        "CATALOG_TYPE": "FITS_1.0",
        "PARAMETERS_NAME": "columns.param",
        "FILTER": "N",
        "THRESH_TYPE": "ABSOLUTE",
        "DETECT_THRESH": threshold,
        "ANALYSIS_THRESH": threshold,
        "DETECT_MINAREA": MIN_AREA,
        "DEBLEND_NTHRESH": 32,
        "DEBLEND_MINCONT": 0.005,
        "CLEAN": "Y",
        "WEIGHT_TYPE": "MAP_RMS,MAP_WEIGHT",
        "WEIGHT_IMAGE": "detection.rms.fits,band.weight.fits",
        "RESCALE_WEIGHTS": "N,Y",
        "BACK_TYPE": "MANUAL,AUTO",
        "BACK_VALUE": "0.0,0.0",
        "BACK_SIZE": BACK_SIZE,
        "PHOT_APERTURES": ",".join(f"{diameter:.4f}" for diameter in diameters),
        "PHOT_AUTOPARAMS": f"{KRON_FACTOR},{KRON_MIN}",
        "MASK_TYPE": "CORRECT",
        "SATUR_LEVEL": 1e15,
        "MAG_ZEROPOINT": AB_ZERO_POINT,
        "PIXEL_SCALE": 1.0,
        "NTHREADS": 1,
        "VERBOSE_TYPE": "QUIET",
    }
    command = [find_sextractor(), "detection.fits,band.fits", "-c", "empty.sex"]
    command += [text for key, value in settings.items() for text in (f"-{key}", str(value))]
    run = subprocess.run(command, cwd=work, env=dict(os.environ), capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise SExtractorError(f"SExtractor ended with {run.returncode}: {run.stderr.strip()[-300:]}")
    return fits.getdata(work / "catalogue.fits", 1)


def _by_sep(
    detection: np.ndarray,
    bands: np.ndarray,
    coadds: dict[str, Coadd],
    threshold: float,
    diameters: tuple[float, ...],
) -> tuple[Table, dict[str, Table]]:
    image = np.ascontiguousarray(detection, np.float32)
    objects, segments = sep.extract(
        image,
        threshold,
        minarea=MIN_AREA,
        mask=bands == 0,
        filter_kernel=None,
        deblend_nthresh=32,
        deblend_cont=0.005,
        segmentation_map=True,
    )
    number = np.arange(1, len(objects) + 1, dtype=np.int32)
    x, y, a, b = (np.asarray(objects[name], float) for name in ("x", "y", "a", "b"))
    theta = np.clip(np.asarray(objects["theta"], float), -np.pi / 2, np.pi / 2)
    radius, radius_flag = sep.kron_radius(image, x, y, a, b, theta, 6.0, segmap=segments, seg_id=number)
    # SExtractor's lower limit on the Kron ellipse, PHOT_AUTOPARAMS.
    radius = np.maximum(KRON_FACTOR * np.nan_to_num(radius), KRON_MIN)
    detections = Table({"x": x, "y": y, "a": a, "b": b, "theta": theta, "kron_radius": radius})
    flags = np.asarray(objects["flag"] | radius_flag, np.int32)
    measurements = {
        band: _measure_sep(coadd, detections, flags, segments, number, diameters) for band, coadd in coadds.items()
    }
    return detections, measurements


def _measure_sep(
    coadd: Coadd,
    detections: Table,
    flags: np.ndarray,
    segments: np.ndarray,
    number: np.ndarray,
    diameters: tuple[float, ...],
) -> Table:
    """One band at given positions, on the image minus its sky; neighbours are masked (MASK_TYPE CORRECT)."""
    bad = ~(coadd.weight > 0)
    image = np.ascontiguousarray(coadd.image, np.float32)
    image = image - sep.Background(image, mask=bad, bw=BACK_SIZE, bh=BACK_SIZE).back()
    image[bad] = 0
    error = np.divide(1, np.sqrt(coadd.weight), out=np.full_like(image, 1e10), where=~bad)
    error *= mad_std((image / error)[~bad][::3])  # as RESCALE_WEIGHTS: correlated pixels scatter less
    x, y = np.asarray(detections["x"]), np.asarray(detections["y"])
    a, b, theta, radius = (np.asarray(detections[name]) for name in ("a", "b", "theta", "kron_radius"))
    shared = {"err": error, "mask": bad, "segmap": segments, "seg_id": number}
    flux, flux_error, kron_flag = sep.sum_ellipse(image, x, y, a, b, theta, radius, subpix=5, **shared)
    circles = [sep.sum_circle(image, x, y, diameter / 2, subpix=5, **shared) for diameter in diameters]
    half_light, _ = sep.flux_radius(image, x, y, 6 * a, 0.5, normflux=flux, subpix=5, mask=bad)
    sigma = np.where(half_light > 0, 2 / 2.35 * half_light, 1.5)
    x_win, y_win, _ = sep.winpos(image, x, y, sigma, mask=bad)
    return Table(
        {
            "x_win": x_win,
            "y_win": y_win,
            "kronFlux": flux,
            "kronFluxErr": flux_error,
            "flags": flags | np.asarray(kron_flag, np.int32),
            "apFlux": np.column_stack([circle[0] for circle in circles]).reshape(len(detections), len(diameters)),
            "apFluxErr": np.column_stack([circle[1] for circle in circles]).reshape(len(detections), len(diameters)),
        }
    )
