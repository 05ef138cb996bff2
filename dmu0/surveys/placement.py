"""Whether the published images of a survey are where its patches are, by their headers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from lsst.sphgeom import DISJOINT, ConvexPolygon

from dmu0.sky.sphere import mean_position
from dmu0.sky.tract import sky_polygon
from dmu0.surveys.first_look import FirstLook, NotAnImageError, look_at

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
        outline = _outline(path)
        if outline is None or any(not sky_polygon(outline).relate(region) & DISJOINT for region in wanted):
            return None
        first = (path, *mean_position(*outline.T)) if first is None else first
    return first


def _outline(path: Path) -> np.ndarray | None:
    """Corners (RA, Dec) of an image in deg, in cyclic order; None if they are not known."""
    try:
        look = look_at(path)
    except NotAnImageError:
        return None
    corners = np.array(list(_corners(look))) if look.wcs is not None else np.empty((0, 2))
    return corners if len(corners) and np.isfinite(corners).all() else None


def _corners(look: FirstLook) -> Iterator[tuple[float, float]]:
    ny, nx = look.shape
    for x, y in ((-0.5, -0.5), (nx - 0.5, -0.5), (nx - 0.5, ny - 0.5), (-0.5, ny - 0.5)):
        ra, dec = look.projection.all_pix2world(x, y, 0)
        yield float(ra), float(dec)
