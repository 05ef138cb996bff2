"""Execution of quanta without a registry; their outputs are registered in batches.

Processes that write every dataset to one SQLite registry wait for each other; here each writes a few times a minute.
"""

from __future__ import annotations

import itertools
import logging
import time
from pathlib import Path
from typing import Self
from uuid import UUID

from lsst.daf.butler import Butler, DatasetRef, Quantum, QuantumBackedButler
from lsst.daf.butler.datastore.record_data import DatastoreRecordData
from lsst.pipe.base import TaskFactory
from lsst.pipe.base.quantum_graph import PredictedQuantumGraph
from lsst.pipe.base.single_quantum_executor import SingleQuantumExecutor

from dmu4.butler.dataset_cache import empty_caches

REGISTER_AFTER = 15.0
"""Seconds between registrations of datasets; a process that is killed loses its outputs since the last one."""

_logger = logging.getLogger(__name__)


class QuantumRunner:
    """Executes quanta of a graph in this process.

    Parameters
    ----------
    repository
        Folder of the repository.
    butler
        Writeable Butler of the repository.
    graph
        Quanta with datastore records, whose outputs are not registered yet. Existing files are overwritten: they were
        left by a process that was killed before it could register them.
    """

    def __init__(self, repository: Path, butler: Butler, graph: PredictedQuantumGraph) -> None:
        self._butler, self._graph = butler, graph
        self._quanta = graph.build_execution_quanta()
        self._files = _files_only(repository, graph, list(self._quanta.values()))
        self._executor = SingleQuantumExecutor(
            butler=self._files,
            task_factory=TaskFactory(),
            assume_no_existing_outputs=True,
            raise_on_partial_outputs=False,
        )
        self._made: list[DatasetRef] = []
        self._last = time.monotonic()
        for name in ("lsst.pipe.base", *graph.quanta_by_task):
            logging.getLogger(name).setLevel(logging.INFO)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Empty the caches of the tasks, and close the files."""
        empty_caches()
        self._files.close()

    def run(self, quantum_id: UUID, *, last: bool = True) -> str:
        """Execute a quantum; if it fails, only its log, which contains the reason, is registered.

        Parameters
        ----------
        quantum_id
            The quantum.
        last
            Whether it is the last attempt; if not, one that fails for want of memory leaves nothing.

        Returns
        -------
        str
            ``done``, whether or not it failed; ``registered`` if outputs were also registered; ``memory`` if there was
            not enough and it is not the last attempt.
        """
        quantum = self._quanta[quantum_id]
        task = self._graph.quantum_only_xgraph.nodes[quantum_id]["pipeline_node"]
        outputs = quantum.outputs.values()
        try:
            self._executor.execute(task, quantum, quantum_id=quantum_id)
        except Exception as error:  # whatever stops one quantum must not stop the others
            _logger.exception("%s of %s failed", task.label, quantum.dataId)
            if isinstance(error, MemoryError) and not last:
                empty_caches()
                return "memory"
            outputs = [quantum.outputs[task.log_output.dataset_type_name]]
        self._made += itertools.chain.from_iterable(outputs)
        if time.monotonic() - self._last > REGISTER_AFTER:
            self.register()
            return "registered"
        return "done"

    def register(self) -> None:
        """Register the outputs since the last registration in the repository."""
        stored = self._files.stored_many(self._made)
        self._butler.transfer_from(self._files, [ref for ref in self._made if stored[ref]])
        self._made.clear()
        self._last = time.monotonic()


def _files_only(repository: Path, graph: PredictedQuantumGraph, quanta: list[Quantum]) -> QuantumBackedButler:
    """A Butler without registry, which has the inputs and the predicted outputs of some quanta."""
    return QuantumBackedButler.from_predicted(
        config=str(repository),
        predicted_inputs=[ref.id for quantum in quanta for refs in quantum.inputs.values() for ref in refs],
        predicted_outputs=[ref.id for quantum in quanta for refs in quantum.outputs.values() for ref in refs],
        dimensions=graph.pipeline_graph.universe,
        datastore_records=DatastoreRecordData.merge_mappings(*(quantum.datastore_records for quantum in quanta)),
        dataset_types={node.name: node.dataset_type for node in graph.pipeline_graph.dataset_types.values()},
    )
