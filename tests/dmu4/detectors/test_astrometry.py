"""Positions of a detector: what is fitted, what is kept, and what happens with few stars."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.wcs import WCS
from lsst.images import Box, DetectorFrame, SkyProjection

from dmu4.detectors.astrometry import Astrometry, Positions, fit_astrometry, match, offsets
from obs_vista.world_coordinates import icrs_wcs
from tests.scenes.detectors import PIXEL_SCALE, SyntheticDetector, make_detector_scene


def _fit(truth: SyntheticDetector, *, noise: float = 0.03, seed: int = 3, min_stars: int = 12) -> Astrometry:
    """Fit with true pixel positions that have some noise (px)."""
    rng = np.random.default_rng(seed)
    x, y = (values + rng.normal(0, noise, len(values)) for values in (truth.x, truth.y))
    return fit_astrometry(
        truth.given.wcs,
        x=x,
        y=y,
        error=np.full(len(x), max(noise, 1e-3)),
        brightness=truth.flux,
        references=truth.references.positions,
        shape=truth.given.image.shape,
        pixel_scale=PIXEL_SCALE,
        min_stars=min_stars,
    )


def _errors(wcs: WCS, truth: SyntheticDetector) -> np.ndarray:
    """Offsets (mas) of a transformation from the true one on a lattice over the detector."""
    x, y = (grid.ravel() for grid in np.meshgrid(np.linspace(0, 335, 7), np.linspace(0, 319, 7)))
    sky = truth.wcs.all_pix2world(np.stack([x, y], axis=1), 0)
    return offsets(wcs, x, y, sky[:, 0], sky[:, 1])


@pytest.fixture(scope="module")
def truth() -> SyntheticDetector:
    """A detector whose header is wrong by 0.7 arcsec and turned."""
    return make_detector_scene(np.random.default_rng(12), galaxies=0)


def test_shift_and_turn_are_found(truth: SyntheticDetector) -> None:
    """From 700 mas the error goes to a few mas everywhere: below 10 in the median, below 20 in the corners."""
    fit = _fit(truth)
    assert fit.state == "refined"
    assert np.hypot(*np.median(_errors(truth.given.wcs, truth), axis=0)) > 600
    errors = _errors(fit.wcs, truth)
    assert np.abs(np.median(errors, axis=0)).max() < 10
    assert np.hypot(*errors.T).max() < 20
    assert fit.scatter < 25
    assert np.hypot(*fit.offset) == pytest.approx(720, rel=0.05)


def test_exact_without_noise() -> None:
    """Without errors the true transformation comes back to 0.1 mas: ZPN and CRVAL are kept, CD and CRPIX are exact."""
    truth = make_detector_scene(np.random.default_rng(1), galaxies=0, reference_error=(0.0, 1e-6))
    fit = _fit(truth, noise=0.0)
    assert np.abs(_errors(fit.wcs, truth)).max() < 0.1
    assert fit.wcs.wcs.get_pv() == truth.given.wcs.wcs.get_pv()
    np.testing.assert_array_equal(fit.wcs.wcs.crval, truth.given.wcs.wcs.crval)


def test_the_lsst_projection_is_the_same(truth: SyntheticDetector) -> None:
    """The refined transformation means the same to LSST's images: within 0.01 mas."""
    fit, box = _fit(truth), Box.factory[0:320, 0:336]
    frame = DetectorFrame(instrument="VIRCAM", detector=3, visit=1, bbox=box)
    projection = SkyProjection.from_fits_wcs(fit.wcs, frame, pixel_bounds=box)
    x, y = np.array([0.0, 335.0, 100.0]), np.array([0.0, 319.0, 250.0])
    sky = projection.pixel_to_sky(x=x, y=y)
    assert np.abs(offsets(fit.wcs, x, y, sky.ra.deg, sky.dec.deg)).max() < 0.01


@pytest.mark.parametrize("stars", [0, 5, 11])
def test_few_stars_keep_the_header(stars: int) -> None:
    """With fewer stars than asked for, the header's transformation stays, and the reason has both numbers."""
    truth = make_detector_scene(np.random.default_rng(2), stars=stars, galaxies=0)
    fit = _fit(truth)
    assert fit.state == "header"
    assert "12 are needed" in fit.reason
    assert fit.wcs is truth.given.wcs


def test_a_handful_fits_shift_and_rotation() -> None:
    """Fifteen stars are enough for shift, rotation and scale: corners within 60 mas."""
    truth = make_detector_scene(np.random.default_rng(5), stars=15, galaxies=0)
    fit = _fit(truth)
    assert fit.state == "refined"
    assert np.hypot(*_errors(fit.wcs, truth).T).max() < 60


def test_wrong_references_are_left_out(truth: SyntheticDetector) -> None:
    """A fifth of the references moved by 0.4 arcsec (binaries, motions) pull the fit by less than 10 mas."""
    positions = truth.references.positions
    dec = positions.dec.copy()
    dec[::5] += 0.4 / 3600
    moved = Positions(positions.ra, dec, positions.error)
    fit = fit_astrometry(
        truth.given.wcs,
        x=truth.x,
        y=truth.y,
        error=np.full(len(truth.x), 0.01),
        brightness=truth.flux,
        references=moved,
        shape=truth.given.image.shape,
        pixel_scale=PIXEL_SCALE,
    )
    assert np.abs(np.median(_errors(fit.wcs, truth), axis=0)).max() < 10
    wrong = np.isin(fit.reference, np.arange(0, len(dec), 5))
    assert not fit.used[wrong].any()


def test_errors_are_weights() -> None:
    """References good to 5 mas count more than those good to 80 mas: the error is that of the good ones."""
    truth = make_detector_scene(np.random.default_rng(6), galaxies=0, reference_error=(0.03, 5.0))
    rng = np.random.default_rng(7)
    positions, poor = truth.references.positions, np.arange(80) % 4 != 0
    blur = rng.normal(0, 80 / 3.6e6, (2, 80)) * poor
    mixed = Positions(positions.ra + blur[0], positions.dec + blur[1], np.where(poor, 80.0, 5.0))
    fit = fit_astrometry(
        truth.given.wcs,
        x=truth.x,
        y=truth.y,
        error=np.full(80, 0.005),
        brightness=truth.flux,
        references=mixed,
        shape=truth.given.image.shape,
        pixel_scale=PIXEL_SCALE,
    )
    assert np.abs(np.median(_errors(fit.wcs, truth), axis=0)).max() < 5


def test_large_shifts_are_matched() -> None:
    """A header that is wrong by 4 arcsec still matches nearly all stars."""
    truth = make_detector_scene(np.random.default_rng(13), galaxies=0, shift=(3.2, 2.4))
    star, reference, _ = match(
        truth.given.wcs, x=truth.x, y=truth.y, brightness=truth.flux, references=truth.references.positions
    )
    assert len(star) > 70
    assert (star == reference).mean() > 0.97


def test_right_ascension_zero(truth: SyntheticDetector) -> None:
    """Offsets do not jump by 360 degrees at the meridian."""
    wcs = truth.given.wcs.deepcopy()
    wcs.wcs.crval = [0.0, 0.0]
    wcs.wcs.set()
    sky = wcs.all_pix2world([[10.0, 10.0]], 0)[0]
    assert np.abs(offsets(wcs, np.array([10.0]), np.array([10.0]), np.array([sky[0] - 360]), sky[1:])).max() < 1e-3


SIP = {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 2, "B_ORDER": 2, "A_2_0": 3e-5, "B_1_1": 4e-5}
TPV = {"CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV", "PV1_1": 1.001, "PV1_4": 0.3, "PV2_1": 0.999, "PV2_5": -0.2}


@pytest.mark.parametrize("kind", [SIP, TPV], ids=["SIP", "TPV"])
@pytest.mark.parametrize(("ra", "dec"), [(34.5, -5.0), (359.999, -5.0), (120.0, -89.9)])
def test_distortions_are_kept(kind: dict, ra: float, dec: float, rng: np.random.Generator) -> None:
    """A header that is off by 0.9 arcsec and turned comes back, SIP to 0.1 mas, for LSST's images too.

    TPV to 2 mas: its matrix, which is wrong here, acts before the polynomials, the fit behind them.
    """
    limit = 0.1 if kind is SIP else 2
    cards = {"NAXIS1": 336, "NAXIS2": 320, "CRPIX1": 120.0, "CRPIX2": 200.0, "CRVAL1": ra, "CRVAL2": dec}
    cards |= {"CD1_1": 9.4e-5, "CD1_2": 2e-6, "CD2_1": -2e-6, "CD2_2": 9.4e-5} | kind
    x, y = rng.uniform(0, 335, 80), rng.uniform(0, 319, 80)
    sky = icrs_wcs(cards).all_pix2world(x, y, 0)
    wrong = cards | {"CRVAL2": dec + 2.5e-4, "CD1_2": 2.1e-6, "CD2_1": -1.9e-6, "CD2_2": 9.41e-5}
    references = Positions(*sky, np.full(80, 1e-3))
    given = {"error": np.full(80, 1e-3), "brightness": rng.uniform(1, 2, 80), "shape": (320, 336), "pixel_scale": 0.34}
    fit = fit_astrometry(icrs_wcs(wrong), x=x, y=y, references=references, **given)
    assert fit.state == "refined"
    grid = np.meshgrid(np.linspace(0, 335, 5), np.linspace(0, 319, 5))
    true = icrs_wcs(cards).pixel_to_world(*grid)
    assert fit.wcs.pixel_to_world(*grid).separation(true).mas.max() < limit
    frame = DetectorFrame(instrument="VIRCAM", detector=3, visit=1, bbox=Box.factory[0:320, 0:336])
    projection = SkyProjection.from_fits_wcs(fit.wcs, frame, pixel_bounds=Box.factory[0:320, 0:336])
    found = projection.pixel_to_sky(x=grid[0].ravel(), y=grid[1].ravel())
    assert found.separation(true.ravel()).mas.max() < limit


def test_distorted_headers_stay_without_stars() -> None:
    """With too few stars the transformation of the header stays as it is, distortion and all."""
    cards = {"NAXIS1": 336, "NAXIS2": 320, "CRPIX1": 120.0, "CRPIX2": 200.0, "CRVAL1": 34.5, "CRVAL2": -5.0}
    wcs = icrs_wcs(cards | {"CD1_1": 9.4e-5, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 9.4e-5} | SIP)
    nothing = np.empty(0)
    given = {"error": nothing, "brightness": nothing, "references": Positions(nothing, nothing, nothing)}
    fit = fit_astrometry(wcs, x=nothing, y=nothing, shape=(320, 336), pixel_scale=0.34, **given)
    assert fit.state == "header"
    assert fit.wcs is wcs
