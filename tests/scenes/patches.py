"""Small synthetic patches of known truth, on which detection and measurement are tested and timed.

Sources are sums of Gaussians, evaluated at the pixels; nothing here is shared with the code that measures them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from dmu4.patches.cube import BandPlanes, PatchCube
from dmu4.patches.filling import make_cube

WINGS = ((0.75, 1.0), (0.2, 3.0), (0.05, 9.0))
"""Weights of the Gaussians of a PSF and their variances in units of the narrowest: a core, a skirt and wings."""


@dataclass(frozen=True)
class Scene:
    """Sources of a synthetic patch.

    Parameters
    ----------
    x, y
        Array positions.
    covariance
        Second moments [source, 3] (xx, yy, xy) before the seeing in pixels^2; zero for stars.
    flux
        nJy [source, band].
    """

    x: np.ndarray
    y: np.ndarray
    covariance: np.ndarray
    flux: np.ndarray


def add_gaussian(image: np.ndarray, *, x: float, y: float, xx: float, yy: float, xy: float, flux: float) -> None:
    """Add an elliptical Gaussian to an image [y, x], in place, out to 7 sigma."""
    reach_x, reach_y = 7 * np.sqrt(xx), 7 * np.sqrt(yy)
    columns = np.arange(max(0, int(x - reach_x)), min(image.shape[1], int(x + reach_x) + 2))
    rows = np.arange(max(0, int(y - reach_y)), min(image.shape[0], int(y + reach_y) + 2))
    if not len(rows) or not len(columns):
        return
    dx, dy = columns[None, :] - x, rows[:, None] - y
    determinant = xx * yy - xy**2
    rho = (yy * dx**2 + xx * dy**2 - 2 * xy * dx * dy) / determinant
    value = flux / (2 * np.pi * np.sqrt(determinant)) * np.exp(-0.5 * rho)
    image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] += value


def psf_stamp(variance: float, *, size: int = 41) -> np.ndarray:
    """A PSF stamp [y, x] of sum 1 whose narrowest Gaussian has this variance in pixels^2."""
    stamp = np.zeros((size, size))
    for weight, factor in WINGS:
        v = variance * factor
        add_gaussian(stamp, x=size // 2, y=size // 2, xx=v, yy=v, xy=0, flux=weight)
    return stamp / stamp.sum()


def draw(scene: Scene, *, band: int, variance: float, shape: tuple[int, int]) -> np.ndarray:
    """The noiseless image [y, x] of one band whose PSF is `psf_stamp` of ``variance``."""
    image = np.zeros(shape)
    for x, y, covariance, flux in zip(scene.x, scene.y, scene.covariance, scene.flux[:, band], strict=True):
        for weight, factor in WINGS:
            xx, yy = covariance[0] + variance * factor, covariance[1] + variance * factor
            add_gaussian(image, x=x, y=y, xx=xx, yy=yy, xy=covariance[2], flux=weight * flux)
    return image


def correlated_noise(rng: np.random.Generator, shape: tuple[int, int], *, sigma: float, width: float) -> np.ndarray:
    """Gaussian noise [y, x] of a given scatter per pixel, correlated by a Gaussian filter of ``width`` pixels."""
    white = rng.standard_normal(shape)
    if width <= 0:
        return sigma * white
    smooth = ndimage.gaussian_filter(white, width, mode="wrap")
    return sigma * smooth / smooth.std()


def make_scene(
    rng: np.random.Generator,
    *,
    shape: tuple[int, int],
    density: float,
    bands: int,
    faintest: float,
    slope: float = 0.6,
    galaxies: float = 0.5,
    margin: int = 8,
) -> Scene:
    """Sources at random places, with power-law fluxes, colours that scatter, and discs of sizes that fit their flux.

    Parameters
    ----------
    rng
        Random numbers.
    shape
        Rows and columns.
    density
        Sources per pixel^2.
    bands
        Number of bands.
    faintest
        Smallest flux in nJy.
    slope
        Index of the integral counts.
    galaxies
        Share of extended sources.
    margin
        Pixels along the edge without sources.
    """
    n = int(density * shape[0] * shape[1])
    x, y = rng.uniform(margin, shape[1] - margin, n), rng.uniform(margin, shape[0] - margin, n)
    total = faintest * np.minimum(rng.uniform(0, 1, n) ** (-1 / slope), 3000)
    flux = total[:, None] * np.exp(rng.normal(0, 0.3, (n, bands)))
    extended = rng.uniform(0, 1, n) < galaxies
    radius = np.where(extended, 1.2 + 0.8 * np.log10(total / faintest), 0)
    ratio, angle = rng.uniform(0.4, 1, n), rng.uniform(0, np.pi, n)
    major, minor = radius**2, (radius * ratio) ** 2
    mean, half = 0.5 * (major + minor), 0.5 * (major - minor)
    covariance = np.column_stack(
        [mean + half * np.cos(2 * angle), mean - half * np.cos(2 * angle), half * np.sin(2 * angle)]
    )
    return Scene(x=x, y=y, covariance=covariance, flux=flux)


def make_patch(
    scene: Scene,
    rng: np.random.Generator,
    *,
    bands: tuple[str, ...],
    psf_variance: tuple[float, ...],
    sigma: tuple[float, ...],
    shape: tuple[int, int],
    noise_width: float = 0.6,
    cells: int = 4,
    pixel_scale: float = 0.168,
    seen: dict[str, np.ndarray] | None = None,
) -> PatchCube:
    """A patch of several bands with correlated noise, a noise realization and a PSF that is the same in every cell.

    Parameters
    ----------
    scene
        Sources.
    rng
        Random numbers; each band draws from its own stream, so that leaving one out changes no other.
    bands, psf_variance, sigma
        Labels, narrowest PSF variance in pixels^2 and noise per pixel in nJy of each band.
    shape
        Rows and columns.
    noise_width
        Correlation of the noise in pixels.
    cells
        PSF cells along each side.
    pixel_scale
        arcsec.
    seen
        Band -> pixels with data [y, x]; the rest is NaN and NO_DATA.
    """
    planes = {}
    for number, (band, stream) in enumerate(zip(bands, rng.spawn(len(bands)), strict=True)):
        truth = draw(scene, band=number, variance=psf_variance[number], shape=shape)
        noise = [correlated_noise(stream, shape, sigma=sigma[number], width=noise_width) for _ in range(2)]
        image = truth + noise[0]
        mask = np.zeros(shape, np.int32)
        if seen is not None and band in seen:
            image[~seen[band]] = np.nan
            mask[~seen[band]] = 1
        stamp = psf_stamp(psf_variance[number])
        planes[band] = BandPlanes(
            image=image.astype(np.float32),
            variance=np.full(shape, sigma[number] ** 2, np.float32),
            mask=mask,
            psf=np.broadcast_to(stamp, (cells, cells, *stamp.shape)).astype(np.float32),
            noise=noise[1].astype(np.float32),
            input_count=np.full(shape, 3, np.int16),
        )
    return make_cube(planes, x0=1000, y0=2000, pixel_scale=pixel_scale)
