"""Filling of the cube of a patch: one band made from its planes, all bands gathered one after another."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Lock
from typing import TypeVar

import numpy as np

from dmu4.patches.band_psf import BandPsf, band_psf
from dmu4.patches.cell_stamps import fill_cells, of_size
from dmu4.patches.cube import FLAG_BIT, BandPlanes, CalibrationErrors, PatchCube, PatchData
from dmu4.patches.freed_memory import return_freed_memory
from obs_vista.bands import BAND_ORDER, in_band_order
from obs_vista.masks import BIT

Found = TypeVar("Found")
ROWS = 64
"""Rows of a plane that are made at once, so that they fit in the cache."""


def make_cube(planes: Mapping[str, BandPlanes], *, x0: int, y0: int, pixel_scale: float) -> PatchCube:
    """Combine the bands of a patch into a cube.

    A pixel is good if its value and variance are finite, its variance is positive and it is not NO_DATA.

    Parameters
    ----------
    planes
        Arrays of each band, all of the same shape. A band may have no good pixel.
    x0, y0
        Tract pixel of the first pixel.
    pixel_scale
        Size of a pixel in arcsec.

    Raises
    ------
    ValueError
        If there is no band, a band is unknown, or the shapes differ.
    """
    bands = in_order(planes)
    filling = CubeFilling(bands, planes[bands[0]].image.shape, noise=True)
    for band in bands:
        filling.put(one_band(band, planes[band], x0=x0, y0=y0, pixel_scale=pixel_scale))
    return filling.cube(x0=x0, y0=y0, pixel_scale=pixel_scale)


def in_order(bands: Iterable[str]) -> tuple[str, ...]:
    """Bands sorted from blue to red."""
    try:
        ordered = in_band_order(bands)
    except KeyError as error:
        raise ValueError(f"A coadd has an unknown band: {error.args[0]}") from error
    if not ordered:
        raise ValueError(f"A patch has no coadd of any band; bands are {', '.join(BAND_ORDER)}.")
    return ordered


def one_band(band: str, planes: BandPlanes, *, x0: int, y0: int, pixel_scale: float) -> PatchCube:
    """The cube of one band; parameters and errors are those of `make_cube`."""
    shape = planes.image.shape
    for name in ("variance", "mask", "input_count"):
        if getattr(planes, name).shape != shape:
            raise ValueError(f"Band {band} has {shape} pixels, its {name} {getattr(planes, name).shape}.")
    pixels = _usable(planes)
    size = max(planes.psf.shape[-2:])
    if planes.zones is not None and len(planes.zones.stamps):
        size = max(size, *planes.zones.stamps.shape[-2:])
    psf = fill_cells(planes.psf, planes.psf_light, size)
    zones = planes.zones
    if zones is not None:
        stamps = np.zeros((0, size, size), np.float32)
        if len(zones.stamps):
            stamps = of_size(zones.stamps, size, float(np.mean(planes.psf_light)))
        zones = replace(zones, stamps=stamps)
    return PatchCube(
        bands=(band,),
        x0=x0,
        y0=y0,
        pixel_scale=pixel_scale,
        **{name: plane[..., None] for name, plane in pixels.items()},
        psfs=(band_psf(psf, zones, shape),),
        has_noise=np.array([planes.noise is not None]),
        calibration=(planes.calibration,),
    )


class CubeFilling:
    """The arrays of a patch while they are filled band by band, so that no more than one band is in memory twice.

    Parameters
    ----------
    bands
        Labels of the bands, in order.
    shape
        Rows and columns.
    noise
        Whether the noise realizations are kept.
    """

    def __init__(self, bands: tuple[str, ...], shape: tuple[int, int], *, noise: bool) -> None:
        dtypes = {"image": "f4", "variance": "f4", "good": "?", "flags": "u1", "input_count": "u1"}
        dtypes |= {"noise": "f4"} if noise else {}
        self.bands = bands
        self._planes = {name: np.zeros((len(bands), *shape), dtype) for name, dtype in dtypes.items()}
        self._psfs: dict[str, BandPsf] = {}
        self._calibration: dict[str, CalibrationErrors] = {}
        self._has_noise, self._lock = np.zeros(len(bands), bool), Lock()

    def put(self, one: PatchCube) -> None:
        """Copy the only band of a cube. Bands may come from several threads.

        Raises
        ------
        ValueError
            If it has another shape than the bands before it.
        """
        band = one.bands[0]
        number, shape = self.bands.index(band), self._planes["image"].shape[1:]
        if one.shape != shape:
            raise ValueError(f"Band {band} has {one.shape} pixels, {self.bands[0]} has {shape}.")
        with self._lock:  # a band with many images changes the array into which others are copied
            if one.input_count.max(initial=0) > np.iinfo(self._planes["input_count"].dtype).max:
                self._planes["input_count"] = self._planes["input_count"].astype(np.int16)
            for name, planes in self._planes.items():
                planes[number] = getattr(one, name)[..., 0]
        self._has_noise[number] = one.has_noise[0] and "noise" in self._planes
        self._psfs[band] = one.psfs[0]
        self._calibration[band] = one.calibration[0]

    def cube(self, *, x0: int, y0: int, pixel_scale: float) -> PatchCube:
        """The patch, after all bands have been copied."""
        planes = {name: np.moveaxis(planes, 0, -1) for name, planes in self._planes.items()}
        return PatchCube(
            bands=self.bands,
            x0=x0,
            y0=y0,
            pixel_scale=pixel_scale,
            psfs=tuple(self._psfs[band] for band in self.bands),
            calibration=tuple(self._calibration[band] for band in self.bands),
            has_noise=self._has_noise,
            noise=planes.pop("noise", None),
            **planes,
        )


def map_bands(patch: PatchData, function: Callable[[int, PatchCube], Found], *, threads: int) -> list[Found]:
    """Call a function for each band; bands are read by this thread, and prepared and used by others.

    Parameters
    ----------
    patch
        The patch.
    function
        Function of the number of a band and its cube.
    threads
        Number of threads, and of bands in memory at once besides that which is being read.

    Returns
    -------
    list
        Results in the order of the bands.
    """
    found, running = [], deque()
    with ThreadPoolExecutor(threads) as pool:
        for number in range(len(patch.bands)):
            if len(running) == threads:
                found.append(running.popleft().result())
            running.append(pool.submit(lambda n, one: function(n, patch.prepare(one)), number, patch.read(number)))
        found.extend(one.result() for one in running)
    return found


def gather(
    patch: PatchData, *, noise: bool, each: Callable[[PatchCube], Found], threads: int = 1
) -> tuple[PatchCube, list[Found]]:
    """Take all bands of a patch into one cube.

    Parameters
    ----------
    patch
        The patch.
    noise
        Whether the noise realizations are kept.
    each
        Function of the cube of each band, with its noise, which is called before the band is copied.
    threads
        Number of bands taken in parallel.

    Returns
    -------
    cube, found
        The cube, and the results of ``each`` in the order of the bands.
    """
    filling = CubeFilling(patch.bands, patch.shape, noise=noise)

    def one(_: int, data: PatchCube) -> Found:
        found = each(data)
        filling.put(data)
        return found

    found = map_bands(patch, one, threads=threads)
    cube = filling.cube(x0=patch.x0, y0=patch.y0, pixel_scale=patch.pixel_scale)
    return_freed_memory()
    return cube, found


def _usable(planes: BandPlanes) -> dict[str, np.ndarray]:
    """The planes of a band [y, x] as they are in a cube: zero where there is no data.

    All planes of a strip of rows are made before those of the next, so that no other copy of a plane is in memory.
    """
    dtypes = {"image": "f4", "variance": "f4", "noise": "f4", "input_count": "i2", "good": "?", "flags": "u1"}
    made = {name: np.zeros(planes.image.shape, dtype) for name, dtype in dtypes.items()}
    for start in range(0, len(planes.image), ROWS):
        rows = slice(start, start + ROWS)
        good = good_pixels(planes.image[rows], planes.variance[rows], planes.mask[rows])
        made["good"][rows], made["flags"][rows] = good, _flags(planes.mask[rows])
        for name in ("image", "variance", "input_count"):
            np.copyto(made[name][rows], getattr(planes, name)[rows], where=good, casting="unsafe")
        if planes.noise is not None:
            known = good & np.isfinite(planes.noise[rows])
            np.copyto(made["noise"][rows], planes.noise[rows], where=known, casting="unsafe")
    return made


def good_pixels(image: np.ndarray, variance: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Whether each pixel [y, x] has data: value and variance finite, the variance positive, and not NO_DATA."""
    return np.isfinite(image) & np.isfinite(variance) & (variance > 0) & ((mask & BIT["NO_DATA"]) == 0)


def _flags(mask: np.ndarray) -> np.ndarray:
    """The planes of a mask that are looked up at objects, as the bits of `FLAG_BIT`."""
    return np.bitwise_or.reduce([bit * ((mask & BIT[name]) != 0) for name, bit in FLAG_BIT.items()])
