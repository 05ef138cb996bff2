"""Figures of the baseline images and catalogues."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from astropy.stats import mad_std
from astropy.table import Table
from matplotlib.figure import Figure

from dmu0.figure_style import MAGNITUDE, band_colour, band_marker, band_ticks, name_panel, panels
from dmu0.sky.skymap import Patch
from dmu0.surveys import Survey
from dmu3.catalogues import aperture_name
from dmu3.steps import image_path, read_baseline
from dmu3.truth import FluxComparison
from obs_vista.bands import VISTA_BANDS, in_band_order, plain_band, shown_band
from obs_vista.photometry import magnitude_of


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
        axis.set_title(f"{shown_band(band)}: noise {noise:.1f} nJy", fontsize=9)
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
    figure, axis = plt.subplots(figsize=(8, 3.4), layout="constrained")
    done = states[states["state"] == "done"]
    bands = list(in_band_order(map(str, done["band"])))
    for place, band in enumerate(bands):
        depth = magnitude_of(done["noise"][done["band"] == band])
        spread = np.linspace(-0.2, 0.2, len(depth)) if len(depth) > 1 else np.zeros(1)
        axis.plot(place + spread, depth, band_marker(band), color=band_colour(band), mec="k", mew=0.4)
    band_ticks(axis, bands)
    axis.invert_yaxis()
    axis.set_ylabel(f"one sigma of a pixel, {MAGNITUDE}")
    axis.set_title("noise of the pixels, one point per patch (deeper is lower)", fontsize=10)
    axis.grid(alpha=0.3)
    return figure


def plot_counts(table: Table, bands: tuple[str, ...], *, width: float = 0.5) -> Figure:
    """Number of objects above 5 sigma as a function of Kron magnitude: optical and near-infrared bands."""
    groups = [[band for band in bands if (plain_band(band) in VISTA_BANDS) == vista] for vista in (False, True)]
    groups = [group for group in groups if group]
    figure, axes = panels(len(groups), width=4.4, height=3.4)
    edges = np.arange(15, 29 + width, width)
    for axis, group in zip(axes, groups, strict=True):
        for band in group:
            flux, error = np.asarray(table[f"{band}_kronFlux"]), np.asarray(table[f"{band}_kronFluxErr"])
            counts, _ = np.histogram(magnitude_of(flux[flux > 5 * error]), edges)
            if counts.any():
                # Curves end where there is nothing, rather than fall to an arbitrary floor.
                shown = np.where(counts > 0, counts, np.nan)
                style = {"marker": band_marker(band), "ms": 4, "color": band_colour(band)}
                axis.plot(edges[:-1] + width / 2, shown, label=shown_band(band), **style)
        axis.set_yscale("log")
        axis.set_xlabel(f"Kron {MAGNITUDE}")
        axis.legend(fontsize=8)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel(f"objects above 5 sigma per {width} mag")
    return figure


def plot_depths(table: Table, bands: tuple[str, ...], *, diameter: float = 2.0) -> Figure:
    """Quoted 5-sigma limits in a circular aperture, for all objects in each band."""
    figure, axis = plt.subplots(figsize=(8, 3.4), layout="constrained")
    errors = [np.asarray(table[f"{band}_apFluxErr_{aperture_name(diameter)}"]) for band in bands]
    limits = [magnitude_of(5 * error[np.isfinite(error) & (error > 0)]) for error in errors]
    filled = [(band, values) for band, values in zip(bands, limits, strict=True) if len(values)]
    if filled:
        places = range(len(filled))
        axis.boxplot([values for _, values in filled], positions=places, whis=(2, 98), showfliers=False)
        band_ticks(axis, [band for band, _ in filled], [f"{np.median(values):.2f}" for _, values in filled])
    axis.set_ylabel(f"5 sigma, {MAGNITUDE}")
    axis.set_title(f"depth in circles of {diameter:.0f} arcsec diameter, with its median", fontsize=10)
    axis.grid(alpha=0.3)
    return figure


def plot_flux_comparison(comparisons: list[FluxComparison]) -> Figure:
    """Ratio of measured to true flux of isolated stars in each band."""
    figure, axes = panels(len(comparisons))
    for axis, item in zip(axes, comparisons, strict=True):
        style = {"ms": 3, "color": band_colour(item.band), "mec": "k", "mew": 0.2}
        axis.axhline(1, color="k", lw=0.8)
        axis.plot(magnitude_of(item.true), np.clip(item.ratio, 0.805, 1.195), band_marker(item.band), **style)
        name_panel(axis, item.band, f"median {100 * item.bias:+.1f}%, {len(item)} stars")
        axis.set_ylim(0.8, 1.2)
        axis.grid(alpha=0.3)
    figure.supxlabel(f"true {MAGNITUDE}", fontsize=9)
    figure.supylabel("measured / true flux", fontsize=9)
    return figure
