"""Datasets that were read lately: the next quantum of a process often needs the same ones."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from lsst.daf.butler import DeferredDatasetHandle


class Recent:
    """Datasets in memory, by their ids; whoever gets one must not change it.

    Parameters
    ----------
    memory
        Bytes to hold at most; the one that was used last is held however large it is.
    size
        Bytes of a dataset.
    """

    def __init__(self, memory: int, size: Callable[[Any], int]) -> None:
        self._memory, self._size = memory, size
        self._held: OrderedDict[object, tuple[Any, int]] = OrderedDict()

    def find(self, handle: DeferredDatasetHandle) -> Any | None:
        """The dataset of a handle if it is held."""
        if handle.ref.id not in self._held:
            return None
        self._held.move_to_end(handle.ref.id)
        return self._held[handle.ref.id][0]

    def get(self, handle: DeferredDatasetHandle) -> Any:
        """The dataset of a handle, read if it is not held; those unused for longest make room for it."""
        found = self.find(handle)
        if found is not None:
            return found
        dataset = handle.get()
        self._held[handle.ref.id] = dataset, self._size(dataset)
        while len(self._held) > 1 and sum(size for _, size in self._held.values()) > self._memory:
            self._held.popitem(last=False)
        return dataset
