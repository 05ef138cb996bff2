"""Mosaics of one sky on unequal, rotated pixels of their own: an optical one and a VISTA one, as surveys publish them.

Sources are Gaussians on the sky, which stay Gaussians on any pixels: fluxes, positions and widths are formulas. The
seeing may have the wings of a Moffat profile, which is an integral over Gaussians.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from scipy.special import gammaln

from dmu0.robust_statistics import SIGMA_TO_FWHM
from dmu0.sky.skymap import make_sky_map
from dmu0.sky.tract import Patch
from dmu0.surveys import SkyMapConfig
from obs_vista.photometry import flux_of
from obs_vista.world_coordinates import icrs_wcs
from tests.scenes.patches import add_gaussian, correlated_noise

CENTRE = (150.1, 2.2)
"""Middle of the field, ICRS deg."""

ZERO_POINT = 30.0
"""AB magnitude of one count."""


def cards_of(
    *, scale: float, angle: float, shape: tuple[int, int], kind: str = "TAN", offset: tuple[float, float] = (0, 0)
) -> fits.Header:
    """Cards of a projection about `CENTRE`.

    Parameters
    ----------
    scale
        Side of a pixel in arcsec.
    angle
        Rotation of the pixels on the sky in degrees.
    shape
        Rows and columns.
    kind
        TAN, or ZPN with the distortion of VIRCAM and the centre of the focal plane half a degree away.
    offset
        Pixels (x, y) from the middle of the image to the middle of the field.
    """
    header = fits.Header()
    cosine, sine = np.cos(np.radians(angle)) * scale / 3600, np.sin(np.radians(angle)) * scale / 3600
    for axis, name in enumerate(("RA---", "DEC--"), start=1):
        header[f"CTYPE{axis}"] = name + kind
        header[f"CUNIT{axis}"] = "deg"
        header[f"CRVAL{axis}"] = CENTRE[axis - 1]
        header[f"CRPIX{axis}"] = shape[2 - axis] / 2 + offset[axis - 1] + 0.37
    header["CD1_1"], header["CD1_2"], header["CD2_1"], header["CD2_2"] = -cosine, sine, sine, cosine
    header["RADESYS"] = "ICRS"
    if kind == "ZPN":
        header["PV2_1"], header["PV2_3"] = 1.0, 42.0
        header["CRPIX1"] += 1800 * 0.3 / scale
        header["CRVAL2"] += 0.41
        # The middle of the field goes where it belongs.
        x, y = icrs_wcs(header).world_to_pixel_values(*CENTRE)
        header["CRPIX1"] += shape[1] / 2 + offset[0] - float(x)
        header["CRPIX2"] += shape[0] / 2 + offset[1] - float(y)
    return header


@dataclass(frozen=True)
class Sky:
    """Sources of a field.

    Attributes
    ----------
    ra, dec
        ICRS deg.
    flux
        nJy.
    size
        Width of each before the seeing in arcsec, as the sigma of a round Gaussian; 0 for stars.
    """

    ra: np.ndarray
    dec: np.ndarray
    flux: np.ndarray
    size: np.ndarray


def lattice_sky(
    rng: np.random.Generator, *, half: float, spacing: float, magnitudes: tuple[float, float], galaxies: float = 0.0
) -> Sky:
    """Sources on a lattice with some jitter, far enough apart to be measured one by one.

    Parameters
    ----------
    rng
        Random numbers.
    half, spacing
        Half the side of the field and distance of the sources in arcsec.
    magnitudes
        Brightest and faintest AB magnitude.
    galaxies
        Share of extended sources.
    """
    steps = np.arange(-half, half, spacing)
    x, y = (np.ravel(plane) for plane in np.meshgrid(steps, steps))
    x, y = x + rng.uniform(-0.15, 0.15, x.size) * spacing, y + rng.uniform(-0.15, 0.15, x.size) * spacing
    dec = CENTRE[1] + y / 3600
    extended = rng.uniform(size=x.size) < galaxies
    return Sky(
        ra=CENTRE[0] + x / 3600 / np.cos(np.radians(dec)),
        dec=dec,
        flux=flux_of(rng.uniform(*magnitudes, x.size)),
        size=np.where(extended, rng.uniform(0.3, 0.8, x.size), 0.0),
    )


def moffat_as_gaussians(beta: float, step: float = 0.45) -> list[tuple[float, float]]:
    """Shares of the flux and variances, in units of that of a Gaussian of equal FWHM, of the Gaussians in a profile.

    (1 + r^2/a^2)^-beta is the integral of t^(beta - 1) exp(-t) exp(-t r^2/a^2) / Gamma(beta) over t from 0: each term
    is a Gaussian of variance a^2/2t. In steps of log t the sum has the flux of the integral to 2e-5 for beta = 2.5.
    """
    if np.isinf(beta):
        return [(1.0, 1.0)]
    t = np.exp(np.arange(-7, 3.2, step))
    share = (beta - 1) * step * np.exp((beta - 1) * np.log(t) - t - gammaln(beta))
    variance = (SIGMA_TO_FWHM / 2) ** 2 / (2 ** (1 / beta) - 1) / (2 * t)
    return [(one, other) for one, other in zip(share, variance, strict=True) if one > 1e-7]


@dataclass
class Mosaic:
    """An image of a sky on pixels of its own.

    Attributes
    ----------
    cards, shape
        Projection, and rows and columns.
    fwhm
        Seeing in arcsec in the middle of the image.
    gradient
        Relative change of the seeing from the left edge to the right one.
    sigma
        Noise of a pixel in nJy where the weight is 1; by default too little to be seen.
    correlation
        Width in pixels of the filter that correlates the noise.
    weight
        Relative inverse variance [y, x]; 0 where there are no data, and the pixels have senseless values.
    beta
        Slope of the wings of the seeing, a Moffat profile; infinite for a Gaussian.
    """

    cards: fits.Header
    shape: tuple[int, int]
    fwhm: float
    gradient: float = 0.0
    sigma: float = 1e-3
    correlation: float = 0.0
    weight: np.ndarray = field(default_factory=lambda: np.zeros(0))
    beta: float = np.inf

    def __post_init__(self) -> None:
        self.wcs: WCS = icrs_wcs(self.cards)
        if not self.weight.size:
            self.weight = np.ones(self.shape)

    def pixels(self, sky: Sky, rng: np.random.Generator) -> np.ndarray:
        """The image [y, x] in nJy, with its noise."""
        image = np.zeros(self.shape)
        noise = correlated_noise(rng, self.shape, sigma=self.sigma, width=self.correlation)
        image += noise / np.sqrt(np.where(self.weight > 0, self.weight, 1))
        x, y = self.wcs.world_to_pixel_values(sky.ra, sky.dec)
        for source, (at_x, at_y) in enumerate(zip(x, y, strict=True)):
            if -40 < at_x < self.shape[1] + 40 and -40 < at_y < self.shape[0] + 40:
                for share, factor in moffat_as_gaussians(self.beta):
                    xx, yy, xy = self.moments(sky.size[source], x=at_x, y=at_y, factor=factor)
                    add_gaussian(image, x=at_x, y=at_y, xx=xx, yy=yy, xy=xy, flux=share * sky.flux[source])
        image[self.weight <= 0] = 1e6
        return image.astype(np.float32)

    def moments(self, size: float, *, x: float, y: float, factor: float = 1.0) -> tuple[float, float, float]:
        """xx, yy, xy in pixels^2 of a source of some size after the seeing, its variance multiplied by a factor."""
        fwhm = self.fwhm * (1 + self.gradient * (x / self.shape[1] - 0.5))
        variance = factor * (fwhm / SIGMA_TO_FWHM) ** 2 + size**2
        # A round source on the sky is an ellipse on pixels that are not quite square.
        to_pixels = np.linalg.inv(self.jacobian(x=x, y=y))
        matrix = variance * to_pixels @ to_pixels.T
        return matrix[0, 0], matrix[1, 1], matrix[0, 1]

    def jacobian(self, *, x: float, y: float) -> np.ndarray:
        """The matrix d(east, north) / d(x, y) in arcsec per pixel."""
        steps = np.array([[x - 0.5, y], [x + 0.5, y], [x, y - 0.5], [x, y + 0.5]])
        ra, dec = self.wcs.pixel_to_world_values(*steps.T)
        east, north = 3600 * (ra - ra[0]) * np.cos(np.radians(dec[0])), 3600 * (dec - dec[0])
        return np.array([[east[1] - east[0], east[3] - east[2]], [north[1] - north[0], north[3] - north[2]]])


def optical_mosaic(*, shape: tuple[int, int] = (900, 1100), **changes: object) -> Mosaic:
    """An optical mosaic: 0.2 arcsec, TAN, turned by 17 degrees."""
    cards = cards_of(scale=0.2, angle=17.0, shape=shape, offset=(31, -20))
    return Mosaic(**{"cards": cards, "shape": shape, "fwhm": 0.75} | changes)


def vista_mosaic(*, shape: tuple[int, int] = (660, 560), **changes: object) -> Mosaic:
    """A VISTA mosaic: 0.339 arcsec, ZPN, turned by -63 degrees."""
    cards = cards_of(scale=0.339, angle=-63.0, shape=shape, kind="ZPN", offset=(-12, 9))
    return Mosaic(**{"cards": cards, "shape": shape, "fwhm": 0.9} | changes)


def write_mosaic(path: Path, mosaic: Mosaic, image: np.ndarray, *, zero_point: float = ZERO_POINT) -> None:
    """Write an image in counts, and its weight map in a unit of nobody's choice beside it, ``NAME.weight.fits``."""
    scale = float(flux_of(zero_point))
    fits.writeto(path, (image / scale).astype(np.float32), mosaic.cards, overwrite=True)
    fits.writeto(
        path.with_suffix(".weight.fits"), (0.037 * mosaic.weight).astype(np.float32), mosaic.cards, overwrite=True
    )


def field_patch(*, shape: tuple[int, int] = (600, 750)) -> Patch:
    """The one patch of a sky map of 0.2 arcsec in the middle of the field."""
    config = SkyMapConfig(kind="single", name="field", pixel_scale=0.2, centre=CENTRE, shape=shape)
    return make_sky_map(config).tract(0).patch(0)
