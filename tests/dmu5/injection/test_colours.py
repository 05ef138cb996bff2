"""Colours of templates without the noise of their faint bands, against populations of known colours."""

from __future__ import annotations

import numpy as np
import pytest

from dmu5.injection.colours import MIN_SNR, clean_colours

BANDS = 4  # the first is the one to which ratios refer; the last is shallow


def population(rng: np.random.Generator, *, count: int = 600) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True and measured ratios and errors of objects of two colours; the second half are faint in the last band."""
    red = rng.random(count) < 0.3
    true = np.where(red[:, None], [1, 1.5, 2.2, 4.0], [1, 0.9, 0.8, 0.5])
    error = np.full((count, BANDS), 0.01)
    error[count // 2 :, 3] = 0.6
    return true, true + rng.normal(0, 1, true.shape) * error, error


def test_faint_bands_have_the_colours_of_similar_objects(rng: np.random.Generator) -> None:
    """What is bright stays as it is; faint ratios are those of bright objects of the same colour elsewhere."""
    true, measured, error = population(rng)
    clean = clean_colours(measured, error, np.zeros(len(true), int), np.zeros(len(true)), rng=rng)
    bright = measured >= MIN_SNR * error
    np.testing.assert_array_equal(clean[bright], measured[bright])
    faint = ~bright[:, 3]
    assert faint.sum() == 300
    assert np.std((measured - true)[faint, 3]) > 0.5
    np.testing.assert_allclose(clean[faint, 3], true[faint, 3], rtol=0.1)


def test_a_mixture_stays_a_mixture(rng: np.random.Generator) -> None:
    """Objects of one optical colour and two infrared ones get both, in their proportion, as far as noise hides them."""
    count = 2000
    red = rng.random(count) < 0.3
    true = np.column_stack([np.ones(count), np.where(red, 2.0, 0.5)])
    error = np.column_stack([np.full(count, 0.01), np.where(np.arange(count) < 1000, 0.02, 5.0)])
    measured = true + rng.normal(0, 1, true.shape) * error
    clean = clean_colours(measured, error, np.zeros(count, int), np.zeros(count), rng=rng)[1000:, 1]
    assert np.mean(clean > 1) == pytest.approx(0.3, abs=0.06)
    assert np.all((np.abs(clean - 2) < 0.2) | (np.abs(clean - 0.5) < 0.2))
    # A measurement that can tell the two is heeded.
    error[1000:, 1] = 0.3
    measured[1000:, 1] = true[1000:, 1] + rng.normal(0, 0.3, 1000)
    clean = clean_colours(measured, error, np.zeros(count, int), np.zeros(count), rng=rng)[1000:, 1]
    assert np.mean((clean > 1) == red[1000:]) > 0.98


def test_kinds_are_kept_apart(rng: np.random.Generator) -> None:
    """A faint object takes the colour of its kind, though one of the other kind is nearer in the bright bands."""
    measured = np.array([[1, 0.5, 2.0]] * 40 + [[1, 0.52, 9.0]] * 40 + [[1, 0.52, 0.1]])
    error = np.full(measured.shape, 0.001)
    error[-1, 2] = 50.0
    group = np.array([0] * 40 + [1] * 40 + [0])
    clean = clean_colours(measured, error, group, np.zeros(len(group)), rng=rng)[-1]
    assert clean.tolist() == pytest.approx([1, 0.52, 2.0], rel=1e-3)


def test_what_nobody_shows_is_as_measured(rng: np.random.Generator) -> None:
    """A band that is faint or missing everywhere stays, without negative fluxes; an empty table too."""
    measured = np.array([[1, -0.2, np.nan], [1, 0.3, np.nan]])
    clean = clean_colours(measured, np.full((2, 3), 0.1), np.zeros(2, int), np.zeros(2), rng=rng)
    assert clean.tolist() == [[1, 0, 0], [1, 0.3, 0]]
    assert clean_colours(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0, int), np.zeros(0), rng=rng).shape == (0, 3)


def test_missing_values_are_filled(rng: np.random.Generator) -> None:
    """Where a template has no data in a band it gets the ratio of a similar one."""
    true, measured, error = population(rng)
    measured[-5:, 2] = np.nan
    clean = clean_colours(measured, error, np.zeros(len(true), int), np.zeros(len(true)), rng=rng)
    np.testing.assert_allclose(clean[-5:, 2], true[-5:, 2], rtol=0.1)


def test_faint_objects_may_be_redder(rng: np.random.Generator) -> None:
    """Ratios that rise with magnitude are those of the magnitude, not those of the bright objects that show them."""
    count = 4000
    magnitude = rng.uniform(20, 25, count)
    true = np.column_stack([np.ones(count), (1 + 0.4 * (magnitude - 20)) * np.exp(rng.normal(0, 0.2, count))])
    error = np.column_stack([np.full(count, 0.01), 0.04 * 10 ** (0.4 * (magnitude - 20))])
    measured = true + rng.normal(0, 1, true.shape) * error
    clean = clean_colours(measured, error, np.zeros(count, int), magnitude, rng=rng)[:, 1]
    for low, high in ((23, 24), (24, 25)):
        here = (magnitude > low) & (magnitude < high)
        assert np.mean(measured[here, 1] / error[here, 1] < MIN_SNR) > 0.9
        assert clean[here].mean() == pytest.approx(true[here, 1].mean(), rel=0.05)
        assert np.median(clean[here]) == pytest.approx(np.median(true[here, 1]), rel=0.1)
        assert clean[here].std() < 2 * true[here, 1].std()
