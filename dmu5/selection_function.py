"""Selection function: completeness and purity measured with the true sky, or expected from the depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from astropy.table import Table
from scipy.optimize import isotonic_regression
from scipy.stats import norm

from dmu0.sky.skymap import survey_patches
from dmu0.sky.sphere import SkyPlane
from dmu0.surveys import Survey
from dmu0.truth import match_to_truth
from dmu1.steps import patches_to_make
from dmu5.diagnostics import depth_at, good_flux
from obs_vista.photometry import flux_of, magnitude_of


@dataclass(frozen=True)
class Curve:
    """A fraction in bins of magnitude.

    Attributes
    ----------
    edges
        Edges of the bins in AB mag, one more than the number of bins.
    total
        Number of sources in each bin.
    chosen
        Number of these that were found, or that are real.
    """

    edges: np.ndarray
    total: np.ndarray
    chosen: np.ndarray

    @property
    def middle(self) -> np.ndarray:
        """Centres of the bins."""
        return 0.5 * (self.edges[1:] + self.edges[:-1])

    @property
    def fraction(self) -> np.ndarray:
        """Ratio of chosen to total; NaN in empty bins."""
        return np.divide(self.chosen, self.total, out=np.full(len(self.total), np.nan), where=self.total > 0)

    @property
    def error(self) -> np.ndarray:
        """Binomial standard error, with one success and one failure added so that it is never zero."""
        share = (self.chosen + 1) / (self.total + 2)
        return np.where(self.total > 0, np.sqrt(share * (1 - share) / np.maximum(self.total, 1)), np.nan)

    def limit(self, fraction: float = 0.5) -> float:
        """Magnitude where the fraction falls below a value, see `falls_below`; bins of fewer than five do not count."""
        return falls_below(self.middle, self.fraction, np.where(self.total >= 5, self.total, 0), fraction)


def falls_below(magnitude: np.ndarray, fraction: np.ndarray, weight: np.ndarray, level: float) -> float:
    """Magnitude at which a fraction that decreases with magnitude falls below a level.

    The fractions are replaced by the decreasing function that is closest to them (isotonic regression), so that a bin
    of few sources does not end the curve.

    Parameters
    ----------
    magnitude, fraction, weight
        Centres of the bins in increasing order, the fraction in each, and its weight; bins without weight, or whose
        fraction is NaN, are ignored.
    level
        The level.

    Returns
    -------
    float
        The magnitude, interpolated between the bins; NaN if the fraction is nowhere above, or nowhere below the level.
    """
    known = np.isfinite(fraction) & (np.asarray(weight) > 0)
    if not known.any():
        return float("nan")
    x, values = magnitude[known], isotonic_regression(fraction[known], weights=weight[known], increasing=False).x
    below = int(np.argmax(values < level))
    if values[0] < level or values[below] >= level:
        return float("nan")
    ends = slice(below - 1, below + 1)
    return float(np.interp(level, values[ends][::-1], x[ends][::-1]))


def area_of_survey(
    survey: Survey, ra: np.ndarray, dec: np.ndarray, *, margin: float = 2.0, tracts: str = ""
) -> np.ndarray:
    """Whether positions are inside the patches of a survey, and at least a margin away from the edges of the images.

    Parameters
    ----------
    survey
        The survey.
    ra, dec
        Positions, deg.
    margin
        Distance from the edge of the images, arcsec.
    tracts
        Tracts to consider, separated by spaces; all if empty.
    """
    inside, made = np.zeros(len(ra), bool), patches_to_make(survey, tracts)
    for patch in survey_patches(survey, tracts):
        if patch.id not in made.get(patch.tract.id, ()):
            continue
        wcs, box = patch.tract.wcs, patch.inner_bbox
        x, y = wcs.all_world2pix(np.asarray(ra, float), np.asarray(dec, float), 0)
        pixel = float(np.sqrt(abs(np.linalg.det(wcs.pixel_scale_matrix)))) * 3600
        # Where a patch ends its tract, outer and inner box end alike, and the margin has to be cut from the inner one.
        outer, edge = patch.image_bbox, margin / pixel
        inside |= (
            (x >= max(box.x.min - 0.5, outer.x.min - 0.5 + edge))
            & (x <= min(box.x.max + 0.5, outer.x.max + 0.5 - edge))
            & (y >= max(box.y.min - 0.5, outer.y.min - 0.5 + edge))
            & (y <= min(box.y.max + 0.5, outer.y.max + 0.5 - edge))
        )
    return inside


def completeness_curve(
    truth: Table, catalogue: Table, band: str, *, edges: np.ndarray, kind: str | None = None
) -> Curve:
    """The fraction of the true sources of each magnitude that have an object.

    Parameters
    ----------
    truth
        True sources inside the area of the catalogue.
    catalogue
        Catalogue with one row per object.
    band
        Label of the band of the true magnitude.
    edges
        Edges of the bins, AB mag.
    kind
        Type of the true sources, ``star`` or ``galaxy``; both if None.

    Notes
    -----
    Sources and objects are matched one to one, as mutual nearest neighbours: a source blended into a neighbour counts
    as lost.
    """
    wanted = truth if kind is None else truth[np.asarray(truth["type"]) == kind]
    depths = depth_at(catalogue, wanted["ra"], wanted["dec"], [band])
    wanted = wanted[np.isfinite(depths[band])]
    magnitude = magnitude_of(np.asarray(wanted[f"flux_{band}"]))
    pairs = match_to_truth(wanted, catalogue["coord_ra"], catalogue["coord_dec"])
    found = np.zeros(len(wanted), bool)
    found[pairs.first] = True
    return Curve(edges, np.histogram(magnitude, edges)[0], np.histogram(magnitude[found], edges)[0])


def purity_curve(
    truth: Table, catalogue: Table, band: str, *, edges: np.ndarray, flux: str = "psfFlux", snr_min: float = 5.0
) -> Curve:
    """The fraction of the objects of each measured magnitude that have a true source within the matching radius.

    Parameters
    ----------
    truth
        All true sources, including those outside the area.
    catalogue
        Catalogue with one row per object.
    band, flux
        Band and type of the flux that gives the magnitude.
    edges
        Edges of the bins, AB mag.
    snr_min
        Smallest signal to noise of an object in the band.
    """
    needed = catalogue["coord_ra", "coord_dec", f"{band}_{flux}"]
    objects = needed[good_flux(catalogue, f"{band}_{flux}", snr_min=snr_min)]
    magnitude = magnitude_of(np.asarray(objects[f"{band}_{flux}"]))
    pairs = match_to_truth(truth, objects["coord_ra"], objects["coord_dec"])
    real = np.zeros(len(objects), bool)
    real[pairs.second] = True
    return Curve(edges, np.histogram(magnitude, edges)[0], np.histogram(magnitude[real], edges)[0])


def expected_completeness(catalogue: Table, band: str, magnitude: np.ndarray, *, threshold: float = 5.0) -> np.ndarray:
    """The probability that a point source is measured above a threshold in one band, averaged over the depths.

    The measured flux has a Gaussian distribution about the true flux, with an error of a fifth of the 5-sigma flux,
    which is exact for a forced flux in background noise. Losses due to blending are not included.

    Parameters
    ----------
    catalogue
        Catalogue with ``{band}_depth5`` and ``{band}_usable``.
    band
        Label of the band.
    magnitude
        AB magnitudes of the sources.
    threshold
        Threshold in sigma.

    Returns
    -------
    chance
        Probability, one value per magnitude; NaN if the band has no depth anywhere.
    """
    depth = np.asarray(catalogue[f"{band}_depth5"], float)[np.asarray(catalogue[f"{band}_usable"], bool)]
    sigma = flux_of(depth[np.isfinite(depth)]) / 5
    if not len(sigma):
        return np.full(len(magnitude), np.nan)
    sample = np.percentile(sigma, np.linspace(0.5, 99.5, 100))
    return norm.sf(threshold - flux_of(magnitude)[:, None] / sample).mean(axis=1)


def depth_map(catalogue: Table, band: str, *, cells: int = 24) -> tuple[np.ndarray, tuple[float, float, float, float]]:
    """Median 5-sigma depth in cells of the sky.

    Parameters
    ----------
    catalogue
        The catalogue.
    band
        Label of the band.
    cells
        Number of cells along each axis.

    Returns
    -------
    depth
        Depth [dec, ra] in AB mag; NaN where no object has a depth.
    extent
        Edges of the map in the coordinates of `dmu0.sky.sphere.SkyPlane`, deg: (x low, x high, y low, y high). These
        are RA, below 0 or above 360 on one side of a field across RA 0, and Dec, or near a pole offsets.
    """
    ra, dec = np.asarray(catalogue["coord_ra"], float), np.asarray(catalogue["coord_dec"], float)
    if not len(ra):
        return np.full((cells, cells), np.nan), (0.0, 1.0, 0.0, 1.0)
    x, y = SkyPlane.around(ra, dec).place(ra, dec)
    extent = (x.min(), x.max(), y.min(), y.max())
    depth = np.asarray(catalogue[f"{band}_depth5"], float)
    known = np.isfinite(depth)
    column = np.clip((cells * (x - extent[0]) / max(extent[1] - extent[0], 1e-9)).astype(int), 0, cells - 1)
    row = np.clip((cells * (y - extent[2]) / max(extent[3] - extent[2], 1e-9)).astype(int), 0, cells - 1)
    number = (row * cells + column)[known]
    order = np.argsort(number, kind="stable")
    found, starts = np.unique(number[order], return_index=True)
    result = np.full(cells * cells, np.nan)
    for cell, values in zip(found, np.split(depth[known][order], starts[1:]), strict=True):
        result[cell] = np.median(values)
    return result.reshape(cells, cells), extent


def selection_table(
    truth: Table | None, catalogue: Table, bands: Sequence[str], *, survey: Survey, edges: np.ndarray
) -> Table:
    """Completeness, purity and expected completeness of every band in bins of magnitude.

    Returns
    -------
    table
        band, magnitude, n_true, n_found, n_objects, n_real (-1 without truth), completeness and purity (NaN without
        truth or in empty bins), expected (`expected_completeness`).
    """
    rows = []
    middle = 0.5 * (edges[1:] + edges[:-1])
    inside = None if truth is None else truth[area_of_survey(survey, truth["ra"], truth["dec"])]
    for band in bands:
        expected = expected_completeness(catalogue, band, middle)
        if truth is None:
            rows += [(band, m, -1, -1, -1, -1, np.nan, np.nan, e) for m, e in zip(middle, expected, strict=True)]
            continue
        whole = completeness_curve(inside, catalogue, band, edges=edges)
        pure = purity_curve(truth, catalogue, band, edges=edges)
        counts = (middle, whole.total, whole.chosen, pure.total, pure.chosen, whole.fraction, pure.fraction, expected)
        rows += [(band, *values) for values in zip(*counts, strict=True)]
    names = ["band", "magnitude", "n_true", "n_found", "n_objects", "n_real", "completeness", "purity", "expected"]
    dtypes = ["U8", float, int, int, int, int, float, float, float]
    return Table(rows=rows, names=names, dtype=dtypes, units={"magnitude": "mag(AB)"})
