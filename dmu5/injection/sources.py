"""The sources to inject: fluxes in all bands, sizes and positions, drawn after the objects of the catalogue."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from astropy.table import Table

from dmu0.sky.tract import Patch
from dmu5.diagnostics import good_flux
from dmu5.injection.colours import clean_colours
from obs_vista.photometry import flux_of, magnitude_of

TEMPLATE_SNR = 10.0
"""Smallest signal to noise of a template in the band in which magnitudes are drawn."""

NEAR = 0.7
"""Largest difference in magnitude between a source and its template, where there are templates as faint as that."""

MIN_TEMPLATES = 30
"""Number of the faintest templates that stand for sources fainter than all of them."""

MAX_TEMPLATES = 20_000
"""Largest number of templates; of more every second, third, ... is used."""

SIZED_SNR = 25.0
"""Smallest signal to noise of the templates from which the change of size with magnitude is measured: fainter ones are
called extended only if noise has not made them smaller."""

MAX_SIZE_SLOPE = 0.2
"""Largest decrease of log10 radius with magnitude: sizes that decrease as the root of the flux, at equal brightness."""

HALF_LIGHT = 1.18
"""Half-light radius of a profile over the sigma of its adaptive moments: sqrt(2 ln 2), that of a Gaussian."""


def find_templates(catalogue: Table, band: str, bands: Sequence[str], *, rng: np.random.Generator) -> Table:
    """Objects after which sources are made: fluxes relative to one band, and intrinsic size and shape.

    Parameters
    ----------
    catalogue
        Catalogue with one row per object.
    band
        Band in which the magnitudes of sources are drawn.
    bands
        All bands.
    rng
        Random number generator.

    Returns
    -------
    templates
        magnitude, snr, extended, radius (half-light, arcsec; 0 for point sources), axis_ratio, angle (rad, from the x
        axis), and ``ratio_<band>``, the flux over that in ``band``. Colours are those of GAaP fluxes, in bands with
        little signal those of similar objects (`dmu5.injection.colours.clean_colours`); sizes are the adaptive moments
        minus those of point sources in the same band.
    """
    good = good_flux(catalogue, f"{band}_gaap1p0Flux", snr_min=TEMPLATE_SNR)
    good &= np.isfinite(np.asarray(catalogue["refExtendedness"], float)) & ~np.asarray(catalogue["shape_flag"], bool)
    chosen = catalogue[good & np.asarray(catalogue[f"{band}_usable"], bool)]
    chosen = chosen[:: -(-len(chosen) // MAX_TEMPLATES) or 1]
    extended = np.asarray(chosen["refExtendedness"], float) > 0.5
    kron = np.asarray(chosen[f"{band}_kronFlux"], float) / np.asarray(chosen[f"{band}_kronFraction"], float)
    total = np.where(extended, kron, np.asarray(chosen[f"{band}_psfFlux"], float))
    magnitude = magnitude_of(total)
    known = np.isfinite(magnitude)
    chosen, extended, magnitude = chosen[known], extended[known], magnitude[known]
    templates = Table({"magnitude": magnitude, "extended": extended})
    radius, axis_ratio, angle = _intrinsic_shapes(chosen, extended)
    templates["radius"], templates["axis_ratio"], templates["angle"] = radius, axis_ratio, angle
    reference = np.asarray(chosen[f"{band}_gaap1p0Flux"], float)[:, None]
    templates["snr"] = reference[:, 0] / np.asarray(chosen[f"{band}_gaap1p0FluxErr"], float)
    flux, error = (
        np.column_stack([np.asarray(chosen[f"{name}_gaap1p0Flux{end}"], float) for name in bands])
        for end in ("", "Err")
    )
    flux[np.column_stack([np.asarray(chosen[f"{name}_gaap1p0Flux_flag"], bool) for name in bands])] = np.nan
    # Faint unresolved galaxies have colours of galaxies.
    star = ~extended & (np.asarray(chosen["starProbability"], float) > 0.5)
    ratios = clean_colours(flux / reference, error / reference, star.astype(int), magnitude, rng=rng)
    for name, ratio in zip(bands, ratios.T, strict=True):
        templates[f"ratio_{name}"] = ratio
    return templates


def _intrinsic_shapes(objects: Table, extended: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Half-light radius (arcsec), axis ratio and angle of objects, from which the PSF is removed; zero for points."""
    moments = {name: np.array(objects[f"shape_{name}"], float) for name in ("xx", "yy", "xy")}
    label = np.asarray(objects["refBand"]).astype(str)
    for band in np.unique(label):
        here = label == band
        points = here & ~extended
        for values in moments.values():
            values[here] -= np.median(values[points]) if points.any() else 0.0
    trace, difference = moments["xx"] + moments["yy"], np.hypot(moments["xx"] - moments["yy"], 2 * moments["xy"])
    major, minor = 0.5 * (trace + difference), 0.5 * (trace - difference)
    real = extended & (major > 1e-3)
    ratio = np.sqrt(np.clip(np.divide(minor, major, out=np.ones(len(major)), where=real), 0.04, 1))
    size = HALF_LIGHT * np.sqrt(np.clip(major, 0, None)) * np.sqrt(ratio)
    angle = 0.5 * np.arctan2(2 * moments["xy"], moments["xx"] - moments["yy"])
    return np.where(real, size, 0.0), np.where(real, ratio, 1.0), np.where(real, angle, 0.0)


def size_slope(templates: Table) -> float:
    """d log10 radius / dm of bright extended templates, at most 0; 0 if there are few. Fainter galaxies are smaller."""
    good = np.asarray(templates["extended"], bool) & (np.asarray(templates["snr"]) > SIZED_SNR)
    good &= np.asarray(templates["radius"]) > 0
    if good.sum() < MIN_TEMPLATES:
        return 0.0
    magnitude, size = np.asarray(templates["magnitude"], float)[good], np.log10(templates["radius"][good])
    if np.ptp(magnitude) < 1:
        return 0.0
    return float(np.clip(np.polyfit(magnitude, size, 1)[0], -MAX_SIZE_SLOPE, 0.0))


def draw_sources(
    templates: Table, patch: Patch, *, band: str, bright: float, faint: float, spacing: float, rng: np.random.Generator
) -> Table:
    """Draw the sources of a patch: magnitudes uniform between two limits, positions on a jittered grid.

    A source that is fainter than its template is smaller, by `size_slope`.

    Parameters
    ----------
    templates
        Templates of `find_templates`.
    patch
        The patch; positions are in the box that it owns.
    band
        Band of the magnitudes.
    bright, faint
        Limits of the magnitudes, AB.
    spacing
        Distance of neighbours in the grid, px; each is moved by up to a fifth of it.
    rng
        Random number generator.

    Returns
    -------
    sources
        x, y (tract px), magnitude, extended, radius, axis_ratio, angle and ``flux_<band>`` (nJy) of every band.
    """
    box = patch.inner_bbox
    axes = [np.arange(getattr(box, axis).start + 0.5 * spacing, getattr(box, axis).stop, spacing) for axis in "xy"]
    x, y = (values.ravel() + rng.uniform(-0.2, 0.2, values.size) * spacing for values in np.meshgrid(*axes))
    magnitude = rng.uniform(bright, faint, len(x))
    known = np.asarray(templates["magnitude"], float)
    faintest = np.sort(known)[-min(MIN_TEMPLATES, len(known)) :][0]
    chosen = np.zeros(len(x), np.int64)
    for number, value in enumerate(magnitude):
        near = np.flatnonzero(np.abs(known - min(value, faintest)) < NEAR)
        chosen[number] = rng.choice(near if len(near) else np.argsort(np.abs(known - value))[:MIN_TEMPLATES])
    sources = Table({"x": x, "y": y, "magnitude": magnitude})
    for name in ("extended", "radius", "axis_ratio", "angle"):
        sources[name] = np.asarray(templates[name])[chosen]
    sources["radius"] *= 10 ** (size_slope(templates) * (magnitude - known[chosen]))
    for name in templates.colnames:
        if name.startswith("ratio_"):
            label = name.removeprefix("ratio_")
            sources[f"flux_{label}"] = flux_of(magnitude) * np.asarray(templates[name], float)[chosen]
    return sources


def count_slope(catalogue: Table, band: str, *, depth: float) -> float:
    """Slope of the number counts, d log10 N / dm, from three to one magnitudes above the depth; 0.3 if unknown."""
    magnitude = magnitude_of(np.asarray(catalogue[f"{band}_kronFlux"], float))
    edges = np.arange(depth - 3, depth - 0.99, 0.5)
    counts = np.histogram(magnitude[np.isfinite(magnitude)], edges)[0]
    if (counts < 5).any():
        return 0.3
    return float(np.polyfit(0.5 * (edges[1:] + edges[:-1]), np.log10(counts), 1, w=np.sqrt(counts))[0])
