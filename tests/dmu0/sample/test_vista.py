"""VISTA files of the sample: their headers against real ones, their pixels against the truth."""

from __future__ import annotations

from dataclasses import replace

import astropy.units as u
import numpy as np
import pytest
import sep
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table
from scipy.spatial import cKDTree

from dmu0.files.integrity import check_file, check_pair
from dmu0.sample import vista_files
from dmu0.sample.render import enclosed_fraction, noise_area
from dmu0.sample.scene import VISTA_PIXEL, Scene
from dmu0.sample.sky import make_sky, positions_at
from dmu0.sample.visits import plan_visits
from dmu0.sample.vista_files import write_visit
from dmu0.sample.vista_geometry import stack_wcs
from dmu0.sample.vista_pixels import EXTINCTION, make_stack, stacked_noise
from obs_vista.bands import VISTA_BANDS, get_band
from obs_vista.camera import get_detector
from obs_vista.headers import merged_header
from obs_vista.world_coordinates import icrs_wcs

CENTRE = SkyCoord(35.608 * u.deg, -5.113 * u.deg)
SEED = 7


@pytest.fixture(scope="module")
def sky():
    """The true sources around the focal plane."""
    return make_sky(Scene(), CENTRE, half=330, seed=SEED)


@pytest.fixture(scope="module")
def visits():
    """All stacks of the sample."""
    return plan_visits(Scene(), tuple(VISTA_BANDS), CENTRE, seed=SEED)


@pytest.fixture(scope="module")
def written(tmp_path_factory, sky, visits):
    """The first stack of Z on disk, with three of its detectors: paths, and the true detectors."""
    folder = tmp_path_factory.mktemp("vista")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vista_files, "DETECTORS", (1, 7, 13))
        truth = write_visit(folder, visits[0], sky, CENTRE, Scene(), seed=SEED)
    return folder / f"{visits[0].name}.fit", folder / f"{visits[0].name}_conf.fit", truth


@pytest.fixture(
    scope="module", params=[(0, 1), (3, 6), (5, 13), (8, 11), (11, 2), (15, 16)], ids=lambda p: f"v{p[0]}d{p[1]}"
)
def stack(request, sky, visits):
    """Detectors of stacks of all bands, the aborted one among them: visit, detector, pixels."""
    number, detector = request.param
    visit = visits[number]
    return visit, detector, make_stack(visit, sky, CENTRE, detector, Scene(), seed=SEED)


def _cards(path) -> fits.Header:
    lines = [line[:80].ljust(80) for line in path.read_text().splitlines() if line.strip()]
    return fits.Header.fromstring("".join(lines))


_OF_THE_FILE = {"XTENSION", "BSCALE", "CHECKSUM", "DATASUM", "HISTORY", "COMMENT", "PREVIEWV", ""}


@pytest.mark.parametrize(("hdu", "name"), [(0, "primary"), (1, "ext1")])
def test_headers_have_the_cards_of_real_ones(written, realdata, hdu, name) -> None:
    """Every card of a real stack is there, of the same type, but for those that FITS and astropy make."""
    real = _cards(realdata / "headers" / f"v20120924_00582_st_{name}.txt")
    with fits.open(written[0]) as hdus:
        ours = hdus[hdu].header
        missing = [key for key in real if key not in ours and key not in _OF_THE_FILE]
        assert not missing
        wrong = {
            key: (ours[key], real[key])
            for key in real
            if key in ours and key not in _OF_THE_FILE and type(ours[key]) is not type(real[key])
        }
    assert not wrong


def test_files_are_sound(written) -> None:
    """Stack and confidence map pass every check of the inputs, and fit each other."""
    stack, confidence, _ = written
    assert check_file(stack, "vista_stack") == ""
    assert check_file(confidence, "vista_confidence") == ""
    assert check_pair(stack, confidence) == ""


def test_files_are_compressed_as_casu_does(written) -> None:
    """Extensions are 32-bit integers, RICE-compressed by row, with BSCALE; steps are far below the noise."""
    with fits.open(written[0], disable_image_compression=True) as hdus:
        header = hdus[1].header
        assert (header["ZCMPTYPE"], header["ZBITPIX"], header["ZTILE2"]) == ("RICE_1", 32, 1)
        assert 0 < header["BSCALE"] < header["SKYNOISE"] / 20
    with fits.open(written[0], checksum=True) as hdus:  # a wrong checksum is a warning, and so an error
        assert np.isfinite(hdus[1].data).all()


def test_frames_and_times(written, visits) -> None:
    """The primary points in FK5, the extensions in ICRS; dates, airmass and altitude agree with each other."""
    visit = visits[0]
    with fits.open(written[0]) as hdus:
        primary, header = hdus[0].header, hdus[1].header
        assert (primary["RADECSYS"], header["RADECSYS"]) == ("FK5", "ICRS")
        pointing = SkyCoord(primary["RA"] * u.deg, primary["DEC"] * u.deg, frame="fk5").icrs
        assert pointing.separation(SkyCoord(header["CRVAL1"] * u.deg, header["CRVAL2"] * u.deg)).arcsec < 0.05
        merged = merged_header(primary, header)
    assert merged["MJD-OBS"] == pytest.approx(visit.mjd, abs=1e-7)
    assert 1 / np.sin(np.radians(merged["ESO TEL ALT"])) == pytest.approx(merged["ESO TEL AIRM START"], abs=0.001)
    assert merged["ESO DET DIT"] * 1.0 == merged["EXPTIME"] == visit.dit
    assert merged["NICOMB"] == visit.nicomb == len(visit.jitter)


def test_all_stacks_are_planned(visits) -> None:
    """Three good pawprints a band and one aborted; exposure numbers and names are unique; one has a trail."""
    good = [visit for visit in visits if visit.obstatus == "Completed"]
    assert {band: sum(visit.band == band for visit in good) for band in VISTA_BANDS} == dict.fromkeys(VISTA_BANDS, 3)
    assert [visit.obstatus for visit in visits].count("Aborted") == 1
    assert sum(visit.trail for visit in visits) == 1
    assert len({visit.exposure for visit in visits}) == len({visit.name for visit in visits}) == len(visits)
    assert len({visit.margin for visit in visits}) > 3  # sizes differ from file to file
    assert {round(visit.angle) for visit in visits} == {90, -90}
    seeing = [visit.psf.fwhm * VISTA_PIXEL for visit in good]
    assert min(seeing) == pytest.approx(0.7, abs=0.02)
    assert max(seeing) == pytest.approx(1.06, abs=0.02)


def _aperture_fluxes(stack, visit, detector, sky, *, radius: float = 7.0):
    """Isolated bright stars: measured and true counts, and their x and y."""
    x, y = stack.true_wcs.all_world2pix(*positions_at(sky, visit.mjd), 0)
    vega = 31.4 - 2.5 * np.log10(np.array(sky[f"flux_{visit.band}"])) - get_band(visit.band).vega_to_ab
    counts = visit.dit * 10 ** (0.4 * (stack.zero_point - EXTINCTION * (visit.airmass - 1) - vega))
    inside = (x > 18) & (y > 18) & (x < stack.image.shape[1] - 18) & (y < stack.image.shape[0] - 18)
    points = np.stack([x, y], axis=1)
    tree = cKDTree(points)
    saturation = get_detector(detector).saturation
    chosen = []
    for k in np.flatnonzero(inside & (np.array(sky["type"]) == "star")):
        near = [j for j in tree.query_ball_point(points[k], 14) if j != k]
        bright = 150 * stack.sky_noise * np.sqrt(noise_area(stack.fwhm)) < counts[k] < 0.6 * saturation / 0.2
        box = np.s_[int(y[k]) - 8 : int(y[k]) + 9, int(x[k]) - 8 : int(x[k]) + 9]
        if bright and counts[near].sum() < 0.02 * counts[k] and (stack.confidence[box] == 100).all():
            chosen.append(k)
    image = np.ascontiguousarray(stack.image)
    flux, _, _ = sep.sum_circle(image, x[chosen], y[chosen], radius, bkgann=(12, 17), subpix=0)
    return flux / enclosed_fraction(radius, stack.fwhm), counts[chosen], x[chosen], y[chosen]


def test_star_fluxes_are_the_true_ones(stack, sky) -> None:
    """Apertures around isolated stars give the true counts, 2 % in the median, with the true zero point."""
    visit, detector, pixels = stack
    measured, true, _, _ = _aperture_fluxes(pixels, visit, detector, sky)
    assert len(true) >= 4
    assert np.median(measured / true) == pytest.approx(1, abs=0.02)


def test_seeing_is_that_of_the_stars(stack, sky) -> None:
    """SEEING is the FWHM of the stars in the image, within 4 %, from the light inside two apertures."""
    visit, detector, pixels = stack
    small, *_ = _aperture_fluxes(pixels, visit, detector, sky, radius=2.0)
    large, *_ = _aperture_fluxes(pixels, visit, detector, sky, radius=7.0)
    share = np.median(small / large) * enclosed_fraction(2.0, pixels.fwhm)  # undo the two corrections
    trial = np.linspace(1.5, 6, 500)
    assert np.interp(
        -share, -enclosed_fraction(2.0, trial[0]) * 0 - [enclosed_fraction(2.0, t) for t in trial], trial
    ) == (pytest.approx(pixels.fwhm, rel=0.04))


def test_sky_level_and_noise(stack) -> None:
    """SKYLEVEL and SKYNOISE are those of the empty pixels, and SKYNOISE is 0.8 to 1.3 of the ideal noise if good."""
    visit, detector, pixels = stack
    camera = get_detector(detector)
    good = pixels.confidence == 100
    assert np.median(pixels.image[good]) == pytest.approx(pixels.sky_level, abs=0.6 * pixels.sky_noise)
    frames = visit.nicomb * visit.ndit
    ideal = np.sqrt((camera.read_noise**2 * (1 + frames) / frames + visit.sky / camera.gain) / frames)
    ratio = pixels.sky_noise / ideal
    assert (0.8 < ratio < 1.3) if visit.obstatus == "Completed" else (ratio > 1.2)


def test_noise_is_that_of_bilinear_interpolation(visits, rng) -> None:
    """Variance and lag-1 correlation of a stack's noise follow from the fractions of its shifts, to 5 %."""
    visit = visits[6]
    size = 370 + 2 * visit.margin
    noise, count = stacked_noise(np.full((size, size), 5.0), visit, np.zeros((370, 370), bool), rng)
    inner = noise[24:-24, 24:-24].astype(float)
    assert (count[24:-24, 24:-24] == visit.nicomb).all()
    fraction = np.array(visit.jitter) % 1
    keep, share = 1 - 2 * fraction + 2 * fraction**2, fraction * (1 - fraction)
    assert inner.var() == pytest.approx(25 * np.mean(keep.prod(axis=1)) / visit.nicomb, rel=0.05)
    along_x = np.mean(inner[:, 1:] * inner[:, :-1]) / inner.var()
    expected = np.mean(share[:, 0] * keep[:, 1]) / np.mean(keep.prod(axis=1))
    assert along_x == pytest.approx(expected, abs=0.02)
    assert expected > 0.1


def test_trail_crosses_the_field(visits, sky) -> None:
    """The satellite's trail is in one stack: detectors that it crosses have more light than in a stack without it."""
    trailed = next(visit for visit in visits if visit.trail)
    plain = replace(trailed, trail=False)
    difference = [make_stack(visit, sky, CENTRE, 6, Scene(), seed=SEED).image for visit in (trailed, plain)]
    trail = difference[0] - difference[1]
    assert np.percentile(trail, 99.5) > 20
    assert 0.002 < np.mean(trail > 20) < 0.05


def test_confidence(stack) -> None:
    """Confidence is 100 in the middle, falls to 0 at the dithered edges, and pixels without data hold 0."""
    visit, _, pixels = stack
    assert pixels.confidence.dtype == np.int16
    assert pixels.confidence.min() == 0
    assert pixels.confidence.max() == 100
    assert np.median(pixels.confidence) == 100
    assert not pixels.image[pixels.confidence == 0].any()
    assert len(np.unique(pixels.confidence[visit.margin :, 200])) > 3


def test_header_projection_is_slightly_wrong(visits, sky) -> None:
    """Header positions are off by some 0.1 arcsec, the same over a detector to 0.04, and differ by detector."""
    offsets = []
    for detector in (1, 4, 10, 15):
        pixels = make_stack(visits[2], sky, CENTRE, detector, Scene(), seed=SEED)
        corners = np.array([[0, 0], [390, 0], [0, 390], [390, 390]], float)
        true = pixels.true_wcs.all_pix2world(corners, 0)
        said = pixels.header_wcs.all_pix2world(corners, 0)
        difference = (said - true) * 3600 * [np.cos(np.radians(-5.1)), 1]
        assert np.ptp(difference, axis=0).max() < 0.04
        offsets.append(difference.mean(axis=0))
    size = np.hypot(*np.transpose(offsets))
    assert 0.01 < np.median(size) < 0.3
    assert np.ptp(offsets) > 0.02


def test_written_projection_is_the_perturbed_one(written, visits, sky) -> None:
    """The header read from disk gives the perturbed positions to 2 mas, and the truth table the true ones."""
    path, _, truth = written
    with fits.open(path) as hdus:
        wcs, shape = icrs_wcs(merged_header(hdus[0].header, hdus[2].header)), hdus[2].data.shape
    pixels = make_stack(visits[0], sky, CENTRE, 7, Scene(), seed=SEED)
    assert shape == pixels.image.shape
    np.testing.assert_allclose(
        wcs.all_pix2world([[10, 300]], 0), pixels.header_wcs.all_pix2world([[10, 300]], 0), atol=5e-7
    )
    assert truth[1]["crpix1"] == pixels.true_wcs.wcs.crpix[0]


def test_turned_pawprint_covers_the_same_field(visits) -> None:
    """At -90 deg the focal plane is turned by 180 deg about the same centre: detector 1 is where 16 was."""
    upright, turned = visits[0], visits[1]
    corners = [stack_wcs(v, CENTRE, d, Scene()) for v, d in ((upright, 1), (turned, 16))]
    middle = [wcs.all_pix2world([(np.array(wcs.array_shape) - 1) / 2], 0)[0] for wcs in corners]
    shift = np.array([upright.east - turned.east, upright.north - turned.north])
    separation = (middle[0] - middle[1]) * 3600 * [np.cos(np.radians(-5.1)), 1] - shift
    assert np.abs(separation).max() < 0.5


def test_faults_are_there(visits, sky) -> None:
    """Detector 13 has a strip without data, detector 6 a hot column that its confidence does not show."""
    plain = next(visit for visit in visits if visit.trail)
    strip = make_stack(plain, sky, CENTRE, 13, Scene(), seed=SEED)
    assert (np.median(strip.confidence, axis=0) == 0)[50:-50].sum() >= 4
    hot = make_stack(plain, sky, CENTRE, 6, Scene(), seed=SEED)
    column = np.median(hot.image, axis=0) - np.median(hot.image)
    assert column[148 + plain.margin] > 3 * hot.sky_noise
    assert np.median(hot.confidence[:, 148 + plain.margin]) > 80


def test_every_detector_has_stars(stack, sky) -> None:
    """At least 40 isolated, unsaturated stars of signal to noise 20 in a good stack."""
    visit, detector, pixels = stack
    x, y = pixels.true_wcs.all_world2pix(*positions_at(sky, visit.mjd), 0)
    vega = 31.4 - 2.5 * np.log10(np.array(sky[f"flux_{visit.band}"])) - get_band(visit.band).vega_to_ab
    counts = visit.dit * 10 ** (0.4 * (pixels.zero_point - vega))
    peak = counts / noise_area(pixels.fwhm) * 2 + pixels.sky_level
    usable = (counts > 20 * 1.4 * pixels.sky_noise * np.sqrt(noise_area(pixels.fwhm))) & (
        np.array(sky["type"]) == "star"
    )
    usable &= peak < get_detector(detector).saturation
    usable &= (x > 12) & (y > 12) & (x < pixels.image.shape[1] - 12) & (y < pixels.image.shape[0] - 12)
    tree = cKDTree(np.stack([x, y], axis=1))
    alone = sum(
        counts[[j for j in tree.query_ball_point((x[k], y[k]), 6) if j != k]].sum() < 0.1 * counts[k]
        for k in np.flatnonzero(usable)
    )
    assert alone >= 40 or visit.obstatus == "Aborted"


def test_same_seed_same_bytes(tmp_path, written, visits, sky) -> None:
    """Writing a stack again gives the same files, byte for byte."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vista_files, "DETECTORS", (1, 7, 13))
        truth = write_visit(tmp_path, visits[0], sky, CENTRE, Scene(), seed=SEED)
    for path in written[:2]:
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()
    assert Table(rows=truth).colnames == Table(rows=written[2]).colnames
