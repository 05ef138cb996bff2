"""VIRCAM in a Butler repository: registration, and files of many detectors read one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.time import Time
from lsst.daf.butler import Butler, CollectionType, DatasetRef, DatasetType, FileDataset, Timespan
from lsst.daf.butler.cli.butler import cli
from lsst.daf.butler.cli.utils import LogCliRunner
from lsst.images import Box

from obs_vista import VIRCAM
from obs_vista.bands import VISTA_BANDS
from obs_vista.formatters import ConfidenceFormatter, PawprintFormatter
from obs_vista.world_coordinates import icrs_wcs

EXPOSURE = 12016


@pytest.fixture
def butler(tmp_path) -> Iterator[Butler]:
    """A new repository with the instrument and one exposure."""
    folder = str(tmp_path / "repo")
    Butler.makeRepo(folder)
    with Butler.from_config(folder, writeable=True) as made:
        VIRCAM().register(made.registry)
        time = Time(55139.194, format="mjd", scale="tai")
        span = Timespan(time, time + 60 * u.s)
        common = {"instrument": "VIRCAM"}
        made.registry.insertDimensionData("day_obs", common | {"id": 20091103})
        made.registry.insertDimensionData("group", common | {"name": str(EXPOSURE)})
        record = {"id": EXPOSURE, "obs_id": str(EXPOSURE), "group": str(EXPOSURE), "day_obs": 20091103, "seq_num": 1}
        record |= {"physical_filter": "VIRCAM-H", "exposure_time": 60.0, "timespan": span}
        made.registry.insertDimensionData("exposure", common | record)
        yield made


@pytest.fixture
def ingest(butler) -> Callable[..., list[DatasetRef]]:
    """A function that ingests a file as datasets of some detectors."""

    def run(path: Path, detectors: list[int], name: str, formatter: type) -> list[DatasetRef]:
        kind = DatasetType(name, ("instrument", "exposure", "detector"), "ImageV2", universe=butler.dimensions)
        butler.registry.registerDatasetType(kind)
        butler.collections.register("raw", CollectionType.RUN)
        ids = [{"instrument": "VIRCAM", "exposure": EXPOSURE, "detector": detector} for detector in detectors]
        refs = [DatasetRef(kind, butler.registry.expandDataId(data_id), run="raw") for data_id in ids]
        butler.ingest(FileDataset(path=str(path), refs=refs, formatter=formatter), transfer="direct")
        return refs

    return run


def test_register_from_the_command_line(tmp_path):
    """``butler register-instrument`` works with the class's name, and again without harm."""
    folder = str(tmp_path / "repo")
    runner = LogCliRunner()
    for command in (["create", folder], *2 * [["register-instrument", folder, "obs_vista.VIRCAM"]]):
        result = runner.invoke(cli, command)
        assert result.exit_code == 0, result.output
    with Butler.from_config(folder) as butler:
        detectors = butler.query_dimension_records("detector")
        filters = butler.query_dimension_records("physical_filter", instrument="VIRCAM")
        assert len(detectors) == 16
        assert {record.name: record.band for record in filters} == {
            band.physical_filter: band.name for band in VISTA_BANDS.values()
        }
        assert VIRCAM.fromName("VIRCAM", butler.registry).getName() == "VIRCAM"


def test_detectors_of_one_file_are_read_by_number(butler, ingest, tmp_path, write_casu):
    """Three datasets in one file, stored out of order: each is its own detector, with its unit, header and size."""
    images = {detector: np.full((40 + detector, 50), 1000 + detector, np.int32) for detector in (13, 2, 7)}
    refs = ingest(write_casu(tmp_path / "v_st.fit", images), [2, 7, 13], "vircam_pawprint", PawprintFormatter)
    for ref in refs:
        detector = ref.dataId["detector"]
        image = butler.get(ref)
        np.testing.assert_array_equal(image.array, images[detector])
        assert image.array.dtype == np.float32
        assert image.unit == u.adu
        assert image.bbox.shape == (40 + detector, 50)
        assert image.metadata["ESO DET CHIP NO"] == detector
        assert image.metadata["ESOGRADE"] == "A"


def test_pixels_have_icrs_positions(butler, ingest, tmp_path, write_casu):
    """The projection of an FK5 file is ICRS, without 21 mas of error."""
    images = {5: np.ones((40, 50), np.int32)}
    path = write_casu(tmp_path / "v_st.fit", images, RADECSYS="FK5", EQUINOX=2000.0)
    (ref,) = ingest(path, [5], "vircam_pawprint", PawprintFormatter)
    with fits.open(path) as hdus:
        header = hdus[1].header
        header["EQUINOX"] = 2000.0
        expected = icrs_wcs(header).pixel_to_world(12.5, 33.0)
    for projection in (
        butler.get(ref).sky_projection,
        butler.get("vircam_pawprint.sky_projection", ref.dataId, collections="raw"),
    ):
        assert projection.pixel_to_sky(x=12.5, y=33.0).separation(expected).mas < 0.01


def test_boxes_and_components_are_read_alone(butler, ingest, tmp_path, write_casu, rng):
    """A box gives those pixels in their place; the size is known without the pixels; a foreign box is refused."""
    pixels = rng.integers(0, 2000, (60, 50)).astype(np.int32)
    (ref,) = ingest(write_casu(tmp_path / "v.fit", {3: pixels}), [3], "vircam_pawprint", PawprintFormatter)
    box = Box.factory[10:30, 5:20]
    part = butler.get(ref, parameters={"bbox": box})
    assert part.bbox == box
    np.testing.assert_array_equal(part.array, pixels[10:30, 5:20])
    whole = butler.get(ref)
    assert part.sky_projection.pixel_to_sky(x=7.0, y=12.0).separation(
        whole.sky_projection.pixel_to_sky(x=7.0, y=12.0)
    ).mas == pytest.approx(0, abs=1e-6)
    assert butler.get("vircam_pawprint.bbox", ref.dataId, collections="raw") == whole.bbox


def test_confidence_map_lies_as_its_image(butler, ingest, tmp_path, write_casu):
    """A map is read without flipping: the corner that is zero in the file is zero in the dataset."""
    confidence = np.full((60, 50), 100, np.int32)
    confidence[:4, 45:] = 0
    path = write_casu(tmp_path / "v_conf.fit", {3: confidence})
    (ref,) = ingest(path, [3], "vircam_confidence", ConfidenceFormatter)
    image = butler.get(ref)
    np.testing.assert_array_equal(image.array, confidence)
    assert np.issubdtype(image.array.dtype, np.integer)


def test_missing_detector_is_named(butler, ingest, tmp_path, write_casu):
    """A dataset whose detector the file does not hold fails with the file's name and what it has."""
    path = write_casu(tmp_path / "v_st.fit", {3: np.ones((8, 9), np.int32)})
    (ref,) = ingest(path, [4], "vircam_pawprint", PawprintFormatter)
    with pytest.raises(ValueError, match="Failure from formatter") as caught:
        butler.get(ref)
    assert "v_st.fit has no extension of detector 4; it has 3." in str(caught.value.__cause__)


def test_real_frame(butler, ingest, realdata):
    """A real frame of one detector, in a file of its own kind, is read through the Butler."""
    path = realdata / "vista_video_h" / "image_1.fits"
    (ref,) = ingest(path, [13], "vircam_pawprint", PawprintFormatter)
    image = butler.get(ref)
    assert image.bbox.shape == (1836, 1816)
    assert (image.metadata["NICOMB"], image.metadata["ESO DET NDIT"]) == (7, 6)
