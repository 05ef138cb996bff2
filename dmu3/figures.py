"""Figures of the baseline images and catalogues."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from astropy.stats import mad_std
from astropy.table import Table
from matplotlib.figure import Figure

from dmu0.sky.skymap import Patch
from dmu0.surveys import Survey
from dmu3.catalogues import aperture_name
from dmu3.steps import image_path, read_baseline
from dmu3.truth import FluxComparison
from obs_vista.bands import BAND_ORDER, in_band_order, plain_band
from obs_vista.photometry import magnitude_of

COLOURS = dict(zip(BAND_ORDER, plt.get_cmap("cividis")(np.linspace(0, 0.95, len(BAND_ORDER))), strict=True))
MARKERS = dict(zip(BAND_ORDER, "osDv^<>ph*X", strict=True))
"""Of plain labels; the band of a second survey looks like that of the first, in another column or curve."""


def stretch(image: np.ndarray, noise: float) -> np.ndarray:
    """Pixels as grey levels: linear in the noise, logarithmic in bright sources."""
    return np.arcsinh(np.clip(image / max(noise, 1e-30), -3, None) / 2)


def plot_bands(survey: Survey, patch: Patch, *, size: int = 300) -> Figure:
    """The central part of a patch in every band, each scaled by its own noise.

    Parameters
    ----------
    survey
        The survey.
    patch
        The patch.
    size
        Side of the cutout in pixels.
    """
    have = [
        b for b in survey.bands if image_path(survey.folders[3], tract=patch.tract.id, patch=patch.id, band=b).exists()
    ]
    columns = min(max(len(have), 1), 5)
    rows = -(-max(len(have), 1) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(2.3 * columns, 2.5 * rows), squeeze=False, layout="constrained")
    for axis in axes.ravel():
        axis.set_xticks([])
        axis.set_yticks([])
        axis.axis("off")
    for axis, band in zip(axes.ravel(), have, strict=False):
        coadd = read_baseline(survey.folders[3], tract=patch.tract.id, patch=patch.id, band=band)
        y, x = _busiest(coadd.weight > 0, size)
        part, good = coadd.image[y, x], coadd.weight[y, x] > 0
        noise = float(mad_std(part[good])) if good.any() else 1.0
        axis.axis("on")
        axis.imshow(np.where(good, stretch(part, noise), np.nan), origin="lower", cmap="cividis", vmin=-0.7, vmax=3.5)
        axis.set_title(f"{band}: noise {noise:.1f} nJy", fontsize=9)
    side = size * float(np.sqrt(abs(np.linalg.det(patch.wcs.pixel_scale_matrix)))) * 3600
    figure.suptitle(f'{patch}, {side:.0f}" on a side, north up, east left', fontsize=10)
    return figure


def _busiest(good: np.ndarray, size: int) -> tuple[slice, slice]:
    """A window of the image around the centre of its data."""
    if not good.any():
        return slice(0, size), slice(0, size)
    y, x = (int(np.median(places)) for places in np.nonzero(good))
    y0 = int(np.clip(y - size // 2, 0, max(good.shape[0] - size, 0)))
    x0 = int(np.clip(x - size // 2, 0, max(good.shape[1] - size, 0)))
    return slice(y0, y0 + size), slice(x0, x0 + size)


def plot_noise(states: Table) -> Figure:
    """Pixel noise of every patch and band, as the magnitude of one sigma."""
    figure, axis = plt.subplots(figsize=(7, 3.2), layout="constrained")
    done = states[states["state"] == "done"]
    bands = in_band_order(map(str, done["band"]))
    for place, band in enumerate(bands):
        depth = magnitude_of(done["noise"][done["band"] == band])
        spread = np.linspace(-0.2, 0.2, len(depth)) if len(depth) > 1 else np.zeros(1)
        axis.plot(place + spread, depth, MARKERS[plain_band(band)], color=COLOURS[plain_band(band)], mec="k", mew=0.5)
    axis.set_xticks(range(len(bands)), bands)
    axis.set_ylabel("1 sigma of a pixel (AB mag)")
    axis.set_xlabel("band (one point per patch)")
    axis.grid(alpha=0.3)
    return figure


def plot_counts(table: Table, bands: tuple[str, ...], *, width: float = 0.5) -> Figure:
    """Number of objects above 5 sigma as a function of Kron magnitude in each band."""
    figure, axis = plt.subplots(figsize=(7, 3.8), layout="constrained")
    edges = np.arange(15, 29 + width, width)
    for band in bands:
        flux, error = np.asarray(table[f"{band}_kronFlux"]), np.asarray(table[f"{band}_kronFluxErr"])
        counts, _ = np.histogram(magnitude_of(flux[flux > 5 * error]), edges)
        if counts.any():
            middle = edges[:-1] + width / 2
            plain = plain_band(band)
            axis.plot(middle, counts, marker=MARKERS[plain], ms=4, color=COLOURS[plain], label=band)
    axis.set_yscale("symlog", linthresh=1)
    axis.set_xlabel("Kron magnitude (AB)")
    axis.set_ylabel(f"objects per {width} mag")
    axis.legend(ncols=2, fontsize=8)
    axis.grid(alpha=0.3)
    return figure


def plot_depths(table: Table, bands: tuple[str, ...], *, diameter: float = 2.0) -> Figure:
    """Quoted 5-sigma limits in a circular aperture, for all objects in each band."""
    figure, axis = plt.subplots(figsize=(7, 3.4), layout="constrained")
    errors = [np.asarray(table[f"{band}_apFluxErr_{aperture_name(diameter)}"]) for band in bands]
    limits = [magnitude_of(5 * error[np.isfinite(error) & (error > 0)]) for error in errors]
    filled = [(band, values) for band, values in zip(bands, limits, strict=True) if len(values)]
    if filled:
        axis.boxplot([values for _, values in filled], whis=(2, 98), showfliers=False)
        axis.set_xticks(range(1, len(filled) + 1), [band for band, _ in filled])
    axis.set_xlabel("band")
    axis.set_ylabel(f'5 sigma in {diameter:.0f}" diameter (AB mag)')
    axis.grid(alpha=0.3)
    return figure


def plot_flux_comparison(comparisons: list[FluxComparison]) -> Figure:
    """Ratio of measured to true flux of isolated stars in each band."""
    columns = min(len(comparisons), 5)
    rows = -(-len(comparisons) // columns)
    size = (2.2 * columns + 0.6, 2.0 * rows + 0.5)
    figure, axes = plt.subplots(
        rows, columns, figsize=size, sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    for axis, item in zip(axes.ravel(), comparisons, strict=False):
        axis.axhline(1, color="k", lw=0.8)
        axis.plot(
            magnitude_of(item.true), item.ratio, MARKERS[item.band], ms=3, color=COLOURS[item.band], mec="k", mew=0.2
        )
        axis.set_title(f"{item.band}: {100 * item.bias:+.1f}%, {len(item)} stars", fontsize=8)
        axis.set_ylim(0.8, 1.2)
        axis.grid(alpha=0.3)
    figure.supxlabel("true magnitude (AB)", fontsize=9)
    figure.supylabel("measured / true flux", fontsize=9)
    return figure
