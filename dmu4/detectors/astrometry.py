"""Astrometry of one detector: the linear terms are fitted to a reference catalogue, the ZPN distortion is kept."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from astropy.wcs import WCS
from scipy.spatial import cKDTree

from dmu0.robust_statistics import robust_scatter
from dmu0.sky.sphere import mean_position, tangent_offsets
from dmu0.sky.tpv import is_linear, tpv_header
from obs_vista.world_coordinates import icrs_wcs

MAS = 3.6e6
"""Milliarcseconds in a degree."""


@dataclass(frozen=True)
class Astrometry:
    """A transformation to the sky, and its quality.

    Attributes
    ----------
    wcs
        Transformation from pixels to ICRS.
    state
        ``refined``, or ``header`` if there were too few stars.
    reason
        Reason for keeping the transformation of the header; empty otherwise.
    star, reference
        Index of each matched star and of its reference.
    used
        Whether each match was used in the fit.
    before, after
        Offsets star minus reference [match, 2] in mas, east and north, with the transformation of the header and with
        this one.
    scatter
        Robust scatter of `after` along one axis for the stars used, mas.
    error
        Error of the mean position, from the scatter, mas.
    offset
        Shift of the centre of the detector (east, north), mas.
    pattern
        Mean of `after` in ninths of the detector [y, x, axis], mas; NaN where there are fewer than three stars.
    quadratic
        Root-mean-square displacement of a quadratic fitted to `after`, and its expectation from noise alone, mas.
    """

    wcs: WCS
    state: str
    reason: str = ""
    star: np.ndarray = field(default_factory=lambda: np.empty(0, int))
    reference: np.ndarray = field(default_factory=lambda: np.empty(0, int))
    used: np.ndarray = field(default_factory=lambda: np.empty(0, bool))
    before: np.ndarray = field(default_factory=lambda: np.empty((0, 2)))
    after: np.ndarray = field(default_factory=lambda: np.empty((0, 2)))
    scatter: float = np.nan
    error: float = np.nan
    offset: tuple[float, float] = (0.0, 0.0)
    pattern: np.ndarray = field(default_factory=lambda: np.full((3, 3, 2), np.nan))
    quadratic: tuple[float, float] = (np.nan, np.nan)


@dataclass(frozen=True)
class Positions:
    """Reference positions at the epoch of the exposure.

    Attributes
    ----------
    ra, dec
        ICRS positions in degrees.
    error
        Standard error along one axis in mas.
    """

    ra: np.ndarray
    dec: np.ndarray
    error: np.ndarray

    def __len__(self) -> int:
        return len(self.ra)


def match(
    wcs: WCS, *, x: np.ndarray, y: np.ndarray, brightness: np.ndarray, references: Positions, search: float = 5.0
) -> tuple[np.ndarray, np.ndarray, float]:
    """Match stars to references after finding their common shift, due to the pointing error of the header.

    Parameters
    ----------
    wcs
        Transformation of the header.
    x, y, brightness
        Positions of the stars in pixels, and any quantity that increases with their flux.
    references
        References at the epoch of the exposure.
    search
        Largest shift in arcsec.

    Returns
    -------
    star, reference, radius
        Indices of mutual nearest neighbours, and the matching radius in arcsec.
    """
    nothing = np.empty(0, int), np.empty(0, int), 0.0
    if len(x) == 0 or len(references) == 0:
        return nothing
    sky = wcs.all_pix2world(np.stack([x, y], axis=1), 0)
    centre = mean_position(sky[:, 0], sky[:, 1])
    stars = _plane(sky[:, 0], sky[:, 1], centre)
    others = _plane(references.ra, references.dec, centre)
    near = np.all((others > stars.min(0) - search) & (others < stars.max(0) + search), axis=1)
    if not near.any():
        return nothing
    chosen = np.flatnonzero(near)
    shift, radius = _common_shift(stars[np.argsort(-brightness)[:150]], others[chosen], search)
    tree = cKDTree(others[chosen])
    distance, partner = tree.query(stars - shift, distance_upper_bound=radius)
    back = cKDTree(stars - shift).query(others[chosen], distance_upper_bound=radius)[1]
    found = np.flatnonzero(np.isfinite(distance))
    found = found[back[partner[found]] == found]
    return found, chosen[partner[found]], radius


def fit_astrometry(
    wcs: WCS,
    *,
    x: np.ndarray,
    y: np.ndarray,
    error: np.ndarray,
    brightness: np.ndarray,
    references: Positions,
    shape: tuple[int, int],
    pixel_scale: float,
    min_stars: int = 12,
) -> Astrometry:
    """Fit the linear terms of a WCS to reference stars.

    Reference positions are transformed to the plane of projection (the intermediate world coordinates of the FITS
    standard). The transformation from pixels to this plane is linear, so that CD and CRPIX follow from weighted linear
    least squares, while CRVAL and the ZPN polynomial are kept. Matches that deviate by more than 3.5 times their
    errors, which include those of the references, are rejected. With fewer than twice `min_stars` stars only shift,
    rotation and scale are fitted.

    Parameters
    ----------
    wcs
        Transformation of the header to ICRS.
    x, y, error, brightness
        Positions of the stars in pixels, their errors along one axis in pixels, and their fluxes.
    references
        References at the epoch of the exposure.
    shape
        Size (ny, nx) of the image.
    pixel_scale
        Pixel size in arcsec.
    min_stars
        Smallest number of matches; with fewer the transformation of the header is kept.
    """
    if not is_linear(wcs, shape):
        given = {"error": error, "brightness": brightness, "references": references, "pixel_scale": pixel_scale}
        return _fit_distorted(wcs, x=x, y=y, shape=shape, min_stars=min_stars, **given)
    star, reference, _ = match(wcs, x=x, y=y, brightness=brightness, references=references)
    if len(star) < min_stars:
        reason = f"{len(star)} stars match the reference catalogue, {min_stars} are needed"
        return _describe(Astrometry(wcs, "header", reason), wcs, x, y, references, star, reference, shape)
    pixels = np.stack([x[star], y[star]], axis=1)
    target = _plane_of_projection(wcs, references.ra[reference], references.dec[reference])
    sigma = np.hypot(references.error[reference], error[star] * pixel_scale * 1000)
    used = np.ones(len(star), bool)
    floor, refined = 0.0, wcs
    for _ in range(8):
        refined = _refit(wcs, pixels, target, np.hypot(sigma, floor), used, linear=used.sum() >= 2 * min_stars)
        residual = (_plane_of_pixels(refined, pixels) - target) * MAS
        total = np.hypot(sigma, floor)
        spread = robust_scatter(residual[used] / total[used, None], about=0)
        # If errors are underestimated (unknown proper motions, blends), a common term keeps few stars from dominating.
        floor = float(np.hypot(floor, np.median(sigma) * np.sqrt(max(0.0, spread**2 - 1)))) if spread > 1 else floor
        kept = np.hypot(*residual.T) < 3.5 * np.sqrt(2) * np.hypot(sigma, floor)
        if kept.sum() < min_stars or np.array_equal(kept, used):
            break
        used = kept
    result = Astrometry(refined, "refined", used=used)
    return _describe(result, wcs, x, y, references, star, reference, shape)


def _fit_distorted(wcs: WCS, *, x: np.ndarray, y: np.ndarray, shape: tuple[int, int], **given: Any) -> Astrometry:
    """`fit_astrometry` of a WCS whose plane is not linear in the pixels (SIP, TPV): the distortion is kept.

    Stars are moved to where a linear transformation about the middle of the image has their positions; its linear terms
    are fitted, and distortion and fit together are written as TPV.
    """
    (ny, nx), middle = shape, ((shape[1] - 1) / 2, (shape[0] - 1) / 2)
    flat = WCS(naxis=2)
    flat.wcs.ctype, flat.wcs.radesys = ["RA---TAN", "DEC--TAN"], "ICRS"
    flat.wcs.crval, flat.wcs.crpix = wcs.all_pix2world(*middle, 0), np.add(middle, 1)
    edges = np.array([[0, middle[1]], [nx - 1, middle[1]], [middle[0], 0], [middle[0], ny - 1]])
    plane = np.array(tangent_offsets(*wcs.all_pix2world(*edges.T, 0), centre=tuple(flat.wcs.crval)))
    flat.wcs.cd = np.column_stack([(plane[:, 1] - plane[:, 0]) / (nx - 1), (plane[:, 3] - plane[:, 2]) / (ny - 1)])
    flat.wcs.set()

    def undistorted(a: np.ndarray, b: np.ndarray) -> list[np.ndarray]:
        return flat.all_world2pix(*wcs.all_pix2world(a, b, 0), 0)

    u, v = undistorted(x, y)
    result = fit_astrometry(flat, x=u, y=v, shape=shape, **given)
    if result.state == "header":
        return replace(result, wcs=wcs)
    cards = tpv_header(lambda a, b: result.wcs.all_pix2world(*undistorted(a, b), 0), shape, name=wcs.wcs.ctype[0])
    return replace(result, wcs=icrs_wcs(cards))


def _refit(
    wcs: WCS, pixels: np.ndarray, target: np.ndarray, sigma: np.ndarray, used: np.ndarray, *, linear: bool
) -> WCS:
    """New CD and CRPIX that map the pixels to the target: six free parameters, or four (no shear) for few stars."""
    # Relative to the mean of the stars, in units of the old plane, so that the parameters are of order one.
    centre = pixels[used].mean(axis=0)
    old = wcs.wcs.cd if wcs.wcs.has_cd() else wcs.pixel_scale_matrix
    moved = (pixels[used] - centre) @ old.T
    weight = 1 / sigma[used]
    one, zero = np.ones(len(moved)), np.zeros(len(moved))
    if linear:
        design = np.stack([moved[:, 0], moved[:, 1], one], axis=1) * weight[:, None]
        solution = np.linalg.lstsq(design, target[used] * weight[:, None], rcond=None)[0]
        turn, shift = solution[:2].T, solution[2]
    else:
        first = np.stack([moved[:, 0], -moved[:, 1], one, zero], axis=1) * weight[:, None]
        second = np.stack([moved[:, 1], moved[:, 0], zero, one], axis=1) * weight[:, None]
        value = np.concatenate([target[used, 0] * weight, target[used, 1] * weight])
        a, b, sx, sy = np.linalg.lstsq(np.concatenate([first, second]), value, rcond=None)[0]
        turn, shift = np.array([[a, -b], [b, a]]), np.array([sx, sy])
    cd = turn @ old
    refined = wcs.deepcopy()
    if not refined.wcs.has_cd():
        refined.wcs.cdelt = [1.0, 1.0]
        refined.wcs.pc = cd
    else:
        refined.wcs.cd = cd
    refined.wcs.crpix = centre + 1 - np.linalg.solve(cd, shift)
    refined.wcs.set()
    return refined


def _plane_of_projection(wcs: WCS, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Sky positions in the projection plane (intermediate world coordinates), degrees [position, 2]."""
    return wcs.wcs.s2p(np.stack([ra, dec], axis=1), 1)["imgcrd"]


def _plane_of_pixels(wcs: WCS, pixels: np.ndarray) -> np.ndarray:
    """Pixels, numbered from 0, in the projection plane, degrees."""
    return wcs.wcs.p2s(pixels + 1.0, 1)["imgcrd"]


def _describe(
    result: Astrometry,
    header: WCS,
    x: np.ndarray,
    y: np.ndarray,
    references: Positions,
    star: np.ndarray,
    reference: np.ndarray,
    shape: tuple[int, int],
) -> Astrometry:
    """Add the residuals before and after the fit, their scatter and their pattern."""
    before = offsets(header, x[star], y[star], references.ra[reference], references.dec[reference])
    after = offsets(result.wcs, x[star], y[star], references.ra[reference], references.dec[reference])
    used = result.used if len(result.used) == len(star) else np.ones(len(star), bool)
    ny, nx = shape
    middle = np.array([(nx - 1) / 2]), np.array([(ny - 1) / 2])
    centre = header.all_pix2world(np.stack(middle, axis=1), 0)[0]
    moved = offsets(result.wcs, *middle, centre[:1], centre[1:])[0]
    scatter = error = np.nan
    if used.sum() >= 3:
        scatter = robust_scatter(after[used], about=np.median(after[used], axis=0))
        error = scatter / np.sqrt(used.sum())
    return Astrometry(
        wcs=result.wcs,
        state=result.state,
        reason=result.reason,
        star=star,
        reference=reference,
        used=used,
        before=before,
        after=after,
        scatter=scatter,
        error=float(error),
        offset=(float(moved[0]), float(moved[1])),
        pattern=residual_pattern(x[star][used], y[star][used], after[used], shape),
        quadratic=quadratic_amplitude(x[star][used], y[star][used], after[used], shape),
    )


def offsets(wcs: WCS, x: np.ndarray, y: np.ndarray, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Offsets [position, 2] of pixels from given sky positions, east (with cos Dec) and north, in mas."""
    if len(x) == 0:
        return np.empty((0, 2))
    sky = wcs.all_pix2world(np.stack([x, y], axis=1), 0)
    east = ((sky[:, 0] - ra + 180) % 360 - 180) * np.cos(np.radians(dec))
    return np.stack([east, sky[:, 1] - dec], axis=1) * MAS


def residual_pattern(x: np.ndarray, y: np.ndarray, residual: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Mean residual in each ninth of the detector [y, x, axis]; NaN with fewer than three stars."""
    pattern = np.full((3, 3, 2), np.nan)
    column = np.clip((3 * (x + 0.5) / shape[1]).astype(int), 0, 2)
    row = np.clip((3 * (y + 0.5) / shape[0]).astype(int), 0, 2)
    for j in range(3):
        for i in range(3):
            inside = (row == j) & (column == i)
            if inside.sum() >= 3:
                pattern[j, i] = residual[inside].mean(axis=0)
    return pattern


def quadratic_amplitude(
    x: np.ndarray, y: np.ndarray, residual: np.ndarray, shape: tuple[int, int]
) -> tuple[float, float]:
    """Root-mean-square displacement of a quadratic fitted to residuals, and its expectation from noise alone.

    It measures the distortion that is not described by the linear terms and ZPN; NaN with fewer than 20 stars.
    """
    if len(x) < 20:
        return np.nan, np.nan
    u, v = 2 * x / shape[1] - 1, 2 * y / shape[0] - 1
    design = np.stack([np.ones_like(u), u, v, u * u, u * v, v * v], axis=1)
    solution = np.linalg.lstsq(design, residual, rcond=None)[0]
    curved = design[:, 3:] @ solution[3:]
    curved -= curved.mean(axis=0)
    noise = (residual - design @ solution).std() * np.sqrt(len(x) / (len(x) - 6))
    return float(np.sqrt((curved**2).sum(axis=1).mean())), float(noise * np.sqrt(2 * 3 / len(x)))


def _plane(ra: np.ndarray, dec: np.ndarray, centre: tuple[float, float]) -> np.ndarray:
    """Offsets east and north of a position in its tangent plane, arcsec."""
    return np.stack(tangent_offsets(ra, dec, centre=centre), axis=1) * 3600


def _common_shift(stars: np.ndarray, others: np.ndarray, search: float) -> tuple[np.ndarray, float]:
    """The most common shift of the pairs, and the matching radius after the shift, in arcsec."""
    pairs = cKDTree(stars).query_ball_tree(cKDTree(others), search)
    shifts = np.array([stars[i] - others[j] for i, near in enumerate(pairs) for j in near]).reshape(-1, 2)
    if len(shifts) == 0:
        return np.zeros(2), 1.0
    # The maximum of the density of differences; 0.5" is larger than the errors, but smaller than chance groups.
    counts = np.array([len(near) for near in cKDTree(shifts).query_ball_point(shifts, 0.5)])
    peak = shifts[np.argmax(counts)]
    close = shifts[np.hypot(*(shifts - peak).T) < 0.5]
    return np.median(close, axis=0), 1.0
