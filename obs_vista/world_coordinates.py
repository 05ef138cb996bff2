"""The transformation from pixels to ICRS: the only reader of world coordinates in headers, using wcslib."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

import astropy.units as u
import numpy as np
from astropy.coordinates import FK4, FK5, ICRS, BaseCoordinateFrame, FK4NoETerms, Galactic, SkyCoord
from astropy.io import fits
from astropy.wcs import WCS, FITSFixedWarning, Wcsprm
from astropy.wcs.utils import proj_plane_pixel_scales, wcs_to_celestial_frame

from obs_vista.cards import CardError, Value, card_value, refuse_contradictions
from obs_vista.wcs_cards import SIP_CARD, as_text, projection_cards, settled

MAX_CHANGE = 1e-3
"""Largest change of a position in arcsec when a transformation is converted to another form."""

LARGEST_PIXEL = 0.5
"""Largest side of a pixel in degrees: wcslib takes a pixel for 1 degree where no matrix is given, or one of zeros."""

_MATRIX = re.compile(r"(CD|PC)\d_\d|PC00\d00\d|CDELT\d")
_CARD_PROBLEM = re.compile(r"value was expected|[Ii]nvalid|[Bb]ad ", re.DOTALL)


def icrs_wcs(header: Mapping) -> WCS:
    """The transformation from pixels to ICRS in a header, for headers of any origin.

    All celestial projections of wcslib are supported (TAN, ZPN, TPV, SIP, ZEA, CAR ...), with the matrix as CD, PC,
    PC00i00j or CROTA, units of degrees, arcsec or radians, axes in either order, additional axes, and positions in
    ICRS, FK5, FK4 (any equinox) or Galactic coordinates.

    Parameters
    ----------
    header
        Header of the image (`obs_vista.headers.merged_header` for an extension that inherits), or a dictionary of its
        values. Cards that do not belong to a projection are ignored, however odd.

    Returns
    -------
    WCS
        Right ascension is always the first world axis and declination the second, ICRS degrees:
        ``ra, dec = wcs.all_pix2world(x, y, 0)`` and ``x, y = wcs.all_world2pix(ra, dec, 0)``, with x = y = 0 at the
        centre of the first pixel. Distortions (SIP, TPV) are included: use the ``all_`` functions, never ``wcs_``,
        ``wcs.wcs.crval`` or ``wcs.wcs.cd`` for positions. ``pixel_shape`` is (nx, ny) if the header gives it.

    Raises
    ------
    CardError
        If there is no celestial transformation, its frame cannot be converted to ICRS, one of its cards is duplicate
        or not a number, or two descriptions disagree. This ValueError does not name the file, which the caller knows.
    """
    if isinstance(header, fits.Header):
        refuse_contradictions(header)
    cards = settled(projection_cards(header))
    wcs = _read(cards)
    frame = celestial_frame(wcs)
    if wcs.wcs.lng == 1 or not isinstance(frame, ICRS):
        wcs = _in_icrs(wcs, cards, frame, _image_shape(header))
    wcs.wcs.radesys = "ICRS"
    wcs.wcs.equinox = np.nan
    wcs.wcs.crval = [wcs.wcs.crval[0] % 360, wcs.wcs.crval[1]]  # below 0, right ascensions would be from -180 to 180
    wcs.pixel_shape = _image_shape(header)
    wcs.wcs.set()
    return wcs


def celestial_frame(wcs: WCS) -> BaseCoordinateFrame:
    """The frame of a transformation: ICRS, FK5 or FK4 of some equinox, or Galactic.

    If no card names it, an equinox of 1984 or later means FK5, an earlier one FK4, and no equinox ICRS (FITS standard
    4.0, section 8.3).

    Raises
    ------
    CardError
        If the frame is another one (ecliptic, geocentric apparent).
    """
    frame = None
    if wcs.wcs.lngtyp == "GLON":  # whatever RADESYS says: it is of equatorial positions
        frame = Galactic()
    elif wcs.wcs.lngtyp == "RA":
        with suppress(ValueError):
            frame = wcs_to_celestial_frame(wcs)
    if not isinstance(frame, ICRS | FK5 | FK4 | FK4NoETerms | Galactic):
        raise CardError(
            f"RADESYS is {wcs.wcs.radesys!r} and CTYPE1 {wcs.wcs.ctype[0]!r}: positions in this frame cannot be turned "
            "into ICRS; those in ICRS, FK5, FK4 and galactic coordinates can."
        )
    return frame


def _image_shape(header: Mapping) -> tuple[int, int] | None:
    """Shape (nx, ny) of the image, compressed or not; None if the header does not give it."""
    shape = [card_value(header, f"{'Z' if f'ZNAXIS{axis}' in header else ''}NAXIS{axis}") for axis in (1, 2)]
    known = [length for length in shape if isinstance(length, int) and not isinstance(length, bool) and length > 0]
    return (known[0], known[1]) if len(known) == 2 else None


def _read(cards: Mapping[str, Value]) -> WCS:
    """The two celestial axes read from some cards by wcslib.

    Raises
    ------
    CardError
        If wcslib fails, or a card has the wrong type; the message is that of wcslib.
    """
    text = as_text(cards)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", FITSFixedWarning)
        try:
            core = as_text({keyword: value for keyword, value in cards.items() if not SIP_CARD.fullmatch(keyword)})
            axes = Wcsprm(header=core.encode("ascii"), relax=True, warnings=False).naxis
            wcs = WCS(text, naxis=2 if axes > 2 else None)
        except (ValueError, TypeError, KeyError, AssertionError, MemoryError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            named = ", ".join(f"{key} = {cards[key]!r}" for key in ("CTYPE1", "CTYPE2", "CRVAL1", "CRVAL2"))
            raise CardError(f"{named}: {reason}") from error
    for warning in said:
        message = " ".join(str(warning.message).split())
        if not isinstance(warning.message, FITSFixedWarning):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        elif _CARD_PROBLEM.search(message):
            raise CardError(message)
    if wcs.naxis != 2 or {wcs.wcs.lng, wcs.wcs.lat} != {0, 1}:
        raise CardError(f"CTYPE1 = {cards['CTYPE1']!r} and CTYPE2 = {cards['CTYPE2']!r} are no celestial axes.")
    with np.errstate(over="ignore"):
        largest = float(np.max(proj_plane_pixel_scales(wcs)))
    if not largest < LARGEST_PIXEL:
        given = [f"{name} = {cards[name]!r}" for name in sorted(cards) if _MATRIX.fullmatch(name)]
        if "CDELT1" not in cards:  # else the elements of PC that are missing are those of the unit matrix
            given += [f"no {name}" for name in ("CD1_1", "CD2_2") if given and name not in cards]
        raise CardError(
            f"A pixel would be {largest:g} deg large: {', '.join(given) or 'there is no CD1_1 and CDELT1'}."
        )
    return wcs


class _Sample(NamedTuple):
    """Some pixels of an image, counted from 0, and their positions on the sky."""

    x: np.ndarray
    y: np.ndarray
    sky: SkyCoord


def _sample(wcs: WCS, frame: BaseCoordinateFrame, shape: tuple[int, int] | None) -> _Sample:
    """Pixels distributed over an image, in ICRS; around the reference pixel if its size is unknown."""
    if shape is None:
        (x0, y0), (width, height) = wcs.wcs.crpix - 1001, (2000, 2000)
    else:
        (x0, y0), (width, height) = (-0.5, -0.5), shape
    x, y = (axis.ravel() for axis in np.meshgrid(x0 + width * np.linspace(0, 1, 6), y0 + height * np.linspace(0, 1, 7)))
    world = wcs.all_pix2world(x, y, 0)
    longitude, latitude = world[wcs.wcs.lng], world[wcs.wcs.lat]
    seen = np.isfinite(longitude) & np.isfinite(latitude)
    if seen.sum() < 4:
        raise CardError(f"CTYPE1 = {wcs.wcs.ctype[0]!r}: the projection gives no position for the image's pixels.")
    sky = SkyCoord(longitude[seen], latitude[seen], unit="deg", frame=frame).icrs
    return _Sample(x[seen], y[seen], sky)


def _in_icrs(wcs: WCS, cards: Mapping[str, Value], frame: BaseCoordinateFrame, shape: tuple[int, int] | None) -> WCS:
    """The same transformation with axes RA and Dec in ICRS.

    Frames differ by a rotation of the sphere, except for the aberration terms of FK4, which a linear term absorbs.

    Raises
    ------
    CardError
        If the new form gives different positions.
    """
    sample = _sample(wcs, frame, shape)
    new = _longitude_first(wcs, cards)
    if not isinstance(frame, ICRS):
        if new.wcs.theta0 == 90 and "-TPV" not in str(cards["CTYPE1"]):
            _turn_zenithal(new, frame)
        else:
            _turn_native(new, sample)
        new.wcs.ctype = ["RA---" + new.wcs.ctype[0][5:], "DEC--" + new.wcs.ctype[1][5:]]
        new.wcs.radesys = "ICRS"
        new.wcs.equinox = np.nan
        new.wcs.set()
        if isinstance(frame, FK4 | FK4NoETerms):
            _absorb_linear(new, sample)
    off = SkyCoord(*new.all_pix2world(sample.x, sample.y, 0), unit="deg").separation(sample.sky).arcsec
    if not off.max() < MAX_CHANGE:
        raise CardError(
            f'CTYPE1 = {wcs.wcs.ctype[0]!r}: written in ICRS, positions would be off by up to {off.max():.2g}".'
        )
    return new


def _longitude_first(wcs: WCS, cards: Mapping[str, Value]) -> WCS:
    """A copy whose first world axis is the longitude; the pixel axes are unchanged."""
    if wcs.wcs.lng == 0:
        return wcs.deepcopy()
    if str(cards["CTYPE1"]).endswith("-TPV"):
        raise CardError(
            f"CTYPE1 is {cards['CTYPE1']!r}: TPV cannot be read with its axes in this order; RA must be first."
        )
    swapped = {
        keyword: value
        for keyword, value in cards.items()
        if not re.fullmatch(r"(CTYPE|CRVAL|CUNIT|CDELT|CROTA|CRPIX)\d|(CD|PC)\d+_\d+|PC00\d00\d|P[VS]\d_\d+", keyword)
    }
    for keyword, value in cards.items():
        if found := re.fullmatch(r"(P[VS])([12])(_\d+)", keyword):
            swapped[f"{found[1]}{3 - int(found[2])}{found[3]}"] = value
    matrix = wcs.pixel_scale_matrix
    for new, old in ((1, 1), (2, 0)):
        swapped[f"CTYPE{new}"] = str(cards[f"CTYPE{old + 1}"])
        swapped[f"CRVAL{new}"] = float(wcs.wcs.crval[old])
        swapped[f"CRPIX{new}"] = float(wcs.wcs.crpix[new - 1])
        for column in (1, 2):
            swapped[f"CD{new}_{column}"] = float(matrix[old, column - 1])
    return _read(swapped)


def _turn_zenithal(wcs: WCS, frame: BaseCoordinateFrame) -> None:
    """Convert a zenithal transformation, whose native pole is at CRVAL, to ICRS, in place.

    CRVAL changes, and the direction of north there is rotated; this rotation is applied to the matrix, so that no
    LONPOLE is needed.
    """
    pole = SkyCoord(*wcs.wcs.crval, unit="deg", frame=frame)
    north = pole.directional_offset_by(0 * u.deg, 1 * u.arcmin)
    turn = pole.icrs.position_angle(north.icrs).rad
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    wcs.wcs.crval = [pole.icrs.ra.deg, pole.icrs.dec.deg]
    _multiply_matrix(wcs, rotation)


def _multiply_matrix(wcs: WCS, factor: np.ndarray) -> None:
    """Multiply the matrix by a linear transformation of the projection plane, in place."""
    if wcs.wcs.has_cd():
        wcs.wcs.cd = factor @ wcs.wcs.cd
        return
    scale = np.diag(wcs.wcs.get_cdelt())
    wcs.wcs.pc = np.linalg.inv(scale) @ factor @ scale @ wcs.wcs.get_pc()


def _turn_native(wcs: WCS, sample: _Sample) -> None:
    """Convert any transformation to ICRS, in place, from the position of the new pole in native coordinates.

    The rotation between the two spheres maps the native positions of some pixels to their ICRS positions (Kabsch 1976,
    Acta Cryst. A32, 922); CRVAL, LONPOLE and LATPOLE follow from it (Calabretta & Greisen 2002, section 2.4).
    """
    native = wcs.wcs.p2s(np.column_stack(wcs.pix2foc(sample.x + 1, sample.y + 1, 1)), 1)
    vectors = _unit_vectors(native["phi"], native["theta"])
    left, _, right = np.linalg.svd(vectors.T @ sample.sky.cartesian.xyz.value.T)
    handed = np.diag([1, 1, np.linalg.det(left @ right)])
    rotation = right.T @ handed @ left.T
    fiducial = rotation @ _unit_vectors(np.array([wcs.wcs.phi0]), np.array([wcs.wcs.theta0]))[0]
    wcs.wcs.crval = [np.degrees(np.arctan2(fiducial[1], fiducial[0])) % 360, np.degrees(np.arcsin(fiducial[2]))]
    pole = rotation[2]
    wcs.wcs.lonpole = np.degrees(np.arctan2(pole[1], pole[0]))
    wcs.wcs.latpole = np.degrees(np.arcsin(pole[2]))


def _unit_vectors(longitude: np.ndarray, latitude: np.ndarray) -> np.ndarray:
    """Unit vectors (n, 3) of positions in degrees."""
    a, d = np.radians(longitude), np.radians(latitude)
    return np.column_stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)])


def _absorb_linear(wcs: WCS, sample: _Sample) -> None:
    """Fit matrix and reference pixel, in place, to the positions of some pixels by least squares."""
    # Counted from 1: with 0, astropy takes one off the coordinates of the plane too.
    now = wcs.wcs.p2s(np.column_stack(wcs.pix2foc(sample.x + 1, sample.y + 1, 1)), 1)["imgcrd"]
    wanted = wcs.wcs.s2p(np.column_stack([sample.sky.ra.deg, sample.sky.dec.deg]), 1)["imgcrd"]
    design = np.column_stack([now, np.ones(len(now))])
    solution = np.linalg.lstsq(design, wanted, rcond=None)[0]
    _multiply_matrix(wcs, solution[:2].T)
    wcs.wcs.crpix = wcs.wcs.crpix - np.linalg.solve(wcs.pixel_scale_matrix, solution[2])
    wcs.wcs.set()
