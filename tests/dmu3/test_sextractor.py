"""Errors and places of dual-image photometry: noise that is unlike itself across the image, and off-centre objects."""

from __future__ import annotations

import numpy as np
import pytest

from dmu3.sextractor import find_sextractor, measure_bands
from dmu3.swarp import Coadd

ENGINES = [
    pytest.param(
        "sextractor", marks=pytest.mark.skipif(find_sextractor() is None, reason="SExtractor is not installed")
    ),
    "sep",
]
SHAPE = (300, 460)
DIAMETERS = (6.0, 11.0)


def scene(rng: np.random.Generator, sigma: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Elongated objects (2.4 by 1.5 px along x) of 40,000, noise of some sigma [y, x], and x and y."""
    x, y = (values.ravel() for values in np.meshgrid(np.arange(35, 440, 45) + 0.4, np.arange(33, 280, 47) - 0.3))
    yy, xx = np.mgrid[: SHAPE[0], : SHAPE[1]]
    clean = np.zeros(SHAPE)
    for a, b in zip(x, y, strict=True):
        clean += 40_000 / (2 * np.pi * 2.4 * 1.5) * np.exp(-0.5 * (((xx - a) / 2.4) ** 2 + ((yy - b) / 1.5) ** 2))
    return clean, rng.normal(0, 1, SHAPE) * sigma, x, y


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("claimed", [1.0, 0.5], ids=["true weights", "weights too good by four"])
def test_errors_follow_the_noise(engine: str, claimed: float, rng: np.random.Generator) -> None:
    """In noise of 3 and 12 the errors in circles are sigma sqrt(area), also where weights claim half that noise."""
    sigma = np.where(np.arange(SHAPE[1]) < 230, 3.0, 12.0) * np.ones(SHAPE)
    clean, noise, x, y = scene(rng, sigma)
    coadd = Coadd((clean + noise).astype(np.float32), ((claimed * sigma) ** -2).astype(np.float32))
    detection = (clean / 12 + rng.normal(0, 1, SHAPE)).astype(np.float32)
    found, measured = measure_bands(
        detection,
        np.ones(SHAPE, np.int16),
        {"vj": coadd},
        threshold=4.0,
        diameters=DIAMETERS,
        engine=engine,
    )
    table = measured["vj"]
    nearest = np.hypot(np.asarray(found["x"])[:, None] - x, np.asarray(found["y"])[:, None] - y).argmin(axis=0)
    # SExtractor and sep scale weights to the scatter of the whole image: the ratio of the two halves is exact.
    for column, diameter in enumerate(DIAMETERS):
        errors = np.asarray(table["apFluxErr"])[nearest, column] / np.sqrt(np.pi * diameter**2 / 4)
        left, right = np.median(errors[x < 215]), np.median(errors[x > 245])
        print(f"{engine} {diameter}: {left:.2f} and {right:.2f} per pixel (3 and 12)")
        assert left == pytest.approx(3, rel=0.08)
        assert right == pytest.approx(12, rel=0.08)
    for axis, truth in (("x", x), ("y", y)):
        assert abs(np.median(np.asarray(found[axis])[nearest] - truth)) < 0.15
    assert np.median(np.abs(np.asarray(table["x_win"])[nearest] - x)) < 0.1
    assert np.median(np.abs(np.asarray(table["y_win"])[nearest] - y)) < 0.1
    assert np.median(np.asarray(found["a"])[nearest]) == pytest.approx(2.4, rel=0.1)
    assert np.median(np.asarray(found["b"])[nearest]) == pytest.approx(1.5, rel=0.1)
    assert np.abs(np.median(np.asarray(found["theta"])[nearest])) < 0.05
    assert np.median(np.asarray(table["kronFlux"])[nearest]) == pytest.approx(40_000, rel=0.06)


@pytest.mark.parametrize("engine", ENGINES)
def test_sky_is_taken_out(engine: str, rng: np.random.Generator) -> None:
    """A sky of 500 that rises by 0.5 per pixel in y does not get into the fluxes."""
    clean, noise, x, y = scene(rng, np.full(SHAPE, 3.0))
    sky = 500 + 0.5 * np.arange(SHAPE[0])[:, None]
    coadd = Coadd((clean + noise + sky).astype(np.float32), np.full(SHAPE, 1 / 9, np.float32))
    found, measured = measure_bands(
        (clean / 12 + rng.normal(0, 1, SHAPE)).astype(np.float32),
        np.ones(SHAPE, np.int16),
        {"vk": coadd},
        threshold=4.0,
        diameters=(16.0,),
        engine=engine,
    )
    nearest = np.hypot(np.asarray(found["x"])[:, None] - x, np.asarray(found["y"])[:, None] - y).argmin(axis=0)
    assert np.median(np.asarray(measured["vk"]["apFlux"])[nearest, 0]) == pytest.approx(40_000, rel=0.03)


@pytest.mark.parametrize("engine", ENGINES)
def test_ellipses_are_turned_from_x_towards_y(engine: str, rng: np.random.Generator) -> None:
    """An object of 3 by 1.5 px whose major axis points to the upper right, by 0.5 rad, has that angle in radians."""
    yy, xx = np.mgrid[:160, :220]
    u, v = xx - 130.3, yy - 70.8
    along, across = np.cos(0.5) * u + np.sin(0.5) * v, np.cos(0.5) * v - np.sin(0.5) * u
    clean = 5_000 * np.exp(-0.5 * ((along / 3) ** 2 + (across / 1.5) ** 2))
    image = (clean + rng.normal(0, 3, clean.shape)).astype(np.float32)
    found, measured = measure_bands(
        image / 3,
        np.ones(image.shape, np.int16),
        {"vh": Coadd(image, np.full(image.shape, 1 / 9, np.float32))},
        threshold=4.0,
        diameters=DIAMETERS,
        engine=engine,
    )
    row = np.hypot(np.asarray(found["x"]) - 130.3, np.asarray(found["y"]) - 70.8).argmin()
    assert (found["x"][row], found["y"][row]) == pytest.approx((130.3, 70.8), abs=0.1)
    assert found["theta"][row] == pytest.approx(0.5, abs=0.03)
    assert (found["a"][row], found["b"][row]) == pytest.approx((3.0, 1.5), rel=0.05)
    assert measured["vh"]["kronFlux"][row] == pytest.approx(5_000 * 2 * np.pi * 4.5, rel=0.03)


@pytest.mark.parametrize("engine", ENGINES)
def test_kron_ellipse_of_a_disc(engine: str, rng: np.random.Generator) -> None:
    """The Kron ellipse of an exponential disc is 2.5 times the first moment of its light within six rms axes.

    The axes are those of its bright middle, so that this is above the lower limit of 3.5.
    """
    yy, xx = np.mgrid[:240, :300]
    distance = np.hypot(xx - 130.3, yy - 110.8)
    image = (2_000 * np.exp(-distance / 4) + rng.normal(0, 1, distance.shape)).astype(np.float32)
    found, measured = measure_bands(
        image,
        np.ones(image.shape, np.int16),
        {"vh": Coadd(image, np.ones(image.shape, np.float32))},
        threshold=300.0,
        diameters=DIAMETERS,
        engine=engine,
    )
    row = np.hypot(np.asarray(found["x"]) - 130.3, np.asarray(found["y"]) - 110.8).argmin()
    radius = distance / np.sqrt(found["a"][row] * found["b"][row])
    light = np.where(radius < 6, 2_000 * np.exp(-distance / 4), 0)
    expected = 2.5 * (light * radius).sum() / light.sum()
    assert expected > 3.6
    assert found["kron_radius"][row] == pytest.approx(expected, rel=0.05)
    inside = light[radius < found["kron_radius"][row]].sum()
    assert measured["vh"]["kronFlux"][row] == pytest.approx(inside, rel=0.02)
