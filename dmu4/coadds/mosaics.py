"""Published images on pixels of their own, brought on to the pixels of a patch like the detectors of a coadd are.

One resampling by the engine of coadds does images, variances, masks and noise in one pass (`dmu4.coadds.stack`); where
several tiles of a mosaic reach a patch, they are coadded. Their PSFs, given or fitted to stars, are resampled as well.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from astropy.wcs import WCS
from lsst.images import Box, Image

from dmu0.published.noise import BOX
from dmu0.published.planes import OpticalCoadd
from dmu0.sky.tract import Patch
from dmu4.coadds.cell_coadd import cell_size
from dmu4.coadds.correlated_noise import noise_kernel, sky_noise_correlation
from dmu4.coadds.planes import CoaddInput, CoaddPlanes, CoaddSettings
from dmu4.coadds.psf import InputPsfs, Psf, cell_psfs, mark_inexact, nominal_inputs, psf_nodes
from dmu4.coadds.psf_from_stars import FittedPsf, in_words, of_the_best, psf_from_stars
from dmu4.coadds.resample import CoordinateGrid, PixelMap, coordinate_grid
from dmu4.coadds.stack import make_coadd
from dmu4.coadds.star_stamps import shifted_stamp
from obs_vista.masks import BIT, PLANES, bits

ORDER = 5
"""Order of the Lanczos kernel: stars of 2.1 pixels FWHM keep their flux to 9e-5 wherever they lie on the pixels; with
order 3, stars of 3.7 pixels keep it to 1.4e-4."""

MARGIN = 500
"""Pixels around an image within which positions are computed: beyond, distortions may have any value."""

COARSE = 1.5
"""Pixels of an image in one of the patch above which depth is lost: in white noise, its error grows by this factor."""

_TOLERANCE = 5e-5
"""Pixels of the image by which a position between the nodes of the coordinate grid may be wrong."""


def mosaic_settings(*, n_noise: int, threads: int) -> CoaddSettings:
    """How published images are resampled.

    Only pixels without data are left out, every mask plane is kept that is not made anew for the patch, and so is
    every pixel: unlike exposures, tiles lie side by side, and there may be no other where one ends.
    """
    kept = [name for name in PLANES if name not in ("NO_DATA", "CLIPPED", "REJECTED", "INEXACT_PSF", "BRIGHT_OBJECT")]
    return CoaddSettings(
        order=ORDER,
        drop=int(BIT["NO_DATA"]),
        whole=0.0,
        propagate=int(bits(*kept)),
        rejection=None,
        n_noise=n_noise,
        threads=threads,
    )


def image_map(output: WCS, source: WCS, shape: tuple[int, int]) -> PixelMap:
    """The map from pixels of a tract to pixels of an image; NaN further than `MARGIN` from the image.

    Parameters
    ----------
    output
        Projection of the tract.
    source, shape
        Projection of the image, and its rows and columns.
    """

    def apply(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        sky = np.stack(output.pixel_to_world_values(x, y), axis=-1).reshape(-1, 2)
        pixels = np.full(sky.shape, np.nan)
        on_sky = np.isfinite(sky).all(axis=1)
        pixels[on_sky] = source.wcs_world2pix(sky[on_sky], 0)
        # Written so that NaN is far away.
        near = (np.abs(pixels - np.array(shape[::-1]) / 2) < np.array(shape[::-1]) / 2 + MARGIN).all(axis=1)
        if source.has_distortion and near.any():
            pixels[near] = source.all_world2pix(sky[near], 0, tolerance=1e-6, maxiter=50)
        pixels[~near] = np.nan
        u, v = pixels.T.reshape(2, *np.shape(x))
        return u, v

    return apply


def image_grid(patch: Patch, wcs: WCS, shape: tuple[int, int]) -> CoordinateGrid:
    """The pixels of an image on the pixels of a patch.

    Raises
    ------
    GridError
        If the projections cannot be interpolated.
    """
    return coordinate_grid(patch.image_bbox, image_map(patch.tract.wcs, wcs, shape), tolerance=_TOLERANCE)


def part_to_read(grid: CoordinateGrid, shape: tuple[int, int]) -> Box | None:
    """The pixels of an image that a patch looks at, or None.

    They begin and end at multiples of the boxes in which the scatter of the sky is measured, with a box around them, so
    that two patches which share sky find the same variance there.
    """
    reach = grid.reach(slice(None), margin=2 * ORDER + 2)
    if reach is None:
        return None
    u_min, u_max, v_min, v_max = reach
    if u_max < 0 or v_max < 0 or u_min >= shape[1] or v_min >= shape[0]:
        return None
    low = [max((int(edge) // BOX - 1) * BOX, 0) for edge in (u_min, v_min)]
    high = [min((int(edge) // BOX + 2) * BOX, size) for edge, size in ((u_max, shape[1]), (v_max, shape[0]))]
    return Box.factory[low[1] : high[1], low[0] : high[0]]


def image_pixels_per_pixel(grid: CoordinateGrid, patch: Patch) -> float:
    """Side of a pixel of the patch in pixels of an image; well above 1, resampling leaves out most of its pixels."""
    _, _, matrix = grid.at(x=patch.image_bbox.x.center, y=patch.image_bbox.y.center)
    return float(np.sqrt(abs(np.linalg.det(matrix))))


def mosaic_input(coadd: OpticalCoadd, grid: CoordinateGrid, *, name: str) -> CoaddInput | None:
    """A published image as the engine takes it; None if it has no data.

    Parameters
    ----------
    coadd
        The image, or a part of it.
    grid
        Its pixels on those of the patch, of `image_grid`.
    name
        Its name, from which its noise is drawn: the same in every patch.
    """
    used = np.isfinite(coadd.variance)
    if not used.any():
        return None
    box = Box.from_shape(coadd.image.shape, start=coadd.corner[::-1])

    def read(area: Box) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        part = area.slice_within(box)
        return coadd.image[part].copy(), coadd.variance[part].copy(), coadd.mask[part].copy()

    correlation = sky_noise_correlation(coadd.image, coadd.variance, coadd.mask, drop=int(BIT["NO_DATA"]))
    return CoaddInput(
        name=name,
        bbox=box,
        grid=grid,
        read=read,
        weight=1 / float(np.median(coadd.variance[used])),
        seeing=1.0,  # for the comparison of epochs, which there is not
        noise_kernel=noise_kernel(correlation),
        seed=zlib.crc32(name.encode()),
    )


def resample_mosaic(inputs: Sequence[CoaddInput], patch: Patch, settings: CoaddSettings) -> CoaddPlanes:
    """The images on the pixels of the outer box of a patch.

    Pixels near a seam of two tiles are marked INEXACT_PSF, as in coadds of detectors.
    """
    cell = cell_size(patch)
    planes = make_coadd(inputs, patch.image_bbox, cell=cell, settings=settings)
    if len(inputs) > 1:
        mark_inexact(planes, nominal_inputs(planes.cell_counts), cell=cell)
    return planes


class StampPsf:
    """A PSF that is one stamp all over an image."""

    def __init__(self, stamp: np.ndarray) -> None:
        self.stamp, reach = stamp, stamp.shape[0] // 2
        self.kernel_bbox = Box.factory[-reach : reach + 1, -reach : reach + 1]

    def compute_stellar_image(self, *, x: float, y: float) -> Image:
        """A star of flux 1 at (x, y)."""
        i, j, reach = int(np.floor(x + 0.5)), int(np.floor(y + 0.5)), self.stamp.shape[0] // 2
        moved = shifted_stamp(self.stamp, x=i - x, y=j - y)
        return Image(moved, bbox=Box.factory[j - reach : j + reach + 1, i - reach : i + reach + 1])


def stamp_psfs(
    psfs: Sequence[Psf], inputs: Sequence[CoaddInput], planes: CoaddPlanes, patch: Patch, *, order: int
) -> np.ndarray:
    """The PSF of each cell from those of the images on their own pixels, as `dmu4.coadds.psf.cell_psfs` gives it."""
    nodes = [psf_nodes(psf, one.bbox) for psf, one in zip(psfs, inputs, strict=True)]
    nominal = nominal_inputs(planes.cell_counts)
    return cell_psfs(InputPsfs(inputs, nodes, patch.image_bbox, order=order), nominal, cell=cell_size(patch))


def image_psfs(inputs: Sequence[CoaddInput], *, max_stars: int) -> list[FittedPsf]:
    """The PSF of each image on its own pixels, fitted to the stars of the part of it that was read."""
    starts = [(one.bbox.x.start, one.bbox.y.start) for one in inputs]
    found = [
        psf_from_stars(*one.read(one.bbox), start=start, max_stars=max_stars)
        for one, start in zip(inputs, starts, strict=True)
    ]
    return of_the_best(found, starts)


def light_on_stamps(psfs: Sequence[FittedPsf], inputs: Sequence[CoaddInput], planes: CoaddPlanes) -> float:
    """Fraction of a star's light that falls on a stamp, averaged over the images with the weights of their pixels."""
    weights = planes.cell_counts.sum(axis=(0, 1)) * [one.weight for one in inputs]
    return float(np.average([psf.light for psf in psfs], weights=weights))


def psf_source(psfs: Sequence[FittedPsf]) -> str:
    """Where the PSFs of images are from, in words; a tile with the PSF of another has no stars of its own."""
    return in_words(sum({id(psf.psf): psf.n_stars for psf in psfs}.values()))
