"""Visit images as inputs of a coadd: only the boxes that reach the patch are read, and they are enough."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import astropy.units as u
import numpy as np
import pytest
from lsst.images import Box, DetectorFrame, Image, MaskedImage, SkyProjection

import tests.scenes.exposures as scene
from dmu0.sky.skymap import make_sky_map
from dmu0.sky.tract import Patch, tangent_wcs
from dmu0.surveys import SkyMapConfig
from dmu4.butler.dataset_cache import empty_caches
from dmu4.coadds.correlated_noise import noise_kernel
from dmu4.coadds.inputs import open_input, pixels_of, shared_error, weight_of
from dmu4.coadds.planes import CoaddSettings
from dmu4.coadds.psf import psf_nodes
from dmu4.coadds.stack import make_coadd
from dmu4.coadds.visit_quality import UnusableInput, VisitNoise, VisitQuality
from obs_vista.masks import to_mask

SHAPE = (400, 360)
SETTINGS = CoaddSettings(threads=1, n_noise=1)
QUALITY = VisitQuality(0.8, VisitNoise(4.0, np.array([[0.0, 0.2, 0.0], [0.3, 1.0, 0.3], [0.0, 0.2, 0.0]])), 1.03)


@pytest.fixture(scope="module")
def patch() -> Patch:
    """A patch of 300 pixels, about 150 of a detector."""
    return make_sky_map(SkyMapConfig(name="small", patch_inner=280, patch_border=10)).tract(8524).patch("30,31")


class Handle:
    """A visit image in a Butler whose first pixel is not (0, 0); it remembers the boxes that were read."""

    def __init__(self, patch: Patch, *, x: float, y: float, unit: u.UnitBase = u.nJy) -> None:
        self.dataId = {"instrument": "VIRCAM", "visit": 7, "detector": 4, "physical_filter": "VIRCAM-H"}
        self.dataId["day_obs"] = 20121019
        box = Box.factory[20 : 20 + SHAPE[0], 30 : 30 + SHAPE[1]]
        centre = patch.tract.wcs.pixel_to_world(patch.outer_bbox.x.center, patch.outer_bbox.y.center)
        wcs = tangent_wcs(ra=centre.ra.deg, dec=centre.dec.deg, pixel_scale=0.3412, x=x, y=y)
        frame = DetectorFrame(instrument="VIRCAM", detector=4, visit=7, bbox=box)
        rng = np.random.default_rng(3)
        scale = (1 * u.nJy).to_value(unit)
        self.ref, self.image = (
            SimpleNamespace(id=object()),
            MaskedImage(
                Image((scale * rng.normal(5, 2, SHAPE)).astype(np.float32), bbox=box, unit=unit),
                mask=to_mask(np.where(rng.uniform(size=SHAPE) < 0.01, 2, 0), bbox=box),
                variance=Image(np.full(SHAPE, 4 * scale**2, np.float32), bbox=box, unit=unit**2),
            ),
        )
        projection = SkyProjection.from_fits_wcs(wcs, frame, pixel_bounds=box)
        self._parts, self.read = {"sky_projection": projection, "psf": scene.GaussianStar(2.3)}, []

    def get(self, *, component: str | None = None, parameters: dict[str, Box] | None = None) -> object:
        """One component, or a box of the image."""
        if component is not None:
            return self._parts[component]
        self.read.append(parameters["bbox"])
        return self.image[parameters["bbox"]]


def opened(handle: Handle, patch: Patch, **changes):
    """The handle as the coadd takes it."""
    return open_input(handle, patch, replace(QUALITY, **changes), weight=0.25, settings=SETTINGS, step=32)


def test_only_boxes_are_read(patch):
    """A detector whose corner reaches into the patch gives the corner, and the coadd is that of all its pixels."""
    handle = Handle(patch, x=40.0, y=70.0)
    one = opened(handle, patch)
    assert handle.read == []
    planes = make_coadd([one.source], patch.outer_bbox, cell=100, settings=SETTINGS)
    assert handle.read
    bbox = handle.image.bbox
    assert all(bbox.contains(area) for area in handle.read)
    assert sum(area.area for area in handle.read) < 0.5 * bbox.area

    def whole(area: Box) -> tuple[np.ndarray, ...]:
        part = area.slice_within(bbox)
        pixels = pixels_of(handle.image.image, handle.image.variance, handle.image.mask)
        return tuple(plane[part].copy() for plane in pixels)

    again = make_coadd([replace(one.source, read=whole)], patch.outer_bbox, cell=100, settings=SETTINGS)
    assert 0.2 < (planes.count > 0).mean() < 0.9
    np.testing.assert_array_equal(planes.planes, again.planes)
    np.testing.assert_array_equal(planes.mask, again.mask)


def test_what_an_input_carries(patch):
    """Seeing, noise kernel and correction come from the summary, names and the seed from the data id."""
    one = opened(Handle(patch, x=150.0, y=190.0), patch, seeing=1.1, zero_point_error=0.007, position_error=0.002)
    assert (one.zero_point_error, one.position_error) == (0.007, 0.002)
    assert (one.source.seeing, one.source.weight, one.psf_correction) == (1.1, 0.25, 1.03)
    np.testing.assert_array_equal(one.source.noise_kernel, noise_kernel(QUALITY.noise.correlation))
    assert (one.record.visit, one.record.detector, one.record.day_obs) == (7, 4, 20121019)
    assert one.source.seed == 7004


def test_another_patch_reads_nothing_again(patch):
    """Projection and PSF of an image are read for its first patch only, until the caches are emptied."""
    handle = Handle(patch, x=150.0, y=190.0)
    first = opened(handle, patch)
    parts, handle._parts = handle._parts, {}
    again = opened(handle, patch)
    np.testing.assert_array_equal(again.nodes, psf_nodes(parts["psf"], handle.image.bbox))
    np.testing.assert_array_equal(again.source.grid.u, first.source.grid.u)
    empty_caches()
    with pytest.raises(KeyError, match="sky_projection"):
        opened(handle, patch)


def test_an_image_elsewhere(patch):
    """An image whose edge does not reach the patch is left out without reading a pixel or its PSF."""
    handle = Handle(patch, x=-200.0, y=190.0)
    del handle._parts["psf"]
    with pytest.raises(UnusableInput, match="does not reach the patch"):
        opened(handle, patch)
    assert handle.read == []


def test_units(patch):
    """Microjansky become nanojansky; counts are refused."""
    micro = opened(Handle(patch, x=150.0, y=190.0, unit=u.uJy), patch).source
    nano = opened(Handle(patch, x=150.0, y=190.0), patch).source
    area = Box.factory[30:90, 40:120]
    for one, two in zip(micro.read(area), nano.read(area), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-6)
    image = Image(np.ones((3, 4), np.float32), unit=u.adu)
    with pytest.raises(UnusableInput, match="unit is adu"):
        pixels_of(image, image, to_mask(np.zeros((3, 4), np.int32), bbox=image.bbox))


def test_another_zero_point(patch):
    """A factor for the fluxes multiplies the image, and its square the variance; the mask stays."""
    same, brighter = (opened(Handle(patch, x=150.0, y=190.0), patch, flux_factor=one).source for one in (1.0, 1.07))
    area = Box.factory[30:90, 40:120]
    for one, two, factor in zip(same.read(area), brighter.read(area), (1.07, 1.07**2, 1), strict=True):
        np.testing.assert_allclose(two, factor * one, rtol=1e-6)


def test_weights():
    """Inverse variance, that over seeing squared, and one."""
    assert weight_of(4.0, 0.5, weighting="variance") == 0.25
    assert weight_of(4.0, 0.5, weighting="point_source") == 1.0
    assert weight_of(4.0, 0.5, weighting="uniform") == 1.0


def test_errors_by_the_same_stars_do_not_average_out():
    """Of inputs of weights 3 and 1 the errors of 0.01 and 0.03, which have the same stars, are averaged."""
    counts = np.zeros((1, 3, 2), int)
    counts[0, 0], counts[0, 1] = (50, 50), (0, 40)
    both, alone = 0.75 * 0.01 + 0.25 * 0.03, 0.03
    expected = np.sqrt((both**2 + alone**2) / 2)
    weights = np.array([3.0, 1.0])
    assert shared_error(counts, weights, np.array([0.01, 0.03])) == pytest.approx(expected, rel=1e-12)
    assert shared_error(np.zeros((1, 3, 2), int), np.ones(2), np.ones(2)) == 0
    assert shared_error(counts, weights, np.array([0.01, np.nan])) == pytest.approx(0.01, rel=1e-12)
