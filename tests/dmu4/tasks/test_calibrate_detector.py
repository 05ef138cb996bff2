"""The calibration of a whole detector against truth, and the task that stores it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import astropy.units as u
import numpy as np
import pytest
from astropy.table import Table
from astropy.time import Time
from lsst.daf.butler import Timespan
from lsst.images import Image, VisitImage
from scipy.spatial import cKDTree

from dmu4.coadds.visit_quality import measure_visit_noise
from dmu4.detectors.astrometry import offsets
from dmu4.detectors.calibration import DetectorCalibration, Settings, calibrate
from dmu4.detectors.reference_stars import around_detector, no_references
from dmu4.tasks import calibrate_detector
from dmu4.tasks.calibrate_detector import CalibrateDetectorConfig, CalibrateDetectorTask
from obs_vista.formatters import header_metadata
from obs_vista.masks import BIT, from_mask
from tests.scenes.detectors import DETECTOR, SyntheticDetector, make_detector_scene


class DataId(dict):
    """As much of an expanded data id as the task looks at."""

    def __init__(self) -> None:
        super().__init__(instrument="VIRCAM", visit=12016, detector=DETECTOR, band="vh", physical_filter="VIRCAM-H")
        begin = Time(55139.0, format="mjd", scale="tai")
        self.records = {"visit": SimpleNamespace(timespan=Timespan(begin, begin + 60 * u.s))}


@pytest.fixture(scope="module")
def truth() -> SyntheticDetector:
    """A detector with everything wrong that calibration mends."""
    return make_detector_scene(np.random.default_rng(21), stars=120, shape=(448, 432))


@pytest.fixture(scope="module")
def result(truth: SyntheticDetector) -> DetectorCalibration:
    """Its calibration."""
    return calibrate(truth.given, truth.references, Settings())


def test_accuracy(truth: SyntheticDetector, result: DetectorCalibration) -> None:
    """Positions within 10 mas in the median, zero point within 0.01 mag, sizes within 0.8%."""
    assert result.status == "calibrated"
    x, y = (grid.ravel() for grid in np.meshgrid(np.linspace(10, 420, 6), np.linspace(10, 430, 6)))
    sky = truth.wcs.all_pix2world(np.stack([x, y], axis=1), 0)
    errors = offsets(result.astrometry.wcs, x, y, sky[:, 0], sky[:, 1])
    assert np.abs(np.median(errors, axis=0)).max() < 10
    assert result.astrometry.scatter < 25
    assert result.zero_point.magnitude == pytest.approx(truth.scene.zero_point, abs=0.01)
    assert abs(result.psf.size_residual) < 0.008
    assert result.psf.size_residual_error < 0.006


def test_fluxes_are_total(truth: SyntheticDetector, result: DetectorCalibration, monkeypatch) -> None:
    """If a quarter more light than the PSF's lay beyond its stamp, zero points were fainter by 2.5 log10 1.25."""
    beyond = replace(result.apertures, psf=1.25 * result.apertures.psf)
    monkeypatch.setattr("dmu4.detectors.calibration.aperture_corrections", lambda *_, **__: beyond)
    found = calibrate(truth.given, truth.references, Settings())
    assert found.zero_point.magnitude - result.zero_point.magnitude == pytest.approx(2.5 * np.log10(1.25), abs=2e-3)


def test_references_that_are_no_stars_are_passed_over(truth: SyntheticDetector) -> None:
    """Thirty galaxies before the stars of the list change neither positions nor zero point, and no star's number."""
    given = truth.references
    far = np.linspace(-0.01, 0.01, 30)
    mixed = replace(
        given,
        id=np.append(np.arange(500, 530), given.id),
        positions=replace(
            given.positions,
            ra=np.append(given.positions.ra[:30] + far, given.positions.ra),
            dec=np.append(given.positions.dec[:30] - far, given.positions.dec),
            error=np.append(np.full(30, 5.0), given.positions.error),
        ),
        flux=np.append(np.full(30, 1.0), given.flux),
        flux_error=np.append(np.full(30, 0.1), given.flux_error),
        point_like=np.append(np.zeros(30, bool), given.point_like),
    )
    found = calibrate(truth.given, mixed, Settings())
    assert found.zero_point.magnitude == pytest.approx(truth.scene.zero_point, abs=0.01)
    number = mixed.id[found.astrometry.reference]
    star = found.astrometry.star
    assert np.hypot(found.fits.x[star] - truth.x[number], found.fits.y[star] - truth.y[number]).max() < 1.5
    assert found.point_like[star].all()


def test_what_is_called_a_star(truth: SyntheticDetector, result: DetectorCalibration) -> None:
    """Of the bright sources nearly all stars are point-like, and of the galaxies twice their size none."""
    places = np.column_stack([result.sources.x, result.sources.y])
    bright = result.sources.signal_to_noise > 30
    size = result.sources.moments.size
    star = cKDTree(np.column_stack([truth.x, truth.y])).query(places)[0] < 1
    expected = np.median(size[star & bright])
    assert result.point_like[star & bright & ~result.sources.masked & (result.sources.neighbour < 0.05)].mean() > 0.9
    large = bright & (size > 2 * expected)
    assert large.sum() >= 3
    assert not result.point_like[large].any()


def test_seeing_is_in_arcsec(truth: SyntheticDetector, result: DetectorCalibration) -> None:
    """A Moffat profile of 2.2 px, with the pixel 2.38 px, is 0.81 arcsec wide."""
    assert result.pixel_scale == pytest.approx(0.3414, rel=2e-3)
    assert result.seeing == pytest.approx(truth.given.seeing * 0.3414, rel=0.05)


def test_noise(truth: SyntheticDetector, result: DetectorCalibration) -> None:
    """The scatter of truly empty pixels over the quoted error is 1 within 0.03."""
    usable = (result.mask & ~BIT["DETECTED"]) == 0
    empty = usable & (truth.noiseless < 0.02 * result.noise.sigma)
    pull = (truth.given.image - truth.sky - truth.noiseless)[empty] / np.sqrt(result.variance[empty])
    assert pull.std() == pytest.approx(1, abs=0.03)
    assert result.noise.ratio_after == pytest.approx(1, abs=0.03)


def test_noise_for_coadds(truth: SyntheticDetector, result: DetectorCalibration) -> None:
    """What the summary keeps for coadds: the typical variance, and the correlation that interpolation has made."""
    noise = measure_visit_noise(result.image, result.variance, result.mask)
    assert noise.variance == pytest.approx(result.noise.sigma**2, rel=0.02)
    # bilinear interpolation by 0.3 px in x and 0.2 px in y: 0.3 * 0.7 / (0.3^2 + 0.7^2), 0.2 * 0.8 / (0.2^2 + 0.8^2)
    middle = noise.correlation.shape[0] // 2
    measured = noise.correlation[middle, middle + 1], noise.correlation[middle + 1, middle]
    assert measured == pytest.approx((0.362, 0.235), abs=0.06)


def test_header_solution_without_references(truth: SyntheticDetector) -> None:
    """Without references, positions and zero point are the header's, and the status says so and why."""
    found = calibrate(truth.given, no_references(), Settings())
    assert found.status == "header_solution"
    assert "astrometry: 0 stars" in found.reason
    assert found.zero_point.magnitude == truth.given.zero_point[0]
    assert found.astrometry.wcs is truth.given.wcs


def test_inputs_are_left_alone(truth: SyntheticDetector) -> None:
    """Neither the pixels nor the variance given are changed."""
    image, variance = truth.given.image.copy(), truth.given.variance.copy()
    calibrate(truth.given, truth.references, Settings())
    np.testing.assert_array_equal(image, truth.given.image)
    np.testing.assert_array_equal(variance, truth.given.variance)


@pytest.fixture(scope="module")
def outputs(truth: SyntheticDetector):
    """What the task makes of it, references in the format of the shards."""
    return _run(truth, truth.given.image, truth.given.confidence)


def _run(truth: SyntheticDetector, image: np.ndarray, confidence: np.ndarray | None, **config: object):
    header = truth.given.wcs.to_header(relax=True)
    header.update(truth.header)
    header["CRVAL1"], header["CRVAL2"] = truth.given.wcs.wcs.crval
    for name in [name for name in header if name.startswith("PC")] + ["CDELT1", "CDELT2", "MJDREF"]:
        header.remove(name, ignore_missing=True)
    for (i, j), value in np.ndenumerate(truth.given.wcs.wcs.cd):
        header[f"CD{i + 1}_{j + 1}"] = value
    header["SEEING"], header["MAGZPT"], header["MAGZRR"] = truth.given.seeing, 28.06 - 2.5 - 1.385, 0.02
    header["EXPTIME"], header["EXTINCT"] = 10.0, 0.05
    settings = CalibrateDetectorConfig()
    for key, value in config.items():
        setattr(settings, key, value)
    task = CalibrateDetectorTask(config=settings)
    pawprint = Image(image, unit=u.adu, metadata=header_metadata(header))
    maps = None if confidence is None else Image(confidence)
    return task.run(pawprint=pawprint, confidence=maps, shards=[_shard(truth)], data_id=DataId())


def _shard(truth: SyntheticDetector) -> Table:
    """The references of a scene in the columns of a shard."""
    references = truth.references
    radian = np.degrees(1) * 3.6e6
    count = len(references)
    return Table(
        {
            "id": references.id,
            "coord_ra": np.radians(references.positions.ra),
            "coord_dec": np.radians(references.positions.dec),
            "coord_ra_err": references.positions.error / radian,
            "coord_dec_err": references.positions.error / radian,
            "epoch": np.full(count, 55139.0),
            "pm_ra": np.full(count, np.nan),
            "pm_dec": np.full(count, np.nan),
            "pm_ra_err": np.full(count, np.nan),
            "pm_dec_err": np.full(count, np.nan),
            "extended": np.zeros(count, bool),
            "vh_flux": references.flux,
            "vh_fluxErr": references.flux_error,
        }
    )


def test_visit_image_round_trip(outputs, truth: SyntheticDetector, tmp_path: Path) -> None:
    """The calibrated image, its mask, variance, PSF and projection come back from a file as they were."""
    made = outputs.visit_image
    path = tmp_path / "visit.fits"
    made.write(path)
    back = VisitImage.read(path)
    assert back.unit == u.nJy
    np.testing.assert_array_equal(back.image.array, made.image.array)
    np.testing.assert_array_equal(from_mask(back.mask), from_mask(made.mask))
    kernel = back.psf.compute_kernel_image(x=100.0, y=120.0).array
    np.testing.assert_allclose(kernel, made.psf.compute_kernel_image(x=100.0, y=120.0).array, atol=1e-12)
    sky = back.sky_projection.pixel_to_sky(x=np.array([200.0]), y=np.array([210.0]))
    true = truth.wcs.all_pix2world([[200.0, 210.0]], 0)
    assert np.abs((sky.ra.deg - true[0, 0]) * 3.6e6) < 25
    assert back.band == "vh"


def test_fluxes_in_njy(outputs, truth: SyntheticDetector) -> None:
    """PSF fluxes of bright stars in the source table are the true ones to 1 per cent in the median."""
    sources = outputs.source
    matched = sources[(sources["ref_id"] >= 0) & (sources["signal_to_noise"] > 100)]
    true = truth.flux[matched["ref_id"]] * 10 ** (-0.4 * (truth.scene.zero_point - 31.4))
    assert np.median(matched["psf_flux"] / true) == pytest.approx(1, abs=0.01)
    assert len(matched) > 20


def test_summary_has_every_figure(outputs) -> None:
    """One row, units and descriptions on all columns, and an error beside every fitted figure."""
    summary = outputs.summary
    assert len(summary) == 1
    assert all(summary[name].description for name in summary.colnames)
    for name in ("zero_point", "sky_level", "seeing", "psf_size_residual", "aperture_correction"):
        assert summary[f"{name}_err"][0] > 0
    assert summary["status"][0] == "calibrated"
    assert summary["n_photometry"][0] >= 12


def test_skynoise_mode(truth: SyntheticDetector) -> None:
    """Without a confidence map, the variance comes from the sky: the same scatter, the same zero point."""
    made = _run(truth, truth.given.image, None, noise="skynoise")
    assert made.summary["zero_point"][0] == pytest.approx(truth.scene.zero_point, abs=0.015)
    assert made.summary["noise_ratio_after"][0] == pytest.approx(1, abs=0.03)


def test_references_move(truth: SyntheticDetector) -> None:
    """Reference positions are those at the epoch of the exposure, and their errors grow with an unknown motion."""
    shard = _shard(truth)
    shard["pm_dec"] = np.full(len(shard), 1.0 / 206265)  # 1 arcsec a year
    shape, wcs = truth.given.image.shape, truth.given.wcs
    later = around_detector([shard], band="vh", mjd=55139.0 + 365.25, wcs=wcs, shape=shape)
    now = around_detector([shard], band="vh", mjd=55139.0, wcs=wcs, shape=shape)
    common = np.intersect1d(later.id, now.id)
    a, b = (r.positions.dec[np.isin(r.id, common)] for r in (later, now))
    np.testing.assert_allclose((a - b) * 3600, 1.0, atol=1e-3)
    assert later.positions.error.mean() > now.positions.error.mean()


@pytest.mark.parametrize("shape", [(300, 352), (353, 301)])
def test_any_size(shape: tuple[int, int]) -> None:
    """Detectors of any size and proportion are calibrated."""
    truth = make_detector_scene(np.random.default_rng(30), shape=shape)
    found = calibrate(truth.given, truth.references, replace(Settings(), mesh=48))
    assert found.image.shape == shape
    assert found.status == "calibrated"


def test_cards_that_nothing_needs_cost_nothing() -> None:
    """Short hierarchical names, names that are not FITS and text with a tab are left out; others stay."""
    kept = {"FILTER": "Ks", "NICOMB": 7, "LONGTEXT": "x" * 200, "ESO DET NDIT": 6}
    header = calibrate_detector._header(kept | {"ESO A": 5, "a b": "x", "B.C": 1, "OBSERVER": "M\tx", "PROV0001": "f"})
    assert dict(header) == kept
