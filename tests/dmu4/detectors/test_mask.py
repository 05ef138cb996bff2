"""Masks of detector images."""

from __future__ import annotations

import numpy as np
import pytest

from dmu0.robust_statistics import SIGMA_TO_FWHM
from dmu4.detectors.mask import detector_mask, find_cosmic_rays, sky_pedestal
from obs_vista.masks import BIT


def test_no_data_and_low_confidence() -> None:
    """Zero confidence and not-a-number are no data, low confidence is bad, and the two exclude each other."""
    image, confidence = np.ones((20, 30), np.float32), np.full((20, 30), 100)
    confidence[5, 6], confidence[7, 8], image[9, 10] = 0, 15, np.nan
    mask = detector_mask(image, confidence, saturation=1e4, edge=2)
    assert mask[5, 6] == BIT["NO_DATA"]
    assert mask[9, 10] == BIT["NO_DATA"]
    assert mask[7, 8] == BIT["BAD"]
    assert mask[12, 12] == 0
    assert all((side & BIT["EDGE"]).all() for side in (mask[:2], mask[-2:], mask[:, :2], mask[:, -2:]))
    assert not (mask[2:-2, 2:-2] & BIT["EDGE"]).any()


def test_saturated_cores_are_filled_and_grown() -> None:
    """A saturated ring, which is what a very bright star leaves, is masked with its middle and its rim."""
    y, x = np.mgrid[0:40, 0:40]
    radius = np.hypot(x - 20, y - 20)
    image = np.where((radius > 2) & (radius < 5), 40_000, 100.0)
    saturated = (detector_mask(image, None, saturation=33_000) & BIT["SAT"]) != 0
    assert saturated[20, 20]
    assert saturated[20, 26]
    assert not saturated[20, 30]


def test_sizes_must_agree() -> None:
    """A confidence map of another size is refused, with both sizes."""
    with pytest.raises(ValueError, match=r"\(4, 5\).*\(6, 5\)"):
        detector_mask(np.zeros((6, 5)), np.ones((4, 5)), saturation=1.0)


def test_pedestal() -> None:
    """The sky is added back only where it was taken out."""
    assert sky_pedestal(np.full((50, 50), 980.0), sky_level=1000.0) == 0
    assert sky_pedestal(np.full((50, 50), 3.0), sky_level=1000.0) == 1000


def test_cosmic_rays_and_not_stars(rng: np.random.Generator) -> None:
    """Single hot pixels are found, the sharpest stars are not, wherever in a pixel they are centred."""
    image = rng.normal(size=(200, 200)).astype(np.float32)
    y, x = np.mgrid[0:200, 0:200]
    places = rng.uniform(10, 190, (40, 2))
    sigma = 2.0 / SIGMA_TO_FWHM
    for cx, cy in places:
        image += (500 * np.exp(-0.5 * ((x - cx) ** 2 + (y - cy) ** 2) / sigma**2)).astype(np.float32)
    clear = [(j, i) for j, i in rng.integers(5, 195, (60, 2)) if np.hypot(*(places - (i, j)).T).min() > 8][:20]
    for j, i in clear:
        image[j, i] += 60
    found = find_cosmic_rays(image, np.ones_like(image), fwhm=2.0)
    assert all(found[j, i] for j, i in clear)
    assert found.sum() == len(set(clear))
