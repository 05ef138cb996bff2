"""What a coadd is made from and what it consists of: settings, inputs on their own pixels, planes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from lsst.images import Box

from dmu4.coadds.artefacts import RejectionLimits
from dmu4.coadds.resample import CoordinateGrid
from obs_vista.masks import bits


@dataclass(frozen=True)
class CoaddSettings:
    """Settings of the coaddition.

    Attributes
    ----------
    order
        Order of the Lanczos kernel.
    drop
        Mask bits of input pixels that are excluded. Gaps of up to ``order`` pixels are interpolated first, so that the
        kernel does not ring; output pixels that lie on interpolated pixels have no value of this input.
    propagate
        Mask bits that the coadd inherits from any input that contributes.
    whole
        Fraction of a cell in which an input must have data to contribute to the cell: one that ends inside the cell
        would give it two PSFs. If no input fills a cell, all are used.
    rejection
        Limits of the comparison of epochs; None disables it.
    n_noise
        Number of noise realizations to propagate.
    threads
        Number of threads over rows of cells, which does not affect the result.
    memory
        Memory limit for input pixels in bytes; beyond it the patch is processed in strips of rows.
    """

    order: int = 3
    drop: int = int(bits("NO_DATA", "BAD", "CR", "STREAK"))
    propagate: int = int(bits("SAT", "INTRP", "SUSPECT", "EDGE"))
    whole: float = 0.9
    rejection: RejectionLimits | None = field(default_factory=RejectionLimits)
    n_noise: int = 1
    threads: int = 2
    memory: int = 1_000_000_000


@dataclass(frozen=True)
class CoaddInput:
    """One detector image on its own pixels.

    Attributes
    ----------
    name
        Name of the image in messages, which also defines the order of addition.
    bbox
        Box of the whole image.
    grid
        Coordinate grid of the image over the whole output box.
    read
        Function that returns image (nJy), variance (nJy^2) and mask (bits of `BIT`) of a sub-box of ``bbox``, as
        float32 and int32 arrays that may be modified.
    weight
        Weight of the whole image, so that the PSF of the coadd is the same weighted mean everywhere.
    seeing
        FWHM of the PSF in arcsec.
    noise_kernel
        Kernel of the correlated noise, from `correlated_noise.noise_kernel`.
    seed
        Seed of the noise realization; an image has the same noise in every patch.
    """

    name: str
    bbox: Box
    grid: CoordinateGrid
    read: Callable[[Box], tuple[np.ndarray, np.ndarray, np.ndarray]]
    weight: float
    seeing: float
    noise_kernel: np.ndarray = field(default_factory=lambda: np.ones((1, 1)))
    seed: int = 0


@dataclass(frozen=True)
class CoaddPlanes:
    """The result of `make_coadd` over the output box [y, x].

    Attributes
    ----------
    planes
        Weighted mean (nJy, NaN without data) and the noise realizations averaged in the same way [1 + n_noise, y, x].
    variance
        Variance in nJy^2; infinite without data.
    mask
        Mask bits of `BIT`.
    count
        Number of inputs that contribute.
    rejected
        Fraction of the weight that was rejected or dropped, 0 to 1.
    signature
        Label of the set of inputs that contribute to a pixel; 0 for none.
    cell_counts
        Number of pixels of a cell to which an input contributes [cell row, cell column, input].
    clipped
        Number of pixels of each input rejected by the comparison of epochs.
    sets
        (cell row, cell column) -> the sets of inputs that contribute to at least `MIN_ZONE` of the cell, as pairs of
        signature and boolean array [input].
    """

    planes: np.ndarray
    variance: np.ndarray
    mask: np.ndarray
    count: np.ndarray
    rejected: np.ndarray
    signature: np.ndarray
    cell_counts: np.ndarray
    clipped: np.ndarray
    sets: dict[tuple[int, int], list[tuple[int, np.ndarray]]] = field(default_factory=dict)

    @property
    def image(self) -> np.ndarray:
        """The weighted mean in nJy [y, x]."""
        return self.planes[0]

    @property
    def noise(self) -> np.ndarray:
        """The noise realizations [n_noise, y, x] in nJy."""
        return self.planes[1:]


def signatures(n: int) -> np.ndarray:
    """A random but fixed 32-bit label of each input; the exclusive or of labels identifies a set of inputs."""
    return np.random.default_rng(1).integers(1, 2**32, n, dtype=np.uint32)
