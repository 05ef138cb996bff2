"""Injected sources: the right light at the right place, through the PSF of the pixels, against galsim and formulas."""

from __future__ import annotations

import galsim
import numpy as np
import pytest
from astropy.table import Table

from dmu4.patches.cube import BandPlanes
from dmu4.patches.filling import make_cube
from dmu5.injection import rendering
from dmu5.injection.rendering import InjectedPatch, add_sources, draw
from tests.scenes.patches import psf_stamp

PIXEL = 0.168


def sources(**columns: object) -> Table:
    """Point sources of 1000 nJy in i, with other columns as given."""
    count = len(columns["x"])
    plain = {"extended": np.zeros(count, bool), "radius": np.zeros(count), "axis_ratio": np.ones(count)}
    return Table({**plain, "angle": np.zeros(count), "flux_i": np.full(count, 1000.0), **columns})


def patch_of(shape: tuple[int, int] = (90, 120), *, psfs: np.ndarray | None = None, masked: slice | None = None):
    """An empty patch of one band at tract pixel (500, 700), with one PSF or a row of two."""
    psf = psf_stamp(4.0)[None, None] if psfs is None else psfs
    mask = np.zeros(shape, np.int32)
    image = np.zeros(shape)
    if masked is not None:
        image[masked] = np.nan
    planes = BandPlanes(image, np.ones(shape), mask, psf, None, np.ones(shape, np.int16))
    return make_cube({"i": planes}, x0=500, y0=700, pixel_scale=PIXEL)


def moments(image: np.ndarray) -> tuple[float, float, float]:
    """Sum and centroid of an image."""
    y, x = np.indices(image.shape)
    return image.sum(), (image * x).sum() / image.sum(), (image * y).sum() / image.sum()


def test_a_star_has_its_flux_at_its_place() -> None:
    """Sum and centroid are those of the source, at a fraction of a pixel; the input is not changed."""
    cube = patch_of()
    one = add_sources(cube, sources(x=[560.3], y=[741.8]))
    total, x, y = moments(one.image[..., 0])
    assert total == pytest.approx(1000, rel=1e-3)
    assert (x + 500, y + 700) == (pytest.approx(560.3, abs=0.01), pytest.approx(741.8, abs=0.01))
    assert not cube.image.any()


def test_a_shifted_star_agrees_with_its_formula() -> None:
    """A stamp shifted by a third of a pixel is the same sum of Gaussians, evaluated there."""
    size, v = 41, 4.0
    y, x = np.indices((size + 8, size + 8)) - (size + 8) // 2
    expected = sum(
        w / (2 * np.pi * v * f) * np.exp(-0.5 * ((x - 0.33) ** 2 + (y + 0.21) ** 2) / (v * f))
        for w, f in ((0.75, 1.0), (0.2, 3.0), (0.05, 9.0))
    )
    found = draw(psf_stamp(v), dx=0.33, dy=-0.21)
    assert np.abs(found - expected).max() < 2e-4 * expected.max()


def test_a_galaxy_agrees_with_galsim() -> None:
    """An inclined exponential disc through a Gaussian PSF, to 1% of its peak, with the angle the right way round."""
    sigma, radius, ratio, angle = 2.0, 3.0, 0.5, 0.6
    y, x = np.indices((41, 41)) - 20
    psf = np.exp(-0.5 * (x**2 + y**2) / sigma**2) / (2 * np.pi * sigma**2)
    found = draw(psf, dx=0.25, dy=-0.4, shape=(radius, ratio, angle))
    disc = galsim.Exponential(half_light_radius=radius).shear(q=ratio, beta=angle * galsim.radians)
    scene = galsim.Convolve(disc, galsim.Gaussian(sigma=sigma)).shift(0.25, -0.4)
    expected = scene.drawImage(nx=found.shape[1], ny=found.shape[0], scale=1, method="no_pixel").array
    assert found.sum() == pytest.approx(1, abs=2e-3)
    assert np.abs(found - expected).max() < 0.01 * expected.max()


def test_each_pixel_has_its_psf() -> None:
    """In a patch whose right half has a wider PSF, the star there is wider."""
    psfs = np.stack([psf_stamp(3.0), psf_stamp(9.0)])[None]
    image = add_sources(patch_of(psfs=psfs), sources(x=[530.0, 590.0], y=[745.0, 745.0])).image[..., 0]
    left, right = image[45, 30], image[45, 90]
    assert left / right == pytest.approx(psf_stamp(3.0).max() / psf_stamp(9.0).max(), rel=1e-3)


def test_what_cannot_be_drawn_is_left_out() -> None:
    """Pixels without data stay as they are; sources at the edge are cut; no flux, or one below zero, adds nothing."""
    cube = patch_of(masked=np.s_[:, 50:60])
    image = add_sources(cube, sources(x=[555.0, 619.0, 480.0], y=[745.0, 700.0, 600.0])).image[..., 0]
    assert not image[:, 50:60].any()
    assert image[45, 49] > 0
    assert image[0, 119] == pytest.approx(1000 * psf_stamp(4.0).max(), rel=1e-3)
    nothing = add_sources(cube, sources(x=[540.0, 541.0], y=[745.0, 745.0], flux_i=[0.0, -50.0]))
    np.testing.assert_array_equal(nothing.image, cube.image)


def test_a_patch_with_sources_is_a_patch() -> None:
    """It has the pixels of the patch, and its bands have the sources."""
    cube = patch_of()
    patch = InjectedPatch(cube, sources(x=[540.0], y=[745.0]))
    assert (patch.bands, patch.shape, patch.x0, patch.y0, patch.pixel_scale) == (("i",), (90, 120), 500, 700, PIXEL)
    assert patch.prepare(patch.read(0)).image.sum() == pytest.approx(1000, rel=1e-3)


def test_images_are_kept_within_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A band is drawn once, and comes back the same, if its image fits; it is drawn again if not."""
    drawn, whole = [], add_sources
    monkeypatch.setattr(rendering, "add_sources", lambda one, table: drawn.append(one.bands) or whole(one, table))
    cube = patch_of()
    for limit, times in ((0, 2), (4 * 90 * 120 - 1, 2), (4 * 90 * 120, 1)):
        drawn.clear()
        patch = InjectedPatch(cube, sources(x=[540.0], y=[745.0]), limit=limit)
        first, second = (patch.prepare(patch.read(0)) for _ in range(2))
        np.testing.assert_array_equal(first.image, second.image)
        assert second.image.sum() == pytest.approx(1000, rel=1e-3)
        assert len(drawn) == times
