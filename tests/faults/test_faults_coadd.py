"""Old failures of coadds, made to happen: numbers as in the list of failures seen in earlier processing."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from lsst.images import Box, DetectorFrame, SkyProjection
from lsst.pipe.base import NoWorkFound

import tests.scenes.exposures as scene
from dmu0.published.coadds import read_hsc
from dmu0.sky.skymap import make_sky_map
from dmu0.sky.tract import Patch, tangent_wcs
from dmu0.surveys import SkyMapConfig
from dmu4.coadds.cell_coadd import InputRecord
from dmu4.coadds.inputs import OpenInput
from dmu4.coadds.planes import CoaddSettings
from dmu4.coadds.stack import make_coadd
from dmu4.coadds.visit_quality import UnusableInput, VisitNoise, accepted_quality, add_visit_noise
from dmu4.tasks.coadd_patch import CoaddPatchConfig, CoaddPatchTask
from obs_vista.masks import BIT, from_mask


@pytest.fixture(scope="module")
def patch() -> Patch:
    """A patch of 300 pixels."""
    return make_sky_map(SkyMapConfig(name="small", patch_inner=280, patch_border=10)).tract(8524).patch("30,31")


@pytest.fixture
def task() -> CoaddPatchTask:
    """The task with one thread."""
    config = CoaddPatchConfig()
    config.threads = 1
    return CoaddPatchTask(config=config)


def opened(image: scene.Exposure, visit: int) -> OpenInput:
    """An exposure as the task opens it."""
    record = InputRecord("VIRCAM", visit, 1, "VIRCAM-H", 20091103, Box.factory[0:9, 0:9].to_polygon())
    return OpenInput(image.source(), image.nodes(), record)


class Handle:
    """Stands for a visit image in a Butler that lies somewhere else on the sky."""

    def __init__(self, visit: int, detector: int, *, ra: float = 10.0) -> None:
        self.dataId, self.ref = {"visit": visit, "detector": detector}, SimpleNamespace(id=(visit, detector, ra))
        box = Box.factory[0:100, 0:100]
        frame = DetectorFrame(instrument="VIRCAM", detector=detector, visit=visit, bbox=box)
        wcs = tangent_wcs(ra=ra, dec=20.0, pixel_scale=0.34, x=50, y=50)
        self._parts = {"bbox": box, "sky_projection": SkyProjection.from_fits_wcs(wcs, frame, pixel_bounds=box)}

    def get(self, *, component: str) -> object:
        """One component."""
        return self._parts[component]


def summary(visit: int, detector: int, *, accepted: bool = True, because: str = "", seeing: float = 0.8) -> Table:
    """One row of a visit summary."""
    names = ("visit", "detector", "accepted", "rejected_because", "seeing", "aperture_correction")
    table = Table(rows=[(visit, detector, accepted, because, seeing, 1.02)], names=names)
    table["zero_point_err"], table["astrometric_error"] = 0.01, 0.001
    add_visit_noise(table, VisitNoise(4.0, np.ones((1, 1))))
    return table


@pytest.mark.parametrize("coverage", ["half", "corner", "hole"])
def test_7_partial_coverage_is_a_coadd(task, patch, coverage):
    """7: a patch covered by half, by a corner, or with a hole is coadded, and says where it has data."""
    offsets = {"half": (60.0, 0.0), "corner": (70.0, 70.0), "hole": (0.0, 0.0)}
    image = scene.Exposure(patch.outer_bbox, shape=(170, 170), offset=offsets[coverage], seed=1)
    image.mask[80:100, 80:100] = BIT["NO_DATA"]
    made = task.run([opened(image, 1)], patch, skymap="small", band="vh")
    none = (from_mask(made.coadd.mask) & BIT["NO_DATA"]) != 0
    assert 0.001 < none.mean() < 0.95
    np.testing.assert_array_equal(np.isnan(made.coadd.image.array), none)
    np.testing.assert_array_equal(made.exposures.array == 0, none)


def test_7_no_coverage_is_no_work(task, patch):
    """7: a patch that no image reaches is skipped, and the reason counts the images."""
    handles, tables = [Handle(1, 1), Handle(1, 2), Handle(2, 1)], [summary(1, 1), summary(1, 2), summary(2, 1)]
    with pytest.raises(NoWorkFound, match=r"none of 3 images can be used: 3 because it does not reach the patch"):
        task.open_inputs(handles, tables, patch)


def test_7_images_without_usable_pixels_are_no_work(task, patch):
    """7: images that touch the patch with bad pixels only make no coadd."""
    image = scene.Exposure(patch.outer_bbox, seed=1)
    image.mask[:] = BIT["BAD"]
    with pytest.raises(NoWorkFound, match="none has a usable pixel"):
        task.run([opened(image, 1)], patch, skymap="small", band="vh")


def test_15_every_image_left_out_has_its_reason(task, patch):
    """15, 32: rejected, unsummarised and seeingless detectors are each left out for a reason that is counted."""
    handles = [Handle(1, 1), Handle(1, 2), Handle(1, 3)]
    tables = [summary(1, 1, accepted=False, because="zero point"), summary(1, 3, seeing=np.nan)]
    with pytest.raises(NoWorkFound) as stopped:
        task.open_inputs(handles, tables, patch)
    for reason in (
        "1 because it was rejected (zero point)",
        "1 because it is in no visit summary",
        "seeing is unknown",
    ):
        assert reason in str(stopped.value)
    with pytest.raises(UnusableInput, match="no visit summary"):
        accepted_quality(None)


def test_19_files_without_a_streak_plane(tmp_path):
    """19: an HSC file that lacks planes, or has others, is read; the planes it lacks are empty."""
    image = np.ones((20, 20), np.float32)
    mask = fits.ImageHDU(np.full((20, 20), 2, np.int32))
    mask.header["MP_SAT"], mask.header["HIERARCH MP_SOMETHING_NEW"] = 1, 4
    primary = fits.PrimaryHDU()
    primary.header["FLUXMAG0"] = 1e9
    fits.HDUList([primary, fits.ImageHDU(image), mask, fits.ImageHDU(image)]).writeto(tmp_path / "old.fits")
    coadd = read_hsc(tmp_path / "old.fits")
    assert (coadd.mask == BIT["SAT"]).all()
    assert coadd.left_out == ("SOMETHING_NEW",)


@pytest.mark.parametrize("shape", [(220, 220), (213, 231), (240, 199)])
def test_21_images_of_any_size(patch, shape):
    """21: images whose size varies are coadded on the same pixels, each where it lies."""
    images = [scene.Exposure(patch.outer_bbox, seed=1), scene.Exposure(patch.outer_bbox, shape=shape, seed=2)]
    for image in images:
        image.image[:] = 3.0
    sources = [image.source() for image in images]
    planes = make_coadd(sources, patch.outer_bbox, cell=75, settings=CoaddSettings(n_noise=0))
    np.testing.assert_allclose(planes.image, 3.0 * scene.SCALE**2, rtol=1e-5)
    assert planes.count.max() == 2


def test_26_no_value_where_nobody_looked(patch):
    """26: outside all images there is no flux at all, not a repeated one."""
    image = scene.Exposure(patch.outer_bbox, shape=(100, 100), seed=1)
    planes = make_coadd([image.source()], patch.outer_bbox, cell=75, settings=CoaddSettings())
    outside = planes.count == 0
    assert outside.any()
    assert np.isnan(planes.planes[:, outside]).all()
    assert np.isinf(planes.variance[outside]).all()
    values = planes.image[~outside]
    assert len(np.unique(values)) > 0.99 * len(values)


def test_27_no_jump_between_patches():
    """27: a star in the overlap of two patches has the same pixels in both."""
    tract = make_sky_map(SkyMapConfig(name="small", patch_inner=280, patch_border=10)).tract(8524)
    boxes = [tract.patch(name).outer_bbox for name in ("30,31", "31,31")]
    both = Box.factory[boxes[0].y.start : boxes[0].y.stop, boxes[0].x.start : boxes[1].x.stop]
    star = (boxes[1].x.start + 10.0, both.y.center, 1e5)
    image = scene.Exposure(both, shape=(200, 330), stars=[star])
    overlap = []
    for box in boxes:
        source = image.source()
        replaced = type(source)(**{**source.__dict__, "grid": scene.coordinate_grid(box, image.map)})
        planes = make_coadd([replaced], box, cell=75, settings=CoaddSettings(n_noise=0))
        common = boxes[0].intersection(boxes[1]).slice_within(box)
        overlap.append(planes.image[common])
    np.testing.assert_array_equal(overlap[0], overlap[1])
    assert overlap[0].max() > 1000
