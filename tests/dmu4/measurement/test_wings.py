"""Stamps as large as the noise asks for, and fluxes that keep the light that they leave out."""

from __future__ import annotations

import numpy as np
import pytest

from dmu4.measurement.apertures import ellipses
from dmu4.measurement.band_fluxes import BandFluxes, measure_band
from dmu4.measurement.error_scale import ErrorInflation
from dmu4.measurement.forced import find_overlaps, still_overlapping
from dmu4.measurement.profiles import make_profiles, resized
from dmu4.measurement.structure import Structure
from dmu4.measurement.wings import (
    NEGLIGIBLE,
    circle_weights,
    gaussian_weights,
    pixel_noise,
    psf_sides,
    wing_light,
    wing_limits,
)
from dmu4.patches.cube import FLAG_BIT, BandPlanes, PatchCube
from dmu4.patches.filling import make_cube

SHAPE = (150, 210)
NOISE = 3.0
SIZE = 55
STAR = (88.3, 61.6)
RADII = np.array([6.0, 14.0, 22.5])
GAAP = np.array([5.0, 14.0])


def moffat(y: np.ndarray, x: np.ndarray, *, scale: float = 4.0, beta: float = 2.5, stretch: float = 1.3) -> np.ndarray:
    """A Moffat profile of unit flux, elongated along x, at offsets from its centre: values, not integrals of pixels."""
    radius = (x / stretch) ** 2 + (y * stretch) ** 2
    return (beta - 1) / (np.pi * scale**2) * (1 + radius / scale**2) ** -beta


def stamp(size: int = SIZE, **shape: float) -> np.ndarray:
    """A PSF stamp [y, x]."""
    return moffat(*(np.indices((size, size)) - size // 2), **shape)


def star(flux: float, x: float, y: float) -> np.ndarray:
    """The image of a star whose PSF ends with its stamp, as far as pixels tell."""
    dy, dx = np.indices(SHAPE) - np.array([y, x])[:, None, None]
    inside = np.maximum(np.abs(dy), np.abs(dx)) <= SIZE // 2 + 0.5
    return flux * moffat(dy, dx) * inside


def make(image: np.ndarray, *, lost: tuple[slice, slice] | None = None) -> PatchCube:
    """A cube of one band without noise in its image; a part without data."""
    planes = BandPlanes(
        image=image.copy(),
        variance=np.full(SHAPE, NOISE**2),
        mask=np.zeros(SHAPE, np.int32),
        psf=np.tile(stamp(), (2, 3, 1, 1)),
        noise=None,
        input_count=np.ones(SHAPE, np.int16),
        psf_light=float(stamp().sum()),
    )
    if lost is not None:
        planes.image[lost] = np.nan
    return make_cube({"vk": planes}, x0=40, y0=7, pixel_scale=0.2)


def measured(cube: PatchCube, psf_side: int) -> BandFluxes:
    """What a band says of the star, with a model that holds a part of the PSF."""
    x, y = (np.array([one]) for one in STAR)
    profiles = make_profiles(x=x, y=y, covariance=None, psf_size=psf_side)
    return measure_band(
        cube,
        0,
        profiles=profiles,
        structure=Structure.none(1),
        radii=RADII,
        kron=ellipses(np.array([[16.0, 9.0, 1.0]]), np.array([3.0])),
        pairs=find_overlaps(profiles),
        inflation=ErrorInflation(psf=1, gaap=np.ones(2), radius=RADII, circle=np.ones(3), samples=100),
        gaap_sigma=GAAP,
        extended_limit=0.1,
    )[0]


@pytest.mark.parametrize("number", [0, 1])
def test_what_is_left_out_harms_no_neighbour(number: int) -> None:
    """At the limit of a side, the worst error of a point source beyond is below `NEGLIGIBLE`, but not by far."""
    psf = stamp()
    sides, limits = wing_limits(psf)
    assert sides.tolist() == [31, 47, 55]
    assert limits[-1] == np.inf
    half, power = sides[number] // 2, np.sum(psf**2)
    # The wings alone, in a field in which any neighbour fits, for a pixel noise of one.
    wings = np.zeros((151, 151))
    wings[48:103, 48:103] = psf
    wings[75 - half : 76 + half, 75 - half : 76 + half] = 0
    flux = limits[number] / np.sqrt(power)
    errors = []
    for along in range(half + 1, 40):
        for y, x in ((75 + along, 75), (75, 75 - along), (75 - along, 75 + along // 2)):
            there = wings[y - 27 : y + 28, x - 27 : x + 28]
            errors.append(flux * np.sum(there * psf) / np.sqrt(power))
    assert 0.2 * NEGLIGIBLE < max(errors) < NEGLIGIBLE


def test_sides_follow_brightness_and_missing_cores() -> None:
    """Faint, brighter and bright stars need the more of the PSF; lost or saturated cores need all, no data nothing."""
    _, limits = wing_limits(stamp())
    significance = np.array([0.8 * limits[0], 1.2 * limits[0], 0.8 * limits[1], 1.2 * limits[1]])
    x, y = np.array([25.0, 71, 130, 180]), np.array([35.0, 100, 40, 112])
    flux = significance * NOISE / np.sqrt(np.sum(stamp() ** 2))
    image = np.zeros(SHAPE)
    for one in zip(flux, x, y, strict=True):
        image += star(*one)
    cube = make(image)
    assert pixel_noise(cube, 0) == pytest.approx(NOISE)
    assert psf_sides(cube, 0, x=x, y=y).tolist() == [31, 47, 47, 55]
    cube.flags[37, 24, 0] |= FLAG_BIT["SAT"]
    assert psf_sides(cube, 0, x=x, y=y).tolist() == [55, 47, 47, 55]
    holed = make(image, lost=(slice(30, 41), slice(18, 31)))
    assert psf_sides(holed, 0, x=x, y=y).tolist() == [55, 47, 47, 55]
    without = make(image, lost=(slice(0, 90), slice(0, 80)))
    assert psf_sides(without, 0, x=x, y=y).tolist() == [31, 47, 47, 55]
    nowhere = make(image, lost=(slice(0, 150), slice(0, 210)))
    assert np.isnan(pixel_noise(nowhere, 0))
    assert psf_sides(nowhere, 0, x=x, y=y).tolist() == [31] * 4


def test_the_lost_light_of_circles() -> None:
    """The light of a stamp in a circle and that beyond the stamp are those of the whole PSF, for each PSF and size."""
    psfs = np.stack([stamp(), stamp(scale=3.0, stretch=0.8)])
    cell, size = np.array([1, 0, 0]), np.array([32, 48, 32])
    lost = wing_light(psfs, cell, size, circle_weights(psfs, RADII))
    radius = np.hypot(*(np.indices((SIZE, SIZE)) - SIZE // 2))
    for number in range(3):
        half = size[number] // 2 - 1
        cut = np.zeros((SIZE, SIZE))
        inside = slice(SIZE // 2 - half, SIZE // 2 + half + 1)
        cut[inside, inside] = psfs[cell[number]][inside, inside]
        for k, limit in enumerate(RADII):
            light = cut[radius < limit].sum() + lost[number, k]
            assert light == pytest.approx(psfs[cell[number]][radius < limit].sum(), abs=1e-6)
    assert lost[0, 0] == 0
    assert lost[2, 2] > 0.008


def test_gaussian_weights_give_the_total_of_a_gaussian() -> None:
    """The weight of an aperture times a Gaussian PSF is its whole light, as in GAaP."""
    dy, dx = np.indices((81, 81)) - 40
    psf = np.exp(-0.5 * (dx**2 + dy**2) / 2.5**2) / (2 * np.pi * 2.5**2)
    weights = gaussian_weights(psf[None], np.array([4.0, 9.0]), psf_sigma=2.5)
    assert np.sum(weights * psf, axis=(1, 2)) == pytest.approx(1, abs=1e-3)
    assert weights[1, 40, 52] == pytest.approx(81 / 74.75 * np.exp(-0.5 * 144 / 74.75))


def test_fluxes_keep_the_light_of_the_wings() -> None:
    """A star modelled with a part of its PSF has the fluxes, and the fractions in circles, that the whole one gives."""
    flux = 500.0
    cube = make(star(flux, *STAR))
    whole, cut = (measured(cube, side) for side in (SIZE, 31))
    assert cut.psf.value[0] == pytest.approx(flux, rel=3e-3)
    assert cut.psf.value[0] == pytest.approx(whole.psf.value[0], rel=1e-3)
    for one, other in zip(cut.gaap, whole.gaap, strict=True):
        assert one.value[0] == pytest.approx(other.value[0], rel=2e-3)
    np.testing.assert_allclose(cut.circle_fraction, whole.circle_fraction, atol=2e-3)
    # Without the wings it would be wrong by four times that.
    assert whole.circle_fraction[0, 2] - cut.in_circles[0, 2] > 0.008


def test_overlaps_of_smaller_stamps() -> None:
    """Pairs of large stamps that still touch as small ones are those that are found for the small ones."""
    rng = np.random.default_rng(3)
    x, y = rng.uniform(0, 400, 300), rng.uniform(0, 250, 300)
    large = make_profiles(x=x, y=y, covariance=None, psf_size=63)
    small = resized(large, rng.choice([31, 47, 63], 300))
    found, expected = still_overlapping(small, find_overlaps(large)), find_overlaps(small)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(found[0]) < 0.7 * len(find_overlaps(large)[0])


def test_apertures_within_the_seeing_have_no_weights() -> None:
    """Nothing can be measured in them; wider ones in the same call are as without them."""
    psf = np.ones((1, 41, 41)) / 41**2
    weights = gaussian_weights(psf, np.array([1.0, 2.5, 4.0]), psf_sigma=2.5)
    assert not weights[:2].any()
    np.testing.assert_array_equal(weights[2:], gaussian_weights(psf, np.array([4.0]), psf_sigma=2.5))
    assert weights[2].max() == weights[2, 20, 20] > 1
