"""The quality of a visit image needed for coadds, which is measured once and stored in the visit summary."""

from __future__ import annotations

from dataclasses import dataclass

import astropy.units as u
import numpy as np
from astropy.table import Row, Table

from dmu4.coadds.correlated_noise import sky_noise_correlation
from obs_vista.masks import bits
from obs_vista.photometry import nanojansky_per_count

UNUSABLE = int(bits("NO_DATA", "BAD", "CR", "STREAK"))
"""Mask planes of pixels to be ignored when measuring the noise."""

PIXEL_VARIANCE, NOISE_CORRELATION = "pixel_variance", "noise_correlation"
"""Columns of the summaries of visit images and visits."""


class UnusableInput(ValueError):
    """An image cannot be used in a coadd; the message is the reason."""


class OutdatedSummary(RuntimeError):
    """A visit summary lacks columns because it was made by an older version; the message says what to do."""


@dataclass(frozen=True)
class VisitNoise:
    """The noise of a whole visit image, which is the same for all patches.

    Attributes
    ----------
    variance
        Median variance of the usable pixels in nJy^2; NaN if there is none.
    correlation
        Correlation of the sky noise [lag in y, lag in x], 1 at its centre.
    """

    variance: float
    correlation: np.ndarray


LINEAR_FIT = np.sqrt(3)
"""Error of positions, averaged over a detector, in units of that of their mean, after a linear fit to stars all over
it: its variance is that of the mean, as much again for the slope along x, and as much for that along y."""


@dataclass(frozen=True)
class VisitQuality:
    """The quality of a detector image, from its visit summary.

    Attributes
    ----------
    seeing
        FWHM of the PSF in arcsec.
    noise
        Noise of the pixels.
    psf_correction
        Ratio of the total flux of a star to its flux fitted with the PSF, whose stamp has a sum of 1.
    zero_point_error
        Standard error of the zero point in magnitudes, relative to the other detectors where it is a common one.
    flux_factor
        Factor for the pixels, which changes the detector's own zero point into the common one.
    position_error
        Standard error along one axis of positions in arcsec, averaged over the detector; NaN if unknown.
    """

    seeing: float
    noise: VisitNoise
    psf_correction: float = 1.0
    zero_point_error: float = 0.0
    flux_factor: float = 1.0
    position_error: float = np.nan


def measure_visit_noise(image: np.ndarray, variance: np.ndarray, mask: np.ndarray) -> VisitNoise:
    """Measure the noise of a whole visit image.

    Parameters
    ----------
    image, variance, mask
        Pixels [y, x] in nJy, their variance in nJy^2, and their mask bits.
    """
    usable = ((mask & UNUSABLE) == 0) & np.isfinite(variance) & (variance > 0)
    typical = float(np.median(variance[usable])) if usable.any() else np.nan
    return VisitNoise(typical, sky_noise_correlation(image, variance, mask, drop=UNUSABLE))


def add_visit_noise(summary: Table, noise: VisitNoise) -> None:
    """Add the noise to the one-row summary of a visit image, in the columns used by `accepted_quality`."""
    summary[PIXEL_VARIANCE] = [noise.variance] * u.nJy**2
    summary[PIXEL_VARIANCE].description = "median variance of the usable pixels"
    summary[NOISE_CORRELATION] = noise.correlation[None]
    reach = noise.correlation.shape[0] // 2
    summary[NOISE_CORRELATION].description = f"correlation of the sky's noise [y, x] at lags of -{reach} to {reach} px"


def accepted_quality(row: Row | None, common: Row | None = None) -> VisitQuality:
    """The quality of a detector image that is accepted in its visit summary.

    Parameters
    ----------
    row
        Row of the image in the visit summary; None if there is none.
    common
        Row of the image in the table of common zero points, see `dmu4.detectors.star_lists`; None if there is none: the
        image keeps its own zero point.

    Raises
    ------
    UnusableInput
        If the detector is rejected or not in a summary, or has no seeing or no usable pixel.
    OutdatedSummary
        If the summary has no columns for the noise.
    """
    if row is None:
        raise UnusableInput("it is in no visit summary")
    if not bool(row["accepted"]):
        reason = str(row["rejected_because"]) if "rejected_because" in row.colnames else ""
        raise UnusableInput(f"it was rejected ({reason or 'no reason given'})")
    seeing = float(row["seeing"])
    if not np.isfinite(seeing) or seeing <= 0:
        raise UnusableInput("its seeing is unknown")
    missing = [name for name in (PIXEL_VARIANCE, NOISE_CORRELATION) if name not in row.colnames]
    if missing:
        raise OutdatedSummary(
            f"visit_summary of visit {row['visit']} has no {' and no '.join(missing)}: an older version made it. "
            "Run dmu4/2_Single_frame.ipynb again."
        )
    variance = float(row[PIXEL_VARIANCE])
    if not variance > 0:
        raise UnusableInput("it has no usable pixel")
    error, factor = float(row["zero_point_err"]), 1.0
    if common is not None:
        error = float(common["relative_err"])
        factor = nanojansky_per_count(float(common["zero_point"])) / nanojansky_per_count(float(row["zero_point"]))
    position_error = LINEAR_FIT * float(row["astrometric_error"])
    noise = VisitNoise(variance * factor**2, np.asarray(row[NOISE_CORRELATION], float))
    return VisitQuality(seeing, noise, float(row["aperture_correction"]), error, factor, position_error)
