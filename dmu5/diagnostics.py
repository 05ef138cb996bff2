"""Accuracy of the catalogue: comparison with the true sky, with the baseline, and with the stellar locus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from astropy.table import Table
from scipy.spatial import cKDTree

from dmu0.robust_statistics import robust_scatter
from dmu0.sky.matching import match
from dmu0.sky.sphere import unit_vectors
from dmu0.truth import MATCH_RADIUS, detectable, is_star, isolated, match_to_truth
from dmu2.colour_terms import PUBLISHED, vega_to_ab
from dmu3.truth import NEIGHBOURS as FLUX_NEIGHBOURS
from dmu3.truth import FluxComparison, compare_fluxes
from dmu4.objects.columns import REFERENCE_PIXEL
from obs_vista.photometry import flux_of, magnitude_of

_COVEY_LOCUS = (
    (0.40, 0.34), (0.60, 0.41), (0.80, 0.50), (1.00, 0.59), (1.20, 0.66), (1.50, 0.75), (1.80, 0.82), (2.20, 0.85),
    (2.60, 0.85), (3.00, 0.86),
)  # fmt: skip
# g-i (SDSS, AB) and J-Ks (2MASS, Vega; J-H plus H-Ks) of the median locus of dwarfs: Covey et al. 2007, AJ 134, 2398,
# table 3, of some 600,000 stars.

_TO_VISTA = 1 + PUBLISHED["vj"].coefficients[1] - PUBLISHED["vk"].coefficients[1]
# J-Ks of VISTA over that of 2MASS, by the published colour terms.

DWARF_LOCUS = tuple((g_i, _TO_VISTA * j_k + vega_to_ab("vj") - vega_to_ab("vk")) for g_i, j_k in _COVEY_LOCUS)
"""The published locus of dwarf stars in the bands of the catalogue: (g-i, J-Ks), AB."""


def primary(catalogue: Table) -> Table:
    """The primary rows of a catalogue: one per object."""
    return catalogue[np.asarray(catalogue["detect_isPrimary"], bool)]


def good_flux(catalogue: Table, flux: str, *, snr_min: float = 0.0) -> np.ndarray:
    """Rows whose flux is finite, not flagged, and above a signal to noise.

    Parameters
    ----------
    catalogue
        The catalogue.
    flux
        Name of the flux, e.g. ``vk_psfFlux``.
    snr_min
        Smallest ratio of flux to error.
    """
    value, error = np.asarray(catalogue[flux], float), np.asarray(catalogue[f"{flux}Err"], float)
    there = np.isfinite(value) & (error > 0) & ~np.asarray(catalogue[f"{flux}_flag"], bool)
    return there & (np.divide(value, error, out=np.full(value.shape, -np.inf), where=there) > snr_min)


def depth_at(catalogue: Table, ra: np.ndarray, dec: np.ndarray, bands: Sequence[str], *, radius: float = 30.0) -> Table:
    """The 5-sigma flux of a point source at any position: that of the nearest object with a depth.

    Parameters
    ----------
    catalogue
        Catalogue with ``{band}_depth5`` and ``{band}_usable``.
    ra, dec
        Positions, deg.
    bands
        Labels of the bands.
    radius
        Distance from the nearest object beyond which a position counts as not covered, arcsec.

    Returns
    -------
    depths
        Table with one column per band, in nJy; infinite where the band does not cover the position.
    """
    depths = Table()
    for band in bands:
        limit = flux_of(np.asarray(catalogue[f"{band}_depth5"]))
        known = np.isfinite(limit)
        limits = np.where(known & np.asarray(catalogue[f"{band}_usable"], bool), limit, np.inf)[known]
        values = np.full(len(ra), np.inf)
        if known.any():
            places = unit_vectors(np.asarray(catalogue["coord_ra"])[known], np.asarray(catalogue["coord_dec"])[known])
            chord, nearest = cKDTree(places).query(unit_vectors(np.asarray(ra), np.asarray(dec)))
            values = np.where(chord < 2 * np.sin(np.radians(radius / 3600) / 2), limits[nearest], np.inf)
        depths[band] = values
    return depths


@dataclass(frozen=True)
class Completeness:
    """The number of true sources that the catalogue contains.

    Attributes
    ----------
    wanted
        Number of true sources that should be in the catalogue.
    found
        Number of those that are.
    """

    wanted: int
    found: int

    @property
    def fraction(self) -> float:
        """Ratio of found to wanted; NaN if none is wanted."""
        return self.found / self.wanted if self.wanted else float("nan")

    @property
    def error(self) -> float:
        """Binomial standard error of the fraction, with one success and one failure added; NaN if none is wanted."""
        share = (self.found + 1) / (self.wanted + 2)
        return float(np.sqrt(share * (1 - share) / self.wanted)) if self.wanted else float("nan")

    def percentage(self, digits: int) -> str:
        """The fraction and its error in per cent, and the number of sources, in words if there are none."""
        if not self.wanted:
            return "there are none"
        return f"{100 * self.fraction:.{digits}f} +- {100 * self.error:.{digits}f}% of {self.wanted}"


NEIGHBOURS = 0.1
"""Largest contribution of neighbours to a star, relative to its own flux in its best band, for it to count."""


def star_completeness(truth: Table, catalogue: Table, bands: Sequence[str], *, inside: np.ndarray) -> Completeness:
    """Completeness of isolated true stars that exceed 5 sigma in any band.

    Parameters
    ----------
    truth, catalogue
        True sources, and catalogue with one row per object.
    bands
        Bands of the survey.
    inside
        Whether each true source is in the area of the catalogue.
    """
    depths = depth_at(catalogue, truth["ra"], truth["dec"], bands)
    seen, best = detectable(truth, depths)
    stars = truth[seen & is_star(truth) & isolated(truth, best, fraction=NEIGHBOURS) & inside]
    return Completeness(len(stars), len(match_to_truth(stars, catalogue["coord_ra"], catalogue["coord_dec"])))


def star_fluxes(truth: Table, catalogue: Table, band: str, *, kind: str = "psfFlux") -> FluxComparison:
    """Unflagged fluxes of isolated stars of more than 20 sigma, compared with the true fluxes.

    Parameters
    ----------
    truth, catalogue
        True sources, and objects.
    band, kind
        Band and type of the flux.
    """
    good = good_flux(catalogue, f"{band}_{kind}")
    columns = ("coord_ra", "coord_dec", f"{band}_{kind}", f"{band}_{kind}Err")
    return compare_fluxes(truth, *(np.asarray(catalogue[name])[good] for name in columns), band, radius=MATCH_RADIUS)


@dataclass(frozen=True)
class Offsets:
    """Position offsets in mas; those in right ascension include the factor cos(Dec).

    Attributes
    ----------
    ra, dec
        Measured minus reference position.
    """

    ra: np.ndarray
    dec: np.ndarray

    def __len__(self) -> int:
        return len(self.ra)

    @property
    def bias(self) -> tuple[float, float]:
        """Median offsets in RA and Dec; NaN if there are none."""
        return (float(np.median(self.ra)), float(np.median(self.dec))) if len(self) else (np.nan, np.nan)

    @property
    def radial(self) -> float:
        """Median distance; NaN if there are no offsets."""
        return float(np.median(np.hypot(self.ra, self.dec))) if len(self) else float("nan")


def star_offsets(truth: Table, catalogue: Table, bands: Sequence[str], *, snr_min: float = 20.0) -> Offsets:
    """Position offsets of isolated true stars above a signal to noise in their reference band."""
    chosen = np.zeros(len(catalogue), bool)
    for band in bands:
        here = np.asarray(catalogue["refBand"]).astype(str) == band
        chosen |= here & good_flux(catalogue, f"{band}_psfFlux", snr_min=snr_min)
    alone = np.logical_or.reduce([isolated(truth, band, fraction=FLUX_NEIGHBOURS) for band in bands])
    return offsets(truth[is_star(truth) & alone], catalogue["coord_ra", "coord_dec"][chosen])


def offsets(reference: Table, catalogue: Table) -> Offsets:
    """Offsets of the catalogue from a reference (columns ra and dec), for all matched sources."""
    pairs = match_to_truth(reference, catalogue["coord_ra"], catalogue["coord_dec"])
    dec = np.asarray(reference["dec"], float)[pairs.first]
    east = np.asarray(catalogue["coord_ra"], float)[pairs.second] - np.asarray(reference["ra"], float)[pairs.first]
    north = np.asarray(catalogue["coord_dec"], float)[pairs.second] - dec
    east = (east + 180) % 360 - 180
    return Offsets(east * np.cos(np.radians(dec)) * 3.6e6, north * 3.6e6)


IN_CIRCLE = 0.002
"""Largest fraction of an object's light that belongs to neighbours, for a comparison of apertures."""


def compare_with_baseline(catalogue: Table, baseline: Table, bands: Sequence[str]) -> Table:
    """Ratio of catalogue to baseline fluxes in apertures of 2 arcsec diameter, for isolated bright objects.

    The radius of the catalogue's aperture, 6 px of 0.168 arcsec, is 0.8 per cent larger; its flux is corrected for it.
    The baseline scales VISTA stacks by the zero points of their headers, which are uncertain by 0.01 mag in each visit.
    What is left in the optical bands of the sample and of the survey `patch` is due to the sky mesh of the baseline,
    which subtracts part of the wings of galaxies, 1.4 to 2 per cent of their flux; stars agree to 0.05 per cent.

    Returns
    -------
    table
        One row per band: band, n, ratio (median), scatter (of single objects, from the quartiles).
    """
    ra, dec = np.asarray(catalogue["coord_ra"], float), np.asarray(catalogue["coord_dec"], float)
    pairs = match(ra, dec, np.asarray(baseline["ra"], float), np.asarray(baseline["dec"], float), radius=MATCH_RADIUS)
    ours, theirs = catalogue[pairs.first], baseline[pairs.second]
    rows = []
    for band in bands:
        flux, error = (
            np.asarray(theirs[f"{band}_apFlux_2p0"], float),
            np.asarray(theirs[f"{band}_apFluxErr_2p0"], float),
        )
        # The baseline subtracts no neighbours: what counts is their light in the aperture.
        others = np.ma.filled(np.ma.asarray(ours[f"{band}_neighbourFraction"]).astype(float), np.nan)
        alone = (np.asarray(theirs[f"{band}_flags"]) == 0) & (others < IN_CIRCLE)
        good = good_flux(ours, f"{band}_ap06Flux") & alone & (error > 0) & (flux > 20 * error)
        ratio = _in_one_arcsec(ours[good], band) / flux[good]
        middle = float(np.median(ratio)) if len(ratio) else np.nan
        rows.append((band, len(ratio), middle, robust_scatter(ratio)))
    return Table(rows=rows, names=["band", "n", "ratio", "scatter"], dtype=["U8", int, float, float])


def _in_one_arcsec(objects: Table, band: str) -> np.ndarray:
    """Fluxes in circles of 1 arcsec radius [N], from the slopes of the growth curves between the circles around it."""
    flux = [np.asarray(objects[f"{band}_ap{radius:02d}Flux"], float) for radius in (3, 6, 9)]
    inner, outer = np.log(6 / 3), np.log(9 / 6)
    with np.errstate(invalid="ignore", divide="ignore"):
        below, above = np.log(flux[1] / flux[0]) / inner, np.log(flux[2] / flux[1]) / outer
    # The parabola through the three in the logarithm of the radius.
    slope = np.nan_to_num((above * inner + below * outer) / (inner + outer), posinf=0, neginf=0)
    return flux[1] * (1 / (6 * REFERENCE_PIXEL)) ** slope


@dataclass(frozen=True)
class Locus:
    """Point sources in a colour-colour plane.

    Attributes
    ----------
    g_i, j_k
        Colours g-i and J-Ks in AB mag.
    """

    g_i: np.ndarray
    j_k: np.ndarray

    def __len__(self) -> int:
        return len(self.g_i)

    def offset(self, *, low: float = 0.5, high: float = 1.5) -> tuple[float, int]:
        """Median J-Ks offset from dwarf stars of the same g-i, and the number of stars; NaN if there are none."""
        chosen = (self.g_i > low) & (self.g_i < high)
        if not chosen.any():
            return float("nan"), 0
        expected = np.interp(self.g_i[chosen], *np.transpose(DWARF_LOCUS))
        return float(np.median(self.j_k[chosen] - expected)), int(chosen.sum())


def stellar_locus(catalogue: Table, *, kind: str = "gaap1p0Flux", snr_min: float = 20.0) -> Locus | None:
    """Colours of point sources in g, i, J and Ks; None if the catalogue lacks one of the bands."""
    bands = ("g", "i", "vj", "vk")
    if any(f"{band}_{kind}" not in catalogue.colnames for band in bands):
        return None
    stars = np.asarray(catalogue["refExtendedness"], float) < 0.5
    for band in bands:
        stars &= good_flux(catalogue, f"{band}_{kind}", snr_min=snr_min)
    g, i, j, k = (magnitude_of(np.asarray(catalogue[f"{band}_{kind}"])[stars]) for band in bands)
    return Locus(g - i, j - k)


def summarise_bands(catalogue: Table, bands: Sequence[str]) -> Table:
    """One row per band: objects measured, above 5 sigma, detected; the usable fraction; the median 5-sigma depth."""
    rows = []
    for band in bands:
        depth = np.asarray(catalogue[f"{band}_depth5"], float)
        depth = depth[np.isfinite(depth)]
        measured = int(good_flux(catalogue, f"{band}_psfFlux", snr_min=-np.inf).sum())
        above = int(good_flux(catalogue, f"{band}_psfFlux", snr_min=5).sum())
        usable = float(np.mean(catalogue[f"{band}_usable"])) if len(catalogue) else float("nan")
        detected = int(np.sum(catalogue[f"{band}_detected"]))
        rows.append((band, measured, above, detected, usable, float(np.median(depth)) if len(depth) else float("nan")))
    names = ["band", "measured", "above_5_sigma", "detected", "usable", "depth5"]
    return Table(rows=rows, names=names, dtype=["U8", int, int, int, float, float], units={"depth5": "mag(AB)"})
