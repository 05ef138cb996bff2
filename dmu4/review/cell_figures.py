"""Figures of the cells of published coadds: what each cell brings, and how much they differ."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from lsst.daf.butler import Butler
from lsst.images.cells import CellCoadd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dmu0.surveys import Survey
from dmu4.coadds.maps import depth_map, seeing_map
from dmu4.patches.cell_inputs import input_sets
from dmu4.patches.load import pixel_scale_of, planes_of_coadd
from dmu4.review.coadds import find_coadds


def published_cells(butler: Butler, survey: Survey, tracts: str = "") -> CellCoadd | None:
    """The published coadd whose cells differ most in seeing, of one patch; None if none came with PSFs of cells."""
    chosen, widest = None, -1.0
    patch = None
    for ref in find_coadds(butler, survey, tracts):
        if str(ref.dataId["band"]) not in survey.optical_bands:
            continue
        where = (int(ref.dataId["tract"]), int(ref.dataId["patch"]))
        if patch not in (None, where):
            break
        coadd = butler.get(ref)
        if not str(coadd.metadata.get("psf_source", "")).startswith("cells"):
            continue
        patch = where
        seeing = seeing_map(coadd, pixel_scale=pixel_scale_of(coadd))
        spread = float(np.nanstd(seeing) / np.nanmean(seeing))
        if spread > widest:
            chosen, widest = coadd, spread
    return chosen


def plot_cells(coadd: CellCoadd) -> Figure:
    """The visits, seeing and depth of each cell of a published coadd, and its PSFs less their mean."""
    scale, planes = pixel_scale_of(coadd), planes_of_coadd(coadd)
    rows, columns = planes.psf.shape[:2]
    step = np.array(planes.input_count.shape) // (rows, columns)
    counts = planes.input_count[step[0] // 2 :: step[0], step[1] // 2 :: step[1]][:rows, :columns]
    maps = (
        (np.where(counts > 0, counts, np.nan), "images added"),
        (seeing_map(coadd, pixel_scale=scale), "FWHM (arcsec)"),
        (depth_map(coadd, pixel_scale=scale), '5 sigma, 2" diameter (AB mag)'),
    )
    figure, axes = plt.subplots(1, 4, figsize=(14, 4.1), layout="constrained")
    labels = input_sets(coadd)
    for axis, (values, label) in zip(axes, maps, strict=False):
        shown = axis.imshow(values, origin="lower", cmap="cividis")
        bar = figure.colorbar(shown, ax=axis, location="bottom", shrink=0.85)
        bar.set_label(label)
        if label == "images added":
            bar.locator = MaxNLocator(integer=True)
        _draw_borders(axis, labels)
        axis.set_xlabel("column of cells")
    axes[0].set_ylabel("row of cells")
    _plot_stamps(axes[3], planes.psf)
    for axis in axes:
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.yaxis.set_major_locator(MaxNLocator(integer=True))
    where = f"tract {coadd.tract}, patch {coadd.patch.id}, band {coadd.band}"
    figure.suptitle(f"{where}; red: borders between cells with different visits", fontsize=10)
    return figure


def _draw_borders(axis: plt.Axes, labels: np.ndarray) -> None:
    """Lines between cells to which different images were added."""
    for i, j in np.argwhere(labels[:, 1:] != labels[:, :-1]):
        axis.plot([j + 0.5, j + 0.5], [i - 0.5, i + 0.5], color="tab:red", linewidth=1)
    for i, j in np.argwhere(labels[1:] != labels[:-1]):
        axis.plot([j - 0.5, j + 0.5], [i + 0.5, i + 0.5], color="tab:red", linewidth=1)


def _plot_stamps(axis: plt.Axes, psf: np.ndarray, *, half: int = 7) -> None:
    """The middle of the PSF of each cell less the mean of all, in per cent of the peak of the mean."""
    middle = psf.shape[2] // 2
    core = psf[:, :, middle - half : middle + half + 1, middle - half : middle + half + 1]
    mean = np.nanmean(core, axis=(0, 1))
    difference = 100 * (core - mean) / mean.max()
    rows, columns, side = (*core.shape[:2], core.shape[2])
    mosaic = difference.transpose(0, 2, 1, 3).reshape(rows * side, columns * side)
    limit = float(np.nanmax(np.abs(mosaic)))
    extent = (-0.5, columns - 0.5, -0.5, rows - 0.5)
    shown = axis.imshow(mosaic, origin="lower", cmap="RdBu_r", vmin=-limit, vmax=limit, extent=extent)
    axis.figure.colorbar(shown, ax=axis, location="bottom", shrink=0.85).set_label("PSF less mean (% of its peak)")
    axis.set_xlabel("column of cells")
