"""Reviews of the object table: summaries, figures, and the noise of empty apertures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from astropy.table import Table
from astropy.visualization import make_lupton_rgb
from lsst.daf.butler import Butler
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.spatial import cKDTree

from dmu0.robust_statistics import clipped_moments
from dmu0.sky.sphere import unit_vectors
from dmu4.measurement.apertures import circles, sum_apertures
from dmu4.objects.columns import REFERENCE_PIXEL
from dmu4.objects.consolidate import stack_patches
from dmu4.patches.cube import PatchImages
from dmu4.patches.load import load_images
from dmu4.patches.sky import meshes_of, take_sky_away
from obs_vista.photometry import magnitude_of

STAR, GALAXY = "#D55E00", "#0072B2"
"""Vermilion and blue of the colour-blind-safe palette of Okabe and Ito."""


def read_objects(butler: Butler) -> Table:
    """The objects of all tracts of a release in one table, without rows and columns if there are none."""
    if not butler.registry.queryDatasetTypes("object"):
        return Table()
    refs = butler.query_datasets("object", explain=False, limit=None)
    tables = [butler.get(ref) for ref in sorted(refs, key=lambda ref: ref.dataId["tract"])]
    return stack_patches(tables) if tables else Table()


def bands_of(objects: Table) -> list[str]:
    """Bands with columns in a table, in their order in the table."""
    return [name.removesuffix("_psfFlux") for name in objects.colnames if name.endswith("_psfFlux")]


def read_patch(butler: Butler, *, skymap: str, tract: int, patch: int) -> PatchImages | None:
    """The images of all bands of a patch, minus the sky measured by the detection; None if it has no coadd."""
    known = butler.registry.queryDatasetTypes(["deep_coadd", "sky_mesh"])
    if len(list(known)) < 2:
        return None
    where = {"skymap": skymap, "tract": tract, "patch": patch}
    refs = butler.query_datasets("deep_coadd", data_id=where, explain=False, limit=None)
    sky = butler.query_datasets("sky_mesh", data_id=where, explain=False)
    if not refs or not sky:
        return None
    images = load_images([butler.getDeferred(ref) for ref in refs])
    take_sky_away(images, meshes_of(butler.get(sky[0])))
    return images


def band_summary(objects: Table) -> Table:
    """One row per band: numbers of detected and of usable primary objects, depth and flux floor."""
    primary = objects[np.asarray(objects["detect_isPrimary"])] if len(objects) else objects
    rows = []
    for band in bands_of(primary) if len(primary) else ():
        covered = np.asarray(primary[f"{band}_coverage"]) > 0
        rows.append(
            (
                band,
                int(np.sum(primary[f"{band}_detected"])),
                int(np.sum(primary[f"{band}_usable"])),
                round(float(np.mean(covered)), 3),
                median_of(primary[f"{band}_depth5"], 2),
                median_of(primary[f"{band}_fluxFloor"], 4),
                int(np.median(primary[f"{band}_inputCount"])),
            )
        )
    names = ("band", "detected", "usable", "covered", "depth5", "flux_floor", "images")
    return Table(rows=rows or None, names=names, dtype=(str, int, int, float, float, float, int))


def median_of(column: np.ndarray, digits: int) -> float:
    """Median of the finite values, NaN if there are none."""
    values = np.asarray(column, float)
    values = values[np.isfinite(values)]
    return round(float(np.median(values)), digits) if len(values) else np.nan


def three_bands(bands: Sequence[str]) -> tuple[str, str, str]:
    """Red, green and blue bands for a picture: Ks, i and g if they exist, else the reddest, a middle and the bluest."""
    if {"vk", "i", "g"} <= set(bands):
        return "vk", "i", "g"
    return bands[-1], bands[len(bands) // 2], bands[0]


def plot_patch(cube: PatchImages, objects: Table, *, zoom: int = 300) -> Figure:
    """A colour image of a patch, and its central part with all objects marked.

    Parameters
    ----------
    cube
        All bands of the patch.
    objects
        Objects of its tract.
    zoom
        Side of the enlarged part in pixels.
    """
    chosen = three_bands(cube.bands)
    planes = []
    for band in chosen:
        number = cube.bands.index(band)
        image = cube.plane("image", number)
        planes.append(image / max(clipped_moments(image[cube.good[..., number]][::7])[1], 1e-9))
    picture = make_lupton_rgb(*planes, stretch=12, Q=8, minimum=-2)
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 6.6), layout="constrained")
    (ny, nx), half = cube.shape, zoom // 2
    for axes in (left, right):
        axes.imshow(picture, origin="lower", extent=_extent(cube), interpolation="nearest")
        axes.set_xlabel("x in the tract (px)")
    left.set_ylabel("y in the tract (px)")
    left.set_title(f"red {chosen[0]}, green {chosen[1]}, blue {chosen[2]}")
    middle_x, middle_y = cube.x0 + nx / 2, cube.y0 + ny / 2
    right.set(xlim=(middle_x - half, middle_x + half), ylim=(middle_y - half, middle_y + half))
    extended = np.asarray(objects["refExtendedness"])
    for kind, colour, marker, label in (
        (0, "w", "+", "point-like"),
        (1, "w", "o", "extended"),
        (None, "y", "x", "unsure"),
    ):
        mine = ~np.isfinite(extended) if kind is None else extended == kind
        style = {"facecolors": "none"} if marker == "o" else {}
        colours = {"edgecolors": colour} if marker == "o" else {"c": colour}
        right.scatter(
            objects["x"][mine], objects["y"][mine], s=60, marker=marker, lw=0.8, label=label, **style, **colours
        )
    right.legend(loc="upper right", fontsize=8, facecolor="0.2", labelcolor="w")
    right.set_title("central part, with objects")
    return figure


def _extent(cube: PatchImages) -> tuple[float, float, float, float]:
    (ny, nx) = cube.shape
    return cube.x0 - 0.5, cube.x0 + nx - 0.5, cube.y0 - 0.5, cube.y0 + ny - 0.5


def plot_counts(objects: Table) -> Figure:
    """Objects per magnitude and the 5-sigma depth, one panel per band."""
    bands = bands_of(objects)
    primary = objects[np.asarray(objects["detect_isPrimary"])]
    columns = min(5, len(bands))
    rows = -(-len(bands) // columns)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(2.7 * columns, 2.5 * rows),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    bins = np.arange(15, 28.01, 0.5)
    for axis, band in zip(axes.flat, bands, strict=False):
        seen = np.asarray(primary[f"{band}_detected"])
        axis.hist(magnitude_of(primary[f"{band}_kronFlux"][seen]), bins=bins, histtype="step", color=GALAXY, lw=1.5)
        depth = median_of(primary[f"{band}_depth5"], 2)
        axis.axvline(depth, color=STAR, ls="--")
        axis.set_title(f"{band}: 5 sigma at {depth:.1f}", fontsize=10)
        axis.set_yscale("log")
    for axis in axes.flat[len(bands) :]:
        axis.set_visible(False)
    figure.supxlabel("Kron magnitude (AB)")
    figure.supylabel("objects per 0.5 mag")
    return figure


def plot_morphology(objects: Table) -> Figure:
    """Separation of stars and galaxies by the difference of aperture and point-source magnitudes, and by colours."""
    bands = bands_of(objects)
    primary = objects[np.asarray(objects["detect_isPrimary"])]
    band = "i" if "i" in bands else bands[0]
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.8), layout="constrained")
    point = magnitude_of(primary[f"{band}_psfFlux"])
    excess = magnitude_of(primary[f"{band}_ap12Flux"]) - point
    extended = np.asarray(primary[f"{band}_extendedness"])
    for kind, colour, marker, label in ((1, GALAXY, "o", "extended"), (0, STAR, "^", "point-like")):
        mine = extended == kind
        left.scatter(point[mine], excess[mine], s=8, c=colour, marker=marker, label=label, alpha=0.6, lw=0)
    left.set(ylim=(0.5, -2.5), xlabel=f"{band} point-source magnitude (AB)")
    left.set_ylabel(f"{band}: aperture (2 arcsec radius) - point source (mag)")
    left.legend()
    _plot_colours(right, primary, bands)
    return figure


def _plot_colours(axis: Axes, primary: Table, bands: Sequence[str]) -> None:
    """Two colours of the bright objects: g - i and J - Ks if they exist, else those of the first and last bands."""
    if len(bands) < 3:
        axis.text(0.5, 0.5, f"no two colours of {' and '.join(bands)} alone", ha="center", transform=axis.transAxes)
        axis.set_axis_off()
        return
    blue, red = (("g", "i"), ("vj", "vk")) if {"g", "i", "vj", "vk"} <= set(bands) else (bands[:2], bands[-2:])
    good = np.ones(len(primary), bool)
    for name in {*blue, *red}:
        flux, error = primary[f"{name}_gaap1p0Flux"], primary[f"{name}_gaap1p0FluxErr"]
        good &= ~np.asarray(primary[f"{name}_gaap1p0Flux_flag"]) & (np.asarray(flux) > 10 * np.asarray(error))
    colours = [
        magnitude_of(primary[f"{a}_gaap1p0Flux"]) - magnitude_of(primary[f"{b}_gaap1p0Flux"]) for a, b in (blue, red)
    ]
    reference = np.asarray(primary["refExtendedness"])
    for kind, colour, marker in ((1, GALAXY, "o"), (0, STAR, "^")):
        mine = good & (reference == kind)
        axis.scatter(colours[0][mine], colours[1][mine], s=10, c=colour, marker=marker, alpha=0.7, lw=0)
    axis.set(xlabel=f"{blue[0]} - {blue[1]} (AB, GAaP)", ylabel=f"{red[0]} - {red[1]} (AB, GAaP)")


def empty_aperture_ratios(cubes: Iterable[PatchImages], objects: Table, *, count: int = 6000) -> Table:
    """Scatter of apertures of 2 arcsec radius between the objects, relative to the errors quoted in the table.

    Sample positions are at least 3 arcsec from every object, and 8 arcsec from those above 50 sigma in the band, which
    have bright wings.

    Parameters
    ----------
    cubes
        All bands of each patch, minus their residual sky. A few patches are enough; a single one is accurate to 5%.
    objects
        Objects of the tract.
    count
        Number of positions to try in each patch.

    Returns
    -------
    Table
        Columns band, samples, ratio, error (the sampling error of the ratio: circles that overlap count once) and
        offset (median flux over the quoted error, which the residual sky shifts); the last three are NaN if there are
        fewer than 50 samples.
    """
    pulls: dict[str, list[tuple[np.ndarray, int]]] = {}
    for cube in cubes:
        for band, found in _empty_pulls(cube, objects, count).items():
            pulls.setdefault(band, []).append(found)
    rows = []
    for band, parts in pulls.items():
        values, independent = np.concatenate([one for one, _ in parts]), sum(number for _, number in parts)
        known = values[np.isfinite(values)]
        level, ratio = clipped_moments(known) if len(known) >= 50 else (np.nan, np.nan)
        error = ratio / np.sqrt(2 * max(independent, 1))
        rows.append((band, len(values), round(float(ratio), 3), round(float(error), 3), round(float(level), 3)))
    names = ("band", "samples", "ratio", "error", "offset")
    return Table(rows=rows or None, names=names, dtype=(str, int, float, float, float))


def _empty_pulls(cube: PatchImages, objects: Table, count: int) -> dict[str, tuple[np.ndarray, int]]:
    """Band -> ratio of flux to quoted error at the sample positions of one patch, NaN without a quoted error; and the
    number of circles that would cover the same area without overlap."""
    rng = np.random.default_rng(3)
    radius = 12 * REFERENCE_PIXEL / cube.pixel_scale
    x, y = rng.uniform(radius, cube.shape[1] - radius, count), rng.uniform(radius, cube.shape[0] - radius, count)
    samples = np.column_stack([x, y])
    known = np.column_stack([objects["x"] - cube.x0, objects["y"] - cube.y0])
    free = cKDTree(known).query(samples)[0] * cube.pixel_scale > 3
    planes = (cube.image, cube.variance, cube.good)
    sums = sum_apertures(*planes, x=x, y=y, conics=circles([radius], length=count))
    of_objects = sum_apertures(*planes, x=known[:, 0], y=known[:, 1], conics=circles([radius], length=len(known)))
    pulls = {}
    for number, band in enumerate(cube.bands):
        error, flux = (np.asarray(objects[f"{band}_{name}"]) for name in ("ap12FluxErr", "ap12Flux"))
        bright, faint = flux > 50 * error, (flux < 10 * error) & ~np.asarray(objects[f"{band}_ap12Flux_flag"])
        faint &= of_objects.variance[:, 0, number] > 0
        chosen = free & (sums.filled[:, 0, number] > 0.99)
        if bright.any():
            chosen &= cKDTree(known[bright]).query(samples)[0] * cube.pixel_scale > 8
        values = np.full(np.count_nonzero(chosen), np.nan)
        if faint.any():
            _, nearest = cKDTree(known[faint]).query(samples[chosen])
            # The error that the table would quote: from the local variance, times the ratio for nearby objects.
            factor = error[faint] / np.sqrt(of_objects.variance[faint, 0, number])
            quoted = factor[nearest] * np.sqrt(sums.variance[chosen, 0, number])
            values = sums.flux[chosen, 0, number] / quoted
        # Squares of the area of a circle that contain a position.
        squares = np.unique(np.floor(samples[chosen] / (np.sqrt(np.pi) * radius)), axis=0)
        pulls[band] = (values, len(squares))
    return pulls


def duplicate_primaries(objects: Table, *, radius: float) -> int:
    """Number of pairs of primary rows of different patches within ``radius`` arcsec of each other."""
    primary = objects[np.asarray(objects["detect_isPrimary"])]
    tree = cKDTree(unit_vectors(np.asarray(primary["coord_ra"]), np.asarray(primary["coord_dec"])))
    pairs = tree.query_pairs(2 * np.sin(np.radians(radius / 3600) / 2), output_type="ndarray")
    patch = np.asarray(primary["patch"])
    return int(np.sum(patch[pairs[:, 0]] != patch[pairs[:, 1]]))


def plot_empty(ratios: Table) -> Figure:
    """Ratio of the scatter of empty apertures to the quoted error in each band."""
    figure, axis = plt.subplots(figsize=(7.5, 3.4), layout="constrained")
    place = np.arange(len(ratios))
    axis.axhspan(0.9, 1.1, color="0.9", label="1 +- 0.1")
    axis.errorbar(place, ratios["ratio"], ratios["error"], fmt="o", color=STAR, label="scatter / quoted error")
    axis.set_xticks(place, [f"{band}\n{n}" for band, n in ratios.iterrows("band", "samples")])
    axis.set(ylim=(0, None), xlabel="band and number of samples", ylabel="ratio, apertures of 2 arcsec radius")
    axis.legend()
    return figure
