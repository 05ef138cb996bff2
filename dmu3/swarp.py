"""Coadds of calibrated images on the grid of a patch, made with SWarp if it is installed, otherwise with reproject."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import sep
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_area
from reproject import reproject_adaptive, reproject_interp

from dmu0.sky.tpv import ProjectionError
from dmu3.swarp_projection import swarp_header, wcs_header

Engine = Literal["swarp", "reproject"]


class CoaddError(RuntimeError):
    """A coadd could not be made; the message names it and gives the reason."""


@dataclass(frozen=True)
class InputImage:
    """One calibrated image to be coadded.

    Attributes
    ----------
    image
        Pixels [y, x] in nJy, with or without a smooth sky.
    weight
        Inverse variance [y, x] in nJy^-2; zero where there are no data.
    wcs
        Transformation from pixels to ICRS; (0, 0) is the centre of the first pixel.
    name
        Name of the image in messages.
    nanojansky
        Flux density of one count of its file, nJy; NaN if it is not known.
    """

    image: np.ndarray
    weight: np.ndarray
    wcs: WCS
    name: str
    nanojansky: float = float("nan")


@dataclass(frozen=True)
class Coadd:
    """A coadd on a patch's grid.

    Attributes
    ----------
    image
        Pixels [y, x] in nJy, sky subtracted; zero where there are no data.
    weight
        Inverse variance [y, x] in nJy^-2 for independent pixels, although resampling correlates them.
    """

    image: np.ndarray
    weight: np.ndarray


def find_swarp() -> str | None:
    """The name of the SWarp program, ``SWarp`` or ``swarp``; None if it is not installed."""
    return next((name for name in ("SWarp", "swarp") if shutil.which(name)), None)


def choose_engine(engine: str = "auto") -> Engine:
    """The engine to use: the given one or, for ``auto``, SWarp if it is installed.

    Raises
    ------
    CoaddError
        If the engine is unknown, or SWarp is requested but not installed.
    """
    if engine == "auto":
        return "swarp" if find_swarp() else "reproject"
    if engine not in ("swarp", "reproject"):
        raise CoaddError(f"There is no coadd engine {engine!r}; choose auto, swarp or reproject.")
    if engine == "swarp" and find_swarp() is None:
        raise CoaddError("SWarp is not installed (no SWarp or swarp on PATH); choose the engine reproject.")
    return engine


def coadd(
    inputs: Sequence[InputImage],
    *,
    wcs: WCS,
    shape: tuple[int, int],
    engine: str = "auto",
    back_size: int = 64,
    folder: Path | None = None,
) -> Coadd:
    """Resample images to one grid and average them with their weights, after subtracting the sky of each.

    Parameters
    ----------
    inputs
        Images to be coadded, at least one.
    wcs, shape
        Projection and size (ny, nx) of the coadd.
    engine
        Engine, ``auto``, ``swarp`` or ``reproject``.
    back_size
        Mesh size of the sky estimate in pixels of the inputs.
    folder
        Folder for temporary files; by default that of the system.

    Raises
    ------
    CoaddError
        If there are no inputs, or the engine fails.
    """
    if not inputs:
        raise CoaddError("There are no images to coadd.")
    if choose_engine(engine) == "swarp":
        with tempfile.TemporaryDirectory(prefix="swarp_", dir=folder) as work:
            return _coadd_swarp(inputs, wcs=wcs, shape=shape, back_size=back_size, work=Path(work))
    return _coadd_reproject(inputs, wcs=wcs, shape=shape, back_size=back_size)


# SWarp. FSCALASTRO_TYPE FIXED conserves flux where pixels change size; RESCALE_WEIGHTS N keeps our inverse variances.
_SETTINGS = {
    "COMBINE_TYPE": "WEIGHTED",
    "WEIGHT_TYPE": "MAP_WEIGHT",
    "RESCALE_WEIGHTS": "N",
    "RESAMPLING_TYPE": "LANCZOS3",
    "FSCALASTRO_TYPE": "FIXED",
    "FSCALE_KEYWORD": "NONE",
    "SUBTRACT_BACK": "Y",
    "BACK_FILTERSIZE": "3",
    "BLANK_BADPIXELS": "N",
    "COPY_KEYWORDS": "NONE",
    "WRITE_XML": "N",
    "DELETE_TMPFILES": "Y",
    "VERBOSE_TYPE": "QUIET",
    "NTHREADS": "1",
}


def _coadd_swarp(
    inputs: Sequence[InputImage], *, wcs: WCS, shape: tuple[int, int], back_size: int, work: Path
) -> Coadd:
    """`coadd` with SWarp, in its own folder: uncompressed inputs with few cards, so that none is misread."""
    names = []
    for number, item in enumerate(inputs):
        try:
            header = swarp_header(item.wcs, item.image.shape)
        except ProjectionError as error:
            raise CoaddError(f"{item.name}: {error}") from error
        weight = np.where(np.isfinite(item.image), item.weight, 0)
        image = np.where(weight > 0, item.image, 0)
        fits.writeto(work / f"in{number:04d}.fits", image.astype(np.float32), header)
        fits.writeto(work / f"in{number:04d}.weight.fits", weight.astype(np.float32), header)
        names.append(f"in{number:04d}.fits")
    target = wcs_header(wcs)
    target["NAXIS1"], target["NAXIS2"] = shape[1], shape[0]
    (work / "coadd.head").write_text(target.tostring(sep="\n", endcard=False, padding=False) + "\nEND\n")
    (work / "default.swarp").write_text("\n".join(f"{key} {value}" for key, value in _SETTINGS.items()) + "\n")
    (work / "inputs.txt").write_text("\n".join(names) + "\n")
    command = [find_swarp(), "@inputs.txt", "-BACK_SIZE", str(back_size)]
    command += ["-IMAGEOUT_NAME", "coadd.fits", "-WEIGHTOUT_NAME", "coadd.weight.fits"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, check=False)
    if run.returncode != 0 or not (work / "coadd.fits").exists():
        raise CoaddError(f"SWarp ended with {run.returncode}: {run.stderr.strip()[-300:]}")
    image = fits.getdata(work / "coadd.fits").astype(np.float32)
    weight = fits.getdata(work / "coadd.weight.fits").astype(np.float32)
    if image.shape != shape:
        raise CoaddError(f"SWarp made an image of shape {image.shape} where {shape} was asked for.")
    weight[~(weight > 0)] = 0
    return Coadd(np.where(weight > 0, image, 0).astype(np.float32), weight)


def _coadd_reproject(inputs: Sequence[InputImage], *, wcs: WCS, shape: tuple[int, int], back_size: int) -> Coadd:
    """`coadd` with reproject: bicubic interpolation to smaller pixels, flux-conserving averages to larger ones."""
    flux = np.zeros(shape)
    total = np.zeros(shape)
    for item in inputs:
        ratio = proj_plane_pixel_area(wcs) / proj_plane_pixel_area(item.wcs)
        bad = ~(item.weight > 0) | ~np.isfinite(item.image)
        image = np.ascontiguousarray(np.where(bad, 0, item.image), np.float32)
        image = image - sep.Background(image, mask=bad, bw=back_size, bh=back_size).back()
        image[bad] = 0
        box = _overlap(item, wcs, shape)
        if box is None:
            continue
        rows, columns = box
        part, part_shape = wcs.slice((rows, columns)), (rows.stop - rows.start, columns.stop - columns.start)
        if ratio <= 1:
            # Bicubic interpolation turns a masked pixel into a small hole: the weights are cut out linearly.
            new, _ = reproject_interp((image, item.wcs), part, part_shape, order="bicubic")
        else:
            new, _ = reproject_adaptive((image, item.wcs), part, part_shape, conserve_flux=False)
        inverse = np.where(bad, 0, item.weight)
        weight, _ = reproject_interp((inverse, item.wcs), part, part_shape, order="nearest-neighbor")
        # Surface brightness to flux of a pixel, and the inverse variance to match.
        weight = np.where(np.isfinite(weight) & np.isfinite(new), weight, 0) / ratio**2
        flux[rows, columns] += weight * np.nan_to_num(new) * ratio
        total[rows, columns] += weight
    image = np.divide(flux, total, out=np.zeros(shape), where=total > 0)
    return Coadd(image.astype(np.float32), total.astype(np.float32))


def _overlap(item: InputImage, wcs: WCS, shape: tuple[int, int]) -> tuple[slice, slice] | None:
    """The rows and columns of the grid that an image overlaps; None if there are none."""
    ny, nx = item.image.shape
    edge_x = np.array([-0.5, nx / 2, nx - 0.5, nx - 0.5, nx - 0.5, nx / 2, -0.5, -0.5])
    edge_y = np.array([-0.5, -0.5, -0.5, ny / 2, ny - 0.5, ny - 0.5, ny - 0.5, ny / 2])
    x, y = wcs.world_to_pixel(item.wcs.pixel_to_world(edge_x, edge_y))
    rows = slice(max(int(np.floor(y.min())) - 1, 0), min(int(np.ceil(y.max())) + 2, shape[0]))
    columns = slice(max(int(np.floor(x.min())) - 1, 0), min(int(np.ceil(x.max())) + 2, shape[1]))
    return (rows, columns) if rows.start < rows.stop and columns.start < columns.stop else None
