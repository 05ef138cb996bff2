"""The three tasks of the catalogue, on CellCoadds of two neighbouring patches of a real sky map."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from lsst.images import YX, Image, SkyProjection, TractFrame
from lsst.images.cells import CellCoadd, CellGrid, CellGridBounds, CellIJ, CellPointSpreadFunction, PatchDefinition
from lsst.pipe.base import NoWorkFound
from scipy.spatial import cKDTree

from dmu0.sky.skymap import make_sky_map
from dmu0.surveys import SkyMapConfig
from dmu4.objects.columns import object_columns
from dmu4.objects.spurious import spurious_probability
from dmu4.patches.load import load_images, planes_of_coadd
from dmu4.patches.sky import meshes_of, subtract_sky
from dmu4.tasks.consolidate_tract import ConsolidateTractConfig, ConsolidateTractTask
from dmu4.tasks.detect_patch import DetectPatchConfig, DetectPatchTask
from dmu4.tasks.measure_patch import MeasurePatchConfig, MeasurePatchTask
from obs_vista.masks import to_mask
from tests.scenes.handles import Handle
from tests.scenes.measured import load_cube
from tests.scenes.patches import correlated_noise, draw, make_scene, psf_stamp

BANDS = {"i": (2.2, 6.0), "vk": (3.4, 12.0)}
TRACT = 8524


def make_coadd(band, patch, image, noise, *, hole=None):
    """A coadd of one band of a patch, with cells of 150 px, the last of which has no PSF if there is a hole."""
    variance, sigma = BANDS[band]
    box, mask = patch.outer_bbox, np.zeros(image.shape, np.int32)
    stamp, grid = psf_stamp(variance), CellGrid(bbox=patch.outer_bbox, cell_shape=YX(y=150, x=150))
    psf = np.broadcast_to(stamp, (grid.grid_size.i, grid.grid_size.j, *stamp.shape)).copy()
    missing = frozenset()
    if hole is not None:
        image = np.where(hole, np.nan, image)
        mask[hole] = 1
        missing = frozenset({CellIJ(i=1, j=1)})
        psf[1, 1] = np.nan
    frame = TractFrame(skymap="test", tract=TRACT, bbox=patch.tract.bbox)
    return CellCoadd(
        Image(image.astype(np.float32), bbox=box, unit=u.nJy),
        mask=to_mask(mask, bbox=box),
        variance=Image(np.full(image.shape, sigma**2, np.float32), bbox=box),
        noise_realizations=[Image(noise.astype(np.float32), bbox=box)],
        sky_projection=SkyProjection.from_fits_wcs(patch.tract.wcs, frame),
        band=band,
        psf=CellPointSpreadFunction(psf, CellGridBounds(grid=grid, bbox=box, missing=missing)),
        patch=PatchDefinition(
            id=patch.id, index=YX(y=patch.index[1], x=patch.index[0]), inner_bbox=patch.inner_bbox, cells=grid
        ),
    )


@pytest.fixture(scope="module")
def sky():
    """A rings sky map with small patches, two neighbours, sources across both, and their coadds."""
    config = SkyMapConfig(kind="rings", name="test", patch_inner=400, patch_border=100)
    sky_map = make_sky_map(config)
    tract = sky_map.tract(TRACT)
    middle = tract.num_patches[0] // 2
    patches = [tract.patch((middle + k, middle)) for k in (0, 1)]
    rng = np.random.default_rng(5)
    start = patches[0].outer_bbox
    scene = make_scene(rng, shape=(600, 1000), density=4e-4, bands=2, faintest=600, galaxies=0.2, margin=14)
    # Stars on the very line between the two inner boxes: noise decides on which side each patch sees them.
    line = patches[1].inner_bbox.x.start - start.x.start - 0.5
    scene.x[:12], scene.y[:12], scene.covariance[:12] = line, np.linspace(130, 470, 12), 0
    scene.flux[:12] = 4000
    coadds = {}
    for number, band in enumerate(BANDS):
        truth = draw(scene, band=number, variance=BANDS[band][0], shape=(600, 1000))
        for patch in patches:
            part = truth[:, patch.outer_bbox.x.start - start.x.start :][:, :600]
            noise = [correlated_noise(rng, part.shape, sigma=BANDS[band][1], width=0.6) for _ in range(2)]
            coadds[patch.id, band] = make_coadd(band, patch, part + noise[0], noise[1])
    return sky_map, patches, scene, coadds


@pytest.fixture(scope="module")
def tables(sky):
    """The object tables of the two patches."""
    sky_map, patches, _, coadds = sky
    config = MeasurePatchConfig()
    config.bands = ["g", *BANDS]
    result = []
    for patch in patches:
        handles = [Handle({"band": band}, coadds[patch.id, band]) for band in BANDS]
        cube, projection = load_cube(handles)
        found = DetectPatchTask(config=DetectPatchConfig()).run(cube)
        flat = subtract_sky(cube, meshes_of(found.sky))
        result.append(MeasurePatchTask(config=config).run(flat, projection, found.detections, patch, sky_map).objects)
    return result


def test_columns_units_and_a_band_without_coadds(tables):
    """The columns are those declared, with units; a band without a coadd is missing in every row, and says so."""
    for table in tables:
        assert table.colnames == [column.name for column in object_columns(["g", *BANDS])]
        assert table["i_psfFlux"].unit == u.nJy
        assert table["shape_xx"].unit == u.arcsec**2
        assert np.isnan(table["g_psfFlux"]).all()
        assert np.all(table["g_kronFlux_flag"])
        assert not np.any(table["g_usable"])
        assert np.all(table["g_coverage"] == 0)
        assert np.mean(table["i_usable"]) > 0.9
        assert set(table["i_inputCount"]) == {1}


def test_positions_on_the_sky(sky, tables):
    """Sky positions are those of the tract's projection, bright objects within 30 mas of the truth."""
    _, patches, scene, _ = sky
    start = patches[0].outer_bbox
    ra, dec = patches[0].tract.wcs.wcs_pix2world(scene.x + start.x.start, scene.y + start.y.start, 0)
    table = tables[0][np.asarray(tables[0]["detect_isPrimary"])]
    table = table[np.asarray(table["i_psfFlux"] > 100 * table["i_psfFluxErr"])]
    scale = np.cos(np.radians(dec.mean()))
    truth = cKDTree(np.column_stack([ra * scale, dec]))
    distance, _ = truth.query(np.column_stack([table["coord_ra"] * scale, table["coord_dec"]]))
    assert len(table) > 10
    assert np.median(distance) * 3600 < 0.03
    assert np.all(table["coord_raErr"] > 0)


def test_every_object_is_primary_once(sky, tables):
    """After consolidation each bright true source has exactly one primary row, also on the line between patches."""
    sky_map, patches, scene, _ = sky
    task = ConsolidateTractTask(config=ConsolidateTractConfig())
    objects = task.run(tables, patches[0].tract, sky_map).objects
    assert len(objects) == sum(map(len, tables))
    assert np.all(np.diff(objects["objectId"]) > 0)
    start = patches[0].outer_bbox
    inner = (np.abs(scene.y - 300) < 190) & (scene.x > 110) & (scene.x < 890) & (scene.flux[:, 0] > 2000)
    primary = objects[np.asarray(objects["detect_isPrimary"])]
    bright = primary["i_psfFlux"] > 50 * primary["i_psfFluxErr"]
    assert (np.asarray(primary["spuriousProbability"])[bright] < 0.5).mean() > 0.9
    rows = cKDTree(np.column_stack([primary["x"] - start.x.start, primary["y"] - start.y.start]))
    isolated = (
        cKDTree(np.column_stack([scene.x, scene.y])).query(np.column_stack([scene.x, scene.y]), k=2)[0][:, 1] > 12
    )
    chosen = inner & isolated
    assert chosen[:12].sum() >= 6
    # Patches alone decide otherwise for objects that both of them have.
    alone = {int(row["objectId"]): bool(row["detect_isPrimary"]) for table in tables for row in table}
    assert any(alone[int(row["objectId"])] != row["detect_isPrimary"] for row in objects)
    counts = [len(found) for found in rows.query_ball_point(np.column_stack([scene.x, scene.y])[chosen], 4)]
    assert set(counts) == {1}


def test_a_hole_is_no_data(sky):
    """NaN pixels and a cell without PSF become uncovered pixels, and nothing of them leaks into the arrays."""
    _, patches, _, coadds = sky
    coadd = coadds[patches[0].id, "i"]
    hole = np.zeros(coadd.image.array.shape, bool)
    hole[150:300, 150:300] = True
    holed = make_coadd("i", patches[0], coadd.image.array, coadd.noise_realizations[0].array, hole=hole)
    planes = planes_of_coadd(holed)
    assert np.isnan(planes.psf[1, 1]).all()
    cube, _ = load_cube([Handle({"band": "i"}, holed)])
    np.testing.assert_array_equal(cube.good[..., 0], ~hole)
    assert np.isfinite(cube.image).all()
    np.testing.assert_allclose(np.concatenate([psf.stamps.sum(axis=(1, 2)) for psf in cube.psfs]), 1, rtol=1e-6)


def test_input_counts_come_from_their_map(sky):
    """A map of the number of images overrides what the coadd says of itself."""
    _, patches, _, coadds = sky
    coadd = coadds[patches[0].id, "i"]
    count = Image(np.full(coadd.bbox.shape, 7, np.int16), bbox=coadd.bbox)
    cube, _ = load_cube([Handle({"band": "i"}, coadd)], [Handle({"band": "i"}, count)])
    assert set(np.unique(cube.input_count)) == {7}


def test_images_alone_are_those_of_the_cube(sky):
    """What is read to be looked at has the same pixels, in the same place, as what is measured."""
    _, patches, _, coadds = sky
    hole = np.zeros((600, 600), bool)
    hole[150:300, 450:] = True
    coadd = coadds[patches[0].id, "i"]
    holed = make_coadd("i", patches[0], coadd.image.array, coadd.noise_realizations[0].array, hole=hole)
    handles = [Handle({"band": "vk"}, coadds[patches[0].id, "vk"]), Handle({"band": "i"}, holed)]
    images, (cube, _) = load_images(handles), load_cube(handles)
    assert (images.bands, images.x0, images.y0) == (cube.bands, cube.x0, cube.y0) == (("i", "vk"), cube.x0, cube.y0)
    assert images.pixel_scale == pytest.approx(0.168, rel=1e-4)
    for name in ("image", "variance", "good"):
        np.testing.assert_array_equal(getattr(images, name), getattr(cube, name))


def test_light_beyond_the_psf_stamps(sky):
    """A coadd whose PSF stamps miss some light says so, and its PSFs sum to what is on them."""
    _, patches, _, coadds = sky
    coadd = coadds[patches[0].id, "i"]
    cube, _ = load_cube([Handle({"band": "i"}, coadd)])
    np.testing.assert_allclose(np.concatenate([psf.stamps.sum(axis=(1, 2)) for psf in cube.psfs]), 1, rtol=1e-6)
    coadd.metadata["psf_correction"] = 1.02
    try:
        missing, _ = load_cube([Handle({"band": "i"}, coadd)])
    finally:
        del coadd.metadata["psf_correction"]
    np.testing.assert_allclose(missing.psfs[0].stamps, cube.psfs[0].stamps / 1.02, rtol=1e-5, atol=1e-12)


def test_nothing_to_do_is_said(sky):
    """A patch without any data, and a tract without patches, are no work, with the reason."""
    sky_map, patches, _, coadds = sky
    coadd = coadds[patches[0].id, "i"]
    nothing = make_coadd("i", patches[0], coadd.image.array, coadd.image.array, hole=np.ones(coadd.bbox.shape, bool))
    cube, _ = load_cube([Handle({"band": "i"}, nothing)])
    with pytest.raises(NoWorkFound, match="no pixel with data in i"):
        DetectPatchTask(config=DetectPatchConfig()).run(cube)
    with pytest.raises(NoWorkFound, match="no patch"):
        ConsolidateTractTask(config=ConsolidateTractConfig()).run([], patches[0].tract, sky_map)


def test_artefacts_are_told_in_the_detection_bands(sky, tables):
    """With a list of detection bands their fluxes alone say what is spurious, those of all bands without."""
    sky_map, patches, _, _ = sky
    config = ConsolidateTractConfig()
    config.detectionBands = ["i"]
    of_one, of_all = (
        ConsolidateTractTask(config=one).run(tables, patches[0].tract, sky_map).objects
        for one in (config, ConsolidateTractConfig())
    )
    for objects, bands in ((of_one, ["i"]), (of_all, list(BANDS))):
        expected = spurious_probability(objects, bands).astype(np.float32)
        np.testing.assert_array_equal(objects["spuriousProbability"], expected)
    assert np.nanmax(np.abs(of_one["spuriousProbability"] - of_all["spuriousProbability"])) > 0


def test_a_patch_of_noise_gives_a_table(sky, rng):
    """Without any detection the table has no rows and all columns."""
    sky_map, patches, _, _ = sky
    noise = correlated_noise(rng, (600, 600), sigma=6.0, width=0.6)
    coadd = make_coadd("i", patches[0], 0.5 * noise, noise)
    cube, projection = load_cube([Handle({"band": "i"}, coadd)])
    detections = DetectPatchTask(config=DetectPatchConfig()).run(cube).detections
    assert len(detections) == 0
    measured = MeasurePatchTask(config=MeasurePatchConfig()).run(cube, projection, detections, patches[0], sky_map)
    assert len(measured.objects) == 0
    assert "i_psfFlux" in measured.objects.colnames
