"""Reviews of coadds: statistics, small pictures, empty apertures and stars, from one coadd at a time."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import sep
from astropy.table import Table
from lsst.daf.butler import Butler, DatasetRef
from lsst.images.cells import CellCoadd
from scipy import ndimage

from dmu0.progress import tqdm
from dmu0.robust_statistics import robust_scatter
from dmu0.sky.skymap import make_sky_map
from dmu0.surveys import Survey
from dmu1.steps import patches_to_make
from dmu4.coadds.cell_coadd import has_data, pixel_scale
from dmu4.coadds.correlated_noise import aperture_sums
from dmu4.coadds.maps import DEPTH_RADIUS, depth_map, seeing_map
from dmu4.psf.stars import find_sources, select_stars
from dmu4.tasks.coadd_patch import CoaddPatchConfig, CoaddPatchTask
from obs_vista.bands import in_band_order
from obs_vista.masks import BIT, from_mask

PICTURE = 300
"""Number of pixels along the longer side of a picture."""

STAR_RADII = (1.0, 2.0)
"""Radii in arcsec of the flux ratio that compares the shape of a star with the PSF of the coadd."""


@dataclass(frozen=True)
class CoaddReview:
    """The data of one coadd for figures and checks.

    Attributes
    ----------
    tract, patch, band
        Tract, patch and band of the coadd.
    extent
        Edges of the coadd in pixels of the tract: left, right, bottom, top.
    statistics
        The coadd's metadata.
    picture
        Signal to noise of binned pixels; NaN without data.
    clipped, halos, exposures
        Binned maps: fraction of pixels with a rejected input, fraction in the halos of bright stars, number of inputs.
    depth, seeing
        Maps of the cells: AB mag of 5 sigma in an aperture of 2 arcsec diameter, and FWHM in arcsec.
    empty
        Scatter of empty apertures of 2 arcsec diameter relative to the quoted error, without and with
        `aperture_error_scale`, and the number of apertures.
    stars
        Columns: relative deviation of the flux ratio of a star in `STAR_RADII` from that of its cell's PSF; number of
        inputs; whether any of its pixels is INEXACT_PSF (1 or 0).
    """

    tract: int
    patch: int
    band: str
    extent: tuple[float, float, float, float]
    statistics: dict[str, int | float | str]
    picture: np.ndarray
    clipped: np.ndarray
    halos: np.ndarray
    exposures: np.ndarray
    depth: np.ndarray
    seeing: np.ndarray
    empty: tuple[float, float, int]
    stars: np.ndarray


def _has(butler: Butler, dataset_type: str) -> bool:
    return any(known.name == dataset_type for known in butler.registry.queryDatasetTypes(dataset_type))


def find_coadds(butler: Butler, survey: Survey, tracts: str = "") -> list[DatasetRef]:
    """The coadds of a release, by tract, patch and band from blue to red."""
    if not _has(butler, "deep_coadd"):
        return []
    chosen = patches_to_make(survey, tracts)
    refs = [
        ref
        for ref in butler.query_datasets("deep_coadd", explain=False, limit=None)
        if int(ref.dataId["patch"]) in chosen.get(int(ref.dataId["tract"]), ())
    ]
    bands = in_band_order(str(ref.dataId["band"]) for ref in refs)
    return sorted(refs, key=lambda r: (r.dataId["tract"], r.dataId["patch"], bands.index(r.dataId["band"])))


def review_coadds(butler: Butler, survey: Survey, tracts: str = "") -> list[CoaddReview]:
    """Review all coadds of a release; the next one is read while the previous ones are reviewed."""
    refs, sky_map = find_coadds(butler, survey, tracts), make_sky_map(survey.sky_map)
    reviews: list[CoaddReview | Future[CoaddReview]] = []
    with ThreadPoolExecutor(survey.engine.threads) as pool:
        for number, ref in enumerate(tqdm(refs, desc="Coadds", unit="coadd")):
            patch = sky_map.tract(int(ref.dataId["tract"])).patch(int(ref.dataId["patch"]))
            exposures = None
            if _has(butler, "coadd_exposures"):
                found = butler.find_dataset("coadd_exposures", ref.dataId)
                exposures = butler.get(found).array if found is not None else None
            coadd, scale = butler.get(ref), pixel_scale(patch)
            reviews.append(pool.submit(review_coadd, coadd, exposures, patch=patch.id, scale=scale))
            waiting = number - survey.engine.threads  # no more are in memory than there are threads, and one
            if waiting >= 0:
                reviews[waiting] = reviews[waiting].result()
        return [review.result() if isinstance(review, Future) else review for review in reviews]


def review_coadd(coadd: CellCoadd, exposures: np.ndarray | None, *, patch: int, scale: float) -> CoaddReview:
    """Review one coadd.

    Parameters
    ----------
    coadd
        The coadd.
    exposures
        Number of inputs of each pixel; None: 1 where there are data.
    patch
        Number of the patch on the sky map, which may differ from that in a coadd of another pipeline.
    scale
        Pixel size in arcsec.
    """
    mask = from_mask(coadd.mask)
    image, variance, good = _planes(coadd, mask)
    exposures = good.astype(np.int16) if exposures is None else exposures
    factor = _binning(good)
    return CoaddReview(
        tract=coadd.tract,
        patch=patch,
        band=str(coadd.band),
        extent=(coadd.bbox.x.start, coadd.bbox.x.stop, coadd.bbox.y.start, coadd.bbox.y.stop),
        statistics=dict(coadd.metadata),
        picture=picture_of(image, variance, good),
        clipped=binned(((mask & BIT["CLIPPED"]) != 0).astype(float), factor),
        halos=binned(((mask & BIT["BRIGHT_OBJECT"]) != 0).astype(float), factor),
        exposures=binned(exposures.astype(float), factor),
        depth=depth_map(coadd, pixel_scale=scale),
        seeing=seeing_map(coadd, pixel_scale=scale),
        empty=empty_apertures(coadd, image, variance, good, scale=scale),
        stars=star_shapes(coadd, image, variance, mask, exposures, scale=scale),
    )


def _planes(coadd: CellCoadd, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image and variance, 0 where there are no data, and whether each pixel has data."""
    good = has_data(mask)
    image, variance = (np.where(good, plane.array, 0).astype(np.float32) for plane in (coadd.image, coadd.variance))
    return image, variance, good


def picture_of(image: np.ndarray, variance: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Signal to noise of binned pixels; NaN without data."""
    factor = _binning(good)
    weight = binned(good.astype(float), factor)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(weight > 0, binned(image, factor) / np.sqrt(binned(variance, factor) / factor**2), np.nan)


def _binning(array: np.ndarray) -> int:
    return max(max(array.shape) // PICTURE, 1)


def binned(array: np.ndarray, factor: int) -> np.ndarray:
    """Means over blocks of factor x factor pixels; an incomplete last row or column is dropped."""
    ny, nx = (size // factor for size in array.shape)
    return array[: ny * factor, : nx * factor].reshape(ny, factor, nx, factor).mean(axis=(1, 3))


def sky_pixels(image: np.ndarray, variance: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Pixels with data outside sources, which are regions 2.5 sigma above the smoothed sky, widened by 7 pixels.

    This is independent of `dmu4.patches.sky.source_mask`, which requires the width of a PSF: images before coaddition
    use the same criterion, and the errors of the pipeline should not be checked with its own definition of empty sky.
    """
    scaled = np.divide(image, np.sqrt(variance), out=np.zeros_like(image), where=variance > 0)
    smooth = ndimage.gaussian_filter(scaled, 2.0)
    level = np.median(smooth[good])
    bright = smooth - level > 2.5 * robust_scatter(smooth[good])
    return good & ~ndimage.maximum_filter(bright, size=15)


def empty_apertures(
    coadd: CellCoadd, image: np.ndarray, variance: np.ndarray, good: np.ndarray, *, scale: float
) -> tuple[float, float, int]:
    """Scatter of empty apertures relative to their error, without and with error scale, and their number."""
    if not good.any():
        return float("nan"), float("nan"), 0
    sky = sky_pixels(image, variance, good)
    sums, variances, _, _ = aperture_sums(image, variance, sky, radius=DEPTH_RADIUS / scale)
    ratio = robust_scatter(sums / np.sqrt(variances))
    return ratio, ratio / float(coadd.metadata.get("aperture_error_scale", np.nan)), len(sums)


def star_shapes(
    coadd: CellCoadd, image: np.ndarray, variance: np.ndarray, mask: np.ndarray, exposures: np.ndarray, *, scale: float
) -> np.ndarray:
    """Compare bright stars with the PSF of their cell; see `CoaddReview.stars`."""
    seeing = float(coadd.metadata.get("seeing", np.nan)) / scale
    if not np.isfinite(seeing):
        return np.zeros((0, 3))
    sources = find_sources(image, np.sqrt(np.where(variance > 0, variance, 1e30)), mask, fwhm=seeing, threshold=5.0)
    if not len(sources):
        return np.zeros((0, 3))
    stars = np.flatnonzero(select_stars(sources, fwhm=seeing, min_signal_to_noise=80.0))
    x, y = sources.x[stars], sources.y[stars]
    own = _flux_ratio(image, x, y, scale)
    reach, rows = round(STAR_RADII[1] / scale), []
    for n in range(len(stars)):
        i, j = round(float(x[n])), round(float(y[n]))
        inside = reach <= i < image.shape[1] - reach and reach <= j < image.shape[0] - reach
        cell = coadd.grid.index_of(x=i + coadd.bbox.x.start, y=j + coadd.bbox.y.start)
        if not inside or not coadd.bounds.contains_cell(cell):
            continue
        stamp = np.ascontiguousarray(coadd.psf[cell].array, np.float32)
        middle = np.array([stamp.shape[0] // 2], float)
        around = mask[j - reach : j + reach + 1, i - reach : i + reach + 1]
        inexact = float(((around & BIT["INEXACT_PSF"]) != 0).any())
        rows.append((own[n] / _flux_ratio(stamp, middle, middle, scale)[0] - 1, exposures[j, i], inexact))
    return np.array(rows, float).reshape(-1, 3)


def _flux_ratio(image: np.ndarray, x: np.ndarray, y: np.ndarray, scale: float) -> np.ndarray:
    """Ratio of the fluxes in the smaller and the larger circle of `STAR_RADII`."""
    small, large = (sep.sum_circle(image, x, y, radius / scale, subpix=5)[0] for radius in STAR_RADII)
    return small / large


def without_rejection(butler: Butler, survey: Survey, review: CoaddReview) -> np.ndarray | None:
    """The picture of a coadd made without the comparison of epochs; None if it was imported."""
    where = {"skymap": survey.sky_map.name, "tract": review.tract, "patch": review.patch, "band": review.band}
    if "n_inputs" not in review.statistics:
        return None
    query = "skymap = '{skymap}' AND tract = {tract} AND patch = {patch} AND band = '{band}'".format(**where)
    images = butler.query_datasets("visit_image", where=query, explain=False, limit=None)
    summaries = [butler.get("visit_summary", visit=visit) for visit in sorted({ref.dataId["visit"] for ref in images})]
    patch = make_sky_map(survey.sky_map).tract(review.tract).patch(review.patch)
    config = CoaddPatchConfig()
    config.reject, config.noisePlanes, config.threads = False, 0, survey.engine.threads
    task = CoaddPatchTask(config=config)
    tied = butler.find_dataset("common_zero_points", where) if _has(butler, "common_zero_points") else None
    common = None if tied is None else butler.get(tied)
    inputs = task.open_inputs([butler.getDeferred(ref) for ref in images], summaries, patch, common=common)
    coadd = task.run(inputs, patch, skymap=survey.sky_map.name, band=review.band).coadd
    return picture_of(*_planes(coadd, from_mask(coadd.mask)))


def summarise_coadds(reviews: Iterable[CoaddReview]) -> Table:
    """One row per coadd: inputs, coverage, seeing, depth, rejection, error scale and scatter of empty apertures."""
    rows = [
        (
            review.tract,
            review.patch,
            review.band,
            int(review.statistics.get("n_inputs", 1)),
            float(review.statistics.get("coverage", np.nan)),
            float(review.statistics.get("seeing", np.nan)),
            float(review.statistics.get("depth5", np.nan)),
            float(review.statistics.get("clipped_fraction", np.nan)),
            float(review.statistics.get("aperture_error_scale", np.nan)),
            review.empty[1],
        )
        for review in reviews
    ]
    names = (
        "tract",
        "patch",
        "band",
        "inputs",
        "coverage",
        "seeing",
        "depth5",
        "clipped",
        "error_scale",
        "empty_ratio",
    )
    table = Table(rows=rows or None, names=names, dtype=(int, int, str, int, *([float] * 6)))
    for name, unit, digits in (("seeing", "arcsec", 2), ("depth5", "mag(AB)", 2)):
        table[name].unit = unit
        table[name].info.format = f".{digits}f"
    for name in ("coverage", "clipped", "error_scale", "empty_ratio"):
        table[name].info.format = ".3f"
    return table


def of_band(reviews: Iterable[CoaddReview], band: str) -> list[CoaddReview]:
    """The reviews of one band."""
    return [review for review in reviews if review.band == band]
