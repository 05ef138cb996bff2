"""From the tables of patches to the table of a tract: one primary row for each object on the sky."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from astropy.table import Table, vstack
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from dmu4.objects.columns import flux_names, make_object_table
from obs_vista.bands import BAND_ORDER


def stack_patches(tables: Sequence[Table]) -> Table:
    """All rows of the patches of a tract, in order of objectId, with the columns of all bands that any patch has.

    Parameters
    ----------
    tables
        Tables of `dmu4.objects.columns`; their bands may differ.

    Raises
    ------
    ValueError
        If two rows have the same objectId.
    """
    bands = [band for band in BAND_ORDER if any(f"{band}_psfFlux" in table.colnames for table in tables)]
    complete = []
    for table in tables:
        values = {name: np.asarray(table[name]) for name in table.colnames}
        for band in bands:
            if f"{band}_psfFlux" not in table.colnames:
                values |= {f"{name}_flag": np.ones(len(table), bool) for name in flux_names(band)}
                values |= {f"{band}_inputCount": np.zeros(len(table)), f"{band}_coverage": np.zeros(len(table))}
        complete.append(make_object_table(values, bands, length=len(table)))
    merged = vstack(complete, metadata_conflicts="silent")
    merged.sort("objectId")
    identifiers = np.asarray(merged["objectId"])
    again = np.flatnonzero(np.diff(identifiers) == 0)
    if len(again):
        raise ValueError(f"Object {identifiers[again[0]]} occurs twice: a patch was given more than once.")
    return merged


def settle_primaries(
    *, x: np.ndarray, y: np.ndarray, patch: np.ndarray, primary: np.ndarray, inside: np.ndarray, radius: float
) -> np.ndarray:
    """Make exactly one row primary among the rows of neighbouring patches that are one object.

    Each patch measures an object in the overlap with noise of its own, hence near the line between two patches an
    object can come out on the wrong side in both, and be primary twice or nowhere. Rows of different patches that
    are each other's nearest, within a small distance, are one object; of them the row furthest inside is kept.

    Parameters
    ----------
    x, y
        Tract pixels.
    patch
        Patch of each row.
    primary
        Whether the row lies in its patch's own area.
    inside
        How far inside its patch's own area each row lies, in pixels, negative outside; -inf in another tract's area.
    radius
        Largest distance in pixels between rows of one object.

    Returns
    -------
    ndarray
        The settled flag; rows without a partner keep theirs.
    """
    settled = primary.copy()
    first, second = _partners(x=x, y=y, patch=patch, radius=radius)
    links = coo_array((np.ones(len(first)), (first, second)), shape=(len(x), len(x)))
    n_groups, group = connected_components(links, directed=False)
    for rows in _groups_of_several(group, n_groups):
        best = rows[np.argmax(inside[rows])]
        # A group without a primary far outside belongs to a patch that was not measured, or to another tract.
        if settled[rows].sum() > 1 or (not settled[rows].any() and inside[best] > -radius):
            settled[rows] = False
            settled[best] = True
    return settled


def _groups_of_several(group: np.ndarray, n_groups: int) -> Iterator[np.ndarray]:
    """Row numbers of each group that has more than one."""
    order = np.argsort(group, kind="stable")
    edges = np.concatenate([[0], np.cumsum(np.bincount(group, minlength=n_groups))])
    for number in np.flatnonzero(np.diff(edges) > 1):
        yield order[edges[number] : edges[number + 1]]


def _partners(*, x: np.ndarray, y: np.ndarray, patch: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of rows of different patches that are each other's nearest within a radius."""
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
