"""Sky records of a repository: tracts, patches and visits, and their regions."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from astropy.table import Table
from astropy.time import Time, TimeDelta
from lsst.daf.butler import Butler, DataCoordinate, DimensionRecord, Timespan
from lsst.sphgeom import ConvexPolygon, LonLat, UnitVector3d

from dmu0.sky.skymap import chosen_patches, make_sky_map
from dmu0.sky.sphere import mean_position
from dmu0.surveys import Survey
from obs_vista import VIRCAM


def _convex(ra: np.ndarray, dec: np.ndarray) -> ConvexPolygon:
    """The convex hull of positions in ICRS degrees."""
    return ConvexPolygon([UnitVector3d(LonLat.fromDegrees(float(a), float(d))) for a, d in zip(ra, dec, strict=True)])


def register_sky_map(butler: Butler, survey: Survey, tracts: str) -> None:
    """Insert the sky map, its tracts and all of their patches."""
    sky_map = make_sky_map(survey.sky_map)
    numbers = list(chosen_patches(survey, tracts))
    with butler.transaction():
        nx, ny = (max(sky_map.tract(n).num_patches[axis] for n in numbers) for axis in (0, 1))
        record = {
            "name": sky_map.name,
            "hash": sky_map.digest(),
            "tract_max": 200_000,
            "patch_nx_max": nx,
            "patch_ny_max": ny,
        }
        butler.registry.syncDimensionData("skymap", record, update=True)
        for number in numbers:
            tract = sky_map.tract(number)
            common = {"skymap": sky_map.name, "tract": number}
            butler.registry.syncDimensionData(
                "tract", {"skymap": sky_map.name, "id": number, "region": tract.outer_polygon}, update=True
            )
            patches = [
                common
                | {"id": patch.id, "cell_x": patch.index[0], "cell_y": patch.index[1], "region": patch.outer_polygon}
                for patch in tract.patches
            ]
            butler.registry.insertDimensionData("patch", *patches, replace=True)


def _corners(rows: Table) -> tuple[np.ndarray, np.ndarray]:
    """RA and Dec of the corners of detectors, ICRS deg [detector, corner]."""
    # As arrays, because columns of a table are slow to stack.
    ra, dec = (np.column_stack([np.asarray(rows[f"{axis}{k}"]) for k in range(4)]) for axis in ("ra", "dec"))
    return ra, dec


def _when(first: Table.Row) -> tuple[Timespan, float, int]:
    """Time span of a stack, its exposure time in seconds, and the night as YYYYMMDD, from the row of a detector."""
    begin = Time(float(first["mjd"]), format="mjd", scale="tai")
    seconds = float(first["exptime"]) * max(int(first["ndit"]), 1) * max(int(first["nicomb"]), 1)
    span = Timespan(begin, begin + TimeDelta(max(seconds, 1.0), format="sec"))
    return span, seconds, int((begin - TimeDelta(0.5, format="jd")).strftime("%Y%m%d"))


def register_visits(butler: Butler, stacks: Iterable[Table], programme: str) -> None:
    """Insert stacks as exposures and visits, with the regions of their detectors; existing records are replaced.

    All records of a kind are inserted by one statement: one statement for each takes five times as long.

    Parameters
    ----------
    butler
        A writeable Butler with VIRCAM registered.
    stacks
        Tables with the rows of the selection of one stack each.
    programme
        Science programme of the stacks.
    """
    found: dict[str, dict[DataCoordinate, DimensionRecord]] = {}
    for rows in stacks:
        for name, records in visit_records(rows, programme).items():
            make = butler.dimensions[name].RecordClass
            # By data id, because stacks of one night have the record of the night in common.
            found.setdefault(name, {}).update((record.dataId, record) for record in (make(**row) for row in records))
    for name, unique in found.items():
        butler.registry.insertDimensionData(name, *unique.values(), replace=True)


def visit_records(rows: Table, programme: str) -> dict[str, list[dict[str, object]]]:
    """The records of a stack, by dimension element, in an order in which they can be inserted.

    Parameters
    ----------
    rows
        Rows of the selection: the detectors of the stack.
    programme
        Science programme of the stack.
    """
    first = rows[0]
    number, instrument = int(first["exposure"]), VIRCAM.getName()
    span, seconds, day = _when(first)
    ra, dec = _corners(rows)
    regions = [_convex(*corners) for corners in zip(ra, dec, strict=True)]
    hull = _convex(ra.T.ravel(), dec.T.ravel())
    pointing = mean_position(rows["ra"], rows["dec"])
    common = {
        "instrument": instrument,
        "physical_filter": str(first["physical_filter"]),
        "day_obs": day,
        "seq_num": number % 100_000,
        "exposure_time": seconds,
        "target_name": programme,
        "observation_reason": "science",
        "science_program": programme,
        "azimuth": None,
        "zenith_angle": None,
        "timespan": span,
    }
    exposure = {
        "id": number,
        "obs_id": Path(str(first["path"])).stem,
        "group": str(number),
        "dark_time": seconds,
        "observation_type": "science",
        "seq_start": common["seq_num"],
        "seq_end": common["seq_num"],
        "tracking_ra": pointing[0],
        "tracking_dec": pointing[1],
        "sky_angle": None,
        "has_simulated": False,
        "can_see_sky": True,
    }
    key = {"instrument": instrument, "visit": number}
    return {
        "day_obs": [{"instrument": instrument, "id": day}],
        "group": [{"instrument": instrument, "name": str(number)}],
        "exposure": [common | exposure],
        "visit": [common | {"id": number, "name": str(number), "region": hull}],
        "visit_definition": [key | {"exposure": number}],
        "visit_system_membership": [key | {"visit_system": 0}],
        "visit_detector_region": [
            key | {"detector": int(detector), "region": region}
            for detector, region in zip(rows["detector"], regions, strict=True)
        ],
    }
