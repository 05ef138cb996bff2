"""Damaged files of every kind are found out, with a reason; good ones pass."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from dmu0.files.checksums import sha256
from dmu0.files.integrity import check_file, check_pair

PAGE = b"<!DOCTYPE html>\n<html><head><title>Service Down</title></head><body>Please try later</body></html>\n"


@pytest.fixture
def stack(tmp_path, write_casu, rng) -> Path:
    """A sound stack of three detectors."""
    images = {detector: rng.integers(8000, 8800, (40, 50)).astype(np.int32) for detector in (1, 2, 16)}
    return write_casu(tmp_path / "v20091103_00354_st.fit", images)


@pytest.fixture
def confidence(tmp_path, write_casu, rng) -> Path:
    """The confidence map of the stack."""
    maps = {detector: rng.integers(80, 120, (40, 50)).astype(np.int32) for detector in (1, 2, 16)}
    return write_casu(tmp_path / "v20091103_00354_st_conf.fit", maps)


def test_sound_files_pass(stack, confidence):
    """A stack and its map are what they should be, and belong together."""
    assert check_file(stack, "vista_stack") == ""
    assert check_file(confidence, "vista_confidence") == ""
    assert check_pair(stack, confidence) == ""


@pytest.mark.parametrize(
    ("folder", "pattern", "kind", "needs_wcs"),
    [
        ("vista_video_h", "image_*.fits", "vista_stack", True),
        ("gama_9band", "*.fits", "vista_coadd", False),
        ("hsc_cutout", "hsc_i.fits", "optical_coadd", True),
        ("hsc_cutout", "hsc_i_psf.fits", "optical_psf", True),
        ("refcats", "ps1_*.fits", "ps1", True),
        ("refcats", "gaia_*.fits", "gaia", True),
        ("twomass", "*.fits", "twomass", True),
        ("hsc_cutout", "hsc_sources.csv", "vista_catalogue", True),
    ],
)
def test_real_files_pass(realdata, folder, pattern, kind, needs_wcs):
    """Every real file passes as what it is."""
    paths = sorted((realdata / folder).glob(pattern))
    assert paths
    for path in paths:
        assert check_file(path, kind, needs_wcs=needs_wcs) == "", path.name


def test_coadds_without_positions_need_them_unless_the_survey_gives_them(realdata):
    """The GAMA images have no WCS: accepted only where the survey file has a nominal one."""
    assert "no usable positions" in check_file(realdata / "gama_9band" / "H.fits", "vista_coadd")


@pytest.mark.parametrize("kind", ["vista_stack", "vista_confidence", "optical_coadd", "optical_psf", "ps1", "twomass"])
def test_web_page_under_a_fits_name(tmp_path, kind):
    """A page that says that the service is down is told by its content, and quoted."""
    path = tmp_path / "x.fits"
    path.write_bytes(PAGE)
    assert check_file(path, kind) == 'is a web page, not data ("service down")'


def test_absent_empty_and_foreign_files(tmp_path):
    """Absent files, empty files and other formats each have their reason."""
    path = tmp_path / "x.fits"
    assert check_file(path, "vista_stack") == "is not there"
    path.touch()
    assert check_file(path, "vista_stack") == "is empty (0 bytes)"
    path.write_bytes(b"\x89HDF" + bytes(3000))
    assert "is not FITS" in check_file(path, "vista_stack")
    assert "neither FITS nor Parquet" in check_file(path, "ps1")
    with pytest.raises(ValueError, match="tile"):
        check_file(path, "tile")


def test_truncation_anywhere_is_found(stack, tmp_path):
    """A stack cut at any place is refused, at the edge of a block or of an extension too."""
    whole = stack.read_bytes()
    with fits.open(stack, disable_image_compression=True) as hdus:
        edges = [hdu.fileinfo()["datLoc"] for hdu in hdus]
    path = tmp_path / "cut.fit"
    for length in (*edges[1:], *range(100, len(whole), 4321), len(whole) - 1, len(whole) - 2880):
        path.write_bytes(whole[:length])
        assert check_file(path, "vista_stack"), f"cut at byte {length} of {len(whole)} and not found"


def test_lost_extensions_are_found_with_the_pair(stack, confidence, tmp_path):
    """A file cut exactly between extensions is sound FITS; its map shows that detectors are missing."""
    with fits.open(confidence, disable_image_compression=True) as hdus:
        end = hdus[2].fileinfo()["datLoc"] + hdus[2].fileinfo()["datSpan"]
    cut = tmp_path / "cut_conf.fit"
    cut.write_bytes(confidence.read_bytes()[:end])
    assert check_file(cut, "vista_confidence") == ""
    assert check_pair(stack, cut) == f"has no map of detector 16 of {stack.name}"


def test_changed_data_are_found(stack, tmp_path, rng):
    """A changed byte in the data of any extension is found by its checksum; changed headers do not matter."""
    whole = stack.read_bytes()
    with fits.open(stack, disable_image_compression=True) as hdus:
        places = [(hdu.fileinfo()["datLoc"], hdu.header["PCOUNT"] + hdu.header["NAXIS1"] * 40) for hdu in hdus[1:]]
    path = tmp_path / "changed.fit"
    for start, length in places:
        data = bytearray(whole)
        data[start + int(rng.integers(length))] ^= 0x10
        path.write_bytes(data)
        assert "checksum" in check_file(path, "vista_stack")
    path.write_bytes(whole.replace(b"ESOGRADE= 'A       '", b"ESOGRADE= 'B       '"))
    assert path.read_bytes() != whole
    assert check_file(path, "vista_stack") == ""


def test_rubbish_never_raises(stack, tmp_path, rng):
    """Files with a hundred random bytes changed are judged without an error, and hardly ever pass."""
    whole = stack.read_bytes()
    path = tmp_path / "rubbish.fit"
    passed = 0
    for _ in range(25):
        data = np.frombuffer(whole, np.uint8).copy()
        data[rng.integers(9, data.size, 100)] = rng.integers(32, 127, 100)
        path.write_bytes(data.tobytes())
        passed += check_file(path, "vista_stack") == ""
    assert passed <= 1


def test_trailing_rubbish(stack):
    """Something behind the last extension, as from two downloads into one file, is found; padding is not minded."""
    whole = stack.read_bytes()
    stack.write_bytes(whole + bytes(2880))
    assert check_file(stack, "vista_stack") == ""
    stack.write_bytes(whole + PAGE)
    assert "follow HDU 3" in check_file(stack, "vista_stack")


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (np.full((40, 50), np.nan, np.float32), "detector 1 has no finite pixel"),
        (np.full((40, 50), 7, np.int32), "all pixels of detector 1 are 7"),
        (np.arange(20, dtype=np.int32).reshape(4, 5), "detector 1 has no usable size: 5 x 4 px"),
    ],
)
def test_useless_pixels(tmp_path, write_casu, pixels, reason):
    """Images without information are refused with the detector named."""
    assert check_file(write_casu(tmp_path / "v_st.fit", {1: pixels}), "vista_stack") == reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"CTYPE1": None}, "no usable positions"),
        ({"CD1_1": 9.484e-6, "CD2_2": 9.484e-6}, 'pixels of 0.03414"'),
        ({"RADECSYS": "GAPPT"}, "GAPPT"),
        ({"CRVAL1": "10,0"}, "no usable positions"),
    ],
)
def test_bad_positions(tmp_path, write_casu, rng, changes, reason):
    """Stacks must know where they are."""
    images = {1: rng.integers(8000, 8800, (40, 50)).astype(np.int32)}
    assert reason in check_file(write_casu(tmp_path / "v_st.fit", images, **changes), "vista_stack")


@pytest.mark.parametrize("scale", ["1.0E400", "1.0E300"])
def test_scales_beyond_all_numbers(tmp_path, scale):
    """Pixels that a card makes infinite are no pixels; the card is no error."""
    fits.PrimaryHDU(np.arange(2000, dtype=np.int16).reshape(40, 50) + 1).writeto(tmp_path / "p.fits")
    text = (tmp_path / "p.fits").read_bytes()
    end = b"END" + b" " * 77
    (tmp_path / "p.fits").write_bytes(
        text.replace(end + b" " * 80, f"BSCALE  = {scale:>20s}".ljust(80).encode() + end, 1)
    )
    assert check_file(tmp_path / "p.fits", "optical_psf") == "the PSF is not finite, or its sum is not positive"


def test_stack_of_unknown_detectors(tmp_path, rng):
    """An image that does not say which detector it is cannot be a stack."""
    fits.PrimaryHDU(rng.normal(size=(40, 50))).writeto(tmp_path / "x.fits")
    assert "which detector" in check_file(tmp_path / "x.fits", "vista_stack")


@pytest.mark.parametrize(
    ("value", "reason"), [(0, "is zero everywhere"), (-3, "is negative (-3)"), (np.nan, "is not finite everywhere")]
)
def test_useless_confidence(tmp_path, write_casu, value, reason):
    """Maps that are zero, negative or not numbers are refused."""
    pixels = np.zeros((40, 50), np.float32)
    pixels[3, 3] = value
    path = write_casu(tmp_path / "v_conf.fit", {4: pixels})
    assert check_file(path, "vista_confidence") == f"the confidence of detector 4 {reason}"


def test_map_of_another_size(stack, tmp_path, write_casu):
    """A map that is larger than its image in one detector does not belong to it."""
    shapes = {1: (40, 50), 2: (40, 51), 16: (40, 50)}
    path = write_casu(
        tmp_path / "conf.fit", {number: np.full(shape, 100, np.int32) for number, shape in shapes.items()}
    )
    assert check_pair(stack, path) == f"detector 2 is 51 x 40 px, in {stack.name} 50 x 40"


def test_coadd_planes_must_agree(tmp_path, rng):
    """A coadd whose variance has another size than its image is refused."""
    header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 34.0, "CRVAL2": -5.0})
    header.update({"CRPIX1": 1.0, "CRPIX2": 1.0, "CD1_1": -4.67e-5, "CD2_2": 4.67e-5})
    for shape, reason in (((30, 31), "VARIANCE is (30, 31) (ny, nx), the image (30, 30)"), ((30, 30), "")):
        image = fits.ImageHDU(rng.normal(size=(30, 30)), header, name="IMAGE")
        variance = fits.ImageHDU(np.ones(shape), name="VARIANCE")
        fits.HDUList([fits.PrimaryHDU(), image, variance]).writeto(tmp_path / "c.fits", overwrite=True)
        assert check_file(tmp_path / "c.fits", "optical_coadd") == reason


def test_psf_must_have_a_sum(tmp_path):
    """A PSF of zeros is none."""
    fits.PrimaryHDU(np.zeros((21, 21))).writeto(tmp_path / "psf.fits")
    assert "PSF" in check_file(tmp_path / "psf.fits", "optical_psf")


@pytest.mark.parametrize("name", ["c.fits", "c.parquet", "c.ecsv"])
def test_catalogues(tmp_path, name):
    """Tables pass in three formats; empty ones do not, nor truncated ones."""
    table = Table({"ra": np.linspace(0, 359, 500), "dec": np.linspace(-40, 80, 500)})
    path = tmp_path / name
    table.write(path)
    assert check_file(path, "ps1") == ""
    if path.suffix != ".ecsv":
        path.write_bytes(path.read_bytes()[:-2880] if path.suffix == ".fits" else path.read_bytes()[:-20])
        assert check_file(path, "ps1")
    table[:0].write(path, overwrite=True)
    assert check_file(path, "ps1") == "has no rows"


def test_checking_changes_nothing(stack, tmp_path):
    """A check leaves the file as it was, and works on a read-only one."""
    copy = tmp_path / "copy.fit"
    shutil.copy(stack, copy)
    copy.chmod(0o444)
    before = sha256(copy), copy.stat().st_mtime_ns
    check_file(copy, "vista_stack")
    assert (sha256(copy), copy.stat().st_mtime_ns) == before


@pytest.mark.parametrize(
    ("typical", "refused"), [(1.0, True), (0.5, True), (1000.0, True), (100.0, False), (60, False)]
)
def test_confidence_is_in_percent(tmp_path, write_casu, rng, typical: float, refused: bool):
    """Maps with a mean of 1, of which errors would be ten times too large, are refused with their typical value."""
    pixels = typical * rng.uniform(0.9, 1.1, (40, 50)).astype(np.float32)
    pixels[:, :30] = 0
    reason = check_file(write_casu(tmp_path / "v_conf.fit", {4: pixels}), "vista_confidence")
    assert reason.startswith("the confidence of detector 4 is mostly ") == refused
    assert bool(reason) == refused
