"""Asinh scales become counts again; magnitudes and half a scale are refused."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

from obs_vista.cards import CardError
from obs_vista.linearity import linear_pixels, refuse_nonlinear
from obs_vista.zero_points import photometric_cards


def test_asinh_is_undone(rng):
    """Counts from -30 to 10,000 come back to 1e-12; linear pixels are not touched."""
    counts = np.append(rng.normal(0, 10, 50), [-30, 0.3, 500, 10_000])
    stored = 2.5 * np.log10(np.e) * np.arcsinh((counts - 0.3) / (2 * 2.0))
    assert linear_pixels(stored, {"BSOFTEN": 2.0, "BOFFSET": 0.3}) == pytest.approx(counts, rel=1e-12, abs=1e-12)
    assert linear_pixels(stored, {"BUNIT": "nJy"}) is stored
    gap = linear_pixels(np.array([np.nan, 1.0]), fits.Header({"BSOFTEN": 2.0, "BOFFSET": 0.3}))
    assert np.isnan(gap[0])
    assert np.isfinite(gap[1])


@pytest.mark.parametrize(
    ("cards", "words"),
    [
        ({"BSOFTEN": 2.0}, "BOFFSET is missing"),
        ({"BOFFSET": 0.0}, "BSOFTEN is missing"),
        ({"BSOFTEN": 0.0, "BOFFSET": 0.0}, "BSOFTEN is 0.0"),
        ({"BSOFTEN": "2,0", "BOFFSET": 0.0}, "BSOFTEN is '2,0'"),
        ({"BUNIT": "mag"}, "BUNIT is 'mag'"),
        ({"BUNIT": "mag/arcsec2"}, "BUNIT"),
        ({"BUNIT": "log10(Jy)"}, "BUNIT"),
    ],
)
def test_what_is_not_linear_is_refused(cards, words):
    """The error names card and value; stacks, whose pixels are read as they are, are refused by their zero point."""
    with pytest.raises(CardError, match=words.replace("(", r"\(")):
        linear_pixels(np.zeros(3), cards)
    with pytest.raises(CardError, match=words.replace("(", r"\(")):
        photometric_cards({"MAGZPT": 23.8, "EXPTIME": 10.0} | cards)


@pytest.mark.parametrize("unit", ["nJy", "adu", "counts/s", "Jy/beam", "nanomaggy", "electron", "ADU"])
def test_linear_units_pass(unit):
    """Pixels in units of flux and counts come back as they are, and stacks in them have their zero point."""
    stored = np.array([-3.0, 0.5, 7000.0])
    cards = {"BUNIT": unit}
    assert linear_pixels(stored, cards) is stored
    refuse_nonlinear(cards)
    stack = {"MAGZPT": 23.8, "EXPTIME": 10.0}
    assert photometric_cards(stack | cards) == photometric_cards(stack)


def test_stacks_on_an_asinh_scale_are_refused():
    """A complete scale is an error for stacks, which nothing converts."""
    with pytest.raises(CardError, match=r"BSOFTEN is 2\.0: the pixels are on an asinh scale"):
        refuse_nonlinear({"BSOFTEN": 2.0, "BOFFSET": 0.0})
