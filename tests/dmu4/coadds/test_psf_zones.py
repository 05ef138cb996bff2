"""PSF zones: where an input ends inside a cell, each side has the PSF of its own inputs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from lsst.images import Box

import tests.scenes.exposures as scene
from dmu4.coadds.planes import CoaddPlanes, CoaddSettings, signatures
from dmu4.coadds.psf import InputPsfs, cell_psfs, nominal_inputs
from dmu4.coadds.psf_zones import INEXACT, LEFT_OUT, PsfZones, find_zones
from dmu4.coadds.stack import make_coadd
from obs_vista.masks import BIT

CELL = 100


def zoned(images: list, box: Box, settings: CoaddSettings | None = None) -> tuple[CoaddPlanes, np.ndarray, PsfZones]:
    """A coadd without noise planes, the PSFs of its cells, and its zones."""
    sources, nodes = [image.source() for image in images], [image.nodes() for image in images]
    planes = make_coadd(sources, box, cell=CELL, settings=settings or CoaddSettings(rejection=None, n_noise=0))
    nominal = nominal_inputs(planes.cell_counts)
    psfs = InputPsfs(sources, nodes, box, order=3)
    return planes, cell_psfs(psfs, nominal, cell=CELL), find_zones(planes, psfs, nominal, cell=CELL)


PARTS = CoaddSettings(rejection=None, n_noise=0, whole=0.05)
"""Inputs go into every cell of which they have a twentieth."""


def crossing(box: Box) -> list:
    """Three exposures of unequal seeing and weight; the second begins inside a column of cells, the third in a row."""
    return [
        scene.Exposure(box, fwhm=2.0, sigma=1.0, seed=1, shape=(240, 260)),
        scene.Exposure(box, fwhm=3.4, sigma=0.8, seed=2, shape=(240, 150), offset=(-40.3, 6.4)),
        scene.Exposure(box, fwhm=2.4, sigma=1.3, seed=3, shape=(100, 240), offset=(3.0, -25.5), angle=0.02),
    ]


def test_zones_name_the_inputs_of_their_pixels() -> None:
    """Whatever number a pixel has, the inputs of that PSF are those that contribute to it; the PSF is their mean."""
    box = Box.factory[0:200, 0:300]
    images = crossing(box)
    planes, _, zones = zoned(images, box, PARTS)
    cell_of = np.repeat(np.repeat(zones.cell_inputs, CELL, axis=0), CELL, axis=1)
    of_zones = np.concatenate([[0], zones.zone_inputs])
    named = np.where(zones.number > 0, of_zones[np.maximum(zones.number, 0)], cell_of)
    known = zones.number >= 0
    assert zones.number.max() == len(zones.stamps) > 0
    assert 0.97 < known.mean() <= 1
    np.testing.assert_array_equal(named[known], planes.signature[known])
    assert (named[~known] != planes.signature[~known]).all()
    np.testing.assert_allclose(zones.stamps.sum(axis=(1, 2)), 1, atol=1e-6)
    labels = signatures(3)
    alone = [zoned([image], box)[1] for image in images]
    for name, stamp in zip(zones.zone_inputs, zones.stamps, strict=True):
        members = next(
            set_
            for set_ in ([0], [1], [2], [0, 1], [0, 2], [1, 2], [0, 1, 2])
            if np.bitwise_xor.reduce(labels[set_]) == name
        )
        weight = np.array([1 / images[n].sigma ** 2 for n in members])
        # The PSFs of these scenes are the same all over an image: those of any of its cells will do.
        expected = sum(w * alone[n][1, 1][:99, :99] for w, n in zip(weight, members, strict=True)) / weight.sum()
        middle = (np.array(stamp.shape) - expected.shape) // 2
        assert (middle == 0).all()
        np.testing.assert_allclose(stamp, expected, atol=2e-4)


def test_a_few_pixels_without_an_input_are_left_out() -> None:
    """Holes of a cell that are too small for a zone are left out of fits; where there are many, they are used."""
    box = Box.factory[0:100, 0:200]
    images = [scene.Exposure(box, shape=(180, 240), fwhm=width, seed=n) for n, width in enumerate((2.0, 3.0), 1)]
    images[1].mask[88:91, 70:73] = BIT["CR"]
    _, _, zones = zoned(images, box)
    assert (zones.number[:, :100] == LEFT_OUT).sum() == pytest.approx(4**2 / scene.SCALE**2, rel=0.4)
    assert not (zones.number[:, 100:] == LEFT_OUT).any()
    assert not len(zones.stamps)


def test_many_sets_of_inputs_are_used_though_inexact(rng) -> None:
    """Where holes are so many that most pixels have a set of inputs of their own, they are used, and say so."""
    box = Box.factory[0:100, 0:200]
    images = [scene.Exposure(box, shape=(140, 180), seed=n) for n in range(1, 11)]
    for image in images:
        image.mask[rng.uniform(size=image.shape) < 0.08] = BIT["CR"]
        image.mask[:, 90:] = 0
    planes, _, zones = zoned(images, box)
    chopped, whole = zones.number[:, :100], zones.number[:, 104:]
    assert (chopped == INEXACT).mean() > 0.3
    assert not (chopped == LEFT_OUT).any()
    assert not (whole < 0).any()
    assert len({int(name) for name in np.unique(planes.signature[:, :100])}) > 100


def test_every_large_set_is_found() -> None:
    """What contributes at a pixel is looked up as the engine adds it: no zone is lost because its set was not found."""
    box = Box.factory[0:200, 0:300]
    planes, _, zones = zoned(crossing(box), box, PARTS)
    for (row, column), sets in planes.sets.items():
        part = planes.signature[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL]
        names, counts = np.unique(part[part > 0], return_counts=True)
        assert {name for name, _ in sets} == {int(n) for n, c in zip(names, counts, strict=True) if c >= 50}
    assert zones.cell_inputs.shape == (2, 3)


def test_tables_bring_zones_back() -> None:
    """A table holds the zones to single precision."""
    box = Box.factory[0:200, 0:300]
    _, _, zones = zoned(crossing(box), box, PARTS)
    back = PsfZones.from_table(zones.to_table(), zones.number)
    np.testing.assert_array_equal(back.zone_inputs, zones.zone_inputs)
    np.testing.assert_array_equal(back.cell_inputs, zones.cell_inputs)
    np.testing.assert_array_equal(back.stamps, zones.stamps)
    empty = replace(zones, stamps=zones.stamps[:0], zone_inputs=zones.zone_inputs[:0])
    assert PsfZones.from_table(empty.to_table(), zones.number).stamps.shape == (0, *zones.stamps.shape[1:])
