"""Geometry like the sample's at RA 0 h and near a pole: registry, outlines, references, duplicates, depths, figures."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib as mpl
import numpy as np
import pytest
from astropy.table import Table
from matplotlib import pyplot as plt

from dmu0.figures import draw_catalogues
from dmu0.sky.skymap import RingsSkyMap
from dmu0.sky.sphere import sky_area, tangent_offsets, tangent_positions
from dmu0.sky.tract import tangent_wcs
from dmu1 import figures as figures1
from dmu1.coverage import covered_fraction, image_corners, patch_overlaps
from dmu1.describe import describe_detector
from dmu1.sky_maps import band_maps
from dmu2 import figures as figures2
from dmu4.butler import sky_records
from dmu4.detectors.astrometry import Positions, match
from dmu4.detectors.reference_stars import around_detector
from dmu4.review.objects import duplicate_primaries
from dmu4.review.visits import plot_arrows, plot_maps
from dmu5.diagnostics import depth_at, offsets
from dmu5.figures import plot_depths, plot_sky
from dmu5.selection_function import depth_map
from tests.conftest import casu_headers

mpl.use("Agg")
FIELDS = [(34.5, -5.0), (359.95, -5.0), (0.0, 40.0), (120.0, -89.0), (10.0, -89.97)]
"""Where the sample is, across RA 0, and at and over the south pole."""


@pytest.fixture(params=FIELDS, ids=[f"RA {ra}, Dec {dec}" for ra, dec in FIELDS])
def field(request: pytest.FixtureRequest) -> tuple[float, float]:
    """Centre of a field, deg."""
    return request.param


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    """Leaves no figure open."""
    yield
    plt.close("all")


def at(field: tuple[float, float], east: np.ndarray, north: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions of offsets in degrees from the centre."""
    return tangent_positions(np.asarray(east, float), np.asarray(north, float), centre=field)


def visit(field: tuple[float, float], number: int = 1, band: str = "vh") -> Table:
    """Two detectors of 0.2 deg, 0.2 deg on either side of the centre."""
    rows = []
    for detector, middle in enumerate((-0.2, 0.2), start=1):
        ra, dec = at(field, middle + np.array([0.1, -0.1, -0.1, 0.1, 0]), np.array([-0.1, -0.1, 0.1, 0.1, 0]))
        row = {
            "visit": number,
            "exposure": number,
            "detector": detector,
            "band": band,
            "hdu": detector,
            "path": "v.fit",
        }
        row |= {
            "physical_filter": "VIRCAM-H",
            "mjd": 55139.0,
            "accepted": True,
            "status": "calibrated",
            "exptime": 10.0,
            "ndit": 6,
            "nicomb": 7,
            "state": "ok",
        }
        row |= {f"ra{k}": ra[k] for k in range(4)} | {f"dec{k}": dec[k] for k in range(4)}
        row |= {"ra": ra[4], "dec": dec[4], "seeing": 0.8 + 0.1 * detector, "nx": 2000, "ny": 2000, "pixel_scale": 0.34}
        rows.append(row)
    return Table(rows=rows)


def stars(field: tuple[float, float], rng: np.random.Generator, count: int = 2000) -> Table:
    """Objects all over 0.1 x 0.08 deg."""
    ra, dec = at(field, rng.uniform(-0.05, 0.05, count), rng.uniform(-0.04, 0.04, count))
    table = Table({"coord_ra": ra, "coord_dec": dec, "vh_depth5": np.full(count, 24.0)})
    table["vh_usable"], table["vh_psfFlux"], table["patch"] = True, rng.uniform(100, 1000, count), 1
    table["detect_isPrimary"] = True
    return table


def test_pointing_of_a_visit(field):
    """The registry has the middle of the detectors as the pointing, and the hull of their corners as the region."""
    records = sky_records.visit_records(visit(field), "test")
    (exposure,), (whole,) = records["exposure"], records["visit"]
    east, north = at(field, 0.0, 0.0)
    found = exposure["tracking_ra"], exposure["tracking_dec"]
    assert sky_area(np.array([found[0], east]), np.array([found[1], north])) < 1e-8
    area = whole["region"].getBoundingCircle().getOpeningAngle().asDegrees()
    assert area == pytest.approx(np.hypot(0.3, 0.1), rel=0.01)


def test_maps_of_visits(field):
    """Detectors are drawn where they are: outlines of 12 arcmin, 24 arcmin apart."""
    table = visit(field)
    figure = plot_maps(table, "seeing")
    outlines = [path.vertices[:4] for item in figure.axes[0].collections for path in item.get_paths()][:2]
    assert np.ptp(np.array(outlines)[..., 0]) == pytest.approx(36, rel=0.01)
    assert np.ptp(np.array(outlines)[..., 1]) == pytest.approx(12, rel=0.01)


def test_arrows_of_a_visit(field, rng):
    """Stars are within some arcmin of the middle of their map."""
    table = stars(field, rng, 50)
    table["astrometry_used"] = True
    for name in ("east", "north", "east_before", "north_before"):
        table[name] = rng.normal(0, 20, 50)
    drawn = plot_arrows(table).axes[0].collections[0]
    assert np.abs(drawn.get_offsets()).max() < 3.1


def test_inventory_of_a_header(field):
    """Centre, corners and pixel scale of a detector are those of its projection."""
    primary, extension = casu_headers(1)
    header = dict(primary) | dict(extension) | {"NAXIS1": 600, "NAXIS2": 500, "ESO DET EXP NO": 3, "FILTER": "H"}
    header |= {"CRVAL1": field[0], "CRVAL2": field[1], "CRPIX1": 250.0, "CRPIX2": 300.0, "ESO DET NDIT": 6}
    row = describe_detector(header, detector=1)
    assert row["pixel_scale"] == pytest.approx(9.484e-5 * 3600, rel=1e-3)
    corners = [np.array([row[f"{axis}{k}"] for k in range(4)]) for axis in ("ra", "dec")]
    x, y = tangent_offsets(*corners, centre=(row["ra"], row["dec"]))
    area = abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) / 2
    assert area == pytest.approx(600 * 500 * 9.484e-5**2, rel=1e-3)


def test_patches_under_images(field):
    """The patches of a tract are found under images, and their covered fraction is right."""
    sky_map = RingsSkyMap(name="test", patch_inner=800, patch_border=50)
    tract = sky_map.find_tract(*field)
    x, y = tract.wcs.all_world2pix(*field, 0)
    column, row = int(x // 800), int(y // 800)
    patch = tract.patch((min(column, tract.num_patches[0] - 1), min(row, tract.num_patches[1] - 1)))
    centre = float(patch.center.ra.deg), float(patch.center.dec.deg)
    images = visit(centre)
    images["ra"], images["dec"] = 0.0, 0.0
    for k, (dx, dy) in enumerate(((0.1, -0.1), (-0.1, -0.1), (-0.1, 0.1), (0.1, 0.1))):
        images[f"ra{k}"], images[f"dec{k}"] = at(centre, [dx, dx + 0.01], [dy, dy])
    overlaps = patch_overlaps(images, [patch])
    assert set(overlaps["patch"]) == {patch.id}
    assert np.asarray(overlaps["overlap"]) == pytest.approx(1, abs=1e-6)
    assert covered_fraction(image_corners(images), patch) == 1
    maps = band_maps(images, np.full(2, 22.0), nside=4096)
    assert maps.exposures.get_values_pos(*centre, lonlat=True) == 2


def test_references_of_a_detector(field, rng):
    """All stars on a detector are taken from a shard, none from beyond its margin, and they match."""
    wcs = tangent_wcs(ra=field[0], dec=field[1], pixel_scale=0.34, x=250, y=200)
    ra, dec = at(field, rng.uniform(-0.1, 0.1, 4000), rng.uniform(-0.1, 0.1, 4000))
    shard = Table({"id": np.arange(4000), "coord_ra": np.radians(ra), "coord_dec": np.radians(dec)})
    for name in ("pm_ra", "pm_dec", "pm_ra_err", "pm_dec_err", "coord_ra_err", "coord_dec_err"):
        shard[name] = np.full(4000, 1e-10)
    shard["epoch"] = 55000.0
    found = around_detector([shard], band="vh", mjd=55000.0, wcs=wcs, shape=(400, 500))
    x, y = wcs.all_world2pix(ra, dec, 0)
    inside = (x > -10) & (x < 509) & (y > -10) & (y < 409)
    assert set(np.flatnonzero(inside)) <= set(found.id)
    wide = (x > -40) & (x < 539) & (y > -40) & (y < 439)
    assert set(found.id) <= set(np.flatnonzero(wide))
    star, reference, _ = match(
        wcs,
        x=x[inside] + 2.0,
        y=y[inside] - 1.0,
        brightness=np.arange(inside.sum()),
        references=Positions(found.positions.ra, found.positions.dec, found.positions.error),
    )
    assert len(star) > 0.95 * inside.sum()
    assert np.mean(found.id[reference] == np.flatnonzero(inside)[star]) > 0.98


def test_duplicates_and_depths(field, rng):
    """Neighbours are found, and the depth of an object next to a position is its depth."""
    ra, dec = at(field, [-3e-5, 3e-5, 0.01], [0, 0, 0])
    pair = Table({"coord_ra": ra, "coord_dec": dec, "detect_isPrimary": [True] * 3, "patch": [1, 2, 1]})
    assert duplicate_primaries(pair, radius=0.5) == 1
    assert duplicate_primaries(pair, radius=0.2) == 0
    objects = stars(field, rng)
    beside = at(field, [0.0, 0.2], [0.0, 0.0])
    depths = depth_at(objects, *beside, ["vh"], radius=60)["vh"]
    assert depths[0] == pytest.approx(10 ** (0.4 * (31.4 - 24)))
    assert np.isinf(depths[1])


def test_offsets_from_a_truth(field, rng):
    """Median offsets of a catalogue that was moved by 30 mas east and -20 mas north."""
    east, north = rng.uniform(-0.03, 0.03, (2, 200))
    true, moved = at(field, east, north), at(field, east + 30 / 3.6e6, north - 20 / 3.6e6)
    truth = Table({"ra": true[0], "dec": true[1], "pm_ra": np.zeros(200), "pm_dec": np.zeros(200)})
    found = offsets(truth, Table({"coord_ra": moved[0], "coord_dec": moved[1]}))
    assert len(found) == 200
    assert found.radial == pytest.approx(np.hypot(30, 20), rel=0.01)
    if abs(field[1]) < 80:
        assert found.bias == pytest.approx((30, -20), abs=0.5)


def test_depth_maps_are_filled(field, rng):
    """A map of 24 x 24 cells has a depth in nearly all of them, and edges as far apart as the objects."""
    depth, extent = depth_map(stars(field, rng), "vh")
    assert np.isfinite(depth).mean() > 0.95
    stretch = 1 if abs(field[1]) > 80 else np.cos(np.radians(field[1]))
    assert (extent[1] - extent[0]) * stretch == pytest.approx(0.1, rel=0.02)
    assert extent[3] - extent[2] == pytest.approx(0.08, rel=0.02)


def test_figures_show_the_field_and_no_more(field, rng):
    """Axes are as wide as the field, east to the left, true to angle, with right ascensions of 0 to 360 deg."""
    objects = stars(field, rng)
    merged = Table({"ra": objects["coord_ra"], "dec": objects["coord_dec"], "position_from": ["gaia"] * len(objects)})
    axis = plt.subplots()[1]
    draw_catalogues(axis, {"gaia": (np.asarray(merged["ra"]), np.asarray(merged["dec"]))})
    images = visit(field)
    drawn = {
        0.1: [axis, figures2.plot_sky(merged).axes[0], plot_sky(objects, "vh").axes[0]],
        0.6: [figures1.plot_images(images, "seeing").axes[0]],
    }
    for width, axes in drawn.items():
        for panel in axes:
            left, right = panel.get_xlim()
            bottom, top = panel.get_ylim()
            panel.figure.canvas.draw()
            aspect = float(panel.get_aspect())
            assert left > right
            assert (left - right) / aspect == pytest.approx(width, rel=0.15)
            assert top - bottom < 0.25
            if aspect != 1:
                labels = [label.get_text() for label in panel.get_xticklabels()]
                assert all(0 <= float(label) < 360 for label in labels if label)
    assert len(plot_depths(objects, ["vh"]).axes) >= 1
