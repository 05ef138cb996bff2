"""The task that imports published coadds: HSC, plain FITS with a PSF from stars, LSST, and the real files."""

from __future__ import annotations

import csv
import dataclasses

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from lsst.pipe.base import NoWorkFound

import tests.scenes.exposures as scene
from dmu0.published.coadds import OpticalCoadd, OpticalError, PsfStamp, on_patch, read_hsc, read_plain, read_psf
from dmu0.sky.skymap import make_sky_map
from dmu0.surveys import SkyMapConfig
from dmu2.bright_stars import BrightStars
from dmu4.psf.moments import fwhm
from dmu4.review.coadds import empty_apertures
from dmu4.tasks.import_optical import ImportOpticalConfig, ImportOpticalTask, read_source
from obs_vista.masks import BIT, from_mask


@pytest.fixture(scope="module")
def patch():
    """A patch of 600 pixels."""
    return make_sky_map(SkyMapConfig(name="small", patch_inner=580, patch_border=10)).tract(8524).patch("12,12")


@pytest.fixture
def task() -> ImportOpticalTask:
    """The task as shipped."""
    return ImportOpticalTask(config=ImportOpticalConfig())


def starry(rng: np.random.Generator, *, size: int = 600, width: float = 5.0) -> OpticalCoadd:
    """An image of stars with noise of 1."""
    star, image = scene.GaussianStar(width, reach=20), rng.normal(size=(size, size)).astype(np.float32)
    for x, y in scene.lattice(scene.Box.factory[0:size, 0:size], spacing=60, margin=40, rng=rng):
        stamp = star.compute_stellar_image(x=x, y=y)
        image[stamp.bbox.y.start : stamp.bbox.y.stop, stamp.bbox.x.start : stamp.bbox.x.stop] += (
            10 ** rng.uniform(3.5, 5) * stamp.array
        )
    return OpticalCoadd(image, np.ones_like(image), np.zeros(image.shape, np.int32))


def test_pixels_are_untouched(task, patch, rng):
    """Image, variance and mask come through bit by bit; the noise plane has the variance of the image."""
    coadd = starry(rng)
    coadd.mask[5:9, 5:9] = BIT["BRIGHT_OBJECT"] | BIT["EDGE"]
    stamp = scene.GaussianStar(5.0, reach=20).compute_stellar_image(x=0, y=0).array
    made = task.run(coadd, PsfStamp(stamp / stamp.sum(), ""), patch, skymap="small", band="i", name="x").coadd
    np.testing.assert_array_equal(made.image.array, coadd.image)
    np.testing.assert_array_equal(made.variance.array, coadd.variance)
    np.testing.assert_array_equal(from_mask(made.mask), coadd.mask)
    assert made.noise_realizations[0].array.std() == pytest.approx(1.0, abs=0.02)
    assert str(made.metadata["psf_source"]).startswith("stamps, ")
    assert str(made.metadata["psf_source"]).endswith(" stars")


def test_halos_are_those_of_the_reference_catalogue(task, patch, rng):
    """They replace the plane of the file, which the metadata say; pixels, variance and noise are as without them."""
    coadd = starry(rng)
    coadd.mask[5:9, 5:9] = BIT["BRIGHT_OBJECT"] | BIT["EDGE"]
    coadd = dataclasses.replace(coadd, left_out=("NOISE",))
    stamp, names = PsfStamp(np.pad([[1.0]], 10), ""), {"skymap": "small", "band": "i", "name": "x"}
    sky = patch.wcs.pixel_to_world(np.array([200.0, 630.0]), np.array([420.0, 80.0]))
    stars = BrightStars(sky.ra.deg, sky.dec.deg, np.array([100.3, 60.3]) * 0.168)
    without, made = (task.run(coadd, stamp, patch, **names, stars=one).coadd for one in (None, stars))
    rows, columns = np.indices(coadd.image.shape)
    halos = [np.hypot(columns - x, rows - y) < radius for x, y, radius in ((200, 420, 100.3), (630, 80, 60.3))]
    plane = made.mask.get("BRIGHT_OBJECT")
    assert (plane != np.logical_or(*halos)).sum() < 10  # pixels are not exactly 0.168 arcsec here
    assert plane[80, 599]  # the second star is outside
    assert not plane[7, 7]
    assert made.mask.get("EDGE").sum() == 16
    assert (made.metadata["planes_left_out"], without.metadata["planes_left_out"]) == ("NOISE BRIGHT_OBJECT", "NOISE")
    for one, other in ((made, without), (made, coadd)):
        np.testing.assert_array_equal(one.image.array, getattr(other.image, "array", other.image))
        np.testing.assert_array_equal(one.variance.array, getattr(other.variance, "array", other.variance))
    np.testing.assert_array_equal(made.noise_realizations[0].array, without.noise_realizations[0].array)


def test_noise_of_every_band_plane_and_patch(patch, rng):
    """Noise of two planes, of two bands and of two tracts is uncorrelated; where patches overlap it is the same."""
    two = ImportOpticalConfig()
    two.noisePlanes = 2
    stamp, image = PsfStamp(np.pad([[1.0]], 10), ""), rng.normal(0, 2, (600, 600)).astype(np.float32)
    coadd = OpticalCoadd(image, np.full(image.shape, 4, np.float32), np.zeros(image.shape, np.int32))

    def noise(place, band):
        made = ImportOpticalTask(config=two).run(coadd, stamp, place, skymap="small", band=band, name="x").coadd
        return [plane.array for plane in made.noise_realizations]

    beside, elsewhere = patch.tract.patch("13,12"), patch.tract.__class__(**{**vars(patch.tract), "id": 8525})
    here, there = noise(patch, "i"), noise(beside, "i")
    for number in range(2):
        np.testing.assert_array_equal(here[number][:, -20:], there[number][:, :20])
    planes = [*here, *noise(patch, "vk"), *noise(elsewhere.patch(patch.id), "i")]
    assert np.abs(np.corrcoef([plane.ravel() for plane in planes]) - np.eye(6)).max() < 0.02


def test_psf_is_measured_on_stars(task, patch, rng):
    """Without a stamp, the PSF is that of the stars: width to 2%, and it says from how many."""
    made = task.run(starry(rng), None, patch, skymap="small", band="i", name="x").coadd
    stamp = made.psf.compute_kernel_image(x=patch.outer_bbox.x.start + 10, y=patch.outer_bbox.y.start + 10).array
    assert stamp.sum() == pytest.approx(1)
    assert fwhm(stamp) == pytest.approx(5.0, rel=0.02)
    assert int(str(made.metadata["psf_source"]).split()[0]) > 20


def test_without_stars_it_says_so(task, patch, rng):
    """On an empty field the PSF is a guess, and the metadata say that."""
    empty = OpticalCoadd(
        rng.normal(size=(600, 600)).astype("f4"), np.ones((600, 600), "f4"), np.zeros((600, 600), "i4")
    )
    made = task.run(empty, None, patch, skymap="small", band="i", name="x").coadd
    assert "too few stars" in made.metadata["psf_source"]


def test_no_data_is_no_work(task, patch):
    """A file without data in the patch is skipped with a reason."""
    nothing = OpticalCoadd(
        np.full((600, 600), np.nan, "f4"), np.full((600, 600), np.inf, "f4"), np.full((600, 600), BIT["NO_DATA"], "i4")
    )
    with pytest.raises(NoWorkFound, match=r"x\.fits has no data in tract 8524"):
        task.run(nothing, None, patch, skymap="small", band="i", name="x.fits")


def test_unknown_kind():
    """A kind that nobody reads is an error that names it."""
    with pytest.raises(OpticalError, match="'cfht'"):
        read_source({"kind": "cfht", "path": "a.fits"}, {})


def test_real_hsc_cutout_and_its_catalogue(task, realdata):
    """The real cutout: compact sources agree with HSC's own PSF magnitudes to 0.06 mag in the median."""
    folder = realdata / "hsc_cutout"
    patch = make_sky_map(SkyMapConfig(name="hscPdr2")).tract(9619).patch("2,1")
    coadd, stamp = read_hsc(folder / "hsc_i.fits"), read_psf(folder / "hsc_i_psf.fits")
    made = task.run(on_patch(coadd, patch, name="hsc_i"), stamp, patch, skymap="hscPdr2", band="i", name="hsc_i").coadd
    x0, y0 = coadd.origin
    differences = []
    with open(folder / "hsc_sources.csv") as file:
        for row in csv.DictReader(line.lstrip("# ") for line in file):
            values = (float(row[f"i_{key}"]) for key in ("psfflux_mag", "cmodel_mag", "sdssshape_shape11"))
            magnitude, total, size = values
            point = made.sky_projection.sky_to_pixel(SkyCoord(float(row["ra"]), float(row["dec"]), unit="deg"))
            x, y = float(point.x) - x0, float(point.y) - y0
            inside = 25 < x < 275 and 25 < y < 275
            # Compact in arcsec^2 and in magnitudes, and off the spiral, in which HSC's deblender shares light out.
            compact = size < 0.08 and abs(magnitude - total) < 0.2 and np.hypot(x - 150, y - 150) > 85
            if inside and compact and magnitude < 24:
                differences.append(_psf_magnitude(coadd, stamp.stamp, x, y) - magnitude)
    assert len(differences) >= 3
    assert abs(np.median(differences)) < 0.06


def _psf_magnitude(coadd: OpticalCoadd, stamp: np.ndarray, x: float, y: float) -> float:
    """PSF magnitude at a place, over a sky level fitted with it."""
    half, i, j = stamp.shape[0] // 2, round(x), round(y)
    fy, fx = np.fft.fftfreq(stamp.shape[0])[:, None], np.fft.fftfreq(stamp.shape[1])
    model = np.fft.ifft2(np.fft.fft2(stamp) * np.exp(-2j * np.pi * (fx * (x - i) + fy * (y - j)))).real
    core = slice(half - 6, half + 7)
    pixels = coadd.image[j - 6 : j + 7, i - 6 : i + 7]
    design = np.column_stack([model[core, core].ravel(), np.ones(169)])
    return float(31.4 - 2.5 * np.log10(np.linalg.lstsq(design, pixels.ravel(), rcond=None)[0][0]))


def test_real_plain_coadd(task, realdata):
    """A VIKING image of real correlated noise: its noise plane has that correlation, its PSF comes from stars."""
    patch = make_sky_map(SkyMapConfig(kind="single", name="g9", pixel_scale=0.339, centre=(135, 0.5), shape=(900, 900)))
    patch = patch.tract(0).patch(0)
    coadd = read_plain(realdata / "gama_9band" / "Ks.fits", zero_point=30.0)
    cut = OpticalCoadd(coadd.image[:900, :900], coadd.variance[:900, :900], coadd.mask[:900, :900])
    made = task.run(cut, None, patch, skymap="g9", band="vk", name="Ks.fits").coadd
    correlation = np.array(made.metadata["noise_correlation"].split(), float).reshape(11, 11)
    assert correlation[5, 6] == pytest.approx(0.33, abs=0.07)
    assert 0.8 < made.metadata["seeing"] < 1.4
    good = np.isfinite(cut.image)
    plain, scaled, number = empty_apertures(made, cut.image, cut.variance, good, scale=0.339)
    assert number > 300
    assert plain > 1.3
    assert abs(scaled - 1) < abs(plain - 1) / 2
