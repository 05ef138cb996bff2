"""Coverage: the detector images that overlap each patch, and the patches that the pipeline has to process."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from astropy.table import Table

from dmu0.sky.skymap import Patch, Tract, sky_polygon
from dmu0.sky.sphere import unit_vectors
from dmu0.surveys import Survey

SAMPLES = 64
"""Number of points along a side of the grid on which the covered fraction of a patch is counted."""

MIN_AREA = 1e-4
"""Smallest area that an image and a patch have in common, in pixels; less is the error of rounding."""

_AT_ONCE = 64
"""Images whose samples are in memory at the same time: 0.3 MB, less than the cache of a core."""

OVERLAP_COLUMNS = (
    ("path", "str", "file of the stack, as the manifest names it"),
    ("hdu", "int32", "index of the HDU in the file"),
    ("exposure", "int64", "ESO DET EXP NO"),
    ("detector", "int32", "number of the detector"),
    ("band", "str", "label of the band"),
    ("tract", "int32", "number of the tract"),
    ("patch", "int32", "number of the patch"),
    ("overlap", "float64", "fraction of the patch's outer box that the image covers"),
)

JOB_COLUMNS = (
    ("tract", "int32", "number of the tract"),
    ("patch", "int32", "number of the patch"),
    ("band", "str", "label of the band"),
    ("source", "str", "vista: images of ours, to be coadded; optical: a coadd as published"),
    ("n_images", "int32", "detector images, or coadds"),
    ("coverage", "float64", "fraction of the patch's outer box with at least one image"),
)

PATCH_COLUMNS = (
    ("tract", "int32", "number of the tract"),
    ("patch", "int32", "number of the patch"),
    ("ra", "float64", "deg, ICRS, middle of the inner box"),
    ("dec", "float64", "deg, ICRS, middle of the inner box"),
    ("n_vista", "int32", "VISTA bands with images here"),
    ("n_optical", "int32", "optical bands with coadds here"),
    ("state", "str", "job or skipped"),
    ("reason", "str", "why it is skipped"),
)


def _table(columns: Sequence[tuple[str, str, str]], rows: list[tuple]) -> Table:
    return _table_of(columns, [[row[number] for row in rows] for number in range(len(columns))])


def _table_of(columns: Sequence[tuple[str, str, str]], values: Sequence[Sequence | np.ndarray]) -> Table:
    table = Table()
    for (name, dtype, doc), column in zip(columns, values, strict=True):
        table[name] = np.asarray(column, dtype=dtype)
        table[name].description = doc
    return table


def clipped_area(
    x: np.ndarray, y: np.ndarray, *, x_range: tuple[float, float], y_range: tuple[float, float]
) -> np.ndarray:
    """Areas of the intersections of convex polygons and a rectangle.

    Parameters
    ----------
    x, y
        Vertices of the polygons, in either direction [..., vertex].
    x_range, y_range
        Limits of the rectangle.

    Returns
    -------
    numpy.ndarray
        Area of each polygon inside the rectangle [...]; exact to some 1e-14 of the area of the rectangle.

    Notes
    -----
    Each point of an outline is moved to the nearest point of the rectangle. The outline then encloses the same part of
    the rectangle as before, since what was outside is on the edge, and the formula of the area of a polygon applies. A
    side stays a chain of straight lines if it has vertices wherever it crosses a line through a side of the rectangle.
    """
    lower, upper = (np.array([x_range[end], y_range[end]], float)[:, None] for end in (0, 1))
    begin = np.stack([x, y], axis=-2) - lower  # [..., axis, vertex]
    step = np.roll(begin, -1, axis=-1) - begin
    cuts = np.concatenate([-begin, upper - lower - begin], axis=-2)
    with np.errstate(divide="ignore", invalid="ignore"):
        cuts /= np.concatenate([step, step], axis=-2)
    # A side that is parallel to a line does not cross it.
    cuts = np.sort(np.clip(np.nan_to_num(cuts), 0, 1), axis=-2)[..., None, :, :]
    cuts = np.concatenate([np.zeros_like(cuts[..., :1, :]), cuts], axis=-2)  # [..., axis, cut, vertex]
    points = np.clip(begin[..., None, :] + cuts * step[..., None, :], 0, (upper - lower)[..., None])
    points = np.swapaxes(points, -1, -2)  # along each side in turn
    px, py = np.moveaxis(points.reshape(*points.shape[:-2], points.shape[-2] * points.shape[-1]), -2, 0)
    return np.abs(np.sum(px * np.roll(py, -1, axis=-1) - np.roll(px, -1, axis=-1) * py, axis=-1)) / 2


def image_corners(images: Table) -> np.ndarray:
    """ICRS corners of detector images [image, corner, axis]: RA and Dec in deg."""
    columns = [[np.asarray(images[f"{axis}{corner}"], float) for axis in ("ra", "dec")] for corner in range(4)]
    return np.moveaxis(np.array(columns), 2, 0)


def patch_overlaps(images: Table, patches: Sequence[Patch]) -> Table:
    """The images that overlap each patch.

    Images near each tract are found on the sphere; the common area is then measured in the plane of the tract, in which
    an image is approximated by a quadrilateral: great circles are straight lines in a gnomonic projection.

    Parameters
    ----------
    images
        Rows of the inventory.
    patches
        Patches of interest.

    Returns
    -------
    overlaps
        Table with the columns `OVERLAP_COLUMNS`, ordered by tract, patch, band and exposure.
    """
    by_tract: dict[int, dict[int, Patch]] = {}
    for patch in patches:
        by_tract.setdefault(patch.tract.id, {})[patch.id] = patch
    corners = image_corners(images)
    circles = _circles(corners)
    found: list[tuple[np.ndarray, np.ndarray, Patch]] = []
    for wanted in by_tract.values():
        tract = next(iter(wanted.values())).tract
        near = _near(tract, *circles)
        x, y = _tract_pixels(corners[near], tract)
        for patch in wanted.values():
            reached, shared = _shared_areas(x, y, patch)
            found.append((near[reached], shared / patch.image_bbox.area, patch))
    return _overlap_table(images, found)


def _overlap_table(images: Table, found: Sequence[tuple[np.ndarray, np.ndarray, Patch]]) -> Table:
    """The ordered table of overlaps, from the numbers of the images and the shares of the outer box for each patch."""
    nothing = (np.array([], int), np.array([]))
    image, share = (np.concatenate([nothing[part], *(item[part] for item in found)]) for part in (0, 1))
    counts = [len(reached) for reached, *_ in found]
    tract = np.repeat(np.array([patch.tract.id for *_, patch in found], int), counts)
    number = np.repeat(np.array([patch.id for *_, patch in found], int), counts)
    band = np.unique(np.asarray(images["band"]).astype(str), return_inverse=True)[1]
    last = (np.asarray(images[name])[image] for name in ("detector", "exposure"))
    order = np.lexsort((*last, band[image], number, tract))
    what = [np.asarray(images[name])[image[order]] for name in ("path", "hdu", "exposure", "detector", "band")]
    return _table_of(OVERLAP_COLUMNS, [*what, tract[order], number[order], share[order]])


def _tract_pixels(corners: np.ndarray, tract: Tract) -> tuple[np.ndarray, np.ndarray]:
    """Corners x and y in pixels of a tract [image, corner], from their positions in ICRS deg [image, corner, axis]."""
    flat = corners.reshape(-1, 2)
    if len(flat) == 0:  # astropy cannot transform nothing
        return np.zeros((0, 4)), np.zeros((0, 4))
    x, y = tract.wcs.wcs_world2pix(flat[:, 0], flat[:, 1], 0)
    return x.reshape(-1, 4), y.reshape(-1, 4)


def _shared_areas(x: np.ndarray, y: np.ndarray, patch: Patch) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the images that overlap a patch, and the areas in common; corners and areas are in tract pixels."""
    box = patch.image_bbox
    limits = [(side.start - 0.5, side.stop - 0.5) for side in (box.x, box.y)]
    near = np.arange(len(x))
    for pixels, (low, high) in zip((x, y), limits, strict=True):
        # One corner after the other: numpy is slow along short axes.
        before = np.logical_and.reduce([corner <= low for corner in pixels[near].T])
        beyond = np.logical_and.reduce([corner >= high for corner in pixels[near].T])
        near = near[~(before | beyond)]
    shared = clipped_area(x[near], y[near], x_range=limits[0], y_range=limits[1])
    overlaps = shared > MIN_AREA
    return near[overlaps], shared[overlaps]


def _circles(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Circumscribed circles of images: unit vectors of their middles [image, axis], and radii in radians."""
    vectors = unit_vectors(corners[..., 0].ravel(), corners[..., 1].ravel()).reshape(len(corners), 4, 3)
    middles = vectors.mean(axis=1)
    middles /= np.linalg.norm(middles, axis=1)[:, None]
    cosines = (vectors * middles[:, None]).sum(axis=2)
    return middles, np.arccos(np.clip(cosines, -1, 1)).max(axis=1)


def _near(tract: Tract, middles: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """Numbers of the images whose circumscribed circles, as from `_circles`, overlap that of a tract."""
    circle = tract.outer_polygon.getBoundingCircle()
    centre = circle.getCenter()
    cosine = middles @ np.array([centre.x(), centre.y(), centre.z()])
    apart = np.arccos(np.clip(cosine, -1, 1))
    border = np.radians(tract.patch_border * np.sqrt(2) * abs(tract.wcs.wcs.cd[1, 1]))
    return np.flatnonzero(apart <= reach + circle.getOpeningAngle().asRadians() + border + 1e-6)


def covered_fraction(corners: np.ndarray, patch: Patch) -> float:
    """Fraction of the outer box of a patch that is covered by at least one image.

    Parameters
    ----------
    corners
        ICRS corners of the images in deg [image, corner, axis].
    patch
        The patch, which is sampled at `SAMPLES` x `SAMPLES` points.
    """
    return _sampled_fraction(*_tract_pixels(corners, patch.tract), patch)


def _sampled_fraction(x: np.ndarray, y: np.ndarray, patch: Patch) -> float:
    """`covered_fraction` of images whose corners are given in tract pixels [image, corner]."""
    box = patch.image_bbox
    steps = (np.arange(SAMPLES) + 0.5) / SAMPLES
    x_sample, y_sample = box.x.start - 0.5 + steps * box.x.size, box.y.start - 0.5 + steps * box.y.size
    x0, y0 = np.roll(x, 1, axis=1), np.roll(y, 1, axis=1)
    turn = np.where(np.sum(x0 * y - x * y0, axis=1) < 0, -1.0, 1.0)[:, None]  # now all outlines are anticlockwise
    # A point is to the left of a side where the cross product is not negative, and inside if it is to the left of all.
    across = (turn * (x - x0))[..., None] * (y_sample - y0[..., None])
    along = (turn * (y - y0))[..., None] * (x_sample - x0[..., None])
    covered = np.zeros((SAMPLES, SAMPLES), bool)
    for begin in range(0, len(x), _AT_ONCE):
        these = slice(begin, begin + _AT_ONCE)
        inside = across[these, 0, :, None] >= along[these, 0, None, :]
        for side in range(1, 4):
            inside &= across[these, side, :, None] >= along[these, side, None, :]
        covered |= inside.any(axis=0)
    return float(covered.mean())


def vista_jobs(images: Table, overlaps: Table, patches: Sequence[Patch]) -> Table:
    """The coadds to be made, with one row per patch and band with images.

    Parameters
    ----------
    images
        Rows of the inventory from which ``overlaps`` was made.
    overlaps
        Overlaps from `patch_overlaps`.
    patches
        Patches for which ``overlaps`` was made.
    """
    files = zip(np.asarray(images["path"]).tolist(), np.asarray(images["hdu"]).tolist(), strict=True)
    number = {file: row for row, file in enumerate(files)}
    these = zip(np.asarray(overlaps["path"]).tolist(), np.asarray(overlaps["hdu"]).tolist(), strict=True)
    corners = image_corners(images)[np.array([number[file] for file in these], int)]
    names, band = np.unique(np.asarray(overlaps["band"]).astype(str), return_inverse=True)
    keys = np.column_stack([np.asarray(overlaps["tract"]), np.asarray(overlaps["patch"]), band])
    known = {(patch.tract.id, patch.id): patch for patch in patches}
    tracts = {patch.tract.id: patch.tract for patch in patches}
    rows = []
    for members in _groups(keys[:, :1]):
        tract = int(keys[members[0], 0])
        x, y = _tract_pixels(corners[members], tracts[tract])
        for job in _groups(keys[members]):
            patch, of_band = keys[members[job[0]], 1:].tolist()
            share = _sampled_fraction(x[job], y[job], known[tract, patch])
            rows.append((tract, patch, str(names[of_band]), "vista", len(job), share))
    return _table(JOB_COLUMNS, rows)


def _groups(keys: np.ndarray) -> list[np.ndarray]:
    """The numbers of the rows with the same keys [row, key], a group for each, in order of the keys."""
    if len(keys) == 0:
        return []
    order = np.lexsort(keys.T[::-1])
    changes = np.flatnonzero((np.diff(keys[order], axis=0) != 0).any(axis=1)) + 1
    return np.split(order, changes)


def coadd_jobs(
    manifest: Table,
    kind: str,
    source: str,
    patches: Sequence[Patch],
    *,
    outline: Callable[[Table.Row], np.ndarray | None] | None = None,
) -> Table:
    """The published coadds, with one row per patch and band with a good file in the manifest.

    Parameters
    ----------
    manifest
        Table with path, kind, band, tract, patch, state. A file without tract and patch (-1) applies to all patches
        that it reaches.
    kind
        Type of file, optical_coadd or vista_coadd.
    source
        Value of the column source.
    patches
        Patches of interest.
    outline
        Gives the corners of a file of any patch (ICRS deg, shape (4, 2)), None if it has no world coordinates, and then
        it reaches all of them; without a function no file has any.

    Notes
    -----
    Files are counted in the manifest, not on disk, where stray copies would be counted as well.
    """
    wanted = {(patch.tract.id, patch.id): patch for patch in patches}
    found: dict[tuple[int, int, str], list[np.ndarray | None]] = {}
    for row in manifest[(manifest["kind"] == kind) & (manifest["state"] == "ok")]:
        place = (int(row["tract"]), int(row["patch"]))
        corners = outline(row) if outline is not None and place == (-1, -1) else None
        for where in wanted if place == (-1, -1) else {place} & wanted.keys():
            if corners is None or reaches(corners, wanted[where]):
                found.setdefault((*where, str(row["band"])), []).append(corners)
    rows = []
    for (tract, patch, band), corners_of in sorted(found.items(), key=lambda item: item[0]):
        outlines = [corners for corners in corners_of if corners is not None]
        whole = len(outlines) < len(corners_of)
        share = 1.0 if whole else covered_fraction(np.array(outlines), wanted[tract, patch])
        rows.append((tract, patch, band, source, len(corners_of), share))
    return _table(JOB_COLUMNS, rows)


def reaches(corners: np.ndarray, patch: Patch) -> bool:
    """Whether an image with these corners (ICRS deg, shape (4, 2)) has sky in common with a patch."""
    return bool(sky_polygon(corners).intersects(patch.outer_polygon))


def judge_patches(jobs: Table, patches: Sequence[Patch], survey: Survey) -> Table:
    """Whether each patch is processed: if the survey has optical and VISTA data, both must exist.

    Parameters
    ----------
    jobs
        Table with the columns `JOB_COLUMNS`, for all sources.
    patches
        Patches of interest.
    survey
        The survey, which defines whether there should be optical and VISTA data.
    """
    bands: dict[tuple[int, int, str], int] = {}
    for row in jobs:
        key = (int(row["tract"]), int(row["patch"]), str(row["source"]))
        bands[key] = bands.get(key, 0) + 1
    rows = []
    for patch in patches:
        vista, optical = (bands.get((patch.tract.id, patch.id, source), 0) for source in ("vista", "optical"))
        lacks = [
            f"no {name}"
            for name, wanted, found in (
                ("VISTA images", survey.vista is not None, vista),
                ("optical coadds", bool(survey.optical), optical),
            )
            if wanted and not found
        ]
        state = "skipped" if lacks else "job"
        center = patch.center
        rows.append(
            (patch.tract.id, patch.id, center.ra.deg, center.dec.deg, vista, optical, state, " and ".join(lacks))
        )
    return _table(PATCH_COLUMNS, rows)


def jobs_to_do(jobs: Table, judged: Table) -> Table:
    """The jobs in patches that are processed."""
    made = {(int(row["tract"]), int(row["patch"])) for row in judged[judged["state"] == "job"]}
    keep = [(int(row["tract"]), int(row["patch"])) in made for row in jobs]
    return jobs[np.array(keep, bool)]
