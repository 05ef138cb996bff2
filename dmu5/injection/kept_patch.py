"""A patch whose bands are read once, for work that takes all of them several times."""

from __future__ import annotations

from dmu4.patches.cube import PatchCube
from dmu4.patches.load import StoredPatch

KEPT = 500e6
"""Largest number of bytes of the bands that are kept: all bands of a small patch, the first of a large one."""

_PLANES = ("image", "variance", "good", "noise", "flags", "input_count")


class KeptPatch:
    """A patch that keeps the bands read, as far as they fit into a given memory; the others are read again.

    Parameters
    ----------
    patch
        The patch. The arrays of its bands are shared by all who read them: they are not to be modified.
    limit
        Bytes to keep.
    """

    def __init__(self, patch: StoredPatch, *, limit: float = KEPT) -> None:
        self._patch, self._left = patch, limit
        self._kept: dict[int, PatchCube] = {}
        self.bands, self.shape, self.pixel_scale = patch.bands, patch.shape, patch.pixel_scale
        self.x0, self.y0, self.projection = patch.x0, patch.y0, patch.projection

    def read(self, number: int) -> PatchCube:
        """One band."""
        if number in self._kept:
            return self._kept[number]
        one = self._patch.read(number)
        size = bytes_of(one)
        if size <= self._left:
            self._kept[number] = one
            self._left -= size
        return one

    def prepare(self, one: PatchCube) -> PatchCube:
        """A band from `read` as it is to be used."""
        return self._patch.prepare(one)


def bytes_of(cube: PatchCube) -> int:
    """Memory of the arrays of a cube, with its PSFs and the maps of their zones."""
    planes = [getattr(cube, name) for name in _PLANES]
    of_psfs = [array for psf in cube.psfs for array in (psf.stamps, psf.zone)]
    return sum(array.nbytes for array in (*planes, *of_psfs) if array is not None)
