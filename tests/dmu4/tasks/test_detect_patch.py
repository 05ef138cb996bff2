"""The table of detections: each number in the row of its object and the column of its band."""

from __future__ import annotations

import numpy as np

from dmu4.detection.detect import Detections
from dmu4.detection.footprints import Footprints
from dmu4.tasks.detect_patch import detection_table
from tests.scenes.tilted import X0, Y0, make_tilted


def test_columns_of_bands_and_places() -> None:
    """Positions count from the corner of the tract; heights, bands and footprints are those of the object."""
    cube = make_tilted([])
    cube = cube.__class__(**{**vars(cube), "bands": ("g", "vk")})
    found = Detections(
        x=np.array([12.25, 250.5, 7.0]),
        y=np.array([170.75, 3.5, 9.0]),
        height=np.array([[5.0, 60.0], [7.0, 8.0], [9.0, -1.0]]),
        detected=np.array([[False, True], [True, True], [True, False]]),
        combined=np.array([60.5, 10.5, 9.5]),
        reference=np.array([1, 1, 0]),
        footprints=Footprints(
            owner=np.zeros((2, 2)),
            area=np.array([40, 50, 60]),
            blend=np.array([0, 1, 1]),
            blend_size=np.array([1, 2, 2]),
        ),
        order=(1, 0),
    )
    table = detection_table(cube, found)
    assert list(table["x"]) == [X0 + 12.25, X0 + 250.5, X0 + 7]
    assert list(table["y"]) == [Y0 + 170.75, Y0 + 3.5, Y0 + 9]
    assert list(table["refBand"]) == ["vk", "vk", "g"]
    assert list(table["chi2_height"]) == [60.5, 10.5, 9.5]
    assert list(table["footprint_area"]) == [40, 50, 60]
    assert (list(table["blend"]), list(table["blend_size"])) == ([0, 1, 1], [1, 2, 2])
    assert (list(table["g_height"]), list(table["vk_height"])) == ([5, 7, 9], [60, 8, -1])
    assert (list(table["g_detected"]), list(table["vk_detected"])) == ([False, True, True], [True, True, False])
