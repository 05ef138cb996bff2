"""Whether the published images of a survey are where its patches are, by their headers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from lsst.sphgeom import DISJOINT, ConvexPolygon

from dmu0.sky.sphere import mean_position
from dmu0.sky.tract import sky_polygon
from dmu0.surveys.first_look import NotAnImageError, look_at, outline

MOST_FILES = 50
"""Largest number of files of a band whose headers are read; nothing is said of bands with more."""


def elsewhere(paths: Sequence[Path], regions: Iterable[ConvexPolygon]) -> tuple[Path, float, float] | None:
    """The first of some images, and its RA and Dec in deg, if by their headers all are beside some regions.

    Parameters
    ----------
    paths
        The images; those that cannot be read, or have no world coordinates, may be anywhere.
    regions
        Parts of the sky, as the patches of a survey.

    Returns
    -------
    tuple or None
        None if an image is or may be within, or if there are more than `MOST_FILES`.
    """
    if not paths or len(paths) > MOST_FILES:
        return None
    wanted = list(regions)
    first = None
    for path in paths:
        corners = _corners(path)
        if corners is None or any(not sky_polygon(corners).relate(region) & DISJOINT for region in wanted):
            return None
        first = (path, *mean_position(*corners.T)) if first is None else first
    return first


def _corners(path: Path) -> np.ndarray | None:
    """Corners (RA, Dec) of an image in deg, in cyclic order; None if they are not known."""
    try:
        look = look_at(path)
    except NotAnImageError:
        return None
    if look.wcs is None:
        return None
    corners = outline(look.wcs, look.shape)
    return corners if np.isfinite(corners).all() else None
