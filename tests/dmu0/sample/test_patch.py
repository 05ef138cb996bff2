"""The full-size patch: its sky as a whole, its tile of pawprints, and a small version of its files."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits

from dmu0.files.manifest import check_inputs
from dmu0.files.paths import DataFolders
from dmu0.sample import make, vista_files
from dmu0.sample.densities import densities
from dmu0.sample.scene import VISTA_PIXEL, Scene
from dmu0.sample.sky import make_sky
from dmu0.sample.visits import plan_visits, pointings
from dmu0.sample.vista_geometry import detector_offset, reaches, stack_wcs
from dmu0.sample.vista_pixels import empty_stack, make_stack
from dmu0.surveys import Inputs, load_survey
from dmu0.truth import read_detector_truth, read_truth

CENTRE = SkyCoord(35.7 * u.deg, -5.2 * u.deg)
SMALL = {"detector_pixels": 96.0, "detector_pitch": 137.0, "detector_pitch_y": 182.0, "tile_east": -68.0} | {
    "tile_north": 5.0, "sky_waves": 2.0, "cluster_members": 20.0, "cluster_radius": 0.5, "reach": 3.0,
}  # fmt: skip
"""Detectors of the patch, a twentieth of their size, with the same gaps; the patch's east is at the tile's end."""


@pytest.fixture(scope="module")
def survey():
    """The survey as it comes with the project."""
    return load_survey("patch")


@pytest.fixture(scope="module")
def scene(survey):
    """Its scene."""
    return Scene.from_changes(survey.inputs.scene)


@pytest.fixture(scope="module")
def sky(survey, scene):
    """All its sources, around an other centre than theirs."""
    half = make.half_width(survey, scene)
    return make_sky(scene, CENTRE, half=half, seed=5, patches=make.patches_half(survey))


def _offsets(sky) -> tuple[np.ndarray, np.ndarray]:
    """East and north of the centre, arcsec."""
    position = SkyCoord(sky["ra"], sky["dec"]).transform_to(CENTRE.skyoffset_frame())
    return position.lon.arcsec, position.lat.arcsec


def _magnitudes(sky) -> np.ndarray:
    return 31.4 - 2.5 * np.log10(np.array(sky["flux_i"]))


def test_patch_is_full_size(survey, scene) -> None:
    """One patch of 4200 px of 0.168 arcsec; detectors of 2048 px with the gaps of VIRCAM, 42.5 and 90 per cent."""
    assert make.patches_half(survey) == pytest.approx(0.5 * 4200 * 0.168)
    assert [list(patches) for patches in survey.tracts.values()] == [["4,4"]]
    assert scene.detector_pixels == 2048
    np.testing.assert_allclose(np.array(scene.pitch) / 2048, [1.425, 1.9], atol=2e-3)
    assert len(survey.bands) == 10


def test_sources_on_the_patch(survey, sky) -> None:
    """About 48,000 sources to i = 27, half of them fainter than i = 26; a few hundred stars, as far from the Galaxy."""
    half = make.patches_half(survey)
    east, north = _offsets(sky)
    on_patch = (np.abs(east) < half) & (np.abs(north) < half)
    i, star = _magnitudes(sky), np.array(sky["type"]) == "star"
    assert on_patch.sum() == pytest.approx(48_000, rel=0.03)
    assert (on_patch & (i > 26)).sum() > 0.4 * on_patch.sum()
    assert i.max() < 27 + 1e-6
    assert 500 < (on_patch & star).sum() < 900


def test_outskirts_have_bright_galaxies_only(survey, scene, sky) -> None:
    """More than 30 arcsec from the patch there are galaxies as dense as on it, but none fainter than the limit."""
    edge = make.patches_half(survey) + 30
    east, north = _offsets(sky)
    outside = np.maximum(np.abs(east), np.abs(north)) > edge + 4
    galaxy, i = np.array(sky["type"]) == "galaxy", _magnitudes(sky)
    assert i[outside & galaxy].max() <= scene.outskirts_faint
    bright = galaxy & (i < scene.outskirts_faint)
    area = 4 * make.half_width(survey, scene) ** 2
    inside = np.maximum(np.abs(east), np.abs(north)) < edge
    inner, outer = (bright & inside).sum() / (4 * edge**2), (bright & outside).sum() / (area - 4 * (edge + 4) ** 2)
    assert outer / inner == pytest.approx(1, abs=0.06)  # clusters add 4 % inside


def test_companions_move_with_their_stars(scene, sky) -> None:
    """A tenth of the stars have a fainter companion within 3 arcsec, with the same proper motion."""
    stars = sky[np.array(sky["type"]) == "star"]
    motion, which, count = np.unique(np.array(stars["pm_ra"]), return_inverse=True, return_counts=True)
    double = np.flatnonzero(count == 2)
    assert len(double) / len(motion) == pytest.approx(scene.star_paired, abs=0.02)
    pairs = np.array([np.flatnonzero(which == k) for k in double])
    position = SkyCoord(stars["ra"], stars["dec"])
    distance = position[pairs[:, 0]].separation(position[pairs[:, 1]]).arcsec
    assert 0.39 < distance.min() < 0.6
    assert 2.8 < distance.max() < 3.01
    i = _magnitudes(stars)
    assert np.all(i[pairs[:, 1]] >= i[pairs[:, 0]] - 1e-9)
    np.testing.assert_array_equal(stars["pm_dec"][pairs[:, 0]], stars["pm_dec"][pairs[:, 1]])


def test_clusters_are_dense_and_at_one_redshift(survey, scene, sky) -> None:
    """The galaxies of a cluster have one redshift, and half of them are within 1.42 core radii of its centre."""
    members = sky[-int(scene.clusters * scene.cluster_members) :]
    east, north = _offsets(members)
    radii = []
    for k in range(int(scene.clusters)):
        own = slice(k * int(scene.cluster_members), (k + 1) * int(scene.cluster_members))
        z = np.array(members["redshift"][own])
        assert np.std(z) < 0.005
        distance = np.hypot(east[own] - np.median(east[own]), north[own] - np.median(north[own]))
        radii.append(np.median(distance) / scene.cluster_radius)
        assert np.abs(east[own]).max() < 0.85 * make.patches_half(survey) + 7 * scene.cluster_radius
    # A fraction 1 - (1 + r^2)^(-1/2) is within r, cut where it is 0.85: half of that is within 1.42.
    assert np.mean(radii) == pytest.approx(1.42, rel=0.15)


def _coverage(scene: Scene, east: np.ndarray, north: np.ndarray) -> np.ndarray:
    """Number of pawprints of one band whose detectors contain points (arcsec), on a plane."""
    count = np.zeros(np.broadcast(east, north).shape, int)
    for step in pointings(scene):
        for detector in range(1, 17):
            x, y = (np.array(detector_offset(detector, scene)) * VISTA_PIXEL).tolist()
            half = 0.5 * scene.detector_pixels * VISTA_PIXEL
            count += (np.abs(east - step[0] * scene.dither - x) < half) & (
                np.abs(north - step[1] * scene.dither - y) < half
            )
    return count


def test_tile_covers_everything_twice(scene) -> None:
    """Six pawprints see the whole interior of a tile twice or more, and once where only the first or last one is."""
    side = scene.detector_pixels * VISTA_PIXEL
    assert len(set(pointings(scene))) == 6
    end = (1.5 * scene.detector_pitch + 0.5 * scene.detector_pixels) * VISTA_PIXEL
    north = scene.tile_north + np.linspace(-2500, 2500, 301)[:, np.newaxis]
    inner = _coverage(scene, scene.tile_east + np.linspace(-end + 1, end - 1, 401), north)
    assert inner.min() == 2
    assert inner.max() == 6
    strip = _coverage(scene, scene.tile_east + np.linspace(end + 1, end + 0.475 * side - 1, 20), north)
    assert set(np.unique(strip)) == {1, 2}
    assert np.mean(strip == 1) > 0.9


def test_patch_has_one_to_six_inputs(survey, scene) -> None:
    """The end of the tile crosses the patch: a seventh of it is seen once, most of it twice, some of it six times."""
    grid = np.linspace(-1, 1, 201) * make.patches_half(survey)
    count = _coverage(scene, grid, grid[:, np.newaxis])
    assert count.min() == 1
    assert count.max() == 6
    assert 0.1 < np.mean(count == 1) < 0.2


def test_detectors_that_reach_a_square(scene) -> None:
    """Detectors are found whose edges are inside the square on the sky by a few pixels, on each of its four sides."""
    visit = plan_visits(scene, ("vj",), CENTRE, seed=3)[0]
    wcs = stack_wcs(visit, CENTRE, 6, scene)
    ny, nx = wcs.array_shape
    corners = wcs.all_pix2world([[0, 0], [nx - 1, ny - 1]], 0)
    position = SkyCoord(*corners.T, unit="deg").transform_to(CENTRE.skyoffset_frame())
    low, high = (np.array([p.lon.arcsec, p.lat.arcsec]) for p in position)
    low, high = np.minimum(low, high), np.maximum(low, high)
    # Of the two axes, the one along which the detector is farther from the centre decides.
    gap = np.maximum(low, -high).max()
    assert gap > 100
    assert reaches(wcs, CENTRE, gap + 5)
    assert not reaches(wcs, CENTRE, gap - 5)


def test_empty_detector_has_the_noise_of_a_full_one(scene) -> None:
    """An empty detector has the zero point and size of one with sources, and its noise to 20 %."""
    small = Scene.from_changes(SMALL | {"detector_pixels": 300.0, "sky_residual": 0.05, "galaxy_density": 1.0})
    visit = plan_visits(small, ("vh",), CENTRE, seed=3)[1]
    sky = make_sky(small, CENTRE, half=60, seed=3)
    empty = empty_stack(visit, CENTRE, 2, small, seed=3)
    full = make_stack(visit, sky, CENTRE, 2, small, seed=3)
    assert empty.zero_point == full.zero_point
    assert empty.image.shape == full.image.shape
    assert np.std(empty.image) == pytest.approx(empty.sky_noise, rel=0.02)
    assert empty.sky_noise / full.sky_noise == pytest.approx(1, abs=0.2)
    np.testing.assert_array_equal(empty.true_wcs.wcs.crpix, full.true_wcs.wcs.crpix)
    assert empty.stars == 0


@pytest.fixture(scope="module")
def small(survey, tmp_path_factory):
    """A patch of 300 px with small detectors, made in a folder of its own: the survey, and its files."""
    folder = tmp_path_factory.mktemp("patch")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dmu0.surveys.keys.DataFolders", lambda name: DataFolders(name, root=folder))
        patch.setattr(vista_files, "DETECTORS", (5, 6, 8, 10, 12))
        tiny = survey.model_copy(
            update={
                "inputs": Inputs(source="simulate", seed=3, scene=survey.inputs.scene | SMALL),
                "vista": survey.vista.model_copy(update={"bands": ("vj",)}),
                "optical": (survey.optical[0].model_copy(update={"bands": ("i",)}),),
                "sky_map": survey.sky_map.model_copy(update={"patch_inner": 260, "patch_border": 20}),
                "tracts": {8524: ("65,65",)},
            }
        )
        yield tiny, make.make_sample(tiny, progress=False)


def test_small_version_is_complete(small) -> None:
    """Six pawprints and the aborted one are there, whole, and pass every check of the inputs."""
    survey, files = small
    assert sum(name.endswith("_st.fit") for name in files) == 7
    states = check_inputs(survey)
    assert set(states["state"]) == {"ok"}, states["path", "state", "reason"]


def test_small_version_has_the_densities_of_its_scene(small) -> None:
    """Galaxies have the density that the settings give, clusters included."""
    survey, _ = small
    found, wanted = densities(survey, read_truth(survey))["galaxies"]
    assert found / wanted == pytest.approx(1, abs=0.15)
    assert wanted == pytest.approx(338 + 80 / 0.7056, rel=1e-3)


def test_only_detectors_on_the_patch_have_sources(small) -> None:
    """Detectors that reach the patch have stars and defects; the others are as large, with whole confidence maps."""
    survey, _ = small
    centre, scene = make.field_centre(survey), Scene.from_changes(survey.inputs.scene)
    visits = plan_visits(scene, ("vj",), centre, seed=survey.inputs.seed)
    near = make.patches_half(survey) + scene.reach
    found = []
    for visit in visits:
        with fits.open(survey.folders[0] / "vista" / f"{visit.name}_conf.fit") as hdus:
            for hdu in hdus[1:]:
                detector = hdu.header["ESO DET CHIP NO"]
                full = reaches(stack_wcs(visit, centre, detector, scene), centre, near)
                assert (hdu.data.min() == 100) == (not full)
                assert hdu.data.shape == (96 + 2 * visit.margin,) * 2
                found.append(full)
    assert 0.1 < np.mean(found) < 0.7
    assert len(read_detector_truth(survey)) == len(found)
