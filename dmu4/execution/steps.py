"""Running the steps of the pipeline, and resuming them."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, cast

from astropy.table import Table
from lsst.daf.butler import Butler, CollectionType, DataCoordinate, Progress
from lsst.daf.butler.direct_butler import DirectButler
from lsst.daf.butler.progress import ProgressHandler
from lsst.pipe.base import Pipeline
from lsst.pipe.base.quantum_graph import PredictedQuantumGraph, PredictedQuantumGraphComponents
from lsst.pipe.base.separable_pipeline_executor import SeparablePipelineExecutor

from dmu0.files.metadata import in_lines
from dmu0.files.provenance import gather_provenance
from dmu0.progress import tqdm
from dmu0.surveys import Survey
from dmu1.steps import patches_to_make
from dmu4.butler.repository import INPUTS, RELEASE, has_collection, newest, open_butler, repository_folder
from dmu4.execution import bps
from dmu4.execution.outcomes import outcomes_file, rejected_detectors, write_outcomes
from dmu4.execution.quantum_runner import QuantumRunner
from dmu4.execution.report import (
    check_any_done,
    ended_quanta,
    failed_quanta,
    record_lost,
    report_rows,
    report_table,
)
from dmu4.execution.workers import SHARED_BY, Workers, groups

PIPELINE = Path(__file__).parents[1] / "pipelines" / "release.yaml"

STEPS = {
    "single_frame": ("calibrate_detector", "summarise_visit"),
    "coadds": ("import_optical", "tie_zero_points", "coadd_patch"),
    "multiband": ("detect_patch", "measure_patch", "consolidate_tract"),
}
"""The tasks of each step. Each task is a separate submission, so that its graph is built from the existing products:
a detector that fails does not prevent a coadd."""


def engine_kind(survey: Survey) -> str:
    """The engine that runs the pipeline: that of ``make ENGINE=...``, otherwise that of the survey.

    Raises
    ------
    ValueError
        If the engine given to make does not exist.
    """
    kind = os.environ.get("FUSION_ENGINE") or survey.engine.kind
    if kind not in {"local", "bps"}:
        raise ValueError(f"ENGINE is {kind!r}; choose local or bps.")
    return kind


def current_run_id() -> str:
    """The id of the current run: that of make, or the time if the notebook is run interactively."""
    return os.environ.get("FUSION_RUN_ID") or datetime.now(UTC).strftime("by_hand_%Y%m%dT%H%M%S")


class _Bars(ProgressHandler):
    """Shows the progress of the middleware as bars."""

    @contextlib.contextmanager
    def get_progress_bar(self, iterable: Iterable | None, desc: str, total: int | None, level: int) -> Iterator:
        with tqdm(iterable, desc=desc, total=total, mininterval=1.0, leave=False) as bar:
            yield bar


def _where(survey: Survey, tracts: str) -> str:
    """The data query of a release: its tracts and patches."""
    parts = [
        f"(tract = {tract} AND patch IN ({', '.join(map(str, patches))}))"
        for tract, patches in patches_to_make(survey, tracts).items()
    ]
    bands = ", ".join(f"'{band}'" for band in survey.bands)
    return f"skymap = '{survey.sky_map.name}' AND ({' OR '.join(parts)}) AND band IN ({bands})"


def _configured(survey: Survey, task: str) -> Pipeline:
    """The pipeline of one task with the configuration of the survey."""
    pipeline = Pipeline.from_uri(f"{PIPELINE.as_uri()}#{task}")
    settings: dict[str, object] = {}
    if task == "calibrate_detector" and survey.vista is not None:
        settings = {"noise": survey.vista.noise, "magnitudes": survey.vista.magnitudes}
        settings["minStars"] = survey.vista.limits.min_stars
    if task == "summarise_visit" and survey.vista is not None:
        limits = survey.vista.limits
        settings = {
            "maxAstrometricScatter": limits.astrometric_scatter_max,
            "maxZeroPointError": limits.zero_point_error_max,
            "maxPsfSizeResidual": limits.psf_size_residual_max,
            "maxNoiseRatio": limits.noise_ratio_max,
        }
    if task in {"import_optical", "coadd_patch", "detect_patch", "measure_patch"}:
        settings["threads"] = max(1, survey.engine.threads // survey.engine.processes)
    if task == "measure_patch":
        settings["bands"] = list(survey.bands)
    if task in {"detect_patch", "measure_patch", "consolidate_tract"}:
        settings["detectionBands"] = list(survey.detection_bands)
    for key, value in settings.items():
        pipeline.addConfigOverride(task, key, value)
    return pipeline


def run_step(survey: Survey, step: str, *, tracts: str = "", progress: bool = True) -> Table:
    """Run one step of the pipeline; the quanta completed by an earlier, interrupted attempt are kept.

    Parameters
    ----------
    survey
        The survey, whose repository exists.
    step
        Name of the step, a key of `STEPS`.
    tracts
        Tracts to process, separated by spaces; empty: those of the survey.
    progress
        Whether to show a progress bar.

    Returns
    -------
    Table
        One row per quantum: task, data id, state (done, skipped, failed), reason, seconds.

    Raises
    ------
    StepFailed
        If a task had quanta but none of them was done.
    """
    if step not in STEPS:
        raise ValueError(f"There is no step {step!r}; choose from {', '.join(STEPS)}.")
    if progress:
        Progress.set_handler(_Bars())
    run = f"{step}/{current_run_id()}"
    rows: list[tuple] = []
    outcomes_file(survey, step).unlink(missing_ok=True)  # until the end nobody knows
    with open_butler(survey, collections=(), writeable=True) as butler:
        butler.collections.register(run, CollectionType.RUN, doc=in_lines(gather_provenance(survey).words()))
        inputs = [name for name in (run, RELEASE, INPUTS) if has_collection(butler, name)]
        chained = butler.clone(collections=inputs, run=run)
        _register_dataset_types(chained)
        shared = engine_kind(survey) == "local" and SHARED_BY.keys() & set(STEPS[step])
        with Workers(repository_folder(survey), survey.engine.processes if shared else 0, STEPS[step]) as workers:
            for task in STEPS[step]:
                rows += _run_task(chained, survey, task, workers, run=run, where=_where(survey, tracts))
        newest(butler, step, run)
        rejected = rejected_detectors(butler, run) if "summarise_visit" in STEPS[step] else []
    report = report_table(rows)
    write_outcomes(survey, step, report_table([*rows, *rejected]))
    check_any_done(report, step, STEPS[step])
    return report


def _register_dataset_types(butler: Butler) -> None:
    """Register the dataset types of all tasks: a graph can only be built on registered types, even without datasets."""
    for task in (task for tasks in STEPS.values() for task in tasks):
        # One by one, because two tasks make deep_coadd, of different bands.
        graph = Pipeline.from_uri(f"{PIPELINE.as_uri()}#{task}").to_graph(butler.registry)
        graph.register_dataset_types(butler)


class Prediction(NamedTuple):
    """The quanta of a task that are not done yet.

    Attributes
    ----------
    components
        What is written for other processes, with datastore records.
    graph
        The graph made of them: assembled once, because that takes a sixth of the time of its making.
    """

    components: PredictedQuantumGraphComponents
    graph: PredictedQuantumGraph


@contextlib.contextmanager
def _without_cyclic_collection() -> Iterator[None]:
    """Pause the search for unreachable cycles of objects; all else is freed as ever.

    A graph consists of a hundred objects per quantum, all of which are in use: searching them again and again while
    it grows takes a fifth of the time of its making.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@_without_cyclic_collection()
def _predict(butler: Butler, survey: Survey, task: str, where: str) -> Prediction | None:
    """The quanta of a task that are not done yet; None if there are none.

    The output collection is initialised with the configuration of the task.
    """
    executor = SeparablePipelineExecutor(
        butler, clobber_output=True, skip_existing_in=[butler.run], raise_on_partial_outputs=False
    )
    builder = executor.make_quantum_graph_builder(_configured(survey, task), where)
    components = builder.finish(attach_datastore_records=True)
    graph = components.assemble()
    if not len(graph):
        return None
    executor.pre_execute_qgraph(graph, register_dataset_types=True, save_versions=False)
    return Prediction(components, graph)


def _run_locally(butler: Butler, survey: Survey, predicted: Prediction, task: str, workers: Workers) -> None:
    """Run the quanta of a task on this machine.

    Parameters
    ----------
    butler
        Writeable, with the collections to read from as defaults and the output collection as run.
    survey
        The survey.
    predicted
        The quanta.
    task
        Label of the task.
    workers
        Processes that share the quanta; if there are none, this process runs them.
    """
    graph = predicted.graph
    if workers and (shared := groups(graph, task)):
        lost = workers.run(predicted.components, shared, title=task)
        data_ids = {quantum_id: data_id for data_id, quantum_id in graph.quanta_by_task[task].items()}
        record_lost(butler, task, {data_ids[quantum_id]: reason for quantum_id, reason in lost.items()})
        return
    with QuantumRunner(repository_folder(survey), butler, graph) as runner:
        for quantum_id in tqdm(graph, desc=task, mininterval=1.0, leave=False):
            runner.run(quantum_id)
        runner.register()


def _forget(butler: Butler, dataset_types: Iterable[str], data_ids: set[DataCoordinate]) -> None:
    """Remove datasets from the output run."""
    for name in dataset_types if data_ids else ():
        refs = butler.query_datasets(name, collections=butler.run, explain=False, limit=None)
        refs = [ref for ref in refs if ref.dataId in data_ids]
        butler.pruneDatasets(refs, disassociate=True, unstore=True, purge=True)


def _broken(butler: Butler, name: str) -> set[DataCoordinate]:
    """Data ids of the datasets of a type in the output run whose files are missing or not of the size they had."""
    if not butler.registry.queryDatasetTypes(name):
        return set()
    refs = butler.query_datasets(name, collections=butler.run, explain=False, limit=None)
    stored = butler.stored_many(refs)
    sizes = {
        identity: sum(getattr(info, "file_size", -1) for infos in tables.values() for info in infos)
        for records in cast(DirectButler, butler)._datastore.export_records(refs).values()
        for identity, tables in records.records.items()
    }
    return {
        ref.dataId
        for ref in refs
        if not stored[ref] or (sizes.get(ref.id, -1) >= 0 and butler.getURI(ref).size() != sizes[ref.id])
    }


def _forget_broken(butler: Butler, survey: Survey, task: str) -> None:
    """Forget quanta of an earlier attempt whose products were deleted or cut short since, so that they run again."""
    node = _configured(survey, task).to_graph(butler.registry).tasks[task]
    names = [
        output.dataset_type_name for output in (*node.outputs.values(), node.metadata_output, node.log_output) if output
    ]
    broken = set().union(*(_broken(butler, name) for name in names))
    _forget(butler, names, broken)


def _run_task(butler: Butler, survey: Survey, task: str, workers: Workers, *, run: str, where: str) -> list[tuple]:
    """Run the remaining quanta of a task; returns the rows of all its quanta."""
    # Those that failed in an earlier attempt at the same result run again.
    _forget_broken(butler, survey, task)
    _forget(butler, [f"{task}_log"], failed_quanta(butler, task))
    predicted = _predict(butler, survey, task, where)
    if predicted is not None and engine_kind(survey) == "bps":
        log = bps.run_task(survey, predicted.components, task, run=run)
        butler.registry.refresh()
        lost = predicted.graph.quanta_by_task[task].keys() - ended_quanta(butler, task)
        record_lost(
            butler, task, dict.fromkeys(lost, f"its job ended without a log, and so did a second one: see {log}")
        )
        # It also registers what quanta wrote before they failed.
        products = predicted.graph.pipeline_graph.tasks[task].outputs.values()
        _forget(butler, [product.dataset_type_name for product in products], failed_quanta(butler, task))
    elif predicted is not None:
        _run_locally(butler, survey, predicted, task, workers)
    return report_rows(butler, task, run) if butler.registry.queryDatasetTypes(f"{task}_metadata") else []
