"""Models of sources across discontinuities of the PSF: each pixel of a stamp uses the PSF of the coadd there."""

from __future__ import annotations

import numba
import numpy as np

from dmu4.coadds.psf_zones import LEFT_OUT
from dmu4.measurement.profiles import Profiles
from dmu4.measurement.stamps import Kernels, StampSet, render
from dmu4.patches.band_psf import BandPsf

BLOCK = 16
"""Side in pixels of the blocks in which inputs are looked up first: few stamps reach a block with others."""

MIXED, NO_INPUTS = -1, -2
"""Values of blocks with several sets of inputs, and with none; those of sets are not negative."""


@numba.njit(nogil=True, cache=True)
def _psf_at(zone: np.ndarray, rows: int, columns: int, y: int, x: int) -> int:
    """Number of the PSF of one pixel; -1 if it is excluded from fits."""
    number = zone[y, x]
    if number == LEFT_OUT:
        return -1
    if number > 0:
        return rows * columns + number - 1
    ny, nx = zone.shape
    return (2 * y + 1) * rows // (2 * ny) * columns + (2 * x + 1) * columns // (2 * nx)


@numba.njit(nogil=True, cache=True)
def input_blocks(inputs: np.ndarray, zone: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """The set of inputs of blocks of `BLOCK` pixels [row, column]: `MIXED` where pixels have different ones, and
    `NO_INPUTS` where no pixel has a PSF.

    Parameters
    ----------
    inputs
        Identifier of the set of inputs of each PSF.
    zone
        Zone of each pixel [y, x].
    rows, columns
        Numbers of cells.
    """
    ny, nx = zone.shape
    blocks = np.full((-(-ny // BLOCK), -(-nx // BLOCK)), NO_INPUTS, np.int64)
    for y in range(ny):
        row = blocks[y // BLOCK]
        for x in range(nx):
            known = row[x // BLOCK]
            if known == MIXED:
                continue
            number = _psf_at(zone, rows, columns, y, x)
            if number >= 0:
                here = np.int64(inputs[number])
                row[x // BLOCK] = here if known in (NO_INPUTS, here) else MIXED
    return blocks


@numba.njit(nogil=True, cache=True)
def _alone(blocks: np.ndarray, own: np.int64, x0: int, y0: int, size: int) -> bool:
    """Whether the blocks of a stamp have no other inputs than ``own``."""
    ny, nx = blocks.shape
    for row in range(max(y0 // BLOCK, 0), min((y0 + size - 1) // BLOCK + 1, ny)):
        for column in range(max(x0 // BLOCK, 0), min((x0 + size - 1) // BLOCK + 1, nx)):
            if blocks[row, column] != own and blocks[row, column] != NO_INPUTS:
                return False
    return True


@numba.njit(nogil=True, cache=True)
def _foreign_psfs(
    size: np.ndarray,
    x0: np.ndarray,
    y0: np.ndarray,
    cell: np.ndarray,
    inputs: np.ndarray,
    zone: np.ndarray,
    rows: int,
    columns: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (source, PSF): the PSFs of other inputs than its own that pixels of its stamp have, one of each set."""
    sources, psfs = [0 for _ in range(0)], [0 for _ in range(0)]
    blocks = input_blocks(inputs, zone, rows, columns)
    ny, nx = zone.shape
    for i in range(len(size)):
        own, first = inputs[cell[i]], len(sources)
        if _alone(blocks, np.int64(own), x0[i], y0[i], size[i]):
            continue
        for y in range(max(y0[i], 0), min(y0[i] + size[i], ny)):
            last = own
            for x in range(max(x0[i], 0), min(x0[i] + size[i], nx)):
                number = _psf_at(zone, rows, columns, y, x)
                if number < 0 or inputs[number] == own or inputs[number] == last:
                    continue
                last, known = inputs[number], False
                for k in range(first, len(sources)):
                    known = known or inputs[psfs[k]] == last
                if not known:
                    sources.append(i)
                    psfs.append(number)
    return np.array(sources, np.int64), np.array(psfs, np.int64)


@numba.njit(nogil=True, cache=True)
def _put(target, offset, size, x0, y0, foreign, at, sources, psfs, inputs, zone, rows, columns):
    """Copy the pixels of the ``foreign`` stamps to the stamps of their sources where the coadd has their PSF."""
    ny, nx = zone.shape
    for k in range(len(sources)):
        i, wanted = sources[k], inputs[psfs[k]]
        for y in range(max(y0[i], 0), min(y0[i] + size[i], ny)):
            for x in range(max(x0[i], 0), min(x0[i] + size[i], nx)):
                number = _psf_at(zone, rows, columns, y, x)
                if number >= 0 and inputs[number] == wanted:
                    pixel = (y - y0[i]) * size[i] + x - x0[i]
                    target[offset[i] + pixel] = foreign[at[k] + pixel]


def _longer(pixels: np.ndarray, more: int) -> np.ndarray:
    """An array with room for more values at its end; where possible the same one, without a copy in memory."""
    if not pixels.flags.owndata:
        return np.concatenate([pixels, np.empty(more, pixels.dtype)])
    pixels.resize(len(pixels) + more, refcheck=False)
    return pixels


def follow_pixels(own: StampSet, profiles: Profiles, psf: BandPsf) -> StampSet:
    """The models of sources in the coadd, with a different PSF beyond a discontinuity.

    At a pixel p the coadd is sum_k w_k I_k(p) / sum_k w_k over the inputs k that contribute there, and the PSF is the
    same mean of theirs; a star near the end of an input has both PSFs, each on its own pixels. Between PSFs of one set
    of inputs, whose change is smooth, that at the centre of a source is used for its whole stamp.

    Parameters
    ----------
    own
        Models with the PSF at the centre of each source; the array of their pixels may become longer.
    profiles
        The same sources.
    psf
        PSFs of the band.

    Returns
    -------
    StampSet
        Models; those of sources without a discontinuity are those of ``own`` and share their memory.
    """
    if psf.zone is None or not len(own):
        return own
    corners, steps = (own.size, own.x0, own.y0), (psf.inputs, psf.zone, *psf.cells)
    cell = psf.at(x=profiles.x, y=profiles.y)
    sources, psfs = _foreign_psfs(*corners, cell, *steps)
    if not len(sources):
        return own
    foreign = render(profiles.subset(sources), Kernels(psf.stamps), psfs)
    changed = np.unique(sources)
    areas = own.size[changed] ** 2
    offset = own.offset.copy()
    offset[changed] = len(own.pixels) + np.concatenate([[0], np.cumsum(areas)[:-1]])
    pixels = _longer(own.pixels, int(areas.sum()))
    for number in changed:
        pixels[offset[number] :][: own.size[number] ** 2] = own[number].ravel()
    _put(pixels, offset, *corners, foreign.pixels, foreign.offset, sources, psfs, *steps)
    return StampSet(pixels=pixels, offset=offset, size=own.size, x0=own.x0, y0=own.y0)
