"""A survey of 20,000 patches as records, without a pixel: coverage, job lists and graphs, their times and memory.

Run it as ``make scale`` or ``python -m tests.benchmarks.bench_survey [--tracts N] [--graphs N]``: stacks of 16
detectors in five bands on all patches of VIKING's tracts, as its 18,490 stacks are. Coverage and job lists are made for
all of them; the repository's records and the graphs of the pipeline tract by tract, as jobs are submitted.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from astropy.table import Table
from lsst.daf.butler import Butler, CollectionType, DatasetType

from dmu0.files.paths import DataFolders
from dmu0.files.tables import read_table, write_table
from dmu0.sky.skymap import make_sky_map, survey_patches
from dmu0.surveys import Survey, load_survey
from dmu1.coverage import patch_overlaps, vista_jobs
from dmu4.butler.ingest import DATASET_TYPES, detector_data_ids
from dmu4.butler.repository import create_repository, open_butler, repository_folder
from dmu4.butler.sky_records import register_sky_map, register_visits
from dmu4.execution.steps import _predict, _register_dataset_types
from obs_vista import VIRCAM
from obs_vista.bands import VISTA_BANDS
from obs_vista.optical_filters import OpticalFilters
from tests.benchmarks.verdicts import Verdicts, print_versions

STACKS = 18_490
"""Stacks of VIKING on HSC."""
MINUTES, MEMORY = 30.0, 2.0
"""Limits: minutes for all, and GB at any time."""
_SIDE, _GAP = 0.193, 0.38
"""Side of a detector and pitch of the detectors on the sky, deg."""


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Print how long a part took, and the largest memory so far."""
    begin = time.perf_counter()
    yield
    print(f"{what:60s} {time.perf_counter() - begin:8.1f} s, {peak():.2f} GB", flush=True)


def peak() -> float:
    """Largest memory of this process so far, GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def stacks_of(survey: Survey, number: int, rng: np.random.Generator) -> Table:
    """The selection of a survey: rows of all detectors of stacks that are spread over its tracts."""
    sky_map, tracts = make_sky_map(survey.sky_map), list(survey.tracts)
    centres = [sky_map.tract(tract).center for tract in tracts]
    where = np.arange(number) % len(tracts)
    ra = np.array([centre.ra.deg for centre in centres])[where] + rng.uniform(-0.7, 0.7, number)
    dec = np.array([centre.dec.deg for centre in centres])[where] + rng.uniform(-0.7, 0.7, number)
    detector = np.tile(np.arange(1, 17), number)
    stack = np.repeat(np.arange(number), 16)
    dec_of = dec[stack] + _GAP * ((detector - 1) // 4 - 1.5)
    ra_of = ra[stack] + _GAP * ((detector - 1) % 4 - 1.5) / np.cos(np.radians(dec_of))
    bands = np.array(survey.vista.bands)
    band = bands[(stack // len(tracts)) % len(bands)]
    rows = Table({"path": [f"vista/v{n:06d}_st.fit" for n in stack], "hdu": detector, "detector": detector})
    rows["exposure"], rows["band"], rows["ra"], rows["dec"] = 100_000 + stack, band, ra_of, dec_of
    for corner, (x, y) in enumerate(((-1, -1), (1, -1), (1, 1), (-1, 1))):
        rows[f"ra{corner}"] = ra_of + x * _SIDE / 2 / np.cos(np.radians(dec_of))
        rows[f"dec{corner}"] = dec_of + y * _SIDE / 2
    rows["physical_filter"] = [VISTA_BANDS[name].physical_filter for name in band]
    rows["mjd"], rows["exptime"], rows["ndit"], rows["nicomb"] = 56000.0 + stack / 100, 10.0, 6, 7
    rows["accepted"], rows["rejected_because"] = True, ""
    return rows


def make_graphs(survey: Survey, tract: int, rows: Table) -> int:
    """Register the records of one tract, and build the graphs of its detectors and coadds; the number of quanta."""
    with open_butler(survey, collections=(), writeable=True) as butler:
        run = f"inputs/{tract}"
        butler.collections.register(run, CollectionType.RUN)
        with butler.transaction():
            stacks = rows.group_by("exposure").groups
            register_visits(butler, stacks, "TEST")
            ids = detector_data_ids(butler, stacks.keys["exposure"].tolist()).values()
        pawprint = butler.get_dataset_type("vircam_pawprint")
        butler.registry.insertDatasets(pawprint, ids, run=run)
        out = f"graphs/{tract}"
        butler.collections.register(out, CollectionType.RUN)
        chained = butler.clone(collections=[out, run], run=out)
        where = f"skymap = '{survey.sky_map.name}' AND tract = {tract}"
        predicted = _predict(chained, survey, "calibrate_detector", where)
        return 0 if predicted is None else len(predicted.graph)


def main() -> int:
    """Time each part and print it; 1 if a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tracts", type=int, help="so many tracts of the survey only, with their share of stacks")
    parser.add_argument("--graphs", type=int, default=10, help="tracts of which graphs are built")
    options = parser.parse_args()
    print_versions("lsst-daf-butler", "astropy")
    begin, verdicts, rng = time.perf_counter(), Verdicts(), np.random.default_rng(5)
    survey = load_survey("viking")
    if options.tracts:
        survey = survey.model_copy(update={"tracts": dict(list(survey.tracts.items())[: options.tracts])})
    with tempfile.TemporaryDirectory() as folder:
        Survey.folders = property(lambda self: DataFolders(self.name, Path(folder)))
        number = round(STACKS * len(survey.tracts) / len(load_survey("viking").tracts))
        with timed(f"selection of {number} stacks"):
            rows = stacks_of(survey, number, rng)
            write_table(rows, survey.folders[1] / "selected.parquet")
        with timed("patches"):
            patches = survey_patches(survey)
        with timed(f"coverage of {len(patches)} patches by {len(rows)} detectors"):
            overlaps = patch_overlaps(rows, patches)
            write_table(overlaps, survey.folders[1] / "coverage.parquet")
        with timed(f"list of coadds from {len(overlaps)} overlaps"):
            jobs = vista_jobs(rows, overlaps, patches)
            write_table(jobs, survey.folders[1] / "jobs.parquet")
        print(f"{len(jobs)} coadds to make; {len(read_table(survey.folders[1] / 'jobs.parquet'))} read back")
        with timed("repository with all tracts and patches"):
            create_repository(survey)
            prepare(survey)
        tracts, quanta, each = list(survey.tracts)[: options.graphs], [], []
        for tract in tracts:
            here = set(overlaps["exposure"][overlaps["tract"] == tract])
            mine = rows[np.isin(rows["exposure"], list(here))]
            before = time.perf_counter()
            quanta.append(make_graphs(survey, tract, mine))
            each.append(time.perf_counter() - before)
            print(f"graph of tract {tract}: {quanta[-1]} quanta, {each[-1]:.1f} s, {peak():.2f} GB", flush=True)
    spent = time.perf_counter() - begin
    all_graphs = np.mean(each) * len(survey.tracts)
    print(f"graphs of all {len(survey.tracts)} tracts at that rate: {all_graphs / 60:.1f} min")
    verdicts.at_most("coverage, jobs, and graphs of all tracts", (spent - sum(each) + all_graphs) / 60, MINUTES, " min")
    verdicts.at_most("peak memory", peak(), MEMORY, " GB")
    return verdicts.end()


def prepare(survey: Survey) -> None:
    """Register what all tracts share: the instrument, bands, sky map and dataset types."""
    with Butler.from_config(str(repository_folder(survey)), writeable=True) as butler:
        VIRCAM().register(butler.registry, update=True)
        OpticalFilters().register(butler.registry, update=True)
        OpticalFilters().register_bands(butler.registry, survey.optical_bands, update=True)
        register_sky_map(butler, survey, "")
        for name, (dimensions, storage) in DATASET_TYPES.items():
            butler.registry.registerDatasetType(DatasetType(name, dimensions, storage, universe=butler.dimensions))
        _register_dataset_types(butler)


if __name__ == "__main__":
    sys.exit(main())
