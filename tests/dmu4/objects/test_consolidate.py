"""From patches to a tract: every row once, one primary row an object."""

from __future__ import annotations

import numpy as np
import pytest

from dmu4.objects.columns import make_object_table, object_id
from dmu4.objects.consolidate import stack_patches
from dmu4.objects.primary import assign_primaries


def table(patch, n, bands=("g", "vk"), **values):
    """A patch's table with some columns filled."""
    values |= {"objectId": object_id(tract=8524, patch=patch, number=np.arange(1, n + 1)), "patch": np.full(n, patch)}
    return make_object_table(values, bands, length=n)


def settle(rows, radius=3.0):
    """Settle rows of (x, patch, inner edge from, inner edge to)."""
    x, patch, low, high = np.array(rows, float).T
    inside = np.minimum(x - low, high - x)
    flags = assign_primaries(
        x=x, y=np.zeros(len(x)), patch=patch.astype(int), primary=inside > 0, inside=inside, radius=radius
    )
    return list(flags)


def test_an_object_on_the_line_is_primary_once():
    """Whether noise makes an object primary twice or nowhere, one row is primary in the end: the deeper one."""
    twice = [(99.5, 1, 0, 100), (100.2, 2, 100, 200)]
    assert settle(twice) == [True, False]
    nowhere = [(100.4, 1, 0, 100), (99.8, 2, 100, 200)]
    assert settle(nowhere) == [False, True]
    fine = [(97.0, 1, 0, 100), (97.1, 2, 100, 200)]
    assert settle(fine) == [True, False]


def test_objects_of_a_patch_that_is_not_here_stay_secondary():
    """Two patches that see an object of a third one do not claim it."""
    assert settle([(150.0, 1, 0, 100), (150.0, 3, 200, 300)]) == [False, False]


def test_neighbours_on_the_sky_are_not_merged():
    """Different objects further apart than the radius, and objects of one patch, all stay primary."""
    assert settle([(97.0, 1, 0, 100), (103.0, 2, 100, 200)]) == [True, True]
    assert settle([(50.0, 1, 0, 100), (51.0, 1, 0, 100)]) == [True, True]


def test_tables_of_different_bands_are_stacked():
    """All bands of any patch are columns; a band that a patch lacks is missing there, flagged, and not covered."""
    stacked = stack_patches([table(3, 2, ("vk",)), table(1, 1, ("g",), g_psfFlux=np.array([5.0]))])
    assert list(stacked["patch"]) == [1, 3, 3]
    assert stacked["g_psfFlux"][0] == 5
    assert np.isnan(stacked["g_psfFlux"][1:]).all()
    assert list(stacked["g_psfFlux_flag"]) == [False, True, True]
    assert list(stacked["g_coverage"][1:]) == [0, 0]
    assert stacked["g_psfFlux"].unit == "nJy"
    assert stacked["g_psfFlux"].description


def test_a_patch_given_twice_is_refused():
    """The same rows twice are an error that names the object."""
    with pytest.raises(ValueError, match="occurs twice"):
        stack_patches([table(3, 2), table(3, 2)])
