"""PSF stamps of all shapes: a star of known profile and place comes out centred, whole and of sum 1, or not at all."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

from dmu0.files.integrity import check_file
from dmu0.published.planes import OpticalError
from dmu0.published.psf import MAX_OFFSET, as_stamp, read_psf


def moffat(
    shape: tuple[int, int], *, x: float, y: float, fwhm: float = 3.6, beta: float = 3.0, e: float = 0.0
) -> np.ndarray:
    """A star at (x, y), averaged over each pixel by 5 x 5 points; elliptical along x by 1 + e."""
    steps = (np.arange(5) - 2) / 5
    j, i = np.mgrid[: shape[0], : shape[1]].astype(float)
    alpha = fwhm / (2 * np.sqrt(2 ** (1 / beta) - 1))
    total = np.zeros(shape)
    for dy in steps:
        for dx in steps:
            total += (1 + (((i + dx - x) / (1 + e)) ** 2 + (j + dy - y) ** 2) / alpha**2) ** -beta
    return total / 25


def expected(size: int, **kind: float) -> np.ndarray:
    star = moffat((size, size), x=size // 2, y=size // 2, **kind)
    return star / star.sum()


def psf_flux(star: np.ndarray, stamp: np.ndarray) -> float:
    """Flux of a star fitted with a PSF at their common middle pixel, noise the same in all pixels."""
    return float((star * stamp).sum() / (stamp**2).sum())


@pytest.mark.parametrize(
    ("shape", "x", "y"),
    [
        ((43, 43), 21.5, 21.0),
        ((43, 43), 21.3, 20.4),
        ((43, 43), 22.0, 20.0),
        ((43, 43), 21.97, 21.9),
        ((41, 43), 21.0, 20.0),
        ((43, 41), 20.3, 21.6),
        ((42, 42), 21.0, 21.0),
        ((42, 42), 20.5, 20.5),
        ((42, 43), 20.2, 21.0),
        ((1, 43, 43), 21.4, 21.0),
    ],
)
def test_stars_are_centred(shape, x, y):
    """Flux through the stamp is right to 0.3%, whatever the shape of the stamp and the place of the star in it."""
    stamp, note = as_stamp(7.3 * moffat(shape[-2:], x=x, y=y, e=0.1).reshape(shape))
    size = stamp.shape[0]
    assert stamp.shape == (size, size)
    assert size % 2 == 1
    assert stamp.sum() == pytest.approx(1, abs=1e-12)
    assert psf_flux(expected(size, e=0.1), stamp) == pytest.approx(1, abs=3e-3)
    assert ("moved" in note) == (max(abs(x - (shape[-1] - 1) / 2), abs(y - (shape[-2] - 1) / 2)) > 0.05)
    assert ("padded" in note) == (shape[-2:] != (43, 43))


def test_uncorrected_the_flux_would_be_low():
    """The loss that is put right: 5% at half a pixel, more than 14% at one."""
    for shift, lost in ((0.5, 0.04), (1.0, 0.14)):
        star = moffat((43, 43), x=21 + shift, y=21 + shift)
        assert 1 - psf_flux(expected(43), star / star.sum()) > lost


def test_a_centred_stamp_is_only_scaled():
    """A stamp of the right form comes back with the same pixels, negative wings and all."""
    star = moffat((43, 43), x=21.02, y=20.98) - 2e-4
    assert star.min() < 0
    stamp, note = as_stamp(star)
    assert note == ""
    assert np.array_equal(stamp, star / star.sum())


def test_negative_wings_are_kept():
    """Wings below zero go with the star, and count in its sum."""
    ring = moffat((43, 43), x=21.5, y=20.6) - 0.01 * moffat((43, 43), x=21.5, y=20.6, fwhm=20.0)
    right = moffat((43, 43), x=21, y=21) - 0.01 * moffat((43, 43), x=21, y=21, fwhm=20.0)
    stamp, _ = as_stamp(ring)
    assert stamp.min() < 0
    assert stamp == pytest.approx(right / right.sum(), abs=2e-4)


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (moffat((43, 43), x=23.2, y=21), r"off the middle of its 43 x 43 px by \(\+2.20, \+0.00\) px"),
        (moffat((43, 41), x=20, y=18.5), r"43.*-2.50"),
        (np.ones((43, 43)), "no peak"),
        (-moffat((43, 43), x=21, y=21), "sum is not positive"),
        (np.zeros((43, 43)), "sum is not positive"),
        (np.full((43, 43), np.inf), "not finite"),
        (np.ones(43), r"\(43,\)"),
        (np.ones((2, 43, 43)), r"\(2, 43, 43\)"),
        (np.ones((3, 3)), r"\(3, 3\)"),
        (np.full((43, 43), 1e308), "not finite"),
        (moffat((43, 43), x=21, y=21) + 0.05, "on a constant of 0.05"),
        (moffat((43, 43), x=21, y=21) - 0.004, "on a constant of -0.00"),
    ],
)
def test_what_shows_no_centred_star_is_refused(tmp_path, pixels, reason):
    """The reader names file and reason; the check of inputs gives the same reason."""
    fits.writeto(tmp_path / "stamp.fits", pixels)
    with pytest.raises(OpticalError, match=rf"stamp.fits: .*{reason}"):
        read_psf(tmp_path / "stamp.fits")
    if pixels.ndim == 2 and min(pixels.shape) >= 8:
        assert check_file(tmp_path / "stamp.fits", "optical_psf") in _message(pixels)


def _message(pixels: np.ndarray) -> str:
    try:
        as_stamp(pixels)
    except OpticalError as error:
        return str(error)
    return "nothing"


def test_limit_of_recentring():
    """A pixel along each axis is put right, a little more is not."""
    as_stamp(moffat((43, 43), x=21 + MAX_OFFSET, y=21 - MAX_OFFSET))
    with pytest.raises(OpticalError, match="at most 1 px"):
        as_stamp(moffat((43, 43), x=21 + MAX_OFFSET + 0.1, y=21))


def test_real_stamp_of_hsc(realdata):
    """The real stamp is centred, as it is and cut to 41 x 43 as others are; moved by a pixel it comes back."""
    whole, note = read_psf(realdata / "hsc_cutout" / "hsc_i_psf.fits")
    assert note == ""
    narrow, note = as_stamp(whole[:, 1:-1])
    assert note == "padded from 41 x 43 to 43 x 43 px"
    assert psf_flux(whole, narrow) == pytest.approx(1, abs=2e-3)
    back, note = as_stamp(np.roll(whole, (1, -1), (0, 1)))
    assert "moved" in note
    assert psf_flux(whole, back) == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize(("shape", "fwhm", "beta"), [((43, 41), 3.6, 2.2), ((11, 11), 4.5, 2.5), ((63, 63), 9.0, 2.5)])
def test_wings_are_no_pedestal(shape, fwhm, beta):
    """Broad wings, and stamps too small to tell wings from a sky, are taken as they are."""
    star = moffat(shape, x=(shape[1] - 1) / 2, y=(shape[0] - 1) / 2, fwhm=fwhm, beta=beta)
    assert as_stamp(star).stamp.max() == pytest.approx(star.max() / star.sum())
