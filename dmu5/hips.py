"""HiPS, the format of sky viewers such as Aladin, of the colour picture and of each band."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io.fits import Header
from astropy.visualization import AsinhStretch
from astropy.wcs import WCS
from astropy.wcs.utils import pixel_to_skycoord, skycoord_to_pixel
from PIL import Image
from pyavm import AVM
from reproject.hips import coadd_hips, reproject_to_hips
from scipy.ndimage import map_coordinates

from dmu0.files.atomic import written_whole
from dmu0.files.provenance import Provenance, gather_provenance
from dmu0.robust_statistics import robust_scatter
from dmu0.sky.skymap import survey_patches
from dmu0.surveys import Survey
from dmu5.picture import bands_with_coadds, choose_bands, colour_picture, matched_mosaics, mosaic, tract_box
from obs_vista.bands import get_band, shown_band

COLOUR = "colour"
"""Name of the HiPS of the colour picture; those of bands have the labels of the bands."""

_SMALL = 2e7  # pixels of a tract of which several layers may be in memory

_COARSE = 16  # px of a tile between positions that are transformed exactly; in between they are interpolated


def write_hips(survey: Survey) -> Iterator[Path]:
    """Write one HiPS of the colour picture and one per band, ``hips/colour`` and ``hips/<band>``, of all tracts.

    Tiles are PNG, transparent where there are no data. Grey levels of a band are an asinh of the flux, from the sky to
    a thousand times its scatter.

    Parameters
    ----------
    survey
        The survey; the date of its newest exposure is that of the HiPS.

    Yields
    ------
    Path
        Each folder when it is finished; none for a band without coadds.
    """
    root = survey.folders[5] / "hips"
    shutil.rmtree(root, ignore_errors=True)
    tracts = {tract: bands_with_coadds(survey, tract=tract) for tract in survey.tracts}
    have = [band for band in survey.bands if any(band in bands for bands in tracts.values())]
    if not have:
        return
    wcs = {patch.tract.id: patch.tract.wcs for patch in survey_patches(survey)}
    layers = _layers(survey, have, tracts)
    root.mkdir(parents=True)
    provenance = gather_provenance(survey)
    boxes = {tract: tract_box(survey, tract=tract) for tract, bands in tracts.items() if bands}
    threads = survey.engine.threads
    # Layers of small tracts are made side by side; of a large one the tiles are, to have one picture in memory.
    small = all((box.x1 - box.x0) * (box.y1 - box.y0) <= _SMALL for box in boxes.values())

    def write(name: str) -> Path | None:
        title, make = layers[name]
        words = hips_properties(survey.name, name, f"{survey.title}: {title}", provenance)
        with tempfile.TemporaryDirectory(dir=root) as scratch:
            parts = []
            for tract, box in boxes.items():
                if (pixels := make(tract)) is not None:
                    here = wcs[tract].deepcopy()
                    here.wcs.crpix -= [box.x0, box.y0]
                    folder = Path(scratch) / str(tract)
                    parts.append(tract_hips(pixels, here, folder, words, threads=1 if small else threads))
            if not parts:
                return None
            with written_whole(root / name) as part:
                join_hips(parts, part)
        return root / name

    with ThreadPoolExecutor(threads if small else 1) as pool:
        yield from filter(None, pool.map(write, layers))


def _layers(
    survey: Survey, have: list[str], tracts: Mapping[int, list[str]]
) -> dict[str, tuple[str, Callable[[int], np.ndarray | None]]]:
    """Name of each layer -> its title, and the function that makes its picture [y, x, 4] of a tract, if it has one."""
    chosen = choose_bands(have)

    def colour(tract: int) -> np.ndarray | None:
        if not set(chosen) <= set(tracts[tract]):
            return None
        planes = matched_mosaics(survey, chosen, tract=tract)
        picture = colour_picture(*planes, size=max(planes[0].shape))[::-1]
        return with_alpha(picture, np.any([np.isfinite(plane) for plane in planes], axis=0))

    def grey(band: str) -> Callable[[int], np.ndarray | None]:
        def make(tract: int) -> np.ndarray | None:
            plane = mosaic(survey, band, tract=tract) if band in tracts[tract] else None
            return None if plane is None else grey_picture(plane)

        return make

    layers: dict[str, tuple[str, Callable[[int], np.ndarray | None]]] = {}
    layers[COLOUR] = (f"{', '.join(map(shown_band, chosen))} as red, green and blue", colour)
    layers |= {band: (f"{shown_band(band)} ({get_band(band).wavelength:.0f} nm)", grey(band)) for band in have}
    return layers


def hips_properties(survey: str, layer: str, title: str, provenance: Provenance) -> dict[str, str]:
    """Words of the file ``properties`` (HiPS 1.0), without a date of writing: equal data give equal files."""
    words = provenance.words()
    return {
        "creator_did": f"ivo://lsst-ir-fusion/P/{survey}/{layer}",
        "obs_title": title,
        "obs_collection": survey,
        "hips_release_date": f"{words['newest_input'][:10]}T00:00Z",
        "hips_status": "private master clonable",
        "hips_creator": words["software"],
    }


def grey_picture(image: np.ndarray) -> np.ndarray:
    """An image [y, x] in grey with transparency [y, x, 4], black at half its scatter below the sky."""
    good = np.isfinite(image)
    middle = float(np.median(image[good])) if good.any() else 0.0
    noise = max(robust_scatter(image[good], about=middle) if good.any() else 1.0, 1e-30)
    scaled = np.clip((np.where(good, image - middle, 0) / noise + 0.5) / 1000, 0, 1)
    level = np.rint(255 * AsinhStretch(a=0.005)(scaled)).astype(np.uint8)
    return with_alpha(np.repeat(level[..., None], 3, axis=-1), good)


def with_alpha(picture: np.ndarray, good: np.ndarray) -> np.ndarray:
    """A picture [y, x, 3] that is opaque where an image is good and transparent elsewhere, [y, x, 4]."""
    return np.concatenate([picture, np.where(good, 255, 0).astype(np.uint8)[..., None]], axis=-1)


def tract_hips(pixels: np.ndarray, wcs: WCS, folder: Path, properties: dict[str, str], *, threads: int = 1) -> Path:
    """Write the HiPS of one picture.

    Parameters
    ----------
    pixels
        Picture [y, x, 4] with the first row in the south, as in images.
    wcs
        World coordinates of its pixels.
    folder
        Folder to write, which does not exist.
    properties
        Words for the file ``properties``.
    threads
        Number of threads that make tiles.
    """
    source = folder.with_suffix(".png")
    # Only its size and coordinates are used, so that it may be empty: pixels come from `sample_tile`.
    Image.new("RGB", pixels.shape[1::-1]).save(source)
    metadata = AVM.from_wcs(wcs, shape=pixels.shape[:2])  # from which reproject knows which tiles there are
    metadata.Spatial.CoordinateFrame, metadata.Spatial.Equinox = "ICRS", "2000"
    metadata.embed(str(source), str(source))
    reproject_to_hips(
        source,
        coord_system_out="equatorial",
        reproject_function=lambda _, header: sample_tile(pixels, wcs, header),
        output_directory=str(folder),
        properties=properties,
        threads=threads,
    )
    source.unlink()
    return folder


def sample_tile(pixels: np.ndarray, wcs: WCS, header: Header) -> tuple[np.ndarray, np.ndarray]:
    """The pixels of a tile, linearly interpolated, and where they are inside the picture: both [4, y, x].

    Positions are transformed on a grid of every sixteenth pixel and interpolated linearly, to 1e-4 of a pixel.
    """
    ny, nx = header["NAXIS2"], header["NAXIS1"]
    rows, columns = (np.linspace(0, length - 1, length // _COARSE + 1) for length in (ny, nx))
    sky: SkyCoord = pixel_to_skycoord(*np.meshgrid(columns, rows), WCS(header))
    x, y = skycoord_to_pixel(sky, wcs)
    found, footprint = np.zeros((4, ny, nx)), np.zeros((4, ny, nx))
    low = [max(int(values.min()) - 2, 0) for values in (y, x)]
    high = [min(int(values.max()) + 3, size) for values, size in zip((y, x), pixels.shape, strict=False)]
    if any(first >= last for first, last in zip(low, high, strict=True)):
        return found, footprint
    part = pixels[low[0] : high[0], low[1] : high[1]]
    down, right = _weights(rows, ny), _weights(columns, nx)
    at = [down @ (values - first) @ right.T for values, first in zip((y, x), low, strict=True)]
    inside = np.logical_and.reduce([(v > -0.5) & (v < size - 0.5) for v, size in zip(at, part.shape, strict=False)])
    grey = np.array_equal(part[..., 0], part[..., 1]) and np.array_equal(part[..., 0], part[..., 2])
    for plane in range(1 if grey else 3):
        found[plane] = map_coordinates(part[..., plane].astype(np.float32), at, order=1, mode="nearest")
    if grey:
        found[1:3] = found[0]
    y_near, x_near = (
        np.clip(np.floor(v + 0.5), 0, size - 1).astype(np.intp) for v, size in zip(at, part.shape, strict=False)
    )
    found[3], footprint[:] = 255, inside & (part[y_near, x_near, 3] > 0)
    return found, footprint


def _weights(nodes: np.ndarray, length: int) -> np.ndarray:
    """Matrix [pixel, node] that interpolates values at nodes linearly to all pixels of an axis."""
    return np.stack([np.interp(np.arange(length), nodes, node) for node in np.eye(len(nodes))], axis=1)


def join_hips(parts: list[Path], folder: Path) -> None:
    """Join the HiPS of tracts into one, without the page of reproject, which loads scripts from elsewhere."""
    coadd_hips([str(part) for part in parts], str(folder))
    (folder / "index.html").unlink()
