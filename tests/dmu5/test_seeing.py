"""Bands blurred to one seeing: stars keep their fluxes, and have one colour from core to rim."""

from __future__ import annotations

import numpy as np
import pytest

from dmu5.picture import HOLE, colour_picture
from dmu5.seeing import blur, seeing_of, to_common_seeing
from tests.scenes.releases import released

WIDTHS = {"g": 1.6, "i": 1.1, "vk": 2.3}


def star(width: float, *, flux: float = 1e5, shape: tuple[int, int] = (61, 75)) -> np.ndarray:
    """A Gaussian star off the centre of an image."""
    y, x = np.indices(shape)
    away = (x - 40.3) ** 2 + (y - 27.8) ** 2
    return flux * np.exp(-away / (2 * width**2)) / (2 * np.pi * width**2)


def test_stars_have_one_colour() -> None:
    """Ratios of bands differ by tens before, and by 2% at most after, as far as the star is above a hundredth."""
    images = {band: star(width) for band, width in WIDTHS.items()}
    same = to_common_seeing(images, WIDTHS)
    seen = star(WIDTHS["vk"]) > 0.01 * star(WIDTHS["vk"]).max()
    assert np.ptp((images["i"] / images["vk"])[seen]) > 1
    for band, image in same.items():
        assert image.sum() == pytest.approx(images[band].sum(), rel=1e-3)
        assert (image / same["vk"])[seen] == pytest.approx(1.0, abs=0.02)
    assert same["vk"] is images["vk"]


def test_unknown_widths_and_holes() -> None:
    """A band of unknown seeing stays; pixels without data stay without, and take no light from those beside them."""
    images = {band: star(width) for band, width in WIDTHS.items()}
    same = to_common_seeing(images, WIDTHS | {"g": np.nan})
    assert same["g"] is images["g"]
    flat = np.full((40, 50), 3.0, np.float32)
    flat[10:14, 20:30] = np.nan
    smooth = blur(flat, 2.0)
    assert np.array_equal(np.isnan(smooth), np.isnan(flat))
    assert smooth[np.isfinite(flat)] == pytest.approx(3.0, rel=1e-5)


def test_holes_are_shown_as_holes(rng: np.random.Generator) -> None:
    """Sky is darker than a hole; a pixel with data in one band only is none."""
    planes = [rng.normal(0, 1, (60, 80)) for _ in range(3)]
    for plane in planes:
        plane[5:15, 10:30] = np.nan
    planes[0][5:8, 10:30] = 0.0
    picture = colour_picture(*planes)[::-1]
    assert np.all(picture[9:14, 12:28] == HOLE)
    assert not np.any(np.all(picture[5:8, 10:30] == HOLE, axis=-1))
    assert np.median(picture[30:]) < min(HOLE)


@pytest.mark.release
def test_seeing_of_the_sample() -> None:
    """The seeing of coadds is that of the survey, 0.5 to 1.2 arcsec, and unknown where there is no coadd."""
    survey, _ = released("sample")
    tract = next(iter(survey.tracts))
    widths = {band: 2.355 * 0.168 * seeing_of(survey, band, tract=tract) for band in survey.bands}
    assert all(0.5 < width < 1.2 for width in widths.values())
    assert len(set(widths.values())) == len(widths)
    assert np.isnan(seeing_of(survey, "g", tract=1))
