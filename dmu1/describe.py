"""The columns of the inventory, from the header of a detector image."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from copy import deepcopy
from functools import lru_cache
from typing import Any

import numpy as np
from astropy.time import Time
from astropy.wcs import Wcsprm

from dmu0.sky.sphere import POLAR, tangent_offsets
from obs_vista.bands import vista_band
from obs_vista.cards import (
    CardError,
    card_number,
    card_text,
    card_value,
    is_finite_number,
    optional_number,
    whole_number,
)
from obs_vista.noise import MOST_FRAMES, predicted_sky_noise
from obs_vista.translator import VircamTranslator
from obs_vista.wcs_cards import given_frame, may_project, projection_cards
from obs_vista.world_coordinates import LARGEST_PIXEL, icrs_wcs
from obs_vista.zero_points import photometric_cards

COLUMNS: tuple[tuple[str, str, str, str], ...] = (
    ("path", "str", "", "file of the stack, as the manifest names it"),
    ("hdu", "int32", "", "index of the HDU in the file; -1 for a file that could not be read"),
    ("detector", "int32", "", "number of the detector, 1 to 16; -1 if unknown"),
    ("exposure", "int64", "", "ESO DET EXP NO; -1 if unknown"),
    ("band", "str", "", "label of the band"),
    ("physical_filter", "str", "", "name of the filter"),
    ("mjd", "float64", "d", "start of the first exposure, TAI"),
    ("exptime", "float64", "s", "one detector integration (DIT)"),
    ("ndit", "int32", "", "integrations in one exposure"),
    ("nicomb", "int32", "", "exposures in the stack"),
    ("nx", "int32", "pix", "columns"),
    ("ny", "int32", "pix", "rows"),
    ("ra", "float64", "deg", "ICRS right ascension of the centre"),
    ("dec", "float64", "deg", "ICRS declination of the centre"),
    *((f"{axis}{k}", "float64", "deg", f"ICRS {axis} of corner {k}, anticlockwise from the first pixel's outer corner")
      for k in range(4) for axis in ("ra", "dec")),
    ("pixel_scale", "float64", "arcsec", "side of a pixel of the same area at the centre"),
    ("seeing", "float64", "arcsec", "SEEING times the pixel scale, full width at half maximum"),
    ("ellipticity", "float64", "", "ELLIPTIC, mean of stellar images"),
    ("magzpt", "float64", "mag", "MAGZPT, for 1 ADU a second, in the system that the survey says"),
    ("magzpt_err", "float64", "mag", "MAGZRR"),
    ("extinction", "float64", "mag", "EXTINCT, per airmass"),
    ("airmass", "float64", "", "mean of start and end"),
    ("zero_point_problem", "str", "", "why the header gives no zero point; empty if it does"),
    ("sky_level", "float64", "adu", "SKYLEVEL"),
    ("sky_noise", "float64", "adu", "SKYNOISE"),
    ("predicted_noise", "float64", "adu", "sky noise expected from sky level, gain, read noise and exposures"),
    ("noise_ratio", "float64", "", "sky_noise / predicted_noise"),
    ("obstatus", "str", "", "OBSTATUS of the observation block"),
    ("esograde", "str", "", "ESOGRADE of the observation block"),
    ("confidence_path", "str", "", "file of the confidence map, as the manifest names it; empty if there is none"),
    ("confidence_hdu", "int32", "", "index of its HDU; -1 if there is none"),
    ("confidence_problem", "str", "", "why there is no usable confidence map; empty if there is, or none is wanted"),
    ("fingerprint", "str", "", "hash of the checksums of the stack and its confidence map when they were read"),
    ("state", "str", "", "ok or failed"),
    ("reason", "str", "", "why it failed"),
)  # fmt: skip
"""Name, type, unit and meaning of each column of the inventory."""


CARDS = re.compile(
    r"Z?NAXIS\d*|EXTNAME|ZIMAGE|EXPTIME|NICOMB|FILTER|FLATCOR|SKYSUB|MJD-OBS|DATE-OBS|SEEING|ELLIPTIC"
    r"|MAGZPT|MAGZRR|EXTINCT|SKYLEVEL|SKYNOISE|OBSTATUS|ESOGRADE|ESO DET (CHIP NO|EXP NO|DIT|NDIT)|ESO INS FILT1 NAME"
    r"|ESO TEL AIRM (START|END)|B(UNIT|SOFTEN|OFFSET)"
)
"""Keywords of the cards used by `describe_detector`, except those of the projection."""


_ISO_TIME = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d*)?)?)?")
"""Dates of the FITS standard (4.0, section 9.1.1), by day or time."""

MOST_PIXELS = 1_000_000
"""Longest side of an image that is believed."""

_MOVABLE = re.compile(r"RA---(TAN|ZPN|TPV|SIN|ARC|ZEA|STG)")
"""Projections whose native pole is at CRVAL: those of cylinders have a LONPOLE and LATPOLE that depend on CRVAL."""

_PLACE = ("CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2", "CD1_1", "CD1_2", "CD2_1", "CD2_2")
"""Cards that differ between the detectors of a survey."""


def is_wanted(keyword: str) -> bool:
    """Whether the inventory reads a card: one of `CARDS`, or one that may belong to a projection."""
    return may_project(keyword) or CARDS.fullmatch(keyword) is not None


def image_shape(header: Mapping[str, Any]) -> tuple[int, int]:
    """(nx, ny) of an image, also where it is compressed.

    Raises
    ------
    CardError
        If the header does not say.
    """
    names = (f"{'Z' if f'ZNAXIS{axis}' in header else ''}NAXIS{axis}" for axis in (1, 2))
    nx, ny = (whole_number(header, name, low=1, high=MOST_PIXELS) for name in names)
    return nx, ny


def describe_detector(header: Mapping[str, Any], *, detector: int) -> dict[str, Any]:
    """The values of `COLUMNS` from the header of one detector image.

    Parameters
    ----------
    header
        Merged header (`obs_vista.headers.merged_header`), or a dictionary of its values.
    detector
        Detector number, 1 to 16.

    Raises
    ------
    ValueError, KeyError
        If a card required by later steps is missing or wrong: exposure number, time, filter, astrometry.
    """
    nx, ny = image_shape(header)
    if "ESO DET EXP NO" not in header:
        raise ValueError("no ESO DET EXP NO: the exposure cannot be told")
    physical_filter = VircamTranslator(header).to_physical_filter()
    row: dict[str, Any] = {
        "detector": detector,
        "exposure": whole_number(header, "ESO DET EXP NO", low=0, high=2**53),
        "band": vista_band(physical_filter),
        "physical_filter": physical_filter,
        "mjd": _date(header),
        "exptime": _number(header, "EXPTIME") if "EXPTIME" in header else _number(header, "ESO DET DIT"),
        "ndit": _count(header, "ESO DET NDIT", missing=-1),
        "nicomb": _count(header, "NICOMB", missing=1),
        "nx": nx,
        "ny": ny,
        "ellipticity": _number(header, "ELLIPTIC"),
        "sky_level": _number(header, "SKYLEVEL"),
        "sky_noise": _number(header, "SKYNOISE"),
        "obstatus": str(header.get("OBSTATUS", "")).strip(),
        "esograde": str(header.get("ESOGRADE", "")).strip(),
    }
    row |= _zero_point(header)
    row |= _footprint(header, nx=nx, ny=ny)
    row["seeing"] = _number(header, "SEEING") * row["pixel_scale"]
    try:
        row["predicted_noise"] = predicted_sky_noise(header, detector)
    except ValueError:  # SKYLEVEL or NDIT is missing: the quality cuts say that the noise is unknown
        row["predicted_noise"] = float("nan")
    row["noise_ratio"] = row["sky_noise"] / row["predicted_noise"]
    return row


def _zero_point(header: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of the zero point, and its problem if there is one, in which case values are NaN."""
    try:
        cards = photometric_cards(header)
    except CardError as error:
        row = {"zero_point_problem": str(error)}
        try:  # enough where pixels are on an AB zero point
            scaled = photometric_cards(header, magnitudes="AB")
        except CardError:
            return row
        return row | {"magzpt": scaled.magzpt, "magzpt_err": scaled.error}
    values = {"magzpt": cards.magzpt, "magzpt_err": cards.error, "exptime": cards.exposure_time}
    return values | {"extinction": cards.extinction, "airmass": cards.airmass, "zero_point_problem": ""}


def _number(header: Mapping[str, Any], keyword: str) -> float:
    """The number in a card, NaN if it is missing; CASU writes -1 for a seeing that could not be measured."""
    value = optional_number(header, keyword)
    return float("nan") if keyword == "SEEING" and value <= 0 else value


def _count(header: Mapping[str, Any], keyword: str, *, missing: int) -> int:
    """A number of exposures; -1 if the card is there but cannot be meant, and then the noise is unknown too."""
    try:
        return whole_number(header, keyword, low=1, high=MOST_FRAMES, default=missing)
    except CardError:
        return -1


def _date(header: Mapping[str, Any]) -> float:
    """MJD (UTC) of the start from MJD-OBS, or else from DATE-OBS.

    Raises
    ------
    CardError
        If there is neither, if MJD-OBS is not a date of this century or the last, or if the two disagree by more than a
        day: proper motions to the epoch of the image would be wrong.
    """
    text = card_text(header, "DATE-OBS")
    dated = float("nan")
    if _ISO_TIME.fullmatch(text):
        with suppress(ValueError):  # the 30th of February
            dated = float(Time(text, format="isot", scale="utc").mjd)
    if card_value(header, "MJD-OBS") is None and np.isfinite(dated):
        return dated
    if card_value(header, "MJD-OBS") is None:
        raise CardError(f"no MJD-OBS: the time is unknown{f', for DATE-OBS is {text!r}' if text else ''}")
    mjd = card_number(header, "MJD-OBS")
    if not 15_000 < mjd < 90_000:
        raise CardError(f"MJD-OBS is {mjd:g}; a date from 15000 to 90000 is needed.")
    if abs(mjd - dated) > 1:
        raise CardError(f"MJD-OBS is {mjd:.2f}, but DATE-OBS {text!r} is MJD {dated:.2f}: correct one of the two.")
    return mjd


def _footprint(header: Mapping[str, Any], *, nx: int, ny: int) -> dict[str, float]:
    """ICRS centre and corners, deg, and pixel scale, arcsec, of an image of nx by ny pixels."""
    x_centre, y_centre = (nx - 1) / 2, (ny - 1) / 2
    x = np.array([-0.5, nx - 0.5, nx - 0.5, -0.5, x_centre, x_centre + 1, x_centre])
    y = np.array([-0.5, -0.5, ny - 0.5, ny - 0.5, y_centre, y_centre, y_centre + 1])
    ra, dec = pixels_to_icrs(header, x=x, y=y)
    if not (np.isfinite(ra).all() and np.isfinite(dec).all()):
        raise ValueError("the astrometry gives no position for a corner of the image")
    if abs(dec[4]) < POLAR:
        step_ra = (ra[5:] - ra[4] + 180) % 360 - 180
        area = np.linalg.det([step_ra * np.cos(np.radians(dec[4])), dec[5:] - dec[4]])
    else:
        area = np.linalg.det(tangent_offsets(ra[5:], dec[5:], centre=(float(ra[4]), float(dec[4]))))
    corners = {f"ra{k}": float(ra[k]) for k in range(4)} | {f"dec{k}": float(dec[k]) for k in range(4)}
    return {"ra": float(ra[4]), "dec": float(dec[4]), "pixel_scale": float(np.sqrt(abs(area)) * 3600)} | corners


def pixels_to_icrs(header: Mapping[str, Any], *, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """ICRS positions in deg of some pixels of an image.

    The result is that of `obs_vista.world_coordinates.icrs_wcs`, which takes milliseconds to construct. Since the
    detectors of a survey have the same projection, an earlier one is reused if only CRVAL, CRPIX and CD differ.
    """
    cards = projection_cards(header)
    if not _is_movable(cards):
        return tuple(icrs_wcs(header).all_pix2world(x, y, 0))
    shared = tuple(sorted((key, value) for key, value in cards.items() if key not in _PLACE))
    projection = deepcopy(_projection(shared))
    if projection is None:
        return tuple(icrs_wcs(header).all_pix2world(x, y, 0))
    projection.crval = [cards["CRVAL1"] % 360, cards["CRVAL2"]]
    projection.crpix = [cards["CRPIX1"], cards["CRPIX2"]]
    projection.cd = [[cards["CD1_1"], cards["CD1_2"]], [cards["CD2_1"], cards["CD2_2"]]]
    try:
        return tuple(projection.p2s(np.column_stack([x, y]), 0)["world"].T)
    except ValueError as error:
        place = ", ".join(f"{key} = {cards[key]:g}" for key in _PLACE)
        raise CardError(f"{place}: {' '.join(str(error).split())}") from error


def _is_movable(cards: Mapping[str, Any]) -> bool:
    """Whether `pixels_to_icrs` can shift a transformation: numbers in degrees, in ICRS, RA first, a possible matrix
    that no other cards give too, and not at a pole, where LONPOLE has another default."""
    return (
        all(is_finite_number(cards.get(key)) for key in _PLACE)
        and 0 < max(abs(cards[key]) for key in _PLACE if key.startswith("CD")) < 0.5 * LARGEST_PIXEL
        and given_frame(cards) == "ICRS"
        and abs(cards["CRVAL2"]) < 90
        and _MOVABLE.fullmatch(str(cards.get("CTYPE1", "")).strip()) is not None
        and not any(key.startswith("PC") for key in cards)
        and all(str(cards.get(key, "deg")).strip() == "deg" for key in ("CUNIT1", "CUNIT2"))
    )


@lru_cache(maxsize=100)
def _projection(cards: tuple[tuple[str, Any], ...]) -> Wcsprm | None:
    """The transformation given by some cards, whose position is to be changed; None if it has pixel distortions."""
    wcs = icrs_wcs(dict(cards) | dict.fromkeys(_PLACE, 0.0) | {"CD1_1": 1e-4, "CD2_2": 1e-4})
    return None if wcs.has_distortion else wcs.wcs
