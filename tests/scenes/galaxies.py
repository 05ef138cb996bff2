"""Galaxies of known truth, drawn by galsim through the PSF of each band, on a grid so that none has a neighbour."""

from __future__ import annotations

from dataclasses import dataclass

import galsim
import numpy as np
from scipy import special

from dmu4.patches.cube import BandPlanes, PatchCube
from dmu4.patches.filling import make_cube

PIXEL_SCALE = 0.17
BANDS = ("g", "i", "vk")
FWHM = (0.9, 0.65, 1.0)
SIGMA = (3.0, 4.0, 9.0)
"""Noise per pixel of each band in nJy."""

STEP, MARGIN = 72, 30


@dataclass(frozen=True)
class Galaxies:
    """True galaxies.

    Attributes
    ----------
    x, y
        Array positions [N].
    fraction
        Fraction of the flux in a de Vaucouleurs bulge, which ends at eight radii [N].
    radius, axis_ratio, angle
        Circularized half-light radius of the disc in arcsec, minor over major axis, and angle of the major axis from x
        towards y in degrees [N].
    bulge_size
        Half-light radius of the bulge, if it had no end, over that of the disc.
    flux
        Total flux in nJy [N, band].
    """

    x: np.ndarray
    y: np.ndarray
    fraction: np.ndarray
    radius: np.ndarray
    axis_ratio: np.ndarray
    angle: np.ndarray
    flux: np.ndarray
    bulge_size: float

    def half_light_radius(self) -> np.ndarray:
        """Circularized radius in arcsec with half of the light of each galaxy."""
        radius = np.linspace(0.02, 8, 4000)
        of_disc = special.gammainc(2, 1.6783 * radius)
        of_bulge = special.gammainc(8, 7.6692 * np.minimum(radius / self.bulge_size, 8) ** 0.25)
        of_bulge /= special.gammainc(8, 7.6692 * 8**0.25)
        share = self.fraction[:, None]
        inside = (1 - share) * of_disc + share * of_bulge
        return self.radius * np.array([np.interp(0.5, one, radius) for one in inside])


def make_galaxies(
    rng: np.random.Generator,
    *,
    side: int,
    fraction: float,
    signal_to_noise: tuple[float, float],
    bulge_size: float = 1.0,
) -> Galaxies:
    """A square of galaxies with colours, sizes and shapes of their own.

    Parameters
    ----------
    rng
        Random numbers.
    side
        Number of galaxies in each direction.
    fraction
        Fraction of the flux in the bulge.
    signal_to_noise
        Range of the ratio of the flux to the noise in the area of galaxy and PSF in the second band.
    bulge_size
        As in `Galaxies`.
    """
    n = side**2
    row, column = np.divmod(np.arange(n), side)
    radius = np.exp(rng.normal(np.log(0.45), 0.35, n)).clip(0.2, 1.0)
    ratio = rng.uniform(0.3, 1, n)
    area = 4 * np.pi * ((radius / PIXEL_SCALE) ** 2 * ratio + (0.42 * np.array(FWHM)[:, None] / PIXEL_SCALE) ** 2)
    faint, bright = np.log(signal_to_noise)
    brightness = np.exp(rng.uniform(faint, bright, n))[:, None] * np.exp(rng.normal(0, 0.3, (n, len(BANDS))))
    return Galaxies(
        x=MARGIN + STEP * (column + 0.5) + rng.uniform(-0.5, 0.5, n),
        y=MARGIN + STEP * (row + 0.5) + rng.uniform(-0.5, 0.5, n),
        fraction=np.full(n, fraction),
        radius=radius,
        axis_ratio=ratio,
        angle=rng.uniform(0, 180, n),
        flux=brightness * np.array(SIGMA) * np.sqrt(area.T),
        bulge_size=bulge_size,
    )


def with_neighbours(galaxies: Galaxies, rng: np.random.Generator, *, ratio: float, distance: float) -> Galaxies:
    """Each galaxy with a neighbour of its colour, brighter by a ratio, at a distance in pixels in any direction.

    The neighbours, which follow the galaxies, have as much light in a bulge as in a disc. All are as much farther from
    the edges as they are from each other, for `make_patch` with that ``border``.
    """
    angle = rng.uniform(0, 2 * np.pi, len(galaxies.x))
    both = {name: np.tile(getattr(galaxies, name).T, 2).T for name in ("radius", "axis_ratio", "angle")}
    return Galaxies(
        x=distance + np.concatenate([galaxies.x, galaxies.x + distance * np.cos(angle)]),
        y=distance + np.concatenate([galaxies.y, galaxies.y + distance * np.sin(angle)]),
        fraction=np.concatenate([galaxies.fraction, np.full(len(angle), 0.5)]),
        flux=np.concatenate([galaxies.flux, ratio * galaxies.flux]),
        bulge_size=galaxies.bulge_size,
        **both,
    )


def psf_of(band: int) -> galsim.GSObject:
    """A Moffat profile, which is not round."""
    return galsim.Moffat(beta=3.5, fwhm=FWHM[band]).shear(g1=0.03, g2=-0.02)


def profile_of(galaxies: Galaxies, number: int) -> galsim.GSObject:
    """One galaxy of unit flux, before the seeing."""
    radius, fraction = galaxies.radius[number], galaxies.fraction[number]
    disc = galsim.Exponential(half_light_radius=radius)
    size = radius * galaxies.bulge_size
    bulge = galsim.DeVaucouleurs(half_light_radius=size, trunc=8 * size, flux_untruncated=True)
    mixed = disc * (1 - fraction) + bulge / bulge.flux * fraction
    return mixed.shear(q=galaxies.axis_ratio[number], beta=galaxies.angle[number] * galsim.degrees)


def _draw(galaxies: Galaxies, band: int, shape: tuple[int, int]) -> np.ndarray:
    image, half, psf = np.zeros(shape), STEP // 2 + MARGIN - 2, psf_of(band)
    for number, (x, y) in enumerate(zip(galaxies.x, galaxies.y, strict=True)):
        seen = galsim.Convolve(profile_of(galaxies, number) * galaxies.flux[number, band], psf)
        column, row = round(x), round(y)
        place = {"nx": 2 * half + 1, "ny": 2 * half + 1, "scale": PIXEL_SCALE, "offset": (x - column, y - row)}
        stamp = seen.drawImage(**place, method="no_pixel", dtype=float).array
        image[row - half : row + half + 1, column - half : column + half + 1] += stamp
    return image


def make_patch(galaxies: Galaxies, rng: np.random.Generator, *, side: int | None = None, border: int = 0) -> PatchCube:
    """The galaxies in all bands with white noise.

    ``side`` is the number of galaxies of the square in each direction, if there are others besides, and ``border`` the
    number of pixels added on each side.
    """
    extent = 2 * MARGIN + STEP * (side or round(np.sqrt(len(galaxies.x)))) + 2 * border
    planes = {}
    for number, band in enumerate(BANDS):
        stamp = psf_of(number).drawImage(nx=61, ny=61, scale=PIXEL_SCALE, method="no_pixel", dtype=float).array
        image, noise = rng.normal(0, SIGMA[number], (2, extent, extent))
        image += _draw(galaxies, number, image.shape)
        planes[band] = BandPlanes(
            image=image.astype(np.float32),
            variance=np.full(image.shape, SIGMA[number] ** 2, np.float32),
            mask=np.zeros(image.shape, np.int32),
            psf=np.broadcast_to(stamp / stamp.sum(), (3, 4, *stamp.shape)).astype(np.float32),
            noise=noise.astype(np.float32),
            input_count=np.full(image.shape, 2, np.int16),
            psf_light=float(stamp.sum()),
        )
    return make_cube(planes, x0=400, y0=700, pixel_scale=PIXEL_SCALE)
