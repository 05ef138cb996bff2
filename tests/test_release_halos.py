"""Halos of bright stars in the products of a release: the mask plane of the images is the flag of the objects."""

from __future__ import annotations

import numpy as np
import pytest

from dmu0.sky.skymap import survey_patches
from dmu4.butler.repository import open_butler
from dmu4.coadds.cell_coadd import pixel_scale
from tests.scenes.releases import released

pytestmark = pytest.mark.release

SMALLEST = 10.5
"""Radius in arcsec below that of the halo of the faintest star that has one."""


@pytest.mark.parametrize("name", ["sample", "sample_lsst", "tests/real/gama9.yaml", "tests/real/video_h.yaml"])
def test_the_plane_is_the_flag(name: str) -> None:
    """In one band of each half, objects whose pixel has BRIGHT_OBJECT have brightStar_flag, up to its rounding."""
    survey, objects = released(name)
    checked = flagged = 0
    with open_butler(survey) as butler:
        for patch in survey_patches(survey):
            rounding = np.hypot(0.5, 0.5) * pixel_scale(patch) / SMALLEST  # half the diagonal of a pixel
            rows = objects[(objects["tract"] == patch.tract.id) & (objects["patch"] == patch.id)]
            x, y = patch.tract.wcs.wcs_world2pix(rows["coord_ra"], rows["coord_dec"], 0)
            column, row = (np.rint(axis).astype(int) for axis in (x, y))
            distance, flag = (np.asarray(rows[f"brightStar_{key}"]) for key in ("distance", "flag"))
            for band in {survey.bands[0], survey.bands[-1]}:
                where = {"tract": patch.tract.id, "patch": patch.id, "band": band}
                if not len(rows) or butler.find_dataset("deep_coadd", where) is None:
                    continue
                mask = butler.get("deep_coadd.mask", where)
                box = mask.bbox
                inside = (column >= box.x.start) & (column < box.x.stop) & (row >= box.y.start) & (row < box.y.stop)
                plane = mask.get("BRIGHT_OBJECT")[row[inside] - box.y.start, column[inside] - box.x.start]
                differs = plane != flag[inside]
                assert (np.abs(distance[inside][differs] - 1) < rounding).all(), f"{patch} {band}"
                checked, flagged = checked + inside.sum(), flagged + flag[inside].sum()
    print(f"{name}: {checked} objects, {flagged} with the flag")
    assert checked > 0.9 * len(objects)
    assert flagged > 0
