"""Stellar loci by patch and tract: colours of stars against a published locus, their scatter and their homogeneity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from astropy.table import Table

from dmu0.robust_statistics import MEDIAN_ERROR, robust_scatter
from dmu0.truth import is_star, match_to_truth
from dmu2.colour_terms import PUBLISHED, vega_to_ab
from dmu5.checks import MIN_STARS, Check, held
from dmu5.diagnostics import good_flux
from dmu5.magnitudes import magnitude, magnitude_error
from obs_vista.photometry import magnitude_of

# Covey et al. 2007, AJ 134, 2398, median locus of some 600,000 dwarfs: g-i, g-r, r-i, i-z (SDSS, AB), J-H, H-Ks (2MASS,
# Vega), every tenth row of their table.
_COVEY = np.array(
    [
        (0.40, 0.30, 0.10, 0.01, 0.28, 0.06),
        (0.60, 0.44, 0.16, 0.04, 0.34, 0.07),
        (0.80, 0.58, 0.21, 0.08, 0.42, 0.08),
        (1.00, 0.73, 0.27, 0.12, 0.49, 0.10),
        (1.20, 0.87, 0.32, 0.16, 0.55, 0.11),
        (1.40, 1.02, 0.38, 0.20, 0.60, 0.12),
        (1.60, 1.15, 0.45, 0.24, 0.64, 0.14),
        (1.80, 1.26, 0.54, 0.29, 0.66, 0.16),
        (2.00, 1.35, 0.65, 0.35, 0.66, 0.18),
        (2.20, 1.41, 0.79, 0.43, 0.65, 0.20),
        (2.40, 1.41, 0.98, 0.52, 0.63, 0.22),
        (2.60, 1.41, 1.18, 0.62, 0.61, 0.24),
        (2.80, 1.43, 1.36, 0.72, 0.60, 0.26),
        (3.00, 1.47, 1.52, 0.81, 0.59, 0.27),
    ]
)

KINDS = ("psfFlux", "gaap1p0Flux")
"""The fluxes whose loci are measured."""

BRIGHT = 50.0
"""Smallest signal to noise in each band of a plane."""

DP2_SCATTER = {"w": 0.017, "y": 0.013}
"""Perpendicular scatter of the PSF colours of bright stars in LSST's DP2, mag."""

OFFSET_MAX = 0.1
"""Limit of the median distance from the published locus, mag: filters differ from those of SDSS and 2MASS."""

PATCH_MAX = 0.01
"""Limit of the scatter of the offsets of patches that their errors do not explain, mag."""


@dataclass(frozen=True)
class Plane:
    """Two colours in which stars lie on a locus.

    Attributes
    ----------
    name
        Name of the plane.
    x, y
        Bands of the two colours.
    low, high
        Range of the colour x in which the locus is measured.
    curve
        Published locus (x, y) in the bands of the catalogue, AB mag.
    """

    name: str
    x: tuple[str, str]
    y: tuple[str, str]
    low: float
    high: float
    curve: np.ndarray

    @property
    def bands(self) -> tuple[str, ...]:
        """The bands of the two colours."""
        return tuple(dict.fromkeys((*self.x, *self.y)))


def _to_vista(first: str, second: str, colours: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """A VISTA colour (AB) from the 2MASS colours J-H and H-Ks (Vega), by the published colour terms."""
    of_jk = PUBLISHED[first].coefficients[1] - PUBLISHED[second].coefficients[1]
    j_h, h_k = colours
    base = {("vj", "vk"): j_h + h_k, ("vj", "vh"): j_h, ("vh", "vk"): h_k}[first, second]
    return base + of_jk * (j_h + h_k) + vega_to_ab(first) - vega_to_ab(second)


def planes() -> tuple[Plane, ...]:
    """The planes: w and y of the optical bands, in the ranges of LSST's metrics, and two with J, H and Ks."""
    g_i, g_r, r_i, i_z, j_h, h_k = _COVEY.T
    j_k, jh, hk = (_to_vista(*pair, (j_h, h_k)) for pair in (("vj", "vk"), ("vj", "vh"), ("vh", "vk")))
    return (
        Plane("w", ("g", "r"), ("r", "i"), 0.28, 1.0, np.column_stack([g_r, r_i])),
        Plane("y", ("r", "i"), ("i", "z"), 0.5, 1.5, np.column_stack([r_i, i_z])),
        Plane("J-Ks", ("g", "i"), ("vj", "vk"), 0.5, 2.8, np.column_stack([g_i, j_k])),
        Plane("H-Ks", ("vj", "vh"), ("vh", "vk"), float(jh.min()), float(jh.max()), np.column_stack([jh, hk])),
    )


@dataclass(frozen=True)
class PlaneStars:
    """Stars in a plane.

    Attributes
    ----------
    plane, kind
        The plane, and the type of the fluxes.
    x, y
        Colours of N stars in mag (AB).
    distance, error
        Distances from the published locus, perpendicular to it, positive above, and their errors in mag.
    tract, patch, ra, dec
        Tract, patch and position of each star.
    """

    plane: Plane
    kind: str
    x: np.ndarray
    y: np.ndarray
    distance: np.ndarray
    error: np.ndarray
    tract: np.ndarray
    patch: np.ndarray
    ra: np.ndarray
    dec: np.ndarray

    def __len__(self) -> int:
        return len(self.x)


def perpendicular(x: np.ndarray, y: np.ndarray, curve: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance of points from a curve of straight pieces, positive to the left of it, and the direction there [N, 2].

    Parameters
    ----------
    x, y
        Points [N].
    curve
        Corners of the curve [M, 2] in the order in which it is followed.
    """
    start, along = curve[:-1], np.diff(curve, axis=0)
    length = np.hypot(*along.T)
    unit = along / length[:, None]
    offset = np.stack([x, y], axis=-1)[:, None] - start
    place = np.clip(np.sum(offset * unit, axis=2), 0, length)
    rest = offset - place[..., None] * unit
    nearest = np.argmin(np.hypot(rest[..., 0], rest[..., 1]), axis=1)
    rows = np.arange(len(x))
    cross = unit[:, 0] * offset[..., 1] - unit[:, 1] * offset[..., 0]
    return np.sign(cross[rows, nearest]) * np.hypot(*rest[rows, nearest].T), unit[nearest]


def plane_stars(catalogue: Table, plane: Plane, kind: str) -> PlaneStars | None:
    """Bright point sources in a plane; None if the catalogue lacks one of its bands.

    Point sources are those of `pointProbability` above 0.9, by size, not by the colours that are to be judged.

    Parameters
    ----------
    catalogue
        Primary objects.
    plane, kind
        Plane and type of the fluxes.
    """
    if any(f"{band}_{kind}" not in catalogue.colnames for band in plane.bands):
        return None
    chosen = np.nan_to_num(np.asarray(catalogue["pointProbability"], float)) > 0.9
    for band in plane.bands:
        chosen &= good_flux(catalogue, f"{band}_{kind}", snr_min=BRIGHT)
    stars = catalogue[chosen]
    mag = {band: magnitude(stars, f"{band}_{kind}") for band in plane.bands}
    noise = {band: magnitude_error(stars, f"{band}_{kind}") for band in plane.bands}
    x, y = (mag[first] - mag[second] for first, second in (plane.x, plane.y))
    inside = (x > plane.low) & (x < plane.high)
    distance, unit = perpendicular(x, y, plane.curve)
    # A band may be in both colours: its error moves the star along both axes.
    variance = np.zeros(len(stars))
    for band in plane.bands:
        of_x, of_y = (float(band == pair[0]) - float(band == pair[1]) for pair in (plane.x, plane.y))
        variance += np.square((unit[:, 0] * of_y - unit[:, 1] * of_x) * noise[band])
    columns = (np.asarray(stars[name]) for name in ("tract", "patch", "coord_ra", "coord_dec"))
    every = (x, y, distance, np.sqrt(variance), *columns)
    return PlaneStars(plane, kind, *(values[inside] for values in every))


def locus_summary(loci: Sequence[PlaneStars]) -> Table:
    """Offset from the published locus and scatter of each plane and type of flux, one row each.

    Returns
    -------
    Table
        Plane, kind, number of stars; median distance from the published locus and its error; scatter across the
        stars' own locus, a straight line that is fitted to the distances; median error of the stars.
    """
    rows = []
    for locus in loci:
        if len(locus) < MIN_STARS:
            rows.append((locus.plane.name, locus.kind, len(locus), *([np.nan] * 4)))
            continue
        scatter = float(robust_scatter(locus.distance - _trend(locus.x, locus.distance)))
        offset, error = float(np.median(locus.distance)), MEDIAN_ERROR * scatter / np.sqrt(len(locus))
        rows.append((locus.plane.name, locus.kind, len(locus), offset, error, scatter, float(np.median(locus.error))))
    names = ("plane", "kind", "stars", "offset", "error", "scatter", "noise")
    table = Table(rows=rows or None, names=names, dtype=(str, str, int, *([float] * 4)))
    for name in names[3:]:
        table[name].info.format = ".4f"
    return table


def photometric_scatter(loci: Sequence[PlaneStars], truth: Table) -> Table:
    """Scatter of measured minus true distances from the locus: what the photometry adds to that of the stars, mag.

    Parameters
    ----------
    loci
        Stars in planes.
    truth
        True sources of a simulated sky.
    """
    rows = []
    stars = truth[is_star(truth)]
    for locus in loci:
        pairs = match_to_truth(stars, locus.ra, locus.dec)
        mag = {band: magnitude_of(np.asarray(stars[f"flux_{band}"])[pairs.first]) for band in locus.plane.bands}
        x, y = (mag[first] - mag[second] for first, second in (locus.plane.x, locus.plane.y))
        difference = locus.distance[pairs.second] - perpendicular(x, y, locus.plane.curve)[0]
        known = len(difference) >= MIN_STARS
        middle, scatter = (
            (float(np.median(difference)), float(robust_scatter(difference))) if known else (np.nan, np.nan)
        )
        rows.append((locus.plane.name, locus.kind, len(difference), middle, scatter))
    names = ("plane", "kind", "stars", "offset", "scatter")
    table = Table(rows=rows or None, names=names, dtype=(str, str, int, float, float))
    for name in names[3:]:
        table[name].info.format = ".4f"
    return table


def _trend(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Straight line through points, fitted twice, the second time without those off by more than three sigma."""
    keep = np.ones(len(x), bool)
    for _ in range(2):
        line = np.polyval(np.polyfit(x[keep], y[keep], 1), x)
        keep = np.abs(y - line) <= 3 * max(float(robust_scatter(y - line)), 1e-6)
    return line


def patch_offsets(locus: PlaneStars) -> Table:
    """Offset of the locus of each patch with enough stars from that of all: tract, patch, position, stars, error."""
    rows = []
    if len(locus) >= MIN_STARS:
        distance = locus.distance - _trend(locus.x, locus.distance)
        scatter = float(robust_scatter(distance))
        for tract, patch in sorted(set(zip(locus.tract.tolist(), locus.patch.tolist(), strict=True))):
            mine = (locus.tract == tract) & (locus.patch == patch)
            count = int(mine.sum())
            if count >= MIN_STARS:
                place = (float(np.median(values[mine])) for values in (locus.ra, locus.dec))
                offset = float(np.median(distance[mine]))
                rows.append((tract, patch, *place, count, offset, MEDIAN_ERROR * scatter / np.sqrt(count)))
    names = ("tract", "patch", "ra", "dec", "stars", "offset", "error")
    return Table(rows=rows or None, names=names, dtype=(int, int, float, float, int, float, float))


def unexplained(offsets: Table) -> tuple[float, float]:
    """Scatter of the offsets of patches beyond their errors, in mag, and its sampling error; NaN for fewer than two."""
    if len(offsets) < 2:
        return float("nan"), float("nan")
    values, errors = np.asarray(offsets["offset"]), np.asarray(offsets["error"])
    excess = float(np.mean(np.square(values)) - np.mean(np.square(errors)))
    sampling = float(np.mean(np.square(errors)) * np.sqrt(2 / len(values)))
    return float(np.sqrt(max(excess, 0))), float(np.sqrt(sampling))


def loci_checks(loci: Sequence[PlaneStars]) -> list[Check]:
    """Checks of the loci of each plane: offset from the published locus, and homogeneity between patches."""
    rows = []
    for row, locus in zip(locus_summary(loci), loci, strict=True):
        if row["stars"] < MIN_STARS:
            continue
        what = f"{row['plane']} locus, {row['kind']}"
        offset = f"{row['offset']:+.3f} mag of {row['stars']}, scatter {1000 * row['scatter']:.0f} mmag"
        kept = abs(row["offset"]) <= OFFSET_MAX + 2 * row["error"]
        rows.append(held(f"{what}: median offset", offset, f"<= {OFFSET_MAX} mag", kept, stops=False))
        table = patch_offsets(locus)
        excess, sampling = unexplained(table)
        if np.isfinite(excess):
            value = f"{1000 * excess:.1f} mmag of {len(table)} patches, sampling {1000 * sampling:.1f}"
            kept = excess <= PATCH_MAX + 2 * sampling
            rows.append(
                held(f"{what}: patches beyond errors", value, f"<= {1000 * PATCH_MAX:.0f} mmag", kept, stops=False)
            )
    return rows
