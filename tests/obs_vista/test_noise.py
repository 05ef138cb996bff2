"""Variance of stacks: against real SKYNOISE, simulated frames, and bad inputs."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

from dmu0.robust_statistics import robust_scatter
from obs_vista.camera import get_detector
from obs_vista.headers import merged_header
from obs_vista.noise import (
    NO_DATA_VARIANCE,
    ConfidenceError,
    is_sky_subtracted,
    measured_sky_noise,
    pawprint_variance,
    predicted_sky_noise,
    skynoise_variance,
)

DETECTOR = 1


def header(**changes: object) -> fits.Header:
    """The counts of a VIDEO H stack, with the changes asked for; None takes a card out."""
    cards = {"ESO DET NDIT": 6, "NICOMB": 7, "SKYLEVEL": 8000.0, "SKYNOISE": 8.5, "SKYSUB": "Done"}
    cards.update({key.replace("__", " "): value for key, value in changes.items()})
    made = fits.Header()
    for key, value in cards.items():
        if value is not None:
            made.append((f"HIERARCH {key}" if " " in key else key, value))
    return made


def simulated_stack(rng, *, dits: np.ndarray, sky: float, detector: int = DETECTOR) -> np.ndarray:
    """Mean of ``dits`` [y, x] exposures of a blank sky, each less a sky frame of as many, the sky's level put back."""
    info = get_detector(detector)
    single = np.sqrt(info.read_noise**2 + sky / info.gain)
    remaining = np.sqrt(1 / dits + 1 / dits**2)
    return sky + single * remaining * rng.standard_normal(dits.shape)


# SKYLEVEL, SKYNOISE, NICOMB and NDIT of completed stacks, as CASU published them (VIDEO; detector 1, and 3 for Y).
COMPLETED = [
    (1, 621.96, 5.65, 9, 1),
    (3, 1108.71, 5.69, 8, 2),
    (1, 8382.56, 8.79, 7, 6),
    (1, 9087.66, 9.59, 7, 6),
    (1, 8393.34, 8.08, 7, 6),
]


@pytest.mark.parametrize(("detector", "level", "noise", "nicomb", "ndit"), COMPLETED)
def test_completed_stacks_are_as_noisy_as_predicted(detector, level, noise, nicomb, ndit):
    """Measured over predicted SKYNOISE is 1.0 to 1.3 in Z, Y and H; without NDIT it would be 0.4 in H."""
    cards = header(SKYLEVEL=level, NICOMB=nicomb, ESO__DET__NDIT=ndit)
    ratio = noise / predicted_sky_noise(cards, detector)
    print(f"measured / predicted {ratio:.2f} (limits 1.0 and 1.3)")
    assert 1.0 <= ratio <= 1.3


@pytest.mark.parametrize(("level", "noise"), [(7325.7, 9.40), (9234.79, 11.53)])
def test_aborted_stacks_stand_out(level, noise):
    """Stacks that were aborted or not graded are noisier than any completed one."""
    assert noise / predicted_sky_noise(header(SKYLEVEL=level), 1) > 1.3


def test_real_headers_of_a_stack_and_its_exposure(real_header):
    """The Z stack and its single exposure: gain is in e-/ADU, and the exposure agrees to 2%."""
    for name, low, high in (("v20120924_00582_st", 1.0, 1.3), ("inputs_exposures0", 0.98, 1.02)):
        cards = merged_header(real_header(f"{name}_primary"), real_header(f"{name}_ext1"))
        ratio = cards["SKYNOISE"] / predicted_sky_noise(cards, 1)
        print(f"{name}: measured / predicted {ratio:.3f} (limits {low} and {high})")
        assert low <= ratio <= high


@pytest.mark.parametrize("subtracted", [False, True])
def test_scatter_of_simulated_pixels_is_the_variance(rng, subtracted):
    """Pulls of blank pixels have unit width in every quadrant of a map with four confidences, sky in or out."""
    confidence = np.empty((400, 300), np.int32)
    confidence[:200, :150], confidence[:200, 150:], confidence[200:, :150], confidence[200:, 150:] = 100, 50, 25, 160
    image = simulated_stack(rng, dits=42 * confidence / 100, sky=8000.0)
    noise = pawprint_variance(image - (8000.0 if subtracted else 0.0), confidence, header(), DETECTOR)
    pulls = (image - 8000.0) / np.sqrt(noise.variance)
    for level in np.unique(confidence):
        assert np.std(pulls[confidence == level]) == pytest.approx(1, abs=0.015)
    assert noise.variance.dtype == np.float32
    assert not noise.no_data.any()


def test_map_is_used_as_it_lies():
    """Low confidence in one corner raises the variance in that corner, not in one cut or flipped."""
    confidence = np.full((50, 70), 100, np.int32)
    confidence[:5, 60:] = 10
    variance = pawprint_variance(np.full((50, 70), 8000.0), confidence, header(), DETECTOR).variance
    assert np.all((variance > 5 * variance[25, 35]) == (confidence == 10))


def test_predicted_noise_is_that_of_full_confidence():
    """At confidence 100 a sky pixel has exactly the predicted noise."""
    noise = pawprint_variance(np.full((20, 20), 8000.0), np.full((20, 20), 100), header(), DETECTOR)
    assert np.sqrt(noise.variance[0, 0]) == pytest.approx(predicted_sky_noise(header(), DETECTOR), rel=1e-6)


def test_zero_confidence_and_bad_pixels_are_finite_and_weightless():
    """Zero, negative and not-a-number confidence, and not-a-number pixels, have no data; nothing is NaN or infinite."""
    image = np.full((20, 20), 8000.0)
    confidence = np.full((20, 20), 100.0)
    confidence[0, 0], confidence[0, 1], confidence[0, 2] = 0, -3, np.nan
    image[5, 5], image[5, 6], image[7, 7] = np.nan, np.inf, -500.0
    variance, no_data = pawprint_variance(image, confidence, header(), DETECTOR)
    assert {tuple(index) for index in np.argwhere(no_data)} == {(0, 0), (0, 1), (0, 2), (5, 5), (5, 6)}
    assert np.isfinite(variance).all()
    assert (variance[no_data] == np.float32(NO_DATA_VARIANCE)).all()
    assert variance[7, 7] == variance[10, 10]  # a negative pixel is no better than the sky


def test_sources_add_photon_noise():
    """Counts above the sky add their photons: counts / (gain n)."""
    image = np.full((20, 20), 8000.0)
    image[3, 3] += 20_000
    variance = pawprint_variance(image, np.full((20, 20), 100), header(), DETECTOR).variance
    expected = 20_000 / (get_detector(DETECTOR).gain * 42)
    assert variance[3, 3] - variance[10, 10] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("confidence", "message"),
    [
        (None, "no confidence map"),
        (np.full((20, 21), 100), r"\(20, 21\).*\(20, 20\)"),
        (np.zeros((20, 20)), "zero everywhere"),
    ],
)
def test_unusable_maps_are_named(confidence, message):
    """A missing, mis-sized or empty map is one kind of error, with a reason."""
    with pytest.raises(ConfidenceError, match=message):
        pawprint_variance(np.full((20, 20), 8000.0), confidence, header(), DETECTOR)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"SKYLEVEL": None}, "SKYLEVEL"),
        ({"SKYLEVEL": 1e300}, r"SKYLEVEL is 1e\+300; a level below 1e\+07"),
        ({"ESO__DET__NDIT": None}, "ESO DET NDIT"),
        ({"NICOMB": 0}, "whole number from 1"),
    ],
)
def test_missing_cards_are_named(changes, message):
    """A header without the counts that the noise needs is refused by name."""
    with pytest.raises(ValueError, match=message):
        pawprint_variance(np.full((20, 20), 8000.0), np.full((20, 20), 100), header(**changes), DETECTOR)


def test_measured_noise_ignores_sources_and_gradients(rng):
    """The sky noise is right to 1% under a gradient and a few sources, and refuses an empty image."""
    image = 5.0 * rng.standard_normal((512, 512)) + 0.02 * np.arange(512)
    image[100:110, 100:110] += 1e4
    image[:, 500:] = np.nan
    assert measured_sky_noise(image) == pytest.approx(5.0, rel=0.01)
    with pytest.raises(ValueError, match="no pixels"):
        measured_sky_noise(np.full((10, 10), np.nan))


def test_skynoise_stands_in_for_the_map(rng):
    """Without a map, known scale: the sky has SKYNOISE; unknown scale: what the image shows, in its unit."""
    image = 8000 + 8.5 * rng.standard_normal((300, 300))
    known = skynoise_variance(image, header(), DETECTOR, units_per_adu=1.0)
    assert np.sqrt(np.median(known.variance)) == pytest.approx(8.5, rel=0.01)
    scaled = skynoise_variance(8.0 * (image - 8000), header(GAIN=0.1), DETECTOR)
    assert np.sqrt(np.median(scaled.variance)) == pytest.approx(68.0, rel=0.02)
    with pytest.raises(ValueError, match="SKYNOISE"):
        skynoise_variance(image, header(SKYNOISE=None), DETECTOR, units_per_adu=1.0)


def test_real_frames_without_maps(realdata):
    """The real H frames, rescaled and with an edited GAIN, get a variance that is what their pixels scatter by."""
    for number in range(1, 5):
        with fits.open(realdata / "vista_video_h" / f"image_{number}.fits") as hdus:
            image, cards = hdus[1].data, hdus[1].header
        assert is_sky_subtracted(image, cards)
        noise = skynoise_variance(image, cards, 13)
        blank = np.abs(image) < 3 * np.sqrt(noise.variance)
        ratio = robust_scatter(image[blank], about=0) / np.sqrt(np.median(noise.variance))
        print(f"image_{number}: scatter / quoted {ratio:.3f} (limits 0.9 and 1.1)")
        assert 0.9 < ratio < 1.1
