"""Primary assignment: one primary row per object on the sky where patches and tracts overlap."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from astropy.table import Table
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from dmu0.sky.skymap import RingsSkyMap, SingleSkyMap
from dmu0.sky.tract import Patch, Tract


def in_own_area(
    *, x: np.ndarray, y: np.ndarray, ra: np.ndarray, dec: np.ndarray, patch: Patch, sky_map: RingsSkyMap | SingleSkyMap
) -> np.ndarray:
    """Whether each object lies in the inner box of its patch and in the area owned by its tract.

    Parameters
    ----------
    x, y
        Positions in pixels of the tract.
    ra, dec
        The same positions on the sky, ICRS degrees.
    patch
        The patch.
    sky_map
        The sky map, which defines the area owned by a tract.
    """
    box = patch.inner_bbox
    inside = (x >= box.x.start - 0.5) & (x < box.x.stop - 0.5) & (y >= box.y.start - 0.5) & (y < box.y.stop - 0.5)
    corners = patch.outer_corners()
    tract = patch.tract.id
    if all(sky_map.find_tract(float(c.ra.deg), float(c.dec.deg)).id == tract for c in corners):
        return inside
    for number in np.flatnonzero(inside):
        inside[number] = sky_map.owns(tract, ra=float(ra[number]), dec=float(dec[number]))
    return inside


def distance_inside(objects: Table, tract: Tract, sky_map: RingsSkyMap | SingleSkyMap, *, margin: float) -> np.ndarray:
    """Distance of each row from the edge of its patch's inner box in pixels, negative outside.

    Rows in the area owned by another tract have -inf.

    Parameters
    ----------
    objects
        Table with x, y, patch, coord_ra, coord_dec.
    tract, sky_map
        The tract and its sky map.
    margin
        Distance in pixels beyond which the tract of rows outside is not determined, since they are not primary anyway.
    """
    inside = np.full(len(objects), -np.inf)
    x, y, patch = (np.asarray(objects[name]) for name in ("x", "y", "patch"))
    for number in np.unique(patch):
        rows = np.flatnonzero(patch == number)
        box = tract.patch(int(number)).inner_bbox
        sides = (x[rows] - box.x.start, box.x.stop - 1 - x[rows], y[rows] - box.y.start, box.y.stop - 1 - y[rows])
        inside[rows] = np.min(sides, axis=0) + 0.5
    ra, dec = np.asarray(objects["coord_ra"]), np.asarray(objects["coord_dec"])
    for row in np.flatnonzero(~np.asarray(objects["detect_isPrimary"]) & (inside > -margin)):
        if not sky_map.owns(tract.id, ra=float(ra[row]), dec=float(dec[row])):
            inside[row] = -np.inf
    return inside


def assign_primaries(
    *, x: np.ndarray, y: np.ndarray, patch: np.ndarray, primary: np.ndarray, inside: np.ndarray, radius: float
) -> np.ndarray:
    """Make exactly one row primary among the rows of neighbouring patches that belong to the same object.

    Each patch measures an object in the overlap with different noise, so that near the boundary between two patches its
    position may be inside both or outside both, and the object would be primary twice or never. Rows of different
    patches that are mutual nearest neighbours within a small distance are the same object; the row furthest inside its
    patch is primary.

    Parameters
    ----------
    x, y
        Positions in pixels of the tract.
    patch
        Patch of each row.
    primary
        Whether the row lies in the area owned by its patch.
    inside
        Distance of each row from the edge of that area in pixels, negative outside; -inf in the area of another tract.
    radius
        Largest distance in pixels between rows of the same object.

    Returns
    -------
    ndarray
        Whether each row is primary; rows without a partner keep their flag.
    """
    assigned = primary.copy()
    first, second = _partners(x=x, y=y, patch=patch, radius=radius)
    links = coo_array((np.ones(len(first)), (first, second)), shape=(len(x), len(x)))
    n_groups, group = connected_components(links, directed=False)
    for rows in _groups_of_several(group, n_groups):
        best = rows[np.argmax(inside[rows])]
        # A group without a primary row far outside belongs to a patch that was not measured, or to another tract.
        if assigned[rows].sum() > 1 or (not assigned[rows].any() and inside[best] > -radius):
            assigned[rows] = False
            assigned[best] = True
    return assigned


def _groups_of_several(group: np.ndarray, n_groups: int) -> Iterator[np.ndarray]:
    """Row numbers of each group that has more than one row."""
    order = np.argsort(group, kind="stable")
    edges = np.concatenate([[0], np.cumsum(np.bincount(group, minlength=n_groups))])
    for number in np.flatnonzero(np.diff(edges) > 1):
        yield order[edges[number] : edges[number + 1]]


def _partners(*, x: np.ndarray, y: np.ndarray, patch: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of rows of different patches that are mutual nearest neighbours within a radius."""
    firsts, seconds = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    positions = np.column_stack([x, y])
    patches = np.unique(patch)
    rows = {number: np.flatnonzero(patch == number) for number in patches}
    trees = {number: cKDTree(positions[rows[number]]) for number in patches}
    for k, one in enumerate(patches):
        for other in patches[k + 1 :]:
            distance, there = trees[other].query(positions[rows[one]], distance_upper_bound=radius)
            near = np.flatnonzero(np.isfinite(distance))
            if not len(near):
                continue
            _, back = trees[one].query(positions[rows[other][there[near]]])
            mutual = near[back == near]
            firsts.append(rows[one][mutual])
            seconds.append(rows[other][there[mutual]])
    return np.concatenate(firsts), np.concatenate(seconds)
