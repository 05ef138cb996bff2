"""Measurement of a synthetic patch against its truth, band by band; bands leave each other alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial import cKDTree

from dmu0.robust_statistics import robust_scatter
from dmu4.measurement.band_fluxes import make_flux, sky_variance
from dmu4.measurement.error_scale import ErrorInflation, measure_inflation, scale_to_empty
from dmu4.objects.columns import APERTURES, make_object_table, object_id
from dmu4.patches.cube import BandPlanes
from dmu4.patches.filling import make_cube
from tests.scenes.measured import catalogue, less_sky
from tests.scenes.patches import correlated_noise, make_patch, make_scene, psf_stamp

BANDS = ("g", "i", "vk")
PSF = (3.0, 2.2, 3.4)
SIGMA = (4.0, 6.0, 12.0)
SHAPE = (480, 480)


@pytest.fixture(scope="module")
def patch():
    """A synthetic patch of stars and galaxies, its measurements, and which row each source is."""
    rng = np.random.default_rng(8)
    scene = make_scene(rng, shape=SHAPE, density=1.1e-3, bands=3, faintest=300, galaxies=0.3, margin=14)
    cube = make_patch(scene, rng, bands=BANDS, psf_variance=PSF, sigma=SIGMA, shape=SHAPE)
    found, values = catalogue(less_sky(cube))
    rows = cKDTree(np.column_stack([found.x, found.y]))
    positions = np.column_stack([scene.x, scene.y])
    distance, row = rows.query(positions)
    isolated = cKDTree(positions).query(positions, k=2)[0][:, 1] > 14
    return scene, cube, values, row, isolated & (distance < 2)


@pytest.mark.parametrize("band", range(3))
def test_fluxes_of_isolated_stars(patch, band):
    """Isolated stars above 20 sigma: PSF flux to 1% in the median, GAaP to 2%, pulls of scatter 1 +- 0.25."""
    scene, _, values, row, isolated = patch
    label = BANDS[band]
    flux, error = values[f"{label}_psfFlux"][row], values[f"{label}_psfFluxErr"][row]
    truth = scene.flux[:, band]
    stars = isolated & (scene.covariance[:, 0] == 0)
    bright = stars & (flux > 20 * error)
    assert bright.sum() > 12
    assert np.median(flux[bright] / truth[bright]) == pytest.approx(1, abs=0.01)
    pulls = ((flux - truth) / error)[stars]
    assert robust_scatter(pulls) == pytest.approx(1, abs=0.25)
    gaap = values[f"{label}_gaap1p0Flux"][row]
    assert np.median(gaap[bright] / truth[bright]) == pytest.approx(1, abs=0.02)
    assert not values[f"{label}_psfFlux_flag"][row][bright].any()


def test_fluxes_are_total(patch):
    """Where PSF stamps hold 97% of the light, PSF and GAaP fluxes are 1/0.97 larger (empty samples may be others)."""
    _, cube, values, _, _ = patch
    less = tuple(replace(psf, stamps=(0.97 * psf.stamps).astype(np.float32)) for psf in cube.psfs)
    _, total = catalogue(less_sky(replace(cube, psfs=less)))
    assert len(total["x"]) == len(values["x"])
    for name in ("i_psfFlux", "i_gaap1p0Flux"):
        both = np.isfinite(values[name]) & (np.abs(values[name]) > 0)
        assert np.median(total[name][both] / values[name][both]) == pytest.approx(1 / 0.97, abs=0.004)


def test_positions_and_kinds(patch):
    """Bright isolated stars lie within 15 mas in the median; stars come out as points, large galaxies as extended."""
    scene, cube, values, row, isolated = patch
    x, y = values["x"][row] - cube.x0, values["y"][row] - cube.y0
    signal = np.nanmax([values[f"{b}_psfFlux"][row] / values[f"{b}_psfFluxErr"][row] for b in BANDS], axis=0)
    stars = isolated & (scene.covariance[:, 0] == 0) & (signal > 20)
    off = np.hypot(x - scene.x, y - scene.y)[stars] * cube.pixel_scale
    assert np.median(off) < 0.015
    assert np.mean(values["refExtendedness"][row][stars]) < 0.1
    galaxies = isolated & (scene.covariance[:, 0] > 2) & (signal > 30)
    assert np.mean(values["refExtendedness"][row][galaxies] == 1) > 0.9
    pull = (x - scene.x)[stars] / values["x_error"][row][stars]
    assert robust_scatter(pull, about=0) == pytest.approx(1, abs=0.35)


def test_apertures_of_stars_do_not_depend_on_their_size(patch):
    """Beyond 2 arcsec a bright isolated star has the same flux in every circle to 2%: neighbours are subtracted."""
    scene, _, values, row, isolated = patch
    stars = isolated & (scene.covariance[:, 0] == 0) & (scene.flux[:, 1] > 6000)
    fluxes = [values[f"i_ap{radius:02d}Flux"][row][stars] / scene.flux[stars, 1] for radius in APERTURES]
    medians = np.median(fluxes, axis=1)
    assert (np.diff(medians[:4]) > 0).all()
    np.testing.assert_allclose(medians[3:], 1, atol=0.02)


def test_kron_fluxes_of_galaxies(patch):
    """Bright isolated galaxies have their Kron flux to 5% in the median."""
    scene, _, values, row, isolated = patch
    galaxies = isolated & (scene.covariance[:, 0] > 2) & (scene.flux[:, 1] > 3000)
    assert galaxies.sum() > 5
    assert np.median(values["i_kronFlux"][row][galaxies] / scene.flux[galaxies, 1]) == pytest.approx(1, abs=0.05)


def test_an_empty_band_changes_no_other(patch):
    """All columns of the other bands are the same to the last bit with a band empty and with it absent."""
    scene, _, _, _, _ = patch
    few = replace(scene, **{name: getattr(scene, name)[:60] for name in ("x", "y", "covariance", "flux")})

    def cube(seen):
        rng = np.random.default_rng(4)
        return make_patch(few, rng, bands=BANDS, psf_variance=PSF, sigma=SIGMA, shape=SHAPE, seen=seen)

    empty = cube({"i": np.zeros(SHAPE, bool)})
    (_, with_empty), (_, without) = (catalogue(less_sky(one)) for one in (empty, empty.of_bands([0, 2])))
    for name, values in without.items():
        np.testing.assert_array_equal(with_empty[name], values, err_msg=name)
    assert np.isnan(with_empty["i_psfFlux"]).all()
    assert with_empty["i_psfFlux_flag"].all()
    assert not with_empty["i_usable"].any()


def test_factors_of_correlated_noise(rng):
    """The factors turn the errors of pixels into the true scatter: near 1 for white noise, larger for correlated."""
    shape, good = (400, 400), np.ones((400, 400), bool)
    psf, radii = psf_stamp(3.0)[None].astype(np.float32), np.array([3.0, 6, 12])
    settings = {"occupied": None, "psf": psf, "cell_of": lambda x, y: np.zeros(len(x), int)}
    white, coloured = (correlated_noise(rng, shape, sigma=3, width=width).astype(np.float32) for width in (0, 1.0))
    planes = {"variance": np.full(shape, 9, np.float32), "good": good}
    flat = measure_inflation(white, **planes, **settings, radii=radii, gaap_sigma=np.array([5.95]))
    assert flat.psf == pytest.approx(1, abs=0.1)
    assert flat.circle == pytest.approx([1, 1, 1], abs=0.15)
    rough = measure_inflation(coloured, **planes, **settings, radii=radii, gaap_sigma=np.array([5.95]))
    # Well inside wide apertures the factor is the sum of the noise's correlation, sqrt(4 pi) for this filter.
    assert rough.circle[2] == pytest.approx(np.sqrt(4 * np.pi), rel=0.2)
    assert rough.gaap[0] == pytest.approx(np.sqrt(4 * np.pi), rel=0.2)
    assert 1.5 < rough.psf < rough.circle[2]
    nothing = measure_inflation(
        coloured, planes["variance"], ~good, **settings, radii=radii, gaap_sigma=np.array([5.95])
    )
    assert nothing.samples == 0
    assert nothing.psf == 1


def test_errors_are_scaled_to_empty_apertures(rng):
    """Structure that the noise realization does not have raises the errors of wide apertures, not of narrow ones."""
    shape, radii = (400, 400), np.array([3.0, 6, 12])
    white = rng.normal(0, 3, shape)
    lumps = correlated_noise(rng, shape, sigma=0.4, width=10)
    factors = [ErrorInflation(psf=1.0, gaap=np.ones(1), radius=radii, circle=np.ones(3), samples=100)] * 2
    residual = np.stack([white, white + lumps], axis=-1).astype(np.float32)
    planes = (residual, np.full(residual.shape, 9, np.float32), np.ones(residual.shape, bool))
    settings = {"x": np.array([200.0]), "y": np.array([200.0]), "clear": 15}
    flat, lumpy = scale_to_empty(factors, *planes, **settings, gaap_sigma=[np.array([6.0])] * 2)
    assert flat.circle == pytest.approx([1, 1, 1], abs=0.15)
    assert lumpy.circle[0] < 1.25
    # Inside 12 px the lumps add 0.4 x area x about 0.75 to a noise of 3 x sqrt(area).
    assert 1.8 < lumpy.circle[2] < 2.8
    assert lumpy.gaap[0] == pytest.approx(lumpy.circle[2])


def test_flags_say_what_a_flux_lacks():
    """Fluxes with too little data are NaN and flagged; partly seen or saturated ones are flagged only."""
    value, error = np.full(4, 5.0), np.full(4, 1.0)
    flux = make_flux(value, error, np.array([1, 0.7, 0.2, 1]), np.array([False, False, False, True]))
    np.testing.assert_array_equal(np.isnan(flux.value), [False, False, True, False])
    np.testing.assert_array_equal(flux.flag, [False, True, True, True])


def test_sky_variance_ignores_sources():
    """The variance between sources is not that of the sources, and a box without data has none."""
    variance = np.full((64, 96), 4.0, np.float32)
    variance[10:20, 10:20] = 400
    good = np.ones(variance.shape, bool)
    good[:, 64:] = False
    np.testing.assert_array_equal(sky_variance(variance, good), [[4, 4, np.nan], [4, 4, np.nan]])


def test_object_numbers_are_unique_and_bounded():
    """Object numbers hold tract, patch and running number, and refuse what does not fit."""
    assert object_id(tract=8524, patch=40, number=np.array([7]))[0] == 8524_0040_0000007
    with pytest.raises(ValueError, match="must stay below"):
        object_id(tract=8524, patch=40, number=np.array([10**7]))
    with pytest.raises(ValueError, match="patch 10000"):
        object_id(tract=8524, patch=10**4, number=np.array([1]))
    with pytest.raises(KeyError, match="q_psfFlux"):
        make_object_table({"q_psfFlux": np.zeros(1)}, BANDS, length=1)


def test_cube_refuses_what_does_not_fit():
    """Bands of different shapes are refused; NaN, infinite variance and NO_DATA never become good pixels."""
    image = np.ones((8, 8))
    image[0, 0] = np.nan
    variance = np.ones((8, 8))
    variance[1, 1], variance[2, 2] = np.inf, 0
    mask = np.zeros((8, 8), np.int32)
    mask[3, 3] = 1
    psf = np.full((2, 2, 3, 3), np.nan)
    psf[0, 0] = 1 / 9
    planes = BandPlanes(image=image, variance=variance, mask=mask, psf=psf, noise=None, input_count=np.ones((8, 8)))
    cube = make_cube({"i": planes}, x0=0, y0=0, pixel_scale=0.168)
    assert not cube.good[[0, 1, 2, 3], [0, 1, 2, 3], 0].any()
    assert cube.good.sum() == 60
    np.testing.assert_allclose([psf.stamps.sum(axis=(1, 2)) for psf in cube.psfs], 1)
    other = replace(planes, image=np.ones((8, 9)))
    with pytest.raises(ValueError, match=r"Band i has \(8, 9\) pixels, its variance \(8, 8\)"):
        make_cube({"i": other}, x0=0, y0=0, pixel_scale=0.168)
    wide = (("image", float), ("variance", float), ("mask", int), ("input_count", int))
    other = replace(planes, **{name: np.ones((8, 9), kind) for name, kind in wide})
    with pytest.raises(ValueError, match=r"Band i has \(8, 9\)"):
        make_cube({"g": planes, "i": other}, x0=0, y0=0, pixel_scale=0.168)
