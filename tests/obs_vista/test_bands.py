"""Band labels, filters and mask planes."""

from __future__ import annotations

import numpy as np
import pytest
from lsst.images import Box, Mask, MaskPlane, MaskSchema

from obs_vista.bands import (
    BAND_ORDER,
    OPTICAL_BANDS,
    VISTA_BANDS,
    band_number,
    get_band,
    in_band_order,
    own_label,
    plain_band,
    vista_band,
)
from obs_vista.masks import BIT, PLANES, bits, from_mask, to_mask


def test_labels_stay_distinct_without_case():
    """No two labels differ by case alone: in SQL, ADQL and some file systems those would be one."""
    assert len({label.lower() for label in BAND_ORDER}) == len(BAND_ORDER) == 11
    assert BAND_ORDER == ("u", "g", "r", "i", "z", "y", "vz", "vy", "vj", "vh", "vk")


def test_bands_are_in_order_of_wavelength():
    """Optical and VISTA bands each go from blue to red, and VISTA's are within their ranges."""
    for bands in (OPTICAL_BANDS, VISTA_BANDS):
        wavelengths = [band.wavelength for band in bands.values()]
        assert wavelengths == sorted(wavelengths)
    for band in VISTA_BANDS.values():
        assert band.range[0] < band.wavelength < band.range[1]


def test_vega_to_ab_grows_to_the_red():
    """The offsets of VISTA's filters, as published, 0.5 mag in Z and 1.8 in Ks."""
    offsets = [band.vega_to_ab for band in VISTA_BANDS.values()]
    assert offsets == sorted(offsets)
    assert offsets == pytest.approx([0.506, 0.578, 0.916, 1.385, 1.816])


@pytest.mark.parametrize(
    ("upstream", "label"), [("Z", "vz"), ("Ks", "vk"), ("K", "vk"), ("VIRCAM-H", "vh"), (" J ", "vj"), ("vy", "vy")]
)
def test_upstream_names(upstream, label):
    """What headers and archives call a filter leads to its label."""
    assert vista_band(upstream) == label


def test_unknown_names_are_refused():
    """Names that are no filter, and labels that are no band, are named in the error."""
    with pytest.raises(KeyError, match="NB118"):
        vista_band("NB118")
    with pytest.raises(KeyError, match="'z' is not a VISTA filter"):
        vista_band("z")
    with pytest.raises(KeyError, match="'K'"):
        get_band("K")


def test_labels_of_a_second_survey():
    """They have the plain band's wavelength, a filter of their own, a place behind it, and a number of their own."""
    own = get_band(own_label("g", "kids"))
    assert (own.name, own.physical_filter, own.wavelength) == ("gkids", "G-KIDS", get_band("g").wavelength)
    assert [plain_band(label) for label in ("gkids", "g", "vk", "ups1")] == ["g", "g", "vk", "u"]
    assert in_band_order(["vk", "rkids", "g", "r", "rdes", "g"]) == ("g", "r", "rdes", "rkids", "vk")
    assert [band_number(label) for label in ("u", "r", "vk")] == [0, 2, 10]
    assert len({band_number(label) for label in ("r", "rkids", "rdes", "gkids", "g")}) == 5
    for label in ("vkids", "gK", "gk", "g_kids", "gkilodegr", "kids", ""):
        with pytest.raises(KeyError):
            plain_band(label)


def test_mask_round_trip(rng):
    """Every combination of planes survives the LSST mask type."""
    array = rng.integers(0, 2 ** len(PLANES), (30, 40)).astype(np.int32)
    mask = to_mask(array, bbox=Box.factory[5:35, 7:47])
    np.testing.assert_array_equal(from_mask(mask), array)


def test_foreign_planes_are_left_out():
    """A mask with planes that we do not have, and without some that we have, is read for what is common."""
    schema = MaskSchema([MaskPlane("SAT", ""), MaskPlane("SENSOR_EDGE", "")])
    mask = Mask(0, schema=schema, bbox=Box.factory[0:4, 0:5])
    plane = np.zeros((4, 5), bool)
    plane[1, 2] = True
    mask.set("SAT", plane)
    mask.set("SENSOR_EDGE", ~plane)
    np.testing.assert_array_equal(from_mask(mask), np.where(plane, BIT["SAT"], 0))


def test_union_of_planes():
    """Bits are united, whatever their order and number."""
    assert bits("BAD", "SAT", "BAD") == BIT["BAD"] | BIT["SAT"]
    assert bits() == 0
