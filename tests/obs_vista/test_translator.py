"""Real headers, translated into standard properties."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import astropy.units as u
import pytest
from astro_metadata_translator import MetadataTranslator, ObservationInfo
from astropy.coordinates import ICRS, SkyCoord
from astropy.io import fits

from obs_vista import VircamTranslator
from obs_vista.headers import merged_header
from obs_vista.translator import find_translators


@pytest.fixture
def stack(real_header) -> fits.Header:
    """The merged header of the Z stack."""
    return merged_header(real_header("v20120924_00582_st_primary"), real_header("v20120924_00582_st_ext1"))


def test_stack(stack):
    """Every property of a stack is the header's, pressure, object and type included."""
    info = ObservationInfo(stack, pedantic=True)
    assert info.instrument == "VIRCAM"
    assert info.telescope == "VISTA"
    assert info.physical_filter == "VIRCAM-Z"
    assert (info.exposure_id, info.visit_id, info.detector_num) == (622538, 622538, 1)
    assert (info.detector_name, info.detector_serial, info.detector_exposure_id) == ("CHIP01", "ESO-Virgo35", 62253801)
    assert info.object == "No name"
    assert info.observation_type == "science"
    assert info.science_program == "179.A-2006(D)"
    assert info.observation_id == "VCAM.2012-09-25T08:05:26.567"
    assert info.pressure == 737.5 * u.hPa
    assert info.temperature.to_value(u.K) == pytest.approx(273.15 + 13.11)
    assert info.relative_humidity == 7
    assert info.boresight_airmass == pytest.approx(1.1335)
    assert info.focus_z == 2.733 * u.mm
    assert info.exposure_time == 50 * u.s
    assert (info.ext_dit, info.ext_ndit, info.ext_nicomb) == (50.0, 1, 9)
    assert info.datetime_begin.utc.isot == "2012-09-25T08:05:26.560"
    assert info.observing_day == 20120924
    assert info.location.geodetic.height.to_value(u.m) == pytest.approx(2530, abs=0.01)


def test_pointing_is_converted_from_fk5(stack):
    """RA and DEC are FK5 although the pixels are ICRS; a header merged elsewhere says so by its equinox."""
    expected = SkyCoord(34.539904, -4.99293, unit="deg", frame="fk5")
    assert ObservationInfo(stack, pedantic=True).tracking_radec.separation(expected).arcsec < 1e-6
    assert ObservationInfo(stack).tracking_radec.separation(SkyCoord(34.539904, -4.99293, unit="deg")).mas > 10
    del stack["PNTFRAME"]
    stack["EQUINOX"] = 2000.0
    assert ObservationInfo(stack, pedantic=True).tracking_radec.separation(expected).arcsec < 1e-6


def test_altaz_points_at_the_target(stack):
    """Azimuth counted from south through west leads back to RA and DEC, to the accuracy of the header."""
    info = ObservationInfo(stack, pedantic=True)
    assert info.altaz_begin.az.deg == pytest.approx(311.204)
    assert info.altaz_begin.transform_to(ICRS()).separation(info.tracking_radec).deg < 0.3


def test_tile(real_header):
    """A tile is of all detectors and of no single exposure; its counts are of one DIT, its exposure time of all."""
    info = ObservationInfo(real_header("video_tile_tl_ext1"), pedantic=True)
    assert (info.detector_num, info.exposure_id) == (None, None)
    assert info.physical_filter == "VIRCAM-Y"
    assert info.exposure_time == 60 * u.s
    assert (info.pressure.value, info.object, info.ext_ndit) == (737.73, "No name", 2)


def test_raw_frame(real_header):
    """A raw extension alone gives what it knows: exposure, detector, times; DIT x NDIT is its EXPTIME."""
    translator = VircamTranslator(real_header("v20120924_00525_raw_ext3"))
    assert (translator.to_exposure_id(), translator.to_detector_num()) == (622481, 3)
    assert translator.to_exposure_time() == 60 * u.s
    assert translator.to_ext_nicomb() == 1
    assert translator.to_pressure() is None
    with pytest.raises(KeyError, match="FLATCOR"):
        translator.to_physical_filter()


def test_single_exposure(real_header):
    """A single exposure has the stack's properties, and is one exposure."""
    header = merged_header(real_header("inputs_exposures0_primary"), real_header("inputs_exposures0_ext1"))
    info = ObservationInfo(header, pedantic=True)
    assert (info.exposure_id, info.ext_nicomb, info.physical_filter) == (622538, 1, "VIRCAM-Z")


def test_frame_without_casu_primary(realdata):
    """The real H frames are recognised by their original file name; what is not said is None."""
    info = ObservationInfo(fits.getheader(realdata / "vista_video_h" / "image_1.fits", 1), pedantic=True)
    assert (info.instrument, info.physical_filter, info.exposure_id, info.detector_num) == (
        "VIRCAM",
        "VIRCAM-H",
        11981,
        13,
    )
    assert (info.pressure, info.temperature, info.altaz_begin) == (None, None, None)
    assert (info.ext_dit, info.ext_ndit, info.ext_nicomb) == (10.0, 6, 7)


@pytest.mark.parametrize(
    ("cards", "expected"),
    [
        ({"FILTER": "Ks", "FLATCOR": "H_flat_1.fit"}, "VIRCAM-Ks"),
        ({"FLATCOR": "J_flat_20091016.fit[2]"}, "VIRCAM-J"),
        ({"FLATCOR": "Ks_flat_20091016.fit[2]"}, "VIRCAM-Ks"),
    ],
)
def test_filter_from_filter_or_flat(cards, expected):
    """FILTER counts first, the flat field's name last."""
    assert VircamTranslator(fits.Header({"INSTRUME": "VIRCAM"} | cards)).to_physical_filter() == expected


def test_narrow_band_filter_is_refused():
    """A filter that the project does not know is an error that names it."""
    with pytest.raises(KeyError, match="NB118"):
        VircamTranslator(fits.Header({"INSTRUME": "VIRCAM", "FILTER": "NB118"})).to_physical_filter()


@pytest.mark.parametrize(("kind", "expected"), [("DARK", "dark"), ("FLAT,TWILIGHT", "flat"), ("OBJECT", "science")])
def test_observation_type_is_the_headers(kind, expected):
    """Not everything is science."""
    header = fits.Header()
    header.append(("HIERARCH ESO DPR TYPE", kind))
    assert VircamTranslator(header).to_observation_type() == expected


def test_other_cameras_are_not_ours():
    """Headers of other instruments are left to their translators."""
    assert not VircamTranslator.can_translate(fits.Header({"INSTRUME": "WFCAM"}))
    assert not VircamTranslator.can_translate(fits.Header())


def test_information_survives_json(stack):
    """The translated information can be written and read back."""
    info = ObservationInfo(stack, pedantic=True)
    assert ObservationInfo.from_json(info.to_json()) == info


def test_registered_by_entry_point():
    """astro_metadata_translator finds the translator without being told where it is."""
    plugins = {point.name: point for point in entry_points(group="astro_metadata_translators")}
    plugins["vircam"].load()
    assert MetadataTranslator.translators["VIRCAM"] is VircamTranslator
    assert find_translators() == ["VIRCAM"]
    script = Path(sys.executable).with_name("astrometadata")
    listed = subprocess.run([script, "-p", "vircam", "--help"], capture_output=True, text=True, check=True)
    assert "Failed to import" not in listed.stderr
