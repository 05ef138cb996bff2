"""Cell PSFs: those of the stars on the coadd, continuous across edges of inputs and patches."""

from __future__ import annotations

import numpy as np
import pytest
from lsst.images import Box, Image

import tests.scenes.exposures as scene
from dmu0.robust_statistics import SIGMA_TO_FWHM
from dmu4.coadds.correlated_noise import aperture_weights
from dmu4.coadds.planes import CoaddPlanes, CoaddSettings, signatures
from dmu4.coadds.psf import InputPsfs, cell_psfs, mark_inexact, nominal_inputs, psf_nodes, stamp_size, warped_psf
from dmu4.coadds.resample import coordinate_grid
from dmu4.coadds.stack import make_coadd
from dmu4.psf.moments import fwhm
from obs_vista.masks import BIT

PLAIN = CoaddSettings(rejection=None, n_noise=0)


def coadd_with_psf(images: list, box: Box, *, cell: int = 100):
    """Planes, stamps and nominal inputs of a coadd."""
    sources = [image.source() for image in images]
    planes = make_coadd(sources, box, cell=cell, settings=PLAIN)
    nominal = nominal_inputs(planes.cell_counts)
    mark_inexact(planes, nominal, cell=cell)
    stamps = cell_psfs(InputPsfs(sources, [image.nodes() for image in images], box, order=3), nominal, cell=cell)
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
        stamps.append(cell_psfs(InputPsfs([replaced], [first.nodes()], box, order=3), nominal, cell=100))
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


class TiltedStar(scene.GaussianStar):
    """A star of elongated, tilted Gaussian shape, whose tilt grows along y and width along x."""

    def compute_stellar_image(self, *, x: float, y: float) -> Image:
        """A star of flux 1."""
        i, j = round(x), round(y)
        v, u = np.indices((25, 25)) - 12.0
        u, v = u - (x - i), v - (y - j)
        xx, yy, xy = tilted_moments(x=x, y=y)
        determinant = xx * yy - xy**2
        values = np.exp(-0.5 * (yy * u**2 + xx * v**2 - 2 * xy * u * v) / determinant)
        box = Box.factory[j - 12 : j + 13, i - 12 : i + 13]
        return Image(values / (2 * np.pi * np.sqrt(determinant)), bbox=box)


def tilted_moments(*, x: float, y: float) -> tuple[float, float, float]:
    """Moments xx, yy, xy of `TiltedStar` in pixels^2."""
    return 3.0 + 0.002 * x, 2.0, 0.4 + 0.002 * y


@pytest.mark.parametrize("angle", [0.5, -0.4])
def test_psf_is_turned_with_the_detector(angle: float) -> None:
    """Through a turned and stretched grid with d(u, v) = M d(x, y), moments C become M^-1 C M^-T, as at that place.

    Interpolation widens a profile a little: by less than 3% here.
    """
    bbox, box = Box.factory[0:300, 0:420], Box.factory[0:200, 0:200]
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ np.diag([0.6, 0.45])
    middle = np.array([260.0, 110.0])

    def to_detector(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        u, v = np.tensordot(matrix, np.array([np.asarray(x) - 100, np.asarray(y) - 100]), 1)
        return middle[0] + u, middle[1] + v

    nodes, grid = psf_nodes(TiltedStar(2.0), bbox), coordinate_grid(box, to_detector)
    size = stamp_size(nodes, grid, box)
    stamp = warped_psf(nodes, bbox, grid, x=100.0, y=100.0, size=size, order=3)
    assert stamp.sum() == pytest.approx(1)
    assert size == 2 * int(25 / (2 * np.sqrt(0.6 * 0.45))) + 1
    row, column = np.indices(stamp.shape) - size // 2
    assert (stamp * column).sum() == pytest.approx(0, abs=0.02)
    assert (stamp * row).sum() == pytest.approx(0, abs=0.02)
    found = [[(stamp * column**2).sum(), (stamp * column * row).sum()], [0.0, (stamp * row**2).sum()]]
    found[1][0] = found[0][1]
    xx, yy, xy = tilted_moments(x=260.0, y=110.0)
    inverse = np.linalg.inv(matrix)
    np.testing.assert_allclose(found, inverse @ [[xx, xy], [xy, yy]] @ inverse.T, rtol=0.03, atol=0.15)


def test_where_the_psf_is_inexact() -> None:
    """Within 6 px of a cell with other inputs, and wherever an input of the cell is missing; not where no data are."""
    labels, shape = signatures(2), (40, 60)
    nominal = np.ones((2, 3, 2), bool)
    nominal[:, 2, 1] = False
    signature = np.full(shape, labels[0] ^ labels[1])
    signature[:, 40:] = labels[0]
    signature[10, 7], signature[30, 55] = labels[0], labels[1]
    count = np.full(shape, 2)
    count[:, 45] = 0
    nothing = np.zeros(shape, np.float32)
    planes = CoaddPlanes(
        planes=nothing[None],
        variance=nothing,
        mask=np.full(shape, BIT["SAT"]),
        count=count,
        rejected=nothing,
        signature=signature,
        cell_counts=np.zeros((2, 3, 2), np.int64),
        clipped=np.zeros(2, np.int64),
    )
    mark_inexact(planes, nominal, cell=20)
    expected = np.zeros(shape, bool)
    expected[:, 34:46], expected[10, 7], expected[30, 55] = True, True, True
    expected[:, 45] = False
    np.testing.assert_array_equal((planes.mask & BIT["INEXACT_PSF"]) != 0, expected)
    assert (planes.mask & BIT["SAT"]).all()
