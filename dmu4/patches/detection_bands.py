"""Bands that define the objects of a patch, and bands that are only measured at them.

What all bands share (which objects there are, their positions, shapes, models, motions and kinds) follows from the
detection bands alone. A band that is not among them may be absent, partly covered or full of holes: nothing changes in
the columns of the others.
"""

from __future__ import annotations

from collections.abc import Collection

from dmu4.patches.cube import PatchCube, PatchData


class DetectionBandsFirst:
    """A patch whose detection bands come before those that are only measured, so that each kind is a slice of a cube.

    Parameters
    ----------
    patch
        The patch.
    detection
        Labels of the detection bands; empty: all bands.

    Attributes
    ----------
    count
        Number of detection bands.
    """

    def __init__(self, patch: PatchData, detection: Collection[str]) -> None:
        first = [number for number, band in enumerate(patch.bands) if not detection or band in detection]
        rest = [number for number in range(len(patch.bands)) if number not in first]
        self._patch, self._numbers, self.count = patch, [*first, *rest], len(first)
        self.bands = tuple(patch.bands[number] for number in self._numbers)
        self.shape, self.pixel_scale, self.x0, self.y0 = patch.shape, patch.pixel_scale, patch.x0, patch.y0

    def read(self, number: int) -> PatchCube:
        """One band, by its number in the new order."""
        return self._patch.read(self._numbers[number])

    def prepare(self, one: PatchCube) -> PatchCube:
        """A band from `read`, as the patch prepares it."""
        return self._patch.prepare(one)
