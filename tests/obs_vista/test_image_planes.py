"""Images with more than two axes: planes where the others have length one, and clear refusals otherwise."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from lsst.images import Box

from dmu0.files.integrity import check_file
from dmu0.published.coadds import OpticalError, PlainFile, read_geometry, read_plain
from dmu0.surveys.first_look import NotAnImageError, look_at
from dmu1.inventory import StackFile, read_stack
from dmu3.inputs import read_detector
from obs_vista.image_planes import image_axes, is_plane, plane_pixels, plane_shape
from tests.scenes.mosaics import cards_of

SHAPE = (70, 93)
CARDS = {
    "EXTNAME": "DET1.CHIP1", "ESO DET CHIP NO": 1, "ESO DET EXP NO": 7, "EXPTIME": 10.0, "NICOMB": 7, "FILTER": "H",
    "SEEING": 2.2, "ELLIPTIC": 0.05, "MAGZPT": 23.87, "MAGZRR": 0.01, "SKYLEVEL": 8382.5, "SKYNOISE": 8.8,
    "MJD-OBS": 56195.3, "ESO DET NDIT": 6, "ESO DET DIT": 10.0,
}  # fmt: skip


def write(path, pixels, *, leading: tuple[int, ...], form: str, **cards):
    """Write an image with some axes before its rows and columns, as primary, as extension, or compressed."""
    header = cards_of(scale=0.339, angle=5.0, shape=SHAPE)
    for key, value in cards.items():
        header[f"HIERARCH {key}" if " " in key else key] = value
    for axis in range(3, 3 + len(leading)):
        header.update({f"CTYPE{axis}": "STOKES", f"CRVAL{axis}": 1.0, f"CRPIX{axis}": 1.0})
        header[f"CD{axis}_{axis}"] = 1.0
    cube = np.broadcast_to(pixels, (*leading, *SHAPE)).astype("f4")
    if form == "primary":
        hdus = [fits.PrimaryHDU(cube, header)]
    elif form == "extension":
        hdus = [fits.PrimaryHDU(), fits.ImageHDU(cube, header)]
    else:
        hdus = [fits.PrimaryHDU(), fits.CompImageHDU(cube, header, compression_type="RICE_1", quantize_level=1e4)]
    fits.HDUList(hdus).writeto(path, output_verify="silentfix")
    return path


@pytest.mark.parametrize("form", ["primary", "extension", "compressed"])
@pytest.mark.parametrize("leading", [(1,), (1, 1)])
def test_axes_of_length_one_are_left_out(tmp_path, rng, leading, form):
    """An image of one plane is that plane for the check, the first look and the reader, as are its maps."""
    pixels = rng.normal(3, 1, SHAPE)
    path = write(tmp_path / "one.fits", pixels, leading=leading, form=form, MAGZERO=31.4)
    flat = write(tmp_path / "two.fits", pixels, leading=(), form="primary", MAGZERO=31.4)
    weight = write(tmp_path / "w.fits", np.linspace(0.5, 1, SHAPE[1]), leading=leading, form="primary")
    assert check_file(path, "optical_coadd") == ""
    assert check_file(weight, "coadd_weight") == ""
    assert look_at(path).shape == read_geometry(path)[1] == SHAPE
    wcs, true = read_geometry(path)[0], read_geometry(flat)[0]
    np.testing.assert_allclose(wcs.all_pix2world(12, 60, 0), true.all_pix2world(12, 60, 0), atol=1e-9)
    for box in (None, Box.factory[11:40, 5:80]):
        read = read_plain(path, file=PlainFile(path, weight=weight), box=box)
        same = read_plain(flat, file=PlainFile(flat, weight=weight), box=box)
        np.testing.assert_allclose(read.image, same.image, atol=1e-3)
        np.testing.assert_allclose(read.variance, same.variance, rtol=1e-2)
    with fits.open(path) as hdus:
        (hdu,) = (hdu for hdu in hdus if is_plane(hdu))
        assert image_axes(hdu.header)[:2] == SHAPE[::-1]
        assert plane_shape(hdu) == SHAPE
        np.testing.assert_array_equal(plane_pixels(hdu, slice(3, 9), slice(2, 50)), plane_pixels(hdu)[3:9, 2:50])


@pytest.mark.parametrize("form", ["extension", "compressed"])
def test_stacks_of_one_plane(tmp_path, rng, form):
    """A detector with a third axis of length one has its row in the inventory, and its pixels in the baseline."""
    pixels = rng.normal(0, 8.8, SHAPE)
    path = write(tmp_path / "s.fit", pixels, leading=(1,), form=form, **CARDS)
    assert check_file(path, "vista_stack") == ""
    (row,) = read_stack(StackFile(path.name, path))
    assert row.get("reason", "") == ""
    assert (row["state"], row["nx"], row["ny"]) == ("ok", SHAPE[1], SHAPE[0])
    read = read_detector(path, row["hdu"], "vh", confidence=None)
    np.testing.assert_allclose(read.image / read.nanojansky, pixels, atol=0.05)


@pytest.mark.parametrize("leading", [(3,), (1, 2), (2, 1)])
def test_cubes_are_refused(tmp_path, rng, leading):
    """Of several planes none is chosen: each reader says the size, and what to do, with the name of the file."""
    path = write(tmp_path / "cube.fits", rng.normal(size=SHAPE), leading=leading, form="primary", MAGZERO=31.4)
    sides = " x ".join(map(str, (*SHAPE[::-1], *leading[::-1])))
    assert f"HDU 0 is {sides}" in check_file(path, "optical_coadd")
    with pytest.raises(OpticalError, match=rf"cube\.fits: .*HDU 0 is {sides}.*write that plane"):
        read_plain(path)
    with pytest.raises(NotAnImageError, match=sides):
        look_at(path)
