"""A patch that is read several times: every band is read once, as long as the memory allows."""

from __future__ import annotations

import numpy as np

from dmu4.patches.cube import BandPlanes, PatchCube
from dmu4.patches.filling import make_cube
from dmu5.injection.kept_patch import KeptPatch, bytes_of
from tests.scenes.patches import psf_stamp

SHAPE = (50, 70)


class CountedPatch:
    """A patch of three bands of which it counts the reads."""

    projection = "a projection"

    def __init__(self) -> None:
        planes = {}
        for number, band in enumerate(("g", "i", "vk")):
            image = np.full(SHAPE, number + 1.0)
            mask, psf = np.zeros(SHAPE, np.int32), psf_stamp(4.0)[None, None]
            planes[band] = BandPlanes(image, np.ones(SHAPE), mask, psf, image, np.ones(SHAPE, np.int16))
        self._cube = make_cube(planes, x0=500, y0=700, pixel_scale=0.168)
        self.bands, self.shape, self.pixel_scale = self._cube.bands, SHAPE, 0.168
        self.x0, self.y0 = 500, 700
        self.reads: list[int] = []

    def read(self, number: int) -> PatchCube:
        self.reads.append(number)
        return self._cube.read(number)

    def prepare(self, one: PatchCube) -> PatchCube:
        return one


def test_every_band_is_read_once() -> None:
    """The second time the bands come from memory, and are the same; a patch and its kept form say the same."""
    patch = CountedPatch()
    kept = KeptPatch(patch)
    first = [kept.read(number) for number in (0, 1, 2)]
    second = [kept.prepare(kept.read(number)) for number in (2, 1, 0)]
    assert patch.reads == [0, 1, 2]
    assert [one.bands for one in second] == [("vk",), ("i",), ("g",)]
    assert [float(one.image.max()) for one in second] == [3, 2, 1]
    assert second[0] is first[2]
    assert (kept.bands, kept.shape, kept.x0, kept.y0) == (("g", "i", "vk"), SHAPE, 500, 700)
    assert kept.projection == "a projection"


def test_what_does_not_fit_is_read_again() -> None:
    """Of three bands in the memory for one and a half, one is kept."""
    patch = CountedPatch()
    size = bytes_of(patch.read(0))
    assert size > 16 * SHAPE[0] * SHAPE[1]  # image, variance, noise, mask, input count, good
    patch.reads.clear()
    kept = KeptPatch(patch, limit=1.5 * size)
    for _ in range(3):
        assert [float(kept.read(number).image.max()) for number in (0, 1, 2)] == [1, 2, 3]
    assert patch.reads == [0, 1, 2, 1, 2, 1, 2]
