"""The summaries and figures of the photometry notebook, and the comparison with a truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from astropy.table import Table
from matplotlib import pyplot as plt

from dmu4.objects.columns import make_object_table, object_id
from dmu4.review.object_truth import flux_ratios, match_truth, plot_truth
from dmu4.review.objects import (
    band_summary,
    bands_of,
    duplicate_primaries,
    empty_aperture_ratios,
    plot_counts,
    plot_empty,
    plot_morphology,
    plot_patch,
    three_bands,
)
from obs_vista.photometry import magnitude_of
from tests.scenes.patches import make_patch, make_scene

BANDS = ("g", "vk")


def table_and_truth(rng, n=200):
    """Stars all over 0.02 deg, measured with 1% errors and 10 mas, and their truth."""
    ra, dec = 35 + rng.uniform(0, 0.03, n), -5 + rng.uniform(0, 0.03, n)
    flux = rng.uniform(500, 5000, (n, 2))
    values = {"objectId": object_id(tract=1, patch=2, number=np.arange(n)), "detect_isPrimary": np.ones(n, bool)}
    values |= {"coord_ra": ra + rng.normal(0, 2e-6, n), "coord_dec": dec + rng.normal(0, 2e-6, n)}
    values |= {"refExtendedness": np.zeros(n), "patch": np.full(n, 2)}
    for number, band in enumerate(BANDS):
        for kind in ("psfFlux", "ap12Flux", "kronFlux", "gaap1p0Flux"):
            values[f"{band}_{kind}"] = flux[:, number] * rng.normal(1, 0.01, n)
            values[f"{band}_{kind}Err"] = 0.01 * flux[:, number]
        values |= {f"{band}_depth5": np.full(n, 26.0), f"{band}_coverage": np.ones(n)}
        values |= {f"{band}_detected": np.ones(n, bool), f"{band}_extendedness": np.zeros(n)}
    truth = Table({"ra": ra, "dec": dec, "type": ["star"] * n, "flux_g": flux[:, 0], "flux_vk": flux[:, 1]})
    return make_object_table(values, BANDS, length=n), truth


def test_matched_stars_have_their_errors(rng):
    """Position and flux errors put in come out; a source that is missing counts as not found."""
    objects, truth = table_and_truth(rng)
    matched = match_truth(objects, truth)
    assert 0.5 < len(matched) / len(truth) <= 1
    assert np.all(matched["found"])
    assert np.median(matched["distance"]) == pytest.approx(8.5, rel=0.3)
    ratios = flux_ratios(objects, matched)
    assert list(ratios["band"]) == list(BANDS)
    np.testing.assert_allclose(ratios["median"], 1, atol=0.003)
    np.testing.assert_allclose(ratios["scatter"], 0.01, rtol=0.3)
    objects["detect_isPrimary"][::4] = False
    assert np.mean(match_truth(objects, truth)["found"]) < 0.85


def test_summary_and_duplicates(rng):
    """The summary counts what is in the table; two primary rows of two patches at one place are a duplicate."""
    objects, _ = table_and_truth(rng)
    assert list(band_summary(objects)["detected"]) == [200, 200]
    assert bands_of(objects) == list(BANDS)
    assert duplicate_primaries(objects, radius=0.3) == 0
    objects["coord_ra"][1], objects["coord_dec"][1] = objects["coord_ra"][0], objects["coord_dec"][0]
    objects["patch"][1] = 3
    assert duplicate_primaries(objects, radius=0.3) == 1
    assert len(band_summary(Table())) == 0


def test_figures_are_drawn(rng):
    """Each figure has its axes labelled, also for a survey without the usual bands."""
    objects, truth = table_and_truth(rng)
    shape = (240, 240)
    scene = make_scene(rng, shape=shape, density=5e-4, bands=2, faintest=500)
    cube = make_patch(scene, rng, bands=BANDS, psf_variance=(2.5, 3.0), sigma=(4, 10), shape=shape)
    objects["x"], objects["y"] = 1000 + rng.uniform(0, 240, 200), 2000 + rng.uniform(0, 240, 200)
    # Objects lie where the scene's are, so that the places between them are empty.
    n = len(scene.x)
    objects["x"][:n], objects["y"][:n] = scene.x + 1000, scene.y + 2000
    ratios = empty_aperture_ratios([cube], objects[:n])
    assert list(ratios["band"]) == list(BANDS)
    assert (np.asarray(ratios["samples"]) > 0).all()
    figures = [plot_patch(cube, objects), plot_counts(objects), plot_morphology(objects), plot_empty(ratios)]
    figures.append(plot_truth(objects, match_truth(objects, truth)))
    for figure in figures:
        labels = [axis.get_xlabel() for axis in figure.axes] + [figure.get_supxlabel()]
        assert any(labels)
        plt.close(figure)


def test_overlapping_circles_count_once(rng):
    """White noise with errors twice too small: a ratio of 2 with the sampling error of circles that do not overlap."""
    shape, faint = (240, 300), 40
    scene = make_scene(rng, shape=shape, density=1e-4, bands=2, faintest=500)
    empty = replace(scene, flux=np.zeros_like(scene.flux))
    quiet = {"psf_variance": (2.5, 3.0), "sigma": (4, 10), "noise_width": 0.0}
    cube = make_patch(empty, rng, bands=BANDS, shape=shape, **quiet)
    objects = Table({"x": 1000 + rng.uniform(10, 290, faint), "y": 2000 + rng.uniform(10, 230, faint)})
    for band, sigma in zip(BANDS, quiet["sigma"], strict=True):
        # Circles of 2.016 arcsec, 12 px.
        objects[f"{band}_ap12FluxErr"] = np.full(faint, 0.5 * sigma * np.sqrt(np.pi * 144))
        objects[f"{band}_ap12Flux"], objects[f"{band}_ap12Flux_flag"] = np.ones(faint), np.zeros(faint, bool)
    ratios = empty_aperture_ratios([cube], objects)
    assert (np.asarray(ratios["samples"]) > 500).all()
    # No more squares of the area of a circle than 12 x 15 have a part of the image.
    assert (np.asarray(ratios["error"]) > 2 * 0.7 / np.sqrt(2 * 180)).all()
    assert np.abs(np.asarray(ratios["ratio"]) - 2).max() < 4 * ratios["error"].max()


def test_magnitudes_and_colours_of_pictures():
    """nJy become AB magnitudes, negative fluxes none; pictures take Ks, i and g where they can."""
    np.testing.assert_allclose(magnitude_of(np.array([3630.78, -1])), [22.5, np.nan], atol=1e-3)
    assert three_bands(["g", "r", "i", "vk"]) == ("vk", "i", "g")
    assert three_bands(["vh"]) == ("vh", "vh", "vh")
