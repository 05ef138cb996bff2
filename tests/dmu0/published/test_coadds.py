"""Published coadds: HSC's with any set of mask planes, plain FITS, and what is wrong with files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from dmu0.files.integrity import check_file
from dmu0.published.coadds import (
    OpticalError,
    PlainFile,
    is_on_grid,
    on_patch,
    read_geometry,
    read_hsc,
    read_plain,
    read_psf,
    sky_variance,
    translate_mask,
)
from dmu0.sky.skymap import make_sky_map
from dmu0.sky.tract import Patch
from dmu0.surveys import SkyMapConfig
from obs_vista.masks import BIT
from obs_vista.world_coordinates import icrs_wcs


@pytest.fixture(scope="module")
def patch() -> Patch:
    """A small patch: 120 pixels with a border of 10."""
    sky_map = make_sky_map(SkyMapConfig(name="small", patch_inner=100, patch_border=10))
    return sky_map.tract(8524).patch("30,31")


def write_calexp(path: Path, patch: Patch, planes: dict[str, int], *, flux0: float | None = 10 ** (0.4 * 27.0)) -> None:
    """A file as HSC's archive delivers it, 120 x 120 px, with one star and one pixel of each plane."""
    box = patch.outer_bbox
    header = patch.wcs.to_header()
    header["LTV1"], header["LTV2"] = -float(box.x.start), -float(box.y.start)
    image = np.zeros((box.y.size, box.x.size), np.float32)
    image[60, 50] = 1000.0
    mask = np.zeros(image.shape, np.int32)
    mask_header = header.copy()
    for n, (name, bit) in enumerate(planes.items()):
        mask[5, n] = 1 << bit
        mask_header[f"HIERARCH MP_{name}" if len(name) > 5 else f"MP_{name}"] = bit
    primary = fits.PrimaryHDU()
    if flux0 is not None:
        primary.header["FLUXMAG0"] = flux0
    variance = np.full(image.shape, 4.0, np.float32)
    hdus = [
        primary,
        *(fits.ImageHDU(data, h) for data, h in ((image, header), (mask, mask_header), (variance, header))),
    ]
    fits.HDUList(hdus).writeto(path)


def test_hsc_values_masks_and_place(tmp_path, patch):
    """Counts become nJy by FLUXMAG0, planes keep their names whatever their bits, pixels their place in the tract."""
    write_calexp(tmp_path / "a.fits", patch, {"SAT": 3, "EDGE": 0, "BRIGHT_OBJECT": 9, "SENSOR_EDGE": 15, "NOISE": 7})
    coadd = read_hsc(tmp_path / "a.fits")
    assert 31.4 - 2.5 * np.log10(coadd.image[60, 50]) == pytest.approx(27 - 2.5 * 3, abs=1e-5)
    assert coadd.variance[0, 0] == pytest.approx(4 * 10 ** (0.8 * 4.4), rel=1e-5)
    assert [int(coadd.mask[5, n]) for n in range(5)] == [BIT[k] for k in ("SAT", "EDGE", "BRIGHT_OBJECT", "EDGE")] + [0]
    assert coadd.left_out == ("NOISE",)
    assert coadd.origin == (patch.outer_bbox.x.start, patch.outer_bbox.y.start)
    assert on_patch(coadd, patch, name="a.fits") is coadd


def test_hsc_file_without_planes(tmp_path, patch):
    """A file that names no mask plane at all, as some do, has an empty mask."""
    write_calexp(tmp_path / "a.fits", patch, {})
    assert not read_hsc(tmp_path / "a.fits").mask.any()


def test_unknown_zero_point_is_an_error(tmp_path, patch):
    """Without FLUXMAG0, or with a senseless one, the error names file and key."""
    for n, (value, message) in enumerate(
        ((None, "its zero point is unknown: no FLUXMAG0"), (-1.0, "FLUXMAG0 is -1.0"))
    ):
        path = tmp_path / f"{n}.fits"
        write_calexp(path, patch, {}, flux0=value)
        with pytest.raises(OpticalError, match=rf"{n}.fits: {message}"):
            read_hsc(path)
    fits.writeto(tmp_path / "plain.fits", np.ones((10, 10), np.float32))
    with pytest.raises(OpticalError, match=r"plain\.fits: its zero point is unknown"):
        read_plain(tmp_path / "plain.fits", zero_point=None)
    with pytest.raises(OpticalError, match="there is no IMAGE extension"):
        read_hsc(tmp_path / "plain.fits")


def test_missing_data_agree(tmp_path, patch):
    """NaN, senseless variance and NO_DATA all come to NaN, infinite variance and NO_DATA."""
    path = tmp_path / "a.fits"
    write_calexp(path, patch, {"NO_DATA": 8})
    with fits.open(path, mode="update") as hdus:
        hdus[1].data[20, 20], hdus[3].data[21, 21], hdus[3].data[22, 22] = np.nan, 0.0, np.inf
    coadd = read_hsc(path)
    none = (coadd.mask & BIT["NO_DATA"]) != 0
    assert none.sum() == 4
    np.testing.assert_array_equal(np.isnan(coadd.image), none)
    np.testing.assert_array_equal(np.isinf(coadd.variance), none)


def test_cutouts_are_put_in_their_place(tmp_path, patch):
    """A cutout fills its part of the patch; off the patch or off its pixels it is refused."""
    write_calexp(tmp_path / "a.fits", patch, {})
    whole = read_hsc(tmp_path / "a.fits")
    neighbour = patch.tract.patch((patch.index[0] + 1, patch.index[1]))
    moved = on_patch(whole, neighbour, name="a.fits")
    filled = np.isfinite(moved.image)
    assert filled.sum() == 20 * 120
    assert filled[:, :20].all()
    with pytest.raises(OpticalError, match="outside tract"):
        on_patch(whole, patch.tract.patch("2,2"), name="a.fits")
    with fits.open(tmp_path / "a.fits", mode="update") as hdus:
        hdus[1].header["CRPIX1"] += 0.3
    with pytest.raises(OpticalError, match="off those of"):
        on_patch(read_hsc(tmp_path / "a.fits"), patch, name="a.fits")
    with fits.open(tmp_path / "a.fits", mode="update") as hdus:
        hdus[1].header["CRPIX1"] += 0.7
    with pytest.raises(OpticalError, match="LTV says"):
        on_patch(read_hsc(tmp_path / "a.fits"), patch, name="a.fits")


def test_who_is_on_the_grid(tmp_path, patch):
    """Pixels of the tract are, wherever the file begins; shifted by half a pixel, turned or of another size are not."""
    write_calexp(tmp_path / "a.fits", patch, {})
    wcs, shape = read_geometry(tmp_path / "a.fits")
    assert shape == (120, 120)
    assert is_on_grid(wcs, shape, patch)
    assert is_on_grid(wcs, shape, patch.tract.patch("3,4"))
    assert is_on_grid(None, (7, 9), patch)
    for key, change in (("CRPIX1", 0.5), ("CRPIX2", -0.03), ("PC1_1", 1e-8), ("CRVAL1", 180.0)):
        header = patch.wcs.to_header()
        header[key] += change
        assert not is_on_grid(icrs_wcs(header), shape, patch), key


def test_variance_of_maps(tmp_path, patch, rng):
    """The factor of a weight map is measured; a variance map is in the image's unit; a map of another size is said."""
    shape = (300, 260)
    weight = np.where(np.arange(260) < 130, 1.0, 4.0) * np.ones(shape)
    weight[50:70, 40:60] = 0
    image = 3 * rng.normal(size=shape) / np.sqrt(np.where(weight > 0, weight, 1))
    image[50:70, 40:60] = 777.0
    fits.writeto(tmp_path / "i.fits", image.astype(np.float32))
    fits.writeto(tmp_path / "w.fits", (5e-4 * weight).astype(np.float32))
    fits.writeto(tmp_path / "v.fits", np.full(shape, 9.0, np.float32))
    fits.writeto(tmp_path / "small.fits", np.ones((10, 10), np.float32))
    path, scale = tmp_path / "i.fits", 10 ** (0.4 * 1.4)
    found = read_plain(path, file=PlainFile(path, 30.0, weight=tmp_path / "w.fits"))
    good = np.isfinite(found.image)
    np.testing.assert_array_equal(good, weight > 0)
    for half, sigma in ((np.arange(260) < 130, 3.0), (np.arange(260) >= 130, 1.5)):
        assert np.sqrt(np.median(found.variance[good & half])) == pytest.approx(sigma * scale, rel=0.05)
    found = read_plain(path, file=PlainFile(path, 30.0, variance=tmp_path / "v.fits"))
    assert np.median(found.variance) == pytest.approx(9 * scale**2, rel=1e-5)
    with pytest.raises(OpticalError, match=r"small\.fits: it is \(10, 10\).*i\.fits"):
        read_plain(path, file=PlainFile(path, 30.0, variance=tmp_path / "small.fits"))
    fits.writeto(tmp_path / "n.fits", np.full(shape, -1.0, np.float32))
    with pytest.raises(OpticalError, match=r"n\.fits: the weight map has negative values"):
        read_plain(path, file=PlainFile(path, 30.0, weight=tmp_path / "n.fits"))


def test_planes_by_des_names(tmp_path, rng):
    """SCI, MSK and WGT are image, mask and weight, also compressed; where the weight is 0 there are no data."""
    image, weight = rng.normal(size=(200, 210)).astype(np.float32), np.full((200, 210), 0.25, np.float32)
    weight[:20] = 0
    mask = np.zeros(image.shape, np.int32)
    planes = (("SCI", image), ("MSK", mask), ("WGT", weight))
    hdus = [fits.CompImageHDU(data, name=name, quantize_level=64) for name, data in planes]
    hdus[0].header["MAGZERO"] = 31.4
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(tmp_path / "d.fits.fz")
    found = read_plain(tmp_path / "d.fits.fz")
    assert np.isfinite(found.image).all(axis=1).tolist() == [False] * 20 + [True] * 180
    assert np.sqrt(np.median(found.variance)) == pytest.approx(1, rel=0.03)


def test_plain_image_takes_the_nominal_grid(tmp_path, patch, rng):
    """An image without world coordinates must have the patch's shape; its variance is the scatter of its sky."""
    image = rng.normal(0, 3, (120, 120)).astype(np.float32)
    image[60:64, 60:64] += 1e5
    image[:10] = 0
    fits.writeto(tmp_path / "p.fits", image)
    coadd = read_plain(tmp_path / "p.fits", zero_point=30.0)
    assert on_patch(coadd, patch, name="p.fits") is coadd
    scale = 10 ** (0.4 * 1.4)
    assert np.sqrt(np.median(coadd.variance[np.isfinite(coadd.variance)])) == pytest.approx(3 * scale, rel=0.05)
    assert np.isnan(coadd.image[:10]).all()
    assert np.isfinite(coadd.image[10:]).all()
    fits.writeto(tmp_path / "q.fits", image[:50])
    with pytest.raises(OpticalError, match="no world coordinates"):
        on_patch(read_plain(tmp_path / "q.fits", zero_point=30.0), patch, name="q.fits")


def test_sky_variance_of_nothing():
    """An image without data has infinite variance."""
    assert np.isinf(sky_variance(np.full((20, 20), np.nan), np.ones((20, 20), bool))).all()


def test_psf_stamps(tmp_path):
    """A stamp comes back with sum 1; a flat, a one-dimensional or an empty one is refused by name."""
    stamp = np.zeros((43, 43))
    stamp[21, 21] = 5.0
    fits.writeto(tmp_path / "good.fits", stamp)
    assert read_psf(tmp_path / "good.fits").stamp.sum() == pytest.approx(1)
    for name, data in (("flat", np.ones((42, 42))), ("line", np.ones(43)), ("empty", np.zeros((43, 43)))):
        fits.writeto(tmp_path / f"{name}.fits", data)
        with pytest.raises(OpticalError, match=f"{name}.fits"):
            read_psf(tmp_path / f"{name}.fits")


def test_mask_translation_ignores_other_cards():
    """Only MP_ cards name planes."""
    header = fits.Header([("MP_BAD", 1), ("MPBAD", 2), ("EXPTIME", 3)])
    bits, left_out = translate_mask(np.array([[2, 4, 8]]), header)
    assert bits.tolist() == [[int(BIT["BAD"]), 0, 0]]
    assert left_out == ()


def test_real_hsc_cutout(realdata):
    """The real cutout: zero point 27.0, its place in its patch, its mask planes bit by bit."""
    path = realdata / "hsc_cutout" / "hsc_i.fits"
    coadd, header = read_hsc(path), fits.getheader(path, 2)
    raw_image, raw_mask = fits.getdata(path, 1), fits.getdata(path, 2)
    good = np.isfinite(coadd.image)
    np.testing.assert_allclose(coadd.image[good] / raw_image[good], 10 ** (0.4 * (31.4 - 27.0)), rtol=1e-5)
    for name in ("DETECTED", "BRIGHT_OBJECT", "CLIPPED", "INEXACT_PSF", "SAT", "INTRP", "CR"):
        np.testing.assert_array_equal((coadd.mask & BIT[name]) != 0, (raw_mask >> header[f"MP_{name}"]) & 1 == 1)
    tract = make_sky_map(SkyMapConfig(name="hscPdr2")).tract(9619)
    placed = on_patch(coadd, tract.patch("2,1"), name=path.name)
    own = coadd.wcs.pixel_to_world(150, 150)
    x, y = tract.wcs.world_to_pixel(own)
    assert (float(x), float(y)) == pytest.approx((11564 + 150, 3999 + 150), abs=1e-3)
    box = tract.patch("2,1").outer_bbox
    np.testing.assert_array_equal(placed.image[3999 - box.y.start :, 11564 - box.x.start :][:301, :301], coadd.image)


def test_asinh_scale_of_panstarrs(tmp_path, patch):
    """Image and variance are made linear before the zero point; gaps of zeros in the file stay gaps."""
    counts = np.random.default_rng(5).normal(3, 2, (120, 120))
    stored = 2.5 * np.log10(np.e) * np.arcsinh((counts - 0.3) / 4)
    stored[:, :20] = 0
    variance = 2.5 * np.log10(np.e) * np.arcsinh((np.full((120, 120), 4.0) - 0.1) / 2)
    header = patch.wcs.to_header()
    header.update({"BSOFTEN": 2.0, "BOFFSET": 0.3})
    image = fits.PrimaryHDU(stored.astype("f4"), header)
    weights = fits.ImageHDU(variance.astype("f4"), fits.Header({"BSOFTEN": 1.0, "BOFFSET": 0.1}), name="VARIANCE")
    fits.HDUList([image, weights]).writeto(tmp_path / "ps1.fits")
    coadd = read_plain(tmp_path / "ps1.fits", zero_point=25.0)
    unit = 10 ** (0.4 * (31.4 - 25))
    assert coadd.image[:, 20:] == pytest.approx(counts[:, 20:] * unit, rel=1e-5, abs=1e-3)
    assert coadd.variance[:, 20:] == pytest.approx(4 * unit**2, rel=1e-5)
    assert np.isnan(coadd.image[:, :20]).all()


def test_magnitudes_are_no_fluxes(tmp_path, patch):
    """An image in magnitudes is refused by the reader and by the check of inputs, with the unit."""
    header = patch.wcs.to_header()
    header["BUNIT"] = "mag/arcsec^2"
    fits.writeto(tmp_path / "mu.fits", np.random.default_rng(5).normal(22, 1, (120, 120)), header)
    with pytest.raises(OpticalError, match=r"mu.fits: BUNIT is 'mag/arcsec\^2'"):
        read_plain(tmp_path / "mu.fits", zero_point=25.0)
    assert check_file(tmp_path / "mu.fits", "optical_coadd").startswith("BUNIT is 'mag/arcsec^2'")
