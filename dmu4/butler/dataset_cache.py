"""Datasets that were read lately: the next quantum of a process often needs the same ones."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

from lsst.daf.butler import DeferredDatasetHandle

_CACHES: WeakSet[DatasetCache] = WeakSet()


def empty_caches() -> None:
    """Drop what all caches of this process hold: whoever runs quanta calls this when the last of a task has ended."""
    for cache in _CACHES:
        cache.clear()


class DatasetCache:
    """Datasets in memory, by their ids; whoever gets one must not change it.

    A task keeps one beside its class, because the middleware makes a new task for every quantum; it belongs to the
    process that runs the quanta, which empties it with `empty_caches` at the end of the task.

    Parameters
    ----------
    memory
        Bytes to hold at most; the one that was used last is held however large it is.
    size
        Bytes of what is held of a dataset.
    read
        What is held of a dataset; all of it unless told.
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
        """Drop everything."""
        self._held.clear()

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
        dataset = self._read(handle)
        self._held[handle.ref.id] = dataset, self._size(dataset)
        while len(self._held) > 1 and sum(size for _, size in self._held.values()) > self._memory:
            self._held.popitem(last=False)
        return dataset
