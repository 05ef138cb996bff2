"""Mask planes: one set of names and bits for detector images and coadds."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np
from lsst.images import Box, Mask, MaskPlane, MaskSchema

PLANES = MappingProxyType(
    {
        "NO_DATA": "no input pixel: zero confidence, or outside every image",
        "BAD": "defective pixel: low confidence, dead or hot",
        "SAT": "saturated, or fed by a saturated pixel",
        "INTRP": "value interpolated from neighbours",
        "CR": "cosmic ray",
        "EDGE": "near the edge of a detector",
        "SUSPECT": "in the non-linear range, or under a halo",
        "DETECTED": "in the footprint of a source",
        "BRIGHT_OBJECT": "in the halo of a bright star of a catalogue",
        "CLIPPED": "an input was rejected here because it disagreed with the others",
        "STREAK": "trail of a satellite or an aeroplane",
        "INEXACT_PSF": "inputs differ across the pixel's neighbourhood, so that the PSF is approximate",
        "REJECTED": "an input was left out here because of its mask",
    }
)
"""Name and meaning of each plane, in the order of the bits."""

BIT = MappingProxyType({name: np.int32(1 << number) for number, name in enumerate(PLANES)})
"""Value of each plane in an integer mask array."""

SCHEMA = MaskSchema([MaskPlane(name, doc) for name, doc in PLANES.items()])
"""The planes in the form required by the LSST image types."""


def bits(*names: str) -> np.int32:
    """The union of some planes.

    Raises
    ------
    KeyError
        If a name is not a plane.
    """
    return np.int32(sum(int(BIT[name]) for name in set(names)))


def to_mask(array: np.ndarray, *, bbox: Box) -> Mask:
    """An LSST mask from an integer array [y, x] with the bits of `BIT`."""
    mask = Mask(0, schema=SCHEMA, bbox=bbox)
    for name, bit in BIT.items():
        plane = (array & bit) != 0
        if plane.any():
            mask.set(name, plane)
    return mask


def from_mask(mask: Mask) -> np.ndarray:
    """An integer array [y, x] with the bits of `BIT`; planes with other names are dropped, absent ones are zero."""
    array = np.zeros(mask.bbox.shape, np.int32)
    for name in mask.schema.names:
        if name in BIT:
            array[mask.get(name)] |= BIT[name]
    return array
