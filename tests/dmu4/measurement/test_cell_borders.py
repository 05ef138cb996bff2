"""Stars on the border of two cells of a published coadd, whose PSFs differ: their fluxes have no step there."""

from __future__ import annotations

import numpy as np
import pytest

from dmu4.coadds.psf_zones import PsfZones
from dmu4.measurement.band_fit import fit_band
from dmu4.measurement.forced import find_overlaps
from dmu4.measurement.profiles import make_profiles
from dmu4.patches.cube import BandPlanes
from dmu4.patches.filling import make_cube
from tests.scenes.patches import Scene, draw, psf_stamp

CELL = 60
SHAPE = (4 * CELL, 5 * CELL)
NARROW, WIDE = 3.0, 4.4
"""Variances of the PSFs in px^2: the seeing differs by a fifth between even and odd columns of cells."""


def fluxes_across_borders(*, inputs: bool, light: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Distance of stars from the border of two cells, and measured over true flux, without noise.

    Parameters
    ----------
    inputs
        Whether the cells' sets of inputs are told apart.
    light
        Fraction of the light on the stamps in odd columns of cells.
    """
    y = np.tile(np.arange(25.0, 230, 40), 4)
    distance = np.linspace(-14, 14, len(y))
    x = np.repeat([60.0, 120.0, 180.0, 240.0], 6) - 0.5 + distance
    sky = Scene(x=x, y=y, covariance=np.zeros((len(x), 3)), flux=np.full((len(x), 1), 5e4))
    odd = np.arange(SHAPE[1]) // CELL % 2 == 1
    narrow, wide = (draw(sky, band=0, variance=variance, shape=SHAPE) for variance in (NARROW, WIDE))
    stamps = np.array([[psf_stamp(WIDE if column % 2 else NARROW) for column in range(5)] for _ in range(4)])
    labels = np.arange(1, 21, dtype=np.uint32).reshape(4, 5)
    zones = PsfZones(
        number=np.zeros(SHAPE, np.int16),
        stamps=np.zeros((0, *stamps.shape[2:]), np.float32),
        cell_inputs=labels if inputs else np.ones_like(labels),
        zone_inputs=np.zeros(0, np.uint32),
    )
    planes = BandPlanes(
        image=np.where(odd, wide * light, narrow).astype(np.float32),
        variance=np.ones(SHAPE, np.float32),
        mask=np.zeros(SHAPE, np.int32),
        psf=stamps.astype(np.float32),
        noise=None,
        input_count=np.ones(SHAPE, np.int16),
        psf_light=np.broadcast_to(np.where(np.arange(5) % 2 == 1, light, 1.0), (4, 5)),
        zones=zones,
    )
    cube = make_cube({"r": planes}, x0=0, y0=0, pixel_scale=0.2)
    profiles = make_profiles(x=x, y=y, covariance=None, psf_size=cube.psf_size)
    return distance, fit_band(cube, 0, profiles, find_overlaps(profiles)).flux / 5e4


@pytest.mark.parametrize("light", [1.0, 0.96])
def test_no_step_at_borders_of_cells(light: float) -> None:
    """Fluxes within 14 px of a border, on either side of it and on it, are true to 0.3%; so with corrections."""
    distance, ratio = fluxes_across_borders(inputs=True, light=light)
    left, right = ratio[distance < 0], ratio[distance > 0]
    assert np.abs(ratio - 1).max() < 0.003
    assert abs(np.median(left) - np.median(right)) < 0.003


def test_one_psf_for_the_whole_star_has_a_step() -> None:
    """If the cells' inputs are not told apart, stars at the border are off by more: the test above can fail."""
    distance, ratio = fluxes_across_borders(inputs=False)
    assert np.abs(ratio - 1)[np.abs(distance) < 4].max() > 0.02
