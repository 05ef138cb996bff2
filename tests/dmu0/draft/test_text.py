"""A survey file that is drafted from a folder of FITS files can be read, checked, and finds exactly those files."""

from __future__ import annotations

import gzip
import os

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from lsst.sphgeom import LonLat, UnitVector3d

from dmu0.draft.sorting import sort_folder
from dmu0.draft.text import DraftError, draft, name_of
from dmu0.files.expected import find_inputs
from dmu0.sky.skymap import make_sky_map, survey_patches
from dmu0.sky.tract import tangent_wcs
from dmu0.surveys import Survey, SurveyError, load_survey
from dmu0.surveys.check import check_survey
from dmu0.surveys.first_look import look_at, outlines
from dmu0.surveys.overview import is_on_grid, overview


def write_image(path, *, x, y, shape=(300, 240), scale=0.2, ra=150.5, dec=-2.25, level=0.0, **cards):
    """A plain image of some level, projected about a point that its pixel (x, y) is, with some cards."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = tangent_wcs(ra=ra, dec=dec, pixel_scale=scale, x=x, y=y).to_header()
    header.update(cards)
    pixels = np.random.default_rng(7).normal(size=shape)
    pixels = level + (np.abs(pixels) if level else pixels)
    fits.PrimaryHDU(pixels.astype(np.float32), header).writeto(path)
    return path


def drafted(folder, *, needed=0) -> Survey:
    """The survey of a folder, written beside it and read again."""
    target = folder.parent / "drafted.yaml"
    text, lines = draft(sort_folder(folder), target=target)
    target.write_text(text)
    assert len(lines) == needed, lines
    return load_survey(str(target))


def test_a_plain_mosaic_keeps_its_tangent_point(tmp_path):
    """One image far from its tangent point: the sky map has its pixels, so that it need not be resampled."""
    path = write_image(tmp_path / "My field 2" / "deep_r.fits", x=-5000.0, y=812.5, MAGZERO=30.0, FILTER="r.MP9602")
    survey = drafted(path.parent)
    assert (survey.name, survey.bands, survey.optical[0].kind) == ("my_field_2", ("r",), "fits")
    assert survey.sky_map.shape == (300, 240)
    assert survey.sky_map.centre == pytest.approx((150.5, -2.25), abs=1e-9)
    patch = make_sky_map(survey.sky_map).tract(0).patch(0)
    assert is_on_grid(look_at(path), patch)
    x, y = patch.wcs.all_world2pix(150.5, -2.25, 0)
    assert (float(x), float(y)) == pytest.approx((-5000.0, 812.5), abs=1e-6)
    assert check_survey(survey) == []
    [line] = [line for line in overview(survey) if line.startswith("  r ")]
    assert '1 of 1 coadd, 240 x 300 px of 0.2" on the sky map, AB zero point 30.000 by its header' in line


def test_a_mosaic_whose_sides_no_cell_divides(tmp_path):
    """The patch is enlarged to whole cells; the image has its own pixels in it, and is not resampled."""
    path = write_image(tmp_path / "odd" / "deep_r.fits", x=10.0, y=20.0, shape=(301, 229), MAGZERO=30.0)
    survey = drafted(path.parent)
    assert survey.sky_map.shape == (400, 300)
    patch = make_sky_map(survey.sky_map).tract(0).patch(0)
    assert is_on_grid(look_at(path), patch)
    x, y = patch.wcs.all_world2pix(150.5, -2.25, 0)
    assert (float(x), float(y)) == pytest.approx((10.0, 20.0), abs=1e-6)
    assert check_survey(survey) == []
    target = tmp_path / "drafted.yaml"
    target.write_text(target.read_text().replace("[400, 300]", "[3011, 2291]"))
    with pytest.raises(SurveyError, match=r"sky_map: shape \[3011, 2291\] .* write \[3100, 2300\]"):
        check_survey(load_survey(str(target)))


def test_two_images_on_unequal_grids(tmp_path):
    """The finest image gives the pixels, both together the extent; VISTA's zero point becomes AB, and says so."""
    folder = tmp_path / "pair"
    fine = write_image(folder / "kids_i.fits", x=120, y=150, MAGZERO=0.0 + 25.0, FILTER="i_SDSS")
    write_image(folder / "viking_Ks.fits", x=10, y=20, scale=0.339, shape=(200, 220), MAGZPT=23.05, FILTER="Ks")
    write_image(folder / "viking_Ks_conf.fits", x=10, y=20, scale=0.339, shape=(200, 220), FILTER="Ks")
    survey = drafted(folder)
    assert survey.bands == ("i", "vk")
    assert (survey.vista.kind, survey.vista.coadds) == ("coadds", {"vk": "viking_Ks.fits"})
    assert survey.vista.weights == {"vk": "viking_Ks_conf.fits"}
    assert survey.vista.zero_points["vk"] == pytest.approx(23.05 + 1.816)
    sky_map = make_sky_map(survey.sky_map)
    assert is_on_grid(look_at(fine), sky_map.tract(0).patch(0))
    ny, nx = survey.sky_map.shape
    # From the tangent point, in fine pixels: the coarse image reaches 17 px left and 356 right, 33.9 down, 305 up:
    # (120 + 1 + 355) x (150 + 1 + 304) px, which no cell divides; whole cells of 100 px do.
    assert (nx, ny) == (500, 500)
    assert sky_map.tract(0).wcs.wcs.crpix == pytest.approx([121, 151], abs=1e-6)
    text = (tmp_path / "drafted.yaml").read_text()
    assert "MAGZPT 23.05, taken for Vega, and +1.816 to AB; is it the AB magnitude of one count?" in text
    assert check_survey(survey) == []


def test_tiles_of_a_mosaic_with_the_cards_of_eso(tmp_path):
    """Two tiles per band beside their weight maps: one pattern with a wildcard each, zero points by PHOTSYS."""
    folder = tmp_path / "tiles"
    for number, x in (("7a", 120), ("12b", -80)):
        for band, scale, system, zero_point in (("r", 0.2, "AB", 24.8), ("Ks", 0.339, "VEGA", 23.05)):
            for kind in ("sci", "weight"):
                write_image(
                    folder / f"survey_{number}_{band}_{kind}.fits", x=x * 0.2 / scale, y=150, scale=scale,
                    FILTER=band, PHOTZP=zero_point, PHOTSYS=system,
                )  # fmt: skip
    survey = drafted(folder)
    assert survey.optical[0].coadds == {"r": "survey_*_r_sci.fits"}
    assert survey.optical[0].weights == {"r": "survey_*_r_weight.fits"}
    assert survey.vista.coadds == {"vk": "survey_*_Ks_sci.fits"}
    assert survey.optical[0].zero_points == {}, "PHOTZP is read where it is AB"
    assert survey.vista.zero_points["vk"] == pytest.approx(23.05 + 1.816)
    assert {item.path for item in find_inputs(survey)} == set(folder.glob("*.fits"))
    assert check_survey(survey) == []
    text = (tmp_path / "drafted.yaml").read_text()
    assert "Vega by its PHOTSYS, and +1.816 to AB" in text


def test_tiles_with_zero_points_of_their_own(tmp_path):
    """Where tiles have different zero points, no key can hold them: what to do is said, with file names and values."""
    folder = tmp_path / "tiles"
    for number, zero_point in ((1, 24.8), (2, 25.1)):
        write_image(folder / f"t{number}_r.fits", x=100 * number, y=150, FILTER="r", MAGZP=zero_point)
    text, (needed,) = draft(sort_folder(folder), target=tmp_path / "drafted.yaml")
    assert "t1_r.fits 24.8, t2_r.fits 25.1" in needed
    assert "write MAGZERO" in needed
    assert "r: t*_r.fits" in text


@pytest.mark.parametrize(("filter_name", "system"), [("r", "AB"), ("Ks", "VEGA")])
def test_tiles_whose_own_zero_points_are_read(tmp_path, filter_name, system):
    """PHOTZP with PHOTSYS of each tile is read by the pipeline: nothing has to be written, and check agrees."""
    folder = tmp_path / "tiles"
    for number, zero_point in ((1, 24.8), (2, 25.1)):
        write_image(
            folder / f"t{number}_{filter_name}.fits", x=100 * number, y=150, FILTER=filter_name, PHOTZP=zero_point,
            PHOTSYS=system,
        )  # fmt: skip
    survey = drafted(folder)
    half = survey.vista or survey.optical[0]
    assert half.zero_points == {}
    assert half.coadds == {survey.bands[0]: f"t*_{filter_name}.fits"}
    assert check_survey(survey) == []


def test_maps_beside_images(tmp_path):
    """Weights and variances by the names that surveys give them; maps of other names by pixels that are never
    negative; neither is taken for an image of the sky."""
    folder = tmp_path / "pair"
    cards = {"x": 120, "y": 150, "MAGZERO": 30.0}
    write_image(folder / "KiDS_r_sci.fits", FILTER="OCAM_r_SDSS", **cards)
    write_image(folder / "KiDS_r_wei.fits", **cards)
    write_image(folder / "KiDS_r_msk.fits", **cards)
    write_image(folder / "cfht_u.fits", FILTER="u.MP9302", **cards)
    write_image(folder / "cfht_u_var.fits", **cards)
    write_image(folder / "deep_g.fits", FILTER="g", **cards)
    write_image(folder / "deep_map_g.fits", FILTER="g", level=1.0, **cards)
    write_image(folder / "sky_i.fits", FILTER="i", level=100.0, **cards)
    survey = drafted(folder)
    optical = survey.optical[0]
    assert optical.coadds == {"u": "cfht_u.fits", "g": "deep_g.fits", "r": "KiDS_r_sci.fits", "i": "sky_i.fits"}
    assert optical.weights == {"r": "KiDS_r_wei.fits"}
    assert optical.variances == {"u": "cfht_u_var.fits"}
    text = (tmp_path / "drafted.yaml").read_text()
    assert "deep_map_g.fits: has the pixels of deep_g.fits, and none is negative" in text
    assert "KiDS_r_msk.fits: a map beside an image by its name" in text
    assert check_survey(survey) == []


def test_patches_of_rings_become_patterns(tmp_path):
    """Whole patches of HSC's tracts, of a size of their own, in two bands: one pattern for all, and their PSFs."""
    folder = tmp_path / "tree"
    config = {"kind": "rings", "name": "small", "patch_inner": 400, "patch_border": 30}
    tract = make_sky_map(Survey.model_fields["sky_map"].annotation(**config)).tract(9813)
    for name, filter_name in (("g", "HSC-G"), ("i", "HSC-I")):
        for index in ((40, 41), (41, 41), (40, 42)):
            box = tract.patch(index).outer_bbox
            where = folder / filter_name / "9813" / f"{index[0]},{index[1]}"
            x, y = tract.wcs.wcs.crpix - 1 - np.array([box.x.start, box.y.start])
            write_image(
                where / f"calexp-{filter_name}-9813-{index[0]},{index[1]}.fits", x=x, y=y, scale=0.168, ra=tract.ra,
                dec=tract.dec, shape=box.shape, FLUXMAG0=10**10.8, FILTER=name,
            )  # fmt: skip
            fits.PrimaryHDU(np.ones((41, 43))).writeto(where / f"psf-{filter_name}-9813-{index[0]},{index[1]}.fits")
    survey = drafted(folder)
    assert survey.tracts == {9813: ("40,41", "41,41", "40,42")}
    assert (survey.sky_map.patch_inner, survey.sky_map.patch_border) == (400, 30)
    where = "{filter}/{tract}/{patch_x},{patch_y}"
    assert survey.optical[0].coadds == {"default": f"{where}/calexp-{{filter}}-{{tract}}-{{patch_x}},{{patch_y}}.fits"}
    assert survey.optical[0].psf_stamps == {"default": f"{where}/psf-{{filter}}-{{tract}}-{{patch_x}},{{patch_y}}.fits"}
    assert {item.path for item in find_inputs(survey)} == set(folder.rglob("*.fits"))
    assert check_survey(survey) == []


def test_stacks_their_maps_and_catalogues(tmp_path, write_casu):
    """Pawprint stacks with confidence maps and references: bands by the filter wheel, patches below the detectors."""
    folder = tmp_path / "night"
    (folder / "vista").mkdir(parents=True)
    pixels = np.random.default_rng(3).normal(100, 5, (60, 50)).astype(np.float32)
    for number, (name, detectors) in enumerate((("H", (5,)), ("Ks", (5, 13)))):
        images = dict.fromkeys(detectors, pixels)
        path = folder / "vista" / f"v20091104_0019{number}_st.fit"
        write_casu(path, images, ESO__INS__FILT1__NAME=name, ESO__OBS__PROG__ID="179.A-2006(B)")
        write_casu(path.with_name(f"{path.stem}_conf.fit"), images, ESO__INS__FILT1__NAME=name)
    for number in (1, 2):
        Table({"source_id": [number], "ra": [34.5], "dec": [-5.0], "phot_g_mean_mag": [18.0]}).write(
            folder / f"gaia_part{number}.csv"
        )
    (folder / "notes.txt").write_text("seeing was fine\n")
    survey = drafted(folder)
    assert (survey.bands, survey.vista.kind, survey.vista.programme) == (("vh", "vk"), "stacks", "179.A-2006(B)")
    assert (survey.vista.stacks, survey.vista.confidence) == (("vista/v20091104_0019*_st.fit",), "_conf")
    assert survey.vista.magnitudes == "Vega"
    assert survey.vista.cuts.noise_ratio_range == (0.7, 1.8), "detector 13 is among them"
    assert survey.references.gaia == "gaia_part*.csv"
    found = find_inputs(survey)
    assert sum(item.kind == "vista_stack" for item in found) == 2
    assert sum(item.kind == "vista_confidence" and item.path.exists() for item in found) == 2
    chosen = [patch.inner_polygon for patch in survey_patches(survey)]
    corners = np.concatenate([corners for path in (folder / "vista").glob("*_st.fit") for corners in outlines(path)])
    assert len(corners) == 12
    for ra, dec in corners:
        assert any(polygon.contains(UnitVector3d(LonLat.fromDegrees(ra, dec))) for polygon in chosen)
    assert len(chosen) <= 4
    assert check_survey(survey) == []
    assert "notes.txt" in (tmp_path / "drafted.yaml").read_text()


def test_what_nobody_can_know_is_asked_for(tmp_path):
    """Images without zero point and projection: the keys are named, and the file refused until then."""
    (tmp_path / "bare").mkdir()
    for band in ("g", "Y"):
        fits.PrimaryHDU(np.zeros((200, 150), np.float32)).writeto(tmp_path / "bare" / f"{band}.fits")
    target = tmp_path / "drafted.yaml"
    text, needed = draft(sort_folder(tmp_path / "bare"), target=target)
    target.write_text(text)
    assert [line.split(":")[0] for line in needed] == [
        "vista.zero_points.vy",
        "optical.zero_points.g",
        "sky_map.centre and sky_map.pixel_scale",
    ]
    with pytest.raises(ValueError, match=r"optical\.zero_points\.g: the value is missing: write the AB.*line \d+"):
        load_survey(str(target))
    filled = text.replace("vy:  # needed", "vy: 30.0  #").replace("g:  # needed", "g: 0.0  #")
    filled = filled.replace("pixel_scale:", "pixel_scale: 0.339").replace("centre:", "centre: [135.0, 0.5]")
    target.write_text(filled)
    assert check_survey(load_survey(str(target))) == []


@pytest.mark.parametrize(
    ("cards", "words"),
    [
        ({"MAGZERO": 0.0}, "MAGZERO is 0.0: write here what is meant"),
        ({"FLUXMAG0": "unknown"}, "FLUXMAG0 is 'unknown': write here what is meant"),
        (
            {"MAGZERO": 25.0, "BUNIT": "uJy"},
            "MAGZERO gives the zero point 25.000, but BUNIT = 'uJy' gives 23.900: write here",
        ),
        ({}, "r.fits does not say it"),
    ],
)
def test_cards_that_may_be_placeholders_are_told(tmp_path, cards, words):
    """A zero point of 0, as KiDS has, is asked for and not taken for granted; the question says what the header has."""
    write_image(tmp_path / "images" / "r.fits", x=100, y=90, **cards)
    _, (needed,) = draft(sort_folder(tmp_path / "images"), target=tmp_path / "drafted.yaml")
    assert words in needed


def test_patterns_match_no_file_of_another_kind(tmp_path):
    """Two files that have no more in common than with a third are not one pattern: they must be moved."""
    folder = tmp_path / "images"
    for name, band in (("alpha.fits", "r"), ("beta.fits", "r"), ("gamma.fits", "J")):
        write_image(folder / name, x=100, y=90, MAGZERO=27.0, FILTER=band)
    target = tmp_path / "drafted.yaml"
    text, needed = draft(sort_folder(folder), target=target)
    assert needed == ["coadds: 1 files of r do not fit the pattern of the others; move them apart"]
    target.write_text(text)
    assert {(item.path.name, item.band) for item in find_inputs(load_survey(str(target)))} == {
        ("alpha.fits", "r"),
        ("gamma.fits", "vj"),
    }


@pytest.mark.parametrize("compressed", [False, True])
def test_files_that_are_no_images_are_said_to_be_none(tmp_path, compressed):
    """Pipes, links to nothing, and truncated, empty and packed files are left out with a reason, at once."""
    folder = tmp_path / "images"
    image = write_image(folder / "good r.fits", x=100, y=90, MAGZERO=27.0)
    if compressed:
        with fits.open(image) as hdus:
            packed = fits.CompImageHDU(hdus[0].data, hdus[0].header)
            fits.HDUList([fits.PrimaryHDU(), packed]).writeto(image, overwrite=True)
    content = image.read_bytes()
    (folder / "cut_r.fits").write_bytes(content[:-3000])
    (folder / "empty_r.fits").touch()
    (folder / "packed_r.fits.gz").write_bytes(gzip.compress(content))
    (folder / "link_r.fits").symlink_to(tmp_path / "nowhere")
    os.mkfifo(folder / "pipe_r.fits")
    os.mkfifo(folder / "pipe.csv")
    found = sort_folder(folder)
    assert [look.path.name for look in found.coadds["r"]] == ["good r.fits"]
    reasons = {path.name: why for path, why in found.left_out.items()}
    for name, word in {"cut_r.fits": "is truncated", "empty_r.fits": "cannot be read", "pipe.csv": "a pipe"}.items():
        assert word in reasons[name]
    assert "unpack it" in reasons["packed_r.fits.gz"]
    assert "No such file" in reasons["link_r.fits"]
    assert "a pipe, a socket" in reasons["pipe_r.fits"]


def test_a_folder_without_images(tmp_path):
    """What is there instead is said."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(DraftError, match="no FITS file"):
        draft(sort_folder(tmp_path / "empty"), target=tmp_path / "x.yaml")
    Table({"Jmag": [1.0], "Hmag": [1.0], "Kmag": [1.0]}).write(tmp_path / "empty" / "a.fits")
    (tmp_path / "empty" / "b.fits").write_bytes(b"<html>not found</html>")
    with pytest.raises(DraftError, match=r"1 twomass catalogues, b\.fits \(cannot be read"):
        draft(sort_folder(tmp_path / "empty"), target=tmp_path / "x.yaml")
    with pytest.raises(FileNotFoundError, match="is no folder"):
        sort_folder(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("folder", "name"),
    [("KiDS-1000 r4", "kids_1000_r4"), ("2024", "my_2024"), ("video", "my_video"), ("x" * 40, "x" * 28)],
)
def test_names(tmp_path, folder, name):
    """A name from that of the folder, which none of the surveys that come with the project has."""
    assert name_of(tmp_path / folder) == name


def test_real_images(tmp_path, realdata):
    """Real images: an HSC cutout on its own pixels, and four frames of VIDEO on the patches of HSC that they reach."""
    survey = drafted_from(realdata / "hsc_cutout", tmp_path)
    assert (survey.bands, survey.optical[0].kind, survey.optical[0].psf_stamps) == (
        ("i",),
        "hsc",
        {"i": "hsc_i_psf.fits"},
    )
    patch = make_sky_map(survey.sky_map).tract(0).patch(0)
    assert is_on_grid(look_at(realdata / "hsc_cutout" / "hsc_i.fits"), patch)
    assert check_survey(survey) == []
    survey = drafted_from(realdata / "vista_video_h", tmp_path)
    assert (survey.bands, survey.vista.magnitudes, survey.vista.confidence) == (("vh",), "AB", None)
    assert {"5,4", "6,4"} <= set(survey.tracts[8525])
    assert check_survey(survey) == []


def drafted_from(folder, tmp_path) -> Survey:
    """The survey of a folder of others, written elsewhere."""
    target = tmp_path / f"{folder.name}.yaml"
    text, needed = draft(sort_folder(folder), target=target)
    target.write_text(text)
    assert needed == []
    return load_survey(str(target))


def test_wt_of_panstarrs_is_its_variance(tmp_path):
    """What Pan-STARRS calls wt is a variance on an asinh scale; what others call so is a weight."""
    for ending, cards in (("", {"BSOFTEN": 20.0, "BOFFSET": 0.0, "MAGZERO": 25.0}), (".wt", {"BSOFTEN": 5.0})):
        write_image(tmp_path / "images" / f"skycell.stk.r.unconv{ending}.fits", x=100, y=90, **cards)
    write_image(tmp_path / "images" / "mine.i.fits", x=100, y=90, MAGZERO=25.0)
    write_image(tmp_path / "images" / "mine.i.wt.fits", x=100, y=90, level=1.0)
    [optical] = drafted(tmp_path / "images").optical
    assert optical.variances == {"r": "skycell.stk.r.unconv.wt.fits"}
    assert optical.weights == {"i": "mine.i.wt.fits"}
