"""Moving stars: their offsets, their fluxes in both surveys, and that nothing else moves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dmu4.measurement.iterations import ShapeSettings
from dmu4.measurement.measure import Measurements, MeasurementSettings, measure
from dmu4.measurement.motion import FLOOR, Motion, Shifts, combine_shifts, link_moved, offset_floor, update_motion
from dmu4.patches.cube import FLAG_BIT, BandPlanes, PatchCube
from dmu4.patches.filling import make_cube
from tests.scenes.patches import Scene, correlated_noise, draw, psf_stamp

SHAPE = (260, 330)
PIXEL = 0.2
BANDS = ("g", "i", "vj", "vk")
SIGMA = (2.0, 3.0, 9.0, 12.0)
VARIANCE = (3.4, 2.6, 4.1, 3.0)
MOVES = {2: (1.1, -0.7), 5: (-2.4, 1.2), 8: (0.3, 7.6), 11: (-13.0, 4.0)}
"""Star -> its shift from the optical to the VISTA images in pixels: within the PSF, and far beyond."""


def sky(rng: np.random.Generator) -> tuple[Scene, np.ndarray, np.ndarray]:
    """Stars and galaxies on a lattice, and the shift (x, y) of each."""
    x, y = (values.ravel().astype(float) for values in np.meshgrid(np.arange(40, 320, 62), np.arange(35, 240, 48)))
    x, y = x + rng.uniform(-5, 5, len(x)), y + rng.uniform(-5, 5, len(x))
    covariance = np.zeros((len(x), 3))
    covariance[[3, 9, 17]] = (14.0, 6.0, 3.0)
    flux = rng.uniform(3e3, 9e3, len(x))[:, None] * np.array([0.6, 1.0, 1.5, 1.3])
    shift = np.zeros((len(x), 2))
    for star, move in MOVES.items():
        shift[star] = move
    return Scene(x=x, y=y, covariance=covariance, flux=flux), *shift.T


def patch(scene: Scene, dx: np.ndarray, dy: np.ndarray, rng: np.random.Generator) -> PatchCube:
    """The scene in two optical and two VISTA bands, with the stars of the latter where they have moved to."""
    planes = {}
    for number, band in enumerate(BANDS):
        moved = 1.0 if band.startswith("v") else 0.0
        placed = Scene(scene.x + moved * dx, scene.y + moved * dy, scene.covariance, scene.flux)
        noise = [correlated_noise(rng, SHAPE, sigma=SIGMA[number], width=0.6) for _ in range(2)]
        stamp = psf_stamp(VARIANCE[number])
        planes[band] = BandPlanes(
            image=(draw(placed, band=number, variance=VARIANCE[number], shape=SHAPE) + noise[0]).astype(np.float32),
            variance=np.full(SHAPE, SIGMA[number] ** 2, np.float32),
            mask=np.zeros(SHAPE, np.int32),
            psf=np.broadcast_to(stamp, (2, 3, *stamp.shape)).astype(np.float32),
            noise=noise[1].astype(np.float32),
            input_count=np.full(SHAPE, 3, np.int16),
        )
    return make_cube(planes, x0=100, y0=900, pixel_scale=PIXEL)


def measured(cube: PatchCube, x: np.ndarray, y: np.ndarray, reference: np.ndarray, **settings: float) -> Measurements:
    """Measure at given peaks."""
    shapes = ShapeSettings(**settings)
    return measure(cube, x=x, y=y, reference=reference, settings=MeasurementSettings(shapes=shapes, threads=1))


@pytest.fixture(scope="module")
def followed():
    """The scene, its shifts, and what is measured at the peaks that detection finds: two for stars that move far."""
    rng = np.random.default_rng(42)
    scene, dx, dy = sky(rng)
    cube = patch(scene, dx, dy, rng)
    far = np.flatnonzero(np.hypot(dx, dy) > 5)
    x, y = np.concatenate([scene.x, (scene.x + dx)[far]]), np.concatenate([scene.y, (scene.y + dy)[far]])
    reference = np.concatenate([np.full(len(scene.x), 1), np.full(len(far), 2)])
    # Peaks are on whole pixels, and in no order.
    order = rng.permutation(len(x))
    found = measured(cube, np.rint(x[order]), np.rint(y[order]), reference[order])
    star_of = np.concatenate([np.arange(len(scene.x)), far])[order][found.objects.kept]
    return cube, scene, dx, dy, found, star_of


def test_offsets_are_those_of_the_scene(followed) -> None:
    """Each star is one object; offsets of moving stars are true to their errors, and only these are used."""
    _, scene, dx, dy, found, star = followed
    assert sorted(star) == list(range(len(scene.x)))
    motion = found.objects.motion
    moving = np.isin(star, list(MOVES))
    np.testing.assert_array_equal(motion.used, moving)
    assert not motion.lost.any()
    for value, error, truth in ((motion.x, motion.x_error, dx), (motion.y, motion.y_error, dy)):
        known = np.isfinite(value)
        assert known.sum() == len(scene.x) - 3
        assert (np.abs(value - truth[star])[known] < 4 * error[known]).all()
        assert (error[known] < 0.1).all()
        assert (error[known] > FLOOR / PIXEL).all()


def test_the_floor_of_offsets_is_that_of_the_astrometry() -> None:
    """Bands of one survey have the same stars: their errors are averaged, those of two surveys added in quadrature."""
    nan = np.nan
    assert offset_floor(("i", "vj", "vk"), (nan, 0.002, 0.006)) == pytest.approx(0.004)
    assert offset_floor(("i", "z", "vj", "vk"), (0.001, 0.005, 0.002, 0.006)) == pytest.approx(0.005)
    assert offset_floor(("i", "vj"), (nan, nan)) == FLOOR


def test_the_floor_is_in_the_errors(followed) -> None:
    """With positions known to 20 mas the error of every offset is that much larger, in quadrature."""
    cube, _, _, _, found, _ = followed
    place = {"x": found.shapes.x, "y": found.shapes.y, "reference": found.objects.reference}
    errors = tuple(
        replace(one, position=0.020 if band == "vk" else np.nan)
        for one, band in zip(cube.calibration, BANDS, strict=True)
    )
    known, rough = (measured(one, **place).objects.motion for one in (cube, replace(cube, calibration=errors)))
    both = np.isfinite(known.x_error) & np.isfinite(rough.x_error)
    assert both.sum() > 10
    expected = np.sqrt(known.x_error**2 + (0.020**2 - FLOOR**2) / PIXEL**2)
    np.testing.assert_allclose(rough.x_error[both], expected[both], rtol=0.02)


def test_moving_stars_have_their_fluxes(followed) -> None:
    """PSF, GAaP and circle fluxes of stars that moved are those of stars that did not: within 1% and the noise."""
    _, scene, _, _, found, star = followed
    moving = np.isin(star, list(MOVES))
    for number, band in enumerate(BANDS):
        one, truth = found.bands[band], scene.flux[star, number]
        for kind in (one.psf, *one.gaap[:4]):
            allowed = np.hypot(4 * kind.error, 0.01 * truth)
            assert (np.abs(kind.value - truth) < allowed)[moving].all()
        still, circle = ~moving & ~np.isin(star, [3, 9, 17]), one.circles[3]
        expected = truth * np.median((circle.value / truth)[still])
        assert (np.abs(circle.value - expected) < 4 * circle.error)[moving].all()
        assert (circle.error < 0.12 * truth)[moving].all()


def test_without_following_they_lose_light(followed) -> None:
    """The same peaks without motions: the test above can fail, and what does not move is the same to 1e-6."""
    cube, scene, dx, dy, found, star = followed
    moving = np.isin(star, list(MOVES))
    shapes = found.shapes
    still = measured(cube, np.rint(scene.x), np.rint(scene.y), np.full(len(scene.x), 1), max_motion=0.0)
    ratio = still.bands["vk"].psf.value / scene.flux[:, 3]
    assert (ratio[list(MOVES)] < 0.97).all()
    assert not still.objects.motion.used.any()
    alone = patch(scene, 0 * dx, 0 * dy, np.random.default_rng(5))
    place = {"x": np.rint(scene.x), "y": np.rint(scene.y), "reference": np.full(len(scene.x), 1)}
    one, two = measured(alone, **place), measured(alone, **place, max_motion=0.0)
    for band in BANDS:
        np.testing.assert_allclose(one.bands[band].psf.value, two.bands[band].psf.value, rtol=1e-6)
    assert len(shapes.x) == len(moving)


def test_saturated_stars_are_not_followed() -> None:
    """A star that is saturated in all bands of a survey has no offset; one saturated in one of them still has."""
    rng = np.random.default_rng(42)
    scene, dx, dy = sky(rng)
    cube = patch(scene, dx, dy, rng)
    lost, kept = 2, 5
    row, column = np.rint(scene.y).astype(int), np.rint(scene.x).astype(int)
    cube.flags[row[kept] + 1, column[kept] - 2, (0, 2)] |= FLAG_BIT["SAT"]
    # The core of the other, which is measured in a VISTA band then, where it is more than a pixel away.
    cube.flags[row[lost] - 1 : row[lost] + 2, column[lost] - 1 : column[lost] + 2, :2] |= FLAG_BIT["SAT"]
    place = {"x": np.rint(scene.x), "y": np.rint(scene.y), "reference": np.full(len(scene.x), 1)}
    objects = measured(cube, **place).objects
    motion = objects.motion
    assert list(objects.home[[lost, kept]]) == [1, 0]
    assert np.isnan(motion.x[lost])
    assert not motion.used[lost]
    assert motion.used[kept]
    assert abs(motion.x[kept] - dx[kept]) < 4 * motion.x_error[kept]


def test_peaks_beside_a_saturated_star_are_not_linked(followed) -> None:
    """The halves of a star that moved by 13 pixels are one, unless a saturated star is within reach of them."""
    cube, scene, dx, dy, *_ = followed
    x, y = scene.x[11] + np.array([0.0, dx[11], 9.0]), scene.y[11] + np.array([0.0, dy[11], -20.0])
    reference, peaks = np.array([1, 2, 1]), {"x": np.rint(x), "y": np.rint(y)}
    alone = measured(cube, **peaks, reference=reference)
    assert alone.objects.absorbed.tolist() == [[0, 1]]
    flags = cube.flags.copy()
    flags[round(y[2]), round(x[2]), 1] = FLAG_BIT["SAT"]
    beside = measured(replace(cube, flags=flags), **peaks, reference=reference)
    assert not len(beside.objects.absorbed)
    assert not beside.objects.motion.used.any()


def test_shifts_of_bands_are_averaged() -> None:
    """Weights are inverse variances, for each object and axis apart; what no band has is NaN.

    Errors of bands that agree, here to chi^2 of 0.45, are those of the mean; of others they are as their scatter says.
    """
    one = (np.array([0, 2]), Shifts(*np.array([[1.0, 4.0], [2.0, 8.0], [0.1, 0.2], [0.3, 0.2]])))
    two = (np.array([2, 3]), Shifts(*np.array([[4.3, np.nan], [2.0, 5.0], [0.4, np.nan], [0.87177979, 0.5]])))
    mean = combine_shifts([one, two], 5)
    np.testing.assert_allclose(mean.x, [1.0, np.nan, (4 * 25 + 4.3 * 6.25) / 31.25, np.nan, np.nan])
    np.testing.assert_allclose(mean.y, [2.0, np.nan, (8 * 0.76 + 2 * 0.04) / 0.8, 5.0, np.nan])
    np.testing.assert_allclose(mean.x_error, [0.1, np.nan, 1 / np.sqrt(31.25), np.nan, np.nan])
    # 6 apart with a variance of 0.04 + 0.76: chi^2 is 45.
    alone = 1 / np.sqrt(1 / 0.04 + 1 / 0.76)
    np.testing.assert_allclose(mean.y_error, [0.3, np.nan, np.sqrt(45) * alone, 0.5, np.nan])


def test_one_band_that_disagrees() -> None:
    """Of three bands the third is 12 sigma off: chi^2 96 of two degrees of freedom, and errors sqrt(48) as large."""
    members, error = np.array([1]), np.array([0.2])
    bands = [(members, Shifts(np.array([x]), np.array([0.1]), error, error)) for x in (0.0, 0.0, 2.4)]
    mean = combine_shifts(bands, 2)
    np.testing.assert_allclose(mean.x, [np.nan, 0.8])
    np.testing.assert_allclose(mean.x_error, [np.nan, 0.2 / np.sqrt(3) * np.sqrt(48)])
    np.testing.assert_allclose(mean.y_error, [np.nan, 0.2 / np.sqrt(3)])


def test_an_offset_is_vista_less_optical() -> None:
    """The sign does not depend on the survey of the best band; galaxies and insignificant offsets are not used."""
    optical = Shifts(*np.array([[0.1] * 5, [-0.2] * 5, [0.05] * 5, [0.05] * 5]))
    vista = Shifts(*np.array([[0.6, 0.6, 0.6, 0.2, 9.0], [0.8, 0.8, 0.8, -0.1, 0.8], [0.05] * 5, [0.1] * 5]))
    home, point = np.array([0, 1, 0, 0, 0]), np.array([True, True, False, True, True])
    motion = update_motion(Motion.none(5), {0: optical, 1: vista}, home=home, point=point, floor=0.02, reach=5.0)
    np.testing.assert_allclose(motion.x, [0.5, 0.5, np.nan, 0.1, 8.9])
    np.testing.assert_allclose(motion.y, [1.0, 1.0, np.nan, 0.1, 1.0])
    np.testing.assert_allclose(motion.x_error[0], np.sqrt(0.05**2 + 0.05**2 + 0.02**2))
    np.testing.assert_array_equal(motion.used, [True, True, False, False, False])
    np.testing.assert_array_equal(motion.lost, [False, False, False, False, True])
    for survey, expected in ((0, [0, -0.5, 0, 0, 0]), (1, [0.5, 0, 0, 0, 0])):
        np.testing.assert_allclose(motion.shift(home=home, survey=survey)[0], expected)
    again = update_motion(
        motion, {0: optical, 1: Shifts(*(np.zeros(5) for _ in range(4)))}, home=home, point=point, floor=0.02, reach=5.0
    )
    np.testing.assert_allclose(again.x[:2], [0.5 + 0 - 0.1, 0.5 + 0 - 0.1])


def test_only_the_halves_of_a_star_are_linked() -> None:
    """A pair has light on one side each, a spectrum that a star can have, and is near; each object is in one pair."""
    flux = np.array(
        [
            [50.0, 100.0, 0.5, -1.0],  # the star in the optical bands
            [0.2, -0.4, 130.0, 90.0],  # and in VISTA
            [50.0, 100.0, 60.0, 40.0],  # a whole star
            [0.2, -0.4, 130.0, 90.0],  # another red object, farther away
            [5.0, 10.0, 0.5, -1.0],  # a faint blue object whose VISTA light would not be seen
        ]
    )
    error = np.array([[0.4, 0.5, 1.0, 2.0]] * 5)
    surveys, x, y = (
        np.array([0, 0, 1, 1]),
        np.array([10.0, 16.0, 13.0, 40.0, 44.0]),
        np.array([5.0, 7.0, 6.0, 5.0, 5.0]),
    )
    home, point = np.array([0, 1, 0, 1, 0]), np.ones(5, bool)
    settings = {"x": x, "y": y, "home": home, "point": point, "reach": 33.0}
    np.testing.assert_array_equal(link_moved(flux, error, surveys, **settings), [[0, 1]])
    assert not len(link_moved(flux, error, surveys, **{**settings, "reach": 6.0}))
    extended = {**settings, "point": np.array([True, False, True, True, True])}
    np.testing.assert_array_equal(link_moved(flux, error, surveys, **extended), [[0, 3]])
    assert not len(link_moved(flux[:, :2], error[:, :2], surveys[:2], **settings))
    whole = flux.copy()
    whole[0, 3] = 12.0
    assert not len(link_moved(whole, error, surveys, **settings))
