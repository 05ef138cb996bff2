"""Coverage: the detector images that overlap each patch, and the patches that the pipeline has to process."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import Table

from dmu0.sky.skymap import Patch, Tract, sky_polygon
from dmu0.surveys import Survey

SAMPLES = 64
"""Number of points along a side of the grid on which the covered fraction of a patch is counted."""

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
    table = Table()
    for number, (name, dtype, doc) in enumerate(columns):
        table[name] = np.array([row[number] for row in rows], dtype=dtype)
        table[name].description = doc
    return table


def clipped_area(x: np.ndarray, y: np.ndarray, *, x_range: tuple[float, float], y_range: tuple[float, float]) -> float:
    """Area of the intersection of a convex polygon and a rectangle.

    Parameters
    ----------
    x, y
        Vertices of the polygon, in either direction.
    x_range, y_range
        Limits of the rectangle.

    Notes
    -----
    The polygon is clipped along one side of the rectangle after the other (Sutherland & Hodgman 1974, CACM 17, 32).
    """
    points = np.column_stack([x, y]).astype(float)
    for axis, limits in enumerate((x_range, y_range)):
        for sign, limit in zip((1, -1), limits, strict=True):
            inside = sign * (points[:, axis] - limit)
            if len(points) == 0 or (inside <= 0).all():
                return 0.0
            kept = []
            for number, point in enumerate(points):
                before, depth_before = points[number - 1], inside[number - 1]
                if (inside[number] > 0) != (depth_before > 0):
                    kept.append(before + (point - before) * depth_before / (depth_before - inside[number]))
                if inside[number] > 0:
                    kept.append(point)
            points = np.array(kept)
    return float(abs(np.sum(points[:, 0] * np.roll(points[:, 1], -1) - np.roll(points[:, 0], -1) * points[:, 1])) / 2)


def image_corners(images: Table) -> np.ndarray:
    """ICRS corners of detector images [image, corner, axis]: RA and Dec in deg."""
    columns = [[np.asarray(images[f"{axis}{corner}"], float) for axis in ("ra", "dec")] for corner in range(4)]
    return np.moveaxis(np.array(columns), 2, 0)


def patch_overlaps(images: Table, patches: Sequence[Patch]) -> Table:
    """The images that overlap each patch.

    Candidates are found on the sphere (sphgeom); the common area is then measured in the plane of the tract, in which
    an image is approximated by a quadrilateral.

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
    rows = []
    for number, wanted in by_tract.items():
        tract = next(iter(wanted.values())).tract
        for image in _near(tract, corners):
            hits = [patch for patch in tract.find_patches(sky_polygon(corners[image])) if patch in wanted]
            if not hits:
                continue
            x, y = tract.wcs.wcs_world2pix(*corners[image].T, 0)
            what = [images[name][image] for name in ("path", "hdu", "exposure", "detector", "band")]
            for patch in hits:
                box = wanted[patch].image_bbox
                shared = clipped_area(
                    x, y, x_range=(box.x.start - 0.5, box.x.stop - 0.5), y_range=(box.y.start - 0.5, box.y.stop - 0.5)
                )
                if shared > 0:
                    rows.append((*what, number, patch, shared / box.area))
    overlaps = _table(OVERLAP_COLUMNS, rows)
    overlaps.sort(["tract", "patch", "band", "exposure", "detector"])
    return overlaps


def _near(tract: Tract, corners: np.ndarray) -> np.ndarray:
    """Numbers of the images whose circumscribed circles overlap that of a tract."""
    if len(corners) == 0:
        return np.array([], int)
    images = SkyCoord(corners[..., 0], corners[..., 1], unit="deg").cartesian.xyz.value  # (3, n, 4)
    middles = images.mean(axis=2)
    middles /= np.linalg.norm(middles, axis=0)
    reach = np.arccos(np.clip((images * middles[..., None]).sum(axis=0), -1, 1)).max(axis=1)
    circle = tract.outer_polygon.getBoundingCircle()
    centre = circle.getCenter()
    cosine = np.array([centre.x(), centre.y(), centre.z()]) @ middles
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
    box = patch.image_bbox
    steps = (np.arange(SAMPLES) + 0.5) / SAMPLES
    x, y = np.meshgrid(box.x.start - 0.5 + steps * box.x.size, box.y.start - 0.5 + steps * box.y.size)
    covered = np.zeros(x.shape, bool)
    for image in corners:
        x_image, y_image = patch.tract.wcs.wcs_world2pix(image[:, 0], image[:, 1], 0)
        sides = [
            (x_image[k] - x_image[k - 1]) * (y - y_image[k - 1]) - (y_image[k] - y_image[k - 1]) * (x - x_image[k - 1])
            for k in range(4)
        ]
        covered |= np.all([side >= 0 for side in sides], axis=0) | np.all([side <= 0 for side in sides], axis=0)
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
    corners = dict(zip(zip(images["path"], images["hdu"], strict=True), image_corners(images), strict=True))
    by_job: dict[tuple[int, int, str], list[np.ndarray]] = {}
    for row in overlaps:
        key = (int(row["tract"]), int(row["patch"]), str(row["band"]))
        by_job.setdefault(key, []).append(corners[row["path"], row["hdu"]])
    known = {(patch.tract.id, patch.id): patch for patch in patches}
    rows = [
        (tract, patch, band, "vista", len(these), covered_fraction(np.array(these), known[tract, patch]))
        for (tract, patch, band), these in sorted(by_job.items())
    ]
    return _table(JOB_COLUMNS, rows)


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
