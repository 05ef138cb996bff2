"""Translation of VIRCAM headers into the standard properties of astro_metadata_translator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import astropy.units as u
from astro_metadata_translator import PropertyDefinition, cache_translation
from astro_metadata_translator.translators import FitsTranslator
from astropy.coordinates import AltAz, Angle, EarthLocation, SkyCoord
from astropy.time import Time, TimeDelta

from obs_vista.bands import get_band, vista_band
from obs_vista.camera import NAME, get_detector
from obs_vista.cards import card_number
from obs_vista.headers import POINTING_FRAME, UNKNOWN_FRAME, detector_number

_TYPES = {"OBJECT": "science", "STD": "science", "SKY": "sky", "DARK": "dark", "FLAT": "flat", "LINEARITY": "flat"}


class VircamTranslator(FitsTranslator):
    """Standard properties of one detector of a VIRCAM image: raw frame, single exposure, pawprint stack or tile.

    The header should be merged from the primary header and the extension (`obs_vista.headers.merged_header`).
    Properties missing from the header are None; no constant overrides a value in the header.
    """

    name: ClassVar[str] = NAME
    supported_instrument: ClassVar[str] = NAME

    _const_map: ClassVar[dict[str, Any]] = {"boresight_rotation_coord": "sky", "detector_group": None}
    _trivial_map: ClassVar[dict[str, Any]] = {}

    extensions: ClassVar[dict[str, PropertyDefinition]] = {
        "dit": PropertyDefinition("Time of one detector integration, in seconds.", float),
        "ndit": PropertyDefinition("Integrations summed by the detector controller.", int),
        "nicomb": PropertyDefinition("Exposures combined in the image; 1 unless it is a stack.", int),
    }

    @classmethod
    def can_translate(cls, header: Mapping[str, Any], filename: str | None = None) -> bool:
        """Whether the header is from VIRCAM, by INSTRUME or, in an extension alone, by the original file name."""
        if str(header.get("INSTRUME", "")).strip():
            return str(header["INSTRUME"]).strip() == NAME
        return str(header.get("ORIGFILE", "")).startswith(f"{NAME}_")

    @classmethod
    def observing_date_to_offset(cls, observing_date: Time) -> TimeDelta | None:
        """A night at Paranal begins at noon UT - 4 h: observing days change at 16 h UT."""
        return TimeDelta(16 * 3600, format="sec", scale="tai")

    def _number(self, *keywords: str) -> float | None:
        """The first of some cards that has a value, as a number."""
        for keyword in keywords:
            if self.is_key_ok(keyword):
                self._used_these_cards(keyword)
                return card_number(self._header, keyword)
        return None

    def _text(self, *keywords: str) -> str | None:
        """The first of some cards that has a value, as text without blanks around it."""
        for keyword in keywords:
            if self.is_key_ok(keyword):
                self._used_these_cards(keyword)
                return str(self._header[keyword]).strip()
        return None

    @cache_translation
    def to_instrument(self) -> str:
        """The instrument, even if only the extension was kept."""
        return NAME

    @cache_translation
    def to_telescope(self) -> str:
        """The telescope, which is always VISTA."""
        return self._text("TELESCOP") or "VISTA"

    @cache_translation
    def to_object(self) -> str:
        """The target: OBJECT, or the observation block's target."""
        return self._text("OBJECT", "ESO OBS TARG NAME") or "unknown"

    @cache_translation
    def to_science_program(self) -> str | None:
        """ESO programme, e.g. 179.A-2006(D)."""
        return self._text("ESO OBS PROG ID")

    @cache_translation
    def to_observation_reason(self) -> str | None:
        """Name of the observation block."""
        return self._text("ESO OBS NAME")

    @cache_translation
    def to_observation_counter(self) -> int | None:
        """OBSNUM, the number of the observation in its night."""
        number = self._number("OBSNUM")
        return None if number is None else int(number)

    @cache_translation
    def to_location(self) -> EarthLocation:
        """Location of the telescope, from the header or else the published location of VISTA."""
        longitude = self._number("ESO TEL GEOLON")
        latitude = self._number("ESO TEL GEOLAT")
        height = self._number("ESO TEL GEOELEV")
        if longitude is None or latitude is None or height is None:
            longitude, latitude, height = -70.3976, -24.6157, 2530.0
        return EarthLocation.from_geodetic(longitude * u.deg, latitude * u.deg, height * u.m)

    @cache_translation
    def to_datetime_end(self) -> Time:
        """The end of the exposure that the header describes: the first of a stack."""
        return self.to_datetime_begin() + self.to_exposure_time()

    @cache_translation
    def to_exposure_time(self) -> u.Quantity:
        """Exposure time, DIT x NDIT. EXPTIME has this value in raw frames, but is one DIT in CASU products."""
        dit, ndit = self._number("ESO DET DIT"), self._number("ESO DET NDIT")
        if dit is not None and ndit is not None:
            return dit * ndit * u.s
        return self.quantity_from_card("EXPTIME", u.s)

    @cache_translation
    def to_exposure_time_requested(self) -> u.Quantity:
        """Requested time of one exposure."""
        requested = self._number("ESO OCS REQTIME", "REQTIME")
        ndit = self._number("ESO DET NDIT")
        return self.to_exposure_time() if requested is None or ndit is None else requested * ndit * u.s

    @cache_translation
    def to_ext_dit(self) -> float | None:
        """ESO DET DIT."""
        return self._number("ESO DET DIT")

    @cache_translation
    def to_ext_ndit(self) -> int | None:
        """ESO DET NDIT."""
        number = self._number("ESO DET NDIT")
        return None if number is None else int(number)

    @cache_translation
    def to_ext_nicomb(self) -> int:
        """NICOMB."""
        return int(self._number("NICOMB") or 1)

    @cache_translation
    def to_dark_time(self) -> u.Quantity:
        """Time during which charge is collected: the exposure time, because the detectors are reset before each DIT."""
        return self.to_exposure_time()

    @cache_translation
    def to_physical_filter(self) -> str:
        """The filter, from FILTER, the filter wheel or the flat field.

        Raises
        ------
        KeyError
            If no card names a filter, or the filter is not one of Z Y J H Ks.
        """
        upstream = self._text("FILTER", "ESO INS FILT1 NAME")
        if upstream is None and (flat := self._text("FLATCOR")) is not None:
            upstream = flat.split("_")[0]
        if upstream is not None:
            return get_band(vista_band(upstream)).physical_filter
        raise KeyError(f"{self._log_prefix}: none of FILTER, ESO INS FILT1 NAME and FLATCOR names a filter.")

    @cache_translation
    def to_exposure_id(self) -> int | None:
        """ESO DET EXP NO; in a stack, that of its first exposure. None for tiles, which do not have it."""
        number = self._number("ESO DET EXP NO")
        return None if number is None else int(number)

    @cache_translation
    def to_visit_id(self) -> int | None:
        """The visit: an exposure, or the stack that starts with it."""
        return self.to_exposure_id()

    @cache_translation
    def to_observation_id(self) -> str | None:
        """Name of the exposure in the ESO archive, or else of the detector controller's file."""
        return (self._text("ARCFILE", "ESO DET EXP NAME") or "").removesuffix(".fits") or None

    @cache_translation
    def to_exposure_group(self) -> str | None:
        """The exposure itself: each exposure is its own group."""
        number = self.to_exposure_id()
        return None if number is None else str(number)

    @cache_translation
    def to_detector_num(self) -> int | None:
        """ESO DET CHIP NO, or the number in EXTNAME; None for tiles, which combine all detectors."""
        self._used_these_cards(*(k for k in ("ESO DET CHIP NO", "EXTNAME") if k in self._header))
        return detector_number(self._header)

    @cache_translation
    def to_detector_name(self) -> str | None:
        """Name of the detector, as registered: CHIP01 to CHIP16."""
        number = self.to_detector_num()
        return None if number is None else get_detector(number).name

    @cache_translation
    def to_detector_unique_name(self) -> str | None:
        """Name of the detector, as registered: CHIP01 to CHIP16."""
        return self.to_detector_name()

    @cache_translation
    def to_detector_serial(self) -> str | None:
        """Serial number of the detector, e.g. ESO-Virgo35."""
        return self._text("ESO DET CHIP ID")

    @cache_translation
    def to_detector_exposure_id(self) -> int | None:
        """A number for one detector of one exposure: the exposure and two digits of the detector."""
        exposure, detector = self.to_exposure_id(), self.to_detector_num()
        return None if exposure is None or detector is None else 100 * exposure + detector

    @cache_translation
    def to_observation_type(self) -> str:
        """science, sky, dark or flat, from ESO DPR TYPE; science if that is missing, as in extensions alone."""
        kind = self._text("ESO DPR TYPE")
        return "science" if kind is None else _TYPES.get(kind.split(",")[0].strip(), "unknown")

    @cache_translation
    def to_can_see_sky(self) -> bool:
        """Whether the exposure can see the sky: not for darks and dome flats."""
        return self.to_observation_type() in ("science", "sky")

    @cache_translation
    def to_has_simulated_content(self) -> bool:
        """Whether the pixels were simulated, which is recorded in our own simulated files."""
        return bool(self._header.get("SIMULATE", False))

    @cache_translation
    def to_pressure(self) -> u.Quantity | None:
        """Pressure of the air at the observatory (hPa)."""
        pressure = self._number("ESO TEL AMBI PRES START", "ESO TEL AMBI PRES END")
        return None if pressure is None else pressure * u.hPa

    @cache_translation
    def to_relative_humidity(self) -> float | None:
        """Humidity of the air at the observatory, in per cent."""
        return self._number("ESO TEL AMBI RHUM")

    @cache_translation
    def to_focus_z(self) -> u.Quantity | None:
        """Position of the secondary mirror (mm)."""
        position = self._number("ESO TEL FOCU VALUE", "ESO TEL M2 Z")
        return None if position is None else position * u.mm

    @cache_translation
    def to_temperature(self) -> u.Quantity | None:
        """Air temperature, from the observatory (deg C) or else from the instrument's sensor (K)."""
        outside = self._number("ESO TEL AMBI TEMP")
        if outside is not None:
            return (outside * u.deg_C).to(u.K, equivalencies=u.temperature())
        inside = self._number("ESO INS THERMAL AMB MEAN", "ESO INS TEMP1 VAL")
        return None if inside is None else inside * u.K

    @cache_translation
    def to_boresight_airmass(self) -> float | None:
        """Mean of the airmass at start and end."""
        values = [self._number(f"ESO TEL AIRM {when}") for when in ("START", "END")]
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if known else None

    @cache_translation
    def to_boresight_rotation_angle(self) -> Angle | None:
        """Angle of the focal plane on the sky: -(POSANG + 90 deg); +y of the camera is at 90 deg when POSANG is 0."""
        angle = self._number("ESO TEL POSANG")
        return None if angle is None else Angle(-(angle + 90) * u.deg).wrap_at(360 * u.deg)

    @cache_translation
    def to_tracking_radec(self) -> SkyCoord | None:
        """Pointing of the telescope: RA and DEC in the frame given by the header; None if the frame is unknown."""
        right_ascension, declination = self._number("RA"), self._number("DEC")
        if right_ascension is None or declination is None:
            return None
        frame, equinox = "icrs", ""
        if self.is_key_ok(POINTING_FRAME):
            frame, _, equinox = str(self._header[POINTING_FRAME]).strip().partition(" ")
        elif self.is_key_ok("EQUINOX"):
            # Merged elsewhere: the frame that is given may be the extension's, but ICRS has no equinox.
            frame = "fk5"
        self._used_these_cards(*(k for k in (POINTING_FRAME, "EQUINOX") if k in self._header))
        if frame == UNKNOWN_FRAME:
            return None
        of_equinox = {"equinox": equinox} if equinox else {}
        return SkyCoord(right_ascension, declination, unit="deg", frame=frame.lower(), **of_equinox).icrs

    def _altaz(self, when: Time) -> AltAz | None:
        altitude, azimuth = self._number("ESO TEL ALT"), self._number("ESO TEL AZ")
        if altitude is None or azimuth is None:
            return None
        # ESO counts azimuth from south through west.
        return AltAz(
            alt=altitude * u.deg, az=((azimuth + 180) % 360) * u.deg, obstime=when, location=self.to_location()
        )

    @cache_translation
    def to_altaz_begin(self) -> AltAz | None:
        """Altitude and azimuth at the start."""
        return self._altaz(self.to_datetime_begin())

    @cache_translation
    def to_altaz_end(self) -> AltAz | None:
        """None, since it is not in the header."""
        return None


def find_translators() -> list[str]:
    """Names of the translators in this module, for the plugin list of astro_metadata_translator."""
    return [VircamTranslator.name]
