"""Published mosaics on unequal, rotated pixels, brought on to those of a patch: truth from formulas."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from lsst.pipe.base import NoWorkFound

from dmu0.published.coadds import OpticalError, read_source
from dmu0.robust_statistics import SIGMA_TO_FWHM, robust_scatter
from dmu0.sky.skymap import make_sky_map
from dmu0.sky.tract import Patch
from dmu0.surveys import SkyMapConfig
from dmu2.bright_stars import BrightStars
from dmu4.coadds.cell_coadd import cell_size, has_data, pixel_scale
from dmu4.coadds.correlated_noise import aperture_error_scale, aperture_sums
from dmu4.coadds.mosaics import (
    StampPsf,
    image_grid,
    image_pixels_per_pixel,
    image_psfs,
    mosaic_input,
    mosaic_settings,
    part_to_read,
    psf_source,
    resample_mosaic,
    stamp_psfs,
)
from dmu4.coadds.planes import CoaddInput, CoaddPlanes
from dmu4.psf.moments import fwhm
from dmu4.tasks.import_optical import ImportOpticalConfig, ImportOpticalTask
from obs_vista.masks import BIT
from tests.scenes.mosaics import (
    CENTRE,
    ZERO_POINT,
    Mosaic,
    Sky,
    field_patch,
    lattice_sky,
    optical_mosaic,
    vista_mosaic,
    write_mosaic,
)

MOSAICS = {"optical": optical_mosaic, "vista": vista_mosaic}
REACH = 24
"""Half the side in pixels of the box in which fluxes and positions of sources are summed."""
NOTHING = Sky(*np.zeros((4, 0)))


@pytest.fixture(scope="module")
def patch() -> Patch:
    """600 rows and 750 columns of 0.2 arcsec, in cells of 150."""
    return field_patch()


@pytest.fixture
def bring(tmp_path, patch, rng) -> Callable[..., tuple[CoaddInput, CoaddPlanes]]:
    """A function that writes a mosaic of a sky and brings it on to the patch, through the files and the task."""

    def run(mosaic: Mosaic, sky: Sky, *, n_noise: int = 1) -> tuple[CoaddInput, CoaddPlanes]:
        write_mosaic(tmp_path / "m.fits", mosaic, mosaic.pixels(sky, rng))
        tile = {"kind": "fits", "path": str(tmp_path / "m.fits"), "zero_point": ZERO_POINT}
        tile["weight_path"] = str(tmp_path / "m.weight.fits")
        (opened,) = ImportOpticalTask(config=ImportOpticalConfig()).open_tiles([tile], {"band": "i"}, patch)
        return opened, resample_mosaic([opened], patch, mosaic_settings(n_noise=n_noise, threads=1))

    return run


def places(patch: Patch, sky: Sky) -> tuple[np.ndarray, np.ndarray]:
    """True array positions of sources."""
    x, y = patch.tract.wcs.world_to_pixel(SkyCoord(sky.ra, sky.dec, unit="deg"))
    return x - patch.outer_bbox.x.start, y - patch.outer_bbox.y.start


def measured(image: np.ndarray, *, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Sum and offset from the true place (x, y) in boxes around sources whose boxes are whole; else NaN [source, 3]."""
    found, axis = np.full((len(x), 3), np.nan), np.arange(-REACH, REACH + 1)
    for row, (at_x, at_y) in zip(found, zip(x, y, strict=True), strict=True):
        i, j = round(float(at_x)), round(float(at_y))
        if min(i, j) >= REACH and i + REACH < image.shape[1] and j + REACH < image.shape[0]:
            part = image[j - REACH : j + REACH + 1, i - REACH : i + REACH + 1].astype(float)
            total = part.sum()
            row[:] = total, part.sum(0) @ axis / total - (at_x - i), part.sum(1) @ axis / total - (at_y - j)
    return found


@pytest.mark.parametrize("name", MOSAICS)
@pytest.mark.parametrize("galaxies", [0.0, 1.0])
def test_fluxes_and_positions_are_kept(bring, patch, rng, name, galaxies):
    """Without noise, fluxes are kept to 1e-4 and positions to 1e-3 px, of stars and galaxies anywhere on the pixels."""
    sky = lattice_sky(rng, half=70, spacing=13, magnitudes=(18, 20), galaxies=galaxies)
    _, planes = bring(MOSAICS[name](), sky, n_noise=0)
    x, y = places(patch, sky)
    found = measured(planes.image, x=x, y=y)
    kept = np.isfinite(found[:, 0])
    assert kept.sum() > 70
    flux, offset = found[kept, 0] / sky.flux[kept] - 1, found[kept, 1:]
    print(f"flux {np.abs(flux).max():.1e} (limit 1e-4), position {np.abs(offset).max():.1e} px (limit 1e-3)")
    assert np.abs(flux).max() < 1e-4
    assert np.abs(offset).max() < 1e-3


@pytest.mark.parametrize("name", MOSAICS)
def test_errors_are_those_of_empty_apertures(bring, name, rng):
    """Scatter of sums in empty circles is what variance and noise plane predict, though neighbours are correlated."""
    shape = MOSAICS[name]().shape
    weight = np.linspace(0.5, 2.0, shape[1]) * np.ones(shape)
    _, planes = bring(MOSAICS[name](sigma=10.0, correlation=0.6, weight=weight), NOTHING)
    good = has_data(planes.mask)
    assert good.all()
    for radius in (2.0, 5.0, 9.0):
        sums, variances, *_ = aperture_sums(planes.image, planes.variance, good, radius=radius)
        plain = robust_scatter(sums / np.sqrt(variances))
        quoted = float(aperture_error_scale(list(planes.noise), planes.variance, good, radii=np.array([radius]))[0])
        print(
            f"{name}, {radius} px: {len(sums)} apertures, {plain:.3f} plain, {plain / quoted:.3f} as quoted (1 +- 0.1)"
        )
        assert plain > 1.2
        assert plain / quoted == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("name", MOSAICS)
def test_variance_follows_the_weight_map(bring, patch, name):
    """Pixels scatter as their variance says, in the deep half and in the shallow one, whatever the map's unit."""
    shape = MOSAICS[name]().shape
    weight = np.where(np.arange(shape[1]) < shape[1] / 2, 0.25, 1.0) * np.ones(shape)
    mosaic = MOSAICS[name](sigma=10.0, weight=weight)
    opened, planes = bring(mosaic, NOTHING)
    _, variance, _ = opened.read(opened.bbox)
    native = np.sqrt(variance[np.isfinite(variance)])
    assert np.percentile(native, 5) == pytest.approx(10, rel=0.03)
    assert np.percentile(native, 95) == pytest.approx(20, rel=0.03)
    x, y = np.meshgrid(np.arange(patch.outer_bbox.x.size), np.arange(patch.outer_bbox.y.size))
    u, _ = mosaic.wcs.world_to_pixel(patch.wcs.pixel_to_world(x, y))
    for half in (u < shape[1] / 2 - 20, u > shape[1] / 2 + 20):
        pulls = planes.image[half] / np.sqrt(planes.variance[half])
        assert np.std(pulls) == pytest.approx(1, abs=0.03)


def test_holes_and_edges(bring, patch, rng):
    """Senseless pixels of weight 0 reach nothing: around a hole and at the edge fluxes are right, or none."""
    weight = np.ones((400, 380))
    weight[200:230, 150:190] = 0
    weight[120, 200] = weight[121, 201] = 0
    mosaic = vista_mosaic(shape=(400, 380), weight=weight)
    sky = lattice_sky(rng, half=80, spacing=13, magnitudes=(18, 20))
    _, planes = bring(mosaic, sky)
    good = has_data(planes.mask)
    x, y = np.meshgrid(np.arange(patch.outer_bbox.x.size), np.arange(patch.outer_bbox.y.size))
    u, v = mosaic.wcs.world_to_pixel(patch.wcs.pixel_to_world(x, y))
    outside = (u < 0) | (v < 0) | (u > 379) | (v > 399)
    hole = (u > 149) & (u < 190) & (v > 199) & (v < 230)
    assert 0.1 < outside.mean() < 0.5
    assert not good[outside | hole].any()
    inside = (u > 6) & (v > 6) & (u < 373) & (v < 393) & ~((u > 142) & (u < 197) & (v > 192) & (v < 237))
    assert (good | ~inside).mean() > 0.9995  # all but two pixels of the image, and what lies on them
    assert not np.isfinite(planes.image[~good]).any()
    assert np.isinf(planes.variance[~good]).all()
    at_x, at_y = places(patch, sky)
    found = measured(planes.image, x=at_x, y=at_y)
    whole = np.isfinite(found[:, 0])
    assert 15 < whole.sum() < 80
    assert np.abs(found[whole, 0] / sky.flux[whole] - 1).max() < 1e-4
    assert np.nanmax(np.abs(planes.image)) < 1e5


def test_psf_follows_the_field(bring, patch, rng):
    """If the seeing grows by a quarter from left to right, the PSF of the cells does so; if not, all are alike."""
    sky = lattice_sky(rng, half=75, spacing=9, magnitudes=(18, 20))
    cell = cell_size(patch)
    for gradient in (0.25, 0.0):
        mosaic = optical_mosaic(sigma=10.0, gradient=gradient)
        opened, planes = bring(mosaic, sky)
        (psf,) = image_psfs([opened], max_stars=400)
        stamps = stamp_psfs([psf], [opened], planes, patch, order=5)
        assert stamps.shape[:2] == (4, 5)
        assert stamps.sum(axis=(2, 3)) == pytest.approx(np.ones((4, 5)))
        for row, column in ((0, 0), (3, 4), (1, 3)):
            x, y = (column + 0.5) * cell - 0.5, (row + 0.5) * cell - 0.5
            u, v = mosaic.wcs.world_to_pixel(patch.wcs.pixel_to_world(x, y))
            xx, yy, _ = mosaic.moments(0.0, x=float(u), y=float(v))
            true = SIGMA_TO_FWHM * np.sqrt((xx + yy) / 2)
            assert fwhm(stamps[row, column]) == pytest.approx(true, rel=0.02)


def test_a_tile_without_stars_has_the_psf_of_another(patch, rng, tmp_path):
    """Of two tiles with stars in only one, both have its PSF; without any, that is the size of the sources and said."""
    opened, task = [], ImportOpticalTask(config=ImportOpticalConfig())
    for number, sky in enumerate((lattice_sky(rng, half=40, spacing=9, magnitudes=(18, 20)), NOTHING)):
        mosaic, path = optical_mosaic(sigma=5.0), tmp_path / f"{number}.fits"
        write_mosaic(path, mosaic, mosaic.pixels(sky, rng))
        opened += task.open_tiles([{"kind": "fits", "path": str(path), "zero_point": ZERO_POINT}], {"band": "i"}, patch)
    one, other = image_psfs(opened, max_stars=400)
    assert one.n_stars > 30
    assert other.psf is one.psf
    assert psf_source([one, other]) == f"{one.n_stars} stars"
    (alone,) = image_psfs(opened[1:], max_stars=400)
    assert alone.n_stars == 0
    assert "too few stars" in psf_source([alone])


def test_psf_stamp_is_turned_with_the_pixels(bring, patch):
    """The stamp of an elongated PSF on the image's pixels is elongated along the same line of the sky."""
    mosaic = vista_mosaic()
    opened, planes = bring(mosaic, NOTHING, n_noise=0)
    axis = np.arange(-20, 21)
    native = np.exp(-0.5 * ((axis / 2.6) ** 2 + (axis[:, None] / 1.6) ** 2))
    stamps = stamp_psfs([StampPsf(native / native.sum())], [opened], planes, patch, order=5)
    to_sky = mosaic.jacobian(x=280, y=330)
    on_patch = np.linalg.inv(np.diag([-0.2, 0.2])) @ to_sky
    true = on_patch @ np.diag([2.6**2, 1.6**2]) @ on_patch.T
    stamp = stamps[2, 2]
    y, x = np.indices(stamp.shape) - stamp.shape[0] // 2
    moments = [(stamp * a * b).sum() for a, b in ((x, x), (x, y), (y, y))]
    assert moments == pytest.approx([true[0, 0], true[0, 1], true[1, 1]], rel=0.02)


def test_tiles_become_one_image(tmp_path, patch, rng):
    """Two tiles that share a strip are one image without a seam, with less noise where they overlap."""
    sky = lattice_sky(rng, half=70, spacing=13, magnitudes=(18, 20))
    tiles = []
    for number, offset in enumerate((-230, 230)):
        mosaic = optical_mosaic(shape=(900, 520), sigma=1.0)
        mosaic.cards["CRPIX1"] += offset
        mosaic = optical_mosaic(shape=(900, 520), sigma=1.0, cards=mosaic.cards)
        path = tmp_path / f"tile_{number}.fits"
        write_mosaic(path, mosaic, mosaic.pixels(sky, rng), zero_point=25.0 + number)
        tiles.append({"kind": "fits", "path": str(path), "zero_point": 25.0 + number})
    task = ImportOpticalTask(config=ImportOpticalConfig())
    opened = task.open_tiles(tiles[::-1], {"band": "i"}, patch)
    assert [one.name for one in opened] == ["i tile_0.fits", "i tile_1.fits"]
    star = patch.wcs.pixel_to_world([40.0], [70.0])
    stars = BrightStars(star.ra.deg, star.dec.deg, 20.5 * np.array([pixel_scale(patch)]))
    coadd = task.run_mosaic(opened, None, patch, skymap="field", band="i", stars=stars).coadd
    assert coadd.metadata["tiles"] == 2
    rows, columns = np.nonzero(coadd.mask.get("BRIGHT_OBJECT"))
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (20, 60, 50, 90)
    mask = coadd.mask.get("NO_DATA")
    assert not mask.any()
    x, y = places(patch, sky)
    found = measured(coadd.image.array, x=x, y=y)
    kept = np.isfinite(found[:, 0])
    assert np.abs(found[kept, 0] / sky.flux[kept] - 1).max() < 0.01
    assert np.min(coadd.variance.array) < 0.6 * np.median(coadd.variance.array)
    assert 0 < coadd.mask.get("INEXACT_PSF").mean() < 0.3


def test_only_the_part_in_sight_is_read(patch, tmp_path):
    """Of a large image only what a patch looks at is read, in whole boxes of the sky's scatter; elsewhere, nothing."""
    mosaic = optical_mosaic(shape=(3000, 4000))
    box = part_to_read(image_grid(patch, mosaic.wcs, mosaic.shape), mosaic.shape)
    assert box.x.start % 128 == box.y.start % 128 == box.x.stop % 128 == box.y.stop % 128 == 0
    assert 0.05 < box.area / (3000 * 4000) < 0.15
    elsewhere = optical_mosaic(shape=(3000, 4000))
    elsewhere.wcs.wcs.crval += 0.5
    assert part_to_read(image_grid(patch, elsewhere.wcs, mosaic.shape), mosaic.shape) is None
    image = np.random.default_rng(2).normal(size=mosaic.shape).astype(np.float32)
    write_mosaic(tmp_path / "m.fits", mosaic, image)
    source = {"kind": "fits", "path": str(tmp_path / "m.fits"), "zero_point": 31.4}
    part = read_source(source, {"band": "i"}, box=box)
    assert part.corner == (box.x.start, box.y.start)
    counts = image[box.slice_within(box.from_shape(mosaic.shape))] / np.float32(10 ** (0.4 * 1.4))
    np.testing.assert_allclose(part.image, counts, rtol=1e-6)
    opened = mosaic_input(part, image_grid(patch, mosaic.wcs, mosaic.shape), name="m")
    pixels, _, mask = opened.read(box.from_shape((5, 7), start=(box.y.start + 3, box.x.start + 2)))
    np.testing.assert_array_equal(pixels, part.image[3:8, 2:9])
    assert not (mask & BIT["NO_DATA"]).any()


def test_what_cannot_be_used_is_said(tmp_path, patch):
    """A mosaic elsewhere has no work; a tile without a projection, and a map of another size, are errors by name."""
    task = ImportOpticalTask(config=ImportOpticalConfig())
    with pytest.raises(NoWorkFound, match="no image of the i mosaic has data in tract 0"):
        task.run_mosaic([], None, patch, skymap="field", band="i")
    mosaic = optical_mosaic(shape=(300, 200))
    write_mosaic(tmp_path / "m.fits", mosaic, np.zeros((300, 200)))
    source = {"kind": "fits", "path": str(tmp_path / "m.fits"), "zero_point": 30.0}
    other = optical_mosaic(shape=(200, 300))
    write_mosaic(tmp_path / "n.fits", other, np.zeros((200, 300)))
    with pytest.raises(OpticalError, match=r"n\.weight\.fits: it is \(200, 300\).*m\.fits"):
        task.open_tiles([source | {"weight_path": str(tmp_path / "n.weight.fits")}], {"band": "i"}, patch)
    bare = Mosaic(mosaic.cards, (300, 200), 0.8)
    bare.cards.clear()
    write_mosaic(tmp_path / "b.fits", bare, np.zeros((300, 200)))
    with pytest.raises(OpticalError, match=r"b\.fits: it has no world coordinates"):
        task.open_tiles([source | {"path": str(tmp_path / "b.fits")}], {"band": "i"}, patch)


@pytest.mark.parametrize(("scale", "ratio"), [(0.2, 1.0), (0.339, 1.69)])
def test_a_coarse_sky_map_is_told(tmp_path, caplog, rng, scale, ratio):
    """On pixels much larger than those of an image the noise grows: the log says by what, and what to change."""
    sky_map = SkyMapConfig(kind="single", name="coarse", pixel_scale=scale, centre=CENTRE, shape=(200, 220))
    mosaic = optical_mosaic(sigma=1.0)
    write_mosaic(tmp_path / "m.fits", mosaic, mosaic.pixels(NOTHING, rng))
    tile = {"kind": "fits", "path": str(tmp_path / "m.fits"), "zero_point": ZERO_POINT}
    patch = make_sky_map(sky_map).tract(0).patch(0)
    grid = image_grid(patch, mosaic.wcs, mosaic.shape)
    assert image_pixels_per_pixel(grid, patch) == pytest.approx(ratio, abs=0.01)
    ImportOpticalTask(config=ImportOpticalConfig()).open_tiles([tile], {"band": "i"}, patch)
    assert ("1.7 times as large" in caplog.text) == (ratio > 1.5)
