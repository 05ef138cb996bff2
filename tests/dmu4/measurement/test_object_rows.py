"""The rows of objects: units, signs and axes of every column, far from the equator and on pixels of 0.2 arcsec."""

from __future__ import annotations

from dataclasses import replace

import astropy.units as u
import numpy as np
import pytest
from astropy.table import Table
from lsst.images import SkyProjection, TractFrame

from dmu0.sky.skymap import make_sky_map
from dmu0.surveys import SkyMapConfig
from dmu4.measurement.band_fluxes import Flux
from dmu4.measurement.companions import Companions
from dmu4.measurement.epochs import CellEpochs
from dmu4.measurement.measure import BandMeasurement, Measurements
from dmu4.measurement.motion import Motion
from dmu4.measurement.object_models import ObjectShapes
from dmu4.measurement.object_rows import absorb, empty_rows, find_positions, object_rows, with_companions
from dmu4.measurement.object_shapes import MeasuredObjects
from dmu4.measurement.structure import Structure
from dmu4.objects.columns import APERTURES, GAAP_NAMES, object_columns
from tests.scenes.tilted import PIXEL_SCALE, X0, Y0, make_tilted

N = 4


@pytest.fixture(scope="module")
def tract():
    """A tract at declination -61."""
    config = SkyMapConfig(kind="rings", name="test", patch_inner=4000, patch_border=100, pixel_scale=PIXEL_SCALE)
    return make_sky_map(config).find_tract(210.0, -61.0)


def shapes():
    """Four objects, all different."""
    return ObjectShapes(
        x=np.array([12.25, 250.5, 30.0, 7.0]),
        y=np.array([170.75, 3.5, 60.0, 8.0]),
        x_error=np.array([0.1, 0.2, 0.3, 0.4]),
        y_error=np.array([0.5, 0.6, 0.7, 0.8]),
        xy_covariance=np.array([0.01, -0.02, 0.03, 0.0]),
        covariance=np.array([[9.0, 4, 2], [4, 9, -2], [5, 5, 0], [16, 1, 0]]),
        failed=np.array([False, True, False, False]),
        extendedness=np.array([0, 1, np.nan, 1]),
        disc=np.zeros((N, 3)),
        kron=np.array([3.0, 4.0, 5.0, 6.0]),
    )


def structure() -> Structure:
    """Models of the four objects, the last without one; all numbers differ."""
    number = np.array([1.0, 2.0, 3.0, np.nan])
    return Structure(
        disc=np.zeros((N, 3)),
        bulge=np.zeros((N, 3)),
        bulge_fraction=np.array([0.25, 0.5, 0.75, 0]),
        flux_error=0.01 * number,
        radius=2 * number,
        radius_error=0.2 * number,
        axis_ratio=0.3 * number,
        axis_ratio_error=0.03 * number,
        # Along x, which points west; along y, which points north; and from x towards y by 30 degrees.
        angle=np.radians([0.0, 90.0, 30.0, np.nan]),
        angle_error=np.radians(number),
        chi2_over_point=100 * number,
        rejected=np.zeros(N, bool),
    )


def flux(start):
    """A flux whose values, errors and flags cannot be taken for each other's or another flux's."""
    value = start + np.arange(N)
    return Flux(value=value, error=0.001 * value, flag=np.array([False, False, False, True]))


def in_band(start):
    """All that is measured in a band, every number different."""
    numbers = {
        name: start + 10 * k + np.arange(N) for k, name in enumerate(("flux_floor", "depth5", "zero_point_error"))
    }
    return BandMeasurement(
        psf=flux(start + 100),
        cmodel=flux(start + 400),
        gaap=tuple(flux(start + 200 + 20 * k) for k in range(len(GAAP_NAMES))),
        kron=flux(start + 300),
        circles=tuple(flux(start + 1000 * radius) for radius in APERTURES),
        kron_fraction=np.array([0.81, 0.82, 0.83, np.nan]),
        circle_fraction=np.linspace([0.1, 0.2, 0.3, 0.4], [0.6, 0.7, 0.8, 0.9], len(APERTURES)).T,
        extendedness=np.array([1.0, 0, np.nan, 0]),
        excess=np.array([0.06, 0.001, np.nan, -0.002]),
        excess_error=np.array([0.004, 0.002, np.nan, 0.003]),
        residual=np.array([0.5, -0.5, 1.5, np.nan]),
        neighbours=np.array([0.0, 0.25, 0.5, np.nan]),
        chi2=np.array([1.0, 1.25, 1.5, np.nan]),
        input_count=np.array([3, 1, 4, 1]),
        coverage=np.array([1.0, 0.5, 0.25, 0]),
        inexact_psf=np.array([False, True, True, False]),
        usable=np.array([True, False, False, True]),
        **numbers,
    )


def objects() -> MeasuredObjects:
    """The four objects, two of which have an offset, and one of these a motion."""
    motion = Motion(
        x=np.array([np.nan, 2.0, -0.5, np.nan]),
        y=np.array([np.nan, -3.0, 0.25, np.nan]),
        x_error=np.array([np.nan, 0.1, 0.2, np.nan]),
        y_error=np.array([np.nan, 0.3, 0.4, np.nan]),
        used=np.array([False, True, False, False]),
        lost=np.array([False, False, False, True]),
    )
    home, kept, absorbed = np.array([1, 0, 0, 1]), np.arange(4), np.zeros((0, 2), int)
    side = np.full((4, 2), 31)
    return MeasuredObjects(shapes(), motion, home, kept, absorbed, structure(), Companions.none(2), home, side)


@pytest.fixture(scope="module")
def table(tract):
    """The rows of four objects in two bands, of which one was measured, and a third without coadds."""
    projection = SkyProjection.from_fits_wcs(tract.wcs, TractFrame(skymap="test", tract=tract.id, bbox=tract.bbox))
    positions = find_positions(shapes(), make_tilted([]), projection)
    detections = Table({"refBand": ["vk", "i", "i", "vk"], "footprint_area": [7, 8, 9, 10], "blend_size": [1, 2, 2, 1]})
    detections["i_detected"], detections["vk_detected"] = [True, True, False, False], [False, True, False, True]
    return object_rows(
        Measurements(objects=objects(), bands={"i": in_band(1), "vk": in_band(5000)}),
        positions,
        detections,
        primary=np.array([True, False, True, True]),
        tract=12,
        patch=34,
        pixel_scale=PIXEL_SCALE,
        bands=["g", "i", "vk"],
        epochs={
            "i": CellEpochs((X0, Y0), 10_000, np.array([[57357.5]])),
            "vk": CellEpochs((X0, Y0), 10_000, np.array([[56245.0]])),
        },
    )


def test_positions_and_their_errors(table, tract):
    """Pixels count from the corner of the tract, the sky is that of its WCS, errors are degrees on the sky."""
    x, y = X0 + shapes().x, Y0 + shapes().y
    np.testing.assert_array_equal(table["x"], x)
    np.testing.assert_array_equal(table["y"], y)
    ra, dec = tract.wcs.wcs_pix2world(x, y, 0)
    np.testing.assert_allclose(table["coord_ra"], ra, rtol=0, atol=1e-9)
    np.testing.assert_allclose(table["coord_dec"], dec, rtol=0, atol=1e-9)
    for name, pixels in (("coord_raErr", shapes().x_error), ("coord_decErr", shapes().y_error)):
        assert table[name].unit == u.deg
        np.testing.assert_allclose(table[name].quantity.to_value(u.arcsec), 0.2 * pixels, rtol=1e-6)
    covariance = table["coord_ra_dec_Cov"].quantity.to_value(u.arcsec**2)
    np.testing.assert_allclose(covariance, [-0.0004, 0.0008, -0.0012, 0], rtol=1e-6)  # x points west


def test_motions_point_east_and_north(table):
    """An offset along x, which points west, is one towards smaller right ascension; errors are in arcsec, too."""
    for name, expected in (
        ("vistaOffset_ra", [np.nan, -0.4, 0.1, np.nan]),
        ("vistaOffset_dec", [np.nan, -0.6, 0.05, np.nan]),
        ("vistaOffset_raErr", [np.nan, 0.02, 0.04, np.nan]),
        ("vistaOffset_decErr", [np.nan, 0.06, 0.08, np.nan]),
    ):
        assert table[name].unit == u.arcsec
        np.testing.assert_allclose(table[name], expected, rtol=1e-6)
    np.testing.assert_array_equal(table["vistaOffset_used"], [False, True, False, False])
    np.testing.assert_array_equal(table["vistaOffset_flag"], [False, False, False, True])


def test_a_star_with_two_peaks_is_one_row():
    """The peak that is no object goes, and the other was detected in the bands of both; the others stay in order."""
    peaks = Table({"refBand": ["vk", "i", "i", "vk"], "i_detected": [False, True, True, False]})
    peaks["vk_detected"] = [True, False, False, True]
    merged = absorb(peaks, kept=np.array([0, 1, 2]), absorbed=np.array([[1, 3]]))
    assert list(merged["refBand"]) == ["vk", "i", "i"]
    assert list(merged["i_detected"]) == [False, True, True]
    assert list(merged["vk_detected"]) == [True, True, False]
    assert list(peaks["vk_detected"]) == [True, False, False, True]


def test_shapes_are_in_arcsec(table):
    """Moments scale with the square of a pixel and keep their sign; a Kron radius is along the major axis."""
    covariance = shapes().covariance
    for name, column in (("shape_xx", 0), ("shape_yy", 1), ("shape_xy", 2)):
        assert table[name].unit == u.arcsec**2
        np.testing.assert_allclose(table[name], 0.04 * covariance[:, column], rtol=1e-6)
    major = [np.sqrt(np.linalg.eigvalsh([[xx, xy], [xy, yy]])[1]) for xx, yy, xy in covariance]
    assert table["kronRad"].unit == u.arcsec
    np.testing.assert_allclose(table["kronRad"], 0.2 * np.array([3, 4, 5, 6]) * major, rtol=1e-6)
    np.testing.assert_array_equal(table["shape_flag"], [False, True, False, False])
    np.testing.assert_array_equal(table["refExtendedness"], [0, 1, np.nan, 1])


def test_what_detection_has_found(table):
    """Numbers, bands and blends are those of the detections, in their order."""
    np.testing.assert_array_equal(table["objectId"], 12_0034_0000000 + np.arange(1, 5))
    np.testing.assert_array_equal(table["refBand"], ["vk", "i", "i", "vk"])
    np.testing.assert_array_equal(table["footprintArea"], [7, 8, 9, 10])
    np.testing.assert_array_equal(table["detect_fromBlend"], [False, True, True, False])
    np.testing.assert_array_equal(table["detect_isPrimary"], [True, False, True, True])
    np.testing.assert_array_equal(table["i_detected"], [True, True, False, False])
    np.testing.assert_array_equal(table["vk_detected"], [False, True, False, True])
    assert set(table["tract"]) == {12}
    assert set(table["patch"]) == {34}


@pytest.mark.parametrize(("band", "start"), [("i", 1), ("vk", 5000)])
def test_every_flux_is_in_its_own_column(table, band, start):
    """Each flux, error and flag is in the column of its name and band."""
    starts = {"psfFlux": 100, "kronFlux": 300, "cModelFlux": 400}
    starts |= {name: 200 + 20 * k for k, name in enumerate(GAAP_NAMES)}
    starts |= {f"ap{radius:02d}Flux": 1000 * radius for radius in APERTURES}
    for name, offset in starts.items():
        value = start + offset + np.arange(N)
        np.testing.assert_allclose(table[f"{band}_{name}"], value, rtol=1e-6)
        np.testing.assert_allclose(table[f"{band}_{name}Err"], 0.001 * value, rtol=1e-6)
        np.testing.assert_array_equal(table[f"{band}_{name}_flag"], [False, False, False, True])
    np.testing.assert_allclose(table[f"{band}_kronFraction"], [0.81, 0.82, 0.83, np.nan])
    np.testing.assert_allclose(table[f"{band}_psfMag"], 31.4 - 2.5 * np.log10(start + 100 + np.arange(N)), rtol=1e-6)
    np.testing.assert_allclose(table[f"{band}_psfMagErr"], 1.0857e-3, rtol=1e-3)
    np.testing.assert_array_equal(table[f"{band}_epoch"], {"i": 57357.5, "vk": 56245.0}[band])
    for k, radius in enumerate(APERTURES):
        np.testing.assert_allclose(table[f"{band}_ap{radius:02d}Fraction"], np.array([0.1, 0.2, 0.3, 0.4]) + 0.1 * k)
    np.testing.assert_allclose(table[f"{band}_fluxFloor"], start + np.arange(N))
    np.testing.assert_allclose(table[f"{band}_zeroPointErr"], start + 20 + np.arange(N))
    np.testing.assert_allclose(table[f"{band}_depth5"], start + 10 + np.arange(N))
    np.testing.assert_array_equal(table[f"{band}_extendedness"], [1, 0, np.nan, 0])
    np.testing.assert_allclose(table[f"{band}_sizeExcess"], [0.06, 0.001, np.nan, -0.002], rtol=1e-6)
    np.testing.assert_allclose(table[f"{band}_sizeExcessErr"], [0.004, 0.002, np.nan, 0.003], rtol=1e-6)
    np.testing.assert_array_equal(table[f"{band}_inputCount"], [3, 1, 4, 1])
    np.testing.assert_array_equal(table[f"{band}_coverage"], [1, 0.5, 0.25, 0])
    np.testing.assert_array_equal(table[f"{band}_pixelFlags_inexact_psfCenter"], [False, True, True, False])
    np.testing.assert_array_equal(table[f"{band}_usable"], [True, False, False, True])


def test_a_band_without_a_coadd_and_a_patch_without_objects(table):
    """A band that was not measured is flagged and uncovered in every row; the columns are those of the schema."""
    names = [column.name for column in object_columns(["g", "i", "vk"])]
    assert table.colnames == names
    assert np.isnan(table["g_psfFlux"]).all()
    assert np.isnan(table["g_psfMag"]).all()
    assert np.isnan(table["g_epoch"]).all()
    for name in ("psfFlux", "kronFlux", "gaap1p0Flux", "ap03Flux", "ap25Flux"):
        assert table[f"g_{name}_flag"].all()
    assert not table["g_usable"].any()
    assert not table["g_coverage"].any()
    assert not table["g_inputCount"].any()
    assert not table["g_detected"].any()
    assert empty_rows(["g", "i", "vk"]).colnames == names
    assert len(empty_rows(["g"])) == 0


def test_no_column_of_a_measured_band_is_left_to_its_missing_value(table):
    """Every column that the schema has for a band is filled by what was measured, but the one of consolidate_tract."""
    of_band = [column for column in object_columns(["g", "i", "vk"]) if column.name.startswith("i_")]
    assert np.isnan(table["i_pointProbability"]).all()
    for column in (column for column in of_band if column.name != "i_pointProbability"):
        values = np.asarray(table[column.name])
        missing = np.isnan(values) if values.dtype.kind == "f" else values == column.missing
        assert not missing.all(), column.name


def test_models_are_in_arcsec_and_turn_from_north_to_east(table):
    """Pixels are 0.2 arcsec; an axis towards west is at 90 degrees, 30 degrees from west to north at 60 degrees."""
    number = np.array([1.0, 2.0, 3.0, np.nan])
    np.testing.assert_allclose(table["cModel_fracDev"], [0.25, 0.5, 0.75, np.nan])
    np.testing.assert_allclose(table["cModel_halfLightRad"], 0.4 * number, rtol=1e-6)
    np.testing.assert_allclose(table["cModel_halfLightRadErr"], 0.04 * number, rtol=1e-6)
    np.testing.assert_allclose(table["cModel_axisRatio"], 0.3 * number, rtol=1e-6)
    np.testing.assert_allclose(table["cModel_axisRatioErr"], 0.03 * number, rtol=1e-6)
    np.testing.assert_allclose(table["cModel_posAngle"], [90, 0, 120, np.nan], atol=1e-4)
    np.testing.assert_allclose(table["cModel_posAngleErr"], number, rtol=1e-6)
    np.testing.assert_allclose(table["cModel_deltaChi2"], 100 * number, rtol=1e-6)


def test_the_nearest_neighbour(table):
    """Objects at (12, 171), (250, 4), (30, 60) and (7, 8): the third is nearest to the others, the last to it."""
    ids = np.asarray(table["objectId"])
    np.testing.assert_array_equal(table["neighbourId"], ids[[2, 2, 3, 2]])
    expected = 0.2 * np.hypot([17.75, 220.5, 23.0, 23.0], [110.75, 56.5, 52.0, 52.0])
    np.testing.assert_allclose(table["neighbourDistance"], expected, rtol=1e-6)


def test_how_well_models_fit_is_copied(table):
    """Neighbours, chi^2 and residuals of a band are in its columns."""
    np.testing.assert_array_equal(table["i_neighbourFraction"], np.float32([0.0, 0.25, 0.5, np.nan]))
    np.testing.assert_array_equal(table["i_modelChi2"], np.float32([1.0, 1.25, 1.5, np.nan]))
    np.testing.assert_array_equal(table["i_modelResidual"], np.float32([0.5, -0.5, 1.5, np.nan]))


def test_companions_belong_to_the_blends_of_their_hosts() -> None:
    """Two companions of the peak in blend 5 and one of a peak without a blend, with places, bands and heights."""
    peaks = Table({"x": [5.0, 6, 7, 8], "y": [1.0, 2, 3, 4], "refBand": ["vk", "i", "i", "vk"]})
    peaks["chi2_height"], peaks["footprint_area"] = [90.0, 80, 70, 60], [300, 200, 100, 50]
    peaks["blend"], peaks["blend_size"] = [2, 5, 5, -1], [1, 2, 2, 1]
    for band in ("i", "vk"):
        peaks[f"{band}_detected"], peaks[f"{band}_height"] = [True] * 4, [50.0, 60, 70, 80]
    tilted = make_tilted([])
    found = Companions(
        x=np.array([1.5, 2.5, 3.5]),
        y=np.array([10.5, 20.5, 30.5]),
        host=np.array([2, 1, 3]),
        height=np.array([[7.0, 3.0], [4.9, 6.0], [5.1, 5.0]]),
        combined=np.array([7.7, 7.8, 7.9]),
        area=np.array([11, 12, 13]),
    )
    two = replace(tilted, bands=("i", "vk"))
    rows = with_companions(peaks[[0, 1, 2]], peaks, found, two)
    np.testing.assert_allclose(rows["x"], [5, 6, 7, X0 + 1.5, X0 + 2.5, X0 + 3.5])
    np.testing.assert_allclose(rows["y"], [1, 2, 3, Y0 + 10.5, Y0 + 20.5, Y0 + 30.5])
    assert list(rows["refBand"]) == ["vk", "i", "i", "i", "vk", "i"]
    assert list(rows["blend"]) == [2, 5, 5, 5, 5, -1]
    assert list(rows["blend_size"]) == [1, 4, 4, 4, 4, 1]
    assert list(rows["footprint_area"]) == [300, 200, 100, 11, 12, 13]
    assert list(rows["chi2_height"]) == [90, 80, 70, 7.7, 7.8, 7.9]
    assert list(rows["vk_height"][3:]) == [3, 6, 5]
    assert list(rows["i_detected"][3:]) == [True, False, True]
    assert list(rows["vk_detected"][3:]) == [False, True, True]
    assert list(peaks["blend_size"]) == [1, 2, 2, 1]
