"""Figures of coadds: before and after rejection, in colour, maps over the patches, and checks of noise and PSF."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dmu4.review.coadds import STAR_RADII, CoaddReview, of_band
from obs_vista.bands import in_band_order

_COLOURS = plt.get_cmap("tab10").colors
_MARKERS = "osD^vP*X<>h"


def bands_of(reviews: Sequence[CoaddReview]) -> list[str]:
    """The bands of the reviews, from blue to red."""
    return list(in_band_order(review.band for review in reviews))


def patches_of(reviews: Sequence[CoaddReview]) -> list[tuple[int, int]]:
    """The (tract, patch) pairs of the reviews."""
    return sorted({(review.tract, review.patch) for review in reviews})


def _bare(axis: plt.Axes, title: str) -> None:
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_title(title, fontsize=8)


def plot_coadds(reviews: Sequence[CoaddReview]) -> Figure:
    """Every coadd, a row per patch and a column per band, in units of its noise; rejected regions, halos outlined."""
    bands, patches = bands_of(reviews), patches_of(reviews)[:6]
    side = float(np.clip(14.5 / max(len(bands), 1), 1.45, 4.5))  # inches: few bands are shown larger
    figure, axes = plt.subplots(
        len(patches), len(bands), figsize=(side * len(bands) + 0.4, (side + 0.15) * len(patches) + 0.3), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    found = {(review.tract, review.patch, review.band): review for review in reviews}
    for row, (tract, patch) in zip(axes, patches, strict=True):
        for axis, band in zip(row, bands, strict=True):
            review = found.get((tract, patch, band))
            _bare(axis, f"{tract} {patch} {band}")
            if review is None:
                axis.text(0.5, 0.5, "none", ha="center", va="center", transform=axis.transAxes)
                continue
            shown = axis.imshow(review.picture, origin="lower", cmap="gray", vmin=-2, vmax=12)
            for shares, level, colour in ((review.halos, 0.5, "tab:blue"), (review.clipped, 0.2, "tab:orange")):
                if shares.min() < level < shares.max():
                    axis.contour(shares, levels=[level], colors=colour, linewidths=0.6)
    figure.colorbar(shown, ax=axes, label="signal to noise", shrink=0.6)
    return figure


def plot_before_after(before: np.ndarray, review: CoaddReview) -> Figure:
    """A coadd without and with rejection, and the difference."""
    figure, axes = plt.subplots(1, 3, figsize=(10.5, 3.9), layout="constrained")
    name = f"tract {review.tract}, patch {review.patch}, {review.band}"
    pictures = ((before, f"{name}\nwithout rejection"), (review.picture, "with rejection"))
    for axis, (picture, title) in zip(axes, pictures, strict=False):
        shown = axis.imshow(picture, origin="lower", cmap="gray", vmin=-2, vmax=8)
        _bare(axis, title)
    figure.colorbar(shown, ax=axes[:2], label="signal to noise", shrink=0.8)
    shown = axes[2].imshow(before - review.picture, origin="lower", cmap="cividis", vmin=-3, vmax=8)
    _bare(axes[2], "difference")
    figure.colorbar(shown, ax=axes[2], label="in units of the noise", shrink=0.8)
    return figure


def plot_colour(reviews: Sequence[CoaddReview]) -> Figure | None:
    """Colour images of the patches, in the bluest, an intermediate and the reddest band; None without three bands."""
    bands = bands_of(reviews)
    if len(bands) < 3:
        return None
    chosen = (bands[-1], bands[len(bands) // 2], bands[0])
    found = {(review.tract, review.patch, review.band): review.picture for review in reviews}
    patches = [where for where in patches_of(reviews) if all((*where, band) in found for band in chosen)][:4]
    if not patches:
        return None
    figure, axes = plt.subplots(1, len(patches), figsize=(2.9 * len(patches), 3.3), squeeze=False, layout="constrained")
    for axis, where in zip(axes[0], patches, strict=True):
        planes = [np.arcsinh(np.nan_to_num(found[*where, band]) / 4) for band in chosen]
        shape = np.min([plane.shape for plane in planes], axis=0)
        picture = np.stack([plane[: shape[0], : shape[1]] for plane in planes], axis=-1)
        axis.imshow(np.clip(picture / 3.5 + 0.06, 0, 1), origin="lower")
        _bare(axis, f"{where[0]} {where[1]}")
    figure.suptitle(f"red {chosen[0]}, green {chosen[1]}, blue {chosen[2]}", fontsize=9)
    return figure


def plot_maps(reviews: Sequence[CoaddReview], quantity: str) -> Figure:
    """Maps of one quantity over the patches of a tract: ``exposures``, ``depth`` or ``seeing``; one map per band."""
    label = {"exposures": "inputs", "depth": '5 sigma, 2" diameter (AB mag)', "seeing": "FWHM (arcsec)"}[quantity]
    bands = bands_of(reviews)
    columns = min(len(bands), 5)
    rows = -(-len(bands) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(2.4 * columns, 2.9 * rows), squeeze=False, layout="constrained")
    figure.suptitle(f"tract {reviews[0].tract}", fontsize=9)
    left, right, bottom, top = np.transpose([review.extent for review in reviews])
    for axis in axes.flat[len(bands) :]:
        axis.set_visible(False)
    for axis, band in zip(axes.flat, bands, strict=False):
        mine = of_band(reviews, band)
        values = np.concatenate([getattr(review, quantity).ravel() for review in mine])
        low, high = np.nanpercentile(values, [1, 99]) if np.isfinite(values).any() else (0, 1)
        low, high = (0, max(high, 1)) if quantity == "exposures" else (low - 0.01, high + 0.01)
        for review in mine:
            shown = axis.imshow(getattr(review, quantity), origin="lower", extent=review.extent, vmin=low, vmax=high)
        _bare(axis, band)
        axis.set_xlim(left.min(), right.max())
        axis.set_ylim(bottom.min(), top.max())
        bar = figure.colorbar(shown, ax=axis, location="bottom", shrink=0.9, aspect=12)
        bar.set_label(label, fontsize=7)
        bar.ax.tick_params(labelsize=7)
    return figure


def plot_empty(reviews: Sequence[CoaddReview]) -> Figure:
    """Scatter of empty apertures of 2 arcsec diameter relative to their error, with and without correlated noise."""
    figure, axis = plt.subplots(figsize=(7, 3.4), layout="constrained")
    bands = bands_of(reviews)
    for n, (label, colour) in enumerate(
        (("independent pixels", _COLOURS[7]), ("scaled with noise realizations", _COLOURS[0]))
    ):
        x = [bands.index(review.band) + 0.2 * (n - 0.5) for review in reviews]
        axis.plot(x, [review.empty[n] for review in reviews], _MARKERS[n], color=colour, label=label)
    axis.axhspan(0.9, 1.1, color="0.9", zorder=0)
    axis.axhline(1.0, color="0.5", linewidth=0.8)
    axis.set_xticks(range(len(bands)), bands)
    axis.set_xlabel("band")
    axis.set_ylabel("scatter / quoted error")
    axis.legend(fontsize=8)
    return figure


def plot_stars(reviews: Sequence[CoaddReview]) -> Figure:
    """Deviation of the shape of stars from the PSF of their cell, as a function of the number of inputs."""
    figure, axis = plt.subplots(figsize=(7, 3.6), layout="constrained")
    bands = bands_of(reviews)
    for n, band in enumerate(bands):
        stars = np.concatenate([review.stars for review in of_band(reviews, band)])
        if len(stars):
            shift = 0.07 * (n - 0.5 * (len(bands) - 1))
            exact = stars[:, 2] == 0
            style = {
                "color": _COLOURS[n % 10],
                "marker": _MARKERS[n % len(_MARKERS)],
                "linestyle": "none",
                "markersize": 4,
            }
            axis.plot(stars[exact, 1] + shift, 100 * stars[exact, 0], label=band, **style)
            axis.plot(stars[~exact, 1] + shift, 100 * stars[~exact, 0], fillstyle="none", **style)
    axis.axhspan(-1, 1, color="0.92", zorder=0)
    axis.set_xlabel("number of inputs at the star (open symbols: INEXACT_PSF)")
    axis.set_ylabel(f'flux in {STAR_RADII[0]:.0f}" / {STAR_RADII[1]:.0f}",\nstar / PSF - 1 (%)')
    axis.set_ylim(-8, 8)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.legend(fontsize=7, ncols=10, loc="lower center", bbox_to_anchor=(0.5, 1.0), columnspacing=1, handletextpad=0)
    return figure
