"""Sources that are drawn: fluxes, places, and sizes that follow those of the templates with magnitude."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table
from lsst.images import Box

from dmu5.injection.sources import draw_sources, size_slope
from obs_vista.photometry import flux_of


class Area:
    """A patch, of which only the inner box is asked for; unequal sides, and not at the origin."""

    inner_bbox = Box.factory[700:1900, -300:500]


def templates(rng: np.random.Generator, *, slope: float, count: int = 400) -> Table:
    """Galaxies of half-light radius 0.5 arcsec at magnitude 22, and some stars; all have a colour."""
    magnitude = rng.uniform(20, 24.5, count)
    extended = rng.random(count) < 0.8
    radius = np.where(extended, 0.5 * 10 ** (slope * (magnitude - 22) + rng.normal(0, 0.1, count)), 0.0)
    table = Table({"magnitude": magnitude, "extended": extended, "radius": radius})
    table["snr"] = 25 * 10 ** (-0.4 * (magnitude - 23.5))
    table["axis_ratio"], table["angle"] = rng.uniform(0.3, 1, count), rng.uniform(0, 3, count)
    table["ratio_i"], table["ratio_vk"] = 1.0, rng.uniform(2, 4, count)
    return table


@pytest.mark.parametrize(("slope", "expected"), [(-0.12, -0.12), (0.1, 0.0), (-0.5, -0.2)])
def test_sizes_decrease_with_magnitude(rng: np.random.Generator, slope: float, expected: float) -> None:
    """The slope of bright galaxies, but none that would make faint ones larger or of ever higher brightness."""
    assert size_slope(templates(rng, slope=slope)) == pytest.approx(expected, abs=0.01)


def test_too_few_galaxies_have_no_slope(rng: np.random.Generator) -> None:
    """Less than thirty, stars, and templates of one magnitude say nothing."""
    table = templates(rng, slope=-0.12)
    assert size_slope(table[:30]) == 0
    assert size_slope(table[~table["extended"]]) == 0
    assert size_slope(table[np.abs(table["magnitude"] - 21.5) < 0.3]) == 0


def test_sources_fainter_than_all_templates(rng: np.random.Generator) -> None:
    """They have the fluxes of their magnitude, colours of faint templates, and the sizes of their magnitude."""
    drawn = draw_sources(templates(rng, slope=-0.12), Area(), band="i", bright=21.0, faint=26.5, spacing=20.0, rng=rng)
    assert (drawn["x"].min() > -300) & (drawn["x"].max() < 500)
    assert (drawn["y"].min() > 700) & (drawn["y"].max() < 1900)
    assert len(drawn) == 40 * 60
    np.testing.assert_allclose(drawn["flux_i"], flux_of(np.asarray(drawn["magnitude"])), rtol=1e-6)
    colour = drawn["flux_vk"] / drawn["flux_i"]
    assert (colour > 2).all()
    assert (colour < 4).all()
    extended = np.asarray(drawn["extended"], bool)
    assert extended.mean() == pytest.approx(0.8, abs=0.05)
    assert (drawn["radius"][~extended] == 0).all()
    for low in (21.5, 23.5, 25.5):
        here = extended & (np.abs(np.asarray(drawn["magnitude"]) - low) < 0.25)
        assert np.median(drawn["radius"][here]) == pytest.approx(0.5 * 10 ** (-0.12 * (low - 22)), rel=0.07)
