"""The task that coadds detectors: what the mask says of bright stars, and that nothing else changes with it."""

from __future__ import annotations

import numpy as np
from lsst.images import Box

import tests.scenes.exposures as scene
from dmu0.sky.skymap import make_sky_map
from dmu0.surveys import SkyMapConfig
from dmu2.bright_stars import BrightStars
from dmu4.coadds.cell_coadd import InputRecord, pixel_scale
from dmu4.coadds.inputs import OpenInput
from dmu4.patches.cube import FLAG_BIT
from dmu4.patches.filling import good_pixels
from dmu4.tasks.coadd_patch import CoaddPatchConfig, CoaddPatchTask
from obs_vista.masks import BIT, from_mask


def test_halos_are_marked_and_used_as_other_pixels() -> None:
    """Image, variance, noise, PSFs, counts and all other planes are the same; the pixels count as good."""
    patch = make_sky_map(SkyMapConfig(name="small", patch_inner=280, patch_border=10)).tract(8524).patch("30,31")
    image = scene.Exposure(patch.outer_bbox, shape=(220, 150), seed=1, fwhm=2.2)
    record = InputRecord("VIRCAM", 1, 1, "VIRCAM-H", 20091103, Box.factory[0:9, 0:9].to_polygon())
    opened = [OpenInput(image.source(), image.nodes(), record)]
    sky = patch.wcs.pixel_to_world([120.0, -15.0], [200.0, 60.0])  # the second one is beside the patch
    stars = BrightStars(sky.ra.deg, sky.dec.deg, np.array([40.5, 20.5]) * pixel_scale(patch))
    task, names = CoaddPatchTask(config=CoaddPatchConfig()), {"skymap": "small", "band": "vh"}
    without, made = (task.run(opened, patch, **names, stars=one) for one in (None, stars))
    for name in ("image", "variance"):
        np.testing.assert_array_equal(getattr(made.coadd, name).array, getattr(without.coadd, name).array)
    for one, other in zip(made.coadd.noise_realizations, without.coadd.noise_realizations, strict=True):
        np.testing.assert_array_equal(one.array, other.array)
    np.testing.assert_array_equal(made.exposures.array, without.exposures.array)
    mask, before = from_mask(made.coadd.mask), from_mask(without.coadd.mask)
    halo = mask & BIT["BRIGHT_OBJECT"] != 0
    np.testing.assert_array_equal(mask & ~BIT["BRIGHT_OBJECT"], before)
    rows, columns = np.nonzero(halo & (np.arange(300) > 30))
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (80, 160, 160, 240)
    rows, columns = np.nonzero(halo & (np.arange(300) <= 30))
    assert (columns.min(), columns.max()) == (0, 5)
    assert rows.min() + rows.max() == 120
    good = [good_pixels(made.coadd.image.array, made.coadd.variance.array, bits) for bits in (mask, before)]
    np.testing.assert_array_equal(*good)
    assert (good[0] & halo).any()
    assert set(FLAG_BIT) == {"SAT", "INEXACT_PSF"}
