"""The coadd engine: identities, weights, rejection of artefacts, coverage, threads and memory."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from lsst.images import Box

import tests.scenes.exposures as scene
from dmu0.robust_statistics import robust_scatter
from dmu4.coadds.artefacts import RejectionLimits, seeing_tolerance
from dmu4.coadds.correlated_noise import aperture_sums
from dmu4.coadds.planes import CoaddSettings
from dmu4.coadds.resample import coordinate_grid
from dmu4.coadds.stack import make_coadd
from dmu4.coadds.strips import strips_of_rows
from obs_vista.masks import BIT

BOX = Box.factory[700:1000, 1500:1800]
PLAIN = CoaddSettings(rejection=None, n_noise=0, threads=1)
FULL = CoaddSettings(threads=2)


def exposures(n: int, rng: np.random.Generator, *, box: Box = BOX, stars: int = 0, **keys) -> list:
    """Dithered exposures of the same stars, all covering the box."""
    places = scene.lattice(box, spacing=50, margin=30, rng=rng) if stars else []
    fluxes = 10 ** rng.uniform(3, 5, len(places))
    listed = [(x, y, flux) for (x, y), flux in zip(places, fluxes, strict=True)]
    made = []
    for seed in range(1, n + 1):
        offset = tuple(rng.uniform(-4, 4, 2))
        made.append(scene.Exposure(box, offset=offset, angle=rng.uniform(-0.01, 0.01), seed=seed, stars=listed, **keys))
    return made


def coadd(images: list, *, box: Box = BOX, settings: CoaddSettings = PLAIN, cell: int = 150):
    """Coadd exposures."""
    return make_coadd([image.source() for image in images], box, cell=cell, settings=settings)


def test_one_aligned_input_comes_back():
    """A single input on the output's own pixels is its own coadd, bit by bit."""
    one = scene.Exposure(BOX, shape=(320, 320))
    x0, y0 = BOX.x.start - 10, BOX.y.start - 10
    one.map = lambda x, y: (np.asarray(x) - x0, np.asarray(y) - y0)
    planes = coadd([one])
    np.testing.assert_array_equal(planes.image, one.image[10:310, 10:310])
    np.testing.assert_array_equal(planes.variance, 1.0)
    assert (planes.count == 1).all()


def test_only_whole_inputs_where_there_are_some():
    """An input that ends inside a cell is left out of it if another fills the cell, and taken if none does."""
    long = scene.Exposure(BOX, shape=(320, 320), seed=1)
    short = scene.Exposure(BOX, shape=(320, 320), seed=2)
    ends = (BOX.x.start - 10, BOX.x.start - 10 - 100)  # the second ends at output column 210
    for image, x0 in zip((long, short), ends, strict=True):
        image.map = lambda x, y, x0=x0: (np.asarray(x) - x0, np.asarray(y) - (BOX.y.start - 10))
    both, alone = coadd([long, short], cell=100), coadd([short], cell=100)
    assert (both.count[:, :200] == 2).all()
    assert (both.count[:, 200:] == 1).all()
    assert (both.rejected == 0).all()
    assert (alone.count[:, 200:206] == 1).all()
    assert (alone.count[:, 210:] == 0).all()


def test_weights_are_those_given(rng):
    """Two constant inputs give their weighted mean and its variance."""
    images = exposures(2, rng)
    for image, value, weight in zip(images, (10.0, 40.0), (3.0, 1.0), strict=True):
        image.image[:], image.weight = value, weight
    planes = coadd(images)
    np.testing.assert_allclose(planes.image, (3 * 10 + 40) / 4 * scene.SCALE**2, rtol=1e-5)
    single = [coadd([image]).variance for image in images]
    np.testing.assert_allclose(planes.variance, (9 * single[0] + single[1]) / 16, rtol=1e-5)


def test_every_noise_plane_of_every_input_is_its_own(rng):
    """Noise of two inputs and of two planes is uncorrelated, and that of their coadd has the variance of the coadd.

    Were it the same in both inputs, its variance would be twice as large.
    """
    images, settings = exposures(2, rng, shape=(260, 240)), dataclasses.replace(PLAIN, n_noise=2)
    both, first, second = (coadd(chosen, settings=settings) for chosen in (images, images[:1], images[1:]))
    middle = np.s_[60:240, 60:240]
    planes = [noise[middle].ravel() for made in (first, second) for noise in made.noise]
    correlation = np.corrcoef(planes) - np.eye(4)
    assert np.abs(correlation).max() < 0.05
    expected = np.mean(both.variance[middle])
    assert [noise[middle].var() for noise in both.noise] == pytest.approx([expected] * 2, rel=0.08)


def test_result_does_not_depend_on_threads_or_memory(rng):
    """One thread or three, all inputs in memory or a few rows at a time: the same bits."""
    box = Box.factory[700:1150, 1500:1800]
    images = exposures(4, rng, box=box, stars=1, shape=(280, 220))
    one = coadd(images, box=box, settings=dataclasses.replace(FULL, threads=1))
    three = coadd(images, box=box, settings=dataclasses.replace(FULL, threads=3))
    for name in ("planes", "variance", "mask", "count", "rejected", "signature", "cell_counts", "clipped"):
        np.testing.assert_array_equal(getattr(one, name), getattr(three, name), err_msg=name)
    small = dataclasses.replace(FULL, memory=1)
    sources = [image.source() for image in images]
    assert len(strips_of_rows(sources, box, cell=150, memory=1, planes=5)) == 3
    np.testing.assert_array_equal(one.image, coadd(images, box=box, settings=small).image)


def test_overlapping_patches_agree(rng):
    """Where two patches overlap, their pixels, variance and noise are the same bits."""
    images = exposures(3, rng, stars=1)
    one = coadd(images, settings=dataclasses.replace(FULL, rejection=None))
    other_box = Box.factory[700:1000, 1600:1900]
    others = []
    for image in images:
        source = image.source()
        others.append(dataclasses.replace(source, grid=coordinate_grid(other_box, image.map)))
    two = make_coadd(others, other_box, cell=150, settings=dataclasses.replace(FULL, rejection=None))
    good = np.isfinite(one.image[:, 100:])
    np.testing.assert_array_equal(one.planes[:, :, 100:][:, good], two.planes[:, :, :200][:, good])
    np.testing.assert_array_equal(one.variance[:, 100:][good], two.variance[:, :200][good])


def trail(image, *, level: float, slope: float = 0.5) -> np.ndarray:
    """Add a satellite's trail, 3 px wide, and return its pixels in the output."""
    v, u = np.mgrid[: image.shape[0], : image.shape[1]]
    image.image += level * np.exp(-0.5 * ((v - 40 - slope * u) / 1.2) ** 2)
    y, x = np.mgrid[BOX.y.start : BOX.y.stop, BOX.x.start : BOX.x.stop]
    a, b = image.map(x, y)
    return np.abs(b - 40 - slope * a) < 2


def test_trail_is_rejected(rng):
    """A satellite's trail in one of four epochs is gone from the coadd, and marked CLIPPED."""
    images = exposures(4, rng)
    clean = coadd(images, settings=dataclasses.replace(FULL, rejection=None))
    on_trail = trail(images[2], level=20.0)
    planes = coadd(images, settings=FULL)
    assert (planes.mask[on_trail] & BIT["CLIPPED"] != 0).mean() > 0.98
    excess = (planes.image - clean.image)[on_trail] / np.sqrt(clean.variance[on_trail])
    assert abs(excess.mean()) < 0.15
    assert planes.clipped[2] > 0.9 * on_trail.sum()
    assert planes.clipped[[0, 1, 3]].sum() < 0.02 * planes.image.size


def test_persistence_and_hot_column_are_rejected(rng):
    """A ghost of a star and a hot column, each on one detector's pixels, are gone from the coadd of dithers."""
    images = exposures(4, rng)
    clean = coadd(images, settings=dataclasses.replace(FULL, rejection=None))
    images[1].image[100:108, 90:98] += 60.0
    images[3].image[:, 130] += 25.0
    planes = coadd(images, settings=FULL)
    difference = np.abs(planes.image - clean.image) / np.sqrt(clean.variance)
    assert np.nanmax(difference) < 4
    assert planes.clipped[1] > 8 * 8 / scene.SCALE**2 * 0.9


def test_star_cores_are_kept(rng):
    """Bright stars in seeing from 1.8 to 3 px, with positions off by 0.1 px, lose nothing to rejection."""
    places = scene.lattice(BOX, spacing=50, margin=30, rng=rng)
    stars = [(x, y, 10 ** rng.uniform(3, 5.7)) for x, y in places]
    images = []
    for seed, fwhm in enumerate((1.8, 2.1, 2.4, 3.0), 1):
        moved = [(x + rng.normal(0, 0.2), y + rng.normal(0, 0.2), flux * rng.normal(1, 0.02)) for x, y, flux in stars]
        images.append(scene.Exposure(BOX, offset=tuple(rng.uniform(-4, 4, 2)), fwhm=fwhm, seed=seed, stars=moved))
    planes = coadd(images, settings=FULL)
    core = [
        planes.mask[round(y) - 700 - 4 : round(y) - 700 + 5, round(x) - 1500 - 4 : round(x) - 1500 + 5]
        for x, y in places
    ]
    assert sum(int((stamp & BIT["CLIPPED"] != 0).sum()) for stamp in core) == 0


def test_two_epochs_are_not_compared(rng):
    """With two epochs nobody knows which one is wrong: both are kept."""
    images = exposures(2, rng)
    trail(images[0], level=50.0)
    assert coadd(images, settings=FULL).clipped.sum() == 0


def test_seeing_widens_the_tolerance():
    """An epoch as sharp as the median has the plain tolerance; one far from it a larger one."""
    tolerance = seeing_tolerance(np.array([0.7, 0.8, 0.8, 1.2]), RejectionLimits(amplitude=0.1))
    assert tolerance[1] == pytest.approx(0.1)
    assert tolerance[0] > 0.35
    assert tolerance[3] > 0.6


def test_no_data_does_not_spread(rng):
    """Missing pixels of one input take only that input away; no NaN reaches a neighbour."""
    images = exposures(3, rng)
    images[0].variance[50:60, 50:60] = np.inf
    images[0].image[50:60, 50:60] = np.nan
    images[1].mask[100, 100] = BIT["BAD"]
    planes = coadd(images)
    assert np.isfinite(planes.image).all()
    assert planes.count.min() == 2
    assert ((planes.mask & BIT["REJECTED"]) != 0).sum() == pytest.approx(4 / scene.SCALE**2, abs=12)
    assert ((planes.mask & BIT["REJECTED"]) != 0).sum() == (planes.rejected > 0).sum()


def test_pixels_without_inputs_say_so(rng):
    """Outside all inputs: NaN, infinite variance, NO_DATA, count 0; inside, none of these."""
    planes = coadd(exposures(2, rng, shape=(120, 120)), settings=FULL)
    none = planes.count == 0
    assert 0.2 < none.mean() < 0.8
    assert np.isnan(planes.planes[:, none]).all()
    assert np.isinf(planes.variance[none]).all()
    assert (planes.mask[none] == BIT["NO_DATA"]).all()
    assert np.isfinite(planes.planes[:, ~none]).all()
    assert not (planes.mask[~none] & BIT["NO_DATA"]).any()


def test_masks_are_carried_over(rng):
    """A saturated star of one input is marked in the coadd, a detected one is not."""
    images = exposures(3, rng)
    images[1].mask[110, 110] = BIT["SAT"] | BIT["DETECTED"]
    planes = coadd(images)
    assert ((planes.mask & BIT["SAT"]) != 0).any()
    assert not (planes.mask & BIT["DETECTED"]).any()


@pytest.mark.parametrize("correlation", [0.0, 0.3])
def test_noise_plane_is_like_the_noise(rng, correlation):
    """Apertures on the noise plane scatter as those on the coadd's own noise, white or correlated, to 10%."""
    box = Box.factory[0:600, 0:600]
    images = exposures(4, rng, box=box, shape=(330, 330), correlation=correlation)
    planes = coadd(images, box=box, settings=dataclasses.replace(FULL, n_noise=2))
    good = np.isfinite(planes.image)
    for radius in (3.0, 6.0, 12.0):
        own = robust_scatter(aperture_sums(planes.image, planes.variance, good, radius=radius)[0])
        made = [robust_scatter(aperture_sums(noise, planes.variance, good, radius=radius)[0]) for noise in planes.noise]
        assert np.mean(made) / own == pytest.approx(1.0, abs=0.1 if radius < 12 else 0.2)


def test_order_of_threads_and_names_is_fixed(rng):
    """Nothing to add is a coadd without data; a box that cells do not divide is an error."""
    planes = make_coadd([], BOX, cell=150, settings=FULL)
    assert np.isnan(planes.image).all()
    with pytest.raises(ValueError, match="do not divide"):
        make_coadd([], BOX, cell=140, settings=FULL)
