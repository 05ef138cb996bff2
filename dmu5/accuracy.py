"""Accuracy of each band, as numbers: fluxes of stars against the truth or references, missing values, duplicates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import healsparse
import numpy as np
from astropy.table import Table, vstack
from scipy.spatial import cKDTree

from dmu0.robust_statistics import MEDIAN_ERROR, robust_scatter
from dmu0.sky.matching import match
from dmu0.sky.sphere import unit_vectors
from dmu0.surveys import Survey
from dmu0.truth import MATCH_RADIUS, NEIGHBOUR_RADIUS, is_star, isolated, match_to_truth, neighbour_fraction
from dmu2.refcat import read_shard, sky_positions
from dmu2.steps import REFCAT
from dmu3.truth import NEIGHBOURS
from dmu5.diagnostics import Offsets, good_flux
from obs_vista.photometry import POGSON, magnitude_of

BRIGHT = 50.0
"""Signal to noise above which stars show the accuracy of the PSF, zero point and flux floor rather than noise."""

FAINT = (5.0, 20.0)
"""Range of signal to noise in which the pulls of stars show whether statistical errors are right."""

BLOCK = 2.0
"""Side in arcmin of the squares of the sky whose stars may share errors: smaller than a VISTA detector."""

TOTALS = ("kron", "ap12")
"""Fluxes that are total fluxes once divided by the fraction of the light in their aperture."""

_PLACE = ["coord_ra", "coord_dec"]  # rows are taken from the columns needed: a catalogue has hundreds of others


@dataclass(frozen=True)
class StarFluxes:
    """Fluxes of N isolated stars of a band and their true fluxes, in nJy.

    Attributes
    ----------
    band
        Label of the band.
    true, value, error
        True fluxes, measured point-source fluxes and their statistical errors.
    floor
        Relative error to be added in quadrature.
    totals
        Name in `TOTALS` -> its flux over the fraction of the light in its aperture; NaN where flagged.
    block
        Number of the square of `BLOCK` arcmin of the sky in which each star is; None: every star has its own.
    scale_error
        Relative error of the zero point that all stars share; NaN if it is unknown.
    """

    band: str
    true: np.ndarray
    value: np.ndarray
    error: np.ndarray
    floor: np.ndarray
    totals: dict[str, np.ndarray]
    block: np.ndarray | None = None
    scale_error: float = np.nan

    def __len__(self) -> int:
        return len(self.true)

    @property
    def snr(self) -> np.ndarray:
        """Ratio of true flux to error, so that a cut does not depend on the measured flux."""
        return self.true / self.error

    @property
    def bright(self) -> np.ndarray:
        """Whether each star is brighter than `BRIGHT`."""
        return self.snr > BRIGHT

    @property
    def ratio(self) -> np.ndarray:
        """Measured over true flux."""
        return self.value / self.true

    @property
    def pull(self) -> np.ndarray:
        """Measured minus true flux in units of the statistical error."""
        return (self.value - self.true) / self.error

    @property
    def common(self) -> float:
        """Measured over true flux that all stars have in common: the median of the bright ones; NaN without any."""
        return float(np.median(self.ratio[self.bright])) if self.bright.any() else float("nan")

    @property
    def total_pull(self) -> np.ndarray:
        """Measured minus true flux in units of the error that includes the floor.

        Where the error of the common zero point is known, fluxes are first divided by what they have in common, for
        that error is in none of theirs.
        """
        common = self.common if np.isfinite(self.scale_error) and self.bright.any() else 1.0
        return (self.value / common - self.true) / np.hypot(self.error, self.floor * self.value)

    @property
    def outlier(self) -> np.ndarray:
        """Whether each flux deviates from the truth by more than 3% and three times its statistical error, added up."""
        return np.abs(self.value - self.true) > 0.03 * self.true + 3 * self.error


def isolated_star_fluxes(truth: Table, catalogue: Table, band: str) -> StarFluxes:
    """Unflagged point-source fluxes of isolated true stars above 5 sigma in a band.

    Parameters
    ----------
    truth
        True sources.
    catalogue
        Catalogue with one row per object.
    band
        Label of the band.
    """
    names = [f"{band}_{name}" for name in ("psfFlux", "psfFluxErr", "fluxFloor", "zeroPointErr")]
    names += [f"{band}_{name}{end}" for name in TOTALS for end in ("Flux", "Fraction", "Flux_flag")]
    good = catalogue[_PLACE + names][good_flux(catalogue, f"{band}_psfFlux")]
    stars = truth[is_star(truth) & isolated(truth, band, fraction=NEIGHBOURS)]
    pairs = match_to_truth(stars, good["coord_ra"], good["coord_dec"], radius=MATCH_RADIUS)
    rows, true = good[pairs.second], np.asarray(stars[f"flux_{band}"], float)[pairs.first]
    error = np.asarray(rows[f"{band}_psfFluxErr"], float)
    keep = true > FAINT[0] * error
    rows, true = rows[keep], true[keep]
    totals = {}
    for name in TOTALS:
        total = np.asarray(rows[f"{band}_{name}Flux"], float) / np.asarray(rows[f"{band}_{name}Fraction"], float)
        totals[name] = np.where(np.asarray(rows[f"{band}_{name}Flux_flag"], bool), np.nan, total)
    value, floor = (np.asarray(rows[f"{band}_{name}"], float) for name in ("psfFlux", "fluxFloor"))
    shared = np.asarray(rows[f"{band}_zeroPointErr"], float)
    shared = shared[np.isfinite(shared)]
    scale = float(np.median(shared)) / POGSON if len(shared) else np.nan
    blocks = _blocks(rows["coord_ra"], rows["coord_dec"])
    return StarFluxes(band, true, value, error[keep], floor, totals, blocks, scale)


def _blocks(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Number of the square of the sky in which each position is."""
    ra, dec = np.asarray(ra, float), np.asarray(dec, float)
    row = np.floor(60 * dec / BLOCK)
    # squares of a row have the same width in right ascension
    column = np.floor(60 * ra * np.cos(np.radians((row + 0.5) * BLOCK / 60)) / BLOCK)
    return np.unique(np.stack([row, column]), axis=1, return_inverse=True)[1].ravel()


def width_error(pulls: np.ndarray, block: np.ndarray | None, *, resamples: int = 200) -> float:
    """Sampling error of the robust width of pulls, from a bootstrap of the squares of the sky.

    Stars on the same images share the error of their zero point: there are fewer independent values than stars (block
    bootstrap: Norberg et al. 2009, MNRAS 396, 19).

    Parameters
    ----------
    pulls
        Pulls of N stars.
    block
        Number of the square of each star; None: stars are independent.
    resamples
        Number of resamples.
    """
    block = np.arange(len(pulls)) if block is None else block
    members = [np.flatnonzero(block == name) for name in np.unique(block)]
    rng = np.random.default_rng(0)
    widths = [
        float(robust_scatter(pulls[np.concatenate([members[k] for k in rng.integers(0, len(members), len(members))])]))
        for _ in range(resamples)
    ]
    return float(np.std(widths))


@dataclass(frozen=True)
class ReferenceOffset:
    """Bright stars of a band compared with the reference catalogue.

    Attributes
    ----------
    band
        Label of the band.
    ratio
        Point-source flux over reference flux of each star.
    error
        Error of the ratio due to both fluxes.
    offsets
        Positions minus reference positions.
    """

    band: str
    ratio: np.ndarray
    error: np.ndarray
    offsets: Offsets

    def __len__(self) -> int:
        return len(self.ratio)

    @property
    def magnitude(self) -> float:
        """Median offset in mag, positive if the catalogue is fainter; NaN without stars."""
        return float(-2.5 * np.log10(np.median(self.ratio))) if len(self) else float("nan")

    @property
    def scatter(self) -> float:
        """Scatter of the ratios."""
        return float(robust_scatter(self.ratio))

    @property
    def magnitude_error(self) -> float:
        """Standard error of `magnitude` in mag, from the scatter of the stars; NaN with fewer than two."""
        return float(POGSON * MEDIAN_ERROR * self.scatter / np.sqrt(len(self))) if len(self) else float("nan")


def read_reference_catalogue(survey: Survey) -> Table | None:
    """The reference catalogue of dmu2, all shards in one table; None if there is none."""
    paths = sorted((survey.folders[2] / REFCAT).glob("*.parquet"))
    return vstack([read_shard(path) for path in paths], metadata_conflicts="silent") if paths else None


def reference_offset(reference: Table, catalogue: Table, band: str, *, snr_min: float = 10.0) -> ReferenceOffset:
    """Isolated stars of a band that are bright in the catalogue and in the reference catalogue.

    Neighbours contribute less than `NEIGHBOURS` of their flux. In deep images nearly all footprints are connected, so
    that the number of objects in a footprint says nothing about single stars.

    Parameters
    ----------
    reference
        The reference catalogue; a band without a flux in it gives no stars.
    catalogue
        Catalogue with one row per object.
    band
        Label of the band.
    snr_min
        Smallest signal to noise of the reference flux; in the catalogue it is `BRIGHT`.
    """
    name, empty = f"{band}_flux", np.zeros(0)
    if name not in reference.colnames:
        return ReferenceOffset(band, empty, empty, Offsets(empty, empty))
    flux, error = (np.asarray(reference[column], float) for column in (name, f"{name}Err"))
    usable = (error > 0) & (flux > snr_min * error) & ~np.asarray(reference["extended"], bool)
    stars = np.asarray(catalogue["refExtendedness"], float) < 0.5
    good = (
        good_flux(catalogue, f"{band}_psfFlux", snr_min=BRIGHT) & stars & (_neighbours_of(catalogue, band) < NEIGHBOURS)
    )
    theirs, ours = reference[usable], catalogue[[*_PLACE, f"{band}_psfFlux", f"{band}_psfFluxErr"]][good]
    ra, dec = sky_positions(theirs)
    pairs = match(ra, dec, *(np.asarray(ours[f"coord_{axis}"], float) for axis in ("ra", "dec")), radius=MATCH_RADIUS)
    ours, flux, error = ours[pairs.second], flux[usable][pairs.first], error[usable][pairs.first]
    ratio = np.asarray(ours[f"{band}_psfFlux"], float) / flux
    relative = np.hypot(error / flux, np.asarray(ours[f"{band}_psfFluxErr"], float) / (ratio * flux))
    east = (np.asarray(ours["coord_ra"], float) - ra[pairs.first] + 180) % 360 - 180
    north = np.asarray(ours["coord_dec"], float) - dec[pairs.first]
    shifts = Offsets(east * np.cos(np.radians(dec[pairs.first])) * 3.6e6, north * 3.6e6)
    return ReferenceOffset(band, ratio, ratio * relative, shifts)


def _neighbours_of(catalogue: Table, band: str) -> np.ndarray:
    """Ratio of the flux of the neighbours of each object, as measured, to its own."""
    sky = Table({axis: np.asarray(catalogue[f"coord_{axis}"], float) for axis in ("ra", "dec")})
    sky[f"flux_{band}"] = np.maximum(np.nan_to_num(np.asarray(catalogue[f"{band}_psfFlux"], float)), 0)
    return neighbour_fraction(sky, band, radius=NEIGHBOUR_RADIUS)


def census(catalogue: Table, bands: Sequence[str]) -> Table:
    """Missing, flagged and doubtful values of each band, as fractions of the objects with data in it.

    Returns
    -------
    table
        One row per band: band, covered (number of objects with data), missing (point-source flux is NaN), flagged,
        inexact_psf, unusable.
    """
    rows = []
    for band in bands:
        covered = np.asarray(catalogue[f"{band}_coverage"], float) > 0
        shares = (
            ~np.isfinite(np.asarray(catalogue[f"{band}_psfFlux"], float)),
            np.asarray(catalogue[f"{band}_psfFlux_flag"], bool),
            np.asarray(catalogue[f"{band}_pixelFlags_inexact_psfCenter"], bool),
            ~np.asarray(catalogue[f"{band}_usable"], bool),
        )
        number = int(np.sum(covered))
        rows.append((band, number, *(float(np.mean(share[covered])) if number else np.nan for share in shares)))
    names = ["band", "covered", "missing", "flagged", "inexact_psf", "unusable"]
    return Table(rows=rows or None, names=names, dtype=["U8", int, float, float, float, float])


def close_pairs(catalogue: Table, *, radius: float = 0.3) -> int:
    """Number of pairs of primary objects closer than a radius in arcsec: one source measured twice."""
    tree = cKDTree(unit_vectors(*(np.asarray(catalogue[f"coord_{axis}"], float) for axis in ("ra", "dec"))))
    return len(tree.query_pairs(2 * np.sin(np.radians(radius / 3600) / 2)))


def header_depths(survey: Survey) -> dict[str, float]:
    """The depth that the headers of the images predict for each band: median of the map of dmu1, where there is one.

    Returns
    -------
    depths
        Band -> AB magnitude of a point source of 5 sigma, for pixels with independent noise.
    """
    found = {}
    for band in survey.bands:
        path = survey.folders[1] / "maps" / f"{band}_depth.hsp"
        if not path.exists():
            continue
        depth = healsparse.HealSparseMap.read(str(path))
        values = depth[depth.valid_pixels]
        if np.isfinite(values).any():
            found[band] = float(np.nanmedian(values))
    return found


def depth_comparison(
    catalogue: Table, baseline: Table | None, empty: Table | None, bands: Sequence[str], *, expected: dict[str, float]
) -> Table:
    """Depths of each band side by side, all as the AB magnitude of a point source of 5 sigma.

    Parameters
    ----------
    catalogue
        Catalogue with one row per object.
    baseline
        Catalogue of dmu3, or None.
    empty
        Ratio of the scatter of empty apertures to the quoted error of each band, or None.
    bands
        Bands of the survey.
    expected
        Depth predicted from the headers of the images for some of the bands (dmu1).

    Returns
    -------
    table
        One row per band: band; headers: ``expected``; catalogue: median of ``depth5``; measured: the same, corrected by
        the scatter of empty apertures; circle: from the errors of faint point sources in circles of 2 arcsec diameter
        and the fraction of the light in them; baseline: the same of the baseline, from empty circles. NaN where
        unknown.
    """
    ratios = {} if empty is None else dict(zip(map(str, empty["band"]), np.asarray(empty["ratio"], float), strict=True))
    rows = []
    for band in bands:
        depth = np.asarray(catalogue[f"{band}_depth5"], float)
        quoted = float(np.nanmedian(depth)) if np.isfinite(depth).any() else np.nan
        measured = quoted - 2.5 * np.log10(ratios.get(band, np.nan))
        circles = (_circle_depth(catalogue, band), _baseline_depth(catalogue, baseline, band))
        rows.append((band, expected.get(band, np.nan), quoted, measured, *circles))
    names = ["band", "headers", "catalogue", "measured", "circle", "baseline"]
    return Table(rows=rows or None, names=names, dtype=["U8", *5 * [float]])


def _circle_depth(catalogue: Table, band: str) -> float:
    """Depth of point sources in circles of 2 arcsec diameter, from the errors of faint ones; NaN if unknown."""
    names = ("psfFlux", "psfFluxErr", "ap06FluxErr", "ap06Fraction")
    if any(f"{band}_{name}" not in catalogue.colnames for name in names):
        return float("nan")
    flux, flux_error, error, fraction = (np.asarray(catalogue[f"{band}_{name}"], float) for name in names)
    faint = (flux < FAINT[1] * flux_error) & (error > 0) & (fraction > 0)
    faint &= np.asarray(catalogue["refExtendedness"], float) < 0.5
    return float(magnitude_of(5 * np.median(error[faint] / fraction[faint]))) if faint.any() else float("nan")


def _baseline_depth(catalogue: Table, baseline: Table | None, band: str) -> float:
    """Depth of the baseline in circles of 2 arcsec diameter, as that of a point source; NaN if unknown."""
    if baseline is None:
        return float("nan")
    error = np.asarray(baseline[f"{band}_apErrLocal_2p0"], float)
    points = np.asarray(catalogue["refExtendedness"], float) < 0.5
    fraction = np.asarray(catalogue[f"{band}_ap06Fraction"], float)[points]
    error, fraction = error[np.isfinite(error) & (error > 0)], fraction[np.isfinite(fraction) & (fraction > 0)]
    if not len(error) or not len(fraction):
        return float("nan")
    return float(magnitude_of(5 * np.median(error) / np.median(fraction)))
