"""Making the repository of a survey: what goes in, what stays out, and making it again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml
from astropy.table import Table
from lsst.daf.butler import Butler, DatasetType

from dmu0.sky.skymap import make_sky_map, survey_patches
from dmu0.surveys import Survey, load_survey
from dmu2.bright_stars import BrightStars, halo_radius
from dmu2.refcat import empty_shard, write_shards
from dmu4.butler.ingest import make_repository
from dmu4.butler.repository import has_collection, open_butler
from dmu4.review.repository import dataset_counts, visit_table
from obs_vista.photometry import flux_of


def test_only_what_was_accepted_is_ingested(survey: Survey) -> None:
    """Accepted detectors are in, rejected ones are out with their reason, files are as they were."""
    files = sorted(map(Path, set(np.asarray(Table.read(survey.folders[1] / "selected.parquet")["path"]).astype(str))))
    assert len(files) == 2
    before = [path.read_bytes() for path in files]
    report = make_repository(survey, run="one")
    assert report.counts == {"vircam_pawprint": 4}
    assert report.left_out == [(f"v20121019_00200_st.fit[{k}]", "OBSTATUS is Aborted") for k in range(1, 5)]
    with open_butler(survey) as butler:
        assert dataset_counts(butler)["vircam_pawprint"] == 4
        visits = visit_table(butler)
        assert list(visits["visit"]) == [100]
        assert visits["exposure_time"][0] == 10.0 * 6 * 7
    assert [path.read_bytes() for path in files] == before


def test_coadds_of_another_butler_are_named(made_survey: Survey, tmp_path: Path) -> None:
    """Of two patches one has a deep_coadd in an LSST repository: it is named and can be read, the other is left out."""
    theirs = str(tmp_path / "theirs")
    Butler.makeRepo(theirs)
    inside, outside = (patch.id for patch in survey_patches(made_survey))
    where = {"skymap": "tiny_map", "tract": 8524, "patch": inside, "band": "i"}
    with Butler.from_config(theirs, writeable=True, run="coadds") as butler:
        registry = butler.registry
        sizes = {"tract_max": 9000, "patch_nx_max": 99, "patch_ny_max": 99}
        registry.insertDimensionData("skymap", {"name": "tiny_map", "hash": b"1", **sizes})
        registry.insertDimensionData("tract", {"skymap": "tiny_map", "id": 8524})
        cell = {"cell_x": 44, "cell_y": 44}
        registry.insertDimensionData("patch", {"skymap": "tiny_map", "tract": 8524, "id": inside, **cell})
        instrument = {"detector_max": 1, "visit_max": 1, "exposure_max": 1}
        registry.insertDimensionData("instrument", {"name": "X", **instrument})
        registry.insertDimensionData("physical_filter", {"instrument": "X", "name": "i", "band": "i"})
        dimensions = ("skymap", "tract", "patch", "band")
        kind = DatasetType("deep_coadd", dimensions, "StructuredDataDict", universe=butler.dimensions)
        registry.registerDatasetType(kind)
        butler.put({"a": 1}, kind, where)
    content = yaml.safe_load(made_survey.path.read_text())
    content["optical"] = {"kind": "lsst", "bands": ["i"], "butler": theirs, "collection": "coadds"}
    made_survey.path.write_text(yaml.safe_dump(content))
    optical = load_survey(str(made_survey.path))
    report = make_repository(optical, run="one")
    assert report.counts["optical_coadd_source"] == 1
    assert [name for name, _ in report.left_out if name.startswith("deep_coadd")] == [
        f"deep_coadd of tract 8524, patch {outside}, i"
    ]
    with open_butler(optical, collections="inputs") as butler:
        source = butler.get("optical_coadd_source", where)
    assert source["kind"] == "lsst"
    with Butler.from_config(source["path"], collections=source["collection"]) as butler:
        assert butler.get("deep_coadd", where) == {"a": 1}


def test_bright_stars_of_a_tract(survey: Survey) -> None:
    """Those whose halos reach it are stored, one beside it too; faint stars and one too far away are not."""
    tract = make_sky_map(survey.sky_map).tract(8524)
    west = tract.wcs.pixel_to_world(tract.bbox.x.stop + 20 / 0.168, tract.bbox.y.stop / 2)  # 20 arcsec beyond
    table = empty_shard(5)
    table["id"] = np.arange(1, 6)
    table["coord_ra"] = np.radians([35.61, 35.62, west.ra.deg, west.ra.deg - 0.8, 35.61 - 180])
    table["coord_dec"] = np.radians([-5.11, -5.12, west.dec.deg, west.dec.deg, 5.0])
    table["gaia_g_flux"] = flux_of(np.array([16.0, 18.0, 9.0, 9.0, 9.0]))
    write_shards(table, survey.folders[2] / "refcat")
    make_repository(survey, run="one")
    with open_butler(survey, collections="inputs") as butler:
        stars = BrightStars.from_table(butler.get("bright_stars", tract=8524))
    assert sorted(np.round(stars.ra, 6)) == sorted(np.round([35.61, west.ra.deg], 6))
    np.testing.assert_allclose(np.sort(stars.radius), halo_radius(np.array([16.0, 9.0])), rtol=1e-6)


def test_a_survey_without_references_has_no_bright_stars(made_survey: Survey) -> None:
    """A table without rows, so that coadds are made."""
    with open_butler(made_survey, collections="inputs") as butler:
        assert len(BrightStars.from_table(butler.get("bright_stars", tract=8524)).ra) == 0


def test_made_again_it_is_the_same(made_survey: Survey) -> None:
    """A run that is made twice is not doubled; a newer run takes the place of an older one."""
    with open_butler(made_survey) as butler:
        before = dataset_counts(butler)
    assert make_repository(made_survey, run="one").counts == {"vircam_pawprint": 4}
    with open_butler(made_survey) as butler:
        assert dataset_counts(butler) == before
        assert has_collection(butler, "inputs/one")
    make_repository(made_survey, run="two")
    with open_butler(made_survey) as butler:
        assert dataset_counts(butler)["vircam_pawprint"] == 4
        assert has_collection(butler, "inputs/two")
        assert not has_collection(butler, "inputs/one")
