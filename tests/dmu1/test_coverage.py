"""Coverage: areas shared by images and patches, jobs, and patches left out."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table

from dmu0.sky.skymap import CellsSkyMap, RingsSkyMap, sky_polygon, survey_patches
from dmu0.surveys import load_survey
from dmu1.coverage import (
    JOB_COLUMNS,
    OVERLAP_COLUMNS,
    clipped_area,
    coadd_jobs,
    covered_fraction,
    image_corners,
    jobs_to_do,
    judge_patches,
    patch_overlaps,
    vista_jobs,
)
from dmu1.inventory import StackFile, read_stacks

TRACT = RingsSkyMap(name="rings", patch_inner=800, patch_border=50).tract(8524)
PATCHES = [TRACT.patch(name) for name in ("22,22", "23,22", "22,23", "23,23")]


def image(x0: float, y0: float, x1: float, y1: float, **values: object) -> dict[str, object]:
    """An image with its corners at given pixels of the tract."""
    ra, dec = TRACT.wcs.wcs_pix2world([x0, x1, x1, x0], [y0, y0, y1, y1], 0)
    row = {"path": "a_st.fit", "hdu": 1, "exposure": 1, "detector": 1, "band": "vh"}
    return row | {f"ra{k}": ra[k] for k in range(4)} | {f"dec{k}": dec[k] for k in range(4)} | values


def box_of(patch) -> tuple[float, float, float, float]:
    """x and y of the outer edges of a patch's outer box."""
    box = patch.image_bbox
    return box.x.start - 0.5, box.y.start - 0.5, box.x.stop - 0.5, box.y.stop - 0.5


def test_clipped_area_of_known_shapes():
    """Inside, outside, halves, corners, and a diamond around a square: areas are exact, either way round."""
    square = np.array([0.0, 2, 2, 0]), np.array([0.0, 0, 2, 2])
    for turn in (1, -1):
        x, y = square[0][::turn], square[1][::turn]
        assert clipped_area(x, y, x_range=(-1, 3), y_range=(-1, 3)) == pytest.approx(4)
        assert clipped_area(x, y, x_range=(1, 3), y_range=(-1, 3)) == pytest.approx(2)
        assert clipped_area(x, y, x_range=(1, 3), y_range=(1, 3)) == pytest.approx(1)
        assert clipped_area(x, y, x_range=(0.5, 1), y_range=(0.5, 1.5)) == pytest.approx(0.5)
        assert clipped_area(x, y, x_range=(2, 3), y_range=(0, 2)) == 0
        assert clipped_area(x, y, x_range=(5, 6), y_range=(5, 6)) == 0
    diamond = np.array([0.0, 1, 0, -1]), np.array([-1.0, 0, 1, 0])
    assert clipped_area(*diamond, x_range=(-0.5, 0.5), y_range=(-0.5, 0.5)) == pytest.approx(1)
    assert clipped_area(*diamond, x_range=(0, 1), y_range=(0, 1)) == pytest.approx(0.5)


def test_clipped_area_against_counting(rng):
    """For random quadrilaterals the area is that which counting random points gives."""
    points = rng.uniform(0, 1, (200_000, 2))
    for _ in range(5):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 4))
        x, y = 0.5 + 0.6 * np.cos(angles), 0.4 + 0.6 * np.sin(angles)
        inside = np.all(
            [
                (x[k] - x[k - 1]) * (points[:, 1] - y[k - 1]) - (y[k] - y[k - 1]) * (points[:, 0] - x[k - 1]) >= 0
                for k in range(4)
            ],
            axis=0,
        )
        assert clipped_area(x, y, x_range=(0, 1), y_range=(0, 1)) == pytest.approx(inside.mean(), abs=0.005)


def test_clipped_areas_at_once(rng):
    """Areas of many quadrilaterals, inside, outside, across edges and corners, are those of each alone and turned."""
    angles = np.sort(rng.uniform(0, 2 * np.pi, (300, 4)))
    x, y = (rng.uniform(-1, 2, (300, 1)) + 0.6 * part for part in (np.cos(angles), np.sin(angles)))
    limits = {"x_range": (0.2, 0.9), "y_range": (0.1, 1.0)}
    areas = clipped_area(x, y, **limits)
    assert areas.shape == (300,)
    assert 0.2 < (areas > 1e-12).mean() < 0.8
    alone = [clipped_area(*corners, **limits) for corners in zip(x, y, strict=True)]
    assert areas == pytest.approx(np.array(alone), abs=1e-15)
    turned = clipped_area(-y, x, x_range=(-1.0, -0.1), y_range=(0.2, 0.9))
    assert areas == pytest.approx(turned, abs=1e-12)
    assert clipped_area(np.zeros((0, 4)), np.zeros((0, 4)), **limits).shape == (0,)


def _scattered(rng: np.random.Generator, number: int) -> Table:
    """Tilted images of half a patch to two, around the patches; of each file two, in two bands in turn."""
    (x0, y0, *_), (*_, x1, y1) = box_of(PATCHES[0]), box_of(PATCHES[3])
    rows = []
    for count in range(number):
        angle, side = rng.uniform(0, 2 * np.pi), rng.uniform(400, 1600)
        corner = angle + np.pi / 2 * np.arange(4)
        x = rng.uniform(x0 - 800, x1 + 800) + side / np.sqrt(2) * np.cos(corner)
        y = rng.uniform(y0 - 800, y1 + 800) + side / np.sqrt(2) * np.sin(corner)
        ra, dec = TRACT.wcs.wcs_pix2world(x, y, 0)
        row = {"path": f"{count // 2}_st.fit", "hdu": 1 + count % 2, "exposure": count // 2, "detector": 1 + count % 2}
        row["band"] = ("vk", "vh")[count // 2 % 2]
        rows.append(row | {f"ra{k}": ra[k] for k in range(4)} | {f"dec{k}": dec[k] for k in range(4)})
    return Table(rows)


def test_overlaps_are_those_on_the_sphere(rng):
    """The pairs of images and patches are those whose polygons on the sphere intersect, in order, each once."""
    images = _scattered(rng, 60)
    overlaps = patch_overlaps(images, PATCHES)
    pairs = [(str(row["path"]), int(row["hdu"]), int(row["patch"])) for row in overlaps]
    wanted = {
        (str(row["path"]), int(row["hdu"]), patch.id)
        for row, corners in zip(images, image_corners(images), strict=True)
        for patch in PATCHES
        if sky_polygon(corners).intersects(patch.outer_polygon)
    }
    assert 60 < len(wanted) < 200
    assert set(pairs) == wanted
    assert len(pairs) == len(wanted)
    keys = [tuple(row) for row in overlaps["tract", "patch", "band", "exposure", "detector"]]
    assert keys == sorted(keys)
    of_file = {(str(row["path"]), int(row["hdu"])): tuple(row["exposure", "detector", "band"]) for row in images}
    assert all(tuple(row["exposure", "detector", "band"]) == of_file[row["path"], row["hdu"]] for row in overlaps)


def test_jobs_do_not_depend_on_the_order(rng):
    """Each job has the images of its patch and band, whatever the order of the overlaps and of the images."""
    images = _scattered(rng, 60)
    overlaps = patch_overlaps(images, PATCHES)
    jobs = vista_jobs(images[rng.permutation(len(images))], overlaps[rng.permutation(len(overlaps))], PATCHES)
    corners = dict(zip(zip(images["path"], images["hdu"], strict=True), image_corners(images), strict=True))
    assert len(jobs) == 8
    for job in jobs:
        patch = next(patch for patch in PATCHES if patch.id == job["patch"])
        here = overlaps[(overlaps["patch"] == patch.id) & (overlaps["band"] == job["band"])]
        assert job["n_images"] == len(here)
        assert job["coverage"] == covered_fraction(np.array([corners[row["path"], row["hdu"]] for row in here]), patch)
    assert [tuple(row) for row in jobs] == [tuple(row) for row in vista_jobs(images, overlaps, PATCHES)]


def test_overlaps_are_the_fractions_covered():
    """An image over a whole patch, and one over a quarter, give fractions 1 and 0.25; neighbours get their borders."""
    x0, y0, x1, y1 = box_of(PATCHES[0])
    images = Table([image(x0, y0, x1, y1), image(x0 - 99, y0 - 99, (x0 + x1) / 2, (y0 + y1) / 2, hdu=2, band="vk")])
    overlaps = patch_overlaps(images, PATCHES)
    found = {(row["patch"], row["band"]): row["overlap"] for row in overlaps}
    assert found[PATCHES[0].id, "vh"] == pytest.approx(1, abs=1e-9)
    assert found[PATCHES[0].id, "vk"] == pytest.approx(0.25, abs=1e-9)
    assert found[PATCHES[1].id, "vh"] == pytest.approx(100 / 900, abs=1e-9)
    assert found[PATCHES[3].id, "vh"] == pytest.approx((100 / 900) ** 2, abs=1e-9)
    assert len(overlaps) == 5
    assert overlaps.colnames == [name for name, *_ in OVERLAP_COLUMNS]


def test_patches_not_asked_for_are_left_out():
    """Patches that the survey does not list get no rows, and images far away touch none."""
    x0, y0, x1, y1 = box_of(PATCHES[0])
    images = Table([image(x0, y0, x1, y1), image(x0 - 9000, y0, x0 - 8000, y1, hdu=2)])
    assert set(patch_overlaps(images, PATCHES[:1])["patch"]) == {PATCHES[0].id}


def test_covered_fraction_counts_overlaps_once():
    """Two images over the same half of a patch cover a half, over different halves all of it, either way round."""
    x0, y0, x1, y1 = box_of(PATCHES[0])
    middle = (x0 + x1) / 2
    left, right = image(x0, y0, middle, y1), image(middle, y0, x1, y1)
    for rows, wanted in [([left, left], 0.5), ([left, right], 1.0)]:
        corners = image_corners(Table(rows))
        assert covered_fraction(corners, PATCHES[0]) == pytest.approx(wanted, abs=0.01)
        assert covered_fraction(corners[:, ::-1], PATCHES[0]) == covered_fraction(corners, PATCHES[0])


def test_jobs_count_images_and_area():
    """A job is a patch and band with images, how many, and what they cover together."""
    x0, y0, x1, y1 = box_of(PATCHES[0])
    middle = (x0 + x1) / 2
    images = Table(
        [image(x0, y0, middle, y1), image(x0, y0, x1, y1, hdu=2), image(x0, y0, middle, y1, hdu=3, band="vk")]
    )
    jobs = vista_jobs(images, patch_overlaps(images, PATCHES[:1]), PATCHES[:1])
    assert [tuple(row) for row in jobs["band", "source", "n_images"]] == [("vh", "vista", 2), ("vk", "vista", 1)]
    assert jobs["coverage"][0] == pytest.approx(1.0)
    assert jobs["coverage"][1] == pytest.approx(0.5, abs=0.01)
    assert jobs.colnames == [name for name, *_ in JOB_COLUMNS]


def test_coadds_are_counted_in_the_manifest(make_manifest):
    """Good coadds of wanted patches are jobs; bad, foreign and unwanted ones are not (failure 16)."""
    here = {"tract": 8524, "patch": PATCHES[0].id, "kind": "optical_coadd"}
    manifest = make_manifest(
        here | {"band": "g"},
        here | {"band": "r", "state": "quarantined"},
        here | {"band": "i", "patch": 0},
        here | {"band": "z", "kind": "optical_psf"},
        {"kind": "optical_coadd", "band": "y"},
    )
    jobs = coadd_jobs(manifest, "optical_coadd", "optical", PATCHES[:2])
    assert [(row["patch"], row["band"]) for row in jobs] == [
        (PATCHES[0].id, "g"),
        (PATCHES[0].id, "y"),
        (PATCHES[1].id, "y"),
    ]


def test_patches_without_both_halves_are_skipped(make_manifest):
    """A patch with VISTA images alone, or optical coadds alone, is skipped and says what it lacks."""
    survey = load_survey("sample")
    patches = survey_patches(survey)
    kinds = [("optical_coadd", "g", 0), ("vista_coadd", "vh", 0), ("optical_coadd", "g", 1), ("vista_coadd", "vh", 2)]
    manifest = make_manifest(
        *({"kind": kind, "band": band, "tract": 8524, "patch": patches[n].id} for kind, band, n in kinds)
    )
    tables = [coadd_jobs(manifest, f"{source}_coadd", source, patches) for source in ("vista", "optical")]
    jobs = Table(np.concatenate([table.as_array() for table in tables]))
    judged = judge_patches(jobs, patches, survey)
    assert list(judged["state"]) == ["job", "skipped", "skipped", "skipped"]
    assert list(judged["reason"]) == [
        "",
        "no VISTA images",
        "no optical coadds",
        "no VISTA images and no optical coadds",
    ]
    assert set(jobs_to_do(jobs, judged)["patch"]) == {patches[0].id}


def test_a_survey_of_one_half_needs_no_other():
    """Where a survey has no optical images, patches with VISTA images are jobs."""
    survey = load_survey("tests/real/video_h.yaml")
    patches = survey_patches(survey)
    jobs = Table(rows=[(8525, patches[0].id, "vh", "vista", 4, 0.5)], names=[name for name, *_ in JOB_COLUMNS])
    assert list(judge_patches(jobs, patches, survey)["state"]) == ["job", "skipped"]


def test_no_images_no_rows():
    """An empty inventory gives empty tables with all columns, and every patch is skipped with its reason."""
    images = Table([image(0, 0, 1, 1)])[:0]
    overlaps = patch_overlaps(images, PATCHES)
    jobs = vista_jobs(images, overlaps, PATCHES)
    assert (len(overlaps), len(jobs)) == (0, 0)
    judged = judge_patches(jobs, PATCHES, load_survey("sample"))
    assert set(judged["state"]) == {"skipped"}


def test_real_images_are_on_their_patches(realdata):
    """The four real H frames reach patches 41 and 42 of HSC tract 8525, and only parts of each."""
    paths = sorted((realdata / "vista_video_h").glob("image_*.fits"))
    images = read_stacks([StackFile(recorded=path.name, path=path) for path in paths])
    patches = survey_patches(load_survey("tests/real/video_h.yaml"))
    overlaps = patch_overlaps(images, patches)
    assert {(row["tract"], row["patch"]) for row in overlaps} == {(8525, 41), (8525, 42)}
    assert set(images["path"]) == set(overlaps["path"])
    jobs = vista_jobs(images, overlaps, patches)
    assert list(jobs["n_images"]) == [4, 4]
    assert np.all((jobs["coverage"] > 0.05) & (jobs["coverage"] < 0.95))


def test_border_beyond_the_tract_is_searched() -> None:
    """On LSST's cells the outer patches reach beyond their tract: an image over the far corner of one is found."""
    tract = CellsSkyMap().tract(9813)
    corner = tract.patch("0,0")
    x0, y0, x1, y1 = box_of(corner)
    assert x0 < -100
    images = []
    for hdu, shift in ((1, 0), (2, -90)):
        x, y = (
            np.array([x0 - 8, x0 + 20, x0 + 20, x0 - 8]) + shift,
            np.array([y0 - 9, y0 - 9, y0 + 40, y0 + 40]) + shift,
        )
        ra, dec = tract.wcs.wcs_pix2world(x, y, 0)
        row = {"path": "a_st.fit", "hdu": hdu, "exposure": 1, "detector": 1, "band": "vh"}
        images.append(row | {f"ra{k}": ra[k] for k in range(4)} | {f"dec{k}": dec[k] for k in range(4)})
    found = patch_overlaps(Table(images), [corner])
    assert list(found["hdu"]) == [1]
    assert found["overlap"][0] == pytest.approx(20 * 40 / ((x1 - x0) * (y1 - y0)), rel=1e-5)
