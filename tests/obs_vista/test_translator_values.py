"""Values of translated headers, by hand, in cards that are unlike each other."""

from __future__ import annotations

import astropy.units as u
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.time import Time

from obs_vista import VircamTranslator


def translated(**cards: object) -> VircamTranslator:
    """A translator of a header with some cards; two underscores stand for a blank."""
    header = fits.Header({"INSTRUME": "VIRCAM", "DATE-OBS": "2012-09-25T08:05:26.5599"})
    for key, value in cards.items():
        keyword = key.replace("__", " ")
        header.append((f"HIERARCH {keyword}" if " " in keyword else keyword, value))
    return VircamTranslator(header)


@pytest.mark.parametrize(("posang", "expected"), [(0.0, 270.0), (30.0, 240.0), (-90.0, 0.0), (90.01, 179.99)])
def test_rotation_angle(posang: float, expected: float) -> None:
    """-(POSANG + 90 deg), in 0 to 360 deg: as the earlier processing of VISTA has it."""
    assert translated(ESO__TEL__POSANG=posang).to_boresight_rotation_angle().deg == pytest.approx(expected)


def test_times_are_of_the_exposure() -> None:
    """DIT 10 s x NDIT 6 is a minute, whatever EXPTIME is; the end is a minute after the begin; requested 12 s x 6."""
    made = translated(ESO__DET__DIT=10.0, ESO__DET__NDIT=6, EXPTIME=10.0, REQTIME=12.0)
    assert made.to_exposure_time() == 60 * u.s
    assert made.to_dark_time() == 60 * u.s
    assert made.to_exposure_time_requested() == 72 * u.s
    assert (made.to_datetime_end() - made.to_datetime_begin()).sec == pytest.approx(60)
    assert (made.to_ext_dit(), made.to_ext_ndit()) == (10.0, 6)
    assert translated(EXPTIME=33.0).to_exposure_time() == 33 * u.s
    assert translated(EXPTIME=33.0).to_exposure_time_requested() == 33 * u.s


def test_observing_days_change_at_noon_of_paranal() -> None:
    """16 h UT is noon at the longitude of Paranal, less half an hour."""
    assert VircamTranslator.observing_date_to_offset(Time("2012-09-25T08:05:26")).to_value("s") == pytest.approx(57600)


def test_weather_and_focus() -> None:
    """Temperature outside in deg C before the sensor's in K; the pressure at the end where that at the start lacks."""
    assert translated(ESO__TEL__AMBI__TEMP=-3.5, ESO__INS__TEMP1__VAL=290.0).to_temperature().to_value(
        u.K
    ) == pytest.approx(269.65)
    assert translated(ESO__INS__TEMP1__VAL=290.0).to_temperature() == 290 * u.K
    assert translated(ESO__TEL__AMBI__PRES__END=744.25).to_pressure() == 744.25 * u.hPa
    assert translated(ESO__TEL__M2__Z=1.25).to_focus_z() == 1.25 * u.mm
    assert translated(ESO__TEL__AIRM__END=1.3).to_boresight_airmass() == 1.3
    assert translated(ESO__TEL__AIRM__START=1.1, ESO__TEL__AIRM__END=1.3).to_boresight_airmass() == pytest.approx(1.2)


def test_place_of_the_telescope() -> None:
    """The header's place, each coordinate in its own; VISTA's published place where one lacks."""
    cards = {"ESO__TEL__GEOLON": -70.5, "ESO__TEL__GEOLAT": -24.25, "ESO__TEL__GEOELEV": 2600.0}
    place = translated(**cards).to_location().geodetic
    assert (place.lon.deg, place.lat.deg, place.height.to_value("m")) == pytest.approx((-70.5, -24.25, 2600.0))
    place = translated(ESO__TEL__GEOLON=-70.5).to_location().geodetic
    assert (place.lon.deg, place.lat.deg, place.height.to_value("m")) == pytest.approx((-70.3976, -24.6157, 2530.0))


@pytest.mark.parametrize(("azimuth", "expected"), [(0.0, 180.0), (90.0, 270.0), (225.0, 45.0)])
def test_azimuth_from_south_through_west(azimuth: float, expected: float) -> None:
    """ESO counts from south through west, the standard from north through east."""
    begin = translated(ESO__TEL__ALT=50.0, ESO__TEL__AZ=azimuth).to_altaz_begin()
    assert (begin.az.deg, begin.alt.deg) == pytest.approx((expected, 50.0))


def test_pointing_of_a_merged_header() -> None:
    """A frame that is given counts; without one an equinox means FK5, and nothing means ICRS."""
    fk5 = SkyCoord(150.0, -60.0, unit="deg", frame="fk5")
    assert translated(RA=150.0, DEC=-60.0, EQUINOX=2000.0).to_tracking_radec().separation(fk5).mas < 1e-3
    assert translated(RA=150.0, DEC=-60.0).to_tracking_radec().ra.deg == 150.0
    assert translated(RA=150.0).to_tracking_radec() is None


def test_numbers_of_an_exposure() -> None:
    """Exposure 622538, detector 13: 62253813, with two digits of the detector."""
    made = translated(ESO__DET__EXP__NO=622538, ESO__DET__CHIP__NO=13, OBSNUM=519, NICOMB=9, ESO__DET__CHIP__ID="V9")
    assert made.to_detector_exposure_id() == 62253813
    assert (made.to_visit_id(), made.to_exposure_group(), made.to_detector_name()) == (622538, "622538", "CHIP13")
    assert (made.to_observation_counter(), made.to_ext_nicomb(), made.to_detector_serial()) == (519, 9, "V9")
    assert translated(ARCFILE="VCAM.2012-09-25T08:05:26.567.fits").to_observation_id() == "VCAM.2012-09-25T08:05:26.567"
    assert translated(EXTNAME="DET1.CHIP7").to_detector_num() == 7


@pytest.mark.parametrize(
    ("kind", "expected", "sky"), [("SKY", "sky", True), ("LINEARITY", "flat", False), ("STD", "science", True)]
)
def test_kinds_of_observation(kind: str, expected: str, sky: bool) -> None:
    """What an observation is for, and whether the sky is on it."""
    made = translated(ESO__DPR__TYPE=kind)
    assert made.to_observation_type() == expected
    assert made.to_can_see_sky() is sky
