"""Records of visits: several at once, twice, and moved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from lsst.daf.butler import Butler
from lsst.sphgeom import LonLat, UnitVector3d

from dmu0.surveys import Survey
from dmu4.butler import ingest
from dmu4.butler.ingest import detector_data_ids, make_repository
from dmu4.butler.repository import open_butler
from dmu4.butler.sky_records import register_visits, visit_records
from tests.scenes.repositories import stack_rows

CENTRES = {301: (35.6, -5.1), 302: (36.6, -5.1)}
"""Two stacks of one night, a degree apart."""


def stacks(shift: float = 0.0) -> list[Table]:
    """The stacks, moved north by some degrees."""
    return [
        Table(rows=stack_rows(Path(f"v{number}_st.fit"), exposure=number, centre=(ra, dec + shift), accepted=True))
        for number, (ra, dec) in CENTRES.items()
    ]


def counts(butler: Butler) -> dict[str, int]:
    """Number of the records of each dimension element that a visit has."""
    return {
        name: len(set(butler.registry.queryDimensionRecords(name)))
        for name in visit_records(stacks()[0], "TEST")
        if name not in {"visit_definition", "visit_system_membership"}
    }


def in_tract(butler: Butler) -> set[tuple[int, int]]:
    """The visits and detectors of the stacks that the registry finds in the tract of the survey."""
    found = butler.query_data_ids(
        ["visit", "detector", "tract"], where="visit > 300", skymap="tiny_map", tract=8524, explain=False
    )
    return {(int(data_id["visit"]), int(data_id["detector"])) for data_id in found}


def test_visits_are_where_their_detectors_are(made_survey: Survey) -> None:
    """Both stacks of a night have their own records, times and regions; those of the night are made once."""
    with open_butler(made_survey, writeable=True) as butler:
        before = counts(butler)
        register_visits(butler, stacks(), "TEST")
        added = {name: number - before[name] for name, number in counts(butler).items()}
        assert added == {"day_obs": 0, "group": 2, "exposure": 2, "visit": 2, "visit_detector_region": 8}
        for rows in stacks():
            number = int(rows["exposure"][0])
            (visit,) = butler.query_dimension_records("visit", visit=number)
            assert visit.timespan.begin.mjd == pytest.approx(rows["mjd"][0], abs=1e-9)
            assert visit.exposure_time == 420.0
            found = butler.query_dimension_records("visit_detector_region", visit=number)
            assert len(found) == 4
            for record in found:
                (row,) = rows[rows["detector"] == record.detector]
                assert record.region.contains(UnitVector3d(LonLat.fromDegrees(row["ra"], row["dec"])))
                assert record.region.getBoundingCircle().getOpeningAngle().asDegrees() < 0.015


def test_visits_registered_again_are_moved(made_survey: Survey) -> None:
    """A second registration doubles nothing, and what overlaps a patch is found from the new regions alone."""
    with open_butler(made_survey, writeable=True) as butler:
        register_visits(butler, stacks(), "TEST")
        once = counts(butler)
        reached = in_tract(butler)
        assert {visit for visit, _ in reached} >= {301}
        register_visits(butler, stacks(), "TEST")
        assert (counts(butler), in_tract(butler)) == (once, reached)
        register_visits(butler, stacks(shift=20.0), "TEST")
        assert (counts(butler), in_tract(butler)) == (once, set())


def test_data_ids_of_many_exposures(made_survey: Survey) -> None:
    """Every detector of the exposures asked for has its data id, with records; others have none."""
    with open_butler(made_survey, writeable=True) as butler:
        register_visits(butler, stacks(), "TEST")
        found = detector_data_ids(butler, [100, 302])
        assert {exposure for exposure, _ in found} == {100, 302}
        assert {detector for _, detector in found} == set(range(1, 17))
        for (exposure, detector), data_id in found.items():
            assert (data_id["exposure"], data_id["detector"]) == (exposure, detector)
            assert data_id.hasRecords()
            assert data_id.records["exposure"].id == exposure


@pytest.mark.parametrize("at_once", [1, 200])
def test_every_stack_is_ingested_from_its_file(survey: Survey, monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    """Each dataset is in the file of its stack, however many are ingested together; so are confidence maps."""
    path = survey.folders[1] / "selected.parquet"
    selected = Table.read(path)
    selected["accepted"] = True
    maps = np.asarray(selected["path"], dtype="U500")
    maps[np.asarray(selected["detector"]) > 2] = ""
    selected["confidence_path"] = maps
    selected[::-1].write(path, overwrite=True)
    monkeypatch.setattr(ingest, "STACKS_AT_ONCE", at_once)
    report = make_repository(survey, run="one")
    assert report.counts == {"vircam_pawprint": 8, "vircam_confidence": 4}
    with open_butler(survey) as butler:
        for name, detectors in (("vircam_pawprint", {1, 2, 3, 4}), ("vircam_confidence", {1, 2})):
            refs = butler.query_datasets(name)
            assert {(ref.dataId["exposure"], ref.dataId["detector"]) for ref in refs} == {
                (exposure, detector) for exposure in (100, 200) for detector in detectors
            }
            for ref in refs:
                assert butler.getURI(ref).basename() == f"v20121019_{ref.dataId['exposure']:05d}_st.fit"
