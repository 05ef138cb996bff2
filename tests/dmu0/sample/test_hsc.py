"""HSC files of the sample: the grid, the mask, the noise, the PSF and the fluxes, against real files and the truth."""

from __future__ import annotations

import numpy as np
import pytest
import sep
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from lsst.images import Box
from scipy.spatial import cKDTree

from dmu0.files.integrity import check_file
from dmu0.robust_statistics import robust_scatter
from dmu0.sample.hsc_files import FLUXMAG0, MASK_PLANES, file_name, make_field, pixel_noise, write_patch, write_psf
from dmu0.sample.render import enclosed_fraction
from dmu0.sample.scene import OPTICAL_DEPTH, Scene
from dmu0.sample.sky import make_sky
from dmu0.sky.skymap import make_sky_map
from dmu0.surveys import load_survey

SEED = 7


@pytest.fixture(scope="module")
def tract():
    """The tract of the sample."""
    survey = load_survey("sample")
    return make_sky_map(survey.sky_map).tract(8524)


@pytest.fixture(scope="module")
def patches(tract):
    """Two neighbouring patches."""
    return [tract.patch("22,22"), tract.patch("23,22")]


@pytest.fixture(scope="module")
def field(tract, patches):
    """The i-band coadd over both: its truth and its pixels."""
    box = Box.factory[17550:18450, 17550:19250]
    centre = SkyCoord(*tract.wcs.all_pix2world(18400, 18350, 0), unit="deg")
    sky = make_sky(Scene(), centre, half=170, seed=SEED)
    return sky, make_field("i", box, tract.wcs, sky, Scene(), seed=SEED)


@pytest.fixture(scope="module")
def written(tmp_path_factory, field, patches):
    """Coadd and PSF stamp of the first patch on disk, and the coadd of the second."""
    folder = tmp_path_factory.mktemp("hsc")
    write_patch(folder / "one.fits", field[1], patches[0])
    write_patch(folder / "two.fits", field[1], patches[1])
    write_psf(folder / "psf.fits", field[1], patches[0])
    return folder


def test_zero_point() -> None:
    """FLUXMAG0 is that of the real HSC coadds."""
    assert pytest.approx(63095734448.0194, rel=1e-12) == FLUXMAG0


def test_files_are_like_real_ones(written, realdata) -> None:
    """Each extension has the cards of the real file, of the same types; mask planes have the same numbers."""
    with fits.open(realdata / "hsc_cutout" / "hsc_i.fits") as real, fits.open(written / "one.fits") as ours:
        assert len(real) == len(ours)
        assert ours[0].header["FLUXMAG0"] == pytest.approx(real[0].header["FLUXMAG0"])
        for theirs, mine in zip(real[1:], ours[1:], strict=True):
            assert mine.header["BITPIX"] == theirs.header["BITPIX"]
            for key, value in theirs.header.items():
                assert key in mine.header, key
                assert isinstance(mine.header[key], type(value)), key
                if key.startswith("MP_"):
                    assert mine.header[key] == value, key


def test_psf_stamp_is_like_the_real_one(written, realdata, field) -> None:
    """43 px wide, centred, of sum 1, round to 5 %, with the FWHM of the band."""
    with fits.open(realdata / "hsc_cutout" / "hsc_i_psf.fits") as real, fits.open(written / "psf.fits") as ours:
        assert ours[0].data.shape == real[0].data.shape
        assert ours[0].header["CRVAL1A"] == real[0].header["CRVAL1A"]
        stamp = ours[0].data
    y, x = np.mgrid[-21:22, -21:22]
    assert stamp.sum() == pytest.approx(1, abs=1e-7)
    assert (stamp * x).sum() == pytest.approx(0, abs=1e-3)
    inside = stamp[np.hypot(x, y) < 2.9].sum()
    assert inside == pytest.approx(
        enclosed_fraction(np.sqrt((np.hypot(x, y) < 2.9).sum() / np.pi), field[1].psf.fwhm), abs=0.03
    )


def test_grid_is_the_sky_map(written, tract, patches) -> None:
    """Pixels of a file are those of the tract: WCS, LTV and size agree with the patch to 1e-6 px."""
    with fits.open(written / "one.fits") as hdus:
        header = hdus[1].header
        wcs = WCS(header)
        box = patches[0].outer_bbox
        assert hdus[1].data.shape == box.shape
        assert (header["LTV1"], header["LTV2"]) == (-box.x.start, -box.y.start)
    sky = wcs.all_pix2world([[0, 0], [899, 450]], 0)
    np.testing.assert_allclose(tract.wcs.all_world2pix(sky, 0), [[17550, 17550], [18449, 18000]], atol=1e-6)


def test_file_passes_the_checks(written) -> None:
    """Coadd and stamp pass every check of the inputs."""
    assert check_file(written / "one.fits", "optical_coadd") == ""
    assert check_file(written / "psf.fits", "optical_psf") == ""


def test_patches_agree_where_they_overlap(written) -> None:
    """The overlap of two patches has the same pixels in both, in image, mask and variance."""
    with fits.open(written / "one.fits") as one, fits.open(written / "two.fits") as two:
        for left, right in zip(one[1:], two[1:], strict=True):
            np.testing.assert_array_equal(left.data[:, 800:], right.data[:, :100])


def test_star_fluxes_are_the_true_ones(field, tract) -> None:
    """Apertures around isolated stars give the true fluxes, 2 % in the median, and positions are right."""
    sky, coadd = field
    x, y = tract.wcs.all_world2pix(np.array(sky["ra"]), np.array(sky["dec"]), 0)
    points = np.stack([x - coadd.box.x.start, y - coadd.box.y.start], axis=1)
    counts = np.array(sky["flux_i"]) * 10 ** (-0.4 * 4.4)
    tree = cKDTree(points)
    chosen = [
        k
        for k in np.flatnonzero((np.array(sky["type"]) == "star") & (counts > 60) & (counts < 4000))
        if 40 < points[k, 0] < 1660
        and 40 < points[k, 1] < 860
        and counts[[j for j in tree.query_ball_point(points[k], 30) if j != k]].sum() < 0.01 * counts[k]
        and not (coadd.mask[int(points[k, 1]), int(points[k, 0])] & 1 << MASK_PLANES["BRIGHT_OBJECT"])
    ]
    assert len(chosen) >= 8
    at = points[chosen]
    image = coadd.image.astype(float)
    flux, _, _ = sep.sum_circle(image, at[:, 0], at[:, 1], 15, bkgann=(22, 32), subpix=0)
    ratio = flux / enclosed_fraction(15, coadd.psf.fwhm) / counts[chosen]
    assert np.median(ratio) == pytest.approx(1, abs=0.02)
    xw, yw, _ = sep.winpos(image, at[:, 0], at[:, 1], 1.6)
    assert np.median(np.hypot(xw - at[:, 0], yw - at[:, 1])) < 0.1


def test_noise_is_the_depth(field) -> None:
    """Empty pixels scatter by the variance plane; 5 sigma in 2 arcsec, were pixels independent, is i = 26."""
    _, coadd = field
    empty = (coadd.mask & (1 << MASK_PLANES["DETECTED"] | 1 << MASK_PLANES["BRIGHT_OBJECT"])) == 0
    pixels = coadd.image[empty]
    scatter = robust_scatter(pixels)
    assert scatter / np.sqrt(np.median(coadd.variance[empty])) == pytest.approx(1, abs=0.12)
    aperture = np.sqrt(np.pi) / 0.168 * pixel_noise("i", 0.168)
    assert 27 - 2.5 * np.log10(5 * aperture) == pytest.approx(OPTICAL_DEPTH["i"], abs=0.01)


def test_mask_around_the_saturated_star(tract) -> None:
    """The bright star has saturated, interpolated pixels inside a circle of BRIGHT_OBJECT; the field has its EDGE."""
    box = Box.factory[18350:18950, 18350:19250]
    survey = load_survey("sample")
    middle = SkyCoord(*tract.wcs.all_pix2world(18399.5, 18399.5, 0), unit="deg")
    assert survey.tracts[8524]
    coadd = make_field("i", box, tract.wcs, make_sky(Scene(), middle, half=170, seed=SEED), Scene(), seed=SEED)
    plane = {name: (coadd.mask >> bit & 1).astype(bool) for name, bit in MASK_PLANES.items()}
    assert 50 < plane["SAT"].sum() < 20_000
    assert not (plane["SAT"] & ~plane["BRIGHT_OBJECT"]).any()
    assert plane["BRIGHT_OBJECT"].sum() == pytest.approx(np.pi * 110**2, rel=0.01)
    assert plane["EDGE"][:5].all()
    assert not plane["EDGE"][5:-5, 5:-5].any()
    assert plane["SENSOR_EDGE"].any()


def test_shallowest_band_has_a_hole(tract) -> None:
    """y has pixels without data: NaN, infinite variance, NO_DATA; nothing else is not finite."""
    box = Box.factory[17550:17950, 17550:17950]
    centre = SkyCoord(*tract.wcs.all_pix2world(17750, 17750, 0), unit="deg")
    coadd = make_field("y", box, tract.wcs, make_sky(Scene(), centre, half=60, seed=SEED), Scene(), seed=SEED)
    hole = (coadd.mask >> MASK_PLANES["NO_DATA"] & 1).astype(bool)
    assert hole.sum() > 300
    np.testing.assert_array_equal(np.isnan(coadd.image), hole)
    np.testing.assert_array_equal(np.isinf(coadd.variance), hole)


def test_file_names_are_those_of_the_archive(patches) -> None:
    """A pattern is filled in as HSC names its files, and the default pattern serves all bands."""
    patterns = {"default": "{filter}/{tract}/{patch_x},{patch_y}.fits", "y": "y.fits"}
    assert file_name(patterns, "i", patches[0]) == "HSC-I/8524/22,22.fits"
    assert file_name(patterns, "y", patches[0]) == "y.fits"


def test_same_seed_same_bytes(tmp_path, written, field, patches) -> None:
    """Writing a patch again gives the same file."""
    write_patch(tmp_path / "again.fits", field[1], patches[0])
    assert (tmp_path / "again.fits").read_bytes() == (written / "one.fits").read_bytes()
