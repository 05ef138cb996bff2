"""The sixteen detectors and their layout."""

from __future__ import annotations

import numpy as np
import pytest

from obs_vista.camera import DETECTORS, PIXEL_SCALE, get_detector, make_detector


def test_sixteen_detectors_with_sane_properties():
    """All detectors are there, with gains and noises that HgCdTe arrays have."""
    assert list(DETECTORS) == list(range(1, 17))
    for detector in DETECTORS.values():
        assert 3 < detector.gain < 6
        assert 3.5 < detector.read_noise < 7
        assert 20_000 < detector.saturation < 40_000


def test_layout_has_the_gaps_of_vista():
    """Neighbours are 42.5% of a detector apart in x and 90% in y, so that six pawprints fill a tile."""
    for number in DETECTORS:
        x, y = DETECTORS[number].refpos
        if number % 4:
            assert DETECTORS[number + 1].refpos[0] - x == pytest.approx(1.425 * 2048, rel=0.01)
        if number <= 12:
            assert DETECTORS[number + 4].refpos[1] - y == pytest.approx(1.9 * 2048, rel=0.01)


def test_optical_axis_is_where_real_headers_put_it(real_header):
    """CRPIX of a real single exposure is the optical axis in pixels, to within the pointing."""
    header = real_header("inputs_exposures0_ext1")
    x, y = get_detector(1).axis_pixel
    assert header["CRPIX1"] == pytest.approx(x, abs=30)
    assert header["CRPIX2"] == pytest.approx(y, abs=30)


@pytest.mark.parametrize("size", [(2048, 2048), (2091, 2155), (384, 390)])
def test_detector_centre_does_not_depend_on_the_size_of_the_stack(size):
    """The centre of a stack of any size is at the detector's centre, and pixels are 0.339 arcsec."""
    nx, ny = size
    detector = make_detector(7, nx, ny, visit=12016)
    centre = detector.to_focal_plane.apply_forward(x=0.5 * (nx - 1), y=0.5 * (ny - 1))
    assert (centre.x, centre.y) == pytest.approx(get_detector(7).centre)
    first, second = (detector.to_field_angle.apply_forward(x=float(x), y=0.0) for x in (0, 1))
    assert np.degrees(second.x - first.x) * 3600 == pytest.approx(PIXEL_SCALE)
    assert detector.bbox.shape == (ny, nx)
    assert (detector.visit, detector.instrument, detector.name) == (12016, "VIRCAM", "CHIP07")


def test_errors_name_the_value():
    """An unknown detector or an impossible size is refused."""
    with pytest.raises(KeyError, match="17"):
        get_detector(17)
    with pytest.raises(ValueError, match="0 and 5"):
        make_detector(1, 0, 5)
