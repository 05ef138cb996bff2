"""Header cards of CASU pawprint stacks: ESO's description of the observation, and CASU's of the reduction."""

from __future__ import annotations

from functools import cache, lru_cache
from importlib.resources import files

import astropy.units as u
import numpy as np
import yaml
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.time import Time

from dmu0.sample.observing import airmass, altitude_azimuth, sidereal_time
from dmu0.sample.render import enclosed_fraction
from dmu0.sample.scene import VISTA_PIXEL, VISTA_SETTINGS, Scene
from dmu0.sample.visits import Visit
from dmu0.sample.vista_pixels import EXTINCTION, Stack
from obs_vista.bands import get_band

_CORE_RADIUS = 1.0
"""CASU's core radius in arcsec; aperture 3 has this radius, and apertures 1 to 7 have these multiples of it."""
_APERTURES = (0.5, 2**-0.5, 1.0, 2**0.5, 2.0, 2 * 2**0.5, 4.0)

_GAINCOR = (
    1.198,
    1.047,
    1.111,
    1.053,
    1.034,
    1.066,
    1.142,
    1.039,
    0.967,
    1.104,
    0.948,
    1.110,
    0.777,
    0.917,
    1.099,
    0.883,
)
"""CASU's gain correction of detectors 1 to 16: the mean gain over the gain of each detector."""


@cache
def _cards() -> dict[str, list[tuple]]:
    return yaml.safe_load(files("dmu0.sample").joinpath("vircam_cards.yaml").read_text())


def _card(keyword: str, value: object, comment: str) -> fits.Card:
    return fits.Card(f"HIERARCH {keyword}" if " " in keyword else keyword, value, comment)


@cache
def _fixed_cards(part: str) -> dict[str, tuple[object, str]]:
    """Keyword -> value and comment, for the primary header or an extension."""
    cards = {keyword: (value, comment) for keyword, value, comment in _cards()[part]}
    if part == "extension":
        values = {"DELAY": 7, "ENABLE": 1, "FILTER1": 0, "FILTER2": 0, "HEADER": 1, "NAME": "VISTA-AQ-GRP"}
        for number in range(1, 17):
            cards |= {f"ESO DET IRACE ADC{number} {name}": (value, "ADC board") for name, value in values.items()}
    return cards


@lru_cache(4096)
def _card_text(keyword: str, value: object, comment: str, _type: type) -> str:
    """A card as 80 characters, with a truncated comment; cached, because most cards are in every header."""
    bare = str(_card(keyword, value, "")).rstrip()
    return str(_card(keyword, value, comment[: max(77 - max(len(bare), 30), 0)].rstrip()))


def _header(part: str, values: dict[str, object], added: dict[str, tuple[object, str]]) -> fits.Header:
    """A header: fixed cards, some with changed values, and additional cards."""
    fixed = _fixed_cards(part)
    cards = fixed | {keyword: (value, fixed[keyword][1]) for keyword, value in values.items()} | added
    # The type is part of the cache's key: 1, 1.0 and True are equal, and yet are different cards.
    return fits.Header.fromstring("".join(_card_text(key, *card, type(card[0])) for key, card in cards.items()))


def _sexagesimal(angle: float) -> float:
    """DDMMSS.sss as one number, as ESO writes coordinates."""
    size = round(abs(angle) * 3600, 3)
    degrees, rest = divmod(size, 3600)
    minutes, seconds = divmod(rest, 60)
    return float(np.sign(angle) * round(degrees * 10000 + minutes * 100 + seconds, 3))


def primary_header(visit: Visit, centre: SkyCoord) -> fits.Header:
    """The primary header of a stack: pointing (FK5), observation and observatory.

    Parameters
    ----------
    visit
        Observation of the stack.
    centre
        Centre of the field.
    """
    start = Time(visit.mjd, format="mjd", scale="utc")
    ra = (centre.ra.deg + visit.east / 3600 / np.cos(centre.dec.rad)) % 360
    dec = centre.dec.deg + visit.north / 3600
    fk5 = SkyCoord(ra * u.deg, dec * u.deg).fk5
    altitude, azimuth = altitude_azimuth(visit.mjd, ra=ra, dec=dec)
    end_mjd = visit.mjd + visit.dit * visit.ndit / 86400
    band, setting = get_band(visit.band), VISTA_SETTINGS[visit.band]
    upstream = band.aliases[0]
    block = f"SAMPLE-{upstream}-{visit.nicomb}jitter"
    alpha, delta = _sexagesimal(fk5.ra.hourangle), _sexagesimal(fk5.dec.deg)
    exposure_name = f"VIRCAM_IMG_OBS{start.datetime.timetuple().tm_yday}_{visit.number:04d}"
    seconds = visit.mjd % 1 * 86400
    seeing = round(float(visit.psf.fwhm) * VISTA_PIXEL * 0.9, 2)
    values = {
        "DATE": start.isot[:19], "RA": round(fk5.ra.deg, 6), "DEC": round(fk5.dec.deg, 5),
        "EXPTIME": visit.dit, "MJD-OBS": round(visit.mjd, 8), "DATE-OBS": start.isot + "0",
        "UTC": round(seconds, 3), "LST": round(sidereal_time(visit.mjd) * 240, 3),
        "OBJECT": "Sample tile", "ORIGFILE": exposure_name + ".fits",
        "ESO DET DIT": visit.dit, "ESO DET NDIT": visit.ndit,
        "ESO INS FILT1 NAME": upstream, "ESO INS FILT1 WLEN": setting.wavelength,
        "ESO INS FILT1 ID": "SLOT7" if upstream == "Z" else f"SLOT{list(VISTA_SETTINGS).index(visit.band) + 1}",
        "ESO INS FILT1 DATE": start.isot[:19],
        "ESO OBS NAME": block, "ESO OBS ID": 570_000 + visit.number, "ESO OBS START": start.isot[:19],
        "ESO OBS TARG NAME": "Sample tile", "ESO OBS PROG ID": "SAMPLE",
        "ESO OCS REQTIME": visit.dit, "ESO OCS SADT ID": "sample", "REQTIME": visit.dit,
        "ESO OCS SADT TILE RA": alpha, "ESO OCS SADT TILE DEC": delta,
        "ESO OCS TARG ALPHAOBJ": alpha, "ESO OCS TARG DELTAOBJ": delta,
        "ESO TEL TARG ALPHA": alpha, "ESO TEL TARG DELTA": delta,
        "ESO TEL AIRM START": round(visit.airmass, 3),
        "ESO TEL AIRM END": round(airmass(end_mjd, ra=ra, dec=dec), 3),
        "ESO TEL ALT": round(altitude, 3), "ESO TEL AZ": round(azimuth, 3),
        "ESO TEL POSANG": visit.angle, "ESO OCS SADT TILE OFFANGLE": visit.angle,
        "ESO TEL AO DATE": start.isot[:19], "ESO TEL AO M1 DATE": start.isot[:19],
        "ESO TEL AO M2 DATE": start.isot[:19],
        "ESO TEL AMBI FWHM START": seeing, "ESO TEL AMBI FWHM END": seeing,
        "ESO TEL AMBI PRES START": 737.5 + visit.number % 17 / 10,
        "ESO TEL AMBI PRES END": 737.5 + visit.number % 17 / 10,
        "ESO INS TEMP1 VAL": 284.5 + visit.number % 23 / 10,
        "ESO INS THERMAL AMB MEAN": 284.5 + visit.number % 23 / 10,
        "ESO TEL GUID RA": round(ra + 0.7, 6), "ESO TEL GUID DEC": round(dec + 0.19, 5),
        "ESO TPL NEXP": visit.nicomb, "ESO TPL START": start.isot[:19],
        "NJITTER": visit.nicomb, "NOFFSETS": 1, "OBSNUM": visit.number, "JITTRNUM": visit.number,
        "OFFSTNUM": visit.number, "USTEPNUM": visit.number,
        "JITTER_X": round(visit.jitter[0][0] * VISTA_PIXEL, 3),
        "JITTER_Y": round(visit.jitter[0][1] * VISTA_PIXEL, 3),
        "OFFSET_X": round(visit.east, 3), "OFFSET_Y": round(visit.north, 3),
        "ARCFILE": f"VCAM.{start.isot}.fits", "OBSTATUS": visit.obstatus, "ESOGRADE": visit.esograde,
    }  # fmt: skip
    return _header("primary", values, {"FILTER": (upstream, "Filter used for observation")})


def _apertures(fwhm: float) -> dict[str, tuple[float, str]]:
    """APCOR1 ... APCOR7 for the FWHM of a PSF in px."""
    radii = np.array(_APERTURES) * _CORE_RADIUS / VISTA_PIXEL
    corrections = -2.5 * np.log10(enclosed_fraction(radii, fwhm))
    return {
        f"APCOR{number}": (round(float(value), 4), f"Stellar aperture correction - {radius:.2f}x core flux")
        for number, (radius, value) in enumerate(zip(_APERTURES, corrections, strict=True), start=1)
    }


def _position_cards(stack: Stack) -> dict[str, object]:
    wcs = stack.header_wcs.wcs
    return {
        "CRVAL1": wcs.crval[0], "CRVAL2": wcs.crval[1],
        "CRPIX1": round(float(wcs.crpix[0]), 3), "CRPIX2": round(float(wcs.crpix[1]), 3),
        "CD1_1": wcs.cd[0, 0], "CD1_2": wcs.cd[0, 1], "CD2_1": wcs.cd[1, 0], "CD2_2": wcs.cd[1, 1],
    }  # fmt: skip


def extension_header(visit: Visit, stack: Stack, detector: int, scene: Scene, *, magzpt: float) -> fits.Header:
    """The header of one detector of a stack: ZPN projection (ICRS) and CASU's measurements.

    Parameters
    ----------
    visit
        Observation of the stack.
    stack
        Pixels of the stack and the measurements on them.
    detector
        Number of the detector, 1 to 16.
    scene
        The settings.
    magzpt
        Zero point of the stack measured by CASU (Vega).
    """
    rng = np.random.default_rng([visit.exposure, detector])
    start, setting = Time(visit.mjd, format="mjd", scale="utc"), VISTA_SETTINGS[visit.band]
    end = Time(visit.mjd + visit.dit * visit.ndit / 86400, format="mjd", scale="utc")
    upstream = get_band(visit.band).aliases[0]
    exposure_name = f"VIRCAM_IMG_OBS{start.datetime.timetuple().tm_yday}_{visit.number:04d}"
    size, shifts = int(scene.detector_pixels), rng.normal(0, 1, 4)
    values = _position_cards(stack) | {
        "EXTNAME": f"DET1.CHIP{detector}", "DATE": end.isot, "EXPTIME": visit.dit,
        "MJD-OBS": round(visit.mjd, 8), "DATE-OBS": start.isot + "0",
        "ORIGFILE": f"{exposure_name}_DET{detector:02d}.fits",
        "ESO DET CHIP ID": f"ESO-Virgo{20 + detector}", "ESO DET CHIP NO": detector,
        "ESO DET CHIP NX": size, "ESO DET CHIP NY": size, "ESO DET WIN NX": size, "ESO DET WIN NY": size,
        "ESO DET CHIP X": 1 + (detector - 1) // 4, "ESO DET CHIP Y": 4 - (detector - 1) % 4,
        "ESO DET DIT": visit.dit, "ESO DET NDIT": visit.ndit,
        "ESO DET EXP NAME": exposure_name, "ESO DET EXP NO": visit.exposure,
        "ESO DET EXP UTC": end.isot, "ESO DET FRAM UTC": end.isot,
        "DARKCOR": f"dark_{visit.night}_{visit.dit:.0f}_{visit.ndit}.fit[{detector}]",
        "FLATCOR": f"{upstream}_flat_{setting.flat}.fit[{detector}]", "GAINCOR": _GAINCOR[detector - 1],
        "LINCOR": f"chan_comb_20120827.fit[{detector}]", "CIR_CPM": f"{visit.name}_conf.fit[{detector}]",
        "SKYLEVEL": round(stack.sky_level, 2), "SKYNOISE": round(stack.sky_noise, 3),
        "ELLIPTIC": round(stack.ellipticity + abs(rng.normal(0, 0.004)), 7),
        "NUMBRMS": max(stack.stars // 2, 6), "NUMSTDS": max(stack.stars // 2 + 2, 8),
        "STDCRMS": round(0.16 + 0.03 * rng.random(), 7),
        "RAZP01": round(float(shifts[0]), 6), "DECZP01": round(float(shifts[1]), 6),
        "RAZP12": round(0.01 * float(shifts[2]), 7), "DECZP12": round(0.01 * float(shifts[3]), 7),
        "SKYSUB": f"Done with sky_{visit.night}_{visit.number}_{upstream}.fit[{detector}]",
        "STRPRMS": round(float(rng.uniform(4.6, 5.4)), 6), "NICOMB": visit.nicomb,
        "SEEING": round(stack.fwhm * (1 + rng.normal(0, 0.01)), 6), "EXTINCT": EXTINCTION,
        "MAGZPT": magzpt, "MAGZRR": 0.01 if visit.obstatus == "Completed" else 0.04,
        "NUMZPT": 16 * max(stack.stars // 3, 3), "NIGHTZPT": setting.zero_point, "NIGHTZRR": 0.019,
    }  # fmt: skip
    added = _apertures(stack.fwhm)
    added["PROV0000"] = (f"{visit.name}.fit[{detector}]: formed from Bi-linear interpolation of:", "")
    for number in range(visit.nicomb):
        origin = f"v{visit.night}_{visit.number + number:05d}.fit[{detector}]"
        added[f"PROV{number + 1:04d}"] = (origin, f"Card # {number + 1}")
    header = _header("extension", values, added)
    header.add_history(f"{start.strftime('%Y%m%d %H:%M:%S')}")
    header.add_history("   dmu0.sample: simulated as CASU's imcore, platesol and stacking leave it")
    return header
