"""Calibrated visits for people: medians, maps with east to the left, and errors against a truth."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table
from lsst.images import Box, Image
from matplotlib import pyplot as plt
from matplotlib.collections import PolyCollection

from dmu4.review.visits import plot_arrows, plot_background, plot_maps, plot_residuals, visit_table

CENTRE = (120.0, -50.0)
CORNERS = ((-0.05, -0.05), (0.05, -0.05), (0.05, 0.05), (-0.05, 0.05))


def summaries():
    """Two visits of three detectors 0.2 deg apart along the right ascension, north of each other by a tenth as much."""
    rows = []
    for visit, band in ((7, "vk"), (3, "vj")):
        for number in range(3):
            dec = CENTRE[1] + 0.02 * number
            ra = CENTRE[0] + 0.2 * number / np.cos(np.radians(dec))
            cosine = np.cos(np.radians(dec))
            corners = [(ra + dx / cosine, dec + dy) for dx, dy in CORNERS]
            row = {"visit": visit, "detector": number + 1, "band": band, "ra": ra, "dec": dec}
            row |= {f"ra{k}": corner[0] for k, corner in enumerate(corners)}
            row |= {f"dec{k}": corner[1] for k, corner in enumerate(corners)}
            row |= {"seeing": 0.8 + 0.1 * number + 0.01 * visit, "zero_point": 23.0 + number, "noise_ratio": 1 + number}
            row |= {"astrometric_scatter": 0.02 * (number + 1), "accepted": number != 1}
            rows.append(row | {"status": "header" if number == 0 else "calibrated"})
    return Table(rows=rows)


def test_one_row_per_visit_with_medians():
    """Medians over detectors, scatter in mas, and the numbers calibrated from stars and accepted."""
    table = visit_table(summaries())
    assert list(table["visit"]) == [3, 7]
    assert list(table["band"]) == ["vj", "vk"]
    assert list(table["detectors"]) == [3, 3]
    assert list(table["from stars"]) == [2, 2]
    assert list(table["accepted"]) == [2, 2]
    np.testing.assert_allclose(table["seeing"], [0.93, 0.97])
    np.testing.assert_allclose(table["zero point"], 24)
    np.testing.assert_allclose(table["scatter"], 40)
    assert table["scatter"].unit == "mas"


def test_maps_have_north_up_and_east_left():
    """Detectors are where they are on the sky: in arcmin, bluer visits first, the right ascension to the left."""
    figure = plot_maps(summaries(), "seeing")
    axis = figure.axes[0]
    drawn = next(item for item in axis.collections if isinstance(item, PolyCollection))
    middles = np.array([path.vertices[:4].mean(axis=0) for path in drawn.get_paths()])
    assert axis.xaxis_inverted()
    assert not axis.yaxis_inverted()
    np.testing.assert_allclose(np.diff(middles[:3], axis=0), [[12, 1.2], [12, 1.2]], atol=0.05)
    np.testing.assert_array_equal(drawn.get_array(), summaries()["seeing"])
    # The J visit comes before the Ks visit; with east to the left, that is at the larger x.
    assert middles[3:, 0].mean() > middles[:3, 0].mean()
    assert sum(patch.get_hatch() is not None for patch in axis.patches) == 2
    plt.close(figure)


def test_arrows_point_east_to_the_left_and_say_their_scatter():
    """The arrow of a star that is off by 30 mas east points to the left, and the title is the scatter of one axis."""
    n = 5
    columns = {"coord_ra": CENTRE[0] + np.linspace(0, 0.1, n), "coord_dec": np.full(n, CENTRE[1])}
    columns |= {"east_before": np.full(n, 60.0), "north_before": np.full(n, 80.0)}
    columns |= {"east": np.full(n, 30.0), "north": np.full(n, 0.0)}
    sources = Table(columns | {"astrometry_used": [True] * n})
    figure = plot_arrows(sources)
    assert [axis.get_title(loc="left") for axis in figure.axes] == [
        "header: 71 mas rms, one axis",
        "refined: 21 mas rms, one axis",
    ]
    quivers = [axis.collections[0] for axis in figure.axes]
    assert (quivers[0].U < 0).all()
    assert (quivers[0].V == 80).all()
    assert all(axis.xaxis_inverted() for axis in figure.axes)
    np.testing.assert_allclose(np.ptp(quivers[1].get_offsets()[:, 0]), 6 * np.cos(np.radians(50)), rtol=1e-3)
    plt.close(figure)


def test_residuals_are_against_ab_magnitudes():
    """A star of 3631 nJy has an AB magnitude of 22.5; used and reserved stars are told apart, labels are there."""
    sources = Table({"psf_flux": [3630.78, 36307.8], "dmag": [0.01, 0.2], "psf_dt": [0.05, -0.05]})
    sources["photometry_used"], sources["psf_used"], sources["psf_reserved"] = (
        [True, False],
        [True, False],
        [False, True],
    )
    figure = plot_residuals(sources)
    line = figure.axes[0].lines[0]
    np.testing.assert_allclose(line.get_xdata(), [22.5], atol=1e-3)
    np.testing.assert_allclose(line.get_ydata(), [0.01])
    assert all(axis.get_xlabel() and axis.get_ylabel() for axis in figure.axes)
    assert [text.get_text() for text in figure.axes[1].get_legend().get_texts()] == ["used", "reserved"]
    plt.close(figure)


def test_background_shows_what_is_subtracted(rng):
    """The three panels are the image, a sky with its slope, and their difference, on an oblong detector."""
    y, x = np.indices((260, 380))
    sky = 1000 + 0.05 * x - 0.02 * y
    image = Image((sky + rng.normal(0, 5, sky.shape)).astype(np.float32), bbox=Box.from_shape(sky.shape))
    figure = plot_background(image, seeing=2.5)
    shown = [axis.images[0].get_array() for axis in figure.axes if axis.images]
    np.testing.assert_allclose(shown[0] - shown[1], shown[2], atol=1e-2)
    assert np.std(shown[1] - sky) < 1.5
    assert float(np.mean(shown[1][:, -20:]) - np.mean(shown[1][:, :20])) == pytest.approx(18, abs=4)
    plt.close(figure)
