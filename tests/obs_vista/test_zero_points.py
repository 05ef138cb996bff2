"""Zero points of headers by hand: seconds, air, Vega to AB, and what stands in for cards that are missing."""

from __future__ import annotations

import numpy as np
import pytest

from obs_vista.cards import CardError
from obs_vista.zero_points import ab_zero_point, header_zero_point, photometric_cards

CARDS = {"MAGZPT": 23.5, "MAGZRR": 0.013, "EXPTIME": 40.0, "EXTINCT": 0.08}
AIR = {"ESO TEL AIRM START": 1.5, "ESO TEL AIRM END": 1.7}
SECONDS = 2.5 * np.log10(40)


def test_zero_point_of_a_header() -> None:
    """23.5 + 2.5 log 40 - 0.08 (1.6 - 1) + 0.916 in J; one count is then 10^(0.4 (31.4 - zero point)) nJy."""
    found = header_zero_point(CARDS | AIR, band="vj")
    assert found.magnitude == pytest.approx(23.5 + SECONDS - 0.048 + 0.916, abs=1e-9)
    assert (found.error, found.extinction_term) == pytest.approx((0.013, 0.048))
    assert found.nanojansky == pytest.approx(10 ** (0.4 * (31.4 - found.magnitude)))
    assert header_zero_point(CARDS | AIR, band="vk").magnitude - found.magnitude == pytest.approx(1.816 - 0.916)


def test_what_stands_in_for_missing_cards() -> None:
    """CASU's extinction of 0.05, an error of 0.05 mag, the airmass of one end or 1, DIT for EXPTIME."""
    bare = {"MAGZPT": 23.5, "ESO DET DIT": 40.0}
    cards = photometric_cards(bare | {"ESO TEL AIRM END": 1.4})
    assert (cards.extinction, cards.error, cards.airmass, cards.exposure_time) == (0.05, 0.05, 1.4, 40.0)
    assert photometric_cards(bare).airmass == 1.0
    for placeholder in (-1.0, 0.0, 99.0):
        assert photometric_cards(bare | {"MAGZRR": placeholder}).error == 0.05
    assert photometric_cards(CARDS | {"ESO DET DIT": 40.1}).exposure_time == 40.0
    found = header_zero_point(bare | {"ESO TEL AIRM END": 1.4}, band="vh")
    assert found.magnitude == pytest.approx(23.5 + SECONDS - 0.02 + 1.385, abs=1e-9)


def test_cards_that_contradict_each_other_or_nature() -> None:
    """EXPTIME of a raw image is DIT x NDIT, of which a zero point would be 1.9 mag off in H; extinction has limits."""
    raw = CARDS | {"EXPTIME": 60.0, "ESO DET DIT": 10.0, "ESO DET NDIT": 6}
    with pytest.raises(CardError, match="EXPTIME is 60, but ESO DET DIT is 10"):
        photometric_cards(raw)
    assert photometric_cards(raw | {"MAGZPT": 30.0}, magnitudes="AB").magzpt == 30.0
    for extinction in (5.0, -0.05):
        with pytest.raises(CardError, match=f"EXTINCT is {extinction:g}; 0 to 1 mag per airmass"):
            photometric_cards(CARDS | {"EXTINCT": extinction})


def test_magnitudes_that_are_ab_already() -> None:
    """An AB zero point is that of a count: neither seconds nor air nor Vega have a part in it."""
    found = header_zero_point(CARDS | AIR | {"MAGZPT": 30.0}, band="vj", magnitudes="AB")
    assert (found.magnitude, found.error, found.extinction_term) == (30.0, 0.013, 0.0)
    assert photometric_cards({"MAGZPT": 30.0}, magnitudes="AB").error == 0.05
    with pytest.raises(ValueError, match="'ST'"):
        photometric_cards(CARDS, magnitudes="ST")


def test_arrays_of_images() -> None:
    """Every image has its own seconds and air."""
    found = ab_zero_point(
        magzpt=[23.0, 24.0],
        exposure_time=[10.0, 100.0],
        extinction=[0.05, 0.1],
        airmass=[1.0, 1.5],
        vega_to_ab=[0.5, 1.0],
        magnitudes="Vega",
    )
    assert found == pytest.approx([26.0, 29.95])


@pytest.mark.parametrize(
    ("cards", "reason"),
    [
        ({"MAGZPT": 9.0}, "a zero point between 10 and 40"),
        ({"MAGZPT": 41.0}, "a zero point between 10 and 40"),
        ({"EXPTIME": 0.0}, "EXPTIME is 0.0"),
        ({"ESO TEL AIRM START": 0.5, "ESO TEL AIRM END": 0.7}, "the airmass 0.6"),
        ({"ESO TEL AIRM START": 10.5, "ESO TEL AIRM END": 10.5}, "the airmass 10.5"),
    ],
)
def test_impossible_values_are_refused(cards: dict[str, float], reason: str) -> None:
    """Placeholders and slips name the card, the value and what is possible."""
    with pytest.raises(CardError, match=reason):
        photometric_cards(CARDS | cards)
