"""The engines of the baseline against each other, on the images of the released sample."""

from __future__ import annotations

import numpy as np
import pytest

from dmu0.sky.matching import match
from dmu0.sky.skymap import survey_patches
from dmu3.catalogues import patch_catalogue
from dmu3.sextractor import find_sextractor
from dmu3.steps import read_baseline
from tests.scenes.releases import released

pytestmark = pytest.mark.release


@pytest.mark.skipif(find_sextractor() is None, reason="SExtractor is not installed")
@pytest.mark.parametrize("selection", ["", "i", "vk"])
def test_engines_of_the_baseline_agree(selection: str) -> None:
    """SExtractor and sep find the same objects of a patch, at the same places to 20 mas, with fluxes to 0.02 mag."""
    survey, _ = released("sample")
    patch = survey_patches(survey)[0]
    where = {"tract": patch.tract.id, "patch": patch.id}
    coadds = {band: read_baseline(survey.folders[3], band=band, **where) for band in survey.bands}
    first, second = (
        patch_catalogue(coadds, survey.bands, patch, engine=engine, selection=selection)
        for engine in ("sextractor", "sep")
    )
    pairs = match(*(np.asarray(table[name], float) for table in (first, second) for name in ("ra", "dec")), radius=0.5)
    one, other = first[pairs.first], second[pairs.second]
    assert len(one) > 0.97 * max(len(first), len(second))
    east = (one["ra"] - other["ra"]) * np.cos(np.radians(one["dec"]))
    assert np.percentile(np.hypot(east, one["dec"] - other["dec"]), 90) * 3.6e6 < 20
    for band in survey.bands:
        bright = (one[f"{band}_apFlux_2p0"] > 20 * one[f"{band}_apFluxErr_2p0"]) & (one[f"{band}_flags"] == 0)
        ratio = [np.asarray(t[f"{band}_apFlux_2p0"] * t[f"{band}_apCorr_2p0"], float)[bright] for t in (one, other)]
        assert bright.sum() > 50
        assert np.percentile(np.abs(2.5 * np.log10(ratio[0] / ratio[1])), 90) < 0.02, band
