"""One stack has one zero point, whether the inventory, the reference stars, the baseline or the pipeline reads it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from dmu0.surveys import Vista
from dmu1.inventory import StackFile
from dmu1.inventory import read_stacks as read_inventory
from dmu1.selection import select
from dmu1.sky_maps import point_source_depth, table_zero_points
from dmu2.stars import read_stacks
from dmu3.inputs import InputError, read_detector
from dmu4.tasks.calibrate_detector import CalibrateDetectorConfig, CalibrateDetectorTask, _header
from obs_vista.formatters import header_metadata
from obs_vista.headers import merged_header

VEGA_TO_AB = 1.385
"""H band: Gonzalez-Fernandez et al. 2018, with CASU's offset of 0.019."""


def write(folder: Path, write_casu, name: str = "v20091103_00354_st.fit", **cards: object) -> Path:
    """A stack of one detector with a sky of 8382 counts, and cards changed in both headers."""
    image = np.random.default_rng(3).normal(8382.56, 8.8, (96, 110)).astype(np.float32)
    return write_casu(folder / name, {3: image}, **cards)


def zero_points(path: Path, magnitudes: str) -> dict[str, float]:
    """AB magnitude of one count by each stage."""
    rows = read_inventory([StackFile(str(path), path)])
    star_image = next(read_stacks(rows, path, system=magnitudes))
    assert not isinstance(star_image, str), star_image
    baseline = read_detector(path, 1, "vh", confidence=None, magnitudes=magnitudes)
    with fits.open(path) as hdus:
        header, pixels = merged_header(hdus[0].header, hdus[1].header), hdus[1].data.astype(float)
    config = CalibrateDetectorConfig()
    config.magnitudes, config.noise = magnitudes, "skynoise"
    given = CalibrateDetectorTask(config=config)._given(pixels, None, _header(header_metadata(header)), 3, "vh")
    return {
        "dmu1": float(table_zero_points(rows, magnitudes=magnitudes)[0]),
        "dmu2": 31.4 - 2.5 * np.log10(star_image.nanojansky),
        "dmu3": 31.4 - 2.5 * np.log10(float(baseline.image[40, 50]) / pixels[40, 50]),
        "dmu4": given.zero_point[0],
    }


@pytest.mark.parametrize(
    ("cards", "expected"),
    [
        ({}, 23.867 + 2.5 + VEGA_TO_AB),
        ({"ESO__TEL__AIRM__START": 1.6, "ESO__TEL__AIRM__END": 1.7}, 23.867 + 2.5 - 0.65 * 0.05 + VEGA_TO_AB),
        (
            {"EXTINCT": 0.08, "ESO__TEL__AIRM__START": 1.6, "ESO__TEL__AIRM__END": 1.7},
            23.867 + 2.5 - 0.65 * 0.08 + VEGA_TO_AB,
        ),
        ({"EXTINCT": 0.08, "ESO__TEL__AIRM__START": 1.6}, 23.867 + 2.5 - 0.6 * 0.08 + VEGA_TO_AB),
        ({"EXTINCT": 0.08}, 23.867 + 2.5 + VEGA_TO_AB),
        ({"EXPTIME": 50.0, "ESO__DET__DIT": 50.0, "ESO__DET__NDIT": 1}, 23.867 + 4.247425 + VEGA_TO_AB),
        ({"ESO__DET__NDIT": 3, "NICOMB": 9}, 23.867 + 2.5 + VEGA_TO_AB),
        ({"EXPTIME": None, "ESO__DET__DIT": 50.0}, 23.867 + 4.247425 + VEGA_TO_AB),
    ],
)
def test_vega(tmp_path: Path, write_casu, cards: dict[str, object], expected: float) -> None:
    """MAGZPT is for one count per second of EXPTIME at airmass 1; NDIT and NICOMB play no part."""
    found = zero_points(write(tmp_path, write_casu, **cards), "Vega")
    assert found["dmu4"] == pytest.approx(expected, abs=2e-6)
    for stage, value in found.items():
        assert value == pytest.approx(found["dmu4"], abs=1e-6), stage


def test_ab(tmp_path: Path, write_casu) -> None:
    """Pixels brought to an AB zero point have that one, in depths too."""
    path = write(tmp_path, write_casu, MAGZPT=30.0, EXTINCT=0.05, ESO__TEL__AIRM__START=1.5)
    for stage, value in zero_points(path, "AB").items():
        assert value == pytest.approx(30.0, abs=1e-6), stage
    rows = read_inventory([StackFile(str(path), path)])
    limit = 5 * 8.79 * np.sqrt(4 * np.pi) * rows["seeing"][0] / rows["pixel_scale"][0] / 2.3548
    assert point_source_depth(rows, magnitudes="AB")[0] == pytest.approx(30 - 2.5 * np.log10(limit), abs=1e-6)


def test_real_header(real_header) -> None:
    """The VIDEO Z stack: 23.766 + 2.5 log10(50 s) - 0.05 x 0.1335 + 0.506."""
    header = merged_header(*(real_header(f"v20120924_00582_st_{part}") for part in ("primary", "ext1")))
    image = np.full((60, 60), 622.0) + np.random.default_rng(4).normal(0, 5, (60, 60))
    config = CalibrateDetectorConfig()
    config.noise = "skynoise"
    task = CalibrateDetectorTask(config=config)
    magnitude, error = task._given(image, None, _header(header_metadata(header)), 1, "vz").zero_point
    assert magnitude == pytest.approx(23.766 + 2.5 * np.log10(50) - 0.05 * 0.1335 + 0.506, abs=1e-9)
    assert error == 0.04


@pytest.mark.parametrize(
    ("cards", "reason"),
    [
        ({"MAGZPT": None}, "MAGZPT is missing"),
        ({"MAGZPT": "  "}, "MAGZPT is missing"),
        ({"MAGZPT": "23.8"}, "MAGZPT is '23.8'"),
        ({"MAGZPT": 99.0}, "MAGZPT is 99.0"),
        ({"MAGZPT": -1}, "MAGZPT is -1"),
        ({"EXPTIME": 0.0}, "EXPTIME is 0.0"),
        ({"EXTINCT": "default"}, "EXTINCT is 'default'"),
        ({"ESO__TEL__AIRM__START": 0.0}, "airmass 0"),
    ],
)
def test_no_zero_point(tmp_path: Path, write_casu, cards: dict[str, object], reason: str) -> None:
    """A header without a usable zero point is rejected by dmu1 with the reason, and refused by the stages after it."""
    path = write(tmp_path, write_casu, **cards)
    rows = read_inventory([StackFile(str(path), path)])
    selected, _ = select(rows, Vista(bands=("vh",), confidence=None, noise="skynoise"))
    assert not selected["accepted"][0]
    assert reason in selected["rejected_because"][0]
    assert reason in next(read_stacks(rows, path, system="Vega"))
    with pytest.raises(InputError, match=r"v20091103_00354_st\.fit\[1\]: .*" + reason.split(" is")[0]):
        read_detector(path, 1, "vh", confidence=None)


def test_twice(tmp_path: Path, write_casu) -> None:
    """A second MAGZPT of another value is refused by all, with both values; the other stacks are read."""
    path, good = write(tmp_path, write_casu, DUMMY=1), write(tmp_path, write_casu, "good_st.fit")
    raw = path.read_bytes()
    at = raw.rfind(b"DUMMY   =")
    path.write_bytes(raw[:at] + b"MAGZPT  =               22.867 / mag".ljust(80) + raw[at + 80 :])
    rows = read_inventory([StackFile(str(name), name) for name in (path, good)])
    assert list(rows["state"]) == ["failed", "ok"]
    assert "MAGZPT is given 2 times, as 23.867 and 22.867" in rows["reason"][0]
    assert "MAGZPT is given 2 times" in next(read_stacks(rows[1:], path, system="Vega"))
    with pytest.raises(InputError, match=r"v20091103_00354_st\.fit\[1\]: MAGZPT is given 2 times"):
        read_detector(path, 1, "vh", confidence=None)
