"""Figures of input files: colour pictures, the focal plane of a pawprint, catalogues on the sky."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.visualization import make_lupton_rgb
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from dmu0.files.catalogue_files import READ_ERRORS, CatalogueError, read_catalogue_file, without_warnings
from dmu0.files.checksums import refuse_irregular
from dmu0.files.columns import positions
from dmu0.files.expected import Input, find_inputs
from dmu0.files.integrity import CATALOGUE_KINDS
from dmu0.robust_statistics import robust_scatter
from dmu0.sky.sphere import SkyPlane
from dmu0.surveys import Survey
from obs_vista.bands import in_band_order
from obs_vista.cards import card_number, optional_number
from obs_vista.headers import detector_extensions
from obs_vista.image_planes import is_plane, plane_pixels


@FuncFormatter
def right_ascension(value: float, _: int | None = None) -> str:
    """Label of a right ascension that may be below 0 or above 360 deg, as maps across RA 0 have."""
    return f"{round(value % 360, 6) % 360:g}"


def axis_labels(plane: SkyPlane) -> tuple[str, str]:
    """Labels of the two axes of a map."""
    if not plane.polar:
        return "RA (deg)", "Dec (deg)"
    where = f"RA {plane.ra:.3f}, Dec {plane.dec:+.3f}"
    return f"east of {where} (deg)", f"north of {where} (deg)"


def finish_sky_axes(axis: Axes, plane: SkyPlane) -> None:
    """Make the axes of a map true to angle in the middle, and label them."""
    axis.set_aspect(1 if plane.polar or not np.isfinite(plane.dec) else 1 / np.cos(np.radians(plane.dec)))
    for name, label in zip("xy", axis_labels(plane), strict=True):
        getattr(axis, f"set_{name}label")(label)
    axis.ticklabel_format(axis="both" if plane.polar else "y", useOffset=False)
    if not plane.polar:
        axis.xaxis.set_major_formatter(right_ascension)


def first_image(path: Path) -> np.ndarray:
    """The first image [y, x] of a FITS file, as float32.

    Raises
    ------
    ValueError, OSError
        If the file has no image, or is no regular file.
    """
    refuse_irregular(path)
    with path.open("rb") as stream, fits.open(stream) as hdus:
        for hdu in hdus:
            if is_plane(hdu):
                return np.asarray(plane_pixels(hdu), np.float32)
    raise ValueError(f"{path} has no image.")


def _coadds_there(survey: Survey) -> dict[tuple[int, int], dict[str, Input]]:
    """The coadds on disk, by patch and band."""
    found: dict[tuple[int, int], dict[str, Input]] = {}
    for item in find_inputs(survey):
        if item.kind in ("optical_coadd", "vista_coadd") and item.path.exists():
            found.setdefault((item.tract, item.patch), {})[item.band] = item
    return found


def colour_picture(survey: Survey, *, patch: int = 0) -> tuple[np.ndarray, str] | None:
    """A colour picture of one patch from three coadds, from the reddest to the bluest band.

    Parameters
    ----------
    survey
        The survey.
    patch
        Index of the patch among those that have three bands on disk; if these cannot be shown, the next is taken.

    Returns
    -------
    tuple or None
        The picture, bytes [y, x, 3], and its title; None if no patch has three bands on disk that can be read and are
        on the same pixels.
    """
    there = sorted((where, bands) for where, bands in _coadds_there(survey).items() if len(bands) >= 3)
    for where, bands in (*there[patch:], *there[:patch]):
        chosen = _three_of(bands)
        try:
            with without_warnings(), np.errstate(all="ignore"):
                images = [np.nan_to_num(first_image(bands[band].path)) for band in chosen]
        except READ_ERRORS:  # the files have not been checked yet
            continue
        if len({image.shape for image in images}) > 1:  # on grids of their own
            continue
        planes = []
        for image in images:
            sky = np.median(image)
            planes.append((image - sky) / (robust_scatter(image, about=sky) or 1.0))
        title = f"{' '.join(chosen)}, tract {where[0]} patch {where[1]}"
        return make_lupton_rgb(*planes, minimum=-1, stretch=15, Q=8), title
    return None


def _three_of(bands: Iterable[str]) -> list[str]:
    """Three bands for a colour picture, from red to blue: i, r and g, or the reddest, the middle and the bluest."""
    labels = list(in_band_order(bands))
    if {"g", "r", "i"} <= set(labels):
        return ["i", "r", "g"]
    return [labels[-1], labels[len(labels) // 2], labels[0]]


def first_focal_plane(paths: Sequence[Path]) -> tuple[np.ndarray, Path] | None:
    """The focal plane of the first of some stacks that can be read, and its path; None if none can.

    Files that cannot be read are reported by dmu0/2_Check_inputs.
    """
    for path in paths:
        try:
            with without_warnings(), np.errstate(all="ignore"):  # scales beyond the range of floats
                return focal_plane(path), path
        except READ_ERRORS:
            continue
    return None


def focal_plane(path: Path, *, width: int = 2000) -> np.ndarray:
    """The detectors of a stack at their positions, each in units of its noise; NaN between them.

    Parameters
    ----------
    path
        Path of a pawprint stack.
    width
        Largest size of the picture in pixels; larger focal planes are subsampled.
    """
    refuse_irregular(path)
    with path.open("rb") as stream, fits.open(stream) as hdus:
        parts = []
        for number in detector_extensions(hdus).values():
            header, pixels = hdus[number].header, np.asarray(plane_pixels(hdus[number]), np.float32)
            sky = np.nanmedian(pixels)
            noise = optional_number(header, "SKYNOISE")
            noise = noise if noise > 0 else float(robust_scatter(pixels, about=sky))
            # The optical axis is at CRPIX, so that -CRPIX is the position of the detector.
            x, y = (-card_number(header, f"CRPIX{axis}", default=0.0) for axis in (1, 2))
            parts.append((x, y, (pixels - sky) / noise))
    left, bottom = min(x for x, _, _ in parts), min(y for _, y, _ in parts)
    right = max(x + part.shape[1] for x, _, part in parts)
    top = max(y + part.shape[0] for _, y, part in parts)
    step = int(np.ceil(max(right - left, top - bottom) / width))
    canvas = np.full((int(top - bottom) // step + 2, int(right - left) // step + 2), np.nan, np.float32)
    for x, y, part in parts:
        small = part[::step, ::step]
        j, i = int(y - bottom) // step, int(x - left) // step
        canvas[j : j + small.shape[0], i : i + small.shape[1]] = small
    return canvas


def catalogue_positions(survey: Survey) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """ICRS right ascension and declination (deg) of the reference catalogues on disk that can be read, by catalogue."""
    found: dict[str, list[np.ndarray]] = {}
    for item in find_inputs(survey):
        if item.kind not in CATALOGUE_KINDS or not item.path.exists():
            continue
        try:
            sky = np.array(positions(read_catalogue_file(item.path)))
        except CatalogueError:  # reported by dmu0/2_Check_inputs
            continue
        found.setdefault(item.kind, []).append(sky[:, np.isfinite(sky).all(axis=0)])
    return {kind: tuple(np.concatenate(parts, axis=1)) for kind, parts in found.items() if parts}


def draw_catalogues(axes: Axes, positions: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Draw catalogues on the sky, east to the left."""
    styles = {"ps1": ("o", 5, "#0072B2"), "twomass": ("x", 16, "#D55E00"), "gaia": ("+", 16, "#009E73")}
    everything = [np.concatenate([part[axis] for part in positions.values()] or [np.zeros(0)]) for axis in (0, 1)]
    plane = SkyPlane.around(*everything)
    for kind, sky in positions.items():
        ra, dec = plane.place(*sky)
        marker, size, colour = styles.get(kind, (".", 4, "#000000"))
        axes.scatter(ra, dec, size, colour, marker=marker, linewidths=0.7, alpha=0.7, label=f"{kind} ({len(ra)})")
    axes.invert_xaxis()
    finish_sky_axes(axes, plane)
    if positions:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.01), ncols=len(positions))
