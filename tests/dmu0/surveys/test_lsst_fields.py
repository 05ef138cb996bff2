"""The shipped surveys on LSST lie where their fields are published to lie, and hold all that VISTA observed there."""

from __future__ import annotations

import json
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from dmu0.sky.skymap import make_sky_map, survey_patches
from dmu0.surveys import load_survey

CENTRES = {
    "dp2_cosmos": SkyCoord("10:00:26 +02:14:01", unit=(u.hourangle, u.deg)),
    "dp2_ecdfs": SkyCoord("03:31:55 -28:07:00", unit=(u.hourangle, u.deg)),
    "dp1_ecdfs": SkyCoord("03:31:55 -28:07:00", unit=(u.hourangle, u.deg)),
    "dp2_elaiss1": SkyCoord("00:37:48 -44:01:30", unit=(u.hourangle, u.deg)),
    "dp2_xmm": SkyCoord("02:22:18 -04:49:00", unit=(u.hourangle, u.deg)),
}
"""Pointings of Rubin's deep drilling fields (LSST document 30468, AGN-DDF-WP-02)."""

VIDEO = json.loads(Path(__file__).with_name("video_patches.json").read_text())
"""Tract -> patches of HSC's map that VIDEO reaches (lsst-uk/lsst-ir-fusion, dmu1/json/video_total_patch_dict.json)."""


def contains(name: str, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Whether each position is in a patch of the survey."""
    inside = np.zeros(len(ra), bool)
    for patch in survey_patches(load_survey(name), ""):
        x, y = patch.tract.wcs.all_world2pix(ra, dec, 0)
        box = patch.inner_bbox
        inside |= (x >= box.x.start - 0.5) & (x < box.x.stop - 0.5) & (y >= box.y.start - 0.5) & (y < box.y.stop - 0.5)
    return inside


@pytest.mark.parametrize("name", CENTRES)
def test_surveys_lie_where_their_fields_are(name: str) -> None:
    """The mean position of the patches is within 0.2 deg of the pointing of LSST, which is in one of them."""
    places = []
    for patch in survey_patches(load_survey(name), ""):
        box = patch.inner_bbox
        places.append(patch.tract.wcs.all_pix2world(box.x.start + box.x.size / 2, box.y.start + box.y.size / 2, 0))
    sky = SkyCoord(*np.transpose(places) * u.deg)
    mean = SkyCoord(np.mean(sky.ra.deg) * u.deg, np.mean(sky.dec.deg) * u.deg)
    assert mean.separation(CENTRES[name]) < 0.2 * u.deg
    centre = CENTRES[name]
    assert contains(name, np.array([centre.ra.deg]), np.array([centre.dec.deg])).all()


@pytest.mark.parametrize(("name", "low", "high"), [("dp2_elaiss1", 5, 14), ("dp2_xmm", 30, 40), ("dp2_ecdfs", 50, 56)])
def test_all_of_video_is_in_a_survey(name: str, low: float, high: float) -> None:
    """Corners and centre of every patch that VIDEO reaches in the field are in a patch of the survey."""
    sky_map, places = make_sky_map(load_survey("video").sky_map), []
    for tract, patches in VIDEO.items():
        here = sky_map.tract(int(tract))
        if low < here.wcs.wcs.crval[0] < high:
            for box in (here.patch(number).inner_bbox for number in patches):
                x = np.array([box.x.start, box.x.start, box.x.stop - 1, box.x.stop - 1, box.x.start + box.x.size / 2])
                y = np.array([box.y.start, box.y.stop - 1, box.y.start, box.y.stop - 1, box.y.start + box.y.size / 2])
                places.append(here.wcs.all_pix2world(x, y, 0))
    ra, dec = np.concatenate(places, axis=1)
    assert len(ra) >= 5 * 164
    missing = ~contains(name, ra, dec)
    assert not missing.any(), f"{missing.sum()} of {len(ra)} positions, the first at {ra[missing][0]} {dec[missing][0]}"


def test_the_published_field_of_ultravista_is_in_its_survey() -> None:
    """1.5 x 1.23 deg about 10:00:28.6 +02:12:21 (McCracken et al. 2012, A&A 544, A156), on a grid of 2 arcmin."""
    ra, dec = np.meshgrid(
        np.linspace(150.119 - 0.75, 150.119 + 0.75, 46), np.linspace(2.206 - 0.615, 2.206 + 0.615, 38)
    )
    assert contains("dp2_cosmos", ra.ravel(), dec.ravel()).all()
