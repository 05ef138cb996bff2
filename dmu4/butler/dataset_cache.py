"""A cache of recently read datasets, which the next quantum of a process often needs again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

from lsst.daf.butler import DeferredDatasetHandle

_CACHES: WeakSet[DatasetCache] = WeakSet()


def empty_caches() -> None:
    """Empty all caches of this process; to be called after the last quantum of a task."""
    for cache in _CACHES:
        cache.clear()


class DatasetCache:
    """Datasets in memory, by their ids; they must not be modified.

    The cache is a module-level object of a task, because the middleware makes a new task for every quantum. It belongs
    to the process that runs the quanta, which empties it with `empty_caches` at the end of the task.

    Parameters
    ----------
    memory
        Largest total size in bytes; the most recently used dataset is always kept.
    size
        Function that gives the size of a cached object in bytes.
    read
        Function that reads a dataset from its handle; by default the whole dataset is read.
    """

    def __init__(
        self,
        memory: int,
        size: Callable[[Any], int],
        read: Callable[[DeferredDatasetHandle], Any] = lambda handle: handle.get(),
    ) -> None:
        self._memory, self._size, self._read = memory, size, read
        self._held: OrderedDict[object, tuple[Any, int]] = OrderedDict()
        _CACHES.add(self)

    def __len__(self) -> int:
        return len(self._held)

    def clear(self) -> None:
        """Remove all datasets."""
        self._held.clear()

    def find(self, handle: DeferredDatasetHandle) -> Any | None:
        """The dataset of a handle, if it is in the cache."""
        if handle.ref.id not in self._held:
            return None
        self._held.move_to_end(handle.ref.id)
        return self._held[handle.ref.id][0]

    def get(self, handle: DeferredDatasetHandle) -> Any:
        """The dataset of a handle, which is read if it is not in the cache; the least recently used are removed."""
        found = self.find(handle)
        if found is not None:
            return found
        dataset = self._read(handle)
        self._held[handle.ref.id] = dataset, self._size(dataset)
        while len(self._held) > 1 and sum(size for _, size in self._held.values()) > self._memory:
            self._held.popitem(last=False)
        return dataset
