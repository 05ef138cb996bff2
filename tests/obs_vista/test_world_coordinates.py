"""Positions in ICRS for every way in which headers describe a projection: against formulas, and astropy alone."""

from __future__ import annotations

import warnings

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import FK4, FK5, Galactic, SkyCoord
from astropy.io import fits
from astropy.wcs import WCS, FITSFixedWarning

from obs_vista.cards import CardError
from obs_vista.world_coordinates import icrs_wcs

TAN = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 34.5, "CRVAL2": -5.0, "CRPIX1": 120.5, "CRPIX2": 340.25}
CD = {"CD1_1": -9.4e-5, "CD1_2": 2.1e-6, "CD2_1": 1.7e-6, "CD2_2": 9.5e-5}
SIZE = {"NAXIS1": 400, "NAXIS2": 700}
X, Y = (axis.ravel() for axis in np.meshgrid([0.0, 130.5, 399.0], [0.0, 333.25, 699.0]))


def gnomonic(xi: np.ndarray, eta: np.ndarray, ra: float, dec: float) -> SkyCoord:
    """Position of standard coordinates in degrees about a tangent point (Smart 1977, section 161)."""
    xi, eta, a0, d0 = np.radians(xi), np.radians(eta), np.radians(ra), np.radians(dec)
    denominator = np.cos(d0) - eta * np.sin(d0)
    a = a0 + np.arctan2(xi, denominator)
    d = np.arctan2(np.sin(d0) + eta * np.cos(d0), np.hypot(xi, denominator))
    return SkyCoord(a, d, unit="rad")


def linear(cards: dict, x: np.ndarray = X, y: np.ndarray = Y) -> np.ndarray:
    """CD times the distance from the reference pixel, degrees (2, n)."""
    matrix = np.array([[cards[f"CD{i}_{j}"] for j in (1, 2)] for i in (1, 2)])
    return matrix @ [x + 1 - cards["CRPIX1"], y + 1 - cards["CRPIX2"]]


def apart(header: dict | fits.Header, expected: SkyCoord) -> float:
    """Largest distance in arcsec of the pixels (X, Y) from expected positions, RA first."""
    found = SkyCoord(*icrs_wcs(header).all_pix2world(X, Y, 0), unit="deg")
    return found.separation(expected).arcsec.max()


def by_astropy(cards: dict, frame: object = None) -> SkyCoord:
    """Positions by astropy alone from all cards, into ICRS from the frame that it finds or one that is given."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        wcs = WCS(fits.Header(cards))
    sky = wcs.pixel_to_world(X, Y)
    if frame is not None:
        sky = SkyCoord(sky.spherical.lon, sky.spherical.lat, frame=frame)
    return sky.icrs


def plain_wcs(header: fits.Header, frame: str) -> WCS:
    """The transformation of a header by astropy alone, in a given frame."""
    cards = fits.Header()
    for key in header:
        if key[:5] in ("CTYPE", "CRVAL", "CRPIX") or key[:2] in ("CD", "PV"):
            cards[key] = header[key]
    cards["RADESYS"] = frame
    if frame == "FK5":
        cards["EQUINOX"] = 2000.0
    return WCS(cards)


def grid(header: fits.Header) -> tuple[np.ndarray, np.ndarray]:
    """Pixels all over an image."""
    return np.meshgrid(np.linspace(0, header["NAXIS1"], 7), np.linspace(0, header["NAXIS2"], 7))


ANGLE, STEP = np.radians(31.0), np.array([-1.1e-4, 0.9e-4])
RATIO = STEP[1] / STEP[0]
TURNED = np.diag(STEP) @ [[np.cos(ANGLE), -np.sin(ANGLE) * RATIO], [np.sin(ANGLE) / RATIO, np.cos(ANGLE)]]
PC = np.array([[0.9, -0.3], [0.25, 0.95]])
OF_PC = np.diag(STEP) @ PC
CDELT = {"CDELT1": STEP[0], "CDELT2": STEP[1]}


def named(form: str, matrix: np.ndarray) -> dict[str, float]:
    """Cards of a matrix."""
    return {form.format(i=i + 1, j=j + 1): matrix[i][j] for i in (0, 1) for j in (0, 1)}


@pytest.mark.parametrize(
    ("cards", "matrix"),
    [
        (CD, None),
        (CDELT, np.diag(STEP)),
        (CDELT | {"CROTA2": 31.0}, TURNED),
        (CDELT | {"CROTA1": 0.0, "CROTA2": 31.0} | named("PC{i}_{j}", np.eye(2)), TURNED),
        (CDELT | named("PC{i}_{j}", PC), OF_PC),
        (CDELT | named("PC{i:03d}{j:03d}", PC), OF_PC),
        (CDELT | named("PC{i:03d}{j:03d}", PC) | named("PC{i}_{j}", PC), OF_PC),
        (CD | CDELT | {"CROTA2": 31.0}, None),
        (CD | {"CDELT1": 1.0, "CDELT2": 1.0} | named("PC{i}_{j}", np.eye(2)), None),
        (CD | named("PC{i:03d}{j:03d}", np.eye(2)), None),
        (named("CD{i}_{j}", OF_PC) | CDELT | named("PC{i}_{j}", PC), OF_PC),
    ],
    ids=["CD", "CDELT", "CROTA", "CROTA and unit PC", "PC", "PC00i00j", "both PC", "CD, CDELT, CROTA", "CD and unit PC",
         "CD and unit PC00i00j", "CD and PC that agree"],
)  # fmt: skip
def test_matrix_in_all_its_forms(cards, matrix):
    """The linear terms are those of the standard, and remains of another form change nothing."""
    expected = CD if matrix is None else named("CD{i}_{j}", matrix)
    assert apart(SIZE | TAN | cards, gnomonic(*linear(TAN | expected), 34.5, -5.0)) < 1e-8


@pytest.mark.parametrize(
    ("cards", "words"),
    [
        (CD | CDELT | named("PC{i}_{j}", PC), "CD1_1 .* PC and CDELT"),
        (CDELT | named("PC{i}_{j}", PC) | named("PC{i:03d}{j:03d}", PC.T), "PC001001"),
        (CDELT | named("PC{i}_{j}", PC) | {"CROTA2": 10.0}, "PC and CROTA"),
        (CD | {"CD1_1": "10,0"}, "CD1_1.*10,0"),
        (CD | {"CD2_2": float("nan")}, "CD2_2.*nan"),
        (CD | {"CD2_1": 0.0, "CD2_2": 0.0}, "(?i)singular"),
        (CD | {"CDELT1": 1e200, "PC1_1": 1e200}, "CD1_1 .* PC and CDELT give .*inf"),
        ({}, "A pixel would be 1 deg large: there is no CD1_1"),
        (dict.fromkeys(CD, 0.0), "A pixel would be 1 deg large: CD1_1 = 0.0"),
        ({"CD1_1": -9.4e-5}, "A pixel would be 1 deg large: CD1_1 = -9.4e-05"),
        (CD | {"CRVAL1": None}, "CRVAL1"),
        (CD | {"CRVAL1": "text"}, "CRVAL1.*text"),
        (CD | {"CRVAL2": 99.0}, "CRVAL2 = 99.0: .*No valid solution"),
        (CD | {"CTYPE2": None}, "CTYPE"),
        (CD | {"CTYPE1": "RA---XYZ", "CTYPE2": "DEC--XYZ"}, "XYZ"),
        (CD | {"CTYPE1": "FREQ", "CTYPE2": "STOKES"}, "no celestial axes"),
        (CD | {"CTYPE2": "DEC--SIN"}, "DEC--SIN"),
        (CD | {"CUNIT1": "furlong"}, "furlong"),
        (CD | {"RADESYS": "GAPPT"}, "GAPPT"),
        (CD | {"RADESYS": "FK5", "EQUINOX": "now"}, "EQUINOX.*now"),
        (CD | {"CTYPE1": "ELON-TAN", "CTYPE2": "ELAT-TAN"}, "ELON"),
        (CD | {"CTYPE1": "RA---TNX", "CTYPE2": "DEC--TNX", "WAT1_001": "wtype=tnx lngcor = 1. 4."},
         "CTYPE1 is 'RA---TNX': the coefficients of IRAF"),
        (CD | {"A_ORDER": 2, "B_ORDER": 2, "A_2_0": 1e-5}, "CTYPE1 is 'RA---TAN', but A_2_0"),
        (CD | {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 99, "B_ORDER": 2}, "A_ORDER is 99"),
    ],
)  # fmt: skip
def test_what_cannot_be_known_is_refused(cards, words):
    """Descriptions that disagree, cards that are no numbers, and frames of other skies: an error that names them."""
    header = {key: value for key, value in (SIZE | TAN | cards).items() if value is not None}
    with pytest.raises(CardError, match=words):
        icrs_wcs(header)


@pytest.mark.parametrize(("unit", "factor"), [("arcsec", 3600), ("rad", np.pi / 180), ("arcmin", 60), ("mas", 3.6e6)])
def test_units(unit, factor):
    """CUNIT holds for CRVAL and for the matrix."""
    cards = {key: value * factor for key, value in (CD | {"CRVAL1": 34.5, "CRVAL2": -5.0}).items()}
    cards |= {"CUNIT1": unit, "CUNIT2": unit}
    assert apart(SIZE | TAN | cards, gnomonic(*linear(TAN | CD), 34.5, -5.0)) < 1e-7


def test_sip_is_applied():
    """Pixels are displaced by the polynomials of SIP (Shupe et al. 2005) before the matrix."""
    sip = {"A_ORDER": 3, "B_ORDER": 2, "A_2_0": 3e-5, "A_1_2": -2e-8, "B_1_1": 4e-5, "B_0_2": -1e-5}
    cards = SIZE | TAN | CD | sip | {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP"}
    u, v = X + 1 - TAN["CRPIX1"], Y + 1 - TAN["CRPIX2"]
    moved = u + 3e-5 * u**2 - 2e-8 * u * v**2, v + 4e-5 * u * v - 1e-5 * v**2
    plane = linear(TAN | CD, moved[0] + TAN["CRPIX1"] - 1, moved[1] + TAN["CRPIX2"] - 1)
    assert apart(cards, gnomonic(*plane, 34.5, -5.0)) < 1e-8


def test_tnx_without_coefficients_is_tan():
    """TNX of images that were resampled since."""
    cards = {"CTYPE1": "RA---TNX", "CTYPE2": "DEC--TNX", "WAT0_001": "system=image", "WAT1_001": "wtype=tnx axtype=ra"}
    assert apart(SIZE | TAN | CD | cards, gnomonic(*linear(TAN | CD), 34.5, -5.0)) < 1e-8


@pytest.mark.parametrize("code", ["TPV", "TAN"])
def test_tpv_is_applied(code):
    """The polynomials of SCAMP act behind the matrix, for TPV and for TAN with parameters on both axes."""
    pv = {"PV1_0": 1e-5, "PV1_1": 1.001, "PV1_2": 2e-4, "PV1_4": 0.3, "PV2_1": 0.999, "PV2_5": -0.2, "PV2_10": 5.0}
    xi, eta = linear(TAN | CD)
    plane = 1e-5 + 1.001 * xi + 2e-4 * eta + 0.3 * xi**2, 0.999 * eta - 0.2 * eta * xi + 5.0 * xi**3
    cards = SIZE | TAN | CD | pv | {"CTYPE1": f"RA---{code}", "CTYPE2": f"DEC--{code}"}
    assert apart(cards, gnomonic(*plane, 34.5, -5.0)) < 1e-8


@pytest.mark.parametrize(
    "left_over", [{"PV2_1": 1.0, "PV2_3": 44.0, "PV2_5": -10300.0}, {"PROJP1": 1.0, "PROJP3": 44.0}]
)
def test_parameters_of_another_projection_do_not_count(left_over):
    """A TAN image that was resampled from ZPN, and kept its coefficients, is TAN."""
    assert apart(SIZE | TAN | CD | left_over, gnomonic(*linear(TAN | CD), 34.5, -5.0)) < 1e-8


def test_zpn_against_its_formula():
    """ZPN: R = sum PV2_m (90 deg - theta)^m; the direction is that of the plane."""
    pv = {"PV2_1": 1.0, "PV2_3": 44.0, "PV2_5": -10300.0}
    cards = SIZE | TAN | CD | pv | {"CTYPE1": "RA---ZPN", "CTYPE2": "DEC--ZPN", "CRPIX1": 5400.0, "CRPIX2": -6800.0}
    x, y = linear(cards)
    radius, distance = np.hypot(x, y), np.radians(np.hypot(x, y))
    for _ in range(30):
        distance = np.radians(radius) - 44 * distance**3 + 10300 * distance**5
    centre = SkyCoord(34.5, -5.0, unit="deg")
    expected = centre.directional_offset_by(np.arctan2(x, y) * u.rad, distance * u.rad)
    assert apart(cards, expected) < 1e-7


def swapped(cards: dict) -> dict:
    """The same image with its world axes in the other order."""
    out = dict(cards)
    for one, two in (("CTYPE1", "CTYPE2"), ("CRVAL1", "CRVAL2"), ("CD1_1", "CD2_1"), ("CD1_2", "CD2_2"),
                     ("PC1_1", "PC2_1"), ("PC1_2", "PC2_2"), ("CDELT1", "CDELT2"), ("CUNIT1", "CUNIT2")):  # fmt: skip
        out.pop(one, None), out.pop(two, None)
        out |= {one: cards[two]} if two in cards else {}
        out |= {two: cards[one]} if one in cards else {}
    for key in [key for key in cards if key.startswith("PV")]:
        del out[key]
    return out | {f"PV{3 - int(key[2])}{key[3:]}": value for key, value in cards.items() if key.startswith("PV")}


SIP = {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 2, "B_ORDER": 2, "A_2_0": 3e-5, "B_1_1": 4e-5}
ZPN = {"CTYPE1": "RA---ZPN", "CTYPE2": "DEC--ZPN", "PV2_1": 1.0, "PV2_3": 44.0, "PV2_5": -10300.0, "CRPIX1": 5400.0}
TPV = {"CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV", "PV1_1": 1.001, "PV1_4": 0.3, "PV2_1": 0.999, "PV2_5": -0.2}


@pytest.mark.parametrize("kind", [{}, SIP, ZPN], ids=["TAN", "SIP", "ZPN"])
def test_declination_before_right_ascension(kind):
    """Where the first world axis is the declination, positions still come out as RA and Dec."""
    cards = SIZE | TAN | CD | kind
    assert apart(swapped(cards), by_astropy(cards)) < 1e-7


def test_tpv_of_declination_first_is_refused():
    """Which axis a polynomial of TPV is of is then unclear, and readers differ."""
    with pytest.raises(CardError, match=r"DEC--TPV.*order"):
        icrs_wcs(swapped(SIZE | TAN | CD | TPV))


@pytest.mark.parametrize("kind", [{}, SIP, ZPN, TPV, {"CTYPE1": "RA---CAR", "CTYPE2": "DEC--CAR", "CRVAL2": 0.0}],
                         ids=["TAN", "SIP", "ZPN", "TPV", "CAR"])  # fmt: skip
@pytest.mark.parametrize(
    ("frame", "sky"),
    [
        ({"RADESYS": "FK5"}, FK5()),
        ({"EQUINOX": 2000.0}, FK5()),
        ({"EPOCH": 2000.0}, FK5()),
        ({"RADESYS": "FK5", "EQUINOX": "J2015.5"}, FK5(equinox="J2015.5")),
        ({"RADESYS": "FK4", "EQUINOX": 1950.0}, FK4(equinox="B1950")),
        ({"EQUINOX": "B1950"}, FK4(equinox="B1950")),
        ({"RADESYS": "ICRS", "EQUINOX": 1950.0}, "icrs"),
        ({"EPOCH": 2009.84}, "icrs"),
    ],
)
def test_frames_are_turned_into_icrs(kind, frame, sky):
    """By rotation, to a microarcsecond; FK4, with its aberration, and native poles by LATPOLE, to 0.1 mas."""
    cards = SIZE | TAN | CD | kind
    limit = 1e-4 if isinstance(sky, FK4) or "CAR" in cards["CTYPE1"] else 1e-6
    expected = by_astropy(cards, sky)
    assert apart(cards | frame, expected) < limit
    if kind is not TPV:
        assert apart(swapped(cards) | frame, expected) < limit


@pytest.mark.parametrize("code", ["TAN", "ZEA", "CAR", "MOL", "SIN", "COE"])
def test_galactic_images(code):
    """Galactic longitudes and latitudes become RA and Dec, in zenithal, cylindrical and conic projections."""
    cards = SIZE | TAN | CD | {"CTYPE1": f"GLON-{code}", "CTYPE2": f"GLAT-{code}", "CRVAL1": 172.0, "CRVAL2": 0.0}
    if code == "COE":
        cards |= {"PV2_1": 40.0, "PV2_2": 15.0, "CRVAL2": 40.0}
    wcs = WCS(fits.Header(cards))
    expected = SkyCoord(*wcs.all_pix2world(X, Y, 0), unit="deg", frame=Galactic()).icrs
    assert apart(cards, expected) < 1e-4


def test_further_axes_are_left_out():
    """An image of a cube, with a frequency of its own, is where its first two axes say."""
    third = {
        "NAXIS": 3,
        "NAXIS3": 1,
        "WCSAXES": 3,
        "CTYPE3": "FREQ",
        "CRVAL3": 1.4e9,
        "CDELT3": 1e6,
        "CRPIX3": 1.0,
        "CD3_3": 1e6,
    }
    assert apart(SIZE | TAN | CD | third, gnomonic(*linear(TAN | CD), 34.5, -5.0)) < 1e-8
    assert apart(SIZE | TAN | CD | third | SIP, by_astropy(SIZE | TAN | CD | SIP)) < 1e-8


def test_cards_of_no_projection_do_not_matter():
    """Dates, spectra, a second description and what a program made up may be as odd as they like."""
    odd = {
        "MJD-OBS": "yesterday",
        "DATE-OBS": "2009-13-45",
        "RESTFRQ": "?",
        "CTYPE1A": "PIXEL",
        "CRVAL1A": "x",
        "ESO DET": 3,
    }
    odd |= {
        "PERCORR": float("nan"),
        "WCSNAME": 3,
        "TELESCOP": "\u00e9",
        "OBSGEO-X": "here",
        "SEEING": "-",
        "CRDER1": "small",
    }
    assert apart(SIZE | TAN | CD | odd, gnomonic(*linear(TAN | CD), 34.5, -5.0)) < 1e-8


def test_positions_across_zero_hours_and_at_the_pole():
    """The tangent point may be anywhere."""
    for ra, dec in ((359.999, -5.0), (0.001, 60.0), (120.0, -89.999), (77.0, 90.0)):
        cards = SIZE | TAN | CD | {"CRVAL1": ra, "CRVAL2": dec, "LONPOLE": 180.0}
        assert apart(cards, gnomonic(*linear(cards), ra, dec)) < 1e-8


@pytest.mark.parametrize("turn", [-360.0, 360.0])
def test_right_ascensions_of_other_turns(turn):
    """Right ascensions are from 0 to 360 deg, whatever that of the reference pixel is."""
    ra, _ = icrs_wcs(SIZE | TAN | CD | {"CRVAL1": 34.5 + turn}).all_pix2world(X, Y, 0)
    assert ra == pytest.approx(icrs_wcs(SIZE | TAN | CD).all_pix2world(X, Y, 0)[0], abs=1e-9)


def test_icrs_header_is_taken_as_it_is(real_header):
    """Positions of an ICRS extension are those of astropy, to a microarcsecond."""
    header = real_header("v20120924_00582_st_ext1")
    x, y = grid(header)
    expected = plain_wcs(header, "ICRS").pixel_to_world(x, y)
    wcs = icrs_wcs(header)
    assert wcs.pixel_to_world(x, y).separation(expected).arcsec.max() < 1e-6
    assert wcs.pixel_shape == (2091, 2155)


@pytest.mark.parametrize("name", ["video_tile_tl_ext1", "v20120924_00525_raw_ext3"])
def test_fk5_header_is_converted(real_header, name):
    """FK5 pixels come out in ICRS to a microarcsecond; unconverted they would be wrong by some 20 mas."""
    header = real_header(name)
    header["RADECSYS"] = "FK5"
    header["EQUINOX"] = 2000.0
    x, y = grid(header)
    expected = plain_wcs(header, "FK5").pixel_to_world(x, y).icrs
    wcs = icrs_wcs(header)
    assert wcs.wcs.radesys == "ICRS"
    assert wcs.pixel_to_world(x, y).separation(expected).arcsec.max() < 1e-6
    unconverted = SkyCoord(*plain_wcs(header, "FK5").wcs_pix2world(x, y, 0), unit="deg")
    assert 0.01 < unconverted.separation(expected).arcsec.max() < 0.03


def test_pc_and_cdelt_are_converted_like_cd(real_header):
    """The conversion is the same whether the matrix is written as CD or as PC and CDELT."""
    header = real_header("video_tile_tl_ext1")
    x, y = grid(header)
    expected = icrs_wcs(header).pixel_to_world(x, y)
    scale = np.array([-2.0e-4, 1.0e-4])
    for row in (1, 2):
        header[f"CDELT{row}"] = scale[row - 1]
        for column in (1, 2):
            header[f"PC{row}_{column}"] = header[f"CD{row}_{column}"] / scale[row - 1]
            del header[f"CD{row}_{column}"]
    assert icrs_wcs(header).pixel_to_world(x, y).separation(expected).arcsec.max() < 1e-6


def test_old_projection_cards_stand_in_for_pv(real_header):
    """PROJPn alone give the same ZPN projection as PV2_n."""
    header = real_header("v20120924_00582_st_ext1")
    x, y = grid(header)
    expected = icrs_wcs(header).pixel_to_world(x, y)
    for key in [key for key in header if key.startswith("PV2_")]:
        del header[key]
    assert icrs_wcs(header).pixel_to_world(x, y).separation(expected).arcsec.max() < 1e-6


def test_missing_wcs_is_refused():
    """A header without CTYPE gives no positions."""
    with pytest.raises(ValueError, match="CTYPE1"):
        icrs_wcs(fits.Header({"NAXIS": 2}))
