"""Crowded detectors: measured right as far as they can be, and beyond rejected with the reason."""

from __future__ import annotations

import numpy as np
import pytest

from dmu4.detectors.acceptance import Limits, rejection
from dmu4.detectors.calibration import Settings, calibrate
from dmu4.detectors.tables import summary_table
from tests.scenes.detectors import DetectorScene, make_detector_scene

KEY = {"visit": 1, "detector": 3, "band": "vk", "mjd": 56000.0}


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(("stars", "crowded"), [(250, False), (1000, False), (2000, True), (3000, True)])
def test_crowded_detectors_are_right_or_rejected(stars: int, crowded: bool, seed: int) -> None:
    """On 512 x 512 pixels with 1,000 stars, 118 per square arcmin, the zero point is right to 0.01 mag; with twice and
    three times as many it is not to be trusted, and the detector is rejected because of crowding, and nothing else.

    3,000 have the density of the bulge.
    """
    scene = DetectorScene(shape=(512, 512), stars=stars, galaxies=0, magnitudes=(13.5, 19.5))
    truth = make_detector_scene(np.random.default_rng(seed), scene)
    found = calibrate(truth.given, truth.references, Settings())
    reason = rejection(summary_table(found, truth.given, truth.header, KEY), Limits())[0]
    error = found.zero_point.magnitude - scene.zero_point
    print(f"{stars} stars: zero point {error:+.4f} mag, growth {found.apertures.growth}, {reason!r}")
    if crowded:
        assert reason.startswith("crowding")
    else:
        assert not reason
        assert abs(error) < 0.01
