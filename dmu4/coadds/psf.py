"""PSFs of the cells of a coadd: input PSFs, resampled with the same kernel and averaged with the same weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from lsst.images import Box, Image
from numba import njit
from scipy.ndimage import maximum_filter, minimum_filter

from dmu4.coadds.planes import CoaddInput, CoaddPlanes, signatures
from dmu4.coadds.resample import MARGIN, CoordinateGrid, interpolate, lanczos_table
from obs_vista.masks import BIT

PHASES = ((-0.25, -0.25), (0.25, -0.25), (-0.25, 0.25), (0.25, 0.25))
"""Positions (x, y) of a star within its pixel. The effect of interpolation depends on the position, and the average
over these four equals that over all; a star at the centre of a pixel alone would give a PSF whose peak is 3% too high
at a seeing of 2 px. None is at 0.5, where Piff and LSST's box of its stamp round to different pixels."""

NODES = 3
"""Number of positions along each axis of a detector at which its PSF is drawn; bilinear in between."""

STEP = 256
"""Distance in output pixels between the positions at which a PSF is resampled: at multiples, so that patches agree."""


class Psf(Protocol):
    """The interface of the PSF of an input."""

    @property
    def kernel_bbox(self) -> Box:
        """Box of a stamp centred on (0, 0)."""

    def compute_stellar_image(self, *, x: float, y: float) -> Image:
        """A star of flux 1 at (x, y), on the image's pixels."""


def psf_nodes(psf: Psf, bbox: Box) -> np.ndarray:
    """Draw a PSF at nodes over a detector.

    Returns
    -------
    stamps
        Stars [node row, node column, phase, y, x], float32. The nodes include the corners of ``bbox``; each star is
        displaced by a phase from the centre of the middle pixel.
    """
    reach = psf.kernel_bbox.y.stop - 1
    stamps = np.zeros((NODES, NODES, len(PHASES), 2 * reach + 1, 2 * reach + 1), np.float32)
    for j, y in enumerate(np.linspace(bbox.y.start, bbox.y.stop - 1, NODES).round().astype(int)):
        for i, x in enumerate(np.linspace(bbox.x.start, bbox.x.stop - 1, NODES).round().astype(int)):
            frame = Box.factory[y - reach : y + reach + 1, x - reach : x + reach + 1]
            for k, (dx, dy) in enumerate(PHASES):
                star = psf.compute_stellar_image(x=float(x + dx), y=float(y + dy))
                common = star.bbox.intersection(frame)
                stamps[j, i, k][common.slice_within(frame)] = star.array[common.slice_within(star.bbox)]
    return stamps


def stamp_size(nodes: np.ndarray, grid: CoordinateGrid, box: Box) -> int:
    """Side in output pixels (odd) of a stamp that contains the resampled stamps of an input."""
    _, _, matrix = grid.at(x=box.x.center, y=box.y.center)
    return 2 * int(nodes.shape[-1] / (2 * np.sqrt(abs(np.linalg.det(matrix))))) + 1


@njit(cache=True, nogil=True)
def _warp_stamps(stamps, matrix, phases, table, taps, out):
    """Add the stamps, resampled so that their stars are centred in ``out``; stamps have a margin of `MARGIN`."""
    half_out, half_in, width = out.shape[0] // 2, stamps.shape[1] // 2, len(taps)
    steps, left = table.shape[0] - 1, width // 2 - 1
    for k in range(stamps.shape[0]):
        for y in range(out.shape[0]):
            for x in range(out.shape[1]):
                u = half_in + phases[k, 0] + matrix[0, 0] * (x - half_out) + matrix[0, 1] * (y - half_out)
                v = half_in + phases[k, 1] + matrix[1, 0] * (x - half_out) + matrix[1, 1] * (y - half_out)
                i, j = int(np.floor(u)), int(np.floor(v))
                if i < left or j < left or i - left + MARGIN > stamps.shape[2] or j - left + width > stamps.shape[1]:
                    continue
                ku, kv = np.uint64((u - i) * steps + 0.5), np.uint64((v - j) * steps + 0.5)
                out[y, x] += interpolate(stamps, k, np.uint64(i - left), np.uint64(j - left), ku, kv, table, taps)


def warped_psf(
    nodes: np.ndarray, bbox: Box, grid: CoordinateGrid, *, x: float, y: float, size: int, order: int
) -> np.ndarray:
    """The PSF of one input at an output position, on the output grid, normalised to a sum of 1.

    Parameters
    ----------
    nodes, bbox
        PSF of a detector from `psf_nodes`, and box of the detector.
    grid
        Coordinate grid of the detector.
    x, y
        Output position in pixels.
    size
        Side of the stamp in pixels.
    order
        Order of the Lanczos kernel.
    """
    u, v, matrix = grid.at(x=x, y=y)
    s = np.clip((u - bbox.x.start) / (bbox.x.size - 1), 0, 1) * (NODES - 1)
    t = np.clip((v - bbox.y.start) / (bbox.y.size - 1), 0, 1) * (NODES - 1)
    i, j = min(int(s), NODES - 2), min(int(t), NODES - 2)
    lower = (1 - (s - i)) * nodes[j, i] + (s - i) * nodes[j, i + 1]
    upper = (1 - (s - i)) * nodes[j + 1, i] + (s - i) * nodes[j + 1, i + 1]
    stamps = (1 - (t - j)) * lower + (t - j) * upper
    stamps = np.pad(stamps, ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN))).astype(np.float32)
    out = np.zeros((size, size))
    _warp_stamps(stamps, matrix, np.array(PHASES), lanczos_table(order), (0,) * (2 * order), out)
    return out / out.sum()


def nominal_inputs(cell_counts: np.ndarray) -> np.ndarray:
    """The inputs of the PSF of each cell: those in more than half as many pixels as the most frequent input.

    Parameters
    ----------
    cell_counts
        Number of pixels [cell row, cell column, input], see `CoaddPlanes`.

    Returns
    -------
    nominal
        Whether each input contributes to the PSF [cell row, cell column, input].
    """
    most = cell_counts.max(axis=2, keepdims=True, initial=0)
    return 2 * cell_counts > np.maximum(most, 1)


def input_labels(nominal: np.ndarray) -> np.ndarray:
    """Label of the set of inputs of each cell [cell row, cell column], as in `CoaddPlanes.signature`; 0 for none."""
    return np.bitwise_xor.reduce(np.where(nominal, signatures(nominal.shape[2]), np.uint32(0)), axis=2)


def on_pixels(cells: np.ndarray, cell: int) -> np.ndarray:
    """Values of cells [cell row, cell column] on their pixels [y, x]."""
    return np.repeat(np.repeat(cells, cell, axis=0), cell, axis=1)


def cell_centre(box: Box, cell: int, j: int, i: int) -> tuple[float, float]:
    """Output pixel (x, y) of the middle of the cell in row ``j`` and column ``i``."""
    return box.x.start + (i + 0.5) * cell - 0.5, box.y.start + (j + 0.5) * cell - 0.5


def cell_psfs(psfs: InputPsfs, nominal: np.ndarray, *, cell: int) -> np.ndarray:
    """The PSF of each cell at its centre.

    Parameters
    ----------
    psfs
        PSFs of the inputs.
    nominal
        Inputs of each cell, from `nominal_inputs`.
    cell
        Side of a cell in pixels.

    Returns
    -------
    stamps
        PSF stamps [cell row, cell column, y, x] of odd size, each of sum 1; NaN in cells without inputs.
    """
    size = psfs.size(nominal.any(axis=(0, 1)))
    stamps = np.full((*nominal.shape[:2], size, size), np.nan)
    for j, i in np.argwhere(nominal.any(axis=2)):
        stamps[j, i] = psfs.mean_at(nominal[j, i], *cell_centre(psfs.box, cell, j, i), size=size)
    return stamps


class InputPsfs:
    """PSFs of the inputs of a coadd on its pixels, each resampled once, whatever asks for it.

    Parameters
    ----------
    inputs, nodes
        Inputs, and PSF of each from `psf_nodes`, in the same order.
    box
        Output pixels.
    order
        Order of the Lanczos kernel.
    """

    def __init__(self, inputs: Sequence[CoaddInput], nodes: Sequence[np.ndarray], box: Box, *, order: int) -> None:
        self.box, self._inputs, self._nodes, self._order = box, inputs, nodes, order
        self._resampled: dict[tuple[int, int], ResampledPsf] = {}

    def size(self, used: np.ndarray) -> int:
        """Odd side in output pixels of a stamp that holds the PSF of each of the ``used`` inputs (boolean)."""
        return max((stamp_size(self._nodes[n], self._inputs[n].grid, self.box) for n in _numbers(used)), default=1)

    def mean_at(self, members: np.ndarray, x: float, y: float, *, size: int) -> np.ndarray:
        """The PSF, of sum 1, where the inputs ``members`` (boolean) contribute: the weighted mean of theirs."""
        stamps = [self._inputs[n].weight * self._of_input(n, size).at(x=x, y=y) for n in _numbers(members)]
        total = np.sum(stamps, axis=0)
        return total / total.sum()

    def _of_input(self, n: int, size: int) -> ResampledPsf:
        if (n, size) not in self._resampled:
            self._resampled[n, size] = ResampledPsf(self._nodes[n], self._inputs[n], size, self._order)
        return self._resampled[n, size]


def _numbers(used: np.ndarray) -> list[int]:
    return [int(n) for n in np.flatnonzero(used)]


class ResampledPsf:
    """The PSF of one input on the output grid, resampled at nodes and bilinear in between."""

    def __init__(self, nodes: np.ndarray, source: CoaddInput, size: int, order: int) -> None:
        self._draw = lambda i, j: warped_psf(
            nodes, source.bbox, source.grid, x=float(i * STEP), y=float(j * STEP), size=size, order=order
        )
        self._known: dict[tuple[int, int], np.ndarray] = {}

    def _node(self, i: int, j: int) -> np.ndarray:
        if (i, j) not in self._known:
            self._known[i, j] = self._draw(i, j)
        return self._known[i, j]

    def at(self, *, x: float, y: float) -> np.ndarray:
        """The stamp at an output position."""
        i, j = int(x // STEP), int(y // STEP)
        s, t = x / STEP - i, y / STEP - j
        lower = (1 - s) * self._node(i, j) + s * self._node(i + 1, j)
        upper = (1 - s) * self._node(i, j + 1) + s * self._node(i + 1, j + 1)
        return (1 - t) * lower + t * upper


def mark_inexact(planes: CoaddPlanes, nominal: np.ndarray, *, cell: int, reach: int = 6) -> None:
    """Set INEXACT_PSF where the inputs of a pixel differ from those of its cell's PSF.

    It is also set within ``reach`` pixels (1" on HSC's grid) of a cell with different inputs, because part of a star
    there lies on pixels with a different PSF.
    """
    expected = on_pixels(input_labels(nominal), cell)
    around = {"size": 2 * reach + 1, "mode": "nearest"}
    seam = maximum_filter(expected, **around) != minimum_filter(expected, **around)
    planes.mask[(planes.count > 0) & (seam | (planes.signature != expected))] |= BIT["INEXACT_PSF"]
