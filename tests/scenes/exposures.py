"""Small dithered exposures of one sky and of known truth, on which coadds are tested."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from lsst.images import Box, Image

from dmu0.robust_statistics import SIGMA_TO_FWHM
from dmu4.coadds.correlated_noise import correlated_noise, noise_kernel
from dmu4.coadds.planes import CoaddInput
from dmu4.coadds.psf import psf_nodes
from dmu4.coadds.resample import coordinate_grid

SCALE = 0.168 / 0.3412


class GaussianStar:
    """A PSF that is a Gaussian, sampled at the centres of pixels."""

    def __init__(self, fwhm: float, reach: int = 12) -> None:
        self.sigma, self.reach = fwhm / SIGMA_TO_FWHM, reach
        self.kernel_bbox = Box.factory[-reach : reach + 1, -reach : reach + 1]

    def compute_stellar_image(self, *, x: float, y: float) -> Image:
        """A star of flux 1."""
        i, j = int(np.floor(x + 0.5)), int(np.floor(y + 0.5))
        axis = np.arange(-self.reach, self.reach + 1)
        one, two = (np.exp(-0.5 * ((axis - d) / self.sigma) ** 2) for d in (x - i, y - j))
        box = Box.factory[j - self.reach : j + self.reach + 1, i - self.reach : i + self.reach + 1]
        return Image(np.outer(two, one) / (2 * np.pi * self.sigma**2), bbox=box)


@dataclass
class Exposure:
    """One exposure: where its pixels fall, its seeing (px), noise, and what is on it."""

    box: Box
    offset: tuple[float, float] = (0.0, 0.0)
    angle: float = 0.0
    shape: tuple[int, int] = (220, 220)
    fwhm: float = 2.2
    sigma: float = 1.0
    correlation: float = 0.0
    seed: int = 1
    stars: list[tuple[float, float, float]] = field(default_factory=list)
    weight: float | None = None

    def __post_init__(self) -> None:
        c, s = SCALE * np.cos(self.angle), SCALE * np.sin(self.angle)
        middle_x, middle_y = self.box.x.center, self.box.y.center
        u0, v0 = self.shape[1] / 2 + self.offset[0], self.shape[0] / 2 + self.offset[1]
        self.map = lambda x, y: (
            u0 + c * (np.asarray(x) - middle_x) - s * (np.asarray(y) - middle_y),
            v0 + s * (np.asarray(x) - middle_x) + c * (np.asarray(y) - middle_y),
        )
        self.psf, self.mask = GaussianStar(self.fwhm), np.zeros(self.shape, np.int32)
        self.variance = np.full(self.shape, self.sigma**2, np.float32)
        ring = np.array([[0.3**2, 0.3, 0.3**2], [0.3, 1, 0.3], [0.3**2, 0.3, 0.3**2]])
        self.kernel = (
            noise_kernel(np.where(ring == 1, 1.0, ring * self.correlation / 0.3))
            if self.correlation
            else np.ones((1, 1))
        )
        self.image = correlated_noise(self.variance, self.kernel, seed=self.seed + 77_000)
        for x, y, flux in self.stars:
            self.add_star(x=x, y=y, flux=flux)

    def add_star(self, *, x: float, y: float, flux: float) -> None:
        """Add a star at an output pixel."""
        u, v = (float(value) for value in self.map(x, y))
        star, whole = self.psf.compute_stellar_image(x=u, y=v), Box.from_shape(self.shape)
        if not (-12 < u < self.shape[1] + 12 and -12 < v < self.shape[0] + 12):
            return
        common = star.bbox.intersection(whole)
        self.image[common.slice_within(whole)] += flux * star.array[common.slice_within(star.bbox)]

    def source(self) -> CoaddInput:
        """The exposure as the engine takes it."""
        whole = Box.from_shape(self.shape)

        def read(area: Box) -> tuple[np.ndarray, ...]:
            part = area.slice_within(whole)
            return tuple(plane[part].copy() for plane in (self.image, self.variance, self.mask))

        return CoaddInput(
            name=f"{self.seed:03d}",
            bbox=whole,
            grid=coordinate_grid(self.box, self.map),
            read=read,
            weight=1 / self.sigma**2 if self.weight is None else self.weight,
            seeing=self.fwhm,
            noise_kernel=self.kernel,
            seed=self.seed,
        )

    def nodes(self) -> np.ndarray:
        """Its PSF all over its pixels."""
        return psf_nodes(self.psf, Box.from_shape(self.shape))


def lattice(box: Box, *, spacing: float, margin: float, rng: np.random.Generator) -> np.ndarray:
    """Positions (x, y) on a jittered lattice inside a box, far enough apart to be measured one by one."""
    x = np.arange(box.x.start + margin, box.x.stop - margin, spacing)
    y = np.arange(box.y.start + margin, box.y.stop - margin, spacing)
    points = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
    return points + rng.uniform(-0.5, 0.5, points.shape)


def psf_flux(image: np.ndarray, box: Box, stamp: np.ndarray, *, x: float, y: float) -> float:
    """Flux of a star at a known place from a PSF stamp, shifted to it by Fourier interpolation."""
    half, i, j = stamp.shape[0] // 2, int(np.floor(x + 0.5)), int(np.floor(y + 0.5))
    fy, fx = np.fft.fftfreq(stamp.shape[0])[:, None], np.fft.fftfreq(stamp.shape[1])
    shift = np.exp(-2j * np.pi * (fx * (x - i) + fy * (y - j)))
    model = np.fft.ifft2(np.fft.fft2(stamp) * shift).real
    j0, i0 = j - box.y.start - half, i - box.x.start - half
    pixels = image[j0 : j0 + stamp.shape[0], i0 : i0 + stamp.shape[1]]
    return float((pixels * model).sum() / (model**2).sum())
