"""Error inflation: by how much correlated noise makes errors larger than the variance map says, for each flux."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial import cKDTree

from dmu0.robust_statistics import clipped_moments
from dmu4.measurement.apertures import circles, sum_apertures
from dmu4.measurement.forced import project
from dmu4.measurement.gaap import gaap_weights
from dmu4.measurement.stamps import make_profiles, psf_transforms, render

MIN_SAMPLES = 50
"""With fewer empty positions than this nothing can be measured, and errors are left as they are."""

WHOLE = 0.98
"""An empty position counts if this share of its largest circle has data."""


@dataclass(frozen=True)
class ErrorInflation:
    """True scatter over the error from uncorrelated pixels, in one band.

    Attributes
    ----------
    psf, gaap
        The ratio for point-source and for GAaP fluxes.
    radius
        Radii of circles in pixels, increasing [circle].
    circle
        The ratio in circles of these radii [circle].
    samples
        Number of empty positions behind the ratios; 0: not measured, all are one.
    """

    psf: float
    gaap: float
    radius: np.ndarray
    circle: np.ndarray
    samples: int

    def of_area(self, area: np.ndarray) -> np.ndarray:
        """The ratio for apertures of any shape, through the circle of the same area in pixels^2."""
        return np.interp(np.sqrt(np.asarray(area) / np.pi), self.radius, self.circle)


def empty_positions(
    good: np.ndarray, occupied: np.ndarray | None, *, margin: int, count: int, seed: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (x, y) spread at random over the good part of an image.

    Parameters
    ----------
    good
        Pixels with data [y, x].
    occupied
        Pixels of sources to stay away from [y, x]; None: the image has no sources.
    margin
        Distance from the edge of the image in pixels.
    count
        Number of positions to try; those on bad or occupied pixels are dropped.
    seed
        Seed of the random positions: the same image always has the same ones.
    """
    ny, nx = good.shape
    if min(ny, nx) <= 2 * margin:
        return np.zeros(0), np.zeros(0)
    rng = np.random.default_rng(seed)
    x, y = rng.integers(margin, nx - margin, count), rng.integers(margin, ny - margin, count)
    free = good[y, x] if occupied is None else good[y, x] & ~occupied[y, x]
    return x[free].astype(float), y[free].astype(float)


def measure_inflation(
    noise: np.ndarray,
    variance: np.ndarray,
    good: np.ndarray,
    *,
    occupied: np.ndarray | None,
    psf: np.ndarray,
    cell_of: Callable[..., np.ndarray],
    radii: np.ndarray,
    gaap_sigma: float,
    count: int = 600,
) -> ErrorInflation:
    """Measure nothing but noise in the very ways in which sources are measured.

    Parameters
    ----------
    noise
        A realization of the noise, or the image less all models where none exists [y, x].
    variance, good
        Arrays [y, x].
    occupied
        Pixels of sources, if ``noise`` is the image.
    psf
        PSF stamps [cell, y, x] of the band.
    cell_of
        Function of ``x=, y=`` that gives the cells of positions.
    radii
        Radii of circles in pixels, increasing.
    gaap_sigma
        Sigma of the aperture of GAaP in pixels.
    count
        Number of positions to try.
    """
    radii = np.asarray(radii, float)
    unknown = ErrorInflation(psf=1.0, gaap=1.0, radius=radii, circle=np.ones(len(radii)), samples=0)
    if not good.any() or not psf.any():
        return unknown
    margin = int(np.ceil(max(radii[-1], psf.shape[-1] / 2))) + 2
    x, y = empty_positions(good, occupied, margin=margin, count=count)
    x, y, pulls = _circle_pulls(noise, variance, good, x=x, y=y, radii=radii)
    if len(x) < MIN_SAMPLES:
        return unknown
    cell, planes = cell_of(x=x, y=y), {"image": noise, "variance": variance, "good": good}
    points = make_profiles(x=x, y=y, covariance=None, psf_size=psf.shape[-1])
    in_psf = project(render(points, psf_transforms(psf, points.size), cell), **planes)
    weights, _ = gaap_weights(x=x, y=y, psf=psf, cell=cell, sigma=gaap_sigma)
    in_gaap = project(weights, **planes)
    return ErrorInflation(
        psf=_scatter(in_psf.signal / np.sqrt(in_psf.noise)),
        gaap=_scatter(in_gaap.signal / np.sqrt(in_gaap.noise)),
        radius=radii,
        circle=np.array([_scatter(of_radius) for of_radius in pulls.T]),
        samples=len(x),
    )


def _circle_pulls(
    noise: np.ndarray, variance: np.ndarray, good: np.ndarray, *, x: np.ndarray, y: np.ndarray, radii: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The positions whose circles are whole, and the sums there over the errors of their pixels [position, circle]."""
    conics = circles(radii, length=len(x))
    sums = sum_apertures(noise[..., None], variance[..., None], good[..., None], x=x, y=y, conics=conics)
    whole = sums.filled[:, -1, 0] > WHOLE
    return x[whole], y[whole], sums.flux[whole, :, 0] / np.sqrt(sums.variance[whole, :, 0])


def scale_to_empty(
    inflations: Sequence[ErrorInflation],
    residual: np.ndarray,
    variance: np.ndarray,
    good: np.ndarray,
    *,
    x: np.ndarray,
    y: np.ndarray,
    clear: float,
    gaap_sigma: float,
    bright: np.ndarray | None = None,
    count: int = 6000,
) -> list[ErrorInflation]:
    """Change the inflation of errors until empty apertures between the objects scatter by what it predicts.

    A realization of the noise has what resampling does to pixels, but not what is left of the sky on larger scales,
    nor the sources too faint to be detected. Both are in the image less the models of all objects. Point-source
    fluxes are left as they are: the fit looks at scales on which the realization is right.

    Parameters
    ----------
    inflations
        Error inflation of each band, from its noise realization.
    residual, variance, good
        Cubes [y, x, band]: the image less all models, its variance, and the pixels with data.
    x, y
        Array positions of the objects.
    clear
        Distance in pixels to keep from them.
    gaap_sigma
        Sigma of the aperture of GAaP in pixels: its fluxes are noisy like a circle of twice that radius.
    bright
        Objects whose wings no model follows [object, band]; samples keep three times ``clear`` from them.
    count
        Number of positions to try.

    Returns
    -------
    list
        The inflation of each band; unchanged in a band with fewer than `MIN_SAMPLES` empty positions.
    """
    radii, objects = inflations[0].radius, np.column_stack([x, y])
    at_x, at_y = empty_positions(good.any(axis=-1), None, margin=int(radii[-1]) + 1, count=count, seed=2)
    samples = np.column_stack([at_x, at_y])
    samples = samples[_distance(samples, objects) > clear]
    conics = circles(radii, length=len(samples))
    sums = sum_apertures(residual, variance, good, x=samples[:, 0], y=samples[:, 1], conics=conics)
    scaled = []
    for band, one in enumerate(inflations):
        whole = sums.filled[:, -1, band] > WHOLE
        if bright is not None:
            whole &= _distance(samples, objects[bright[:, band]]) > 3 * clear
        pulls = sums.flux[whole, :, band] / (one.circle * np.sqrt(sums.variance[whole, :, band]))
        scaled.append(_scaled(one, pulls, gaap_radius=2 * gaap_sigma))
    return scaled


def _distance(samples: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """Distance of each sample from the nearest object in pixels; infinite without objects."""
    if not len(objects) or not len(samples):
        return np.full(len(samples), np.inf)
    return cKDTree(objects).query(samples)[0]


def _scaled(one: ErrorInflation, pulls: np.ndarray, *, gaap_radius: float) -> ErrorInflation:
    """The inflation times the scatter of the pulls [position, circle] that it gives."""
    if len(pulls) < MIN_SAMPLES:
        return one
    excess = np.array([clipped_moments(of_radius)[1] for of_radius in pulls.T])
    of_gaap = float(np.interp(gaap_radius, one.radius, excess))
    return replace(one, gaap=one.gaap * of_gaap, circle=one.circle * excess)


def _scatter(pulls: np.ndarray) -> float:
    """Scatter about the mean of the pulls within 4 sigma of the middle, so that a source missed does not count."""
    level, scatter = clipped_moments(pulls)
    kept = pulls[np.abs(pulls - level) < 4 * max(scatter, 1e-12)]
    return float(np.std(kept))
