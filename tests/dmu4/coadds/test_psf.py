"""Cell PSFs: those of the stars on the coadd, continuous across edges of inputs and patches."""

from __future__ import annotations

import numpy as np
import pytest
from lsst.images import Box

import tests.scenes.exposures as scene
from dmu0.robust_statistics import SIGMA_TO_FWHM
from dmu4.coadds.correlated_noise import aperture_weights
from dmu4.coadds.psf import cell_psfs, mark_inexact, nominal_inputs
from dmu4.coadds.stack import CoaddSettings, make_coadd
from dmu4.psf.moments import fwhm
from obs_vista.masks import BIT

PLAIN = CoaddSettings(rejection=None, n_noise=0)


def coadd_with_psf(images: list, box: Box, *, cell: int = 100):
    """Planes, stamps and nominal inputs of a coadd."""
    sources = [image.source() for image in images]
    planes = make_coadd(sources, box, cell=cell, settings=PLAIN)
    nominal = nominal_inputs(planes.cell_counts)
    mark_inexact(planes, nominal, cell=cell)
    stamps = cell_psfs(sources, [image.nodes() for image in images], nominal, box, cell=cell, order=3)
    return planes, stamps, nominal


def bright_stars(box: Box, rng: np.random.Generator) -> list[tuple[float, float, float]]:
    """Stars of one flux, well apart."""
    return [(x, y, 1e6) for x, y in scene.lattice(box, spacing=56, margin=34, rng=rng)]


def test_psf_fluxes_are_true(rng):
    """Fluxes of stars from the cells' PSFs are right to 0.3%, in good and in bad seeing, sums to 1 and of odd size."""
    box = Box.factory[0:300, 0:300]
    for seeing in ((2.0, 2.0, 2.0), (1.9, 2.4, 3.2)):
        stars = bright_stars(box, rng)
        images = []
        for n, width in enumerate(seeing):
            place = {"offset": tuple(rng.uniform(-4, 4, 2)), "angle": rng.uniform(-0.02, 0.02)}
            images.append(scene.Exposure(box, fwhm=width, sigma=1.0 + 0.2 * n, seed=n + 1, stars=stars, **place))
        planes, stamps, _ = coadd_with_psf(images, box)
        assert stamps.shape[2] % 2 == 1
        np.testing.assert_allclose(stamps.sum(axis=(2, 3)), 1.0, atol=1e-7)
        ratios = [
            scene.psf_flux(planes.image, box, stamps[int(y) // 100, int(x) // 100], x=x, y=y) / flux
            for x, y, flux in stars
        ]
        assert np.median(ratios) == pytest.approx(1.0, abs=0.003)
        assert np.std(ratios) < 0.01


def test_psf_follows_the_weights(rng):
    """With a heavy sharp and a light blurred input, the PSF is their weighted mean."""
    box = Box.factory[0:100, 0:100]
    sharp, blurred = (
        scene.Exposure(box, fwhm=2.0, weight=3.0, seed=1),
        scene.Exposure(box, fwhm=3.5, weight=1.0, seed=2),
    )
    both = coadd_with_psf([sharp, blurred], box)[1][0, 0]
    one, two = (coadd_with_psf([image], box)[1][0, 0] for image in (sharp, blurred))
    np.testing.assert_allclose(both, (3 * one + two) / 4, atol=1e-12)


def test_no_jump_at_the_edge_of_a_detector(rng):
    """Where an input of other seeing ends, stars agree with their cell's PSF to 1%, save where INEXACT_PSF says."""
    box = Box.factory[0:400, 0:400]
    stars = bright_stars(box, rng)
    images = [
        scene.Exposure(box, shape=(260, 260), fwhm=2.1, seed=1, stars=stars),
        scene.Exposure(box, shape=(260, 260), offset=(-70.3, 0), fwhm=2.9, seed=2, stars=stars),
        scene.Exposure(box, shape=(260, 260), offset=(0.4, 60.7), fwhm=2.4, seed=3, stars=stars),
    ]
    planes, stamps, _ = coadd_with_psf(images, box)
    weights = aperture_weights(6.0)
    half, deviations = weights.shape[0] // 2, {True: [], False: []}
    for x, y, flux in stars:
        i, j = round(x), round(y)
        part = (slice(j - half, j + half + 1), slice(i - half, i + half + 1))
        stamp = stamps[j // 100, i // 100]
        centre = stamp.shape[0] // 2
        inside = stamp[centre - half : centre + half + 1, centre - half : centre + half + 1]
        share = (planes.image[part] * weights).sum() / flux / (inside * weights).sum()
        deviations[bool((planes.mask[part] & BIT["INEXACT_PSF"]).any())].append(share - 1)
    assert len(deviations[False]) > 15
    assert np.abs(deviations[False]).max() < 0.01
    assert np.abs(np.concatenate([deviations[True], [0]])).max() < 0.12
    assert 0 < ((planes.mask & BIT["INEXACT_PSF"]) != 0).mean() < 0.5


def test_psf_is_the_same_from_both_patches(rng):
    """A place in the overlap of two patches has the same PSF from both, if their cells share its centre."""
    one, two = Box.factory[0:200, 0:300], Box.factory[0:200, 200:500]
    first = scene.Exposure(Box.factory[0:200, 0:500], shape=(220, 320), fwhm=2.3)
    stamps = []
    for box in (one, two):
        source = first.source()
        grid = scene.coordinate_grid(box, first.map)
        nominal = np.ones((2, 3, 1), bool)
        replaced = type(source)(**{**source.__dict__, "grid": grid})
        stamps.append(cell_psfs([replaced], [first.nodes()], nominal, box, cell=100, order=3))
    np.testing.assert_allclose(stamps[0][:, 2], stamps[1][:, 0], atol=1e-9)


def test_cells_without_inputs_have_no_psf(rng):
    """A cell that no input reaches has a stamp of NaN, and so has a coadd without inputs."""
    box = Box.factory[0:400, 0:400]
    _, stamps, nominal = coadd_with_psf([scene.Exposure(box, shape=(90, 90))], box)
    assert not nominal[0, 0].any()
    assert np.isnan(stamps[0, 0]).all()
    assert np.isfinite(stamps[1, 1]).all()
    assert np.isnan(fwhm(stamps[0, 0]))


def test_fwhm_of_a_gaussian():
    """The width of a Gaussian stamp comes back to 2%."""
    axis = np.arange(-20, 21)
    for width in (3.5, 5.0, 8.0):
        stamp = np.exp(-0.5 * (axis[:, None] ** 2 + axis**2) / (width / SIGMA_TO_FWHM) ** 2)
        assert fwhm(stamp / stamp.sum()) == pytest.approx(width, rel=0.02)


class WideningStar(scene.GaussianStar):
    """A Gaussian star whose width grows along x alone."""

    def compute_stellar_image(self, *, x: float, y: float):
        """A star of flux 1 and a sigma of 1.2 px at the left edge, 0.0008 px more with each pixel."""
        self.sigma = 1.2 + 0.0008 * x
        return super().compute_stellar_image(x=x, y=y)


def test_each_cell_has_the_psf_of_its_place() -> None:
    """In a wide coadd of an input whose PSF grows along x, the PSFs of cells grow along their rows and not along y."""
    box = Box.factory[0:200, 0:400]
    image = scene.Exposure(box, shape=(140, 220), fwhm=2.0)
    image.psf = WideningStar(2.0)
    _, stamps, _ = coadd_with_psf([image], box)
    widths = np.array([[fwhm(stamps[j, i]) for i in range(4)] for j in range(2)])
    u = 110 + scene.SCALE * (100 * np.arange(4) + 49.5 - 199.5)
    expected = SIGMA_TO_FWHM * (1.2 + 0.0008 * u) / scene.SCALE
    np.testing.assert_allclose(widths[1], widths[0], rtol=5e-3)
    np.testing.assert_allclose(widths[0], expected, rtol=0.01)
