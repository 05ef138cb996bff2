"""Figures: that each shows every image, band and patch that it is given."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest
from astropy.table import Table

from dmu0.sky.skymap import survey_patches
from dmu0.surveys import load_survey
from dmu1 import figures
from dmu1.coverage import judge_patches, patch_overlaps, vista_jobs
from dmu1.inventory import empty_inventory
from dmu1.sky_maps import band_maps

mpl.use("Agg")
SURVEY = load_survey("sample")
PATCHES = survey_patches(SURVEY)


@pytest.fixture
def selected() -> Table:
    """Four images in two bands, each over one patch; one is rejected."""
    rows = []
    for number, patch in enumerate(PATCHES):
        corners = patch.outer_corners()
        row = {f"ra{k}": corners[k].ra.deg for k in range(4)} | {f"dec{k}": corners[k].dec.deg for k in range(4)}
        row |= {"path": f"v{number // 2}_st.fit", "hdu": number, "exposure": number // 2, "detector": 1 + number % 2}
        row |= {"band": ("vj", "vk")[number // 2], "mjd": 55000.0, "seeing": 0.8, "magzpt": 23.0, "noise_ratio": 1.1}
        rows.append(row | {"ellipticity": 0.05, "state": "ok", "accepted": number != 3, "rejected_because": ""})
    return Table(rows)


@pytest.fixture(autouse=True)
def _close_figures():
    """Leaves no figure open."""
    yield
    mpl.pyplot.close("all")


def test_quality_shows_every_image(selected):
    """Four panels with accepted and rejected images, each once, and axes that say what they are."""
    figure = figures.plot_quality(selected, SURVEY.vista)
    assert len(figure.axes) == 4
    for panel, label in zip(figure.axes, figures.QUANTITIES.values(), strict=True):
        assert panel.get_ylabel() == label
        assert [len(points.get_offsets()) for points in panel.collections] == [3, 1]


@pytest.mark.parametrize("column", list(figures.QUANTITIES))
def test_images_on_sky(selected, column):
    """A panel per band with its number of images and its median, east to the left."""
    selected[column][:2] = [0.6, 0.8]
    figure = figures.plot_images(selected, column)
    titles = [panel.get_title() for panel in figure.axes[:2]]
    middle = float(selected[column][2])
    assert titles == ["J: 2 images, median 0.70", f"Ks: 1 images, 1 rejected (hatched), median {middle:.2f}"]
    shown = [collection.get_array() for collection in figure.axes[0].collections]
    np.testing.assert_allclose(np.concatenate([np.ma.filled(values, np.nan) for values in shown]), [-0.1, 0.1])
    left, right = figure.axes[0].get_xlim()
    assert left > right


def test_detectors_are_columns(selected):
    """Each stack is a row and each detector a column, with the value of the image there and nothing elsewhere."""
    values = figures.plot_detectors(selected, "seeing").axes[0].images[0].get_array()
    assert values.shape == (2, 16)
    assert np.isfinite(np.ma.filled(values, np.nan)).sum() == 4


def test_coverage_figures(selected):
    """Patches, jobs and maps show each patch and band; with no images at all they still show the patches."""
    for images in (selected, selected[:0]):
        overlaps = patch_overlaps(images, PATCHES)
        jobs = vista_jobs(images, overlaps, PATCHES)
        judged = judge_patches(jobs, PATCHES, SURVEY)
        assert len(figures.plot_patches(images, PATCHES, judged).axes[0].texts) == 4
        judged["state"] = np.full(len(judged), "job")
        assert len(figures.plot_jobs(jobs, judged, SURVEY.bands).axes[0].texts) == 4 * len(SURVEY.bands)
        maps = {"vj": band_maps(images, np.full(len(images), 21.0), nside=16384).exposures}
        assert figures.plot_maps(maps, PATCHES, "images", counts=True).axes[0].get_title() == "J"


def test_right_ascension_zero_is_not_torn():
    """Images on both sides of RA = 0 are drawn side by side."""
    corners = np.array([[[359.9, 0.0], [0.1, 0.0], [0.1, 0.2], [359.9, 0.2]]])
    assert np.ptp(figures._in_plane(corners)[1][..., 0]) == pytest.approx(0.2)


def test_bands_are_in_order():
    """Bands come from blue to red, and none from an empty table."""
    assert figures.bands_present(Table({"band": ["vk", "vz", "vk"]})) == ["vz", "vk"]
    assert figures.bands_present(empty_inventory()) == []
