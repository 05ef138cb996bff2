"""Discs, bulges and mixtures drawn by galsim: total fluxes, shapes and errors against their truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dmu0.robust_statistics import robust_scatter
from dmu4.measurement.measure import MeasurementSettings, measure
from dmu4.measurement.structure import BANDS_USED, Structure, bands_to_use, without_needles
from tests.scenes.galaxies import BANDS, PIXEL_SCALE, SIGMA, make_galaxies, make_patch

BRIGHT, FAINT = (20.0, 120.0), (9.0, 18.0)


@pytest.fixture(scope="module", params=[0.0, 1.0, 0.5], ids=["discs", "bulges", "mixtures"])
def measured(request):
    """Bright galaxies of one kind, and their measurements in the same order."""
    rng = np.random.default_rng(11 + int(2 * request.param))
    # A bulge is smaller than its disc.
    size = 0.5 if request.param == 0.5 else 1.0
    galaxies = make_galaxies(rng, side=11, fraction=request.param, signal_to_noise=BRIGHT, bulge_size=size)
    return galaxies, of(galaxies, make_patch(galaxies, rng))


def of(galaxies, cube):
    """Measurements of galaxies that are detected in their best bands, each at its nearest pixel."""
    reference = np.argmax(galaxies.flux / np.array(SIGMA), axis=1)
    place = {"x": np.rint(galaxies.x), "y": np.rint(galaxies.y), "reference": reference}
    found = measure(cube, **place, settings=MeasurementSettings(threads=1))
    assert len(found.objects.kept) == len(galaxies.x)
    return found


def test_fluxes_are_total(measured):
    """Above 20 sigma model fluxes are true to 2% in the median in every band, and their errors to a fifth."""
    galaxies, found = measured
    for number, band in enumerate(BANDS):
        one, truth = found.bands[band].cmodel, galaxies.flux[:, number]
        assert not one.flag.any()
        ratio, pull = one.value / truth, (one.value - truth) / one.error
        bright = truth > 20 * one.error
        assert bright.sum() > 35
        assert np.median(ratio[bright]) == pytest.approx(1, abs=0.02)
        assert robust_scatter(pull) == pytest.approx(1, abs=0.35)
        assert (np.abs(pull) < 6).all()


def test_shapes_are_those_of_the_galaxies(measured):
    """Half-light radii, axis ratios and angles are those drawn, to 6%, 0.03 and 4 degrees in the median."""
    galaxies, found = measured
    structure = found.objects.structure
    assert structure.fitted.all()
    truth = galaxies.half_light_radius() / np.sqrt(galaxies.axis_ratio)
    assert np.median(PIXEL_SCALE * structure.radius / truth) == pytest.approx(1, abs=0.06)
    assert np.median(structure.axis_ratio - galaxies.axis_ratio) == pytest.approx(0, abs=0.03)
    thin = galaxies.axis_ratio < 0.6
    turned = np.mod(np.degrees(structure.angle) - galaxies.angle + 90, 180) - 90
    assert abs(np.median(turned[thin])) < 4
    assert robust_scatter(turned[thin] / np.degrees(structure.angle_error[thin])) == pytest.approx(1, abs=0.4)
    pull = (PIXEL_SCALE * structure.radius - truth) / (PIXEL_SCALE * structure.radius_error)
    assert robust_scatter(pull) < 1.8


def test_needles_are_not_galaxies():
    """A model at the limit of ellipticity is dropped if it is long, kept if it is a star's; others stay as they are."""
    four = np.arange(1.0, 5.0)
    ratio, radius = np.array([0.1, 0.1, 0.3, np.nan]), np.array([20.0, 0.5, 20.0, np.nan])
    given = Structure(np.ones((4, 3)), np.full((4, 3), 2.0), *(four, four, radius, four, ratio, *(four,) * 4), four > 9)
    left = without_needles(given, pixel_scale=0.2)
    np.testing.assert_array_equal(left.fitted, [False, True, True, True])
    np.testing.assert_array_equal(left.disc[:, 2], [0, 1, 1, 1])
    np.testing.assert_array_equal(left.bulge_fraction, [0, 2, 3, 4])
    np.testing.assert_array_equal(left.radius, [np.nan, 0.5, 20, np.nan])
    assert np.isnan(without_needles(Structure.none(4), pixel_scale=0.2).radius).all()


def test_a_needle_has_a_flagged_flux():
    """Light along a line is no galaxy: the object has the flux of a disc, and a flag."""
    rng = np.random.default_rng(4)
    galaxies = make_galaxies(rng, side=2, fraction=0.0, signal_to_noise=(60.0, 61.0))
    cube = make_patch(galaxies, rng)
    image = cube.image.copy(order="K")
    x, y = int(galaxies.x[0]), int(galaxies.y[0])
    image[y - 1 : y + 2, x - 26 : x + 27] += 25.0 * np.array(SIGMA, np.float32)
    found = of(galaxies, replace(cube, image=image))
    assert found.objects.structure.fitted.tolist() == [False, True, True, True]
    for band in BANDS:
        assert found.bands[band].cmodel.flag.tolist() == [True, False, False, False]


def test_the_fraction_of_the_bulge_is_found(measured):
    """Discs have little bulge, bulges little disc, and halves are halves, in the median to 0.15."""
    galaxies, found = measured
    assert np.median(found.objects.structure.bulge_fraction) == pytest.approx(galaxies.fraction[0], abs=0.15)


def test_colours_do_not_depend_on_the_seeing(measured):
    """Model colours of galaxies are true to 0.01 mag in the median; errors of the shape cancel in them."""
    galaxies, found = measured
    blue, red = (found.bands[band].cmodel.value / galaxies.flux[:, BANDS.index(band)] for band in ("g", "vk"))
    assert np.median(2.5 * np.log10(blue / red)) == pytest.approx(0, abs=0.012)


def test_models_describe_the_image(measured):
    """Chi^2 per pixel is one, and nothing belongs to neighbours that are not there."""
    _, found = measured
    for band in BANDS:
        assert np.median(found.bands[band].chi2) == pytest.approx(1, abs=0.06)
        assert np.abs(found.bands[band].neighbours).max() < 0.03
        assert found.objects.structure.chi2_over_point.min() > 3


def test_faint_galaxies_have_their_fluxes():
    """Discs of some 10 sigma: fluxes true to 5% in the median in every band, with errors true to a quarter."""
    rng = np.random.default_rng(5)
    galaxies = make_galaxies(rng, side=13, fraction=0.0, signal_to_noise=FAINT)
    found = of(galaxies, make_patch(galaxies, rng))
    for number, band in enumerate(BANDS):
        one, truth = found.bands[band].cmodel, galaxies.flux[:, number]
        # The error grows with the fitted size: a cut on each object's own would prefer those that came out small.
        assert 6 < np.median(truth / one.error) < 14
        assert np.median(one.value / truth) == pytest.approx(1, abs=0.05)
        assert robust_scatter((one.value - truth) / one.error) == pytest.approx(1, abs=0.25)


def test_bands_are_used_in_order():
    """The best band comes first, then the others by signal to noise; faint and missing ones are left out."""
    flux = np.array([[50.0, 100, 30, 90], [3, 4, 2, 1], [np.nan, 60, np.nan, 7]])
    used = bands_to_use(flux, np.array([[10.0, 10, 5, 10], [1] * 4, [1] * 4]), np.array([0, 1, 1]))
    assert used.shape == (3, BANDS_USED)
    np.testing.assert_array_equal(used, [[0, 1, 3], [-1, -1, -1], [1, 3, -1]])
    np.testing.assert_array_equal(bands_to_use(np.array([[9.0]]), np.ones((1, 1)), np.array([0])), [[0, -1, -1]])


def test_nothing_fitted():
    """Objects without a fit have no structure, and keep that when some are selected."""
    nothing = Structure.none(3)
    assert not nothing.fitted.any()
    assert len(nothing[np.array([True, False, True])].radius) == 2
